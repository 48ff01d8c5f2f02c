//! The state machine of one agent: inputs in, steps out. Every input judges the lease at its own `now` before it is
//! taken in, so that nothing that arrives late brings back what had lapsed.

mod answers;
mod guarding;

use crate::{
    durable::{DurableEpochs, Ledger},
    guard::Proof,
    installed::{Installed, OutOfStep},
    lease::Lease,
    quorum::{QuorumWord, QuorumWords},
    report::GroupReport,
    step::{HookKind, HookOutcome, Step},
    tenure::{Stage, Tenure},
    time::{BootMs, NEVER},
};
#[cfg(planted)]
use quorate_domain::planted::{self, Bug};
use quorate_domain::{
    Assignment, AssignmentEntry, Epoch, GroupId, Incarnation, LeaseSettings, Revision, Role,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a start of an agent begins with.
#[derive(Debug, Clone)]
pub struct Start {
    /// This start.
    pub incarnation: Incarnation,
    /// What the starts before left on disk.
    pub on_disk: DurableEpochs,
    /// Until the coordinators say otherwise.
    pub settings: LeaseSettings,
    /// When it began: every lease of an earlier start in this place is over one lease later.
    pub at: BootMs,
    /// A warden ends the services at their deadlines, so a renewal counts only once the warden knows of it. False on a host
    /// without hooks, whose platform asks for its deadlines itself.
    pub guarded: bool,
    /// How long a demotion may go on after the end of the lease; 0 on a host without hooks.
    pub demotion_ms: u64,
}

/// The epochs of one group on this host.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// Epochs that have ended, though not yet for certain; nothing begins before they have.
    past: Vec<Tenure>,
    /// The newest.
    tenure: Option<Tenure>,
}

impl Slot {
    fn all(&mut self) -> impl Iterator<Item = &mut Tenure> {
        self.past.iter_mut().chain(self.tenure.as_mut())
    }

    fn knows(&self, epoch: Epoch) -> bool {
        self.past.iter().chain(self.tenure.as_ref()).any(|tenure| tenure.epoch == epoch)
    }

    fn hook_runs(&self) -> bool {
        self.past.iter().chain(self.tenure.as_ref()).any(Tenure::hook_runs)
    }
}

/// What one host may do now.
#[derive(Debug, Clone)]
pub struct Core {
    incarnation: Incarnation,
    settings: LeaseSettings,
    guarded: bool,
    lease: Lease,
    quorum: QuorumWords,
    installed: Installed,
    ledger: Ledger,
    slots: BTreeMap<GroupId, Slot>,
    /// When every lease of an earlier start in this place is over.
    over_here_by: BootMs,
    /// When every lease of another start elsewhere is over: it can be renewed until the coordinators know this one.
    /// [`NEVER`] until they do.
    over_elsewhere_by: BootMs,
    stopping: Option<String>,
    storage_failed: bool,
    stopped: bool,
    reported: Vec<GroupReport>,
    steps: Vec<Step>,
}

impl Core {
    /// A host that has just started: fenced, whatever it was before. The steps end what the start before left.
    pub fn new(start: Start) -> (Self, Vec<Step>) {
        let lease_over = start.at.after_ms(start.on_disk.lease_ms);
        // A start with hooks finds the warden of the one before, and hears what that has ended. One without finds nothing,
        // and an earlier start's demotions may go on behind its lease.
        let over_here_by =
            if start.guarded { lease_over } else { lease_over.after_ms(start.on_disk.demotion_ms) };
        // A demote hook ends what hooks have started, and not what a guard runs or who was told of a deadline.
        let by_hooks = !start.on_disk.hookless;
        let here = start.on_disk.primary_of.iter().cloned().map(|held| (held, over_here_by, by_hooks));
        let elsewhere = start.on_disk.elsewhere.iter().cloned().map(|held| (held, NEVER, false));
        let left: Vec<_> = here.chain(elsewhere).collect();
        let guarded = start.on_disk.guarded.clone();
        let had_hooks = start.on_disk.demotion_ms > 0;
        #[cfg(planted)]
        let left = if planted::is(Bug::ActAfterRestart) { Vec::new() } else { left };
        let ledger = Ledger::new(start.on_disk, start.demotion_ms);
        let mut core = Self {
            incarnation: start.incarnation,
            lease: Lease::new(&start.settings, ledger.stored_lease_ms()),
            settings: start.settings,
            guarded: start.guarded,
            quorum: QuorumWords::default(),
            installed: Installed::default(),
            ledger,
            slots: BTreeMap::new(),
            over_here_by,
            over_elsewhere_by: NEVER,
            stopping: None,
            storage_failed: false,
            stopped: false,
            reported: Vec::new(),
            steps: Vec::new(),
        };
        for ((group, epoch), over_by, only_here) in left {
            core.ledger.ended(&group, epoch);
            let slot = core.slots.entry(group.clone()).or_default();
            slot.past.extend(slot.tenure.take());
            let reason = "the agent was restarted".to_owned();
            let mut tenure = Tenure::inherited(epoch, over_by, only_here, reason);
            // What is elsewhere no hook run here can end, whoever has some.
            if had_hooks && over_by != NEVER {
                tenure.inherited_by_hooks();
            }
            if guarded.contains_key(&(group, epoch)) {
                tenure.inherited_by_guard();
            }
            slot.tenure = Some(tenure);
        }
        let steps = core.reconcile(start.at);
        (core, steps)
    }

