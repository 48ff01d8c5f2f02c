//! Storage errors on demand, by a program that is the coordinator in all but one thing: a control file tells it which
//! calls to the disk shall fail.

use anyhow::{Context, Result, ensure};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// Names the program.
const PROGRAM: &str = "QUORATE_TEST_FAULTY";
/// What the program looks for in its environment: the path of its control file.
const CONTROL: &str = "QUORATE_FAULTS";
/// Every sync of a file fails.
const FAIL_SYNC: &str = "fail sync EIO\n";

/// The program, and where each process has its control file.
#[derive(Debug, Clone)]
pub(super) struct StorageErrors {
    program: PathBuf,
    folder: PathBuf,
}

impl StorageErrors {
    /// The program that the environment names.
    ///
    /// # Errors
    /// When it names none.
    pub(super) fn find(folder: &Path) -> Result<Self> {
        let program = env::var_os(PROGRAM).with_context(|| format!("{PROGRAM} names no program"))?;
        let program = PathBuf::from(program);
        ensure!(program.is_file(), "{PROGRAM} names {}, which is no file", program.display());
        Ok(Self { program, folder: folder.to_owned() })
    }

    /// What runs in a coordinator's stead.
    pub(super) fn program(&self) -> PathBuf {
        self.program.clone()
    }

    /// What its environment says.
    pub(super) fn environment(&self, coordinator: u64) -> Vec<(OsString, OsString)> {
        vec![(CONTROL.into(), self.control(coordinator).into_os_string())]
    }

    /// From now on every sync of a coordinator fails.
    ///
    /// # Errors
    /// When the control file cannot be written.
    pub(super) fn fail_syncs(&self, coordinator: u64) -> Result<()> {
        // Under its name all at once: the program may look at any time.
        let (control, new) = (self.control(coordinator), self.control(coordinator).with_extension("new"));
        fs::write(&new, FAIL_SYNC).and_then(|()| fs::rename(&new, &control)).context("the control file")
    }

    /// Its disk works again.
    ///
    /// # Errors
    /// When the control file cannot be removed.
    pub(super) fn heal(&self, coordinator: u64) -> Result<()> {
        fs::remove_file(self.control(coordinator)).context("the control file")
    }

    fn control(&self, coordinator: u64) -> PathBuf {
        self.folder.join(format!("c{coordinator}.faults"))
    }
}
