//! How hooks behave: well, unless a test tells them otherwise.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// How long the slow hook takes of the ten seconds that hooks are allowed where nothing else is said.
const SLOW_S: u64 = 9;
/// Longer than any limit of a hook.
const HANGS_S: u64 = 600;

/// A hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// It starts the service.
    Promote,
    /// It stops it.
    Demote,
}

impl Hook {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }
}

/// What a hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Its work.
    Works,
    /// Nothing: it exits with 1.
    Fails,
    /// Nothing, for longer than it is allowed.
    Hangs,
    /// Its work, after nine seconds.
    Slow,
}

impl Conduct {
    /// What the hook does before its work. Misconduct is noted first.
    fn shell(self, hook: Hook) -> String {
        let note = format!("echo \"$QUORATE_GROUP\" >> \"$QUORATE_HOST.{}.noted\"\n", hook.name());
        match self {
            Self::Works => String::new(),
            Self::Fails => format!("{note}echo 'the service does not answer' >&2\nexit 1\n"),
            Self::Hangs => format!("{note}exec sleep {HANGS_S}\n"),
            Self::Slow => format!("{note}sleep {SLOW_S}\n"),
        }
    }
}

/// The first lines of a hook: it does as it is told.
pub(super) fn obey(folder: &Path, hook: Hook) -> String {
    let (folder, name) = (folder.display(), hook.name());
    format!("cd '{folder}' || exit 1\neval \"$(cat \"$QUORATE_HOST.{name}.conduct\" 2>/dev/null)\"\n")
}

pub(super) fn tell(folder: &Path, hook: Hook, host: &str, conduct: Conduct) -> Result<()> {
    let file = file(folder, hook, host, "conduct");
    // In one piece: the hook may be run at any time.
    let new = file.with_extension("new");
    fs::write(&new, conduct.shell(hook))
        .and_then(|()| fs::rename(&new, &file))
        .with_context(|| format!("could not write {}", file.display()))
}

pub(super) fn noted(folder: &Path, hook: Hook, host: &str) -> Result<Vec<String>> {
    let file = file(folder, hook, host, "noted");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("could not read {}", file.display())),
    }
}

fn file(folder: &Path, hook: Hook, host: &str, what: &str) -> PathBuf {
    folder.join(format!("{host}.{}.{what}", hook.name()))
}