    /// This start of the agent.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The settings in force.
    pub fn settings(&self) -> &LeaseSettings {
        &self.settings
    }

    /// The revision of the installed assignment; zero when none is.
    pub fn installed_revision(&self) -> Revision {
        self.installed.revision().unwrap_or_default()
    }

    /// The coordinators refused the incarnation and this start took another: every epoch that it held has ended. They
    /// know another start, which they renew until they know this one again.
    pub fn renumbered(&mut self, incarnation: Incarnation, now: BootMs) -> Vec<Step> {
        self.incarnation = self.incarnation.max(incarnation);
        self.over_elsewhere_by = NEVER;
        self.reconcile(now)
    }

    /// A leader took the agent in, under these settings.
    pub fn welcomed(&mut self, settings: LeaseSettings, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.quorum.confirmed();
        self.settings = settings;
        if self.over_elsewhere_by == NEVER {
            // The coordinators know this start now, and renew no other from here on.
            // That one counts its lease on another clock, and demotes behind it.
            let longest = self.settings.longest_lease_ms().max(self.ledger.stored_lease_ms());
            let demotion_ms = self.settings.longest_ms(self.ledger.longest_demotion_ms());
            self.over_elsewhere_by = now.after_ms(longest).after_ms(demotion_ms);
            let over_by = self.over_elsewhere_by;
            self.slots.values_mut().flat_map(Slot::all).for_each(|tenure| tenure.over_at_last(over_by));
        }
        self.reconcile(now)
    }

    /// A coordinator answered a request for a session, or ended one, or was not reached.
    pub fn coordinator_said(&mut self, coordinator: &str, word: QuorumWord, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.quorum.heard(coordinator, word);
        self.reconcile(now)
    }

    /// The session is over. Nothing ends and nothing is extended by that alone.
    pub fn session_lost(&mut self, now: BootMs) -> Vec<Step> {
        self.lease.session_lost();
        self.reconcile(now)
    }

    /// A whole assignment arrived.
    pub fn assignment_snapshot(&mut self, assignment: Assignment, now: BootMs) -> Vec<Step> {
        self.install(now, |installed| installed.snapshot(assignment))
    }

    /// A change of the assignment arrived.
    pub fn assignment_delta(
        &mut self,
        from: Revision,
        revision: Revision,
        changed: Vec<AssignmentEntry>,
        removed: &[GroupId],
        now: BootMs,
    ) -> Vec<Step> {
        self.install(now, |installed| installed.delta(from, revision, changed, removed))
    }

    /// Notes that a heartbeat is about to be sent, and numbers it.
    pub fn heartbeat_sent(&mut self, now: BootMs) -> u64 {
        self.lease.heartbeat_sent(now)
    }

    /// The leader acknowledged a heartbeat.
    pub fn heartbeat_acknowledged(&mut self, seq: u64, needs: Revision, now: BootMs) -> Vec<Step> {
        self.judge(now);
        #[cfg(planted)]
        if planted::is(Bug::LeaseFromReceipt) {
            self.lease.pretend_sent(seq, now);
        }
        #[cfg(planted)]
        let needs = if planted::is(Bug::RenewalWithoutAssignment) { Revision(0) } else { needs };
        self.lease.acknowledged(seq, needs, self.installed.revision());
        self.count_unguarded();
        self.reconcile(now)
    }

