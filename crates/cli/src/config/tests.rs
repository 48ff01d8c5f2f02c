//! The layers as an operator meets them: files on disk, variables, flags, and the messages that come back.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use quorate_warden::Service;
use tempfile::TempDir;

use super::*;
use crate::config::key::Fallback;

const COORDINATOR: &str = r#"
data_dir = "/var/lib/quorate"
members = ["1=10.0.0.1:7400/10.0.0.1:7401", "2=10.0.0.2:7400/10.0.0.2:7401"]

[cluster]
id = "main"

[node]
id = 1

[raft]
heartbeat_ms = 120
"#;

const AGENT: &str = r#"
state_dir = "/var/lib/quorate-agent"
coordinators = ["10.0.0.1:7401", "10.0.0.2:7401"]
host.id = "a1"
host.zone = "rack-1"

[[disks]]
name = "ssd0"
path = "/srv/ssd0"

[[disks]]
name = "ssd1"
path = "/srv/ssd1"
"#;

/// A configuration file of its own, and sources that name it.
struct Fixture {
    folder: TempDir,
    sources: Sources,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quorate.toml");
        fs::write(&path, text).unwrap();
        Self { folder, sources: Sources { file: Some(path), ..Sources::default() } }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn set(mut self, text: &str) -> Self {
        self.sources.sets.push(text.to_owned());
        self
    }

    fn flag(mut self, name: &str, key: &str, value: &str) -> Self {
        let (name, key, value) = (name.to_owned(), key.to_owned(), value.to_owned());
        self.sources.flags.push(Flag { name, key, value });
        self
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("quorate.toml")
    }

    /// The messages for a coordinator, each one problem.
    fn complaints(&self) -> Vec<String> {
        messages(&load(Role::Coordinator, &self.sources))
    }

    fn agent_complaints(&self) -> Vec<String> {
        messages(&load(Role::Agent, &self.sources))
    }
}

fn messages(loaded: &Loaded) -> Vec<String> {
    loaded.problems.all.iter().map(ToString::to_string).collect()
}

/// One message, which holds all of these.
fn assert_only(messages: &[String], wanted: &[&str]) {
    assert_eq!(messages.len(), 1, "{messages:#?}");
    for piece in wanted {
        assert!(messages[0].contains(piece), "no {piece:?} in {:?}", messages[0]);
    }
}

#[test]
fn a_short_file_and_the_defaults_make_a_coordinator() {
    let config = coordinator(&Fixture::new(COORDINATOR).sources).unwrap();
    assert_eq!(config.cluster_id.as_str(), "main");
    assert_eq!(config.node_id.0, 1);
    assert_eq!(config.raft.heartbeat_ms, 120);
    assert_eq!((config.raft.election_min_ms, config.raft.election_max_ms), (500, 800));
    assert_eq!((config.raft.snapshot_every, config.raft.keep_entries), (50_000, 10_000));
    assert_eq!(config.lease, quorate_domain::settings::LeaseSettings::default());
    assert_eq!(config.listen_api.to_string(), "127.0.0.1:7401");
    assert_eq!(config.members[1].to_string(), "2=10.0.0.2:7400/10.0.0.2:7401");
    assert!(config.peer_override.is_empty());
    assert_eq!(config.limits.max_message_bytes, 4 * 1024 * 1024);
    assert_eq!(
        (config.log.level.as_str(), config.log.format.to_string()),
        ("info,openraft=warn", "human".to_owned())
    );
}

