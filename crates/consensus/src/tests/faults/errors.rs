//! Every step of a node's history fails in turn, and the disk is full from every step on.

use super::{
    crash::{check, undisturbed},
    history::{HISTORY, LAST, Op, log_id},
    node::{Node, Ran, chain, disk_before, run_history},
    node_disk::{NodeDisk, Store},
};
use crate::disk::memory::{Fault, Keep};
use openraft::storage::RaftLogStorage;

/// After an error nothing more is acknowledged by the part that it happened in, and its disk is left alone.
fn assert_takes_nothing_more(disk: &NodeDisk, ran: &mut Ran, what: &str) {
    let op = HISTORY[ran.done];
    let Some(node) = ran.node.as_mut().filter(|_| op != Op::Restart) else { return };
    let steps = disk.memory().steps();
    let log_op = Op::Vote(9, 2, false);
    match op {
        Op::Vote(..) | Op::Append(..) | Op::AppendInVain(..) => {
            assert!(node.run(log_op).is_err(), "{what}: a vote after the log failed");
            assert!(
                node.run(Op::Append(LAST + 1, LAST + 1)).is_err(),
                "{what}: an append after the log failed"
            );
        }
        Op::Commit(index) => {
            assert!(node.apply_again(index).is_err(), "{what}: a write after the state store failed");
        }
        // One of them failed, and Raft learns of it from the next that it asks.
        Op::Purge(_) => {
            let refused = node.apply_again(1).is_err() || node.run(log_op).is_err();
            assert!(refused, "{what}: nothing was refused");
            return;
        }
        _ => return,
    }
    assert_eq!(disk.memory().steps(), steps, "{what}: the disk was touched again");
}

/// The error says where, and the node comes back with what it acknowledged, from what the next process finds and from
/// what a loss of power leaves.
fn check_after_error(disk: &NodeDisk, step: u64, ran: &mut Ran, what: &str) {
    let error = ran.error.clone().unwrap();
    let root = disk.root().display().to_string();
    assert!(error.contains(&root), "{what}: no file is named: {error}");
    assert_takes_nothing_more(disk, ran, what);
    disk.memory().set_fault(Fault::Never);
    check(&disk.next_process(), ran, &format!("{what}, restarted"));
    let units = disk.memory().pending_units();
    let keep = [Keep::Units(0), Keep::Units(units / 2), Keep::Scattered(step)];
    let keep = keep[usize::try_from(step % 3).unwrap()];
    check(&disk.after_crash(keep, Store::Written), ran, &format!("{what}, power lost with {keep:?}"));
}

#[test]
fn a_node_acknowledges_nothing_after_an_error_at_any_step_and_has_the_rest_when_it_restarts() {
    for step in 1..=undisturbed().steps {
        let disk = NodeDisk::new();
        disk.break_at(Fault::FailAt(step), &[]);
        let mut ran = run_history(&disk);
        let what = format!("step {step} failed");
        assert!(ran.error.is_some(), "{what}, and nobody was told");
        assert!(ran.error.as_ref().unwrap().contains("os error 5"), "{what}: {:?}", ran.error);
        check_after_error(&disk, step, &mut ran, &what);
    }
}

#[test]
fn a_purge_that_fails_behind_raft_is_told_though_nothing_is_appended_any_more() {
    for (fault, file) in [(1, "state/db"), (2, "log/0000")] {
        let disk = disk_before(Op::Purge(4)).next_process();
        let mut node = Node::open(&disk).unwrap();
        disk.break_at(Fault::FailAt(fault), &[]);
        let (runtime, opened) = node.parts();
        runtime.block_on(opened.log.purge(log_id(4))).unwrap();
        let said = runtime.block_on(opened.log.failed_behind_raft());
        assert!(said.contains(file) && said.contains("os error 5"), "{said}");
    }
}

#[test]
fn a_node_on_a_full_disk_says_so_and_goes_on_when_there_is_room_again() {
    let steps = undisturbed().takes_room;
    assert!(steps.len() > 80, "{} steps", steps.len());
    for step in steps {
        let disk = NodeDisk::new();
        disk.break_at(Fault::FullFrom(step), &[]);
        let mut ran = run_history(&disk);
        let what = format!("full from step {step}");
        let error = ran.error.as_ref().unwrap_or_else(|| panic!("{what}, and nobody was told"));
        assert!(error.contains("os error 28"), "{what}: {error}");
        let still_full = disk.next_process();
        still_full.break_at(Fault::FullFrom(0), &[]);
        if let Err(refused) = Node::open(&still_full) {
            let refused = chain(&refused);
            let root = still_full.root().display().to_string();
            assert!(refused.contains(&root) && refused.contains("os error 28"), "{what}: {refused}");
        }
        check_after_error(&disk, step, &mut ran, &what);
    }
}
