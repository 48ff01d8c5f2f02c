//! What the warden has to say. It never waits for a reader: an agent logs it, and while there is none a thread of its
//! own writes to the standard error that the agent left behind, which may be a pipe that is full.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

/// The most lines that wait for the standard error.
const LINES_MAX: usize = 64;
const STACK_BYTES: usize = 128 << 10;

/// The way to the standard error.
#[derive(Debug)]
pub(crate) struct Journal {
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

impl Journal {
    pub(crate) fn start() -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<String>(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        thread::Builder::new().name("journal".into()).stack_size(STACK_BYTES).spawn(move || {
            for line in waiting {
                let dropped = counted.swap(0, Ordering::Relaxed);
                let left_out = if dropped > 0 {
                    format!(" ({dropped} lines before this were left out)")
                } else {
                    String::new()
                };
                // Nobody may listen.
                let _ = writeln!(io::stderr(), "quorate warden: {line}{left_out}");
            }
        })?;
        Ok(Self { lines, dropped })
    }

    /// Writes a line, or counts it.
    pub(crate) fn say(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
