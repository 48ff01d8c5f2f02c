//! A service ends with its lease, whatever became of the agent.

use crate::scene::{Agent, Scene, headless, until, ways};
use quorate_warden::{
    CgroupUse, Service, Settings,
    clock::boot_ms,
    protocol::{Hook, HookOutcome, Proof, ToWarden},
};
use std::{fs, path::PathBuf, time::Duration};

const DEMOTE_LIMIT_MS: u64 = 400;
/// What killing and looking may take beyond the limits, on a machine that does other things too.
const KILL_MS: u64 = 1_500;

fn settings(scene: &Scene, demote: &str) -> Settings {
    Settings {
        on_promote: Some(scene.service()),
        on_demote: Some(scene.script("demote", demote)),
        demote_limit_ms: DEMOTE_LIMIT_MS,
        ..Settings::default()
    }
}

/// An agent whose service runs until the deadline that is given back.
fn serving(scene: &Scene, settings: &Settings, lease_ms: u64) -> (Agent, u64) {
    let (mut agent, _) = scene.agent(settings);
    let deadline = agent.lease(lease_ms);
    agent.promoted("g", 7);
    scene.wait_for_writes();
    (agent, deadline)
}

#[test]
fn a_service_whose_first_thread_has_ended_is_killed_before_it_is_said_to_be_gone() {
    for cgroups in ways() {
        let scene = Scene::new();
        let Some(headless) = headless(&scene.path("")) else { return };
        let start = format!(
            "setsid {headless} {} \"$QUORATE_EPOCH\" >/dev/null 2>&1 &",
            scene.path("writes").display()
        );
        let on_promote = Some(scene.script("headless", &start));
        let settings = Settings { cgroups, on_promote, ..settings(&scene, "exit 1") };
        let (mut agent, _) = serving(&scene, &settings, 3_000);
        assert_eq!(agent.group_ended("g").proof, Proof::Killed, "{cgroups:?}");
        let written = scene.written();
        let since = boot_ms();
        until("it would have written", || boot_ms() > since + 250);
        assert_eq!(scene.written(), written, "{cgroups:?}: it goes on");
    }
}

/// A promote hook of whose service one process stays where it is, and the one that writes leaves its cgroup and clears its
/// environment; it has a session of its own.
fn leaves(scene: &Scene) -> PathBuf {
    scene.service();
    let service = scene.path("service");
    let leave =
        "for group in /sys/fs/cgroup /sys/fs/cgroup/*; do echo 0 >$group/cgroup.procs; done 2>/dev/null";
    let writes =
        format!("({leave}; exec env -i setsid {} \"$QUORATE_EPOCH\") >/dev/null 2>&1 &", service.display());
    scene.script("leaves", &format!("sleep 600 >/dev/null 2>&1 &\n{writes}"))
}

/// The service is said to be killed, and has written nothing since.
fn ensure_killed(scene: &Scene, agent: &mut Agent, cgroups: CgroupUse) {
    assert_eq!(agent.group_ended("g").proof, Proof::Killed, "{cgroups:?}");
    let written = scene.written();
    scene.wait_for_silence();
    assert_eq!(scene.written(), written, "{cgroups:?}: it went on");
}

#[test]
fn what_leaves_its_cgroup_and_descends_from_the_warden_is_killed() {
    for cgroups in ways() {
        let scene = Scene::new();
        let settings = Settings { cgroups, on_promote: Some(leaves(&scene)), ..settings(&scene, "exit 1") };
        let (mut agent, _) = serving(&scene, &settings, 2_500);
        scene.wait_until_seen("g");
        ensure_killed(&scene, &mut agent, cgroups);
    }
}

#[test]
fn what_was_started_without_cgroups_is_killed_by_descent_when_there_are_some() {
    let scene = Scene::new();
    let off =
        Settings { cgroups: CgroupUse::Off, on_promote: Some(leaves(&scene)), ..settings(&scene, "exit 1") };
    let (_, _) = serving(&scene, &off, 2_500);
    scene.wait_until_seen("g");
    let (mut agent, _) = scene.agent(&Settings { cgroups: CgroupUse::Best, ..off });
    ensure_killed(&scene, &mut agent, CgroupUse::Best);
}

#[test]
fn a_warden_that_cannot_look_at_processes_does_not_say_that_nothing_is_left() {
    let scene = Scene::new();
    let settings = Settings { cgroups: CgroupUse::Off, ..settings(&scene, "exit 1") };
    let (mut agent, deadline) = serving(&scene, &settings, 2_500);
    scene.wait_until_seen("g");
    let before = scene.limit_files(Some(3));
    let ended = agent.group_ended("g");
    assert!(boot_ms() >= deadline && matches!(ended.proof, Proof::Not(_)), "{ended:?}");
    scene.wait_for_writes();
    scene.limit_files(before);
    assert_eq!(agent.group_ended("g").proof, Proof::Killed);
    scene.wait_for_silence();
}

