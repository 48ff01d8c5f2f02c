//! What there is of guards on a machine: the processes of each group, what they have left, and who starts them again.

use super::{
    Guard, OTHER_USER, Pid, USER, Way, Word,
    keeper::{FromKeeper, Keeper},
};
use crate::{
    agent::Agent,
    env::{Env, Timer},
    network::Node,
    oracle::Fact,
    plan::Starter,
    time::Moment,
};
use quorate_domain::{Epoch, GroupId};
use std::collections::BTreeMap;

/// The longest way between processes of one machine, in microseconds.
const WAY_MAX_US: u64 = 500;
/// A guard is started as another user than before this often, in a million.
const OTHER_USER_PPM: u64 = 150_000;
/// An operator vouches that nothing is left, where that is so, this often.
const VOUCHES_PPM: u64 = 150_000;
/// What a service has left hides itself this often.
const HIDES_PPM: u64 = 200_000;
/// A guard starts beside a process that hides itself, and is none of its group's, this often.
const BESIDE_HIDDEN_PPM: u64 = 100_000;
/// How soon an operator looks again whether something is left that the guard could not see.
const LOOK_AGAIN_MS: u64 = 300;

/// What a service has left that no keeper ends.
#[derive(Debug)]
pub(super) struct Stray {
    /// The guard whose keeper ran it.
    pub(super) of: Pid,
    uid: u32,
    /// It lets nobody see what it is.
    hides: bool,
}

/// What there is for one group.
#[derive(Debug, Default)]
pub(super) struct Post {
    /// One, or another beside one that stands still.
    pub(super) guards: BTreeMap<Pid, Guard>,
    pub(super) keepers: BTreeMap<Pid, Keeper>,
    strays: Vec<Stray>,
    /// A guard is about to be started.
    is_due: bool,
    /// Something was here since the machine booted that a guard could not see: only an operator can say that it is gone.
    needs_word: bool,
    /// The oracle knows that a service runs.
    runs: bool,
}

impl Post {
    /// True for a guard that is there and takes in nothing.
    pub(super) fn stands_still(&self, pid: Pid) -> bool {
        self.guards.get(&pid).is_some_and(|guard| guard.still.is_some())
    }

    fn serves(&self) -> bool {
        !self.strays.is_empty() || self.keepers.values().any(Keeper::serves)
    }

    fn is_empty(&self) -> bool {
        self.guards.is_empty() && self.keepers.is_empty() && self.strays.is_empty()
    }
}

/// All of a machine.
#[derive(Debug, Default)]
pub(in crate::agent) struct Posts {
    pub(super) of: BTreeMap<GroupId, Post>,
    names: u64,
    /// When the last word that is on its way on this machine arrives.
    arrives: Moment,
    /// Counts the boots of the machine.
    pub(in crate::agent) life: u32,
}

impl Posts {
    pub(super) fn new_pid(&mut self) -> Pid {
        self.names += 1;
        self.names
    }

    pub(super) fn new_way(&mut self) -> Way {
        self.new_pid()
    }

    /// Words arrive in the order in which they are said.
    pub(super) fn next_arrival(&mut self, node: Node, env: &mut Env) -> Moment {
        let after_us = env.chance(node).draw(1..=WAY_MAX_US);
        self.arrives = env.now.after_us(after_us).max(self.arrives.after_us(1));
        self.arrives
    }

    /// Every guard that is attached, or about to be.
    pub(super) fn ways(&self) -> Vec<(GroupId, Pid, Way)> {
        let guards = self.of.iter().flat_map(|(group, post)| {
            post.guards.iter().filter_map(|(pid, guard)| Some((group.clone(), *pid, guard.way?)))
        });
        guards.collect()
    }

    /// True while something of the group's service runs.
    pub(in crate::agent) fn serve(&self, group: &GroupId) -> bool {
        self.of.get(group).is_some_and(Post::serves)
    }
}

impl Agent {
    /// A timer of the guards and their keepers; one of an earlier boot means nothing any more.
    pub(in crate::agent) fn guards_timer(&mut self, life: u32, timer: Timer, env: &mut Env) {
        if life != self.posts.life {
            return;
        }
        match timer {
            Timer::Guard(group, pid, word) => self.guard_hears(&group, pid, word, env),
            Timer::Keeper(group, pid, said) => self.keeper_hears(&group, pid, said, env),
            Timer::StartGuard(group) => self.start_guard(&group, env),
            Timer::LastWord(group, epoch, last_try) => self.last_word(&group, epoch, last_try, env),
            _ => {}
        }
    }

    /// Whoever runs a host has a guard for every group that it knows.
    pub(in crate::agent) fn have_guards_start(&mut self, env: &mut Env) {
        if env.plan.habits.starter != Starter::Guards {
            return;
        }
        let Some(process) = &self.process else { return };
        for group in process.core.groups() {
            self.posts.of.entry(group.clone()).or_default();
            self.start_guard_again(&group, env);
        }
    }

