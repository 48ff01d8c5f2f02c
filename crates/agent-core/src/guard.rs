//! What a warden does: which groups it guards, how far each is, and what is to be done next. An agent tells it when its lease
//! ends; it ends a group's service by itself when that moment passes unrenewed (DESIGN section 5, rule 11).

use crate::{step::HookOutcome, time::BootMs};
use quorate_domain::{Epoch, GroupId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The most groups that are guarded at once.
pub const GROUPS_MAX: usize = 10_000;
/// How long what was killed may take to be gone before the next means is tried.
pub const KILL_PATIENCE_MS: u64 = 2_000;
/// The shortest and the longest wait between two demotions that nobody but the warden asks for.
const RETRY_MIN_MS: u64 = 1_000;
const RETRY_MAX_MS: u64 = 60_000;

/// What is run for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Starts its service here.
    Promote,
    /// Stops it.
    Demote,
    /// Makes certain that it has stopped when nothing else did.
    Fence,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Fence => "fence",
        })
    }
}

/// How it is known that a service has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The demote hook succeeded.
    Demoted,
    /// It ran as a child of the promote hook, and all of that is gone.
    Killed,
    /// The cgroup that the operator named is empty.
    CgroupEmpty,
    /// The fence command succeeded.
    Fenced,
    /// The machine has booted since.
    Rebooted,
    /// It is not known: why, in words.
    Not(String),
}

impl Proof {
    /// True when the service is known to have stopped.
    pub fn holds(&self) -> bool {
        !matches!(self, Self::Not(_))
    }

    /// True when it holds whoever had started the service. The end of what hooks started, or of what a fence command ends,
    /// says nothing of what runs under a guard.
    pub fn is_of_all(&self) -> bool {
        matches!(self, Self::Demoted | Self::Rebooted)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demoted => f.write_str("the demote hook succeeded"),
            Self::Killed => f.write_str("everything that its hooks had started was killed"),
            Self::CgroupEmpty => f.write_str("the cgroup of the service is empty"),
            Self::Fenced => f.write_str("the fence command succeeded"),
            Self::Rebooted => f.write_str("the machine has booted since"),
            Self::Not(why) => write!(f, "not known to have stopped: {why}"),
        }
    }
}

/// The warden's own number of a run of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey(pub u64);

/// What decides about a group's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// There is a fence command.
    pub fence: bool,
    /// How long a demotion may go on after the deadline; none where there is no demote hook.
    pub demotion_ms: Option<u64>,
    /// The service runs as a descendant of its promote hook.
    pub child: bool,
    /// An agent is there, which retries what failed.
    pub agent: bool,
}

/// When something happens, and what holds then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub now: BootMs,
    /// The end of the host's lease, as the agent told it last.
    pub lease: BootMs,
    /// The rules.
    pub rules: Rules,
}

/// How far a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Everything that its hooks started is being killed, since then.
    Killing(BootMs),
    /// The fence command waits or runs.
    Fencing(RunKey),
    /// Everything was tried; where there is no agent, the demotion is tried again then.
    Unproven(BootMs),
    /// The demote hook is tried again after everything else was.
    Retrying(RunKey),
    /// The demote hook waits or runs although nothing was guarded: what hooks start is on record until it has stopped, so
    /// that there is nothing to be ended by force when it fails.
    Tidying(RunKey),
}

/// A group that is guarded.
#[derive(Debug, Clone)]
pub struct Guarded {
    epoch: Epoch,
    /// Its own deadline, once the host's no longer counts for it.
    frozen: Option<BootMs>,
    stage: Stage,
    /// Where it runs as a child, the end of what its hooks started proves the end of the service: something of it was seen
    /// running after the promote hook had ended well, or that hook failed and there is no demote hook, so that the
    /// operator has said that there is nothing else to stop.
    seen: bool,
    retries: u32,
    /// How long its demotion may go on after the deadline: what D of its epoch counts on, whatever is configured later.
    demotion_ms: u64,
}