#[test]
fn a_short_file_and_the_defaults_make_an_agent() {
    let config = agent(&Fixture::new(AGENT).sources).unwrap();
    assert_eq!((config.host_id.as_str(), config.zone.as_str()), ("a1", "rack-1"));
    assert_eq!(config.coordinators.len(), 2);
    assert_eq!(config.advertise, config.listen);
    let disks: Vec<String> = config.disks.iter().map(ToString::to_string).collect();
    assert_eq!(disks, ["ssd0=/srv/ssd0", "ssd1=/srv/ssd1"]);
    assert_eq!((config.probe.interval_ms, config.probe.timeout_ms), (10_000, 5_000));
    let hooks = &config.hooks;
    assert_eq!(
        (&hooks.on_promote, hooks.promote_timeout_ms, hooks.demote_timeout_ms),
        (&None, 10_000, 10_000)
    );
    assert_eq!((hooks.service, hooks.parallel, config.warden.cgroups), (None, 32, true));
}

#[test]
fn everything_can_come_from_the_environment_without_a_file() {
    let pairs = [
        ("QUORATE_HOST_ID", "a1"),
        ("QUORATE_HOST_ZONE", "z1"),
        ("QUORATE_STATE_DIR", "/var/lib/quorate-agent"),
        ("QUORATE_COORDINATORS", "c1:7401, c2:7401,c3:7401"),
        ("QUORATE_DISKS", "d1=/srv/d1,d2=/srv/d2"),
        ("PATH", "/usr/bin"),
        ("QUORATE_ENDPOINTS", "c1:7401"),
        ("QUORATE_LOG", "debug"),
        ("QUORATE_CONFIG", "/etc/quorate.toml"),
    ];
    let environment = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let config = agent(&Sources { environment, ..Sources::default() }).unwrap();
    assert_eq!(config.coordinators.len(), 3);
    assert_eq!(config.disks[1].path, PathBuf::from("/srv/d2"));
}

#[test]
fn each_layer_wins_over_the_ones_below_it() {
    let heartbeat = |fixture: &Fixture| coordinator(&fixture.sources).unwrap().raft.heartbeat_ms;
    let without = COORDINATOR.replace("heartbeat_ms = 120", "");
    assert_eq!(heartbeat(&Fixture::new(&without)), 100);
    let fixture = Fixture::new(COORDINATOR);
    assert_eq!(heartbeat(&fixture), 120);
    let fixture = fixture.variable("QUORATE_RAFT_HEARTBEAT_MS", "130");
    assert_eq!(heartbeat(&fixture), 130);
    let fixture = fixture.set("raft.heartbeat_ms=140");
    assert_eq!(heartbeat(&fixture), 140);
}

#[test]
fn show_names_the_origin_of_every_value() {
    let fixture = Fixture::new(COORDINATOR)
        .variable("QUORATE_LOG_LEVEL", "debug")
        .set("raft.keep_entries=5")
        .flag("--data-dir", "data_dir", "/data");
    let loaded = load(Role::Coordinator, &fixture.sources);
    let text = show_text(&loaded.resolved, true);
    let file = fixture.file();
    let lines = [
        format!("raft.heartbeat_ms = 120  # {}:12", file.display()),
        format!("cluster.id = \"main\"  # {}:6", file.display()),
        "log.level = \"debug\"  # environment QUORATE_LOG_LEVEL".to_owned(),
        "raft.keep_entries = 5  # flag --set raft.keep_entries".to_owned(),
        "data_dir = \"/data\"  # flag --data-dir".to_owned(),
        "lease.clock_error_percent = 1.0  # default".to_owned(),
    ];
    for line in lines {
        assert!(text.lines().any(|shown| shown == line), "no {line:?} in\n{text}");
    }
    assert!(!show_text(&loaded.resolved, false).contains('#'));
}

#[test]
fn what_show_prints_reads_back_as_the_same_configuration() {
    let fixture = Fixture::new(COORDINATOR)
        .set("peer_override=2=127.0.0.1:9999")
        .set("lease.clock_error_percent=0.25")
        .set("log.level=info,quorate_consensus=debug");
    let shown = show_text(&load(Role::Coordinator, &fixture.sources).resolved, true);
    let again = Fixture::new(&shown);
    assert_eq!(coordinator(&again.sources).unwrap(), coordinator(&fixture.sources).unwrap());

    let fixture = Fixture::new(AGENT).set("state_dir=/with \"quotes\" and # hash");
    let shown = show_text(&load(Role::Agent, &fixture.sources).resolved, true);
    assert!(shown.contains("# hooks.on_promote has no value"), "{shown}");
    assert_eq!(agent(&Fixture::new(&shown).sources).unwrap(), agent(&fixture.sources).unwrap());
}

