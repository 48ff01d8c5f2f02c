//! The guards of a machine, one process for each group, as `quorate guard` is one: it attaches to the agent, has a keeper run
//! the group's service while it is told to, and says what has become of it. A service manager starts it again.

pub(super) mod keeper;
mod posts;

use super::Agent;
use crate::env::{Env, Timer};
pub(crate) use keeper::Keeps;
use keeper::{FromKeeper, Keeper};
pub(super) use posts::Posts;
use quorate_agent_core::{
    BootMs, LocalRole, Seat, attached::Told, kept::Until, leftovers::Leftovers, mandate::Mandates, seal,
};
use quorate_domain::{Epoch, GroupId};

/// Names a process of a machine.
pub(crate) type Pid = u64;
/// Names one attachment, or one try.
pub(crate) type Way = u64;

/// What guards and their keepers know.
pub(super) const SECRET: &str = "secret";
/// The user that guards run as.
pub(super) const USER: u32 = 7;
/// Another one, whose guards cannot see what those of the first have left.
pub(super) const OTHER_USER: u32 = 8;
/// From one try to attach to the next.
const RETRY_MS: u64 = 250;
/// How long an agent may take to answer whether it takes a guard.
const ATTACH_WAIT_MS: u64 = 5_000;
/// How long a search for what others have left takes at least and at most.
const SEARCH_MS: (u64, u64) = (20, 400);
/// The wait before the next one, where something hides.
const SEARCH_AGAIN_MS: u64 = 2_000;
/// How long a service may take to end once its role has.
const STOP_TIMEOUT_MS: u64 = 10_000;

/// What reaches a guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is to try to attach.
    Try,
    /// Nobody has answered this try.
    NoAnswer(Way),
    /// The agent takes it.
    Taken(Way),
    /// The agent tells it what the host is to its group.
    Told(Way, Box<Told>),
    /// The agent will not have it.
    Refused(Way),
    /// The agent is gone, or has another guard.
    Closed(Way),
    /// Its keeper says something.
    Keeper(Pid, FromKeeper),
    /// It has looked for what others have left.
    Searched,
    /// It has killed what its keeper left.
    KilledTheRest(Epoch),
}

/// What a guard says to the agent that it is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuardSays {
    /// It is there.
    Ready(Epoch),
    /// The service runs.
    Started(Epoch),
    /// Its keeper knows the deadline.
    Knows(Epoch, BootMs),
    /// Nothing is left of its service.
    Stopped { epoch: Epoch, failed: bool },
    /// Nothing is left of what others ran.
    NothingLeft { vouched: bool },
    /// It cannot begin anything, and why.
    Hindered(String),
}

/// A guard.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about a process")]
#[derive(Debug)]
pub(super) struct Guard {
    uid: u32,
    /// Its operator says that nothing is left.
    vouches: bool,
    /// There is a process of its user, of no group, that hides what it is.
    beside_hidden: bool,
    way: Option<Way>,
    attached: bool,
    mandates: Mandates<Until>,
    /// Its keeper, and the epoch of the service.
    keeper: Option<(Pid, Epoch)>,
    /// It knows by which mark it finds what others have left.
    has_mark: bool,
    searches: bool,
    left: Leftovers,
    /// It kills what its keeper has left.
    kills: bool,
    leaving: bool,
    /// What waits for it while it stands still.
    still: Option<Vec<Word>>,
}

impl Guard {
    fn new(uid: u32, vouches: bool, beside_hidden: bool) -> Self {
        Self {
            uid,
            vouches,
            beside_hidden,
            way: None,
            attached: false,
            mandates: Mandates::default(),
            keeper: None,
            has_mark: false,
            searches: false,
            left: Leftovers::default(),
            kills: false,
            leaving: false,
            still: None,
        }
    }

    /// Where it runs.
    fn seat(&self) -> Seat {
        Seat {
            uid: self.uid,
            pid_namespace: "pids".to_owned(),
            user_namespace: "users".to_owned(),
            clock: String::new(),
            keeper_seal: seal(SECRET),
        }
    }

    fn is(&self, way: Way) -> bool {
        self.way == Some(way)
    }

    fn is_away(&mut self) {
        (self.way, self.attached) = (None, false);
        self.mandates.away();
        self.left.away();
    }
}

impl Agent {
    fn guard(&mut self, group: &GroupId, pid: Pid) -> Option<&mut Guard> {
        self.posts.of.get_mut(group)?.guards.get_mut(&pid)
    }

