//! One connection of an agent.

use crate::{
    frame::{Decoder, encode},
    protocol::{FROM_WARDEN_MAX_BYTES, FromWarden, TO_WARDEN_MAX_BYTES, ToWarden, VERSION},
};
use rustix::net::sockopt::socket_peercred;
use serde::Deserialize;
use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

/// What an agent that does not read may leave waiting; then its connection is closed, and it hears all by a welcome.
const WAITING_MAX_BYTES: usize = 2 * FROM_WARDEN_MAX_BYTES;
/// Output of hooks is passed on only while less than that waits.
const OUTPUT_WAITING_MAX_BYTES: usize = 256 << 10;
/// The most that is read at once.
const READ_MAX_BYTES: usize = 64 << 10;

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: UnixStream,
    pub(crate) since: u64,
    /// It has said hello.
    pub(crate) greeted: bool,
    pub(crate) pid: u32,
    decoder: Decoder,
    waiting: VecDeque<u8>,
    broken: bool,
}

/// What every version can read.
#[derive(Deserialize)]
struct Greeting {
    say: String,
    #[serde(default)]
    version: Option<u32>,
}

impl Conn {
    /// `None` when it comes from another user.
    pub(crate) fn new(stream: UnixStream, since: u64) -> io::Result<Option<Self>> {
        stream.set_nonblocking(true)?;
        let peer = socket_peercred(&stream)?;
        if peer.uid != rustix::process::geteuid() && !peer.uid.is_root() {
            return Ok(None);
        }
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
        let decoder = Decoder::new(TO_WARDEN_MAX_BYTES);
        let waiting = VecDeque::new();
        Ok(Some(Self { stream, since, greeted: false, pid, decoder, waiting, broken: false }))
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// Why nothing more can come of it.
    pub(crate) fn read(&mut self) -> Result<Vec<ToWarden>, String> {
        let mut buffer = [0_u8; 4_096];
        let mut read = 0;
        let mut messages = Vec::new();
        while read < READ_MAX_BYTES {
            match self.stream.read(&mut buffer) {
                Ok(0) if messages.is_empty() => return Err("it was closed".to_owned()),
                // The next look finds it closed.
                Ok(0) => break,
                Ok(count) => {
                    read += count;
                    self.decoder.take(&buffer[..count]);
                    while let Some(message) = self.next()? {
                        messages.push(message);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What came before the end counts: a goodbye, when not all was read that it was told.
                Err(_) if !messages.is_empty() => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(messages)
    }

    fn next(&mut self) -> Result<Option<ToWarden>, String> {
        let Some(body) = self.decoder.next_body().map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        if !self.greeted {
            let greeting: Greeting = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            if greeting.say != "hello" {
                return Err(format!("it began with `{}` and not with a hello", greeting.say));
            }
            if greeting.version != Some(VERSION) {
                let theirs = greeting.version.unwrap_or(0);
                return Err(format!("it speaks version {theirs} and this warden speaks {VERSION}"));
            }
            self.greeted = true;
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| format!("it cannot be read: {error}"))
    }

    /// Says something, soon.
    pub(crate) fn say(&mut self, message: &FromWarden) {
        match encode(message, FROM_WARDEN_MAX_BYTES) {
            Ok(bytes) if self.waiting.len() + bytes.len() <= WAITING_MAX_BYTES => self.waiting.extend(bytes),
            _ => self.broken = true,
        }
        self.flush();
    }

    /// Says something that may be left out; false when it is.
    pub(crate) fn say_if_idle(&mut self, message: &FromWarden) -> bool {
        let idle = self.waiting.len() < OUTPUT_WAITING_MAX_BYTES && !self.broken;
        if idle {
            self.say(message);
        }
        idle
    }

    /// Writes what it takes.
    pub(crate) fn flush(&mut self) {
        while !self.waiting.is_empty() && !self.broken {
            let (front, _) = self.waiting.as_slices();
            match self.stream.write(front) {
                Ok(0) => self.broken = true,
                Ok(count) => {
                    self.waiting.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// True while something waits to be written.
    pub(crate) fn wants_to_write(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}
