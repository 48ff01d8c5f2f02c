//! What must be on disk before a host acts.

use crate::seat::Seat;
use quorate_domain::{Epoch, GroupId, LeaseSettings};
use std::collections::{BTreeMap, BTreeSet};

/// The most groups whose highest epoch is kept although the assignment no longer has them.
pub const FORMER_GROUPS_MAX: usize = 4_096;

/// What an agent remembers across its restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableEpochs {
    /// The highest epoch that was seen of each group: nothing is done under a lower one.
    pub highest: BTreeMap<GroupId, Epoch>,
    /// Where this host is, or may still be taken for, primary: written before the promote hook starts, struck out once
    /// the end of the epoch is certain.
    pub primary_of: BTreeSet<(GroupId, Epoch)>,
    /// What may be held by a start that is running elsewhere: `primary_of` from another place, when this folder is a copy
    /// or the machine has booted since, and what the coordinators granted to a start that left nothing here.
    pub elsewhere: BTreeSet<(GroupId, Epoch)>,
    /// The longest lease that may be running: a restart waits for its end where nothing else is certain, and no lease
    /// is counted for longer.
    pub lease_ms: u64,
    /// The longest demotion, from the end of the lease on, that a start allowed itself which may have left something running.
    pub demotion_ms: u64,
    /// Some such start had no hooks: processes of the platform act by what they were told, or under a guard, and no demote
    /// hook ends those.
    pub hookless: bool,
    /// The epochs that a guard was told of, written before it is, and where it runs: none is over before it is known that
    /// nothing is left of what the guard ran.
    pub guarded: BTreeMap<(GroupId, Epoch), Seat>,
}

impl Default for DurableEpochs {
    fn default() -> Self {
        let lease_ms = LeaseSettings::default().lease_ms;
        Self {
            highest: BTreeMap::new(),
            primary_of: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            lease_ms,
            demotion_ms: 0,
            hookless: true,
            guarded: BTreeMap::new(),
        }
    }
}

impl DurableEpochs {
    /// What is left when the folder is found in another place than the one it was last used in: whoever held an epoch
    /// there may go on with it.
    #[must_use]
    pub fn moved(mut self) -> Self {
        self.elsewhere.append(&mut self.primary_of);
        self
    }

    fn holds_nothing(&self) -> bool {
        self.primary_of.is_empty() && self.elsewhere.is_empty()
    }

    /// Also covers a start whose longest demotion is this; 0 for one without hooks.
    fn cover(&mut self, demotion_ms: u64) {
        let alone = self.holds_nothing();
        self.hookless = demotion_ms == 0 || (!alone && self.hookless);
        self.demotion_ms = if alone { demotion_ms } else { demotion_ms.max(self.demotion_ms) };
    }

    fn covers(&self, demotion_ms: u64) -> bool {
        self.demotion_ms >= demotion_ms && (self.hookless || demotion_ms > 0)
    }
}

/// What is wanted on disk, what was asked for, and what is known to be there.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    wanted: DurableEpochs,
    stored: DurableEpochs,
    /// The longest demotion of this start; 0 where it has no hooks.
    demotion_ms: u64,
    under_way: Option<(u64, DurableEpochs)>,
    requests: u64,
    /// Groups that left the assignment, oldest first.
    former: Vec<GroupId>,
    /// The highest epoch of each group that has ended on this host for good.
    ended: BTreeMap<GroupId, Epoch>,
}

impl Ledger {
    pub(crate) fn new(on_disk: DurableEpochs, demotion_ms: u64) -> Self {
        let former = on_disk.highest.keys().cloned().collect();
        // Whatever an earlier start has seen was not granted to this one: it acts only under a new epoch.
        let ended = on_disk.highest.clone();
        #[cfg(planted)]
        let ended = if quorate_domain::planted::is(quorate_domain::planted::Bug::ActAfterRestart) {
            BTreeMap::new()
        } else {
            ended
        };
        let mut wanted = on_disk.clone();
        wanted.cover(demotion_ms);
        Self { wanted, stored: on_disk, demotion_ms, under_way: None, requests: 0, former, ended }
    }

    pub(crate) fn highest(&self, group: &GroupId) -> Epoch {
        self.wanted.highest.get(group).copied().unwrap_or_default()
    }

    pub(crate) fn saw(&mut self, group: &GroupId, epoch: Epoch) {
        let highest = self.wanted.highest.entry(group.clone()).or_default();
        *highest = epoch.max(*highest);
    }

    pub(crate) fn ended(&mut self, group: &GroupId, epoch: Epoch) {
        let ended = self.ended.entry(group.clone()).or_default();
        *ended = epoch.max(*ended);
    }

    pub(crate) fn has_ended(&self, group: &GroupId, epoch: Epoch) -> bool {
        self.ended.get(group).is_some_and(|ended| epoch <= *ended)
    }

    /// Wants another length of the lease on disk: a longer one at once, a shorter one only when `shorter` says that
    /// no longer one can still be running.
    pub(crate) fn lease_length(&mut self, lease_ms: u64, shorter: bool) {
        if lease_ms > self.wanted.lease_ms || shorter {
            self.wanted.lease_ms = lease_ms;
        }
    }

