//! The life of an epoch on one host, step by step.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

mod guarded;

use quorate_agent_core::{
    BootMs, Core, DurableEpochs, GroupReport, HookKind, HookOutcome, LocalRole, RoleAnswer, Seat, Start,
    Step, guard::Proof, seal,
};
use std::collections::BTreeSet;

use quorate_domain::{
    Assignment, AssignmentEntry, DiskName, Epoch, GroupId, GroupState, HostId, Incarnation, LeaseSettings,
    Revision, Role, ServiceMode,
};

fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

fn entry(epoch: u64, role: Role, granted_to: u64) -> AssignmentEntry {
    AssignmentEntry {
        group: group(),
        epoch: Epoch(epoch),
        role,
        granted_to: Incarnation(granted_to),
        disk: DiskName::new("d").unwrap(),
        primary: HostId::new("h1").unwrap(),
    }
}

fn snapshot(revision: u64, entries: Vec<AssignmentEntry>) -> Assignment {
    Assignment { revision: Revision(revision), entries }
}

/// Of hosts with hooks, whose demotions take no time to speak of.
const DEMOTION_MS: u64 = 1;

/// What the first start of a host with hooks finds.
fn fresh() -> DurableEpochs {
    DurableEpochs { demotion_ms: DEMOTION_MS, hookless: false, ..DurableEpochs::default() }
}

/// How long the lease of a start elsewhere, and its demotion, may last from a moment on.
fn elsewhere_ms(settings: &LeaseSettings) -> u64 {
    settings.longest_lease_ms() + settings.longest_ms(DEMOTION_MS)
}

/// A start without a warden, under the usual settings.
fn start(at: u64, incarnation: u64, on_disk: DurableEpochs) -> Start {
    Start {
        incarnation: Incarnation(incarnation),
        on_disk,
        settings: LeaseSettings::default(),
        at: BootMs(at),
        guarded: false,
        demotion_ms: DEMOTION_MS,
    }
}

fn started(at: u64, incarnation: u64, on_disk: DurableEpochs) -> (Core, Vec<Step>) {
    Core::new(start(at, incarnation, on_disk))
}

/// A host that acts for the group under epoch 5, its lease counted from 1,000 ms, and what is on its disk.
fn acting() -> (Core, DurableEpochs) {
    let (mut core, _) = started(0, 1, fresh());
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(900));
    let [Step::StoreEpochs { request, epochs }] = steps.as_slice() else { panic!("{steps:?}") };
    let seq = core.heartbeat_sent(BootMs(1_000));
    assert_eq!(core.heartbeat_acknowledged(seq, Revision(3), BootMs(1_010)), []);
    let steps = core.epochs_stored(*request, BootMs(1_020));
    assert_eq!(steps, [promote(5), Step::Report]);
    let steps = finished(&mut core, 5, HookKind::Promote, HookOutcome::Succeeded, 1_030);
    assert_eq!(steps, [Step::Report]);
    assert_eq!(states(&core), [(5, GroupState::Acting)]);
    (core, epochs.clone())
}

fn promote(epoch: u64) -> Step {
    let reason = format!("epoch {epoch} was granted to this host");
    Step::RunHook { group: group(), epoch: Epoch(epoch), kind: HookKind::Promote, reason }
}

fn finished(core: &mut Core, epoch: u64, kind: HookKind, outcome: HookOutcome, now: u64) -> Vec<Step> {
    core.hook_finished(&group(), Epoch(epoch), kind, outcome, BootMs(now))
}

fn states(core: &Core) -> Vec<(u64, GroupState)> {
    core.report().iter().map(|GroupReport { epoch, state, .. }| (epoch.0, *state)).collect()
}

fn role(core: &Core, now: u64) -> LocalRole {
    core.role(&group(), BootMs(now)).unwrap().role
}

fn hooks(steps: &[Step]) -> Vec<(u64, HookKind)> {
    steps
        .iter()
        .filter_map(|step| match step {
            Step::RunHook { epoch, kind, .. } => Some((epoch.0, *kind)),
            _ => None,
        })
        .collect()
}

