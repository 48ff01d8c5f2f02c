//! The pipe between a process and its log. Somebody reads it all the time, or nobody does for a while.

use anyhow::{Context, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::AsRawFd,
    fs::{OFlags, fcntl_setfl},
    pipe::fcntl_setpipe_size,
    time::Timespec,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// The least that a pipe can hold: what is put into it so that it is full stands in the log afterwards.
const ROOM_BYTES: usize = 4_096;
/// How soon the reader notices that its process is no more wanted, while others hold the pipe.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Our end of it.
#[derive(Debug)]
pub(crate) struct LogPipe {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pipe: PipeReader,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    log: File,
    read: bool,
    /// Nobody wants to know any more.
    dropped: bool,
}

impl LogPipe {
    /// A pipe whose other end is for a process, and who reads it into a log.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn into_log(log: File) -> Result<(Self, PipeWriter)> {
        let (pipe, writer) = io::pipe().context("no pipe")?;
        fcntl_setpipe_size(&writer, ROOM_BYTES).context("the size of a pipe")?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK).context("a pipe that does not wait")?;
        let state = Mutex::new(State { log, read: true, dropped: false });
        let shared = Arc::new(Shared { pipe, state, changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let reader = thread::Builder::new().name("log reader".into());
        reader.spawn(move || of_thread.read_until_closed()).context("no thread reads the log")?;
        Ok((Self { shared }, writer))
    }

    /// Takes in what has been said until now, unless nobody reads.
    ///
    /// # Errors
    /// When the log takes nothing.
    pub(crate) fn catch_up(&self) -> Result<()> {
        let mut state = self.shared.lock();
        if state.read {
            self.shared.drain(&mut state).context("writing a log")?;
        }
        Ok(())
    }

    /// From now on nobody reads, and there is no room for a byte.
    ///
    /// # Errors
    /// When the pipe does not become full.
    pub(crate) fn stop_reading(&self) -> Result<()> {
        self.shared.lock().read = false;
        let mut writer = self.second_writer()?;
        for size in [ROOM_BYTES / 8, 1] {
            loop {
                match writer.write(&[b'\n'; ROOM_BYTES / 8][..size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("filling a log's pipe"),
                }
            }
        }
        self.expect_unread()
    }

    /// There is still no room for a byte.
    ///
    /// # Errors
    /// When there is.
    pub(crate) fn expect_unread(&self) -> Result<()> {
        ensure!(!self.shared.lock().read, "the log is read");
        let tried = self.second_writer()?.write(b"\n");
        ensure!(
            tried.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "the pipe of the log has room: {tried:?}"
        );
        Ok(())
    }

    /// Somebody reads again.
    pub(crate) fn read_again(&self) {
        self.shared.lock().read = true;
        self.shared.changed.notify_all();
    }

    /// A description of its own, so that the process's end goes on waiting where this one does not.
    fn second_writer(&self) -> Result<File> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let path = format!("/proc/self/fd/{}", self.shared.pipe.as_raw_fd());
        OpenOptions::new().write(true).custom_flags(flags).open(path).context("the other end of a log's pipe")
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_until_closed(&self) {
        let wait = Timespec::try_from(LOOK_EVERY).unwrap_or_default();
        loop {
            // Whether something came or not: the state says whether it is to be read.
            let _ = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&wait));
            let mut state = self.lock();
            while !state.read && !state.dropped {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let open = self.drain(&mut state).unwrap_or(false);
            if !open || state.dropped {
                return;
            }
        }
    }

    /// Moves what there is into the log; false when everybody has closed the other end.
    fn drain(&self, state: &mut State) -> io::Result<bool> {
        let mut bytes = [0; ROOM_BYTES];
        loop {
            match (&self.pipe).read(&mut bytes) {
                Ok(0) => return Ok(false),
                Ok(length) => state.log.write_all(&bytes[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_while_nobody_reads_finds_no_room_and_what_waits_arrives_later() -> Result<()> {
        let mut file = tempfile::tempfile()?;
        let (pipe, mut writer) = LogPipe::into_log(file.try_clone()?)?;
        writer.write_all(b"first\n")?;
        pipe.catch_up()?;
        pipe.stop_reading()?;
        let waiting = thread::spawn(move || writer.write_all(b"second\n"));
        pipe.expect_unread()?;
        pipe.read_again();
        assert!(pipe.expect_unread().is_err());
        waiting.join().expect("it does not panic")?;
        pipe.catch_up()?;
        let mut said = String::new();
        io::Seek::rewind(&mut file)?;
        file.read_to_string(&mut said)?;
        assert!(said.starts_with("first\n\n") && said.ends_with("\nsecond\n"), "{said:?}");
        Ok(())
    }
}
