//! Guards that are attached to an agent: processes on its host, each of which runs one group's service under its lease. They
//! are told what the host is to the group whenever that changes; each ends its service by itself at the deadline that it was
//! told last. One that is to begin a service is asked first whether it is there: what it was not told it does not run.

use crate::{
    role::{LocalRole, RoleAnswer},
    seat::Seat,
    time::BootMs,
};
use quorate_domain::{DiskName, Epoch, GroupId};
use std::collections::{BTreeMap, BTreeSet};

/// The most guards of one host.
pub const GUARDS_MAX: usize = 1_000;
/// How long one may take to say that it is there.
const READY_MS: u64 = 2_000;

/// What the host is to a group, as its guard is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The role, and until when.
    pub role: RoleAnswer,
    /// Of the group's member on this host, where it is known.
    pub disk: Option<DiskName>,
    /// The epoch that it is asked to be ready for.
    pub asks: Option<Epoch>,
    /// It is on record that nothing is left of what earlier guards of the group ran.
    pub nothing_awaited: bool,
}

/// Who begins the service of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginner {
    /// The guard of the group, which was asked.
    Guard,
    /// Hooks, if there are any: no guard has been seen.
    Hooks,
    /// Nothing can, and why.
    Nothing(String),
}

/// Why a guard is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// The group has one, of this name.
    Guarded(String),
    /// There are as many as one agent can have.
    TooMany,
}

/// One that is attached.
#[derive(Debug)]
struct Guard<W> {
    number: u64,
    name: String,
    seat: Seat,
    way: W,
    /// What it was told last.
    last: Option<Told>,
    runs: Option<Runs>,
    /// It has said nothing where it had to: another one may take its place.
    stands_still: bool,
    /// What keeps it from beginning anything, by its own word.
    hindrance: Option<String>,
}

impl<W> Guard<W> {
    fn why_hindered(&self) -> Option<String> {
        let hindrance = self.hindrance.as_ref()?;
        Some(format!("its guard ({}) cannot begin: {hindrance}", self.name))
    }
}

/// What a guard may run.
#[derive(Debug, Clone, Copy)]
struct Runs {
    epoch: Epoch,
    /// The last deadline that it is known to have taken in.
    known: BootMs,
    /// That has passed. It may still say that nothing is left.
    lost: bool,
}

/// An epoch that begins with the service of a guard.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    epoch: Epoch,
    /// It has said that it is there.
    ready: bool,
    /// When it has failed.
    by: BootMs,
}

/// All that are attached, each with the way by which it is told.
#[derive(Debug)]
pub struct Guards<W> {
    attached: BTreeMap<GroupId, Guard<W>>,
    /// Groups that have had one since the agent started.
    known: BTreeSet<GroupId>,
    beginning: BTreeMap<GroupId, Beginning>,
    numbers: u64,
}

/// An epoch that nobody serves any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The group.
    pub group: GroupId,
    /// The epoch.
    pub epoch: Epoch,
    /// Why, in words.
    pub reason: String,
}

impl<W> Default for Guards<W> {
    fn default() -> Self {
        let (attached, known, beginning) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { attached, known, beginning, numbers: 0 }
    }
}

