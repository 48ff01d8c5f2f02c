//! The guard's end of the way to its keeper.

use super::last_word::LastWord;
use quorate_warden::{
    Decoder, encode,
    keeper::{
        Bystanders, FromKeeper, GUARD_MARK, KEEPER_MARK, MESSAGE_MAX_BYTES, ToKeeper, Until, VERB,
        kill_what_is_left,
    },
};
use std::{
    ffi::OsString,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tokio::{io::AsyncReadExt, net::UnixStream, task::spawn_blocking};

/// What was killed is gone within that, or hangs in the kernel.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// What comes of a keeper.
#[derive(Debug)]
pub(super) enum Said {
    /// It said something.
    Word(FromKeeper),
    /// It is gone, and has not said that nothing of the service is left.
    Lost,
}

/// A keeper, and with it one service.
#[derive(Debug)]
pub(super) struct Keeper {
    child: Child,
    stream: UnixStream,
    /// The same socket, to be written to at once: the runtime knows only later that it takes something.
    writer: StdStream,
    decoder: Decoder,
    broken: bool,
}

impl Keeper {
    /// Starts one, and has it start the service.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(super) fn start(
        command: &[OsString],
        mark: &str,
        last_word: &LastWord,
        until: Until,
        environment: Vec<(String, String)>,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let writer = ours.try_clone()?;
        let stream = UnixStream::from_std(ours)?;
        let child = Command::new("/proc/self/exe")
            .arg(VERB)
            .args(command)
            .env(GUARD_MARK, mark)
            .env(KEEPER_MARK, last_word.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        let decoder = Decoder::new(MESSAGE_MAX_BYTES);
        let mut keeper = Self { child, stream, writer, decoder, broken: false };
        keeper.say(&ToKeeper::Start { until, environment });
        Ok(keeper)
    }

    /// Says something. A keeper that takes nothing keeps the last deadline that it took.
    pub(super) fn say(&mut self, message: &ToKeeper) {
        let Ok(bytes) = encode(message, MESSAGE_MAX_BYTES) else {
            self.broken = true;
            return;
        };
        match self.writer.write(&bytes) {
            Ok(written) if written == bytes.len() => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A part of a message, or nobody there.
            _ => self.broken = true,
        }
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Said {
        let mut bytes = [0; 4_096];
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => return Said::Word(message),
                Ok(None) if self.broken => return Said::Lost,
                Ok(None) => {}
                Err(_) => return Said::Lost,
            }
            match self.stream.read(&mut bytes).await {
                Ok(0) | Err(_) => self.broken = true,
                Ok(count) => self.decoder.take(&bytes[..count]),
            }
        }
    }

    /// It has said its last word, and the agent hears it from the guard.
    pub(super) async fn release(mut self) {
        self.say(&ToKeeper::Heard);
        let Self { mut child, stream, writer, .. } = self;
        drop((stream, writer));
        let _ = spawn_blocking(move || child.wait()).await;
    }

    /// Kills it and everything that is left of its service. False when something does not go.
    pub(super) async fn kill(self, but: Bystanders) -> bool {
        let mut child = self.child;
        let killed = spawn_blocking(move || {
            // It may have ended before.
            let _ = child.kill();
            let _ = child.wait();
            kill_what_is_left(&but, GONE_WITHIN)
        });
        killed.await.unwrap_or(false)
    }
}
