//! Ends by force: rounds of killing until nothing is left, what was left running, and what a dead warden left.

use crate::{
    cgroup::Cgroup,
    kin::Owner,
    processes::{self, Identity, Snapshot},
    protocol::Proof,
    record::{self, Record},
    runs::Watch,
    search::Found,
    warden::Warden,
};
use quorate_agent_core::guard::{Action, Guarded, RunKey};
use quorate_domain::{Epoch, GroupId};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::parent_id,
    path::PathBuf,
};

/// From one round of killing to the next, unless looking at all processes takes long.
const ROUND_MS: u64 = 10;
/// So many rounds find nothing before nothing is left: what forks while it is looked at may be missed once.
const EMPTY_ROUNDS: u32 = 2;
/// When after a promotion it is looked at what runs: not at once, when something that ends with its hook may still be
/// there, which says nothing of the service; and again, since marks may have to be read first.
const LOOKS_MS: [u64; 3] = [250, 1_000, 3_000];
/// How long marks are awaited before whatever has none that is known is killed with the group.
const MARKS_WITHIN_MS: u64 = 300;
/// How long the search for what a dead warden left may take before it is gone on without.
const SEARCH_MAX_MS: u64 = 2_000;

/// What is being ended by force, and looked at.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    /// Being killed: how many rounds have found nothing, and since when.
    killing: BTreeMap<GroupId, (u32, u64)>,
    next_round: u64,
    /// To be looked at: which look comes next, and when the promotion ended.
    looks: BTreeMap<GroupId, (usize, u64)>,
    /// Cgroups named by the operator in which something was seen, whatever they are called now.
    populated: BTreeMap<GroupId, PathBuf>,
    /// Cgroups of groups that a dead warden left.
    inherited: BTreeMap<GroupId, PathBuf>,
    /// Records that wait for the search for what is left of them, which ends by then at the latest.
    waiting: Option<(Vec<Record>, u64)>,
    /// Inherited groups whose killing has not ended.
    unfinished: BTreeSet<GroupId>,
    /// Records that a dead warden left and that cannot be read, by the names of their files; all of them, for this reason.
    unread: BTreeSet<String>,
    all_unread: Option<String>,
    inherited_once: bool,
    /// The last look at all processes has failed.
    blind: bool,
}

impl Endings {
    /// True while what a dead warden left is dealt with.
    pub(crate) fn inherits(&self) -> bool {
        self.waiting.is_some() || !self.unfinished.is_empty()
    }

    /// These groups are in these cgroups, whatever is configured now.
    pub(crate) fn stay_in(&mut self, held: impl Iterator<Item = (GroupId, Cgroup)>) {
        for (group, cgroup) in held {
            self.inherited.entry(group).or_insert_with(|| cgroup.path().to_owned());
        }
    }

    pub(crate) fn spare(&mut self, group: &GroupId) {
        self.killing.remove(group);
        self.unfinished.remove(group);
    }

    /// Nothing of it is looked at any more.
    pub(crate) fn forget(&mut self, group: &GroupId) {
        self.spare(group);
        self.looks.remove(group);
        self.populated.remove(group);
        self.inherited.remove(group);
    }

    /// Why it says nothing that nothing is on record of a group.
    pub(crate) fn why_unread(&self, group: &GroupId) -> Option<String> {
        if let Some(error) = &self.all_unread {
            return Some(format!("what was guarded before cannot be read: {error}"));
        }
        let file = record::name(group);
        self.unread.contains(&file).then(|| format!("{file}, which says what was guarded before, is damaged"))
    }

    /// Its end is known, or that it is not.
    pub(crate) fn settled(&mut self, group: &GroupId) {
        self.unfinished.remove(group);
    }

    pub(crate) fn soon(&mut self, now: u64) {
        self.next_round = self.next_round.min(now);
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        let rounds = (!self.killing.is_empty()).then_some(self.next_round);
        let looks = self.looks.values().filter_map(|(look, since)| Some(since + LOOKS_MS.get(*look)?)).min();
        [rounds, looks, self.waiting.as_ref().map(|(_, until)| *until)].into_iter().flatten().min()
    }
}

impl Warden {
    /// The agent, if what this process leaves falls to it: one that has taken the warden over is not its parent.
    pub(crate) fn agent_process(&self) -> Option<Identity> {
        let agent = self.agent.as_ref().filter(|agent| agent.conn.pid == parent_id());
        agent.and_then(|agent| record::identity_of(agent.conn.pid))
    }

    pub(crate) fn kill_group(&mut self, group: GroupId, now: u64) {
        self.log(true, format!("killing everything that the hooks of group {group} started"));
        self.endings.killing.insert(group, (0, now));
        self.endings.soon(now);
    }

    pub(crate) fn look_soon(&mut self, group: GroupId, now: u64) {
        self.endings.looks.insert(group, (0, now));
    }

    /// Nothing of the group is to be guarded any more.
    pub(crate) fn let_go(&mut self, group: &GroupId) {
        self.clear_away(group);
        self.spawner.strike(group.clone());
    }