impl Guarded {
    fn new(epoch: Epoch, stage: Stage, frozen: Option<BootMs>, rules: Rules) -> Self {
        let demotion_ms = rules.demotion_ms.unwrap_or(0);
        Self { epoch, frozen, stage, seen: false, retries: 0, demotion_ms }
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When it is ended.
    pub fn deadline(&self, lease: BootMs) -> BootMs {
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::WardenAfterD) {
            return self.frozen.unwrap_or(lease).after_ms(30_000);
        }
        self.frozen.unwrap_or(lease)
    }

    /// True when everything was tried and it is not known to have stopped.
    pub fn is_unproven(&self) -> bool {
        matches!(self.stage, Stage::Unproven(_) | Stage::Retrying(_))
    }

    /// True when the end of what its hooks started proves the end of a service that runs as a child.
    pub fn is_seen(&self) -> bool {
        self.seen
    }

    fn wakes_at(&self, rules: Rules, lease: BootMs) -> Option<BootMs> {
        let deadline = self.deadline(lease);
        match self.stage {
            Stage::Promoting(_) | Stage::Serving | Stage::DemoteFailed => Some(deadline),
            Stage::Interrupted(_) | Stage::Demoting(_) => {
                Some(deadline.after_ms(rules.demotion_ms.unwrap_or(0).min(self.demotion_ms)))
            }
            Stage::Killing(since) => Some(since.after_ms(KILL_PATIENCE_MS)),
            Stage::Unproven(next_try) => (rules.demotion_ms.is_some() && !rules.agent).then_some(next_try),
            Stage::Fencing(_) | Stage::Retrying(_) | Stage::Tidying(_) => None,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run this for the group, under this number.
    Start {
        /// The number of the run.
        key: RunKey,
        /// The group.
        group: GroupId,
        /// What to run.
        hook: Hook,
        /// Why, in words.
        reason: String,
    },
    /// End this run.
    Stop {
        /// The number of the run.
        key: RunKey,
        /// Why, in words.
        why: String,
    },
    /// Kill everything that the group's hooks started, until nothing is left.
    Kill {
        /// The group.
        group: GroupId,
    },
    /// Kill no more.
    Spare {
        /// The group.
        group: GroupId,
    },
    /// Nothing of it is guarded any more, and nothing is to be said of its end.
    LetGo {
        /// The group.
        group: GroupId,
    },
    /// It is over, one way or the other.
    Ended {
        /// The group.
        group: GroupId,
        /// The epoch that ended.
        epoch: Epoch,
        /// How it is known that the service has stopped, or why not.
        proof: Proof,
    },
}

/// All groups that are guarded.
#[derive(Debug, Default)]
pub struct Guards {
    groups: BTreeMap<GroupId, Guarded>,
    keys: u64,
}

impl Guards {
    /// Numbers of runs begin here: above those of every warden before, whose marks may still be found.
    pub fn with_keys_from(keys: u64) -> Self {
        Self { groups: BTreeMap::new(), keys }
    }

    /// True when nothing is guarded.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many groups are guarded.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Every group that is guarded.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupId, &Guarded)> {
        self.groups.iter()
    }

    /// A group, if it is guarded.
    pub fn get(&self, group: &GroupId) -> Option<&Guarded> {
        self.groups.get(group)
    }

    fn new_key(&mut self) -> RunKey {
        self.keys += 1;
        RunKey(self.keys)
    }

    /// The agent wants a promotion: from here on the group is guarded.
    ///
    /// # Errors
    /// Why it cannot be; nothing has changed then.
    pub fn promote(&mut self, group: &GroupId, epoch: Epoch, at: Moment) -> Result<RunKey, String> {
        if at.now >= at.lease {
            return Err("no lease is known that has not run out".to_owned());
        }
        match self.groups.get(group) {
            Some(held) if held.epoch > epoch => {
                return Err(format!("epoch {} of the group is guarded here already", held.epoch));
            }
            Some(held)
                if !matches!(held.stage, Stage::Serving | Stage::DemoteFailed | Stage::Unproven(_)) =>
            {
                return Err(format!("epoch {} of the group is still being ended", held.epoch));
            }
            None if self.groups.len() >= GROUPS_MAX => return Err(full()),
            _ => {}
        }
        let key = self.new_key();
        self.groups.insert(group.clone(), Guarded::new(epoch, Stage::Promoting(key), None, at.rules));
        Ok(key)
    }

    /// The epoch has ended while this is its promote hook that runs, and is being killed. From here on no renewal moves the
    /// deadline of the group.
    pub fn interrupt(&mut self, group: &GroupId, key: RunKey, at: Moment) {
        if let Some(held) = self.groups.get_mut(group)
            && held.stage == Stage::Promoting(key)
        {
            held.frozen = Some(held.deadline(at.lease));
            held.stage = Stage::Interrupted(key);
        }
    }

    /// The agent wants a demotion. From here on no renewal moves the deadline of the group.
    ///
    /// # Errors
    /// Why there is nothing to run.
    pub fn demote(&mut self, group: &GroupId, epoch: Epoch, at: Moment) -> Result<RunKey, String> {
        let (key, is_full) = (RunKey(self.keys + 1), self.groups.len() >= GROUPS_MAX);
        match self.groups.get_mut(group) {
            None if is_full => return Err(full()),
            None => {
                let guarded = Guarded::new(epoch, Stage::Tidying(key), Some(at.now.min(at.lease)), at.rules);
                self.groups.insert(group.clone(), guarded);
            }
            Some(held) if held.epoch > epoch => {
                return Err(format!("epoch {} of the group is guarded here", held.epoch));
            }
            Some(held) => {
                let stage = match held.stage {
                    // The agent hears how the one ends that runs.
                    Stage::Demoting(running) | Stage::Retrying(running) | Stage::Tidying(running) => {
                        return Ok(running);
                    }
                    Stage::Serving | Stage::DemoteFailed => Stage::Demoting(key),
                    Stage::Unproven(_) => Stage::Retrying(key),
                    Stage::Promoting(_) | Stage::Interrupted(_) => {
                        return Err("the promote hook of the group has not ended yet".to_owned());
                    }
                    Stage::Killing(_) | Stage::Fencing(_) => {
                        return Err("the group is being ended by force".to_owned());
                    }
                };
                held.frozen = Some(held.deadline(at.lease));
                held.stage = stage;
            }
        }
        self.keys += 1;
        Ok(key)
    }

    /// The agent wants a demotion and there is no hook for it: the service is ended by force at once.
    ///
    /// # Errors
    /// Why it is not.
    pub fn demote_by_force(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        at: Moment,
    ) -> Result<Vec<Action>, String> {
        match self.groups.get(group) {
            // Nothing that a hook started is left: it would be on record.
            None => Ok(vec![Action::Ended { group: group.clone(), epoch, proof: Proof::Killed }]),
            Some(held) if held.epoch > epoch => {
                Err(format!("epoch {} of the group is guarded here", held.epoch))
            }
            Some(held) if matches!(held.stage, Stage::Killing(_) | Stage::Fencing(_)) => Ok(Vec::new()),
            Some(_) => Ok(self.kill(group, at)),
        }
    }

    /// What a warden before this one guarded: everything that is found of it is killed.
    pub fn inherit(&mut self, group: GroupId, epoch: Epoch, seen: bool, at: Moment) -> Vec<Action> {
        let guarded = Guarded { seen, ..Guarded::new(epoch, Stage::Killing(at.now), Some(at.now), at.rules) };
        self.groups.insert(group.clone(), guarded);
        vec![Action::Kill { group }]
    }

    /// Another start of the agent came, or this one wants the end of all: no renewal counts for what is guarded, which
    /// ends at `by` the latest, and no promotion goes on.
    pub fn freeze_all(&mut self, lease: BootMs, by: BootMs) -> Vec<Action> {
        let mut actions = Vec::new();
        for held in self.groups.values_mut() {
            held.frozen = Some(held.deadline(lease).min(by));
            if let Stage::Promoting(key) = held.stage {
                held.stage = Stage::Interrupted(key);
                actions.push(Action::Stop { key, why: "the agent that asked for it is gone".to_owned() });
            }
        }
        actions
    }

    /// The agent knows otherwise that the service has stopped. True when the group was guarded.
    pub fn forget(&mut self, group: &GroupId, epoch: Epoch) -> bool {
        let is_held = self.groups.get(group).is_some_and(|held| held.epoch == epoch);
        if is_held {
            self.groups.remove(group);
        }
        is_held
    }

    /// Something that the group's hooks started runs although its promote hook has ended.
    pub fn seen(&mut self, group: &GroupId) {
        if let Some(held) = self.groups.get_mut(group) {
            held.seen = true;
        }
    }

    /// A run ended.
    pub fn run_ended(
        &mut self,
        group: &GroupId,
        key: RunKey,
        hook: Hook,
        outcome: &HookOutcome,
        at: Moment,
    ) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        let passed = at.now >= held.deadline(at.lease);
        let well = *outcome == HookOutcome::Succeeded;
        let is_own = matches!(held.stage, Stage::Promoting(own) | Stage::Interrupted(own) if own == key);
        held.seen |= is_own && !well && at.rules.demotion_ms.is_none();
        match (held.stage, hook) {
            (Stage::Promoting(own), Hook::Promote) if own == key => {
                // Whether it ended well or not: the service may run.
                held.stage = Stage::Serving;
                Vec::new()
            }
            (Stage::Interrupted(own), Hook::Promote) if own == key => {
                held.stage = Stage::Serving;
                if passed { self.end(group, at) } else { Vec::new() }
            }
            (_, Hook::Demote) if well => self.over(group, Proof::Demoted),
            (Stage::Demoting(own), Hook::Demote) if own == key => {
                if passed {
                    return self.kill(group, at);
                }
                held.stage = Stage::DemoteFailed;
                Vec::new()
            }
            (Stage::Retrying(own), Hook::Demote) if own == key => {
                held.retries = held.retries.saturating_add(1);
                let wait = RETRY_MIN_MS.saturating_mul(1 << held.retries.min(10)).min(RETRY_MAX_MS);
                held.stage = Stage::Unproven(at.now.after_ms(wait));
                Vec::new()
            }
            (Stage::Tidying(own), Hook::Demote) if own == key => {
                self.groups.remove(group);
                vec![Action::LetGo { group: group.clone() }]
            }
            (_, Hook::Fence) if well => self.over(group, Proof::Fenced),
            (Stage::Fencing(own), Hook::Fence) if own == key => {
                let why = match outcome {
                    HookOutcome::Failed(why) => format!("the fence command failed: {why}"),
                    _ => "there is no fence command".to_owned(),
                };
                self.give_up(group, why, at)
            }
            _ => Vec::new(),
        }
    }