fn request(steps: &[Step]) -> u64 {
    let stores = steps.iter().find_map(|step| match step {
        Step::StoreEpochs { request, .. } => Some(*request),
        _ => None,
    });
    stores.unwrap_or_else(|| panic!("nothing to store in {steps:?}"))
}

#[test]
fn a_granted_epoch_is_stored_then_promoted_and_only_then_acted_under() {
    let (core, _) = acting();
    let answer = core.role(&group(), BootMs(1_040)).unwrap();
    assert_eq!(answer.role, LocalRole::Primary);
    assert_eq!(
        (answer.epoch, answer.write_deadline, answer.lease_deadline),
        (Epoch(5), BootMs(6_000), BootMs(7_000))
    );
    assert_eq!(core.service_mode(BootMs(1_040)), ServiceMode::Normal);
    assert_eq!(core.next_wake(), Some(BootMs(6_000)));
}

#[test]
fn without_a_lease_an_installed_grant_waits_and_begins_with_the_first_renewal() {
    let (mut core, _) = started(0, 1, fresh());
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(1));
    assert_eq!(core.epochs_stored(request(&steps), BootMs(2)), [Step::Report]);
    assert_eq!(states(&core), [(5, GroupState::Installed)]);
    assert_eq!(core.role(&group(), BootMs(3)).unwrap().reason, "there is no valid lease");
    let seq = core.heartbeat_sent(BootMs(10));
    assert_eq!(
        core.heartbeat_acknowledged(seq, Revision(4), BootMs(11)),
        [],
        "names an assignment not installed"
    );
    let steps = core.assignment_delta(Revision(3), Revision(4), vec![], &[], BootMs(12));
    assert_eq!(steps, [promote(5)]);
    assert_eq!(role(&core, 13), LocalRole::Fenced);
}

#[test]
fn a_jump_of_the_clock_fences_before_any_tick_ran() {
    let (mut core, _) = acting();
    assert_eq!(role(&core, 5_999), LocalRole::Primary);
    assert_eq!(role(&core, 6_000), LocalRole::Fenced);
    assert_eq!(core.service_mode(BootMs(60_000)), ServiceMode::ReadOnly);
    // What waited in the socket while the process was stopped does not bring it back.
    let seq = core.heartbeat_sent(BootMs(60_000));
    let steps = core.heartbeat_acknowledged(seq, Revision(3), BootMs(60_001));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    assert_eq!(role(&core, 60_002), LocalRole::Fenced);
    assert_eq!(states(&core), [(5, GroupState::Stopping)], "its demote hook runs");
}

#[test]
fn a_lapsed_epoch_is_reported_as_ended_and_only_a_new_one_is_acted_under() {
    let (mut core, _) = acting();
    assert_eq!(hooks(&core.tick(BootMs(6_000))), [(5, HookKind::Demote)]);
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 6_100);
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
    core.epochs_stored(request(&steps), BootMs(6_110));
    let seq = core.heartbeat_sent(BootMs(6_200));
    core.heartbeat_acknowledged(seq, Revision(3), BootMs(6_210));
    core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(6_220));
    assert_eq!((role(&core, 6_230), states(&core)), (LocalRole::Fenced, vec![(5, GroupState::Ended)]));

    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(6, Role::Primary, 1)], &[], BootMs(6_300));
    assert_eq!(states(&core), [], "not before it is on disk");
    let steps = core.epochs_stored(request(&steps), BootMs(6_310));
    assert_eq!(hooks(&steps), [(6, HookKind::Promote)]);
    finished(&mut core, 6, HookKind::Promote, HookOutcome::NotConfigured, 6_400);
    assert_eq!(role(&core, 6_500), LocalRole::Primary);
}

#[test]
fn a_revoke_ends_the_epoch_at_once_and_ended_is_said_after_the_demote_hook() {
    let (mut core, _) = acting();
    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(2_000));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    assert_eq!(role(&core, 2_000), LocalRole::Fenced);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_500);
    assert_eq!((states(&core), role(&core, 2_500)), (vec![(5, GroupState::Ended)], LocalRole::Backup));
    core.assignment_delta(Revision(4), Revision(5), vec![entry(6, Role::Backup, 7)], &[], BootMs(9_000));
    assert_eq!(states(&core), [], "another host holds a later epoch: nothing is left to say");
}