#[test]
fn unknown_keys_are_refused_in_every_layer_with_the_nearest_known_one() {
    let file = Fixture::new(&COORDINATOR.replace("heartbeat_ms", "hartbeat_ms"));
    assert_only(
        &file.complaints(),
        &["raft.hartbeat_ms = 120", "quorate.toml:12", "no such key", "did you mean `raft.heartbeat_ms`?"],
    );
    let variable = Fixture::new(COORDINATOR).variable("QUORATE_NODEID", "1");
    assert_only(&variable.complaints(), &["QUORATE_NODEID", "did you mean `QUORATE_NODE_ID`?", "unset it"]);
    let flag = Fixture::new(COORDINATOR).set("lease_ms=7000");
    assert_only(&flag.complaints(), &["flag --set lease_ms", "did you mean `lease.lease_ms`?"]);
    let section = Fixture::new(&format!("{COORDINATOR}\n[rsft]\nelection_min_ms = 600\n"));
    assert_only(&section.complaints(), &["rsft.election_min_ms", "did you mean `raft.election_min_ms`?"]);
    let strange = Fixture::new(&format!("colour = \"blue\"\n{COORDINATOR}"));
    assert_only(&strange.complaints(), &["colour = \"blue\"", "quorate.toml:1", "remove it"]);
    let empty = Fixture::new(&format!("{COORDINATOR}\n[colours]\n"));
    assert_only(&empty.complaints(), &["colours", "no such key"]);
    let quoted = Fixture::new(&format!("\"raft.heartbeat_ms\" = 1\n{COORDINATOR}"));
    assert_only(&quoted.complaints(), &["\"raft.heartbeat_ms\"", "did you mean `raft.heartbeat_ms`?"]);
}

#[test]
fn a_key_of_the_other_role_is_called_that() {
    let fixture = Fixture::new(COORDINATOR).set("host.zone=z1").variable("QUORATE_STATE_DIR", "/x");
    let complaints = fixture.complaints();
    assert_eq!(complaints.len(), 2, "{complaints:#?}");
    assert!(complaints[0].contains("sets a key of the agent, not of the coordinator"), "{complaints:#?}");
    assert!(complaints[1].contains("this is a key of the agent, not of the coordinator"), "{complaints:#?}");
}

#[test]
fn wrong_types_and_ranges_are_refused_with_what_is_expected() {
    let cases: [(&str, &[&str]); 10] = [
        ("log.level = 3", &["log.level = 3", "this is a whole number", "expected a level"]),
        ("log.level = \"inof\"", &["`inof` is not a level", "expected a level"]),
        ("log.format = \"xml\"", &["no such format", "`human` or `json`"]),
        ("limits.proposal_deadline_ms = \"5000\"", &["this is a string", "a whole number of milliseconds"]),
        ("limits.proposal_deadline_ms = -5", &["this is a negative number", "from 1 to 86400000"]),
        ("limits.proposal_deadline_ms = 0", &["this is less than 1"]),
        ("limits.proposal_deadline_ms = 1.5", &["this is a decimal number"]),
        ("limits.max_message_bytes = 0xFFFFFFFFFFFFFFF", &["this is more than 1073741824", "bytes"]),
        ("lease.clock_error_percent = 100", &["100 % or more", "a number of percent"]),
        ("listen = 1", &["listen = 1", "this is a section", "[listen]"]),
    ];
    for (line, wanted) in cases {
        let fixture = Fixture::new(&format!("{line}\n{COORDINATOR}"));
        let mut wanted = wanted.to_vec();
        wanted.push("quorate.toml:1");
        assert_only(&fixture.complaints(), &wanted);
    }
    let table = Fixture::new(&format!("{COORDINATOR}\n[log.level]\nx = 1\n"));
    assert_only(&table.complaints(), &["log.level", "this is a table"]);
}

