//! Agents and wardens that follow one another.

use crate::scene::{Scene, start, until, ways};
use quorate_warden::{
    CgroupUse, Service, Settings,
    clock::boot_ms,
    guards_something,
    protocol::{Hook, HookOutcome, Proof, ToWarden},
};
use rustix::process::{Signal, getpid, set_child_subreaper};
use std::fs;

fn settings(scene: &Scene, demote: &str) -> Settings {
    Settings {
        on_promote: Some(scene.service()),
        on_demote: Some(scene.script("demote", demote)),
        demote_limit_ms: 400,
        ..Settings::default()
    }
}

#[test]
fn another_start_of_the_agent_learns_what_is_held_and_ends_it_under_its_old_deadline() {
    let scene = Scene::new();
    let kill = format!("pkill -9 -f {}", scene.path("service").display());
    let settings = Settings { demote_limit_ms: 5_000, ..settings(&scene, &kill) };
    let (mut first, _) = scene.agent(&settings);
    let deadline = first.lease(60_000);
    first.promoted("g", 7);
    let (mut second, welcome) = scene.agent(&settings);
    let [held] = &welcome.holds[..] else { panic!("{welcome:?}") };
    assert_eq!((held.group.as_str(), held.epoch.0, held.deadline_ms), ("g", 7, deadline));
    assert!(first.is_closed(), "the newest connection is the agent's");
    let run = second.run("g", 7, Hook::Demote);
    assert_eq!(second.ended(run), HookOutcome::Succeeded);
    scene.wait_for_silence();
    let ended = second.group_ended("g");
    assert_eq!(ended.proof, Proof::Demoted);
    // It is told until it was heard.
    let (mut third, welcome) = scene.agent(&settings);
    assert_eq!(welcome.ended, std::slice::from_ref(&ended));
    third.say(&ToWarden::Heard { number: ended.number });
    third.pings(1);
    assert_eq!(scene.agent(&settings).1.ended, []);
}

#[test]
fn a_promotion_of_the_start_before_is_ended_when_another_one_comes() {
    let scene = Scene::new();
    let begun = scene.path("begun");
    let slow = scene.script("slow", &format!("touch {}; sleep 600", begun.display()));
    let settings =
        Settings { on_promote: Some(slow), promote_limit_ms: 60_000, ..settings(&scene, "exit 0") };
    let (mut first, _) = scene.agent(&settings);
    first.lease(60_000);
    first.run("g", 7, Hook::Promote);
    until("the hook runs", || begun.exists());
    let (mut second, _) = scene.agent(&settings);
    until("it may be demoted", || {
        let run = second.run("g", 7, Hook::Demote);
        second.ended(run) == HookOutcome::Succeeded
    });
    assert_eq!(second.group_ended("g").proof, Proof::Demoted);
}

#[test]
fn what_a_killed_warden_left_is_killed_by_the_next_one() {
    // As the agent does: what a dead warden leaves falls to this process.
    set_child_subreaper(Some(getpid())).unwrap();
    for cgroups in ways() {
        let mut scene = Scene::alone();
        let settings = Settings { cgroups, ..settings(&scene, "exit 1") };
        let (mut agent, _) = scene.agent(&settings);
        agent.lease(600_000);
        agent.promoted("g", 7);
        scene.wait_for_writes();
        scene.wait_until_seen("g");
        scene.kill_warden();
        assert!(agent.is_closed());
        scene.wait_for_writes();
        scene.start_another(|command| {
            command.arg("--orphans-of").arg(std::process::id().to_string());
        });
        let (mut agent, welcome) = scene.agent(&settings);
        assert_eq!(welcome.holds, [], "{cgroups:?}");
        let [ended] = &welcome.ended[..] else { panic!("{cgroups:?}: {welcome:?}") };
        assert_eq!((&ended.proof, ended.epoch.0), (&Proof::Killed, 7), "{cgroups:?}");
        scene.wait_for_silence();
        agent.say(&ToWarden::Heard { number: ended.number });
        until("its record is gone", || !scene.state().join("warden/g.json").exists());
    }
}

#[test]
fn what_is_left_when_agent_and_warden_were_killed_at_once_is_no_proof_without_a_cgroup() {
    let mut scene = Scene::alone();
    let settings = Settings { cgroups: CgroupUse::Off, ..settings(&scene, "exit 1") };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(600_000);
    agent.promoted("g", 7);
    scene.wait_until_seen("g");
    scene.kill_warden();
    // Another agent than the one on record: nobody was there for what was left to fall to.
    scene.start_another(|_| {});
    let (_, welcome) = scene.agent(&settings);
    let [ended] = &welcome.ended[..] else { panic!("{welcome:?}") };
    assert!(matches!(&ended.proof, Proof::Not(_)), "{ended:?}");
    scene.wait_for_silence();
}