#[test]
fn a_demotion_that_failed_is_no_release_and_is_tried_again_until_it_succeeds() {
    let (mut core, _) = acting();
    core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(2_000));
    let mut now = 2_500;
    for (attempt, pause_ms) in [1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000].into_iter().enumerate() {
        let failed = HookOutcome::Failed(format!("exit status {attempt}"));
        finished(&mut core, 5, HookKind::Demote, failed, now);
        assert_eq!(
            (states(&core), core.next_wake()),
            (vec![(5, GroupState::StopFailed)], Some(BootMs(now + pause_ms)))
        );
        let said = core.report().pop().unwrap().reason;
        assert_eq!(said, format!("epoch 5 was revoked; its demotion failed: exit status {attempt}"));
        assert_eq!(hooks(&core.tick(BootMs(now + pause_ms - 1))), []);
        now += pause_ms;
        assert_eq!(hooks(&core.tick(BootMs(now))), [(5, HookKind::Demote)]);
        assert_eq!(
            states(&core),
            [(5, GroupState::StopFailed)],
            "until it succeeds, also while it runs again"
        );
    }
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, now);
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn what_is_not_known_to_have_stopped_stays_on_disk_and_the_next_start_demotes_it() {
    let (mut core, on_disk) = acting();
    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(2_000));
    assert!(!steps.iter().any(|step| matches!(step, Step::StoreEpochs { .. })), "{steps:?}");
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Failed("exit status 1".into()), 2_500);
    assert_eq!(steps, [Step::Report], "nothing is struck out");
    let (mut core, steps) = started(3_000, 2, on_disk);
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Failed("exit status 1".into()), 3_100);
    core.tick(BootMs(4_100));
    assert_eq!(states(&core), [(5, GroupState::StopFailed)]);
    // Another host has it under a later epoch by now, and then this one is to have it again.
    let steps = core.assignment_snapshot(snapshot(9, vec![entry(7, Role::Primary, 2)]), BootMs(4_200));
    core.epochs_stored(request(&steps), BootMs(4_210));
    assert_eq!(states(&core)[0], (5, GroupState::StopFailed), "what it was named for begins only afterwards");
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 4_300);
    let store = steps.iter().find_map(|step| match step {
        Step::StoreEpochs { epochs, .. } => Some(epochs),
        _ => None,
    });
    assert!(store.is_some_and(|epochs| !epochs.primary_of.contains(&(group(), Epoch(5)))), "{steps:?}");
}

