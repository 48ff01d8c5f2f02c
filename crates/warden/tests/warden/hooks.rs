//! Many hooks, slow hooks, and hooks that write.

use crate::scene::{Scene, is_gone, until};
use quorate_domain::{Epoch, GroupId};
use quorate_warden::{
    Service, Settings,
    clock::boot_ms,
    protocol::{Disk, Hook, HookOutcome, Run, ToWarden},
};
use rustix::process::Pid;
use std::{collections::BTreeMap, fs, os::unix::process::CommandExt, process::Command, time::Duration};

/// Of hosts whose services run below their promote hooks, so that they need no demote hook.
fn child() -> Settings {
    Settings { service: Some(Service::Child), ..Settings::default() }
}

#[test]
fn four_hundred_demotions_at_once_have_descriptors_with_a_limit_of_256() {
    let scene = Scene::with(|command| {
        let program = command.get_program().to_owned();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]).arg(program).args(words);
    });
    let counter = scene.path("demoted");
    let settings = Settings {
        on_promote: Some(scene.script("promote", "exit 0")),
        on_demote: Some(scene.script("demote", &format!("echo $QUORATE_GROUP >> {}", counter.display()))),
        ..Settings::default()
    };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(120_000);
    for hook in [Hook::Promote, Hook::Demote] {
        let runs: Vec<u64> = (0..400).map(|number| agent.run(&format!("g{number}"), 1, hook)).collect();
        let mut slowest = Duration::ZERO;
        for number in 0..5 {
            slowest = slowest.max(agent.pings(number));
        }
        for run in runs {
            assert_eq!(agent.ended(run), HookOutcome::Succeeded, "{hook}");
        }
        assert!(slowest < Duration::from_secs(1), "a ping took {slowest:?}");
    }
    assert_eq!(fs::read_to_string(counter).unwrap().lines().count(), 400);
}

#[test]
fn more_hooks_at_once_than_there_are_descriptors_are_refused_at_start() {
    let scene = Scene::new();
    let settings = Settings { parallel: 1_000, on_promote: Some("/bin/true".into()), ..child() };
    let limited = Scene::with(|command| {
        let program = command.get_program().to_owned();
        let words: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new("sh");
        command.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]).arg(program).args(words);
    });
    let mut agent = limited.hello(&settings);
    let (field, problem) = agent.hear(crate::words::refusal);
    assert_eq!(field, "hooks.parallel");
    assert!(problem.contains("open files are needed and 256 are allowed"), "{problem}");
    scene.agent(&settings);
}

