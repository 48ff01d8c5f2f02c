//! A clock that does not answer the thread that serves agents and clients while a file says so: whoever asks it there waits,
//! and with him everybody whom that thread serves. Raft has a thread of its own, which goes on.

use crate::wrong_clock::WrongClock;
use quorate_runtime::clock::{BootInstant, Clock};
use std::{path::PathBuf, thread, time::Duration};

/// Names the file; while it is there, the clock hangs.
pub const FILE: &str = "HUNG_CLOCK_FILE";
/// A coordinator serves on the thread that it was started on.
const SERVING_THREAD: &str = "main";
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A clock that hangs at times.
#[derive(Debug)]
pub struct HungClock {
    clock: WrongClock,
    file: Option<PathBuf>,
}

impl HungClock {
    /// A clock that hangs while the file is there that the environment names, if it names one.
    pub fn from_environment(clock: WrongClock) -> Self {
        Self { clock, file: std::env::var_os(FILE).map(PathBuf::from) }
    }

    fn hang(&self) {
        let Some(file) = self.file.as_ref().filter(|_| thread::current().name() == Some(SERVING_THREAD))
        else {
            return;
        };
        while file.exists() {
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Clock for HungClock {
    fn boottime(&self) -> BootInstant {
        self.hang();
        self.clock.boottime()
    }

    fn unix_ms(&self) -> u64 {
        self.hang();
        self.clock.unix_ms()
    }
}
