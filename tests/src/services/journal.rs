//! What the services of a group wrote, in the order in which they did, and whether one of them wrote too late.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    path::PathBuf,
};

/// One write of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The epoch that it was started under.
    pub epoch: u64,
    /// The host that it runs on.
    pub host: String,
}

impl Write {
    fn parse(line: &str) -> Result<Self> {
        let (epoch, host) = line.split_once(' ').with_context(|| format!("no write: {line:?}"))?;
        let epoch = epoch.parse().with_context(|| format!("no epoch: {line:?}"))?;
        Ok(Self { epoch, host: host.to_owned() })
    }
}

/// Services that followed each other: what matters of any number of writes.
#[derive(Debug, Clone, Default)]
pub struct Succession {
    newest: Option<Write>,
    /// How many writes are the newest service's.
    of_newest: usize,
    writes: usize,
    services: usize,
    /// The first write that came too late, after which one, and how many did.
    late: Option<(Write, Write, usize)>,
}

impl Succession {
    /// One more write.
    pub fn add(&mut self, write: Write) {
        self.writes += 1;
        match &self.newest {
            Some(newest) if *newest == write => self.of_newest += 1,
            // Of an older epoch, or of the same from another host.
            Some(newest) if write.epoch <= newest.epoch => match &mut self.late {
                Some((.., count)) => *count += 1,
                None => self.late = Some((write, newest.clone(), 1)),
            },
            _ => {
                self.newest = Some(write);
                self.of_newest = 1;
                self.services += 1;
            }
        }
    }

    /// The last service that wrote first, and how often it has.
    pub fn newest(&self) -> Option<(&Write, usize)> {
        Some((self.newest.as_ref()?, self.of_newest))
    }

    /// All writes.
    pub fn writes(&self) -> usize {
        self.writes
    }

    /// The services that wrote, each under an epoch of its own.
    pub fn services(&self) -> usize {
        self.services
    }

    /// No service wrote after one of a newer epoch had, and none under the epoch of another.
    ///
    /// # Errors
    /// With how many writes came too late, and from where.
    pub fn ensure_none_outlived(&self) -> Result<()> {
        let Some((write, newest, count)) = &self.late else { return Ok(()) };
        ensure!(
            write.epoch < newest.epoch,
            "epoch {} is written from {} and {}",
            write.epoch,
            newest.host,
            write.host
        );
        bail!(
            "{count} writes came too late, the first of epoch {} from {} after {} had written under epoch {}",
            write.epoch,
            write.host,
            newest.host,
            newest.epoch
        )
    }
}

/// The journal of a group, read bit by bit.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    read_bytes: u64,
    succession: Succession,
}

impl Journal {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, read_bytes: 0, succession: Succession::default() }
    }

    /// Reads what was written since the last time; what came of it since the beginning.
    ///
    /// # Errors
    /// When the journal cannot be read or holds something else.
    pub fn read(&mut self) -> Result<&Succession> {
        let reading = || format!("could not read {}", self.file.display());
        let mut file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(&self.succession),
            Err(error) => return Err(error).with_context(reading),
        };
        let mut text = String::new();
        file.seek(SeekFrom::Start(self.read_bytes))
            .and_then(|_| file.read_to_string(&mut text))
            .with_context(reading)?;
        // The last line may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        for line in whole.lines() {
            self.succession.add(Write::parse(line)?);
        }
        self.read_bytes += whole.len() as u64;
        Ok(&self.succession)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::OpenOptions, io::Write as _};

    fn judged(of: &[(u64, &str)]) -> Result<()> {
        let mut succession = Succession::default();
        for (epoch, host) in of {
            succession.add(Write { epoch: *epoch, host: (*host).to_owned() });
        }
        succession.ensure_none_outlived()
    }

    #[test]
    fn only_a_write_of_an_older_epoch_after_a_newer_one_is_late() {
        judged(&[]).unwrap();
        judged(&[(1, "h1"), (1, "h1"), (4, "h2"), (4, "h2"), (9, "h1")]).unwrap();
        let late = judged(&[(1, "h1"), (4, "h2"), (1, "h1"), (4, "h2"), (1, "h1")]).unwrap_err().to_string();
        assert_eq!(
            late,
            "2 writes came too late, the first of epoch 1 from h1 after h2 had written under epoch 4"
        );
        judged(&[(4, "h1"), (4, "h2")]).unwrap_err();
    }

    #[test]
    fn a_journal_that_is_read_bit_by_bit_is_the_same_as_one_that_is_read_at_once() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("g.journal");
        let mut journal = Journal::new(path.clone());
        assert_eq!(journal.read()?.writes(), 0);
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(b"1 h1\n1 h1\n2 ")?;
        assert_eq!(journal.read()?.newest(), Some((&Write { epoch: 1, host: "h1".to_owned() }, 2)));
        file.write_all(b"h2\n1 h1\n")?;
        let succession = journal.read()?;
        assert_eq!((succession.writes(), succession.services()), (4, 2));
        succession.ensure_none_outlived().unwrap_err();
        Ok(())
    }
}