    /// The longest lease that a restart would wait for.
    pub(crate) fn stored_lease_ms(&self) -> u64 {
        self.stored.lease_ms.min(self.wanted.lease_ms)
    }

    /// True when everything that is wanted is on disk.
    pub(crate) fn settled(&self) -> bool {
        self.under_way.is_none() && self.wanted == self.stored
    }

    pub(crate) fn begins(&mut self, group: &GroupId, epoch: Epoch) {
        self.wanted.primary_of.insert((group.clone(), epoch));
    }

    pub(crate) fn held_elsewhere(&mut self, group: &GroupId, epoch: Epoch) {
        self.wanted.elsewhere.insert((group.clone(), epoch));
    }

    pub(crate) fn is_over(&mut self, group: &GroupId, epoch: Epoch) {
        let held = (group.clone(), epoch);
        self.wanted.primary_of.remove(&held);
        self.wanted.elsewhere.remove(&held);
        self.wanted.guarded.remove(&held);
        if self.wanted.holds_nothing() {
            self.wanted.cover(self.demotion_ms);
        }
    }

    /// A guard is to be told of an epoch. True once a restart would know of it.
    pub(crate) fn guards(&mut self, group: &GroupId, epoch: Epoch, seat: &Seat) -> bool {
        let held = (group.clone(), epoch);
        let is_stored = self.stored.guarded.get(&held) == Some(seat);
        self.wanted.guarded.insert(held, seat.clone());
        is_stored
    }

    /// Where the guard runs that was told of an epoch.
    pub(crate) fn seat(&self, group: &GroupId, epoch: Epoch) -> Option<&Seat> {
        self.wanted.guarded.get(&(group.clone(), epoch))
    }

    /// The longest demotion that a start which shares this folder's past allowed itself.
    pub(crate) fn longest_demotion_ms(&self) -> u64 {
        self.wanted.demotion_ms
    }

    /// True when a crash at this instant would leave everything on disk that acting under the epoch asks for.
    pub(crate) fn allows(&self, group: &GroupId, epoch: Epoch) -> bool {
        self.highest(group) == epoch
            && self.stored.covers(self.demotion_ms)
            && self.stored.highest.get(group) == Some(&epoch)
            && self.stored.primary_of.contains(&(group.clone(), epoch))
    }

    pub(crate) fn assigned(&mut self, group: &GroupId) {
        self.former.retain(|former| former != group);
    }

    /// Keeps the highest epoch of a group that left, and forgets the oldest of those beyond the bound.
    pub(crate) fn left(&mut self, group: &GroupId) {
        if self.former.contains(group) {
            return;
        }
        self.former.push(group.clone());
        while self.former.len() > FORMER_GROUPS_MAX {
            let oldest = self.former.remove(0);
            self.wanted.highest.remove(&oldest);
            self.ended.remove(&oldest);
        }
    }

    /// The next thing to write, if something is to be written and nothing is under way.
    pub(crate) fn request(&mut self) -> Option<(u64, DurableEpochs)> {
        if self.under_way.is_some() || self.wanted == self.stored {
            return None;
        }
        self.requests += 1;
        let request = (self.requests, self.wanted.clone());
        self.under_way = Some(request.clone());
        Some(request)
    }

    pub(crate) fn stored(&mut self, request: u64) {
        if let Some((_, epochs)) = self.under_way.take_if(|(number, _)| *number == request) {
            self.stored = epochs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupId {
        GroupId::new(name).unwrap()
    }

    #[test]
    fn an_epoch_is_allowed_only_once_all_of_it_is_stored() {
        let mut ledger = Ledger::new(DurableEpochs::default(), 0);
        let g = group("g");
        ledger.saw(&g, Epoch(4));
        assert!(!ledger.allows(&g, Epoch(4)));
        let (first, _) = ledger.request().unwrap();
        ledger.begins(&g, Epoch(4));
        assert_eq!(ledger.request(), None, "one is under way");
        ledger.stored(first);
        assert!(!ledger.allows(&g, Epoch(4)), "the first write did not name it");
        let (second, epochs) = ledger.request().unwrap();
        assert!(epochs.primary_of.contains(&(g.clone(), Epoch(4))));
        ledger.stored(first);
        assert!(!ledger.allows(&g, Epoch(4)), "another number says nothing of this one");
        ledger.stored(second);
        assert!(ledger.allows(&g, Epoch(4)));
        ledger.saw(&g, Epoch(5));
        assert!(!ledger.allows(&g, Epoch(4)), "a higher one was seen");
    }

    #[test]
    fn groups_that_left_are_remembered_up_to_a_bound() {
        let mut ledger = Ledger::new(DurableEpochs::default(), 0);
        for number in 0..=FORMER_GROUPS_MAX {
            let id = group(&format!("g{number}"));
            ledger.saw(&id, Epoch(9));
            ledger.left(&id);
        }
        assert_eq!(ledger.highest(&group("g0")), Epoch(0));
        assert_eq!(ledger.highest(&group("g1")), Epoch(9));
        let (_, epochs) = ledger.request().unwrap();
        assert_eq!(epochs.highest.len(), FORMER_GROUPS_MAX);
    }
}