#[test]
fn a_service_that_the_warden_has_ended_needs_no_demotion() {
    // Its demote hook fails; then nothing of it is left.
    let (mut core, _) = acting();
    core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(2_000));
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Failed("exit status 1".into()), 2_500);
    core.service_ended(&group(), Epoch(5), &Proof::Killed, BootMs(2_600));
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
    // It still acted, as far as this start knew.
    let (mut core, _) = acting();
    core.tell_role(&group(), BootMs(1_500));
    let steps = core.service_ended(&group(), Epoch(5), &Proof::Killed, BootMs(5_000));
    assert_eq!((hooks(&steps), role(&core, 5_000)), (vec![], LocalRole::Fenced));
    assert_eq!(states(&core), [(5, GroupState::Stopping)], "somebody was told until 7,000 ms");
    core.tick(BootMs(7_000));
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
    // Its demote hook runs.
    let (mut core, _) = acting();
    core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(2_000));
    core.service_ended(&group(), Epoch(5), &Proof::Killed, BootMs(2_600));
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Failed("killed".into()), 2_700);
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn a_guarded_lease_counts_once_the_warden_knows_its_end_and_is_over_without_a_warden() {
    let (mut core, _) = Core::new(Start { guarded: true, ..start(0, 1, fresh()) });
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(900));
    core.epochs_stored(request(&steps), BootMs(910));
    let seq = core.heartbeat_sent(BootMs(1_000));
    let steps = core.heartbeat_acknowledged(seq, Revision(3), BootMs(1_010));
    assert_eq!(steps, [Step::TellWarden { request: 1, deadline: BootMs(7_000) }]);
    assert_eq!(core.service_mode(BootMs(1_020)), ServiceMode::ReadOnly);
    // The next renewal comes before the answer: it is told next.
    let seq = core.heartbeat_sent(BootMs(2_000));
    assert_eq!(core.heartbeat_acknowledged(seq, Revision(3), BootMs(2_010)), []);
    let steps = core.warden_told(1, BootMs(2_020));
    assert_eq!(steps, [promote(5), Step::TellWarden { request: 2, deadline: BootMs(8_000) }]);
    finished(&mut core, 5, HookKind::Promote, HookOutcome::Succeeded, 2_030);
    assert_eq!(core.role(&group(), BootMs(2_040)).unwrap().lease_deadline, BootMs(7_000));
    core.warden_told(1, BootMs(2_050));
    assert_eq!(core.role(&group(), BootMs(2_060)).unwrap().lease_deadline, BootMs(7_000), "an old answer");
    let steps = core.warden_lost(BootMs(2_100));
    assert_eq!((hooks(&steps), role(&core, 2_100)), (vec![(5, HookKind::Demote)], LocalRole::Fenced));
    assert_eq!(core.warden_told(2, BootMs(2_110)), [], "another warden was never told of it");
    assert_eq!(core.service_mode(BootMs(2_120)), ServiceMode::ReadOnly);
    let seq = core.heartbeat_sent(BootMs(3_000));
    let steps = core.heartbeat_acknowledged(seq, Revision(3), BootMs(3_010));
    assert_eq!(steps, [Step::TellWarden { request: 3, deadline: BootMs(9_000) }]);
    core.warden_told(3, BootMs(3_020));
    assert_eq!(core.service_mode(BootMs(3_030)), ServiceMode::Normal);
}

#[test]
fn a_renewal_under_the_assignment_that_revokes_an_epoch_is_no_longer_lease_for_its_service() {
    let (mut core, _) = Core::new(Start { guarded: true, ..start(0, 1, fresh()) });
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(900));
    core.epochs_stored(request(&steps), BootMs(910));
    let seq = core.heartbeat_sent(BootMs(1_000));
    core.heartbeat_acknowledged(seq, Revision(3), BootMs(1_010));
    core.warden_told(1, BootMs(1_020));
    finished(&mut core, 5, HookKind::Promote, HookOutcome::Succeeded, 1_100);
    // Acknowledged ahead of the assignment that it was decided with, in which the epoch is revoked.
    let seq = core.heartbeat_sent(BootMs(4_000));
    assert_eq!(core.heartbeat_acknowledged(seq, Revision(4), BootMs(4_010)), []);
    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(4_020));
    let demoted = steps.iter().position(|step| matches!(step, Step::RunHook { kind: HookKind::Demote, .. }));
    let told = steps.iter().position(|step| matches!(step, Step::TellWarden { .. }));
    assert!(
        demoted.unwrap() < told.unwrap(),
        "the warden would end the service by the later deadline: {steps:?}"
    );
}

#[test]
fn without_a_demote_hook_ended_waits_only_for_the_deadlines_that_somebody_was_told() {
    type Ask = fn(&mut Core) -> Option<RoleAnswer>;
    let nobody: Ask = |_| None;
    let looks: Ask = |core| core.show_role(&group(), BootMs(1_500));
    let acts: Ask = |core| core.tell_role(&group(), BootMs(1_500));
    for (ask, asked, ended_at) in [(nobody, false, 2_500), (looks, false, 2_500), (acts, true, 7_000)] {
        let (mut core, _) = acting();
        if let Some(answer) = ask(&mut core) {
            assert_eq!((answer.role, answer.epoch), (LocalRole::Primary, Epoch(5)));
            let deadlines = (answer.write_deadline, answer.lease_deadline);
            let owed = (BootMs(6_000), BootMs(7_000));
            assert_eq!(deadlines, if asked { owed } else { (BootMs(0), BootMs(0)) });
        }
        core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(2_000));
        finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 2_499);
        core.tick(BootMs(ended_at - 1));
        let stopping = states(&core) == [(5, GroupState::Stopping)];
        assert_eq!(stopping, asked, "asked: {asked}");
        core.tick(BootMs(ended_at));
        assert_eq!(states(&core), [(5, GroupState::Ended)], "asked: {asked}");
    }
}

