//! Which groups are guarded, how far each is, and what is to be done next. No clock and no system call in here: every
//! input comes with its time.

use crate::protocol::{Disk, GROUPS_MAX, Hook, Outcome, Proof};
use quorate_domain::{Epoch, GroupId};
use std::collections::BTreeMap;

/// How long what was killed may take to be gone before the next means is tried.
pub(crate) const KILL_PATIENCE_MS: u64 = 2_000;
/// The shortest and the longest wait between two demotions that nobody but the warden asks for.
const RETRY_MIN_MS: u64 = 1_000;
const RETRY_MAX_MS: u64 = 60_000;

/// The warden's own number of a run of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RunKey(pub(crate) u64);

/// What decides about a group's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// There is a demote hook.
    pub(crate) demote: bool,
    /// There is a fence command.
    pub(crate) fence: bool,
    /// How long a demotion may go on after the deadline.
    pub(crate) demotion_ms: u64,
    /// The service runs as a descendant of its promote hook.
    pub(crate) child: bool,
    /// An agent is there, which retries what failed.
    pub(crate) agent: bool,
}

/// How far a group is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Its promote hook waits or runs.
    Promoting(RunKey),
    /// Its promote hook is being killed because the deadline passed, or its agent is gone.
    Interrupted(RunKey),
    /// Its service may run.
    Serving,
    /// Its demote hook waits or runs.
    Demoting(RunKey),
    /// It failed, and the deadline has not passed.
    DemoteFailed,
    /// Everything that its hooks started is being killed.
    Killing { since: u64 },
    /// The fence command waits or runs.
    Fencing(RunKey),
    /// Everything was tried.
    Unproven { next_try: u64 },
    /// The demote hook is tried again after everything else was.
    Retrying(RunKey),
}

/// A group that is guarded.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) epoch: Epoch,
    pub(crate) disk: Option<Disk>,
    /// Its own deadline, once the host's no longer counts for it.
    frozen: Option<u64>,
    stage: Stage,
    /// Something that its hooks started was seen running after the promote hook had ended well.
    seen: bool,
    retries: u32,
    /// Why it is not known to have stopped, once that is so.
    why: String,
}

impl Guarded {
    fn new(epoch: Epoch, disk: Option<Disk>, stage: Stage, frozen: Option<u64>) -> Self {
        Self { epoch, disk, frozen, stage, seen: false, retries: 0, why: String::new() }
    }

    /// When it is ended.
    pub(crate) fn deadline(&self, lease: u64) -> u64 {
        self.frozen.unwrap_or(lease)
    }

    /// True when everything was tried and it is not known to have stopped.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self.stage, Stage::Unproven { .. } | Stage::Retrying(_))
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run this for the group, under this number.
    Start { key: RunKey, group: GroupId, hook: Hook, reason: String },
    /// End this run.
    Stop { key: RunKey, why: String },
    /// Kill everything that the group's hooks started, until nothing is left.
    Kill { group: GroupId },
    /// Kill no more.
    Spare { group: GroupId },
    /// It is over, one way or the other.
    Ended { group: GroupId, epoch: Epoch, proof: Proof },
}

/// All groups that are guarded.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    groups: BTreeMap<GroupId, Guarded>,
    keys: u64,
}

impl Guards {
    /// Numbers of runs begin here: above those of every warden before, whose marks may still be found.
    pub(crate) fn with_keys_from(keys: u64) -> Self {
        Self { groups: BTreeMap::new(), keys }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Guarded)> {
        self.groups.iter()
    }

    pub(crate) fn get(&self, group: &GroupId) -> Option<&Guarded> {
        self.groups.get(group)
    }

    pub(crate) fn new_key(&mut self) -> RunKey {
        self.keys += 1;
        RunKey(self.keys)
    }

