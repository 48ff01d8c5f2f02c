//! The process: it takes its place and its limits, and then polls until nothing is left to guard.

use crate::{
    clock::boot_ms,
    conn::Conn,
    journal::Journal,
    kin::Kin,
    limits::Limits,
    place::Place,
    protocol::{FromWarden, ToWarden},
    record::{self, Records},
    runs::Watch,
    search::Searcher,
    signals::{Signals, drain},
    spawner::{Done, Spawner},
    timer::Timer,
    wake::Waker,
    warden::{Parts, Warden},
};
use quorate_agent_core::guard::RunKey;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    io::Errno,
    process::{WaitOptions, setsid, wait},
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

/// The hidden verb.
pub const VERB: &str = "warden";
/// The most connections that have not said hello.
const STRANGERS_MAX: usize = 4;
/// How long one may take to say it.
const HELLO_WITHIN_MS: u64 = 2_000;
const EVENTS_MAX: usize = 256;
/// `__WNOTHREAD`: only children of this thread, which are the orphans; hooks are children of the thread that starts them.
const OF_THIS_THREAD: u32 = 0x2000_0000;

/// Why a warden did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum WardenError {
    /// It was started by hand.
    #[error("`{VERB}` is started by the agent; run `quorate agent`")]
    Words,
    /// Another one is there.
    #[error("another warden holds {0}; the agent takes that one over")]
    Held(PathBuf),
    /// The operating system refuses something.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

fn cannot<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> WardenError {
    move |error| WardenError::System { action, source: error.into() }
}

/// Guards until nothing is left to guard. The words are those after the verb: `--state-dir DIR` and, where the agent
/// holds what a dead warden left, `--orphans-of PID`.
///
/// # Errors
/// [`WardenError`].
pub fn serve(words: impl Iterator<Item = OsString>) -> Result<(), WardenError> {
    let (state_dir, orphans_of) = parse(words).ok_or(WardenError::Words)?;
    // What is meant for the agent's terminal or process group is not meant for the warden. A leader has one already.
    let _ = setsid();
    let Some(place) = Place::take(&state_dir).map_err(cannot("listen in the state folder"))? else {
        return Err(WardenError::Held(state_dir));
    };
    let poll = Poll::new().map_err(cannot("poll"))?;
    let waker = Waker::new().map_err(cannot("make a waker"))?;
    let signals = Signals::new().map_err(cannot("take signals"))?;
    let warden = assemble(&state_dir, &place, orphans_of, &waker)?;
    poll.watch(&place.listener, Token::Listener, EventFlags::IN).map_err(cannot("poll"))?;
    poll.watch(&waker, Token::Waker, EventFlags::IN).map_err(cannot("poll"))?;
    poll.watch(&signals.ends.0, Token::EndSignal, EventFlags::IN).map_err(cannot("poll"))?;
    poll.watch(&signals.children.0, Token::ChildSignal, EventFlags::IN).map_err(cannot("poll"))?;
    let process =
        Process { place, poll, waker, signals, warden, strangers: BTreeMap::new(), conns: 0, agent_conn: 0 };
    process.run()
}

fn parse(mut words: impl Iterator<Item = OsString>) -> Option<(PathBuf, Option<u32>)> {
    let (mut state_dir, mut orphans_of) = (None, None);
    while let Some(word) = words.next() {
        match word.to_str()? {
            "--state-dir" => state_dir = Some(PathBuf::from(words.next()?)),
            "--orphans-of" => orphans_of = Some(words.next()?.to_str()?.parse().ok()?),
            _ => return None,
        }
    }
    Some((state_dir?, orphans_of))
}

