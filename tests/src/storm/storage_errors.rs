//! Storage errors on demand, by a program that is the coordinator in all but one thing: a file tells it which calls to
//! the disk shall fail. It takes the same words as `quorate`.

use anyhow::{Context, Result, ensure};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// What the program looks for in its environment: the path of the file.
const RULES_FILE: &str = "FAULTY_DISK_RULES";
/// Every sync of a file fails.
const FAIL_SYNC: &str = "fail sync EIO\n";
/// No sync comes back, for all that anybody waits for.
const HANG_SYNC: &str = "slow sync 300000ms\n";

/// The program, and where each process has its file.
#[derive(Debug, Clone)]
pub(super) struct StorageErrors {
    program: PathBuf,
    folder: PathBuf,
}

impl StorageErrors {
    /// With files in a folder.
    ///
    /// # Errors
    /// When there is no program.
    pub(super) fn new(program: Option<&Path>, folder: &Path) -> Result<Self> {
        let program = program.context("no program that fails on demand was given")?;
        ensure!(program.is_file(), "{} is no program", program.display());
        Ok(Self { program: program.to_owned(), folder: folder.to_owned() })
    }

    /// What runs in a coordinator's stead.
    pub(super) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// What its environment says.
    pub(super) fn environment(&self, coordinator: u64) -> Vec<(OsString, OsString)> {
        vec![(RULES_FILE.into(), self.rules(coordinator).into_os_string())]
    }

    /// From now on every sync of a coordinator fails.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(super) fn fail_syncs(&self, coordinator: u64) -> Result<()> {
        self.rule(coordinator, FAIL_SYNC)
    }

    /// From now on every sync of a coordinator hangs.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(super) fn hang_syncs(&self, coordinator: u64) -> Result<()> {
        self.rule(coordinator, HANG_SYNC)
    }

    fn rule(&self, coordinator: u64, rule: &str) -> Result<()> {
        // Under its name all at once: the program may look at any time.
        let (rules, new) = (self.rules(coordinator), self.rules(coordinator).with_extension("new"));
        fs::write(&new, rule).and_then(|()| fs::rename(&new, &rules)).context("the rules of a disk")
    }

    /// Its disk works again.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub(super) fn heal(&self, coordinator: u64) -> Result<()> {
        fs::remove_file(self.rules(coordinator)).context("the rules of a disk")
    }

    fn rules(&self, coordinator: u64) -> PathBuf {
        self.folder.join(format!("c{coordinator}.disk"))
    }
}
