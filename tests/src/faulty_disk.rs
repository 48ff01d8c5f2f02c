//! A disk that fails or is slow when a file says so, for coordinators that tests run as real processes.
//!
//! One rule per line; an empty file means no fault:
//!
//! ```text
//! fail sync EIO
//! fail write ENOSPC
//! slow sync 200ms
//! slow store 200ms
//! ```

use anyhow::{Context, Result, bail};
use quorate_consensus::{
    Disk, RealDisk,
    disk::{DiskFile, Folder, FolderLock, StoreStep, Whereabouts},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    thread,
    time::Duration,
};

/// Names the file with the rules.
pub const RULES_FILE: &str = "FAULTY_DISK_RULES";

/// What a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Bytes, lengths and names.
    Write,
    /// fsync and fdatasync.
    Sync,
    /// Any step of the state store.
    Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Fails with this error of the system.
    Fail(i32),
    Slow(Duration),
}

/// One line of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rule {
    step: Step,
    effect: Effect,
}

impl FromStr for Rule {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [effect, step, value] = words[..] else { bail!("{line:?} is not EFFECT STEP VALUE") };
        let step = match step {
            "write" => Step::Write,
            "sync" => Step::Sync,
            "store" => Step::Store,
            other => bail!("{other:?} is neither write, sync nor store"),
        };
        let effect = match (effect, value) {
            ("fail", "EIO") => Effect::Fail(5),
            ("fail", "ENOSPC") => Effect::Fail(28),
            ("slow", value) => {
                let ms = value.strip_suffix("ms").with_context(|| format!("{value:?} is not in ms"))?;
                Effect::Slow(Duration::from_millis(ms.parse()?))
            }
            _ => bail!("{line:?} is neither `fail STEP EIO`, `fail STEP ENOSPC` nor `slow STEP 200ms`"),
        };
        Ok(Self { step, effect })
    }
}

/// The real disk, but for what the rules say.
#[derive(Debug)]
pub struct FaultyDisk {
    real: RealDisk,
    rules: Rules,
}

/// Read again before every step. Clones read the same file.
#[derive(Debug, Clone)]
struct Rules(Arc<PathBuf>);

impl FaultyDisk {
    /// A disk with its rules in this file, which may come later.
    pub fn new(rules: PathBuf) -> Self {
        Self { real: RealDisk, rules: Rules(Arc::new(rules)) }
    }
}

impl Rules {
    fn read(&self) -> Result<Vec<Rule>> {
        // Without rules nothing is opened: a process that has no descriptor left for that may write to its log.
        if fs::metadata(&*self.0).is_ok_and(|file| file.len() == 0) || !fs::exists(&*self.0)? {
            return Ok(vec![]);
        }
        match fs::read_to_string(&*self.0) {
            Ok(text) => text.lines().filter(|line| !line.trim().is_empty()).map(str::parse).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            Err(error) => Err(error).with_context(|| self.0.display().to_string()),
        }
    }

    /// Does what the rules say before a step. Rules that cannot be read fail every step: a test must not pass over them.
    fn before(&self, step: Step) -> io::Result<()> {
        let rules = self.read().map_err(|error| io::Error::other(format!("{error:#}")))?;
        for rule in rules.iter().filter(|rule| rule.step == step) {
            match rule.effect {
                Effect::Fail(code) => return Err(io::Error::from_raw_os_error(code)),
                Effect::Slow(time) => thread::sleep(time),
            }
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Folder>> {
        self.rules.before(Step::Sync)?;
        let real = self.real.folder(path)?;
        Ok(Arc::new(FaultyFolder { real, rules: self.rules.clone() }))
    }

    fn before_store_step(&self, step: StoreStep, _folder: &Path) -> io::Result<()> {
        self.rules.before(Step::Store)?;
        self.rules.before(if step == StoreStep::Sync { Step::Sync } else { Step::Write })
    }
}

#[derive(Debug)]
struct FaultyFolder {
    real: Arc<dyn Folder>,
    rules: Rules,
}

impl FaultyFolder {
    fn file(&self, real: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { real, rules: self.rules.clone() })
    }
}

impl Folder for FaultyFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.real.list()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.rules.before(Step::Write)?;
        Ok(self.file(self.real.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.real.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rules.before(Step::Write)?;
        self.real.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.real.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.rules.before(Step::Sync)?;
        self.real.sync()
    }

    fn lock(&self, name: &str) -> io::Result<Option<FolderLock>> {
        self.real.lock(name)
    }

    fn whereabouts(&self, name: &str) -> io::Result<Whereabouts> {
        self.real.whereabouts(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.real.path(name)
    }
}

struct FaultyFile {
    real: Arc<dyn DiskFile>,
    rules: Rules,
}

impl DiskFile for FaultyFile {
    fn size_bytes(&self) -> io::Result<u64> {
        self.real.size_bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.real.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.rules.before(Step::Write)?;
        self.real.write_at(bytes, offset)
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        self.rules.before(Step::Write)?;
        self.real.set_len(size_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.rules.before(Step::Sync)?;
        self.real.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.rules.before(Step::Sync)?;
        self.real.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_rules_that_it_does_not_know() {
        let good = [
            ("fail sync EIO", Rule { step: Step::Sync, effect: Effect::Fail(5) }),
            ("fail write ENOSPC", Rule { step: Step::Write, effect: Effect::Fail(28) }),
            (
                " slow  sync 200ms",
                Rule { step: Step::Sync, effect: Effect::Slow(Duration::from_millis(200)) },
            ),
        ];
        for (line, rule) in good {
            assert_eq!(line.parse::<Rule>().unwrap(), rule);
        }
        for line in
            ["fail sync", "fail read EIO", "fail sync EPERM", "slow sync 2s", "stop", "fail sync EIO now"]
        {
            assert!(line.parse::<Rule>().is_err(), "{line}");
        }
    }

    #[test]
    fn fails_only_the_steps_that_a_rule_names_and_only_while_it_stands() {
        let place = tempfile::tempdir().unwrap();
        let rules = place.path().join("rules");
        let disk = FaultyDisk::new(rules.clone());
        let folder = disk.folder(&place.path().join("folder")).unwrap();
        let file = folder.create("file").unwrap();
        fs::write(&rules, "fail sync EIO\n").unwrap();
        file.write_at(b"data", 0).unwrap();
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(folder.sync().unwrap_err().raw_os_error(), Some(5));
        fs::write(&rules, "fail write ENOSPC\n").unwrap();
        assert_eq!(file.write_at(b"data", 0).unwrap_err().raw_os_error(), Some(28));
        file.sync_data().unwrap();
        fs::write(&rules, "nonsense").unwrap();
        assert!(file.sync_data().unwrap_err().to_string().contains("nonsense"));
        fs::write(&rules, "").unwrap();
        file.write_at(b"data", 0).unwrap();
        file.sync_all().unwrap();
    }
}