    /// Nothing of the group is left: its cgroup goes, and all that was known for finding its processes.
    pub(crate) fn clear_away(&mut self, group: &GroupId) {
        if let Some(cgroup) = self.cgroup_of(group) {
            self.spawner.sweep(cgroup);
        }
        self.endings.forget(group);
        self.disks.remove(group);
    }

    fn cgroup_of(&self, group: &GroupId) -> Option<Cgroup> {
        let inherited = self.endings.inherited.get(group).map(|path| Cgroup::at(path.clone()));
        inherited.or_else(|| self.cgroups.as_ref().map(|cgroups| cgroups.of(group.as_str())))
    }

    /// The operator's own cgroup of the group's service, once something was seen in it.
    fn service_cgroup_of(&self, group: &GroupId) -> Option<Cgroup> {
        self.endings.populated.get(group).cloned().map(Cgroup::at)
    }

    /// Looks at all processes. False when not all can be seen: then nothing is known to be gone.
    pub(crate) fn refresh(&mut self) -> bool {
        let snapshot = match Snapshot::take() {
            Ok(snapshot) => snapshot,
            Err(error) => {
                if !std::mem::replace(&mut self.endings.blind, true) {
                    self.log(true, format!("the processes of this machine cannot be looked at: {error}; nothing counts as gone"));
                }
                return false;
            }
        };
        let hidden = snapshot.hidden().to_owned();
        let unknown = self.kin.refresh(snapshot);
        // Those that are not looked at stay unknown, and unknown ones are killed with the first group.
        self.searcher.look_at(unknown);
        let is_blind = !hidden.is_empty();
        if let (Some(pid), false) = (hidden.first(), std::mem::replace(&mut self.endings.blind, is_blind)) {
            self.log(true, format!("/proc does not show process {pid}, which some hook has started (its option hidepid); nothing counts as gone"));
        }
        !is_blind
    }

