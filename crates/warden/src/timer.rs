//! A timer on the clock that counts suspend, as a descriptor to be polled.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// Readable from the moment on that it was set to.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK).map(Self)
    }

    /// Sets it, or stops it.
    pub(crate) fn ring_at(&self, at: Option<u64>) {
        // A zero would stop it, and what is past rings at once.
        let at = at.map_or(Timespec { tv_sec: 0, tv_nsec: 0 }, |at| {
            let at = at.max(1);
            let nanos = i64::try_from(at % 1_000 * 1_000_000).unwrap_or(0);
            Timespec { tv_sec: i64::try_from(at / 1_000).unwrap_or(i64::MAX), tv_nsec: nanos }
        });
        let value = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        // It can fail for wrong figures only.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &value);
    }

    /// Takes note of that it rang.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
