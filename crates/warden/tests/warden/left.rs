//! What earlier guards have left, and whoever looks for it.

use crate::scene::{Turn, headless, is_gone, until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

const TESTED: &str = env!("CARGO_BIN_EXE_warden-under-test");

/// Of a host and a group of its own.
fn mark() -> String {
    static MARKS: AtomicU32 = AtomicU32::new(0);
    format!("host{}/g{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed))
}

/// A shell that runs something as a guard's service does.
fn marked(mark: &str, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, TESTED, mark]).env("QUORATE_GUARD", mark).stdin(Stdio::null());
    command
}

/// What a guard finds that is started here.
fn search(mark: &str) -> String {
    let output = Command::new(TESTED).args(["search", mark]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn what_has_the_mark_is_killed_with_what_is_below_it_and_nothing_else_is() {
    let (_turn, mark, other, folder) = (Turn::shared(), mark(), mark(), tempfile::tempdir().unwrap());
    let below = folder.path().join("below");
    let script = format!("env -i sleep 600 & echo $! > {}; wait", below.display());
    let mut left = marked(&mark, &script).spawn().unwrap();
    until("both are there", || below.exists());
    let mut stranger = marked(&other, "exec sleep 600").spawn().unwrap();
    assert_eq!(search(&mark), "Ok(2)");
    assert!(is_gone(pid(&left)) && !is_gone(pid(&stranger)));
    assert_eq!(search(&mark), "Ok(0)");
    assert_eq!(search(&other), "Ok(1)");
    left.wait().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn what_has_lost_its_first_thread_is_found_by_its_mark() {
    let (_turn, mark, folder) = (Turn::shared(), mark(), tempfile::tempdir().unwrap());
    let Some(headless) = headless(folder.path()) else { return };
    let writes = folder.path().join("writes");
    let mut left = marked(&mark, &format!("exec {headless} {} x", writes.display())).spawn().unwrap();
    until("its first thread has ended", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", left.id())).unwrap();
        writes.exists() && stat.contains(") Z ")
    });
    assert_eq!(search(&mark), "Ok(1)");
    assert!(is_gone(pid(&left)));
    left.wait().unwrap();
}

#[test]
fn what_was_below_a_guard_from_the_start_is_spared_unless_it_has_the_mark() {
    let (_turn, mark, folder) = (Turn::shared(), mark(), tempfile::tempdir().unwrap());
    let pids = |name: &str| folder.path().join(name).display().to_string();
    let of =
        |name: &str| Pid::from_raw(fs::read_to_string(pids(name)).unwrap().trim().parse().unwrap()).unwrap();
    // Two below the shell that becomes the guard; the one that is left of an earlier one has a child without the mark.
    let script = format!(
        "sh -c 'sleep 600 & echo $! > {}; wait' >/dev/null 2>&1 & QUORATE_GUARD=\"$1\" sh -c 'env -i sleep 600 & echo $! > {}; wait' >/dev/null 2>&1 &
        while [ ! -s {0} ] || [ ! -s {1} ]; do :; done; exec \"$0\" search \"$1\"",
        pids("reader"),
        pids("left")
    );
    let output = Command::new("sh").args(["-c", &script, TESTED, &mark]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "Ok(2)");
    assert!(is_gone(of("left")) && !is_gone(of("reader")));
    kill_process(of("reader"), Signal::KILL).unwrap();
}

#[test]
fn a_guard_that_what_is_left_has_started_names_it_and_says_not_that_nothing_is_left() {
    let (_turn, mark) = (Turn::shared(), mark());
    // It is not replaced by what it runs, and there is something between them that has lost the mark.
    for script in
        ["\"$0\" search \"$1\"; exit", "env -i sh -c '\"$0\" search \"$1\"; exit' \"$0\" \"$1\"; exit"]
    {
        let left = marked(&mark, script).stdout(Stdio::piped()).spawn().unwrap();
        let number = left.id();
        let output = left.wait_with_output().unwrap();
        assert!(output.status.success(), "it was killed");
        let said = String::from_utf8(output.stdout).unwrap();
        let wanted = format!(
            "process {number} (sh), which an earlier guard has started, has started this guard: end it"
        );
        assert!(said.starts_with("Err(") && said.contains(&wanted), "{said}");
    }
}