    /// The service manager starts a guard after a while, where there is none.
    pub(super) fn start_guard_again(&mut self, group: &GroupId, env: &mut Env) {
        let longest_ms = env.plan.habits.guard_restart_max_ms;
        let Some(post) = self.posts.of.get_mut(group) else { return };
        if !post.guards.is_empty() || std::mem::replace(&mut post.is_due, true) {
            return;
        }
        let after_us = env.chance(self.node).draw(50_000..=longest_ms * 1_000);
        let timer = Timer::StartGuard(group.clone());
        env.wake_at(env.now.after_us(after_us), self.node, self.posts.life, timer);
    }

    /// A guard is started, if the group is one of this host's.
    pub(in crate::agent) fn start_guard(&mut self, group: &GroupId, env: &mut Env) {
        let is_known = self.process.as_ref().is_none_or(|process| process.core.groups().contains(group));
        let Some(post) = self.posts.of.get_mut(group) else { return };
        post.is_due = false;
        if !is_known {
            if post.is_empty() {
                self.posts.of.remove(group);
            }
            return;
        }
        if env.plan.habits.guards_are_settled {
            return self.start_settled_guard(group, env);
        }
        let is_other = env.chance(self.node).happens(OTHER_USER_PPM);
        let vouches = post.is_empty() && env.chance(self.node).happens(VOUCHES_PPM);
        let beside_hidden = env.chance(self.node).happens(BESIDE_HIDDEN_PPM);
        let uid = if is_other { OTHER_USER } else { USER };
        self.add_guard(group, Guard::new(uid, vouches, beside_hidden), env);
    }

    /// An operator ends what the guard could not see, and then says so.
    fn start_settled_guard(&mut self, group: &GroupId, env: &mut Env) {
        self.end_strays(group, |stray| stray.uid != USER || stray.hides, env);
        let Some(post) = self.posts.of.get_mut(group) else { return };
        if post.needs_word && !post.keepers.is_empty() {
            post.is_due = true;
            let timer = Timer::StartGuard(group.clone());
            return env.wake_at(env.now.after_ms(LOOK_AGAIN_MS), self.node, self.posts.life, timer);
        }
        let vouches = post.needs_word && post.is_empty();
        self.add_guard(group, Guard::new(USER, vouches, false), env);
    }

    fn add_guard(&mut self, group: &GroupId, guard: Guard, env: &mut Env) {
        let (pid, uid) = (self.posts.new_pid(), guard.uid);
        let Some(post) = self.posts.of.get_mut(group) else { return };
        post.needs_word |= uid != USER || guard.beside_hidden;
        post.guards.insert(pid, guard);
        env.note(self.node, || format!("guard {pid} of {group} starts as user {uid}"));
        self.send_guard(group, pid, Word::Try, env);
    }

    /// The operators put everything in order: no guard stands still, and where one ran as another user its place is taken,
    /// with the operator's word.
    pub(crate) fn settle_guards(&mut self, env: &mut Env) {
        self.let_guards_go_on(env);
        let posts = self.posts.of.iter().filter(|(_, post)| post.needs_word);
        let all = posts.flat_map(|(group, post)| post.guards.keys().map(|pid| (group.clone(), *pid)));
        for (group, pid) in all.collect::<Vec<_>>() {
            self.kill_guard(&group, pid, env);
        }
    }

    /// A guard that has looked has ended all that it could see. True when something is left that hides from it.
    pub(super) fn end_what_others_left(
        &mut self,
        group: &GroupId,
        pid: Pid,
        uid: u32,
        env: &mut Env,
    ) -> bool {
        self.end_strays(group, |stray| stray.uid == uid && !stray.hides, env);
        let Some(post) = self.posts.of.get_mut(group) else { return false };
        let hides = post.strays.iter().any(|stray| stray.uid == uid);
        let doomed = post.keepers.extract_if(.., |_, keeper| keeper.of != pid && keeper.uid == uid);
        let doomed: Vec<(Pid, Pid)> = doomed.map(|(number, keeper)| (number, keeper.of)).collect();
        for (keeper, of) in doomed {
            env.counts.add("guards/keepers-found-by-a-later-one");
            self.send_guard(group, of, Word::Keeper(keeper, FromKeeper::Lost), env);
        }
        self.service_of_post_may_be_over(group, env);
        hides
    }

    /// Some of what services have left is killed.
    pub(super) fn end_strays(&mut self, group: &GroupId, which: impl Fn(&Stray) -> bool, env: &mut Env) {
        let Some(post) = self.posts.of.get_mut(group) else { return };
        let before = post.strays.len();
        post.strays.retain(|stray| !which(stray));
        if post.strays.len() < before {
            env.counts.add("guards/strays-ended");
        }
        self.service_of_post_may_be_over(group, env);
    }

    /// True while a service runs on the machine that nobody ends in time.
    pub(crate) fn has_strays(&self) -> bool {
        self.posts.of.values().any(|post| !post.strays.is_empty())
    }

