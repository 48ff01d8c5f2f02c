//! A service that asks nobody: it writes the epoch that it was started under into a journal every 10 ms until it is killed.
//! Which service outlives its lease shows in the order of the lines (see `quorate_tests::services`).

use anyhow::{Context, Result};
use std::{
    env,
    fs::{self, OpenOptions},
    io::Write,
    process::{self, ExitCode},
    thread,
    time::Duration,
};

/// What every write waits for the next.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-service: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut words = env::args().skip(1);
    let mut word = |what: &str| words.next().with_context(|| format!("{what} is missing"));
    let (journal, pid_file) = (word("the journal")?, word("the file for its process id")?);
    let (epoch, host) = (word("the epoch")?, word("the host")?);
    fs::write(&pid_file, process::id().to_string()).context("could not write the process id")?;
    let mut journal =
        OpenOptions::new().create(true).append(true).open(&journal).context("could not open the journal")?;
    let line = format!("{epoch} {host}\n");
    loop {
        // In one write, so that lines of several services do not mix, and their order is the order of the writes.
        journal.write_all(line.as_bytes()).context("could not write")?;
        thread::sleep(PAUSE);
    }
}
