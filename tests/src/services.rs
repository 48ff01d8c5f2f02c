//! Services that never ask whether they may write: who started them must end them. Every host's promote hook starts one in
//! the background, deaf to signals and in a session of its own; all services of a group write into one journal. A write of
//! an older epoch after the first of a newer one is what no cluster may ever let happen.

mod conduct;
mod guarded;
mod journal;
mod mode;
mod rounds;

pub use conduct::{Conduct, Hook};
pub use guarded::Guarded;
pub use journal::{Journal, Succession, Write};
pub use mode::Mode;
pub use rounds::{Options, Rounds, run};

use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The folder of hooks, journals and process ids.
#[derive(Debug, Clone)]
pub struct Services {
    folder: PathBuf,
    /// `quorate-service`.
    program: PathBuf,
}

impl Services {
    /// Makes the hooks in a folder. `program` is that of `quorate-service`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(folder: &Path, program: &Path) -> Result<Self> {
        fs::create_dir_all(folder).context("could not make the services' folder")?;
        let services = Self { folder: folder.to_owned(), program: program.to_owned() };
        let (journal, pid) = ("$QUORATE_GROUP.journal", "$QUORATE_GROUP.$QUORATE_HOST.pid");
        let program = program.display();
        let start = format!(
            "trap '' TERM INT HUP\n\
             setsid '{program}' \"{journal}\" \"{pid}\" \"$QUORATE_EPOCH\" \"$QUORATE_HOST\" \\\n    \
             </dev/null >/dev/null 2>&1 &\n"
        );
        let kill = format!(
            "[ -s \"{pid}\" ] || exit 0\npid=$(cat \"{pid}\")\n\
             # Somebody else may have ended it, and its number may be another's by now.\n\
             grep -qz \"^$QUORATE_GROUP.journal$\" \"/proc/$pid/cmdline\" 2>/dev/null || {{ rm -f \"{pid}\"; exit 0; }}\n\
             kill -9 \"$pid\" 2>/dev/null\n\
             while kill -0 \"$pid\" 2>/dev/null; do\n    grep -q '^State:.*Z' \"/proc/$pid/status\" 2>/dev/null && break\ndone\n\
             rm -f \"{pid}\"\n"
        );
        for (hook, work) in [(Hook::Promote, start), (Hook::Demote, kill)] {
            script(&services.hook(hook), &format!("{}{work}", conduct::obey(folder, hook)))?;
        }
        Ok(services)
    }

    fn hook(&self, hook: Hook) -> PathBuf {
        self.folder.join(hook.name())
    }

    /// The lines of an agent's configuration that name the hooks.
    pub fn config(&self) -> String {
        let line = |hook: Hook| format!("hooks.on_{} = '{}'\n", hook.name(), self.hook(hook).display());
        line(Hook::Promote) + &line(Hook::Demote)
    }

    /// From its next run on a hook behaves like this on a host.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn tell(&self, hook: Hook, host: &str, conduct: Conduct) -> Result<()> {
        conduct::tell(&self.folder, hook, host, conduct)
    }

    /// The groups for which a hook of a host did otherwise than work, as often as it did.
    ///
    /// # Errors
    /// When what it noted cannot be read.
    pub fn misconduct(&self, hook: Hook, host: &str) -> Result<Vec<String>> {
        conduct::noted(&self.folder, hook, host)
    }

    /// The journal of a group, from its beginning.
    pub fn journal(&self, group: &str) -> Journal {
        Journal::new(self.folder.join(format!("{group}.journal")))
    }

    /// Makes what a guard runs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn command(&self, guarded: Guarded) -> Result<PathBuf> {
        let path = self.folder.join(format!("{guarded:?}").to_lowercase());
        script(&path, &guarded.shell(&self.folder, &self.program))?;
        Ok(path)
    }

    /// Lets every [`Guarded::Leaves`] end.
    ///
    /// # Errors
    /// When the word cannot be written.
    pub fn leave(&self) -> Result<()> {
        fs::write(self.folder.join(guarded::LEAVE), "").context("could not let the services leave")
    }

    /// The process of a group's service on a host, as it wrote it down.
    pub fn pid(&self, group: &str, host: &str) -> Option<i32> {
        fs::read_to_string(self.folder.join(format!("{group}.{host}.pid"))).ok()?.trim().parse().ok()
    }
}

fn script(path: &Path, body: &str) -> Result<()> {
    // Under another name first: a file that is open for writing cannot be run.
    let new = path.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{body}"))
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("could not write {}", path.display()))
}