    /// The guard of a group whose service runs, three times of four, or any.
    fn met_guard(&self, target: u64) -> Option<(GroupId, Pid)> {
        let guards = self.posts.of.iter().flat_map(|(group, post)| {
            post.guards.iter().map(move |(pid, guard)| (group, pid, guard.keeper.is_some()))
        });
        let guards: Vec<_> = guards.collect();
        let serves: Vec<_> = guards.iter().filter(|(.., serves)| *serves).collect();
        let is_any = serves.is_empty() || (target >> 40).is_multiple_of(4);
        let place = |count: usize| usize::try_from(target % count.max(1) as u64).unwrap_or(0);
        let (group, pid, _) =
            if is_any { guards.get(place(guards.len()))? } else { serves[place(serves.len())] };
        Some(((*group).clone(), **pid))
    }

    /// A guard is killed; its keeper is there to end the service.
    pub(crate) fn kill_a_guard(&mut self, target: u64, env: &mut Env) -> bool {
        let Some((group, pid)) = self.met_guard(target) else { return false };
        self.kill_guard(&group, pid, env);
        true
    }

    fn kill_guard(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        env.note(self.node, || format!("guard {pid} of {group} is killed"));
        let guard = self.remove_guard(group, pid, env);
        if let Some((keeper, _)) = guard.and_then(|guard| guard.keeper) {
            self.keeper_is_alone(group, keeper, env);
        }
    }

    /// A keeper is killed, or a guard and its keeper in one instant. False when no service runs.
    pub(crate) fn kill_a_keeper(&mut self, with_guard: bool, target: u64, env: &mut Env) -> bool {
        let Some((group, pid)) = self.met_guard(target) else { return false };
        let Some((keeper, _)) = self.guard(&group, pid).and_then(|guard| guard.keeper) else { return false };
        env.note(self.node, || format!("the keeper of {group} is killed; its guard with it: {with_guard}"));
        if with_guard {
            self.remove_guard(&group, pid, env);
        }
        self.remove_keeper(&group, keeper, env);
        self.send_guard(&group, pid, Word::Keeper(keeper, FromKeeper::Lost), env);
        true
    }

    /// The kernel kills the first process of a service with its keeper. What that has started goes on.
    fn remove_keeper(&mut self, group: &GroupId, pid: Pid, env: &mut Env) {
        let hides = env.chance(self.node).happens(HIDES_PPM);
        let Some(post) = self.posts.of.get_mut(group) else { return };
        let Some(keeper) = post.keepers.remove(&pid) else { return };
        if keeper.rest {
            env.counts.add(if hides { "guards/strays-that-hide" } else { "guards/strays" });
            post.needs_word |= hides;
            post.strays.push(Stray { of: keeper.of, uid: keeper.uid, hides });
            env.see(&Fact::ServiceStrays { machine: self.node, group, epoch: keeper.epoch });
        }
        self.service_of_post_may_be_over(group, env);
    }

    /// A guard stands still.
    pub(crate) fn stop_a_guard(&mut self, target: u64, env: &mut Env) -> bool {
        let Some((group, pid)) = self.met_guard(target) else { return false };
        let Some(guard) = self.guard(&group, pid).filter(|guard| guard.still.is_none()) else { return false };
        guard.still = Some(Vec::new());
        env.note(self.node, || format!("guard {pid} of {group} stands still"));
        if (target >> 32).is_multiple_of(2) {
            // Somebody starts another one.
            let after_ms = env.chance(self.node).draw(1_000..=12_000);
            let timer = Timer::StartGuard(group);
            env.wake_at(env.now.after_ms(after_ms), self.node, self.posts.life, timer);
        }
        true
    }

    /// Every guard that stood still goes on.
    pub(crate) fn let_guards_go_on(&mut self, env: &mut Env) {
        let all = self.posts.of.iter().flat_map(|(group, post)| {
            post.guards.keys().filter(|pid| post.stands_still(**pid)).map(|pid| (group.clone(), *pid))
        });
        for (group, pid) in all.collect::<Vec<_>>() {
            env.note(self.node, || format!("guard {pid} of {group} goes on"));
            self.let_guard_go_on(&group, pid, env);
        }
    }

    /// The machine has lost power: nothing of it is left.
    pub(in crate::agent) fn lose_guards(&mut self, env: &mut Env) {
        for (group, post) in std::mem::take(&mut self.posts.of) {
            if post.runs {
                env.see(&Fact::ServiceStops { machine: self.node, group: &group });
            }
        }
        self.posts.life += 1;
    }

    pub(super) fn service_of_post_runs(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        if let Some(post) = self.posts.of.get_mut(group) {
            post.runs = true;
        }
        env.counts.add("guards/services-started");
        env.note(self.node, || format!("the service of {group} runs under epoch {epoch}"));
        env.see(&Fact::ServiceStarts { machine: self.node, group, epoch });
    }

    pub(super) fn service_of_post_may_be_over(&mut self, group: &GroupId, env: &mut Env) {
        let Some(post) = self.posts.of.get_mut(group).filter(|post| post.runs && !post.serves()) else {
            return;
        };
        post.runs = false;
        env.note(self.node, || format!("the service of {group} runs no more"));
        env.see(&Fact::ServiceStops { machine: self.node, group });
    }
}