    /// The agent wants a promotion: from here on the group is guarded.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub(crate) fn promote(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        disk: Option<Disk>,
        lease: u64,
        now: u64,
    ) -> Result<RunKey, String> {
        if now >= lease {
            return Err("no lease is known that has not run out".to_owned());
        }
        match self.groups.get(group) {
            Some(held) if held.epoch > epoch => {
                return Err(format!("epoch {} of the group is guarded here already", held.epoch));
            }
            Some(held)
                if !matches!(held.stage, Stage::Serving | Stage::DemoteFailed | Stage::Unproven { .. }) =>
            {
                return Err(format!("epoch {} of the group is still being ended", held.epoch));
            }
            None if self.groups.len() >= GROUPS_MAX => {
                return Err(format!("{GROUPS_MAX} groups are guarded already"));
            }
            _ => {}
        }
        let key = self.new_key();
        self.groups.insert(group.clone(), Guarded::new(epoch, disk, Stage::Promoting(key), None));
        Ok(key)
    }

    /// The agent wants a demotion. From here on no renewal moves the deadline of the group.
    ///
    /// # Errors
    /// Why there is nothing to run.
    pub(crate) fn demote(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        disk: Option<Disk>,
        lease: u64,
        now: u64,
    ) -> Result<RunKey, String> {
        let key = RunKey(self.keys + 1);
        let full = self.groups.len() >= GROUPS_MAX;
        match self.groups.get_mut(group) {
            None if full => {
                return Err(format!("{GROUPS_MAX} groups are guarded already"));
            }
            None => {
                // A start before this one may have left it; whatever its deadline was, it is over.
                let guarded = Guarded::new(epoch, disk, Stage::Demoting(key), Some(now.min(lease)));
                self.groups.insert(group.clone(), guarded);
            }
            Some(held) if held.epoch > epoch => {
                return Err(format!("epoch {} of the group is guarded here", held.epoch));
            }
            Some(held) => {
                let stage = match held.stage {
                    // The agent hears how the one ends that runs.
                    Stage::Demoting(running) | Stage::Retrying(running) => return Ok(running),
                    Stage::Serving | Stage::DemoteFailed => Stage::Demoting(key),
                    Stage::Unproven { .. } => Stage::Retrying(key),
                    Stage::Promoting(_) | Stage::Interrupted(_) => {
                        return Err("the promote hook of the group has not ended yet".to_owned());
                    }
                    Stage::Killing { .. } | Stage::Fencing(_) => {
                        return Err("the group is being ended by force".to_owned());
                    }
                };
                held.frozen = Some(held.deadline(lease));
                held.disk = disk.or(held.disk.take());
                held.stage = stage;
            }
        }
        self.keys += 1;
        Ok(key)
    }

    /// What a warden before this one guarded: everything that is found of it is killed.
    pub(crate) fn inherit(
        &mut self,
        group: GroupId,
        epoch: Epoch,
        disk: Option<Disk>,
        seen: bool,
        now: u64,
    ) -> Vec<Action> {
        let mut guarded = Guarded::new(epoch, disk, Stage::Killing { since: now }, Some(now));
        guarded.seen = seen;
        self.groups.insert(group.clone(), guarded);
        vec![Action::Kill { group }]
    }

    /// A demotion without a hook: the deadline stands from now on.
    pub(crate) fn freeze(&mut self, group: &GroupId, lease: u64) {
        if let Some(held) = self.groups.get_mut(group) {
            held.frozen = Some(held.deadline(lease));
        }
    }

    /// Another start of the agent came, or this one wants the end of all: no renewal counts for what is guarded, which
    /// ends at `at` the latest, and no promotion goes on.
    pub(crate) fn freeze_all(&mut self, lease: u64, at: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        for held in self.groups.values_mut() {
            held.frozen = Some(held.deadline(lease).min(at));
            if let Stage::Promoting(key) = held.stage {
                held.stage = Stage::Interrupted(key);
                actions.push(Action::Stop { key, why: "the agent that asked for it is gone".to_owned() });
            }
        }
        actions
    }

    /// The agent knows otherwise that the service has stopped. True when the group was guarded.
    pub(crate) fn forget(&mut self, group: &GroupId, epoch: Epoch) -> bool {
        let is_held = self.groups.get(group).is_some_and(|held| held.epoch == epoch);
        if is_held {
            self.groups.remove(group);
        }
        is_held
    }

    /// Something that the group's hooks started runs although its promote hook has ended.
    pub(crate) fn seen(&mut self, group: &GroupId) {
        if let Some(held) = self.groups.get_mut(group) {
            held.seen = true;
        }
    }

    /// A run ended.
    pub(crate) fn run_ended(
        &mut self,
        group: &GroupId,
        key: RunKey,
        hook: Hook,
        outcome: &Outcome,
        rules: Rules,
        lease: u64,
        now: u64,
    ) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        let passed = now >= held.deadline(lease);
        let well = *outcome == Outcome::Succeeded;
        match (held.stage.clone(), hook) {
            (Stage::Promoting(own), Hook::Promote) if own == key => {
                // Whether it ended well or not: the service may run.
                held.stage = Stage::Serving;
                Vec::new()
            }
            (Stage::Interrupted(own), Hook::Promote) if own == key => {
                held.stage = Stage::Serving;
                if passed { self.end(group, rules, lease, now) } else { Vec::new() }
            }
            (_, Hook::Demote) if well => self.over(group, Proof::Demoted),
            (Stage::Demoting(own), Hook::Demote) if own == key => {
                if passed {
                    return self.kill(group, lease, now);
                }
                held.stage = Stage::DemoteFailed;
                Vec::new()
            }
            (Stage::Retrying(own), Hook::Demote) if own == key => {
                held.retries = held.retries.saturating_add(1);
                let wait = RETRY_MIN_MS.saturating_mul(1 << held.retries.min(10)).min(RETRY_MAX_MS);
                held.stage = Stage::Unproven { next_try: now.saturating_add(wait) };
                Vec::new()
            }
            (_, Hook::Fence) if well => self.over(group, Proof::Fenced),
            (Stage::Fencing(own), Hook::Fence) if own == key => {
                let why = match outcome {
                    Outcome::Failed(why) => format!("the fence command failed: {why}"),
                    _ => "there is no fence command".to_owned(),
                };
                self.give_up(group, why, now)
            }
            _ => Vec::new(),
        }
    }

    /// Nothing is left of what the group's hooks started. `cgroup_empty` is what the operator's own cgroup says.
    pub(crate) fn gone(
        &mut self,
        group: &GroupId,
        cgroup_empty: bool,
        rules: Rules,
        now: u64,
    ) -> Vec<Action> {
        let Some(held) = self.groups.get(group) else { return Vec::new() };
        if !matches!(held.stage, Stage::Killing { .. } | Stage::Fencing(_) | Stage::Unproven { .. }) {
            return Vec::new();
        }
        if cgroup_empty {
            return self.over(group, Proof::CgroupEmpty);
        }
        if rules.child && held.seen {
            return self.over(group, Proof::Killed);
        }
        if !matches!(held.stage, Stage::Killing { .. }) {
            return Vec::new();
        }
        let why = if rules.child {
            "nothing of it was seen running below its promote hook, so that its end was not seen either"
        } else {
            "it runs elsewhere"
        };
        self.fence(group, why.to_owned(), rules, now)
    }

    /// Does what time asks for.
    pub(crate) fn pass(&mut self, rules: Rules, lease: u64, now: u64) -> Vec<Action> {
        let due: Vec<GroupId> = self
            .groups
            .iter()
            .filter(|(_, held)| held.wakes_at(rules, lease).is_some_and(|at| at <= now))
            .map(|(group, _)| group.clone())
            .collect();
        due.iter().flat_map(|group| self.pass_one(group, rules, lease, now)).collect()
    }

    fn pass_one(&mut self, group: &GroupId, rules: Rules, lease: u64, now: u64) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        match held.stage {
            Stage::Promoting(key) => {
                held.frozen = Some(held.deadline(lease));
                held.stage = Stage::Interrupted(key);
                vec![Action::Stop { key, why: "the lease ran out".to_owned() }]
            }
            Stage::Serving => self.end(group, rules, lease, now),
            Stage::Interrupted(_) | Stage::Demoting(_) | Stage::DemoteFailed => self.kill(group, lease, now),
            Stage::Killing { .. } => {
                let why = "what its hooks started does not die".to_owned();
                self.fence(group, why, rules, now)
            }
            Stage::Unproven { .. } => {
                let key = self.new_key();
                if let Some(held) = self.groups.get_mut(group) {
                    held.stage = Stage::Retrying(key);
                }
                let reason = "the service is not known to have stopped".to_owned();
                vec![Action::Start { key, group: group.clone(), hook: Hook::Demote, reason }]
            }
            Stage::Fencing(_) | Stage::Retrying(_) => Vec::new(),
        }
    }

    /// When [`Guards::pass`] must be called at the latest.
    pub(crate) fn next_wake(&self, rules: Rules, lease: u64) -> Option<u64> {
        self.groups.values().filter_map(|held| held.wakes_at(rules, lease)).min()
    }

    /// The deadline has passed: the demote hook if there is one, else by force.
    fn end(&mut self, group: &GroupId, rules: Rules, lease: u64, now: u64) -> Vec<Action> {
        if !rules.demote {
            return self.kill(group, lease, now);
        }
        let key = self.new_key();
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        let deadline = held.deadline(lease);
        held.frozen = Some(deadline);
        held.stage = Stage::Demoting(key);
        let reason = format!("the lease ran out at {deadline} ms on the boot clock and nobody renewed it");
        vec![Action::Start { key, group: group.clone(), hook: Hook::Demote, reason }]
    }

    fn kill(&mut self, group: &GroupId, lease: u64, now: u64) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        held.frozen = Some(held.deadline(lease));
        let running = match held.stage {
            Stage::Interrupted(key) | Stage::Demoting(key) => Some(key),
            _ => None,
        };
        held.stage = Stage::Killing { since: now };
        let stop = running.map(|key| Action::Stop { key, why: "the time for a demotion is over".to_owned() });
        stop.into_iter().chain([Action::Kill { group: group.clone() }]).collect()
    }

    fn fence(&mut self, group: &GroupId, why: String, rules: Rules, now: u64) -> Vec<Action> {
        if !rules.fence {
            return self.give_up(group, why, now);
        }
        let key = self.new_key();
        if let Some(held) = self.groups.get_mut(group) {
            held.stage = Stage::Fencing(key);
        }
        vec![Action::Start { key, group: group.clone(), hook: Hook::Fence, reason: why }]
    }

    fn give_up(&mut self, group: &GroupId, why: String, now: u64) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        held.stage = Stage::Unproven { next_try: now.saturating_add(RETRY_MIN_MS) };
        held.why.clone_from(&why);
        vec![Action::Ended { group: group.clone(), epoch: held.epoch, proof: Proof::Not(why) }]
    }

    fn over(&mut self, group: &GroupId, proof: Proof) -> Vec<Action> {
        let Some(held) = self.groups.remove(group) else { return Vec::new() };
        let spare = Action::Spare { group: group.clone() };
        vec![spare, Action::Ended { group: group.clone(), epoch: held.epoch, proof }]
    }
}

impl Guarded {
    fn wakes_at(&self, rules: Rules, lease: u64) -> Option<u64> {
        let deadline = self.deadline(lease);
        match self.stage {
            Stage::Promoting(_) | Stage::Serving | Stage::DemoteFailed => Some(deadline),
            Stage::Interrupted(_) | Stage::Demoting(_) => Some(deadline.saturating_add(rules.demotion_ms)),
            Stage::Killing { since } => Some(since.saturating_add(KILL_PATIENCE_MS)),
            Stage::Unproven { next_try } => (rules.demote && !rules.agent).then_some(next_try),
            Stage::Fencing(_) | Stage::Retrying(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
