//! A watchdog device: it reboots the machine unless it is fed.

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, open},
    io,
};
use std::path::Path;

/// The device reboots after tens of seconds at the least.
pub(crate) const FEED_EVERY_MS: u64 = 1_000;
/// Tells the device that nobody will feed it any more, and that all is well.
const MAGIC_CLOSE: &[u8] = b"V";

/// An open device, which must be fed from now on.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: OwnedFd,
    fed_at: u64,
}

impl Watchdog {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let device = open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
        Ok(Self { device, fed_at: 0 })
    }

    pub(crate) fn next_feed(&self) -> u64 {
        self.fed_at.saturating_add(FEED_EVERY_MS)
    }

    pub(crate) fn feed(&mut self, now: u64) -> io::Result<()> {
        if now < self.next_feed() {
            return Ok(());
        }
        self.fed_at = now;
        io::write(&self.device, b"\0").map(|_| ())
    }

    /// Ends it in order: the machine goes on.
    pub(crate) fn close(self) -> io::Result<()> {
        io::write(&self.device, MAGIC_CLOSE).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_once_in_a_while_and_closed_by_the_magic_word() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("watchdog");
        std::fs::write(&device, "").unwrap();
        let mut watchdog = Watchdog::open(&device).unwrap();
        for now in [5_000, 5_500, 5_999, 6_000] {
            watchdog.feed(now).unwrap();
        }
        assert_eq!(std::fs::read(&device).unwrap(), b"\0\0");
        watchdog.close().unwrap();
        assert_eq!(std::fs::read(&device).unwrap(), b"\0\0V");
    }
}
