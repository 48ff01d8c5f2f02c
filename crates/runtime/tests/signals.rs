//! Signals are sent to a real child process, which is this same test binary started again.

#![allow(clippy::unwrap_used, reason = "everything here is a test, its helping functions too")]

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use quorate_runtime::shutdown::{EXIT_IMPATIENT, Shutdown};
use rustix::process::{Pid, Signal, kill_process};

const CHILD_MARK: &str = "QUORATE_SIGNAL_TEST_CHILD";
const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn sigterm_stops_gracefully_and_is_the_reason() {
    let (mut child, mut lines) = start("polite");
    signal(&child, Signal::TERM);
    wait_for_line(&mut lines, "reason: SIGTERM received");
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn sigint_stops_gracefully_and_is_the_reason() {
    let (mut child, mut lines) = start("polite");
    signal(&child, Signal::INT);
    wait_for_line(&mut lines, "reason: SIGINT received");
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_process_with_a_hung_task_at_once() {
    let (mut child, mut lines) = start("hung");
    signal(&child, Signal::TERM);
    wait_for_line(&mut lines, "stopping");
    signal(&child, Signal::INT);
    assert_eq!(wait(&mut child).code(), Some(EXIT_IMPATIENT));
}

#[test]
fn a_signal_after_a_fatal_error_ends_a_process_with_a_hung_task_at_once() {
    let (mut child, mut lines) = start("fatal");
    wait_for_line(&mut lines, "stopping");
    signal(&child, Signal::INT);
    assert_eq!(wait(&mut child).code(), Some(EXIT_IMPATIENT));
}

#[test]
#[ignore = "the child process of the tests above, which start it themselves"]
fn child_process() {
    let Ok(role) = std::env::var(CHILD_MARK) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let outcome = runtime.block_on(async move {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        shutdown.spawn("polite", async move { token.cancelled().await });
        if role != "polite" {
            shutdown.spawn("hung", std::future::pending());
        }
        if role == "fatal" {
            shutdown.fatal("the disk is gone");
        }
        // The handlers are installed by the first poll, which `biased` makes happen before "ready" is printed.
        tokio::select! {
            biased;
            waited = shutdown.wait_for_signal() => waited.unwrap(),
            () = async { say("ready"); std::future::pending().await } => {}
        }
        say("stopping");
        shutdown.finish(DEADLINE).await
    });
    say(&format!("reason: {}", outcome.reason));
    std::process::exit(i32::from(outcome.exit_code()));
}

fn say(line: &str) {
    println!("\n{line}");
}

fn start(role: &str) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--ignored", "--nocapture"])
        .env(CHILD_MARK, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if role != "fatal" {
        wait_for_line(&mut lines, "ready");
    }
    (child, lines)
}

/// Ends with the child's output, which its own deadline bounds.
fn wait_for_line(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) {
    let found = lines.any(|line| line.unwrap() == wanted);
    assert!(found, "the child ended without saying {wanted:?}");
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("the child did not end within {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