    pub(crate) fn pass_endings(&mut self, now: u64) {
        if self.endings.waiting.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.log(true, "some process does not tell its environment; going on without".to_owned());
            self.take_over(now);
        }
        self.look(now);
    }

    fn look(&mut self, now: u64) {
        let is_due =
            |(look, since): &(usize, u64)| LOOKS_MS.get(*look).is_some_and(|after| now >= since + after);
        let due: Vec<GroupId> = self
            .endings
            .looks
            .iter()
            .filter(|(_, look)| is_due(look))
            .map(|(group, _)| group.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        // Where there are cgroups they alone say it: what was seen below a hook may be of the hook itself.
        let sees = self.cgroups.is_none() && self.refresh();
        for group in due {
            let own = self.cgroup_of(&group).is_some_and(|cgroup| cgroup.is_seen_populated());
            let service = self.settings.service_cgroup_of(group.as_str()).map(Cgroup::at);
            if let Some(service) = service.filter(Cgroup::is_seen_populated) {
                self.endings.populated.insert(group.clone(), service.path().to_owned());
            }
            if own || (sees && !self.kin.of_group(&group).is_empty()) {
                self.endings.looks.remove(&group);
                // Of a service elsewhere it proves nothing, whatever a later start of the agent says of where it runs.
                if !self.settings.is_elsewhere() {
                    self.guards.seen(&group);
                    if let Some(epoch) = self.guards.get(&group).map(Guarded::epoch) {
                        self.note(&group, epoch, None);
                    }
                }
            } else if let Some((look, _)) = self.endings.looks.get_mut(&group) {
                *look += 1;
                if *look >= LOOKS_MS.len() {
                    self.endings.looks.remove(&group);
                }
            }
        }
    }

    /// Notes that the group is guarded and whether something of it was seen running, or how it ended.
    pub(crate) fn note(&self, group: &GroupId, epoch: Epoch, ended: Option<Proof>) {
        self.spawner.note(Record {
            boot: self.boot.clone(),
            group: group.clone(),
            epoch,
            disk: self.disks.get(group).cloned(),
            hook: "promote".to_owned(),
            mark: format!("{}:{group}:0", self.mark),
            cgroup: self.cgroup_of(group).map(|cgroup| cgroup.path().to_owned()),
            process: None,
            seen: self.guards.get(group).is_some_and(Guarded::is_seen),
            agent: self.agent_process(),
            ended,
        });
    }

    /// One round of killing, when it is time.
    pub(crate) fn kill_round(&mut self, watch: &mut impl Watch, now: u64) {
        let stopping = self.runs.stopping();
        if (self.endings.killing.is_empty() && stopping.is_empty()) || now < self.endings.next_round {
            return;
        }
        let sees = self.refresh();
        self.kill_runs(stopping, sees, watch, now);
        for group in self.endings.killing.keys().cloned().collect::<Vec<_>>() {
            self.kill_members(&group, sees, now);
        }
        let took = crate::clock::boot_ms().saturating_sub(now);
        self.endings.next_round = now + took + (5 * took).clamp(ROUND_MS, 20 * ROUND_MS);
    }

    fn kill_runs(
        &mut self,
        stopping: Vec<(RunKey, Identity, bool)>,
        sees: bool,
        watch: &mut impl Watch,
        now: u64,
    ) {
        for (key, hook, has_ended) in stopping {
            if !has_ended {
                processes::kill(hook);
            }
            let left = self.kin.of_run(key);
            left.iter().copied().filter(|process| *process != hook).for_each(processes::kill);
            if has_ended && sees && left.is_empty() && !self.kin.awaits_marks() {
                self.run_gone(key, watch, now);
            }
        }
    }

    fn kill_members(&mut self, group: &GroupId, sees: bool, now: u64) {
        let cgroups = [self.cgroup_of(group), self.service_cgroup_of(group)];
        let Some((_, since)) = self.endings.killing.get(group) else { return };
        // It may be of a group that is well, and it may be of this one.
        let awaits = self.kin.awaits_marks() && now < since + MARKS_WITHIN_MS;
        let mut left: BTreeSet<Identity> = self.kin.of_group(group).into_iter().collect();
        // Whose it is nothing tells, unless a cgroup does, and it may be this group's.
        let is_anothers = |(pid, _): &Identity| {
            let theirs = self.cgroups.as_ref().and_then(|cgroups| cgroups.group_of(*pid));
            theirs.is_some_and(|theirs| theirs != group.as_str())
        };
        left.extend(self.kin.of_nobody(!awaits).into_iter().filter(|process| !is_anothers(process)));
        let mut is_empty = sees && left.is_empty() && !awaits;
        for cgroup in cgroups.into_iter().flatten().filter(|cgroup| !cgroup.is_empty()) {
            is_empty = false;
            cgroup.kill();
        }
        left.into_iter().for_each(processes::kill);
        let Some((rounds, _)) = self.endings.killing.get_mut(group) else { return };
        *rounds = if is_empty { *rounds + 1 } else { 0 };
        if *rounds < EMPTY_ROUNDS {
            return;
        }
        self.endings.spare(group);
        let emptied = self.service_cgroup_of(group).is_some();
        let actions = self.guards.gone(group, emptied, self.moment(now));
        self.perform(actions, now);
    }

    /// Reads what a dead warden left on disk, once, and begins to look for it.
    pub(crate) fn inherit(&mut self, now: u64) {
        if std::mem::replace(&mut self.endings.inherited_once, true) {
            return;
        }
        let records = match self.records.read() {
            Ok((records, damaged)) => {
                if !damaged.is_empty() {
                    self.log(true, format!("no records of guarded groups: {}", damaged.join(", ")));
                }
                self.endings.unread = damaged.into_iter().collect();
                records
            }
            Err(error) => {
                self.log(true, format!("what was guarded before cannot be read: {error}"));
                self.endings.all_unread = Some(error.to_string());
                return;
            }
        };
        if !records.is_empty() {
            self.kin.adopt(self.orphans_of.map(|(pid, _)| pid));
            self.searcher.look_at_all();
            self.endings.waiting = Some((records, now + SEARCH_MAX_MS));
        }
    }

    /// Everything with a mark was found: it is killed, and with it whatever else a dead warden left.
    fn take_over(&mut self, now: u64) {
        let Some((records, _)) = self.endings.waiting.take() else { return };
        self.refresh();
        for record in records {
            let Record { boot, group, epoch, disk, cgroup, seen, agent, ended, .. } = record;
            if self.guards.get(&group).is_some() {
                continue;
            }
            let known = ended.or((boot != self.boot).then_some(Proof::Rebooted));
            if let Some(proof) = known {
                self.perform(vec![Action::Ended { group, epoch, proof }], now);
                continue;
            }
            // Without a cgroup nothing is lost only where somebody was there for it to fall to.
            let nothing_lost = cgroup.is_some() || (agent.is_some() && agent == self.orphans_of);
            if let Some(cgroup) = cgroup {
                self.endings.inherited.insert(group.clone(), cgroup);
            }
            if let Some(disk) = disk {
                self.disks.insert(group.clone(), disk);
            }
            self.endings.unfinished.insert(group.clone());
            let actions = self.guards.inherit(group, epoch, seen && nothing_lost, self.moment(now));
            self.perform(actions, now);
        }
    }

    /// The search found something.
    pub(crate) fn found(&mut self, found: Found, now: u64) {
        match found {
            Found::Mark(process, mark) => {
                let owner = mark.as_deref().and_then(|mark| self.owner(mark)).unwrap_or(Owner::Unknown);
                let is_ours = owner != Owner::Unknown;
                // Others are known only when they were asked for.
                if is_ours || self.kin.is_asked(process) {
                    self.kin.learn(process, owner);
                }
            }
            Found::All => self.take_over(now),
        }
    }

    fn owner(&self, mark: &str) -> Option<Owner> {
        let mut words = mark.split(':');
        let ours = words.next()? == self.mark;
        let group = GroupId::new(words.next()?).ok()?;
        let key = words.next()?.parse().ok()?;
        ours.then_some(Owner::Group(group, RunKey(key)))
    }
}