    /// A [`Step::StoreEpochs`] is durable.
    pub fn epochs_stored(&mut self, request: u64, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.ledger.stored(request);
        self.reconcile(now)
    }

    /// A [`Step::StoreEpochs`] failed: nothing may be acted under any more.
    pub fn storage_failed(&mut self, reason: &str, now: BootMs) -> Vec<Step> {
        self.storage_failed = true;
        self.stop(reason, now)
    }

    /// A hook ended.
    pub fn hook_finished(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        kind: HookKind,
        outcome: HookOutcome,
        now: BootMs,
    ) -> Vec<Step> {
        self.judge(now);
        let promised = self.lease.promised();
        if let Some(tenure) = self.tenure_mut(group, epoch) {
            tenure.hook_finished(kind, outcome, promised, now);
            if !tenure.live() {
                self.ledger.ended(group, epoch);
            }
        }
        self.reconcile(now)
    }

    /// The warden knows the deadline of a [`Step::TellWarden`]: the renewal counts.
    pub fn warden_told(&mut self, request: u64, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.lease.warden_told(request);
        self.reconcile(now)
    }

    /// There is no warden any more: every role ends, and none begins before another one has been told of a renewal.
    pub fn warden_lost(&mut self, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.lease.warden_lost(now);
        self.end_where(|_, _, tenure| tenure.leans_on_lease().then(|| "the warden is gone".to_owned()));
        self.reconcile(now)
    }

    /// The service of an epoch has been ended by other means than a hook of this start, and this is how that is known.
    pub fn service_ended(&mut self, group: &GroupId, epoch: Epoch, proof: &Proof, now: BootMs) -> Vec<Step> {
        self.judge(now);
        let promised = self.lease.promised();
        if let Some(tenure) = self.tenure_mut(group, epoch) {
            if tenure.service_ended(proof, promised, now) {
                self.steps.push(Step::KillHook { group: group.clone(), epoch });
            }
            self.ledger.ended(group, epoch);
        }
        self.reconcile(now)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: BootMs) -> Vec<Step> {
        self.reconcile(now)
    }

    /// The agent is to exit: every role ends now and none begins.
    pub fn stop(&mut self, reason: &str, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.stopping.get_or_insert_with(|| reason.to_owned());
        self.reconcile(now)
    }

    /// True from the call of [`Core::stop`] on.
    pub fn stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// When [`Core::tick`] must be called at the latest, if nothing arrives before.
    pub fn next_wake(&self) -> Option<BootMs> {
        let tenures = || self.slots.values().flat_map(|slot| slot.past.iter().chain(slot.tenure.as_ref()));
        let lapse = tenures().any(Tenure::leans_on_lease).then(|| self.lease.write_deadline());
        tenures().filter_map(Tenure::passes_at).chain(lapse).min()
    }

    /// When the host stops being in its normal mode, unless the lease is renewed; in the past once it has.
    pub fn lapses_at(&self) -> BootMs {
        self.lease.write_deadline()
    }

    fn lapsed(&self) -> String {
        format!("the lease lapsed: writes had to stop at {} on the boot clock", self.lease.write_deadline())
    }

    fn tenure_mut(&mut self, group: &GroupId, epoch: Epoch) -> Option<&mut Tenure> {
        self.slots.get_mut(group)?.all().find(|tenure| tenure.epoch == epoch)
    }

    /// Whether the installed assignment lets this start of the agent act under the epoch.
    fn mandate(&self, group: &GroupId, epoch: Epoch) -> Result<(), String> {
        let Some(entry) = self.installed.entry(group) else {
            return Err("the group left the assignment of this host".to_owned());
        };
        if entry.role != Role::Primary || entry.epoch != epoch {
            return Err(format!("epoch {epoch} was revoked"));
        }
        #[cfg(planted)]
        if planted::is(Bug::ActAfterRestart) {
            return Ok(());
        }
        if entry.granted_to != self.incarnation {
            return Err(format!(
                "epoch {epoch} was granted to start {} of the agent and this is start {}",
                entry.granted_to, self.incarnation
            ));
        }
        Ok(())
    }

