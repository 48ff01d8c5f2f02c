//! Signals to a process that has no runtime and outlives them.

use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM},
    low_level::pipe,
};
use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
};

/// Signals, as bytes to read. Handlers and not ignored signals: those would be passed on to hooks.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) ends: (UnixStream, UnixStream),
    pub(crate) children: (UnixStream, UnixStream),
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        let (ends, children) = (UnixStream::pair()?, UnixStream::pair()?);
        for stream in [&ends.0, &ends.1, &children.0, &children.1] {
            stream.set_nonblocking(true)?;
        }
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            pipe::register(signal, ends.1.try_clone()?)?;
        }
        pipe::register(SIGCHLD, children.1.try_clone()?)?;
        Ok(Self { ends, children })
    }
}

/// Takes what is there.
pub(crate) fn drain(stream: &mut UnixStream) {
    let mut bytes = [0; 64];
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {}
}