    /// Nothing is left of what the group's hooks started. `cgroup_empty` is what the operator's own cgroup says.
    pub fn gone(&mut self, group: &GroupId, cgroup_empty: bool, at: Moment) -> Vec<Action> {
        let Some(held) = self.groups.get(group) else { return Vec::new() };
        if !matches!(held.stage, Stage::Killing(_) | Stage::Fencing(_) | Stage::Unproven(_)) {
            return Vec::new();
        }
        if cgroup_empty {
            return self.over(group, Proof::CgroupEmpty);
        }
        if at.rules.child && held.seen {
            return self.over(group, Proof::Killed);
        }
        if !matches!(held.stage, Stage::Killing(_)) {
            return Vec::new();
        }
        let why = if at.rules.child {
            "nothing of it was seen running below its promote hook, so that its end was not seen either"
        } else {
            "it runs elsewhere"
        };
        self.fence(group, why.to_owned(), at)
    }

    /// Does what time asks for.
    pub fn pass(&mut self, at: Moment) -> Vec<Action> {
        let is_due = |held: &Guarded| held.wakes_at(at.rules, at.lease).is_some_and(|due| due <= at.now);
        let due: Vec<GroupId> =
            self.groups.iter().filter(|(_, held)| is_due(held)).map(|(group, _)| group.clone()).collect();
        due.iter().flat_map(|group| self.pass_one(group, at)).collect()
    }