fn assemble(
    state_dir: &Path,
    place: &Place,
    orphans_of: Option<u32>,
    waker: &Waker,
) -> Result<Warden, WardenError> {
    let journal = Journal::start().map_err(cannot("start a thread"))?;
    let records = Records::open(state_dir).map_err(cannot("use the state folder"))?;
    let mark = records.mark(place.number).map_err(cannot("use the state folder"))?;
    let spawner = Spawner::start(records.clone(), waker.clone()).map_err(cannot("start a thread"))?;
    let searcher = Searcher::start(waker.clone()).map_err(cannot("start a thread"))?;
    let boot = record::boot().map_err(cannot("learn which boot this is"))?;
    let limits = Limits::take().map_err(cannot("be the subreaper of what hooks start"))?;
    let kin = Kin::new(i32::try_from(std::process::id()).unwrap_or(0));
    let orphans_of = orphans_of.and_then(record::identity_of);
    let parts = Parts { limits, journal, records, spawner, searcher, kin, boot, mark, orphans_of };
    Ok(Warden::new(parts, boot_ms()))
}

/// What a descriptor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener,
    Timer,
    Waker,
    EndSignal,
    ChildSignal,
    Conn(u64),
    Hook(RunKey),
    Outlet(u64),
}

const KIND_SHIFT: u32 = 56;

impl Token {
    fn to_u64(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener => (0, 0),
            Self::Timer => (1, 0),
            Self::Waker => (2, 0),
            Self::EndSignal => (3, 0),
            Self::ChildSignal => (4, 0),
            Self::Conn(number) => (5, number),
            Self::Hook(RunKey(number)) => (6, number),
            Self::Outlet(number) => (7, number),
        };
        (kind << KIND_SHIFT) | number
    }

    fn from_u64(value: u64) -> Self {
        let number = value & ((1 << KIND_SHIFT) - 1);
        match value >> KIND_SHIFT {
            0 => Self::Listener,
            1 => Self::Timer,
            2 => Self::Waker,
            3 => Self::EndSignal,
            4 => Self::ChildSignal,
            5 => Self::Conn(number),
            6 => Self::Hook(RunKey(number)),
            _ => Self::Outlet(number),
        }
    }
}

/// What is watched, and the one timer, on the clock that counts suspend.
#[derive(Debug)]
struct Poll {
    epoll: OwnedFd,
    timer: Timer,
}

impl Poll {
    fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = Timer::new()?;
        let poll = Self { epoll, timer };
        poll.watch(&poll.timer, Token::Timer, EventFlags::IN)?;
        Ok(poll)
    }

    fn watch(&self, fd: impl AsFd, token: Token, flags: EventFlags) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token.to_u64()), flags)
    }

    fn wait(&self, events: &mut Vec<Event>) -> rustix::io::Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Watch for Poll {
    fn hook(&mut self, key: RunKey, handle: &OwnedFd) -> rustix::io::Result<()> {
        self.watch(handle, Token::Hook(key), EventFlags::IN)
    }

    fn outlet(&mut self, number: u64, pipe: &OwnedFd) -> rustix::io::Result<()> {
        self.watch(pipe, Token::Outlet(number), EventFlags::IN)
    }

    fn forget(&mut self, fd: &OwnedFd) {
        // One that is not watched needs no forgetting.
        let _ = epoll::delete(&self.epoll, fd);
    }
}

struct Process {
    place: Place,
    poll: Poll,
    waker: Waker,
    signals: Signals,
    warden: Warden,
    /// Connections that have not said hello.
    strangers: BTreeMap<u64, Conn>,
    conns: u64,
    /// Which of them is the agent's.
    agent_conn: u64,
}