#[test]
fn an_epoch_that_ends_while_its_promote_hook_runs_waits_for_both_hooks() {
    let (mut core, _) = started(0, 1, fresh());
    let seq = core.heartbeat_sent(BootMs(1));
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(2));
    core.epochs_stored(request(&steps), BootMs(3));
    assert_eq!(hooks(&core.heartbeat_acknowledged(seq, Revision(3), BootMs(4))), [(5, HookKind::Promote)]);
    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(5));
    assert_eq!(steps, [Step::KillHook { group: group(), epoch: Epoch(5) }, Step::Report]);
    let steps = finished(&mut core, 5, HookKind::Promote, HookOutcome::Succeeded, 6);
    assert_eq!((hooks(&steps), role(&core, 6)), (vec![(5, HookKind::Demote)], LocalRole::Fenced));
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 7);
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn a_failed_promote_hook_is_undone_and_reported() {
    let (mut core, _) = started(0, 1, fresh());
    let seq = core.heartbeat_sent(BootMs(1));
    core.heartbeat_acknowledged(seq, Revision(0), BootMs(2));
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(2));
    assert_eq!(hooks(&core.epochs_stored(request(&steps), BootMs(3))), [(5, HookKind::Promote)]);
    let steps = finished(&mut core, 5, HookKind::Promote, HookOutcome::Failed("exit status 3".into()), 4);
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 5);
    let report = core.report();
    assert_eq!(report[0].state, GroupState::StartFailed);
    assert_eq!(report[0].reason, "the promote hook failed: exit status 3");
    assert_eq!(role(&core, 6), LocalRole::Fenced);
}

#[test]
fn an_epoch_that_never_began_is_reported_as_ended_at_once() {
    let (mut core, _) = started(0, 1, fresh());
    core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(2));
    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Backup, 1)], &[], BootMs(3));
    assert_eq!((hooks(&steps), states(&core)), (vec![], vec![(5, GroupState::Ended)]));
}

#[test]
fn a_restart_is_fenced_ends_what_was_left_and_acts_only_under_a_new_epoch() {
    let (_, on_disk) = acting();
    let (mut core, steps) = started(2_000, 2, on_disk);
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(2_100));
    let seq = core.heartbeat_sent(BootMs(2_100));
    core.heartbeat_acknowledged(seq, Revision(3), BootMs(2_110));
    assert_eq!((role(&core, 2_120), states(&core)), (LocalRole::Fenced, vec![(5, GroupState::Stopping)]));
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_200);
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
    // Even a grant of the old epoch to the new start is not acted under.
    core.assignment_delta(Revision(3), Revision(4), vec![entry(5, Role::Primary, 2)], &[], BootMs(2_300));
    assert_eq!(role(&core, 2_310), LocalRole::Fenced);
}

