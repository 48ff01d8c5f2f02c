//! The keeper of one service: the real rules of when it is asked to end and when it is killed, around a modelled service. It
//! needs nobody for that, and has the last word when its guard is gone or stands still.

use super::{Pid, Word};
use crate::{
    agent::{Agent, Services},
    env::{Env, Timer},
};
use quorate_agent_core::{
    BootMs,
    kept::{Act, Kept, Until},
};
use quorate_domain::{Epoch, GroupId};

/// How long it takes to kill all that a service has started, on a machine that is not busy: less than the least margin of D.
pub(super) const KILL_MS: u64 = 5;
/// So much later it is seen that nothing is left.
const SEEN_MS: (u64, u64) = (20, 60);
/// The longest that preparing and executing a service takes.
const EXEC_MAX_US: u64 = 20_000;
/// The longest that a service takes to end when it is asked to.
const END_MAX_MS: u64 = 3_000;
/// A service does not end when it is asked to this often, in a million.
const DEAF_PPM: u64 = 200_000;
/// A service has started processes of its own, which do not end with it, this often.
const FORKS_PPM: u64 = 700_000;
/// A service that soon ends by itself does so within this.
const SOON_MS: u64 = 3_000;
/// From one try to reach the agent with the last word to the next, and how long it may take to answer.
const RETRY_MS: u64 = 250;
const ANSWER_MS: u64 = 2_000;
/// For how long the agent is tried.
const TRY_FOR_MS: u64 = 60_000;

/// What reaches a keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Its guard says that the lease was renewed.
    Until(Until),
    /// Its guard asks it to end the service.
    End(BootMs),
    /// It has something to do at this time.
    Wakes,
    /// The service is what runs, or cannot be executed.
    Executed,
    /// The service ends by itself, or because it was asked to.
    Ended,
    /// All that the service started is dead.
    Killed,
    /// Nothing is left, as far as anybody can see.
    Gone,
}

/// What a keeper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromKeeper {
    /// The service runs.
    Started(Until),
    /// It does not.
    NotStarted,
    /// The deadline is known, and is kept whatever becomes of the guard.
    Knows(Until),
    /// Nothing is left of the service.
    Gone { epoch: Epoch, asked: bool },
    /// Nothing more: it is gone itself.
    Lost,
}

/// A keeper, and with it one service.
#[derive(Debug)]
pub(in crate::agent) struct Keeper {
    /// The guard that it is of.
    pub(super) of: Pid,
    pub(super) uid: u32,
    pub(super) epoch: Epoch,
    until: Until,
    kept: Kept,
    /// The first process of the service is there.
    pub(super) main: bool,
    /// So is what that has started.
    pub(super) rest: bool,
    wake_due: Option<BootMs>,
}

impl Keeper {
    pub(super) fn new(of: Pid, uid: u32, epoch: Epoch, until: Until) -> Self {
        Self { of, uid, epoch, until, kept: Kept::default(), main: false, rest: false, wake_due: None }
    }

    /// True while something of its service runs.
    pub(super) fn serves(&self) -> bool {
        self.main || self.rest
    }
}

impl Agent {
    fn keeper(&mut self, group: &GroupId, pid: Pid) -> Option<&mut Keeper> {
        self.posts.of.get_mut(group)?.keepers.get_mut(&pid)
    }

    /// A guard has a keeper run the service.
    pub(super) fn start_keeper(&mut self, group: &GroupId, mut keeper: Keeper, env: &mut Env) -> Pid {
        let (pid, now) = (self.posts.new_pid(), self.now(env));
        let (of, epoch) = (keeper.of, keeper.epoch);
        if keeper.kept.start(keeper.until, now).is_err() {
            env.counts.add("guards/told-too-late");
            self.send_guard(group, of, Word::Keeper(pid, FromKeeper::NotStarted), env);
            return pid;
        }
        env.note(self.node, || format!("a keeper starts the service of {group} under epoch {epoch}"));
        let Some(post) = self.posts.of.get_mut(group) else { return pid };
        post.keepers.insert(pid, keeper);
        let takes_us = env.chance(self.node).draw(1..=EXEC_MAX_US);
        let timer = Timer::Keeper(group.clone(), pid, Keeps::Executed);
        env.wake_at(env.now.after_us(takes_us), self.node, self.posts.life, timer);
        self.wake_keeper(group, pid, env);
        pid
    }

    /// Something reaches a keeper.
    pub(in crate::agent) fn keeper_hears(&mut self, group: &GroupId, pid: Pid, said: Keeps, env: &mut Env) {
        let now = self.now(env);
        let Some(keeper) = self.keeper(group, pid) else { return };
        match said {
            Keeps::Until(until) => {
                keeper.kept.renewed(until);
                let of = keeper.of;
                self.send_guard(group, of, Word::Keeper(pid, FromKeeper::Knows(until)), env);
            }
            Keeps::End(by) => {
                let act = keeper.kept.end(by);
                self.keeper_acts(group, pid, act, env);
            }
            Keeps::Wakes => {
                keeper.wake_due = keeper.wake_due.filter(|due| *due > now);
                let act = keeper.kept.pass(now);
                self.keeper_acts(group, pid, act, env);
            }
            Keeps::Executed => self.executed(group, pid, env),
            Keeps::Ended => {
                keeper.main = false;
                let act = keeper.kept.ended();
                self.service_of_post_may_be_over(group, env);
                self.keeper_acts(group, pid, act, env);
            }
            Keeps::Killed => {
                (keeper.main, keeper.rest) = (false, false);
                self.service_of_post_may_be_over(group, env);
                self.send_keeper_within(SEEN_MS, group, pid, Keeps::Gone, env);
            }
            Keeps::Gone => self.keeper_is_done(group, pid, env),
        }
        self.wake_keeper(group, pid, env);
    }