    fn install(
        &mut self,
        now: BootMs,
        change: impl FnOnce(&mut Installed) -> Result<(), OutOfStep>,
    ) -> Vec<Step> {
        self.judge(now);
        let before: BTreeSet<GroupId> = self.installed.entries().map(|entry| entry.group.clone()).collect();
        if change(&mut self.installed).is_err() {
            self.steps.push(Step::Resync);
        }
        for entry in self.installed.entries() {
            self.ledger.saw(&entry.group, entry.epoch);
            if !before.contains(&entry.group) {
                self.ledger.assigned(&entry.group);
            }
        }
        for group in before.iter().filter(|group| self.installed.entry(group).is_none()) {
            self.ledger.left(group);
        }
        self.end_what_was_revoked();
        self.lease.installed(self.installed.revision());
        self.count_unguarded();
        self.reconcile(now)
    }

    /// Without a warden a renewal that a quorum has confirmed counts at once.
    fn count_unguarded(&mut self) {
        if !self.guarded
            && let Some((request, _)) = self.lease.next_word()
        {
            self.lease.warden_told(request);
        }
    }

    /// Passes a renewal that a quorum has confirmed on to the warden, behind the ends of the epochs that were revoked before
    /// it was confirmed: their services have what the warden was told until then, and no more.
    fn tell_warden(&mut self) {
        if self.guarded
            && let Some((request, deadline)) = self.lease.next_word()
        {
            self.steps.push(Step::TellWarden { request, deadline });
        }
    }

    /// Ends what leaned on a lease that has lapsed. Called before anything that arrives is taken in.
    fn judge(&mut self, now: BootMs) {
        if !self.lease.covers(now) {
            self.quorum.lapsed();
            let reason = self.lapsed();
            self.end_where(|_, _, tenure| tenure.leans_on_lease().then(|| reason.clone()));
        }
    }

    fn end_what_was_revoked(&mut self) {
        self.end_where(|core, group, tenure| core.mandate(group, tenure.epoch).err());
        if let Some(reason) = self.stopping.clone() {
            self.end_where(|_, _, _| Some(reason.clone()));
        }
    }

    fn end_where(&mut self, why: impl Fn(&Self, &GroupId, &Tenure) -> Option<String>) {
        let ending: Vec<(GroupId, String)> = self
            .slots
            .iter()
            .filter_map(|(group, slot)| {
                let tenure = slot.tenure.as_ref().filter(|tenure| tenure.live())?;
                Some((group.clone(), why(self, group, tenure)?))
            })
            .collect();
        let promised = self.lease.promised();
        for (group, reason) in ending {
            let Some(tenure) = self.slots.get_mut(&group).and_then(|slot| slot.tenure.as_mut()) else {
                continue;
            };
            self.ledger.ended(&group, tenure.epoch);
            if tenure.end(reason, promised) {
                self.steps.push(Step::KillHook { group, epoch: tenure.epoch });
            }
        }
    }

    /// Compares what is wanted with what is, and returns the steps from here to there.
    fn reconcile(&mut self, now: BootMs) -> Vec<Step> {
        self.judge(now);
        self.end_what_was_revoked();
        self.take_up_grants();
        let groups: Vec<GroupId> = self.slots.keys().cloned().collect();
        for group in groups {
            self.advance(&group, now);
        }
        self.tell_warden();
        self.size_lease(now);
        if !self.storage_failed
            && let Some((request, epochs)) = self.ledger.request()
        {
            self.steps.push(Step::StoreEpochs { request, epochs });
        }
        let report = self.report();
        if report != self.reported {
            self.reported = report;
            self.steps.push(Step::Report);
        }
        self.stop_when_done();
        std::mem::take(&mut self.steps)
    }

    fn take_up_grants(&mut self) {
        let named: Vec<AssignmentEntry> =
            self.installed.entries().filter(|entry| entry.role == Role::Primary).cloned().collect();
        for entry in named {
            if self.slots.get(&entry.group).is_some_and(|slot| slot.knows(entry.epoch)) {
                continue;
            }
            let tenure = self.taken_up(&entry);
            let slot = self.slots.entry(entry.group).or_default();
            // Whatever was there has ended: the assignment no longer names it.
            slot.past.extend(slot.tenure.replace(tenure).filter(|tenure| !tenure.over()));
        }
    }

