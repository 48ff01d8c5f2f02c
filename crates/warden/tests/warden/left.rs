//! What earlier guards have left, and whoever looks for it.

use crate::scene::{Turn, headless, is_gone, until};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

const TESTED: &str = env!("CARGO_BIN_EXE_warden-under-test");

/// Of a host and a group of its own.
fn mark() -> String {
    static MARKS: AtomicU32 = AtomicU32::new(0);
    format!("host{}/g{}", process::id(), MARKS.fetch_add(1, Ordering::Relaxed))
}

/// A shell that runs something as a guard's service does.
fn marked(mark: &str, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, TESTED, mark]).env("QUORATE_GUARD", mark).stdin(Stdio::null());
    command
}

/// What a guard finds that is started here.
fn search(mark: &str) -> String {
    found(Command::new(TESTED).args(["search", mark]))
}

/// What a search says that it has found.
fn found(search: &mut Command) -> String {
    let said = said(search);
    let lines: Vec<&str> = said.lines().collect();
    let ["bystanders: found", found, "nothing is left: true"] = lines[..] else { panic!("{said}") };
    found.to_owned()
}

fn said(search: &mut Command) -> String {
    String::from_utf8(search.output().unwrap().stdout).unwrap()
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
    assert_eq!(search(&mark), "killed 2");
    assert!(is_gone(pid(&left)) && !is_gone(pid(&stranger)));
    assert_eq!(search(&mark), "killed 0");
    assert_eq!(search(&other), "killed 1");
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
    assert_eq!(search(&mark), "killed 1");
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
    assert_eq!(found(Command::new("sh").args(["-c", &script, TESTED, &mark])), "killed 2");
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
        assert!(said.contains(&format!("\nerror: {wanted}")), "{said}");
    }
}

#[test]
fn a_guard_that_cannot_look_at_processes_says_not_that_nothing_is_left() {
    let _turn = Turn::shared();
    let said = said(Command::new(TESTED).arg("search-blindly"));
    let error = "Too many open files (os error 24)";
    let wanted = format!(
        "bystanders: {error}\nerror: the processes of this machine cannot be looked at: {error}\nnothing is left: false\n"
    );
    assert_eq!(said, wanted);
}

/// What a search of the same user may not do, and so may not look at.
const MORE: [&str; 4] = ["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"];

/// A user of its own, who has this program.
struct User {
    name: String,
    program: PathBuf,
    _folder: TempDir,
}

impl User {
    /// `None` where only this user can run anything.
    fn find() -> Option<Self> {
        // A number that no account has, and no other test.
        static USERS: AtomicU32 = AtomicU32::new(0);
        if !geteuid().is_root() {
            return None;
        }
        let name = (54_000 + process::id() % 1_000 * 10 + USERS.fetch_add(1, Ordering::Relaxed)).to_string();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("tested");
        fs::copy(TESTED, &program).unwrap();
        Some(Self { name, program, _folder: folder })
    }

    fn runs(&self, with: &[&str], program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &self.name, "--clear-groups"]).args(with).arg(program);
        command
    }

    /// Runs a script where `/proc` shows no processes of other users; `$0` is a program that becomes root's, `$1` is this one.
    fn among_hidden(&self, script: &str) -> Command {
        let sleeps = self.program.with_file_name("sleeps");
        fs::copy("/bin/sleep", &sleeps).unwrap();
        fs::set_permissions(&sleeps, Permissions::from_mode(0o4_755)).unwrap();
        let become_user = format!(
            "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid {0} --regid {0} --clear-groups sh -c \"$@\"",
            self.name
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "sh", "-c", &become_user, "sh", script]);
        command.args([&sleeps, &self.program]);
        command
    }

    /// Runs something that hides.
    fn hides(&self, mark: Option<&str>) -> Child {
        let mut command = self.runs(&MORE, Path::new("sleep"));
        command.arg("600").envs(mark.map(|mark| ("QUORATE_GUARD", mark)));
        let child = command.spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        until("it sleeps", || fs::read_to_string(&comm).unwrap() == "sleep\n");
        child
    }
}

#[test]
fn what_hides_is_named_whoever_it_belongs_to_in_proc_unless_it_is_another_groups() {
    let Some(user) = User::find() else { return };
    let (_turn, mark, other) = (Turn::shared(), mark(), mark());
    let look = || found(user.runs(&[], &user.program).args(["search", &mark]));
    assert_eq!(look(), "killed 0");
    // What is below the service of another group hides, and is of that one: the service gives its own privilege up.
    let script = "env -i sleep 600 & while [ \"$(cat /proc/$!/comm)\" != sleep ]; do :; done
        exec setpriv --ambient-caps -all sh -c \"echo $!; exec sleep 600\"";
    let mut stranger = user.runs(&MORE, Path::new("sh"));
    stranger.args(["-c", script]).env("QUORATE_GUARD", &other).stdout(Stdio::piped());
    let mut stranger = stranger.spawn().unwrap();
    let mut below = String::new();
    BufReader::new(stranger.stdout.take().unwrap()).read_line(&mut below).unwrap();
    until("it sleeps too", || {
        fs::read_to_string(format!("/proc/{}/comm", stranger.id())).unwrap() == "sleep\n"
    });
    assert_eq!(look(), "killed 0");
    for marked in [None, Some(mark.as_str())] {
        let mut hides = user.hides(marked);
        let wanted = format!(
            "killed 0; hidden: process {} (sleep) cannot be looked at: Permission denied (os error 13)",
            hides.id()
        );
        assert_eq!(look(), wanted);
        hides.kill().unwrap();
        hides.wait().unwrap();
    }
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let below = below.trim();
    assert!(look().ends_with(&format!(
        "hidden: process {below} (sleep) cannot be looked at: Permission denied (os error 13)"
    )));
    kill_process(Pid::from_raw(below.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_child_that_proc_does_not_show_is_not_taken_for_gone() {
    let Some(user) = User::find() else { return };
    let _turn = Turn::shared();
    let script = "\"$0\" 600 & tries=0
        while [ -e /proc/$! ] && [ $tries -lt 100000 ]; do tries=$((tries + 1)); done
        [ -e /proc/$! ] || echo $!; exec \"$1\" search none";
    let said = said(&mut user.among_hidden(script));
    let (first, rest) = said.split_once('\n').unwrap_or_default();
    // Where nothing can be hidden from this user.
    let Ok(hidden) = first.parse::<u32>() else { return };
    let why =
        format!("/proc does not show process {hidden}, which this one has started (its option hidepid)");
    let wanted = [&format!("bystanders: {why}"), "killed 0", "nothing is left: false"];
    assert_eq!(rest.lines().collect::<Vec<_>>(), wanted);
}