#[test]
fn a_start_on_a_copied_folder_waits_for_the_other_start_until_the_coordinators_know_this_one() {
    let (_, on_disk) = acting();
    let settings = LeaseSettings::default();
    let (mut core, _) = started(2_000, 2, on_disk.moved());
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_100);
    core.tick(BootMs(100_000));
    assert_eq!(
        states(&core),
        [(5, GroupState::Stopping)],
        "the hook ran here, the other start may act there for ever"
    );
    core.welcomed(settings.clone(), BootMs(100_000));
    let over = 100_000 + elsewhere_ms(&settings);
    assert_eq!(core.next_wake(), Some(BootMs(over)));
    core.tick(BootMs(over - 1));
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    core.tick(BootMs(over));
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn after_a_restart_without_hooks_ended_waits_for_the_word_of_a_warden_and_one_lease() {
    let (_, on_disk) = acting();
    let (mut core, _) = started(2_000, 2, on_disk);
    // That there are no hooks any more ends nothing that hooks have started, however long it is waited.
    for now in [2_200, 30_000, 60_000] {
        let mut core = core.clone();
        core.tick(BootMs(now));
        finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, now);
        core.tick(BootMs(now + 500));
        assert_eq!(states(&core), [(5, GroupState::StopFailed)], "{now}");
        assert!(core.report()[0].reason.contains("has none any more"), "{:?}", core.report());
    }
    finished(&mut core, 5, HookKind::Demote, HookOutcome::ByForce, 2_200);
    // And the demotion that the start before allowed itself, which nothing that this one has can follow.
    assert_eq!(core.next_wake(), Some(BootMs(8_000 + DEMOTION_MS)));
    core.tick(BootMs(8_000 + DEMOTION_MS));
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn a_demote_hook_ends_nothing_that_a_start_without_hooks_has_left() {
    let (_, on_disk) = acting();
    for (hookless, state) in [(true, GroupState::Stopping), (false, GroupState::Ended)] {
        let on_disk = DurableEpochs { hookless, ..on_disk.clone() };
        let (mut core, _) = Core::new(Start { guarded: true, ..start(2_000, 2, on_disk) });
        finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_100);
        assert_eq!(states(&core), [(5, state)], "a guard may run it until its deadline");
        core.tick(BootMs(8_000));
        assert_eq!(states(&core), [(5, GroupState::Ended)]);
    }
}

#[test]
fn what_is_on_disk_covers_every_start_that_may_have_left_something() {
    let (_, with_hooks) = acting();
    assert_eq!((with_hooks.demotion_ms, with_hooks.hookless), (DEMOTION_MS, false));
    // The next start has no hooks, and the one after allows itself longer demotions than the first.
    let next = |on_disk: DurableEpochs, demotion_ms| {
        let guarded = demotion_ms > 0;
        let (_, steps) = Core::new(Start { guarded, demotion_ms, ..start(2_000, 2, on_disk) });
        let stored = |step: &Step| match step {
            Step::StoreEpochs { epochs, .. } => Some(epochs.clone()),
            _ => None,
        };
        steps.iter().find_map(stored).expect("another start, other hooks")
    };
    let without = next(with_hooks, 0);
    assert_eq!((without.demotion_ms, without.hookless), (DEMOTION_MS, true));
    let longer = next(without.clone(), 9_000);
    assert_eq!((longer.demotion_ms, longer.hookless), (9_000, true));
    let nothing_left = DurableEpochs { primary_of: BTreeSet::new(), ..longer };
    let alone = next(nothing_left, 500);
    assert_eq!((alone.demotion_ms, alone.hookless), (500, false));
}

#[test]
fn what_a_copied_folder_names_is_still_elsewhere_at_its_second_start_in_the_new_place() {
    let (_, on_disk) = acting();
    let (_, steps) = started(2_000, 2, on_disk.moved());
    let [.., Step::RunHook { .. }, Step::Report] = steps.as_slice() else { panic!("{steps:?}") };
    // It dies before anything is settled, and starts again where it was.
    let (_, on_disk) = acting();
    let (mut core, _) = started(3_000, 3, on_disk.moved());
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 3_100);
    core.tick(BootMs(100_000));
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
}

#[test]
fn an_epoch_granted_to_a_start_that_left_nothing_here_may_be_held_elsewhere() {
    let (mut core, _) = started(1_000, 2, fresh());
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(1_100));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 1_200);
    core.tick(BootMs(50_000));
    assert_eq!(
        states(&core),
        [(5, GroupState::Stopping)],
        "the coordinators renew that start until they know this one"
    );
    let settings = LeaseSettings::default();
    core.welcomed(settings.clone(), BootMs(50_000));
    core.tick(BootMs(50_000 + elsewhere_ms(&settings)));
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn a_start_that_hears_of_a_grant_to_a_later_one_waits_until_the_coordinators_know_it_again() {
    let settings = LeaseSettings::default();
    let (mut core, _) = started(0, 1, fresh());
    core.welcomed(settings.clone(), BootMs(0));
    // Long after; the session is still open, and a copy of the folder has registered as start 2.
    core.assignment_snapshot(snapshot(9, vec![entry(6, Role::Primary, 2)]), BootMs(60_000));
    finished(&mut core, 6, HookKind::Demote, HookOutcome::Succeeded, 60_100);
    core.tick(BootMs(90_000));
    assert_eq!(states(&core), [(6, GroupState::Stopping)], "start 2 is renewed");
    core.renumbered(Incarnation(3), BootMs(90_000));
    core.welcomed(settings.clone(), BootMs(90_100));
    let over = 90_100 + elsewhere_ms(&settings);
    core.tick(BootMs(over - 1));
    assert_eq!(states(&core), [(6, GroupState::Stopping)]);
    core.tick(BootMs(over));
    assert_eq!(states(&core), [(6, GroupState::Ended)]);
}