    fn pass_one(&mut self, group: &GroupId, at: Moment) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        match held.stage {
            Stage::Promoting(key) => {
                self.interrupt(group, key, at);
                vec![Action::Stop { key, why: "the lease ran out".to_owned() }]
            }
            Stage::Serving => self.end(group, at),
            Stage::Interrupted(_) | Stage::Demoting(_) | Stage::DemoteFailed => self.kill(group, at),
            Stage::Killing(_) => self.fence(group, "what its hooks started does not die".to_owned(), at),
            Stage::Unproven(_) => {
                let reason = "the service is not known to have stopped".to_owned();
                self.start(group, Hook::Demote, reason, Stage::Retrying)
            }
            Stage::Fencing(_) | Stage::Retrying(_) | Stage::Tidying(_) => Vec::new(),
        }
    }

    /// When [`Guards::pass`] must be called at the latest.
    pub fn next_wake(&self, rules: Rules, lease: BootMs) -> Option<BootMs> {
        self.groups.values().filter_map(|held| held.wakes_at(rules, lease)).min()
    }

    /// The deadline has passed: the demote hook if there is one, else by force.
    fn end(&mut self, group: &GroupId, at: Moment) -> Vec<Action> {
        if at.rules.demotion_ms.is_none() {
            return self.kill(group, at);
        }
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        let deadline = held.deadline(at.lease);
        held.frozen = Some(deadline);
        let reason = format!("the lease ran out at {deadline} on the boot clock and nobody renewed it");
        self.start(group, Hook::Demote, reason, Stage::Demoting)
    }

    fn kill(&mut self, group: &GroupId, at: Moment) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        held.frozen = Some(held.deadline(at.lease));
        let running = match held.stage {
            Stage::Promoting(key)
            | Stage::Interrupted(key)
            | Stage::Demoting(key)
            | Stage::Retrying(key)
            | Stage::Tidying(key) => Some(key),
            _ => None,
        };
        held.stage = Stage::Killing(at.now);
        let stop = running.map(|key| Action::Stop { key, why: "the time for it is over".to_owned() });
        stop.into_iter().chain([Action::Kill { group: group.clone() }]).collect()
    }

    fn fence(&mut self, group: &GroupId, why: String, at: Moment) -> Vec<Action> {
        if at.rules.fence {
            self.start(group, Hook::Fence, why, Stage::Fencing)
        } else {
            self.give_up(group, why, at)
        }
    }

    fn start(
        &mut self,
        group: &GroupId,
        hook: Hook,
        reason: String,
        stage: impl FnOnce(RunKey) -> Stage,
    ) -> Vec<Action> {
        let key = self.new_key();
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        held.stage = stage(key);
        vec![Action::Start { key, group: group.clone(), hook, reason }]
    }

    fn give_up(&mut self, group: &GroupId, why: String, at: Moment) -> Vec<Action> {
        let Some(held) = self.groups.get_mut(group) else { return Vec::new() };
        held.stage = Stage::Unproven(at.now.after_ms(RETRY_MIN_MS));
        vec![Action::Ended { group: group.clone(), epoch: held.epoch, proof: Proof::Not(why) }]
    }

    fn over(&mut self, group: &GroupId, proof: Proof) -> Vec<Action> {
        let Some(held) = self.groups.remove(group) else { return Vec::new() };
        let spare = Action::Spare { group: group.clone() };
        vec![spare, Action::Ended { group: group.clone(), epoch: held.epoch, proof }]
    }
}

fn full() -> String {
    format!("{GROUPS_MAX} groups are guarded already")
}
