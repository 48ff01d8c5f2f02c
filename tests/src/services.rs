//! Services that never ask whether they may write: who started them must end them. Every host's promote hook starts one in
//! the background, deaf to signals and in a session of its own; all services of a group write into one journal. A write of
//! an older epoch after the first of a newer one is what no cluster may ever let happen.

mod mode;
mod rounds;

pub use mode::Mode;
pub use rounds::{Options, Rounds, run};

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// How long the slow demote hook takes of the ten seconds that it is allowed.
const SLOW_S: u64 = 9;

/// What a demote hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demotion {
    /// Kills the service.
    Works,
    /// Does nothing and exits with 1.
    Fails,
    /// Waits for nine seconds before it kills the service.
    Slow,
}

/// One write of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The epoch that it was started under.
    pub epoch: u64,
    /// The host that it runs on.
    pub host: String,
}

/// The folder of hooks, journals and process ids.
#[derive(Debug, Clone)]
pub struct Services {
    folder: PathBuf,
    program: PathBuf,
}

impl Services {
    /// Makes the hooks in a folder. `program` is that of `quorate-service`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(folder: &Path, program: &Path, demotion: Demotion) -> Result<Self> {
        fs::create_dir_all(folder).context("could not make the services' folder")?;
        let services = Self { folder: folder.to_owned(), program: program.to_owned() };
        let (journal, pid) = ("$QUORATE_GROUP.journal", "$QUORATE_GROUP.$QUORATE_HOST.pid");
        let (folder, program) = (folder.display(), program.display());
        let promote = format!(
            "trap '' TERM INT HUP\ncd '{folder}' || exit 1\n\
             setsid '{program}' \"{journal}\" \"{pid}\" \"$QUORATE_EPOCH\" \"$QUORATE_HOST\" \\\n    \
             </dev/null >/dev/null 2>&1 &\n"
        );
        let kill = format!(
            "cd '{folder}' || exit 1\n[ -s \"{pid}\" ] || exit 0\npid=$(cat \"{pid}\")\nkill -9 \"$pid\" 2>/dev/null\n\
             while kill -0 \"$pid\" 2>/dev/null; do\n    grep -q '^State:.*Z' \"/proc/$pid/status\" && break\ndone\n\
             rm -f \"{pid}\"\n"
        );
        let demote = match demotion {
            Demotion::Works => kill,
            Demotion::Fails => "echo 'the service does not answer' >&2\nexit 1\n".to_owned(),
            Demotion::Slow => format!("sleep {SLOW_S}\n{kill}"),
        };
        script(&services.promote(), &promote)?;
        script(&services.demote(), &demote)?;
        Ok(services)
    }

    /// The promote hook.
    pub fn promote(&self) -> PathBuf {
        self.folder.join("promote")
    }

    /// The demote hook.
    pub fn demote(&self) -> PathBuf {
        self.folder.join("demote")
    }

    /// The lines of an agent's configuration that name them.
    pub fn config(&self) -> String {
        format!(
            "hooks.on_promote = '{}'\nhooks.on_demote = '{}'\n",
            self.promote().display(),
            self.demote().display()
        )
    }

    /// Every write for a group so far, in the order in which they happened.
    ///
    /// # Errors
    /// When the journal cannot be read or holds something else.
    pub fn writes(&self, group: &str) -> Result<Vec<Write>> {
        let file = self.folder.join(format!("{group}.journal"));
        if !file.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(write).collect()
    }

    /// The process of a group's service on a host, as it wrote it down.
    pub fn pid(&self, group: &str, host: &str) -> Option<i32> {
        fs::read_to_string(self.folder.join(format!("{group}.{host}.pid"))).ok()?.trim().parse().ok()
    }

    /// What the service program is, for a fault that starts one by itself.
    pub fn program(&self) -> &Path {
        &self.program
    }
}

fn write(line: &str) -> Result<Write> {
    let (epoch, host) = line.split_once(' ').with_context(|| format!("no write: {line:?}"))?;
    Ok(Write { epoch: epoch.parse().with_context(|| format!("no epoch: {line:?}"))?, host: host.to_owned() })
}

fn script(path: &Path, body: &str) -> Result<()> {
    // Under another name first: a file that is open for writing cannot be run.
    let new = path.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{body}"))
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("could not write {}", path.display()))
}

/// Fails when a service of an older epoch wrote after one of a newer had.
///
/// # Errors
/// With how many writes came too late, and from where.
pub fn ensure_none_outlived(writes: &[Write]) -> Result<()> {
    let mut newest: Option<&Write> = None;
    let mut late = Vec::new();
    for write in writes {
        match newest {
            Some(newest) if write.epoch < newest.epoch => late.push((write, newest)),
            Some(newest) if write.epoch == newest.epoch => {
                ensure!(write.host == newest.host, "epoch {} is written from two hosts", write.epoch);
            }
            _ => newest = Some(write),
        }
    }
    if let Some((write, newest)) = late.first() {
        bail!(
            "{} writes of epoch {} from {} came after {} had written under epoch {}",
            late.len(),
            write.epoch,
            write.host,
            newest.host,
            newest.epoch
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(of: &[(u64, &str)]) -> Vec<Write> {
        of.iter().map(|(epoch, host)| Write { epoch: *epoch, host: (*host).to_owned() }).collect()
    }

    #[test]
    fn only_a_write_of_an_older_epoch_after_a_newer_one_is_late() {
        ensure_none_outlived(&[]).unwrap();
        ensure_none_outlived(&writes(&[(1, "h1"), (1, "h1"), (4, "h2"), (4, "h2"), (9, "h1")])).unwrap();
        let late = ensure_none_outlived(&writes(&[(1, "h1"), (4, "h2"), (1, "h1"), (4, "h2"), (1, "h1")]));
        assert_eq!(
            late.unwrap_err().to_string(),
            "2 writes of epoch 1 from h1 came after h2 had written under epoch 4"
        );
        ensure_none_outlived(&writes(&[(4, "h1"), (4, "h2")])).unwrap_err();
    }
}
