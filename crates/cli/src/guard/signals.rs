//! What the guard is told by signals.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signal by which a service is asked to end where nobody chose another.
pub(super) const TERMINATE: i32 = 15;

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// The service is to end by this signal, and the guard with it.
    Stop(i32),
    /// It is the service's.
    Pass(i32),
}

/// The signals that the guard takes.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    first: Signal,
    second: Signal,
}

impl Signals {
    /// # Errors
    /// When the operating system refuses.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            first: signal(SignalKind::user_defined1())?,
            second: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> Received {
        let number = |kind: SignalKind| kind.as_raw_value();
        tokio::select! {
            _ = self.terminate.recv() => Received::Stop(TERMINATE),
            _ = self.interrupt.recv() => Received::Stop(number(SignalKind::interrupt())),
            _ = self.quit.recv() => Received::Stop(number(SignalKind::quit())),
            _ = self.hangup.recv() => Received::Pass(number(SignalKind::hangup())),
            _ = self.first.recv() => Received::Pass(number(SignalKind::user_defined1())),
            _ = self.second.recv() => Received::Pass(number(SignalKind::user_defined2())),
        }
    }
}