impl Process {
    fn run(mut self) -> Result<(), WardenError> {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now = boot_ms();
            self.warden.pass(now);
            self.warden.kill_round(&mut self.poll, now);
            self.warden.rest_is_over(&mut self.poll, now);
            self.warden.welcome_when_ready();
            self.look_after_conns(now);
            if self.warden.may_end(now) {
                break;
            }
            let strangers = self.strangers.values().map(|conn| conn.since.saturating_add(HELLO_WITHIN_MS));
            let wake = strangers.chain(self.warden.next_wake()).min();
            self.poll.timer.ring_at(wake);
            self.poll.wait(&mut events).map_err(cannot("poll"))?;
            let now = boot_ms();
            for event in &events {
                // Packed, so taken out by value.
                let data = event.data;
                self.event(Token::from_u64(data.u64()), now);
            }
        }
        if let Some(watchdog) = self.warden.watchdog.take() {
            watchdog.close().map_err(cannot("close the watchdog device"))?;
        }
        Ok(())
    }

    fn event(&mut self, token: Token, now: u64) {
        match token {
            // The loop itself does what time asks for.
            Token::Timer => self.poll.timer.clear(),
            Token::Listener => self.accept(now),
            Token::Waker => {
                self.waker.clear();
                while let Ok(done) = self.warden.spawner.done.try_recv() {
                    match done {
                        Done::Started(key, result) => self.warden.started(key, result, &mut self.poll, now),
                        Done::NotNoted(why) => self.warden.log(true, why),
                    }
                }
                while let Ok(found) = self.warden.searcher.found.try_recv() {
                    self.warden.found(found, now);
                }
            }
            Token::EndSignal => {
                drain(&mut self.signals.ends.0);
                if self.warden.agent.is_none() && self.warden.has_nothing_to_do() {
                    self.warden.end_now();
                } else {
                    let text = "a signal asked the warden to end; it goes on until nothing is guarded and its agent has gone";
                    self.warden.log(false, text.to_owned());
                }
            }
            Token::ChildSignal => {
                drain(&mut self.signals.children.0);
                let mine = WaitOptions::NOHANG | WaitOptions::from_bits_retain(OF_THIS_THREAD);
                while let Ok(Some(_)) = wait(mine) {}
            }
            Token::Hook(key) => self.warden.hook_ended(key, &mut self.poll, now),
            Token::Outlet(number) => self.warden.output(number, &mut self.poll, now),
            Token::Conn(number) if number == self.agent_conn => self.hear_agent(now),
            Token::Conn(number) => self.hear_stranger(number, now),
        }
    }

    fn accept(&mut self, now: u64) {
        while let Ok((stream, _)) = self.place.listener.accept() {
            // Whoever says nothing must not keep an agent out.
            while self.strangers.len() >= STRANGERS_MAX {
                self.strangers.pop_first();
            }
            let Ok(Some(conn)) = Conn::new(stream, now) else { continue };
            self.conns += 1;
            if self.poll.watch(&conn.stream, Token::Conn(self.conns), EventFlags::IN).is_ok() {
                self.strangers.insert(self.conns, conn);
            }
        }
    }

    fn hear_stranger(&mut self, number: u64, now: u64) {
        let Some(mut conn) = self.strangers.remove(&number) else { return };
        let mut messages = match conn.read() {
            Ok(messages) => messages.into_iter(),
            Err(why) => {
                self.warden.log(true, format!("a connection is closed: {why}"));
                conn.say(&FromWarden::Refused { field: "hello".to_owned(), problem: why });
                return;
            }
        };
        match messages.next() {
            Some(ToWarden::Hello(hello)) => {
                if self.warden.hello(conn, &hello, now) {
                    self.agent_conn = number;
                    messages.for_each(|message| self.warden.said(message, now));
                }
            }
            _ => {
                self.strangers.insert(number, conn);
            }
        }
    }

    fn hear_agent(&mut self, now: u64) {
        let Some(agent) = &mut self.warden.agent else { return };
        match agent.conn.read() {
            Ok(messages) => messages.into_iter().for_each(|message| self.warden.said(message, now)),
            Err(why) => self.warden.agent_gone(&why, now),
        }
    }

    fn look_after_conns(&mut self, now: u64) {
        self.strangers.retain(|_, conn| now < conn.since.saturating_add(HELLO_WITHIN_MS));
        let Some(agent) = &mut self.warden.agent else { return };
        agent.conn.flush();
        if agent.conn.is_broken() {
            // It may have said goodbye before it closed.
            self.hear_agent(now);
            self.warden.agent_gone("it takes no messages any more", now);
            return;
        }
        let flags =
            if agent.conn.wants_to_write() { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        let data = EventData::new_u64(Token::Conn(self.agent_conn).to_u64());
        // A connection that cannot be watched is one that says nothing, and ends by that.
        let _ = epoll::modify(&self.poll.epoll, &agent.conn.stream, data, flags);
    }
}