    /// A word reaches a guard, which takes it in once it does not stand still.
    pub(super) fn guard_hears(&mut self, group: &GroupId, pid: Pid, word: Word, env: &mut Env) {
        let Some(guard) = self.guard(group, pid) else {
            if let Word::Keeper(_, FromKeeper::Gone { epoch, .. }) = word {
                self.give_last_word(group, epoch, env);
            }
            return;
        };
        if let Some(waiting) = &mut guard.still {
            waiting.push(word);
            return;
        }
        match word {
            Word::Try => self.guard_tries(group, pid, env),
            Word::NoAnswer(way) => self.guard_gives_up(group, pid, way, env),
            Word::Taken(way) if guard.is(way) => {
                guard.attached = true;
                guard.left.attached();
            }
            Word::Told(way, told) if guard.is(way) => self.guard_is_told(group, pid, &told, env),
            Word::Refused(way) if guard.is(way) => {
                guard.is_away();
                guard.leaving = true;
                self.guard_ends_service(group, pid, env);
            }
            Word::Closed(way) if guard.is(way) => {
                guard.is_away();
                self.send_guard_after(RETRY_MS, group, pid, Word::Try, env);
            }
            Word::Taken(_) | Word::Told(..) | Word::Refused(_) | Word::Closed(_) => {}
            Word::Keeper(keeper, said) => self.keeper_said(group, pid, keeper, said, env),
            Word::Searched => {
                guard.searches = false;
                let (uid, beside_hidden) = (guard.uid, guard.beside_hidden);
                let strays_hide = self.end_what_others_left(group, pid, uid, env);
                if let Some(guard) = self.guard(group, pid) {
                    guard.left.ended((strays_hide || beside_hidden).then(|| "something hides".to_owned()));
                }
            }
            Word::KilledTheRest(epoch) => {
                self.end_strays(group, |stray| stray.of == pid, env);
                self.guard_says(group, pid, GuardSays::Stopped { epoch, failed: true }, env);
                if let Some(guard) = self.guard(group, pid) {
                    (guard.kills, guard.leaving) = (false, true);
                }
            }
        }
        self.guard_goes_on(group, pid, env);
    }

    /// What follows from whatever a guard has heard.
    fn guard_goes_on(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let Some(guard) = self.guard(group, pid) else { return };
        if guard.keeper.is_some() || guard.kills {
            return;
        }
        if guard.leaving {
            return self.guard_exits(group, pid, env);
        }
        if guard.has_mark && guard.left.are_to_be_looked_for() && !guard.searches {
            guard.searches = true;
            let wait_ms = if guard.left.have_a_problem() { SEARCH_AGAIN_MS } else { 0 };
            let takes_ms = env.chance(self.node).draw(SEARCH_MS.0..=SEARCH_MS.1);
            self.send_guard_after(wait_ms + takes_ms, group, pid, Word::Searched, env);
        }
        let Some(guard) = self.guard(group, pid) else { return };
        let (vouched, is_gone) = (guard.vouches, guard.left.are_gone());
        let (is_to_be_told, hindrance) =
            (guard.left.are_to_be_told(vouched), guard.left.hindrance_to_be_told());
        if is_to_be_told {
            env.counts.add(if vouched { "guards/vouched-for" } else { "guards/left-nothing" });
            self.guard_says(group, pid, GuardSays::NothingLeft { vouched }, env);
        }
        if let Some(why) = hindrance {
            env.counts.add(if why.is_empty() { "guards/hindered-no-more" } else { "guards/hindered" });
            self.guard_says(group, pid, GuardSays::Hindered(why), env);
        }
        if !is_gone {
            return;
        }
        if let Some(epoch) = self.guard(group, pid).and_then(|guard| guard.mandates.ready()) {
            self.guard_says(group, pid, GuardSays::Ready(epoch), env);
        }
        let Some(guard) = self.guard(group, pid) else { return };
        if let Some((epoch, until)) = guard.mandates.begin() {
            let uid = guard.uid;
            let keeper = self.start_keeper(group, Keeper::new(pid, uid, epoch, until), env);
            if let Some(guard) = self.guard(group, pid) {
                guard.keeper = Some((keeper, epoch));
            }
        }
    }

    fn guard_tries(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        if self.process.is_none() {
            return self.send_guard_after(RETRY_MS, group, pid, Word::Try, env);
        }
        let way = self.posts.new_way();
        let Some(guard) = self.guard(group, pid) else { return };
        guard.way = Some(way);
        let (group, seat) = (group.clone(), guard.seat());
        self.send_guard_after(ATTACH_WAIT_MS, &group, pid, Word::NoAnswer(way), env);
        self.send_agent(Timer::GuardAttaches { group, pid, way, seat }, env);
    }

    fn guard_gives_up(&mut self, group: &GroupId, pid: Pid, way: Way, env: &mut Env) {
        let Some(guard) = self.guard(group, pid).filter(|guard| guard.is(way) && !guard.attached) else {
            return;
        };
        guard.is_away();
        self.send_agent(Timer::GuardGone(way), env);
        self.send_guard_after(RETRY_MS, group, pid, Word::Try, env);
    }