#[test]
fn a_service_that_daemonised_itself_is_killed_when_its_lease_runs_out_and_the_demote_hook_hangs() {
    for cgroups in ways() {
        let scene = Scene::new();
        let settings = Settings { cgroups, ..settings(&scene, "sleep 600") };
        let (agent, deadline) = serving(&scene, &settings, 1_200);
        drop(agent);
        let last = scene.wait_for_silence();
        assert!(last >= deadline, "{cgroups:?}: it was ended {} ms early", deadline - last);
        let late = last - deadline;
        assert!(late <= DEMOTE_LIMIT_MS + KILL_MS, "{cgroups:?}: it wrote {late} ms after its lease");
        let (mut agent, welcome) = scene.agent(&settings);
        let [ended] = &welcome.ended[..] else { panic!("{cgroups:?}: {welcome:?}") };
        assert_eq!(
            (ended.group.as_str(), ended.epoch.0, &ended.proof),
            ("g", 7, &Proof::Killed),
            "{cgroups:?}"
        );
        agent.say(&ToWarden::Heard { number: ended.number });
        until("it is on record no longer", || !scene.state().join("warden/g.json").exists());
    }
}

#[test]
fn a_service_goes_on_while_its_lease_is_renewed_and_a_demote_hook_that_ends_well_spares_what_it_leaves() {
    let scene = Scene::new();
    let standby = format!(
        "(setsid sh -c 'sleep 600' standby-{} >/dev/null 2>&1 &)\npkill -9 -f {}",
        std::process::id(),
        scene.path("service").display()
    );
    let settings = Settings { demote_limit_ms: 5_000, ..settings(&scene, &standby) };
    let (mut agent, first) = serving(&scene, &settings, 600);
    while boot_ms() < first + 900 {
        agent.lease(600);
        scene.wait_for_writes();
    }
    let run = agent.run("g", 7, Hook::Demote);
    assert_eq!(agent.ended(run), HookOutcome::Succeeded);
    assert_eq!(agent.group_ended("g").proof, Proof::Demoted);
    scene.wait_for_silence();
    let standbys = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let name = format!("standby-{}", std::process::id());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&name) && line.starts_with(b"sh")).count()
    };
    assert_eq!(standbys(), 1, "what the demote hook started was spared");
    // Guarded again and ended by force, it goes too.
    agent.lease(300);
    agent.promoted("g", 8);
    drop(agent);
    let scripts = scene.script("demote", "exit 1");
    assert!(scripts.exists());
    until("all of it is gone", || standbys() == 0);
}

#[test]
fn a_demotion_that_fails_after_the_deadline_is_followed_by_the_kill_at_once() {
    let scene = Scene::new();
    let settings = Settings { demote_limit_ms: 60_000, ..settings(&scene, "echo no way >&2; exit 3") };
    let (mut agent, deadline) = serving(&scene, &settings, 1_000);
    assert_eq!(agent.group_ended("g").proof, Proof::Killed);
    assert!(boot_ms() < deadline + KILL_MS, "the hook's time is over by its failure");
    scene.wait_for_silence();
}

#[test]
fn a_demotion_of_the_agent_that_fails_says_why_and_is_no_end() {
    let scene = Scene::new();
    let settings = settings(&scene, "echo no way >&2; exit 3");
    let (mut agent, _) = serving(&scene, &settings, 60_000);
    let run = agent.run("g", 7, Hook::Demote);
    let HookOutcome::Failed(why) = agent.ended(run) else { panic!("it failed") };
    assert!(why.contains("ended with exit code 3: no way"), "{why}");
    scene.wait_for_writes();
    scene.wait_until_seen("g");
    agent.say(&ToWarden::EndAll);
    assert_eq!(agent.group_ended("g").proof, Proof::Killed);
    scene.wait_for_silence();
}

#[test]
fn a_demotion_without_a_hook_is_the_kill_of_what_the_promotion_started() {
    let scene = Scene::new();
    let settings = Settings { on_demote: None, service: Some(Service::Child), ..settings(&scene, "exit 0") };
    let (mut agent, _) = serving(&scene, &settings, 60_000);
    scene.wait_until_seen("g");
    for _ in 0..2 {
        let run = agent.run("g", 7, Hook::Demote);
        assert_eq!(agent.ended(run), HookOutcome::ByForce, "also when nothing is left to stop");
        scene.wait_for_silence();
    }
}