#[test]
fn a_warden_goes_on_through_signals_while_it_guards_and_ends_once_its_agent_has_said_goodbye() {
    let mut scene = Scene::new();
    let kill = format!("pkill -9 -f {}", scene.path("service").display());
    let settings = Settings { demote_limit_ms: 5_000, ..settings(&scene, &kill) };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(60_000);
    agent.promoted("g", 7);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        scene.signal_warden(signal);
        agent.pings(1);
    }
    let run = agent.run("g", 7, Hook::Demote);
    assert_eq!(agent.ended(run), HookOutcome::Succeeded);
    agent.say(&ToWarden::Goodbye);
    drop(agent);
    let since = boot_ms();
    let mut status = None;
    until("it ends", || {
        status = scene.warden.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    assert!(boot_ms() < since + 2_000, "it waited for nobody");
}

#[test]
fn one_folder_has_one_warden() {
    let scene = Scene::new();
    scene.agent(&Settings::default());
    let mut second = start(&scene.state(), |_| {});
    assert_eq!(second.wait().unwrap().code(), Some(1));
    scene.agent(&Settings::default());
}

#[test]
fn what_a_warden_ended_is_told_by_the_next_one_too_until_an_agent_has_heard_it() {
    let mut scene = Scene::alone();
    let settings = settings(&scene, "exit 1");
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(1_000);
    agent.promoted("g", 7);
    scene.wait_until_seen("g");
    drop(agent);
    scene.wait_for_silence();
    let record = scene.state().join("warden/g.json");
    until("its end is on record", || fs::read_to_string(&record).is_ok_and(|text| text.contains("killed")));
    scene.kill_warden();
    scene.start_another(|_| {});
    let (_, welcome) = scene.agent(&settings);
    let [ended] = &welcome.ended[..] else { panic!("{welcome:?}") };
    assert_eq!((&ended.proof, ended.epoch.0), (&Proof::Killed, 7));
}

/// The next start of the agent has no hooks any more; the warden lives.
#[test]
fn a_start_without_hooks_ends_what_is_held_and_runs_no_hook_of_the_start_before() {
    for service in [Service::Child, Service::Elsewhere] {
        let scene = Scene::new();
        let runs = scene.path("runs");
        let demote = format!("echo run >> {}; exit 1", runs.display());
        let count = || fs::read_to_string(&runs).unwrap_or_default().lines().count();
        let settings =
            Settings { service: Some(service), cgroups: CgroupUse::Off, ..settings(&scene, &demote) };
        let (mut first, _) = scene.agent(&settings);
        first.lease(60_000);
        first.promoted("g", 7);
        if service == Service::Child {
            scene.wait_until_seen("g");
        }
        let none = Settings { cgroups: CgroupUse::Off, ..Settings::default() };
        let (mut second, welcome) = scene.agent(&none);
        assert_eq!(welcome.holds.len(), 1, "{welcome:?}");
        for _ in 0..2 {
            let run = second.run("g", 7, Hook::Demote);
            let outcome = second.ended(run);
            match service {
                // By the word of whoever started it there is nothing else.
                Service::Child => assert_eq!(outcome, HookOutcome::ByForce),
                Service::Elsewhere => assert!(matches!(&outcome, HookOutcome::Failed(_)), "{outcome:?}"),
            }
        }
        scene.wait_for_silence();
        assert_eq!(count(), 0, "{service:?}");
        if service == Service::Elsewhere {
            // The hooks are given back.
            let back = Settings { on_demote: Some(scene.script("stops", "exit 0")), ..settings };
            let (mut third, _) = scene.agent(&back);
            let run = third.run("g", 7, Hook::Demote);
            assert_eq!(third.ended(run), HookOutcome::Succeeded);
            assert_eq!(third.group_ended("g").proof, Proof::Demoted);
        }
    }
}

#[test]
fn a_service_that_no_promote_hook_started_is_on_record_too_and_a_damaged_record_proves_nothing() {
    let mut scene = Scene::alone();
    let on_demote = Some(scene.script("demote", "exit 1"));
    let settings = Settings { on_demote, cgroups: CgroupUse::Off, ..Settings::default() };
    let (mut agent, _) = scene.agent(&settings);
    agent.lease(600_000);
    let run = agent.run("g", 7, Hook::Promote);
    assert_eq!(agent.ended(run), HookOutcome::NotConfigured);
    let record = scene.state().join("warden/g.json");
    until("it is on record", || record.exists());
    assert!(guards_something(&scene.state()));
    scene.kill_warden();
    assert!(guards_something(&scene.state()), "by its record");
    let none = Settings { cgroups: CgroupUse::Off, ..Settings::default() };
    for damage in [false, true] {
        if damage {
            fs::write(&record, "{").unwrap();
        }
        scene.start_another(|_| {});
        let (mut agent, _) = scene.agent(&none);
        let run = agent.run("g", 7, Hook::Demote);
        let HookOutcome::Failed(why) = agent.ended(run) else { panic!("nobody has stopped it") };
        let wanted =
            if damage { "g.json, which says what was guarded before, is damaged" } else { "no demote hook" };
        assert!(why.contains(wanted), "{why}");
        // Nothing is on record of another one, and nothing was started.
        let run = agent.run("h", 7, Hook::Demote);
        assert_eq!(agent.ended(run), HookOutcome::ByForce);
        scene.kill_warden();
    }
}