    fn keeper_acts(&mut self, group: &GroupId, pid: Pid, act: Option<Act>, env: &mut Env) {
        match act {
            Some(Act::Ask) if env.chance(self.node).happens(DEAF_PPM) => {}
            Some(Act::Ask) => self.send_keeper_within((0, END_MAX_MS), group, pid, Keeps::Ended, env),
            Some(Act::Kill) => self.send_keeper_within((0, KILL_MS), group, pid, Keeps::Killed, env),
            None => {}
        }
    }

    /// What prepares a service becomes it unless it is killed, or it is too late for a first write.
    fn executed(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let (now, fails, ends_soon) =
            (self.now(env), self.services == Services::NotExecutable, self.services == Services::EndSoon);
        let rest = env.chance(self.node).happens(FORKS_PPM);
        let Some(keeper) = self.keeper(group, pid) else { return };
        if keeper.kept.is_killing() {
            return;
        }
        if fails || now >= keeper.until.writes {
            env.counts.add(if fails { "fault/exec-fails" } else { "guards/executed-too-late" });
            let act = keeper.kept.ended();
            return self.keeper_acts(group, pid, act, env);
        }
        (keeper.main, keeper.rest) = (true, rest);
        let (of, epoch, until) = (keeper.of, keeper.epoch, keeper.until);
        self.service_of_post_runs(group, epoch, env);
        self.send_guard(group, of, Word::Keeper(pid, FromKeeper::Started(until)), env);
        if ends_soon {
            env.counts.add("fault/service-ends");
            self.send_keeper_within((0, SOON_MS), group, pid, Keeps::Ended, env);
        }
    }

    /// Nothing is left of its service: its guard hears it, or the agent.
    fn keeper_is_done(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let Some(post) = self.posts.of.get_mut(group) else { return };
        let Some(mut keeper) = post.keepers.remove(&pid) else { return };
        let stands_still = post.stands_still(keeper.of);
        let asked = keeper.kept.gone();
        let (of, epoch) = (keeper.of, keeper.epoch);
        self.send_guard(group, of, Word::Keeper(pid, FromKeeper::Gone { epoch, asked }), env);
        if stands_still {
            self.give_last_word(group, epoch, env);
        }
    }

    /// A keeper says to the agent what its guard does not.
    pub(super) fn give_last_word(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        let last_try = self.now(env).after_ms(TRY_FOR_MS);
        self.last_word(group, epoch, last_try, env);
    }

    /// It is tried until the agent answers.
    pub(in crate::agent) fn last_word(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        last_try: BootMs,
        env: &mut Env,
    ) {
        let mut again_ms = RETRY_MS;
        if self.process.is_some() {
            env.counts.add("guards/last-words");
            self.send_agent(Timer::KeeperStopped(group.clone(), epoch), env);
            if self.runs() {
                return;
            }
            again_ms = ANSWER_MS;
        }
        if self.now(env) >= last_try {
            return env.counts.add("guards/last-words-unheard");
        }
        let timer = Timer::LastWord(group.clone(), epoch, last_try);
        env.wake_at(env.now.after_ms(again_ms), self.node, self.posts.life, timer);
    }

    /// Its guard is gone.
    pub(super) fn keeper_is_alone(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let Some(keeper) = self.keeper(group, pid) else { return };
        let act = keeper.kept.kill();
        self.keeper_acts(group, pid, act, env);
    }

    fn wake_keeper(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let (node, life) = (self.node, self.posts.life);
        let Some(keeper) = self.keeper(group, pid) else { return };
        if let Some(due) = keeper.kept.next_wake()
            && keeper.wake_due.is_none_or(|known| due < known)
        {
            keeper.wake_due = Some(due);
            env.wake_when_shown(due.0, node, life, Timer::Keeper(group.clone(), pid, Keeps::Wakes));
        }
    }

    /// A guard says something to its keeper.
    pub(super) fn send_keeper(&mut self, group: &GroupId, pid: Pid, said: Keeps, env: &mut Env) {
        let at = self.posts.next_arrival(self.node, env);
        env.wake_at(at, self.node, self.posts.life, Timer::Keeper(group.clone(), pid, said));
    }

    fn send_keeper_within(
        &self,
        (least_ms, longest_ms): (u64, u64),
        group: &GroupId,
        pid: Pid,
        what: Keeps,
        env: &mut Env,
    ) {
        let after_us = env.chance(self.node).draw(least_ms * 1_000..=longest_ms * 1_000);
        let timer = Timer::Keeper(group.clone(), pid, what);
        env.wake_at(env.now.after_us(after_us), self.node, self.posts.life, timer);
    }
}