#[test]
fn a_hook_is_told_what_it_is_about_and_is_given_back_what_the_warden_took() {
    let scene = Scene::with(|command| {
        command.arg0("warden");
    });
    let told = scene.path("told");
    let words = "$QUORATE_GROUP $QUORATE_EPOCH $QUORATE_ROLE $QUORATE_HOST $QUORATE_REASON $QUORATE_DISK $QUORATE_DISK_PATH";
    let hook = format!(
        "exec > {}; echo \"{words}\"; ulimit -n; nice; cat /proc/self/oom_score_adj; ps -o sid= -p $$; echo $$",
        told.display()
    );
    let settings = Settings { on_promote: Some(scene.script("promote", &hook)), ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    let disk = Some(Disk { name: "d1".into(), path: "/srv/d1".into() });
    let group = GroupId::new("g").unwrap();
    agent.say(&ToWarden::Run(Run {
        run: 9,
        group,
        epoch: Epoch(4),
        hook: Hook::Promote,
        reason: "why".into(),
        disk,
    }));
    assert_eq!(agent.ended(9), HookOutcome::Succeeded);
    let own = |command: &str| {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let told = fs::read_to_string(told).unwrap();
    let lines: Vec<&str> = told.lines().map(str::trim).collect();
    let host = format!("t{}", std::process::id());
    assert_eq!(lines[0], format!("g 4 primary {host} why d1 /srv/d1"));
    let mine = [own("ulimit -n"), own("nice"), own("cat /proc/self/oom_score_adj")];
    assert_eq!(lines[1..4], mine.each_ref().map(String::as_str));
    assert_eq!(lines[4], lines[5], "it has a session of its own");
}

#[test]
fn a_hook_that_writes_without_end_holds_up_nobody_and_is_killed_at_its_limit() {
    let scene = Scene::new();
    let hook = scene.script("promote", "yes it goes on and on");
    let settings = Settings { on_promote: Some(hook), promote_limit_ms: 1_500, ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    let run = agent.run("g", 1, Hook::Promote);
    let since = boot_ms();
    for number in 0.. {
        let took = agent.pings(number);
        assert!(took < Duration::from_millis(500), "a ping took {took:?}");
        if boot_ms() > since + 1_000 {
            break;
        }
    }
    let HookOutcome::Failed(why) = agent.ended(run) else { panic!("it was killed") };
    assert!(why.contains("was killed: it took longer than 1500 ms: it goes on"), "{why}");
    let lines = agent.output().len();
    assert!((100..=1_000).contains(&lines), "{lines} lines were passed on");
}

#[test]
fn what_a_hook_left_running_may_go_on_writing_and_every_line_is_passed_on() {
    let scene = Scene::new();
    let done = scene.path("done");
    // As long as a service that logs once in a while; it dies today at its first line after half a second.
    let body = format!(
        "(i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; echo $i > {}) &",
        done.display()
    );
    let settings = Settings { on_promote: Some(scene.script("promote", &body)), ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    agent.promoted("g", 1);
    until("it has written all", || {
        agent.listen();
        done.exists()
    });
    let pinged = agent.pings(1);
    assert!(pinged < Duration::from_secs(1));
    assert_eq!(agent.output(), (0..30).map(|number| format!("line {number}")).collect::<Vec<_>>());
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_what_it_started_and_what_it_did_not_start_is_not() {
    let scene = Scene::new();
    let pids = scene.path("pids");
    let hook = format!("setsid sleep 600 & echo $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let settings =
        Settings { on_promote: Some(scene.script("promote", &hook)), promote_limit_ms: 700, ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    let run = agent.run("g", 1, Hook::Promote);
    let HookOutcome::Failed(why) = agent.ended(run) else { panic!("it was killed") };
    assert!(why.contains("was killed: it took longer than 700 ms"), "{why}");
    let child: i32 = fs::read_to_string(pids).unwrap().trim().parse().unwrap();
    assert!(is_gone(Pid::from_raw(child).unwrap()), "process {child} outlived its hook");
}

#[test]
fn hooks_that_cannot_run_say_so() {
    let scene = Scene::new();
    let settings = Settings { on_promote: Some("/nowhere/hook".into()), ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    let run = agent.run("g", 1, Hook::Promote);
    let HookOutcome::Failed(why) = agent.ended(run) else { panic!("there is no such hook") };
    assert!(why.contains("cannot run /nowhere/hook: No such file"), "{why}");
    let run = agent.run("g", 1, Hook::Demote);
    assert_eq!(agent.ended(run), HookOutcome::ByForce, "what failed to start has left nothing behind");
    // Killed before it was old.
    let scene = Scene::new();
    let settings = Settings { on_promote: Some(scene.script("promote", "sleep 600")), ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    let run = agent.run("g", 1, Hook::Promote);
    agent.say(&ToWarden::Kill { run });
    let HookOutcome::Failed(why) = agent.ended(run) else { panic!("it was killed") };
    assert!(why.contains("the epoch ended"), "{why}");
    let run = agent.run("g", 1, Hook::Demote);
    assert_eq!(agent.ended(run), HookOutcome::ByForce);
}

#[test]
fn a_service_that_was_never_seen_is_not_known_to_have_stopped_without_a_demote_hook() {
    let scene = Scene::new();
    let settings = Settings { on_promote: Some(scene.script("promote", "exit 0")), ..child() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    agent.promoted("g", 1);
    let run = agent.run("g", 1, Hook::Demote);
    let HookOutcome::Failed(why) = agent.ended(run) else { panic!("nothing tells that it has stopped") };
    assert!(why.starts_with("there is no demote hook, and nothing of it was seen"), "{why}");
}

#[test]
fn demotions_pass_promotions_that_fill_the_window() {
    let scene = Scene::new();
    let gate = scene.path("gate");
    let hook = format!(
        "case $QUORATE_GROUP in slow*) while [ ! -e {} ]; do sleep 0.05; done;; esac",
        gate.display()
    );
    let settings = Settings {
        on_promote: Some(scene.script("promote", &hook)),
        on_demote: Some(scene.script("demote", "exit 0")),
        parallel: 4,
        promote_limit_ms: 60_000,
        ..Settings::default()
    };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(120_000);
    agent.promoted("quick", 1);
    let slow: BTreeMap<u64, String> = (0..20)
        .map(|number| format!("slow{number}"))
        .map(|group| (agent.run(&group, 1, Hook::Promote), group))
        .collect();
    let run = agent.run("quick", 1, Hook::Demote);
    assert_eq!(agent.ended(run), HookOutcome::Succeeded, "while promotions wait for the gate");
    fs::write(gate, "").unwrap();
    for run in slow.keys() {
        assert_eq!(agent.ended(*run), HookOutcome::Succeeded);
    }
}