#[test]
fn a_start_that_was_refused_waits_for_the_one_that_the_coordinators_know_instead() {
    let settings = LeaseSettings::default();
    let (mut core, _) = acting();
    core.welcomed(settings.clone(), BootMs(1_200));
    // A copy of the folder has registered as start 2 and was granted epoch 6.
    core.session_lost(BootMs(20_000));
    core.renumbered(Incarnation(3), BootMs(20_100));
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 20_200);
    core.welcomed(settings.clone(), BootMs(20_300));
    core.assignment_snapshot(snapshot(9, vec![entry(6, Role::Primary, 2)]), BootMs(20_310));
    finished(&mut core, 6, HookKind::Demote, HookOutcome::Succeeded, 20_400);
    let over = 20_300 + elsewhere_ms(&settings);
    core.tick(BootMs(over - 1));
    assert_eq!(states(&core), [(6, GroupState::Stopping)], "start 2 may act under a lease of a moment ago");
    core.tick(BootMs(over));
    assert_eq!(states(&core), [(6, GroupState::Ended)]);
}

#[test]
fn an_epoch_that_an_earlier_start_has_seen_is_not_acted_under_even_when_granted_again() {
    let mut on_disk = fresh();
    on_disk.highest.insert(group(), Epoch(5));
    let (mut core, _) = started(0, 2, on_disk);
    let seq = core.heartbeat_sent(BootMs(1));
    core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 2)]), BootMs(2));
    let steps = core.heartbeat_acknowledged(seq, Revision(3), BootMs(3));
    assert_eq!((hooks(&steps), states(&core)), (vec![], vec![(5, GroupState::Ended)]));
    assert_eq!(role(&core, 4), LocalRole::Fenced);
}

#[test]
fn an_end_that_is_not_certain_yet_is_waited_for_over_two_restarts() {
    // The folder is new, and an earlier start on another folder was primary.
    let (mut core, _) = started(1_000, 2, fresh());
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(1_100));
    let on_disk = steps.iter().find_map(|step| match step {
        Step::StoreEpochs { epochs, .. } => Some(epochs.clone()),
        _ => None,
    });
    let (mut core, steps) = started(2_000, 3, on_disk.unwrap());
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(2_100));
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 2_200);
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    let settings = LeaseSettings::default();
    core.welcomed(settings.clone(), BootMs(2_300));
    let over = BootMs(2_300 + elsewhere_ms(&settings));
    assert_eq!((states(&core), core.next_wake()), (vec![(5, GroupState::Stopping)], Some(over)));
}

#[test]
fn an_epoch_below_the_highest_on_disk_is_refused() {
    let mut on_disk = fresh();
    on_disk.highest.insert(group(), Epoch(9));
    let (mut core, _) = started(0, 2, on_disk);
    let seq = core.heartbeat_sent(BootMs(1));
    core.heartbeat_acknowledged(seq, Revision(0), BootMs(2));
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(8, Role::Primary, 2)]), BootMs(3));
    assert_eq!(hooks(&steps), []);
    assert_eq!((role(&core, 4), states(&core)), (LocalRole::Fenced, vec![(8, GroupState::Ended)]));
}

