//! The hooks in docs/examples/hooks/daemon, run as the warden runs them: a demote hook that returns 0 is taken for a proof that
//! the service has stopped, so it must not say so of one that runs.

#![allow(clippy::unwrap_used)] // a test that cannot go on shall say where

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Leaves the number of each of its processes in the journal, and is deaf to nothing.
const PLAIN: &str = "while :; do sleep 0.05; done";
/// Becomes another program, with another command line.
const TITLED: &str = "exec sleep 600";
/// Has a process that does not end when it is asked to, and ends itself when it is.
const WITH_WORKER: &str = "sh -c 'trap \"\" TERM; echo $$ >>\"$JOURNAL\"; while :; do sleep 0.05; done' &
    while :; do sleep 0.05; done";
/// Has a worker in a process group of its own.
const WITH_GROUP: &str = "set -m
    sh -c 'echo $$ >>\"$JOURNAL\"; while :; do sleep 0.05; done' &
    set +m
    while :; do sleep 0.05; done";
/// Goes on in another thread than its first, under a name that is made to look like the end of one.
const HEADLESS: &str = "exec python3 -c '
import ctypes, signal, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
c = ctypes.CDLL(None)
c.prctl(15, b\"a) Z 1 1\\n1 (1\", 0, 0, 0)
threading.Thread(target=lambda: time.sleep(600)).start()
c.pthread_exit(None)
'";

/// A disk, a folder for pid files, the hooks and a service.
struct Scene {
    folder: TempDir,
    _socket: UnixListener,
}

/// How a hook ended.
struct Ended {
    well: bool,
    said: String,
}

impl Scene {
    fn new(service: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("disk")).unwrap();
        fs::create_dir(at("pids")).unwrap();
        fs::write(at("journal"), "").unwrap();
        let socket = UnixListener::bind(at("socket")).unwrap();
        let begins = "#!/bin/sh\necho $$ >>\"$JOURNAL\"\nln -sfn \"$SOCKET\" \"$2/service.sock\"\n";
        fs::write(at("service"), format!("{begins}{service}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(at("service")).status().unwrap().success());
        Self { folder, _socket: socket }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, hook: &str, epoch: u64) -> Command {
        let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/hooks/daemon");
        let mut command = Command::new(hooks.join(hook));
        command
            .env("QUORATE_GROUP", "g1")
            .env("QUORATE_EPOCH", epoch.to_string())
            .env("QUORATE_DISK_PATH", self.at("disk"))
            .env("PID_FOLDER", self.at("pids"))
            .env("SERVICE", self.at("service"))
            .env("JOURNAL", self.at("journal"))
            .env("SOCKET", self.at("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.at("said")).unwrap());
        command
    }

    /// Runs a hook to its end.
    fn run(&self, hook: &str, epoch: u64) -> Ended {
        let mut child = self.command(hook, epoch).spawn().unwrap();
        let mut status = None;
        until(&format!("{hook} returns"), || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        Ended { well: status.unwrap().success(), said: fs::read_to_string(self.at("said")).unwrap() }
    }

    fn promote(&self, epoch: u64) {
        let ended = self.run("promote", epoch);
        assert!(ended.well, "promote: {}", ended.said);
    }

    /// All processes that the service ever said it is.
    fn pids(&self) -> Vec<String> {
        fs::read_to_string(self.at("journal")).unwrap().lines().map(str::to_owned).collect()
    }

    fn running(&self) -> Vec<String> {
        self.pids().into_iter().filter(|pid| runs(pid)).collect()
    }

    /// What the contract asks for: after an exit code of 0 nothing of the service is left.
    fn demote_stops_it(&self) {
        assert_ne!(self.running(), [] as [String; 0], "there is nothing to be stopped");
        let ended = self.run("demote", 1);
        assert_eq!(self.running(), [] as [String; 0], "exit code 0 is {}: {}", ended.well, ended.said);
        assert!(ended.well, "demote: {}", ended.said);
        assert!(!self.at("pids/g1.pid").exists());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in self.running() {
            let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
        }
    }
}

fn fields(pid: &str) -> Option<Vec<String>> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (_, fields) = stat.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// A zombie runs as long as one of its threads does.
fn runs(pid: &str) -> bool {
    fields(pid).is_some_and(|fields| fields[0] != "Z" || fields[17] != "1")
}

fn until(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within half a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_service_is_stopped_and_one_that_never_ran_is_too() {
    let scene = Scene::new(PLAIN);
    let ended = scene.run("demote", 1);
    assert!(ended.well, "{}", ended.said);
    scene.promote(1);
    scene.demote_stops_it();
    assert!(scene.run("demote", 1).well, "a second time");
}

#[test]
fn a_promotion_ends_the_service_of_an_older_epoch_first() {
    let scene = Scene::new(WITH_WORKER);
    scene.promote(1);
    until("there is a worker", || scene.running().len() == 2);
    let older = scene.running();
    scene.promote(2);
    let still: Vec<_> = older.iter().filter(|pid| runs(pid)).collect();
    assert_eq!(still, [] as [&String; 0]);
    scene.demote_stops_it();
}

#[test]
fn a_service_whose_disk_is_gone_is_stopped() {
    let scene = Scene::new(PLAIN);
    scene.promote(1);
    fs::rename(scene.at("disk"), scene.at("unmounted")).unwrap();
    scene.demote_stops_it();
}

#[test]
fn nothing_is_started_whose_pid_file_cannot_be_written() {
    let scene = Scene::new(PLAIN);
    // A write to either fails with ENOSPC, as on a disk that is full.
    fs::create_dir(scene.at("disk/g1")).unwrap();
    symlink("/dev/full", scene.at("disk/g1/service.pid")).unwrap();
    symlink("/dev/full", scene.at("pids/g1.pid.new")).unwrap();
    let ended = scene.run("promote", 1);
    assert!(!ended.well && ended.said.contains("was not started"), "{}", ended.said);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(scene.pids(), [] as [String; 0], "it was started");
    assert!(scene.run("demote", 1).well);
}

#[test]
fn nothing_is_started_where_there_can_be_no_folder_for_pid_files() {
    let scene = Scene::new(PLAIN);
    fs::remove_dir(scene.at("pids")).unwrap();
    fs::write(scene.at("pids"), "").unwrap();
    assert!(!scene.run("promote", 1).well);
    assert_eq!(scene.pids(), [] as [String; 0], "it was started");
    assert!(!scene.run("demote", 1).well);
}

#[test]
fn workers_that_outlive_their_service_are_stopped_with_it() {
    for service in [WITH_WORKER, WITH_GROUP] {
        let scene = Scene::new(service);
        scene.promote(1);
        until("there is a worker", || scene.running().len() == 2);
        scene.demote_stops_it();
    }
}

#[test]
fn workers_whose_service_has_died_are_stopped() {
    let scene = Scene::new(WITH_WORKER);
    scene.promote(1);
    until("there is a worker", || scene.running().len() == 2);
    let main = scene.pids().remove(0);
    assert!(Command::new("kill").args(["-s", "KILL", &main]).status().unwrap().success());
    until("the service has died", || !runs(&main));
    scene.demote_stops_it();
}

#[test]
fn a_service_that_changes_its_command_line_is_stopped() {
    let scene = Scene::new(TITLED);
    scene.promote(1);
    let pid = scene.pids().remove(0);
    let is_titled = || fs::read(format!("/proc/{pid}/cmdline")).unwrap().starts_with(b"sleep");
    until("it has another command line", is_titled);
    scene.demote_stops_it();
}

#[test]
fn a_service_whose_first_thread_has_ended_is_stopped() {
    let found = Command::new("python3").args(["-c", "import ctypes, threading"]).status();
    if !found.is_ok_and(|status| status.success()) {
        let expected = std::env::var("QUORATE_TEST_EXPECTED").unwrap_or_default();
        assert!(!expected.split(',').any(|word| word == "python"), "there is no python3");
        eprintln!("SKIPPED a service whose first thread has ended: there is no python3");
        return;
    }
    let scene = Scene::new(HEADLESS);
    scene.promote(1);
    let pid = scene.pids().remove(0);
    until("its first thread has ended", || fields(&pid).is_some_and(|fields| fields[0] == "Z"));
    assert_eq!(scene.running().len(), 1);
    scene.demote_stops_it();
}

#[test]
fn another_process_that_has_the_number_of_the_service_is_spared() {
    let scene = Scene::new(PLAIN);
    scene.promote(1);
    let pid = scene.pids().remove(0);
    let start: u64 = fields(&pid).unwrap()[19].parse().unwrap();
    let pid_file = scene.at("pids/g1.pid");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{pid} {start}\n"));
    fs::write(&pid_file, format!("{pid} {}\n", start - 1)).unwrap();
    let ended = scene.run("demote", 1);
    assert!(ended.well && runs(&pid), "{}", ended.said);
}

#[test]
fn what_is_not_known_is_no_proof() {
    let scene = Scene::new(PLAIN);
    for damaged in ["", "\n", "12\n", "12 \n", "12 x\n", "0 5\n", "1 5\n", "-1 5\n", "12 5"] {
        fs::write(scene.at("pids/g1.pid"), damaged).unwrap();
        assert!(!scene.run("demote", 1).well, "{damaged:?}");
        assert!(!scene.run("promote", 1).well, "{damaged:?}");
    }
    fs::remove_dir_all(scene.at("pids")).unwrap();
    let ended = scene.run("demote", 1);
    assert!(!ended.well && ended.said.contains("make it"), "{}", ended.said);
    assert_eq!(scene.pids(), [] as [String; 0], "it was started");
}

#[test]
fn a_start_that_is_under_way_is_waited_for() {
    let scene = Scene::new(PLAIN);
    // What a promote hook that was killed has left holds the lock until the service has its pid file.
    let lock = scene.at("pids/g1.lock");
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo >\"$0\"; read -r _", lock.to_str().unwrap()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    until("the lock is held", || fs::read(&lock).is_ok_and(|bytes| !bytes.is_empty()));
    let mut demote = scene.command("demote", 1).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(demote.try_wait().unwrap().is_none(), "it did not wait");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(demote.wait().unwrap().success());
}