impl<W> Guards<W> {
    /// Takes one in, in place of one that stands still; the number of its attachment.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn attach(&mut self, group: GroupId, name: String, seat: Seat, way: W) -> Result<u64, NotTaken> {
        // One that stands still keeps no other from ending what it has left.
        if let Some(guard) = self.attached.get(&group).filter(|guard| !guard.stands_still) {
            return Err(NotTaken::Guarded(guard.name.clone()));
        }
        let is_new = !self.known.contains(&group);
        if self.attached.len() >= GUARDS_MAX || (is_new && self.known.len() >= GUARDS_MAX) {
            return Err(NotTaken::TooMany);
        }
        self.numbers += 1;
        self.known.insert(group.clone());
        let (number, stands_still) = (self.numbers, false);
        let guard = Guard { number, name, seat, way, last: None, runs: None, stands_still, hindrance: None };
        self.attached.insert(group, guard);
        Ok(self.numbers)
    }

    /// Every group with a guard.
    pub fn groups(&self) -> Vec<GroupId> {
        self.attached.keys().cloned().collect()
    }

    fn get(&mut self, group: &GroupId, number: u64) -> Option<&mut Guard<W>> {
        self.attached.get_mut(group).filter(|guard| guard.number == number)
    }

    /// One that says something.
    fn speaks(&mut self, group: &GroupId, number: u64) -> Option<&mut Guard<W>> {
        let guard = self.get(group, number)?;
        guard.stands_still = false;
        Some(guard)
    }

    /// It has taken a deadline in.
    pub fn knows(&mut self, group: &GroupId, number: u64, epoch: Epoch, deadline: BootMs) {
        if let Some(guard) = self.speaks(group, number)
            && let Some(runs) = guard.runs.as_mut().filter(|runs| runs.epoch == epoch)
        {
            runs.known = deadline.max(runs.known);
        }
    }

    /// Where the guard of a group runs.
    pub fn seat(&self, group: &GroupId) -> Option<&Seat> {
        self.attached.get(group).map(|guard| &guard.seat)
    }

    /// Where an attached guard runs, and the epoch that it was told of.
    pub fn speaker(&self, group: &GroupId, number: u64) -> Option<(Seat, Option<Epoch>)> {
        let guard = self.attached.get(group).filter(|guard| guard.number == number)?;
        Some((guard.seat.clone(), guard.runs.map(|runs| runs.epoch)))
    }

    /// The service of an epoch is to begin: by whom.
    pub fn begin(&mut self, group: &GroupId, epoch: Epoch, now: BootMs) -> Beginner {
        let Some(guard) = self.attached.get(group) else {
            return if self.known.contains(group) {
                Beginner::Nothing(format!(
                    "its service is run by a guard and none is attached; start `quorate guard {group}` again"
                ))
            } else {
                Beginner::Hooks
            };
        };
        if let Some(why) = guard.why_hindered() {
            return Beginner::Nothing(why);
        }
        let beginning = Beginning { epoch, ready: false, by: now.after_ms(READY_MS) };
        self.beginning.insert(group.clone(), beginning);
        Beginner::Guard
    }

    /// It says what keeps it from beginning anything; empty for nothing any more. The beginning that has failed by that.
    pub fn hindered(&mut self, group: &GroupId, number: u64, hindrance: String) -> Option<Lost> {
        let guard = self.speaks(group, number)?;
        guard.hindrance = Some(hindrance).filter(|hindrance| !hindrance.is_empty());
        let reason = guard.why_hindered()?;
        let epoch = self.asks(group)?;
        self.beginning.remove(group);
        Some(Lost { group: group.clone(), epoch, reason })
    }

    /// The epoch that the guard of a group is asked to be ready for.
    pub fn asks(&self, group: &GroupId) -> Option<Epoch> {
        self.beginning.get(group).filter(|beginning| !beginning.ready).map(|beginning| beginning.epoch)
    }

    /// It is there, and has until then to start its service. True when it was asked.
    pub fn ready(&mut self, group: &GroupId, number: u64, epoch: Epoch, by: BootMs) -> bool {
        if self.speaks(group, number).is_none() {
            return false;
        }
        let asked =
            self.beginning.get_mut(group).filter(|beginning| beginning.epoch == epoch && !beginning.ready);
        let Some(beginning) = asked else { return false };
        *beginning = Beginning { epoch, ready: true, by };
        true
    }

    /// Its service runs. True when that was waited for.
    pub fn started(&mut self, group: &GroupId, number: u64, epoch: Epoch) -> bool {
        self.speaks(group, number).is_some() && self.interrupt(group, epoch)
    }

    /// The beginning of an epoch is waited for no more. True when it was.
    pub fn interrupt(&mut self, group: &GroupId, epoch: Epoch) -> bool {
        let begins = self.beginning.get(group).is_some_and(|beginning| beginning.epoch == epoch);
        begins && self.beginning.remove(group).is_some()
    }

    /// The beginnings that took too long, and why they have failed.
    pub fn late(&mut self, now: BootMs) -> Vec<Lost> {
        let late = self.beginning.extract_if(.., |_, beginning| now >= beginning.by);
        let attached = &mut self.attached;
        let lost = late.map(|(group, Beginning { epoch, ready, .. })| {
            let guard = attached.get_mut(&group);
            let name = guard.map_or_else(String::new, |guard| {
                guard.stands_still |= !ready;
                guard.name.clone()
            });
            let what = if ready { "has not started its service in time" } else { "does not answer" };
            Lost { group, epoch, reason: format!("its guard ({name}) {what}") }
        });
        lost.collect()
    }

    /// When [`Guards::late`] or [`Guards::silent`] has something to say.
    pub fn next_wake(&self) -> Option<BootMs> {
        let late = self.beginning.values().map(|beginning| beginning.by);
        let runs = self.attached.values().filter_map(|guard| guard.runs).filter(|runs| !runs.lost);
        late.chain(runs.map(|runs| runs.known)).min()
    }

    /// Nothing is left of its service under the epoch. True when that is its word to give.
    pub fn stopped(&mut self, group: &GroupId, number: u64, epoch: Epoch) -> bool {
        let Some(guard) = self.speaks(group, number) else { return false };
        guard.runs.take_if(|runs| runs.epoch == epoch).is_some()
    }

    /// Nothing is left of the service of an epoch, by the word of another than its guard.
    pub fn stopped_without(&mut self, group: &GroupId, epoch: Epoch) {
        if let Some(guard) = self.attached.get_mut(group)
            && guard.runs.take_if(|runs| runs.epoch == epoch).is_some()
        {
            guard.stands_still = true;
        }
    }

    /// It is gone; the epoch that its service ran under.
    pub fn gone(&mut self, group: &GroupId, number: u64) -> Option<Lost> {
        self.get(group, number)?;
        self.remove(group, "is gone")
    }

    fn remove(&mut self, group: &GroupId, what: &str) -> Option<Lost> {
        let guard = self.attached.remove(group)?;
        let begins = || self.beginning.get(group).map(|beginning| beginning.epoch);
        let epoch = guard.runs.map(|runs| runs.epoch).or_else(begins)?;
        Some(Lost { group: group.clone(), epoch, reason: format!("its guard ({}) {what}", guard.name) })
    }

    /// A guard is to be told what the host is to its group: the way to it, unless it knows.
    pub fn tell(&mut self, group: &GroupId, told: Told) -> Option<&W> {
        let guard = self.attached.get_mut(group).filter(|guard| guard.last.as_ref() != Some(&told))?;
        let RoleAnswer { role, epoch, lease_deadline, .. } = told.role;
        if role == LocalRole::Primary && guard.runs.is_none_or(|runs| runs.epoch != epoch) {
            // It may act on what it is about to be told, whether it says so or not.
            guard.runs = Some(Runs { epoch, known: lease_deadline, lost: false });
        }
        guard.last = Some(told);
        Some(&guard.way)
    }

    /// The way to the guard of a group.
    pub fn way(&self, group: &GroupId) -> Option<&W> {
        self.attached.get(group).map(|guard| &guard.way)
    }

    /// A guard is told nothing more: it does not read what it is told, or its group is not this host's any more. The epoch
    /// that its service ran under.
    pub fn let_go(&mut self, group: &GroupId) -> Option<Lost> {
        self.remove(group, "does not read what it is told")
    }

    /// The guards that have taken in no deadline for so long that the last one has passed: each has ended its service, if it
    /// runs at all.
    pub fn silent(&mut self, now: BootMs) -> Vec<Lost> {
        let silent = self.attached.iter_mut().filter_map(|(group, guard)| {
            let runs = guard.runs.as_mut().filter(|runs| !runs.lost && now >= runs.known)?;
            (runs.lost, guard.stands_still) = (true, true);
            let epoch = runs.epoch;
            let reason = format!("its guard ({}) did not answer for a whole lease", guard.name);
            Some(Lost { group: group.clone(), epoch, reason })
        });
        silent.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupId {
        GroupId::new("g").unwrap()
    }

    fn primary(epoch: u64, deadline: u64) -> Told {
        let role = RoleAnswer {
            group: group(),
            role: LocalRole::Primary,
            epoch: Epoch(epoch),
            write_deadline: BootMs(deadline.saturating_sub(10)),
            lease_deadline: BootMs(deadline),
            reason: "r".to_owned(),
        };
        Told { role, disk: None, asks: None, nothing_awaited: true }
    }

    fn attached() -> Guards<u8> {
        let mut guards = Guards::default();
        assert_eq!(guards.attach(group(), "process 7".into(), Seat::default(), 7), Ok(1));
        guards
    }

    fn attach(guards: &mut Guards<u8>) -> Result<u64, NotTaken> {
        guards.attach(group(), "process 8".into(), Seat::default(), 8)
    }

    #[test]
    fn a_second_guard_is_refused_by_the_name_of_the_first() {
        let mut guards = attached();
        assert_eq!(attach(&mut guards), Err(NotTaken::Guarded("process 7".into())));
        assert_eq!(guards.gone(&group(), 2), None, "not its word");
        assert_eq!(guards.begin(&group(), Epoch(5), BootMs(0)), Beginner::Guard);
        assert!(guards.interrupt(&group(), Epoch(5)));
        assert_eq!(guards.gone(&group(), 1), None, "it ran nothing");
        let Beginner::Nothing(why) = guards.begin(&group(), Epoch(6), BootMs(0)) else { panic!("begun") };
        assert!(why.ends_with("none is attached; start `quorate guard g` again"), "{why}");
        assert_eq!(attach(&mut guards), Ok(2));
    }

    #[test]
    fn it_is_told_what_is_new_and_its_epoch_is_lost_with_it() {
        let mut guards = attached();
        assert_eq!(guards.tell(&group(), primary(5, 100)), Some(&7));
        assert_eq!(guards.tell(&group(), primary(5, 100)), None);
        assert_eq!(guards.tell(&group(), primary(5, 200)), Some(&7));
        let lost = guards.gone(&group(), 1).unwrap();
        assert_eq!((lost.epoch, lost.reason.as_str()), (Epoch(5), "its guard (process 7) is gone"));
    }

    #[test]
    fn one_that_said_that_its_service_has_stopped_loses_nothing() {
        let mut guards = attached();
        guards.tell(&group(), primary(5, 100));
        assert!(!guards.stopped(&group(), 1, Epoch(4)) && !guards.stopped(&group(), 9, Epoch(5)));
        assert!(guards.stopped(&group(), 1, Epoch(5)));
        assert_eq!(guards.gone(&group(), 1), None);
    }

    #[test]
    fn one_that_does_not_read_is_lost() {
        let mut guards = attached();
        guards.tell(&group(), primary(5, 100));
        let lost = guards.let_go(&group()).unwrap();
        assert!(lost.epoch == Epoch(5) && lost.reason.contains("does not read"), "{lost:?}");
        assert_eq!((guards.groups(), guards.let_go(&group())), (vec![], None));
    }

    #[test]
    fn one_that_takes_no_deadline_in_is_silent_when_the_last_has_passed() {
        let mut guards = attached();
        guards.tell(&group(), primary(5, 100));
        guards.knows(&group(), 1, Epoch(5), BootMs(200));
        guards.knows(&group(), 1, Epoch(4), BootMs(900));
        guards.knows(&group(), 1, Epoch(5), BootMs(150));
        assert_eq!(guards.silent(BootMs(199)), []);
        assert_eq!(guards.silent(BootMs(200)).len(), 1);
        assert_eq!(guards.silent(BootMs(300)), [], "said once");
        assert!(guards.stopped(&group(), 1, Epoch(5)), "its word counts when it comes at last");
    }

    #[test]
    fn one_that_stands_still_keeps_no_other_from_its_place() {
        let mut guards = attached();
        guards.tell(&group(), primary(5, 100));
        attach(&mut guards).unwrap_err();
        assert_eq!(guards.silent(BootMs(100)).len(), 1);
        assert_eq!(attach(&mut guards), Ok(2));
        assert_eq!(guards.way(&group()), Some(&8), "and is told nothing any more");
        assert!(!guards.stopped(&group(), 1, Epoch(5)));
        assert_eq!(guards.speaker(&group(), 2), Some((Seat::default(), None)));
    }

    #[test]
    fn one_whose_keeper_has_the_last_word_or_that_does_not_answer_stands_still_until_it_speaks() {
        let keeper_speaks = || {
            let mut guards = attached();
            guards.tell(&group(), primary(5, 100));
            guards.stopped_without(&group(), Epoch(4));
            attach(&mut guards).unwrap_err();
            guards.stopped_without(&group(), Epoch(5));
            guards
        };
        assert_eq!(attach(&mut keeper_speaks()), Ok(2));
        let mut speaks = keeper_speaks();
        assert!(!speaks.stopped(&group(), 1, Epoch(5)), "its keeper has said so");
        attach(&mut speaks).unwrap_err();
        let mut asked = attached();
        asked.begin(&group(), Epoch(5), BootMs(0));
        asked.late(BootMs(READY_MS));
        assert_eq!(attach(&mut asked), Ok(2));
    }

    #[test]
    fn one_that_is_to_begin_is_asked_first_and_has_its_time() {
        let mut guards = attached();
        assert_eq!(Guards::<u8>::default().begin(&group(), Epoch(5), BootMs(0)), Beginner::Hooks);
        assert_eq!(guards.begin(&group(), Epoch(5), BootMs(0)), Beginner::Guard);
        assert_eq!((guards.asks(&group()), guards.next_wake()), (Some(Epoch(5)), Some(BootMs(READY_MS))));
        assert!(!guards.ready(&group(), 1, Epoch(4), BootMs(9_000)));
        assert!(!guards.ready(&group(), 2, Epoch(5), BootMs(9_000)));
        assert!(guards.ready(&group(), 1, Epoch(5), BootMs(9_000)));
        assert_eq!((guards.asks(&group()), guards.late(BootMs(8_999))), (None, vec![]));
        assert!(guards.started(&group(), 1, Epoch(5)));
        assert!(!guards.started(&group(), 1, Epoch(5)), "said once");
        guards.begin(&group(), Epoch(6), BootMs(0));
        let lost = guards.late(BootMs(READY_MS)).pop().unwrap();
        assert_eq!((lost.epoch, lost.reason.as_str()), (Epoch(6), "its guard (process 7) does not answer"));
        guards.begin(&group(), Epoch(7), BootMs(0));
        assert_eq!(guards.gone(&group(), 1).unwrap().epoch, Epoch(7));
        assert!(matches!(guards.begin(&group(), Epoch(8), BootMs(0)), Beginner::Nothing(_)), "none is there");
    }

    #[test]
    fn one_that_is_hindered_begins_nothing_until_it_says_that_it_can() {
        let mut guards = attached();
        guards.begin(&group(), Epoch(5), BootMs(0));
        assert_eq!(guards.hindered(&group(), 2, "not its word".into()), None);
        let lost = guards.hindered(&group(), 1, "process 9 hides".into()).unwrap();
        let why = "its guard (process 7) cannot begin: process 9 hides";
        assert_eq!((lost.epoch, lost.reason.as_str()), (Epoch(5), why));
        assert_eq!((guards.asks(&group()), guards.late(BootMs(READY_MS))), (None, vec![]));
        assert_eq!(guards.begin(&group(), Epoch(6), BootMs(0)), Beginner::Nothing(why.into()));
        assert_eq!(guards.hindered(&group(), 1, String::new()), None);
        assert_eq!(guards.begin(&group(), Epoch(6), BootMs(0)), Beginner::Guard);
        assert!(guards.ready(&group(), 1, Epoch(6), BootMs(9_000)));
        assert_eq!(guards.hindered(&group(), 1, "later".into()), None, "what it has taken on has its time");
    }
}