    fn taken_up(&mut self, entry: &AssignmentEntry) -> Tenure {
        let (group, epoch) = (&entry.group, entry.epoch);
        if self.ledger.has_ended(group, epoch) {
            return Tenure::refused(epoch, format!("epoch {epoch} has ended here before"));
        }
        if let Err(reason) = self.mandate(group, epoch) {
            self.ledger.ended(group, epoch);
            // Had a start in this place held it, it would be on disk: whoever holds it may be running elsewhere. Until
            // its end is certain, another restart must find it.
            self.ledger.held_elsewhere(group, epoch);
            #[cfg(planted)]
            if planted::is(Bug::PredecessorAssumed) {
                return Tenure::inherited(epoch, self.over_here_by, true, reason);
            }
            // A later start than this one is renewed until the coordinators know this one again.
            let later = entry.granted_to > self.incarnation;
            let over_by = if later { NEVER } else { self.over_elsewhere_by };
            return Tenure::inherited(epoch, over_by, false, reason);
        }
        let highest = self.ledger.highest(group);
        if epoch < highest {
            return Tenure::refused(
                epoch,
                format!("epoch {epoch} is below {highest}, which this host has seen"),
            );
        }
        if let Some(reason) = self.stopping.clone() {
            return Tenure::refused(epoch, reason);
        }
        self.ledger.begins(group, epoch);
        Tenure::granted(epoch)
    }

    fn advance(&mut self, group: &GroupId, now: BootMs) {
        let Some(slot) = self.slots.get_mut(group) else { return };
        slot.all().for_each(|tenure| tenure.pass(now));
        for over in slot.past.extract_if(.., |tenure| tenure.over()) {
            self.ledger.is_over(group, over.epoch);
        }
        if let Some(over) = slot.tenure.as_ref().filter(|tenure| tenure.over()) {
            self.ledger.is_over(group, over.epoch);
            let entry = self.installed.entry(group);
            let superseded = entry.is_none_or(|entry| entry.epoch > over.epoch);
            if self.installed.revision().is_some() && superseded {
                slot.tenure = None;
            }
        }
        if slot.past.is_empty() && slot.tenure.is_none() {
            self.slots.remove(group);
            return;
        }
        if !slot.hook_runs() {
            let may_begin = slot.past.is_empty() && self.stopping.is_none() && self.lease.covers(now);
            let step = next_hook(group, slot, now, |epoch| may_begin && self.ledger.allows(group, epoch));
            self.steps.extend(step);
        }
    }

    /// No lease is counted for longer than a restart would wait for.
    fn size_lease(&mut self, now: BootMs) {
        let wanted = self.settings.lease_ms;
        let longest_running = self.lease.promised().max(self.over_here_by).max(self.over_elsewhere_by);
        self.ledger.lease_length(wanted, longest_running <= now.after_ms(wanted));
        self.lease.resize(&self.settings, self.ledger.stored_lease_ms());
    }

    fn stop_when_done(&mut self) {
        let tenures_over = self
            .slots
            .values()
            .all(|slot| slot.past.iter().chain(&slot.tenure).all(Tenure::is_no_reason_to_stay));
        let durable = self.storage_failed || self.ledger.settled();
        if self.stopping.is_some() && !self.stopped && tenures_over && durable {
            self.stopped = true;
            self.steps.push(Step::Stopped);
        }
    }
}

/// The hook that a group needs next, when none runs: the oldest demotion first.
fn next_hook(
    group: &GroupId,
    slot: &mut Slot,
    now: BootMs,
    may_begin: impl Fn(Epoch) -> bool,
) -> Option<Step> {
    let (tenure, kind) = slot.all().find_map(|tenure| match tenure.stage {
        // What stands on the hook's work ends first.
        Stage::Stopped if tenure.is_guarded(now) => None,
        Stage::Stopped => Some((tenure, HookKind::Demote)),
        Stage::Waiting if may_begin(tenure.epoch) => Some((tenure, HookKind::Promote)),
        _ => None,
    })?;
    let reason = match kind {
        HookKind::Promote => {
            tenure.stage = Stage::Promoting;
            format!("epoch {} was granted to this host", tenure.epoch)
        }
        HookKind::Demote => {
            tenure.stage = Stage::Demoting;
            tenure.account()
        }
    };
    Some(Step::RunHook { group: group.clone(), epoch: tenure.epoch, kind, reason })
}