    fn guard_is_told(&mut self, group: &GroupId, pid: Pid, told: &Told, env: &mut Env) {
        let Some(guard) = self.guard(group, pid) else { return };
        guard.has_mark = true;
        guard.left.are_awaited(!told.nothing_awaited);
        if let Some(epoch) = told.asks {
            guard.mandates.asked(epoch);
        }
        if told.role.role != LocalRole::Primary {
            let unbegun = guard.mandates.over();
            self.never_begins(group, pid, unbegun, env);
            return self.guard_ends_service(group, pid, env);
        }
        let epoch = told.role.epoch;
        let until = Until { writes: told.role.write_deadline, lease: told.role.lease_deadline };
        let unbegun = guard.mandates.told(epoch, until);
        let keeper = guard.keeper;
        self.never_begins(group, pid, unbegun, env);
        match keeper {
            Some((keeper, under)) if under == epoch => {
                self.send_keeper(group, keeper, Keeps::Until(until), env);
            }
            Some(_) => self.guard_ends_service(group, pid, env),
            None => {}
        }
    }

    fn never_begins(&mut self, group: &GroupId, pid: Pid, unbegun: Option<Epoch>, env: &mut Env) {
        if let Some(epoch) = unbegun {
            env.counts.add("guards/told-and-never-begun");
            self.guard_says(group, pid, GuardSays::Stopped { epoch, failed: false }, env);
        }
    }

    fn guard_ends_service(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let by = self.now(env).after_ms(STOP_TIMEOUT_MS);
        if let Some((keeper, _)) = self.guard(group, pid).and_then(|guard| guard.keeper) {
            self.send_keeper(group, keeper, Keeps::End(by), env);
        }
    }

    fn keeper_said(&mut self, group: &GroupId, pid: Pid, keeper: Pid, said: FromKeeper, env: &mut Env) {
        let Some(guard) = self.guard(group, pid) else { return };
        let Some((_, epoch)) = guard.keeper.filter(|(own, _)| *own == keeper) else { return };
        match said {
            FromKeeper::Started(until) => {
                self.guard_says(group, pid, GuardSays::Started(epoch), env);
                self.guard_says(group, pid, GuardSays::Knows(epoch, until.lease), env);
            }
            FromKeeper::Knows(until) => {
                self.guard_says(group, pid, GuardSays::Knows(epoch, until.lease), env);
            }
            FromKeeper::NotStarted | FromKeeper::Gone { asked: false, .. } => {
                (guard.keeper, guard.leaving) = (None, true);
                env.counts.add("guards/services-ended-by-themselves");
                self.guard_says(group, pid, GuardSays::Stopped { epoch, failed: true }, env);
            }
            FromKeeper::Gone { .. } => {
                guard.keeper = None;
                self.guard_says(group, pid, GuardSays::Stopped { epoch, failed: false }, env);
            }
            FromKeeper::Lost => {
                // What the keeper has left falls to the guard, which says so once nothing is left.
                (guard.keeper, guard.kills) = (None, true);
                self.send_guard_after(keeper::KILL_MS, group, pid, Word::KilledTheRest(epoch), env);
            }
        }
    }

    /// It says something, if it is attached.
    fn guard_says(&mut self, group: &GroupId, pid: Pid, says: GuardSays, env: &mut Env) {
        if let Some(way) = self.guard(group, pid).filter(|guard| guard.attached).and_then(|guard| guard.way) {
            self.send_agent(Timer::GuardSays(way, says), env);
        }
    }

    fn guard_exits(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        env.note(self.node, || format!("the guard of {group} has ended"));
        self.remove_guard(group, pid, env);
    }

    /// It ends, one way or the other.
    pub(super) fn remove_guard(&mut self, group: &GroupId, pid: Pid, env: &mut Env) -> Option<Guard> {
        let guard = self.posts.of.get_mut(group)?.guards.remove(&pid)?;
        if let Some(way) = guard.way {
            self.send_agent(Timer::GuardGone(way), env);
        }
        self.start_guard_again(group, env);
        Some(guard)
    }

    /// The agent is gone: so are the streams of its guards.
    pub(super) fn leave_guards_alone(&mut self, env: &mut Env) {
        for (group, pid, way) in self.posts.ways() {
            self.send_guard(&group, pid, Word::Closed(way), env);
        }
    }

    /// A guard goes on with everything that has come meanwhile.
    pub(super) fn let_guard_go_on(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let waiting = self.guard(group, pid).and_then(|guard| guard.still.take()).unwrap_or_default();
        for word in waiting {
            self.guard_hears(group, pid, word, env);
        }
    }

    /// Something reaches a guard at once, or nearly.
    pub(super) fn send_guard(&mut self, group: &GroupId, pid: Pid, word: Word, env: &mut Env) {
        let at = self.posts.next_arrival(self.node, env);
        let timer = Timer::Guard(group.clone(), pid, word);
        env.wake_at(at, self.node, self.posts.life, timer);
    }

    fn send_guard_after(&self, ms: u64, group: &GroupId, pid: Pid, word: Word, env: &mut Env) {
        let timer = Timer::Guard(group.clone(), pid, word);
        env.wake_at(env.now.after_ms(ms), self.node, self.posts.life, timer);
    }

    /// Something reaches the agent that runs now, once it is not stopped.
    pub(super) fn send_agent(&mut self, timer: Timer, env: &mut Env) {
        let at = self.posts.next_arrival(self.node, env);
        env.wake_at(at, self.node, self.life, timer);
    }
}
