//! The keeper: the second process of a guard. It starts the service, knows its deadline, and leaves nothing of it when that
//! passes, whatever became of the guard. Everything that it starts descends from it, since it is the subreaper of that;
//! what it started itself dies with it by the kernel's doing, and what is left then falls to the guard.
//!
//! Architecture invariant: one keeper, one service. Whatever descends from it is the service.

mod others;
mod words;

pub use others::{Bystanders, Ended, GUARD_MARK, KEEPER_MARK, end_what_others_left, seat};
pub use words::{End, FromKeeper, MESSAGE_MAX_BYTES, ToKeeper, Until};

use crate::{
    clock::boot_ms,
    exec::Preparation,
    frame::{Decoder, FrameError, encode},
    limits::Limits,
    orphans::reap_orphans,
    processes::{self, Snapshot},
    search::MARK,
    signals::{Signals, drain},
    timer::Timer,
};
use quorate_agent_core::{
    BootMs,
    kept::{Act, Kept as Service},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, setsid, waitid,
    },
};
use std::{
    ffi::OsString,
    io::{self, PipeReader, Read, Write, pipe},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The hidden verb.
pub const VERB: &str = "guard-keeper";
/// How long a guard may take to hear the last word: less than a second.
const HEARD_WITHIN_MS: u64 = 300;
/// From one round of killing to the next.
const ROUND_MS: u64 = 10;
/// So many rounds find nothing before nothing is left: what forks while it is looked at may be missed once.
const EMPTY_ROUNDS: u32 = 2;

/// Why a keeper did not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It was started by hand.
    #[error("`{VERB}` is started by a guard; run `quorate guard`")]
    Words,
    /// What the guard says cannot be read.
    #[error("the guard is not understood")]
    Garbage(#[from] FrameError),
    /// The operating system refuses something.
    #[error("cannot keep a service")]
    System(#[from] io::Error),
}

impl From<rustix::io::Errno> for KeeperError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error.into())
    }
}

/// How a keeper has ended: nothing is left of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Its guard has heard it.
    Told,
    /// Its guard is gone, or stands still.
    Alone,
}

/// Keeps one service until nothing of it is left. The words are the service's command; the guard is at the other end of the
/// standard input.
///
/// # Errors
/// [`KeeperError`].
pub fn keep(words: impl Iterator<Item = OsString>) -> Result<Kept, KeeperError> {
    let command: Vec<OsString> = words.collect();
    if command.is_empty() {
        return Err(KeeperError::Words);
    }
    let guard = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Fails for what is no socket, such as a terminal.
    guard
        .set_nonblocking(true)
        .and_then(|()| guard.peer_addr().map(|_| ()))
        .map_err(|_| KeeperError::Words)?;
    // What is meant for the guard's terminal or process group is not meant for the service. A leader has one already.
    let _ = setsid();
    let signals = Signals::new()?;
    let given = Limits::take()?.given;
    let decoder = Decoder::new(MESSAGE_MAX_BYTES);
    let (timer, kept) = (Timer::new()?, Service::default());
    let (main, rounds) = (None, Rounds::default());
    let asked_by = Signal::TERM;
    let (exec, over, alone) = (None, false, false);
    let keeper = Keeper {
        command,
        guard,
        decoder,
        timer,
        signals,
        given,
        kept,
        main,
        exec,
        rounds,
        asked_by,
        over,
        alone,
    };
    keeper.run()
}

/// What was started.
#[derive(Debug)]
struct Main {
    handle: OwnedFd,
    pid: u32,
    end: Option<End>,
}

#[derive(Debug, Default)]
struct Rounds {
    next: u64,
    empty: u32,
}

struct Keeper {
    command: Vec<OsString>,
    guard: UnixStream,
    decoder: Decoder,
    timer: Timer,
    signals: Signals,
    given: Preparation,
    kept: Service,
    main: Option<Main>,
    /// Closed, without a word, once the service is what runs.
    exec: Option<PipeReader>,
    rounds: Rounds,
    /// By which signal the service is asked to end.
    asked_by: Signal,
    /// There is nothing to keep, and never will be.
    over: bool,
    /// The guard is gone.
    alone: bool,
}

impl Keeper {
    fn run(mut self) -> Result<Kept, KeeperError> {
        loop {
            let now = boot_ms();
            let act = self.kept.pass(BootMs(now));
            self.perform(act);
            if self.kept.is_killing() && now >= self.rounds.next && self.kill_round(now) {
                self.await_heard();
                return Ok(self.how());
            }
            let round = self.kept.is_killing().then_some(self.rounds.next);
            self.timer.ring_at(round.or(self.kept.next_wake().map(|due| due.0)));
            match self.wait()? {
                Heard::Nothing => {}
                Heard::Child => self.reap(),
                Heard::Guard => self.hear()?,
                Heard::Exec => self.executed(),
                Heard::Over => self.is_alone(),
            }
            if self.over {
                return Ok(self.how());
            }
        }
    }