#[test]
fn unparsable_addresses_are_refused_with_key_origin_value_and_remedy() {
    let fixture = Fixture::new(COORDINATOR).variable("QUORATE_LISTEN_API", "localhost");
    assert_only(
        &fixture.complaints(),
        &[
            "listen.api = \"localhost\"",
            "environment QUORATE_LISTEN_API",
            "there is no port",
            "expected an address `host:port`",
            "correct or unset QUORATE_LISTEN_API",
        ],
    );
    let fixture = Fixture::new(&AGENT.replace("10.0.0.2:7401", "10.0.0.2:99999"));
    assert_only(&fixture.agent_complaints(), &["coordinators", "quorate.toml:3", "`10.0.0.2:99999`", "port"]);
}

#[test]
fn an_unusable_value_is_not_replaced_by_a_weaker_layer() {
    let fixture = Fixture::new(COORDINATOR).variable("QUORATE_RAFT_HEARTBEAT_MS", "fast");
    let loaded = load(Role::Coordinator, &fixture.sources);
    assert_only(&messages(&loaded), &["raft.heartbeat_ms = \"fast\"", "not a whole number"]);
    assert!(show_text(&loaded.resolved, false).contains("# raft.heartbeat_ms has no value"));
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_and_not_a_panic() {
    let mut fixture = Fixture::new(COORDINATOR);
    let bytes = OsString::from_vec(vec![b'i', 0xFF]);
    fixture.sources.environment.push(("QUORATE_LOG_LEVEL".into(), bytes));
    assert_only(&fixture.complaints(), &["log.level", "this is not UTF-8"]);
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once() {
    let fixture = Fixture::new("raft.heartbeat_ms = \"x\"\nlisten.peer = \"nowhere\"\ncolour = 1\n")
        .variable("QUORATE_NODE_ID", "0")
        .set("lease.wait_ms=6000")
        .set("nonsense");
    let complaints = fixture.complaints().join("\n");
    let wanted = [
        "raft.heartbeat_ms = \"x\"",
        "listen.peer = \"nowhere\"",
        "colour = 1",
        "node.id = \"0\"",
        "nonsense (flag --set): there is no `=`",
        "lease.wait_ms = 6000",
        "cluster.id: this key is required and set nowhere",
        "data_dir: this key is required and set nowhere",
        "members: this key is required and set nowhere",
    ];
    for piece in wanted {
        assert!(complaints.contains(piece), "no {piece:?} in\n{complaints}");
    }
    assert_eq!(complaints.lines().count(), wanted.len(), "{complaints}");
    let text = check_text(&load(Role::Coordinator, &fixture.sources));
    assert!(text.starts_with("9 problems in the configuration of the coordinator:\n  1. "), "{text}");
    assert!(coordinator(&fixture.sources).is_err());
}

#[test]
fn a_missing_key_says_how_to_set_it() {
    let fixture = Fixture::new(&COORDINATOR.replace("[node]\nid = 1", ""));
    assert_only(
        &fixture.complaints(),
        &["node.id: this key is required", "QUORATE_NODE_ID", "--set node.id=VALUE"],
    );
}

#[test]
fn a_broken_or_missing_file_is_the_problem_not_the_keys_it_may_hold() {
    let fixture = Fixture::new("cluster.id = \"main\"\nnode.id = = 1\n");
    let complaints = fixture.complaints();
    assert!(complaints[0].contains("quorate.toml:2") && complaints[0].contains("node.id = = 1"));
    assert!(
        complaints.iter().all(|complaint| complaint.starts_with("configuration file")),
        "{complaints:#?}"
    );
    let sources = Sources { file: Some("/nonexistent/quorate.toml".into()), ..Sources::default() };
    let loaded = load(Role::Agent, &sources);
    assert_only(&messages(&loaded), &["/nonexistent/quorate.toml", "No such file", "name another file"]);
    assert_only(&Fixture::new("x = 1\nx = 2\n").complaints(), &["quorate.toml:2", "duplicate key"]);
}

#[test]
fn one_key_in_two_flags_is_refused() {
    let fixture = Fixture::new(COORDINATOR).flag("--node-id", "node.id", "1").set("node.id=2");
    assert_only(&fixture.complaints(), &["node.id", "--set node.id", "--node-id has already set this key"]);
}

#[test]
fn an_advertised_address_that_nobody_can_reach_is_refused() {
    let fixture = Fixture::new(AGENT).variable("QUORATE_LISTEN", "[::]:7402");
    assert_only(&fixture.agent_complaints(), &["advertise = \"[::]:7402\"", "nobody can connect"]);
}

#[test]
fn member_lists_that_are_no_cluster_are_refused() {
    let cases = [
        ("1=a:1/a:2,1=b:1/b:2", "id 1 is there twice"),
        ("1=a:1/a:2,2=a:1/b:2", "a:1 is the address of both 1 and 2"),
        ("1=a:1/a:2,2=b:1", "`2=b:1`: there is no `/`"),
        ("1=a:1/a:1", "are the same"),
        ("1=a:1/a:2,x=b:1/b:2", "`x` is not an id"),
        ("1=a:1/a:2,0=b:1/b:2", "`0` is not an id"),
        ("1=a:1/a:2,b:1/b:2", "there is no `=` after the id"),
        ("1=0.0.0.0:1/a:2", "nobody can connect to `0.0.0.0:1`"),
        ("1=a:1/a", "`a`: there is no port"),
        ("", "the list is empty"),
        ("2=a:1/a:2", "node.id is 1, no member has that id, and some have a higher one"),
    ];
    for (members, wanted) in cases {
        let fixture = Fixture::new(COORDINATOR).set(&format!("members={members}"));
        assert_only(&fixture.complaints(), &[wanted, "flag --set members"]);
    }
    let both = Fixture::new(COORDINATOR).set("members=1=a/b:1,x=1");
    assert_only(&both.complaints(), &["`1=a/b:1`", "`x=1`"]);
}

#[test]
fn peer_overrides_must_name_members_once() {
    let fixture = Fixture::new(COORDINATOR).set("peer_override=2=127.0.0.1:9");
    let config = coordinator(&fixture.sources).unwrap();
    assert_eq!(config.peer_override.len(), 1);
    let stranger = Fixture::new(COORDINATOR).set("peer_override=7=127.0.0.1:9");
    assert_only(&stranger.complaints(), &["peer_override", "no member has the id 7"]);
    let twice = Fixture::new(COORDINATOR).set("peer_override=2=a:9,2=b:9");
    assert_only(&twice.complaints(), &["id 2 is there twice"]);
}

#[test]
fn disks_that_cannot_be_told_apart_are_refused() {
    let cases = [
        ("d1=/a,d1=/b", "disk `d1` is there twice"),
        ("d1=/a,d2=/a", "disks `d1` and `d2` have the same path /a"),
        ("d1", "`d1`: there is no `=`"),
        ("d1=", "disk `d1` has no path"),
        ("d 1=/a", "not valid"),
    ];
    for (disks, wanted) in cases {
        let fixture = Fixture::new(AGENT).set(&format!("disks={disks}"));
        assert_only(&fixture.agent_complaints(), &["disks", wanted]);
    }
    let stray = Fixture::new(&AGENT.replace("path = \"/srv/ssd1\"", "pth = \"/srv/ssd1\""));
    assert_only(&stray.agent_complaints(), &["a disk has `name` and `path`, but no `pth`"]);
    let short = Fixture::new(&AGENT.replace("path = \"/srv/ssd1\"", ""));
    assert_only(&short.agent_complaints(), &["a disk has no `path`"]);
}

#[test]
fn lease_settings_that_break_the_safety_formula_are_refused_with_the_numbers() {
    let cases: [(&[&str], &[&str]); 4] = [
        // 6000 * 1.01 / 0.99 = 6121.2..., and 500 of margin.
        (&["lease.wait_ms=6621"], &["lease.wait_ms = 6621", "flag --set lease.wait_ms", "6622", "raise"]),
        // 2 * 1000 + 2 * 800.
        (&["lease.lease_ms=3599", "lease.write_stop_ms=3000"], &["lease.lease_ms = 3599", "3600 ms"]),
        (&["lease.write_stop_ms=6000"], &["lease.write_stop_ms = 6000", "lease.lease_ms (6000)"]),
        (
            &["lease.suspect_after_heartbeats=7"],
            &["lease.suspect_after_heartbeats = 7", "lower lease.heartbeat_ms"],
        ),
    ];
    for (sets, wanted) in cases {
        let fixture = sets.iter().fold(Fixture::new(COORDINATOR), |fixture, set| fixture.set(set));
        assert_only(&fixture.complaints(), wanted);
    }
    let exact = Fixture::new(COORDINATOR).set("lease.wait_ms=6622");
    assert_eq!(exact.complaints(), Vec::<String>::new());
}

#[test]
fn raft_times_that_cannot_hold_a_leader_are_refused() {
    let short = Fixture::new(COORDINATOR).set("raft.heartbeat_ms=167");
    assert_only(
        &short.complaints(),
        &["raft.election_min_ms = 500", "three times", "at least 501", "raft.heartbeat_ms to 166"],
    );
    let narrow = Fixture::new(COORDINATOR).set("raft.election_max_ms=500");
    assert_only(&narrow.complaints(), &["raft.election_max_ms = 500", "more than 500"]);
    let lan = Fixture::new(COORDINATOR)
        .set("raft.heartbeat_ms=50")
        .set("raft.election_min_ms=150")
        .set("raft.election_max_ms=300");
    assert_eq!(lan.complaints(), Vec::<String>::new());
}

#[test]
fn one_address_for_both_listeners_is_refused() {
    let fixture = Fixture::new(COORDINATOR).set("listen.api=127.0.0.1:7400");
    assert_only(&fixture.complaints(), &["listen.api", "listen.peer is 127.0.0.1:7400 too"]);
}

#[test]
fn hooks_must_exist_and_be_executable() {
    let fixture = Fixture::new(AGENT);
    let hook = fixture.folder.path().join("promote.sh");
    let fixture =
        fixture.set(&format!("hooks.on_promote={}", hook.display())).set("hooks.on_demote=/bin/true");
    assert_only(&fixture.agent_complaints(), &["hooks.on_promote", "No such file", "chmod +x"]);
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    assert_only(&fixture.agent_complaints(), &["hooks.on_promote", "not executable"]);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(agent(&fixture.sources).unwrap().hooks.on_promote, Some(hook));
    let folder = Fixture::new(AGENT).set("hooks.on_demote=/");
    assert_only(&folder.agent_complaints(), &["hooks.on_demote", "this is not a file"]);
    let relative = Fixture::new(AGENT).set("hooks.on_demote=demote.sh");
    assert_only(&relative.agent_complaints(), &["hooks.on_demote", "not an absolute path"]);
}

#[test]
fn hooks_that_do_not_fit_together_are_refused_with_the_remedy() {
    let alone = || Fixture::new(AGENT).set("hooks.on_promote=/bin/true");
    assert_only(
        &alone().agent_complaints(),
        &["hooks.on_demote", "does not say where", "hooks.service to child"],
    );
    assert_eq!(
        agent(&alone().set("hooks.service=child").sources).unwrap().hooks.service,
        Some(Service::Child)
    );
    let fixture = || alone().set("hooks.on_demote=/bin/true");
    let elsewhere = alone().set("hooks.service=elsewhere");
    assert_only(
        &elsewhere.agent_complaints(),
        &["hooks.service", "nothing tells that such a service has stopped", "set hooks.on_demote"],
    );
    let demoted = fixture().set("hooks.service=elsewhere").set("warden.cgroups=false");
    let config = agent(&demoted.sources).unwrap();
    assert_eq!((config.hooks.service, config.warden.cgroups), (Some(Service::Elsewhere), false));
    let cgroup = fixture().set("hooks.service_cgroup=/sys/fs/cgroup/{group}");
    assert_only(&cgroup.agent_complaints(), &["hooks.service_cgroup", "hooks.service is not elsewhere"]);
    let word = fixture().set("hooks.service=systemd");
    assert_only(&word.agent_complaints(), &["hooks.service", "`child` or `elsewhere`"]);
    let neither = fixture().set("warden.cgroups=yes");
    assert_only(&neither.agent_complaints(), &["warden.cgroups", "neither true nor false"]);
    let fence = alone().set("hooks.on_demote=/bin/true").set("warden.fence_command=/nowhere");
    assert_only(&fence.agent_complaints(), &["warden.fence_command", "No such file"]);
    let old = fixture().set("hooks.timeout_ms=1");
    assert_only(&old.agent_complaints(), &["hooks.timeout_ms", "no such key"]);
}

#[test]
fn check_says_ok_only_when_nothing_is_wrong() {
    let text = check_text(&load(Role::Agent, &Fixture::new(AGENT).sources));
    assert_eq!(text, "OK: the configuration of the agent has no problems\n");
    let text = check_text(&load(Role::Agent, &Sources::default()));
    assert!(text.starts_with("5 problems in the configuration of the agent:\n"), "{text}");
}

#[test]
fn the_example_files_have_every_key_once_and_no_problems() {
    let coordinator = include_str!("../../../../docs/examples/coordinator.toml");
    let agent = include_str!("../../../../docs/examples/agent.toml");
    assert_eq!(Fixture::new(coordinator).complaints(), Vec::<String>::new());
    assert_eq!(Fixture::new(agent).agent_complaints(), Vec::<String>::new());
    for (role, text) in [(Role::Coordinator, coordinator), (Role::Agent, agent)] {
        for key in role.keys() {
            let sets = |line: &&str| line.trim_start_matches("# ").starts_with(&format!("{} = ", key.name));
            assert_eq!(text.lines().filter(sets).count(), 1, "{role}: {}", key.name);
        }
    }
}

#[test]
fn the_reference_has_every_key_with_variable_default_and_meaning() {
    for role in [Role::Coordinator, Role::Agent] {
        let text = reference_markdown(role);
        for key in role.keys() {
            let row = text.lines().find(|line| line.starts_with(&format!("| `{}` |", key.name)));
            let row = row.unwrap_or_else(|| panic!("{role}: no row of {}", key.name));
            assert!(row.contains(&key.variable()) && row.contains(key.doc), "{row}");
            if let Fallback::Literal(text) = key.fallback {
                assert!(text.is_empty() || row.contains(text), "{row}");
            }
        }
    }
}

#[test]
fn the_tables_are_sound() {
    for role in [Role::Coordinator, Role::Agent] {
        for (position, key) in role.keys().iter().enumerate() {
            let others = &role.keys()[position + 1..];
            assert!(others.iter().all(|other| other.name != key.name), "{} twice", key.name);
            assert!(others.iter().all(|other| other.variable() != key.variable()), "{}", key.variable());
            assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{}", key.doc);
            match key.fallback {
                Fallback::Literal(text) => assert!(key.kind.read_text(text).is_ok(), "{}", key.name),
                Fallback::SameAs(other) => {
                    assert_eq!(role.key(other).map(|other| other.kind), Some(key.kind), "{}", key.name);
                }
                Fallback::Required | Fallback::Unset => {}
            }
        }
    }
}