#[test]
fn a_new_epoch_does_not_begin_before_the_old_one_has_ended_for_certain() {
    let (mut core, _) = acting();
    let seq = core.heartbeat_sent(BootMs(1_900));
    core.heartbeat_acknowledged(seq, Revision(3), BootMs(1_910));
    let steps =
        core.assignment_delta(Revision(3), Revision(5), vec![entry(6, Role::Primary, 1)], &[], BootMs(2_000));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    assert_eq!(hooks(&core.epochs_stored(request(&steps), BootMs(2_010))), []);
    assert_eq!(states(&core), [(5, GroupState::Stopping), (6, GroupState::Installed)]);
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_500);
    assert_eq!(hooks(&steps), [(6, HookKind::Promote)]);
}

#[test]
fn a_delta_that_does_not_follow_and_an_older_snapshot_are_refused_and_asked_anew() {
    let (mut core, _) = acting();
    let revoke = || vec![entry(5, Role::Backup, 1)];
    assert_eq!(core.assignment_delta(Revision(2), Revision(4), revoke(), &[], BootMs(1_100)), [Step::Resync]);
    assert_eq!(core.assignment_snapshot(snapshot(2, vec![]), BootMs(1_100)), [Step::Resync]);
    assert_eq!((role(&core, 1_200), core.installed_revision()), (LocalRole::Primary, Revision(3)));
}

#[test]
fn a_graceful_stop_ends_every_role_and_says_when_the_agent_may_exit() {
    let (mut core, _) = acting();
    let steps = core.stop("the agent is stopping", BootMs(2_000));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    assert_eq!(role(&core, 2_000), LocalRole::Fenced);
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_100);
    assert!(steps.contains(&Step::Report) && !steps.contains(&Step::Stopped), "{steps:?}");
    let steps = core.epochs_stored(request(&steps), BootMs(2_110));
    assert_eq!(steps, [Step::Stopped]);
    let seq = core.heartbeat_sent(BootMs(2_200));
    core.heartbeat_acknowledged(seq, Revision(3), BootMs(2_210));
    let steps =
        core.assignment_delta(Revision(3), Revision(4), vec![entry(6, Role::Primary, 1)], &[], BootMs(2_220));
    assert_eq!(hooks(&steps), [], "nothing begins any more");
}

#[test]
fn a_stop_whose_storage_is_gone_still_ends_every_role() {
    let (mut core, _) = acting();
    assert_eq!(hooks(&core.storage_failed("epochs.json: EIO", BootMs(2_000))), [(5, HookKind::Demote)]);
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_100);
    assert_eq!(steps, [Step::Report, Step::Stopped]);
}

#[test]
fn a_group_that_leaves_is_ended_and_forgotten_but_for_its_highest_epoch() {
    let (mut core, _) = acting();
    let steps = core.assignment_delta(Revision(3), Revision(4), vec![], &[group()], BootMs(2_000));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    let steps = finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 2_100);
    let Some(Step::StoreEpochs { epochs, .. }) = steps.first() else { panic!("{steps:?}") };
    assert!(epochs.primary_of.is_empty() && epochs.highest.get(&group()) == Some(&Epoch(5)));
    assert_eq!((core.role(&group(), BootMs(2_200)), states(&core)), (None, vec![]));
    core.assignment_delta(Revision(4), Revision(5), vec![entry(5, Role::Primary, 1)], &[], BootMs(2_300));
    assert_eq!(role(&core, 2_310), LocalRole::Fenced, "it does not come back under the epoch that ended");
}

#[test]
fn a_longer_lease_is_counted_only_once_a_restart_would_wait_for_it() {
    let (mut core, _) = started(0, 1, fresh());
    let settings = LeaseSettings { lease_ms: 30_000, write_stop_ms: 25_000, ..LeaseSettings::default() };
    let steps = core.welcomed(settings, BootMs(1));
    let early = core.heartbeat_sent(BootMs(2));
    core.heartbeat_acknowledged(early, Revision(0), BootMs(3));
    core.assignment_snapshot(snapshot(1, vec![]), BootMs(4));
    assert_eq!(core.service_mode(BootMs(6_100)), ServiceMode::ReadOnly);
    core.epochs_stored(request(&steps), BootMs(6_200));
    let seq = core.heartbeat_sent(BootMs(6_300));
    core.heartbeat_acknowledged(seq, Revision(0), BootMs(6_310));
    assert_eq!(core.service_mode(BootMs(31_000)), ServiceMode::Normal);
}
