//! A keeper as a process, spoken to as a guard does.

use crate::scene::{SOON, Turn, headless, is_gone, until};
use quorate_warden::{
    Decoder,
    clock::boot_ms,
    encode,
    keeper::{End, FromKeeper, MESSAGE_MAX_BYTES, ToKeeper, Until, VERB},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Deaf to what can be caught; what it starts has a session of its own, and leaves its number behind.
const DEAF: &str =
    "trap '' TERM INT HUP; setsid sleep 600 & echo $! > below.new; mv below.new below; wait; sleep 600";

struct Kept {
    _turn: Turn,
    folder: TempDir,
    keeper: Child,
    stream: UnixStream,
    decoder: Decoder,
}

/// From now on, in milliseconds.
fn from_now(writes: u64, lease: u64) -> Until {
    let now = boot_ms();
    Until { writes_ms: now + writes, lease_ms: now + lease }
}

impl Kept {
    /// A keeper of `sh -c SCRIPT`, and what it says to a start with so much time, in milliseconds.
    fn start(script: &str, writes: u64, lease: u64) -> (Self, FromKeeper) {
        let turn = Turn::shared();
        let folder = tempfile::tempdir().unwrap();
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let keeper = Command::new(env!("CARGO_BIN_EXE_warden-under-test"))
            .args([VERB, "sh", "-c", script])
            .current_dir(folder.path())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        let mut kept = Self { _turn: turn, folder, keeper, stream, decoder: Decoder::new(MESSAGE_MAX_BYTES) };
        let until = from_now(writes, lease);
        kept.say(&ToKeeper::Start { until, environment: vec![("QUORATE_EPOCH".into(), "5".into())] });
        let answer = kept.hear();
        (kept, answer)
    }

    fn say(&mut self, message: &ToKeeper) {
        self.stream.write_all(&encode(message, MESSAGE_MAX_BYTES).unwrap()).unwrap();
    }

    fn hear(&mut self) -> FromKeeper {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return message;
            }
            let mut bytes = [0; 4_096];
            let count = self.stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the keeper has ended");
            self.decoder.take(&bytes[..count]);
        }
    }

    /// What runs below the service, in a session of its own.
    fn below(&self) -> Pid {
        let file = self.folder.path().join("below");
        until("the service runs", || file.exists());
        Pid::from_raw(fs::read_to_string(file).unwrap().trim().parse().unwrap()).unwrap()
    }

    fn ends_well(mut self) {
        drop(self.stream);
        assert!(self.keeper.wait().unwrap().success());
    }
}

#[test]
fn nothing_of_a_deaf_service_is_left_when_its_lease_is_over() {
    let (mut kept, started) = Kept::start(DEAF, 1_000, 2_000);
    assert!(matches!(started, FromKeeper::Started { .. }), "{started:?}");
    let below = kept.below();
    let until = from_now(1_500, 3_000);
    kept.say(&ToKeeper::Until(until));
    assert_eq!(kept.hear(), FromKeeper::Knows(until));
    assert_eq!(kept.hear(), FromKeeper::Gone { end: End::Signal(9), asked: true });
    let now = boot_ms();
    assert!(now >= until.writes_ms && now < until.lease_ms, "{now} is outside of {until:?}");
    assert!(is_gone(below));
    kept.ends_well();
}

#[test]
fn a_service_whose_first_threads_have_ended_is_killed_and_its_end_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let Some(headless) = headless(folder.path()) else { return };
    let script = format!("setsid {headless} writes x & echo $! > below; exec {headless} writes x");
    let (mut kept, started) = Kept::start(&script, 60_000, 70_000);
    let FromKeeper::Started { pid } = started else { panic!("{started:?}") };
    let (below, main) = (kept.below(), Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
    for process in [below, main] {
        until("its first thread has ended", || has_lost_its_first_thread(process));
    }
    kept.say(&ToKeeper::End { by_ms: boot_ms() + 200, signal: 15 });
    assert_eq!(kept.hear(), FromKeeper::Gone { end: End::Signal(9), asked: true });
    assert!(is_gone(main) && is_gone(below));
    kept.ends_well();
}

fn has_lost_its_first_thread(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    assert!(!is_gone(pid), "it has ended altogether: {stat}");
    stat.contains(") Z ")
}

#[test]
fn an_exit_code_is_told_once_what_was_left_running_is_gone() {
    let script = "test $QUORATE_EPOCH = 5 || exit 1; setsid sleep 600 & echo $! > below; exit 7";
    let (mut kept, first) = Kept::start(script, 60_000, 70_000);
    // On a machine that is busy it has ended before it was seen to run.
    let gone = if matches!(first, FromKeeper::Started { .. }) { kept.hear() } else { first };
    assert_eq!(gone, FromKeeper::Gone { end: End::Code(7), asked: false });
    assert!(is_gone(kept.below()));
    kept.ends_well();
}

#[test]
fn signals_are_passed_on_and_an_end_has_its_time() {
    let (mut kept, _) =
        Kept::start("trap 'exit 3' USR1; touch up; while :; do sleep 0.01; done", 60_000, 70_000);
    until("it listens", || kept.folder.path().join("up").exists());
    kept.say(&ToKeeper::Signal { signal: 10 });
    assert_eq!(kept.hear(), FromKeeper::Gone { end: End::Code(3), asked: false });
    kept.ends_well();
    let (mut kept, _) = Kept::start("exec sleep 600", 60_000, 70_000);
    kept.say(&ToKeeper::End { by_ms: boot_ms() + 60_000, signal: 2 });
    assert_eq!(kept.hear(), FromKeeper::Gone { end: End::Signal(2), asked: true });
    kept.ends_well();
    let (mut kept, _) = Kept::start(DEAF, 60_000, 70_000);
    let below = kept.below();
    kept.say(&ToKeeper::End { by_ms: boot_ms() + 200, signal: 15 });
    assert_eq!(kept.hear(), FromKeeper::Gone { end: End::Signal(9), asked: true });
    assert!(is_gone(below));
    kept.ends_well();
}

#[test]
fn a_keeper_without_its_guard_kills_everything_and_one_that_is_killed_takes_the_service_along() {
    let (kept, _) = Kept::start(DEAF, 60_000, 70_000);
    let below = kept.below();
    kept.ends_well();
    assert!(is_gone(below));
    let (mut kept, started) = Kept::start(DEAF, 60_000, 70_000);
    let FromKeeper::Started { pid } = started else { panic!("{started:?}") };
    let (below, main) = (kept.below(), Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
    // What is meant for a whole unit is not meant for it.
    kill_process(Pid::from_child(&kept.keeper), Signal::TERM).unwrap();
    kept.say(&ToKeeper::Until(from_now(60_000, 70_000)));
    assert!(matches!(kept.hear(), FromKeeper::Knows(_)));
    kept.keeper.kill().unwrap();
    kept.keeper.wait().unwrap();
    until("the service is gone", || is_gone(main));
    // It falls to the guard, which this test is not.
    kill_process(below, Signal::KILL).unwrap();
}

#[test]
fn nothing_is_started_without_a_lease() {
    let (kept, answer) = Kept::start("touch ran", 0, 60_000);
    assert!(
        matches!(&answer, FromKeeper::NotStarted { why } if why.contains("lease has run out")),
        "{answer:?}"
    );
    assert!(!kept.folder.path().join("ran").exists());
    kept.ends_well();
}