#[test]
fn a_promote_hook_that_runs_when_the_lease_is_over_starts_nothing_later() {
    for cgroups in ways() {
        let scene = Scene::new();
        let begun = scene.path("begun");
        let start = scene.service();
        let body = format!("touch {}; sleep 1.5; {}", begun.display(), start.display());
        let on_promote = Some(scene.script("slow", &body));
        let settings = Settings { cgroups, on_promote, ..settings(&scene, "exit 0") };
        let (mut agent, _) = scene.agent(&settings);
        let deadline = agent.lease(500);
        agent.run("g", 7, Hook::Promote);
        until("the hook runs", || begun.exists());
        drop(agent);
        until("its time would have come", || boot_ms() > deadline + 2_500);
        assert_eq!(scene.written(), 0, "{cgroups:?}: it started its service");
        let (_, welcome) = scene.agent(&settings);
        assert_eq!(welcome.ended[0].proof, Proof::Demoted, "{cgroups:?}: {welcome:?}");
    }
}

#[test]
fn the_fence_command_follows_where_nothing_proves_the_end() {
    let scene = Scene::new();
    let fenced = scene.path("fenced");
    let fence = format!("echo \"$QUORATE_GROUP $QUORATE_EPOCH $QUORATE_ROLE\" > {}", fenced.display());
    let settings = Settings {
        service: Some(Service::Elsewhere),
        fence_command: Some(scene.script("fence", &fence)),
        ..settings(&scene, "exit 1")
    };
    let (mut agent, _) = serving(&scene, &settings, 800);
    assert_eq!(agent.group_ended("g").proof, Proof::Fenced);
    assert_eq!(fs::read_to_string(fenced).unwrap(), "g 7 backup\n");
}

#[test]
fn a_watchdog_is_fed_until_a_group_is_not_known_to_have_stopped_and_again_once_it_is() {
    let scene = Scene::new();
    let (device, may_stop) = (scene.path("watchdog"), scene.path("may-stop"));
    fs::write(&device, "").unwrap();
    let settings = Settings {
        service: Some(Service::Elsewhere),
        watchdog: Some(device.clone()),
        ..settings(&scene, &format!("test -e {}", may_stop.display()))
    };
    let fed = || fs::metadata(&device).unwrap().len();
    let (mut agent, _) = serving(&scene, &settings, 1_000);
    assert!(fed() >= 1);
    let ended = agent.group_ended("g");
    assert!(matches!(&ended.proof, Proof::Not(why) if why.contains("elsewhere")), "{ended:?}");
    let before = fed();
    let since = boot_ms();
    until("it would have been fed twice", || boot_ms() > since + 2_500);
    assert_eq!(fed(), before, "a group is not known to have stopped");
    fs::write(&may_stop, "").unwrap();
    let run = agent.run("g", 7, Hook::Demote);
    assert_eq!(agent.ended(run), HookOutcome::Succeeded);
    until("it is fed again", || fed() > before);
    agent.say(&ToWarden::Goodbye);
    drop(agent);
    until("it is closed in order", || fs::read(&device).unwrap().ends_with(b"V"));
}

#[test]
fn a_group_is_killed_in_time_while_the_start_of_another_one_hangs() {
    let scene = Scene::new();
    let settings = settings(&scene, "exit 0");
    let (mut agent, deadline) = serving(&scene, &settings, 1_500);
    // The thread that starts hooks writes there first, and nobody reads.
    let trap = scene.state().join("warden/hung.json.new");
    rustix::fs::mkfifoat(rustix::fs::CWD, &trap, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    agent.run("hung", 1, Hook::Promote);
    assert_eq!(agent.group_ended("g").proof, Proof::Killed, "its demote hook could not be started");
    assert!(boot_ms() < deadline + DEMOTE_LIMIT_MS + KILL_MS);
    scene.wait_for_silence();
    assert!(agent.pings(1) < Duration::from_secs(1));
}

#[test]
fn the_cgroup_of_a_group_goes_with_what_was_in_it() {
    let scene = Scene::new();
    let settings = settings(&scene, "exit 1");
    let (mut agent, welcome) = scene.agent(&settings);
    let Some((_, below)) = welcome.finds_by.split_once(" below ") else { return };
    let group = format!("swept-{}", std::process::id());
    let made = || {
        let entries = fs::read_dir(below).unwrap().filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(&group)).count()
    };
    agent.lease(1_500);
    agent.promoted(&group, 7);
    scene.wait_for_writes();
    assert_eq!(made(), 1);
    assert_eq!(agent.group_ended(&group).proof, Proof::Killed);
    until("its cgroup is gone", || made() == 0);
}