    fn how(&self) -> Kept {
        if self.alone { Kept::Alone } else { Kept::Told }
    }

    /// A guard that hears the last word says so at once.
    fn await_heard(&mut self) {
        let end = boot_ms() + HEARD_WITHIN_MS;
        while !self.alone {
            let left = end.saturating_sub(boot_ms());
            let limit = Timespec { tv_sec: 0, tv_nsec: i64::try_from(left).unwrap_or(0) * 1_000_000 };
            let mut fds = [PollFd::new(&self.guard, PollFlags::IN)];
            let said = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)));
            let mut bytes = [0; 4_096];
            match (said, self.guard.read(&mut bytes)) {
                (Ok(1..), Ok(count @ 1..)) => self.decoder.take(&bytes[..count]),
                _ => self.alone = true,
            }
            while let Ok(Some(message)) = self.decoder.next_message::<ToKeeper>() {
                if message == ToKeeper::Heard {
                    return;
                }
            }
        }
    }

    /// Nobody is there any more to say when it must end.
    fn is_alone(&mut self) {
        self.alone = true;
        let act = self.kept.kill();
        self.perform(act);
        self.over |= self.main.is_none();
    }

    /// What prepares the service has become it, or has ended.
    fn executed(&mut self) {
        self.reap();
        let (Some(mut exec), Some(main)) = (self.exec.take(), &self.main) else { return };
        let pid = main.pid;
        let is_silent = matches!(exec.read(&mut [0]), Ok(0));
        if is_silent && main.end.is_none() {
            self.say(&FromKeeper::Started { pid });
        }
    }

    fn wait(&mut self) -> Result<Heard, KeeperError> {
        // A guard that is gone would wake us without end.
        let guard = if self.kept.is_killing() { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = vec![
            PollFd::new(&self.guard, guard),
            PollFd::new(&self.timer, PollFlags::IN),
            PollFd::new(&self.signals.children.0, PollFlags::IN),
            PollFd::new(&self.signals.ends.0, PollFlags::IN),
        ];
        fds.extend(self.exec.as_ref().map(|exec| PollFd::new(exec, PollFlags::IN)));
        if self.kept.is_killing() {
            fds[0].clear_revents();
            wait_for(&mut fds[1..])?;
        } else {
            wait_for(&mut fds)?;
        }
        let (said, child) = (fds[0].revents(), fds[2].revents().contains(PollFlags::IN));
        let executed = fds.get(4).is_some_and(|exec| !exec.revents().is_empty());
        drop(fds);
        self.timer.clear();
        drain(&mut self.signals.children.0);
        // Whoever stops the whole control group of a unit at once reaches the keeper too, which has its own order of things.
        drain(&mut self.signals.ends.0);
        Ok(match said {
            // What the guard says waits for the next look.
            _ if child => Heard::Child,
            _ if executed => Heard::Exec,
            said if said.contains(PollFlags::IN) => Heard::Guard,
            said if said.is_empty() => Heard::Nothing,
            _ => Heard::Over,
        })
    }

    fn hear(&mut self) -> Result<(), KeeperError> {
        let mut bytes = [0; 4_096];
        let over = match self.guard.read(&mut bytes) {
            Ok(0) => true,
            Ok(count) => {
                self.decoder.take(&bytes[..count]);
                false
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        };
        while let Some(message) = self.decoder.next_message::<ToKeeper>()? {
            self.said(message);
        }
        if over {
            self.is_alone();
        }
        Ok(())
    }

    fn said(&mut self, message: ToKeeper) {
        match message {
            ToKeeper::Start { until, environment } => {
                // It is started once it is what runs.
                if let Err(why) = self.start(until, &environment) {
                    self.over = self.main.is_none();
                    self.say(&FromKeeper::NotStarted { why });
                }
            }
            ToKeeper::Until(until) => {
                self.kept.renewed(until.into());
                self.say(&FromKeeper::Knows(until));
            }
            ToKeeper::End { by_ms, signal } => {
                self.asked_by = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
                let act = self.kept.end(BootMs(by_ms));
                self.perform(act);
            }
            ToKeeper::Signal { signal } => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    self.signal(signal);
                }
            }
            ToKeeper::Heard => {}
            ToKeeper::Kill => {
                let act = self.kept.kill();
                self.perform(act);
            }
        }
    }

    fn start(&mut self, until: Until, environment: &[(String, String)]) -> Result<(), String> {
        self.kept.start(until.into(), BootMs(boot_ms()))?;
        let started = self.spawn(until, environment);
        if started.is_err() {
            self.kept.gone();
        }
        started
    }

    fn spawn(&mut self, until: Until, environment: &[(String, String)]) -> Result<(), String> {
        let (exec, tell) = pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
        let preparation = Preparation {
            with_parent: Some(std::process::id()),
            not_after_ms: Some(until.writes_ms),
            tells: true,
            ..self.given.clone()
        };
        // By the main thread: what is started ends with the thread that started it.
        let mut child = Command::new("/proc/self/exe")
            .args(preparation.words())
            .args(&self.command)
            .env_remove(MARK)
            .env_remove(KEEPER_MARK)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(tell))
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", self.command[0].display()))?;
        let pid = child.id();
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let handle = number.ok_or(rustix::io::Errno::SRCH);
        match handle.and_then(|number| pidfd_open(number, PidfdFlags::empty())) {
            Ok(handle) => {
                self.main = Some(Main { handle, pid, end: None });
                self.exec = Some(exec);
                Ok(())
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("cannot hold {}: {error}", self.command[0].display()))
            }
        }
    }

    fn perform(&mut self, act: Option<Act>) {
        match act {
            Some(Act::Ask) => {
                self.signal(self.asked_by);
                // One that stands still hears nothing.
                self.signal(Signal::CONT);
            }
            Some(Act::Kill) => self.rounds = Rounds::default(),
            None => {}
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(main) = self.main.as_ref().filter(|main| main.end.is_none()) {
            // It may have ended by now.
            let _ = pidfd_send_signal(&main.handle, signal);
        }
    }

    /// Takes note of what has ended.
    fn reap(&mut self) {
        let Some(main) = &mut self.main else { return };
        if main.end.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            match waitid(WaitId::PidFd(main.handle.as_fd()), options) {
                Ok(None) => {}
                Ok(Some(status)) => {
                    main.end = Some(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => End::Code(code),
                        (None, signal) => End::Signal(signal.unwrap_or(0)),
                    });
                }
                Err(_) => main.end = Some(End::Signal(0)),
            }
        }
        let (pid, has_ended) = (main.pid, main.end.is_some());
        reap_orphans((!has_ended).then_some(pid));
        if has_ended {
            let act = self.kept.ended();
            self.perform(act);
        }
    }

    /// True once nothing is left and the guard has been told.
    fn kill_round(&mut self, now: u64) -> bool {
        // It was started with nothing below it.
        let is_empty = kill_all_below(&Bystanders::default());
        let took = boot_ms().saturating_sub(now);
        self.rounds.next = now + took + (5 * took).clamp(ROUND_MS, 20 * ROUND_MS);
        self.reap();
        let end = self.main.as_ref().map_or(Some(End::Signal(0)), |main| main.end);
        let Some(end) = end.filter(|_| is_empty) else {
            self.rounds.empty = 0;
            return false;
        };
        self.rounds.empty += 1;
        if self.rounds.empty < EMPTY_ROUNDS {
            return false;
        }
        let asked = self.kept.gone();
        self.say(&FromKeeper::Gone { end, asked });
        true
    }

    /// A guard that takes nothing more finds out by the end of its keeper.
    fn say(&mut self, message: &FromKeeper) {
        if let Ok(bytes) = encode(message, MESSAGE_MAX_BYTES)
            && let Err(error) = self.guard.write_all(&bytes)
        {
            self.alone |= error.kind() == io::ErrorKind::BrokenPipe;
        }
    }
}

/// What there is to hear.
enum Heard {
    Nothing,
    /// A child has ended.
    Child,
    Guard,
    /// What prepares the service is over.
    Exec,
    Over,
}

/// A signal that interrupts it has said nothing yet of what there is to hear.
fn wait_for(fds: &mut [PollFd<'_>]) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| poll(fds, None)).map(|_| ())
}

/// Kills everything that descends from this process, once. True when there was nothing, and that could be seen.
fn kill_all_below(but: &Bystanders) -> bool {
    let Ok(snapshot) = Snapshot::take() else { return false };
    let left = but.all_others(&snapshot);
    left.iter().copied().for_each(processes::kill);
    // None was hidden when it began.
    snapshot.hidden().iter().copied().for_each(processes::kill_child);
    left.is_empty() && snapshot.hidden().is_empty()
}

/// For a guard whose keeper is gone: kills everything that is left of it, until nothing is. False when that takes longer
/// than `limit`.
pub fn kill_what_is_left(but: &Bystanders, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    let mut empty = 0;
    while empty < EMPTY_ROUNDS {
        empty = if kill_all_below(but) { empty + 1 } else { 0 };
        reap_orphans(None);
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(ROUND_MS));
    }
    true
}
