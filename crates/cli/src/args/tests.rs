//! The command line, read without running anything.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("quorate").chain(line.split_whitespace()))
}

fn parsed(line: &str) -> Command {
    parse(line).unwrap_or_else(|refusal| panic!("{line}: {refusal}")).command
}

fn refusal(line: &str) -> String {
    match parse(line) {
        Ok(cli) => panic!("{line} was taken: {cli:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn the_definition_of_the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn members_are_a_host_and_perhaps_a_disk() {
    let member = |host: &str, disk: &str| MemberSpec { host: host.into(), disk: disk.into() };
    assert_eq!("h1".parse(), Ok(member("h1", "")));
    assert_eq!("h1/d2".parse(), Ok(member("h1", "d2")));
    for bad in ["", "/", "h1/", "/d1", "h1/d1/x"] {
        let problem = bad.parse::<MemberSpec>().unwrap_err();
        assert!(problem.ends_with("; write HOST or HOST/DISK"), "{bad}: {problem}");
    }
}

#[test]
fn a_disk_is_named_with_its_host() {
    assert_eq!("h1/d2".parse(), Ok(DiskSpec { host: "h1".into(), name: "d2".into() }));
    for bad in ["", "d2", "h1/", "/d2", "h1/d2/x"] {
        assert!(bad.parse::<DiskSpec>().unwrap_err().ends_with("; write HOST/DISK"), "{bad}");
    }
}

#[test]
fn labels_have_a_key_and_may_have_an_empty_value() {
    let label = |key: &str, value: &str| Label { key: key.into(), value: value.into() };
    assert_eq!("tier=gold".parse(), Ok(label("tier", "gold")));
    assert_eq!("url=a=b".parse(), Ok(label("url", "a=b")));
    assert_eq!("tier=".parse(), Ok(label("tier", "")));
    assert!("tier".parse::<Label>().is_err());
    assert!("=gold".parse::<Label>().is_err());
}

#[test]
fn seconds_are_positive_and_finite() {
    assert_eq!(spec::seconds("10"), Ok(Duration::from_secs(10)));
    assert_eq!(spec::seconds("0.25"), Ok(Duration::from_millis(250)));
    for bad in ["", "0", "-1", "nan", "inf", "1e9", "0.0000001", "ten"] {
        assert!(spec::seconds(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_group_is_created_from_members_in_order() {
    let line =
        "group create g1 --primary h1/d1 --backup h2 --backup h3/d1 --label tier=gold --request-id r-1";
    let Command::Group(GroupVerb::Create { group, primary, backups, labels, mutation }) = parsed(line) else {
        panic!("not a group create");
    };
    assert_eq!((group.as_str(), primary.disk.as_str()), ("g1", "d1"));
    let hosts: Vec<_> = backups.iter().map(|backup| backup.host.as_str()).collect();
    assert_eq!(hosts, ["h2", "h3"]);
    assert_eq!(labels.len(), 1);
    assert_eq!(mutation.request_id.as_deref(), Some("r-1"));
    assert!(refusal("group create g1 --backup h2").contains("--primary"));
}

#[test]
fn a_wait_takes_its_seconds_only_after_an_equals_sign() {
    let waits = |line: &str| match parsed(line) {
        Command::Group(GroupVerb::Failover { wait, to, .. }) => (wait.map(|wait| wait.as_secs()), to),
        other => panic!("{other:?}"),
    };
    assert_eq!(waits("group failover g1"), (None, None));
    assert_eq!(waits("group failover g1 --wait"), (Some(60), None));
    assert_eq!(waits("group failover --wait g1 --to h2"), (Some(60), Some("h2".into())));
    assert_eq!(waits("group failover g1 --wait=5"), (Some(5), None));
    assert!(refusal("group failover g1 --wait=soon").contains("number of seconds"));
}

#[test]
fn client_options_stand_before_or_after_the_verb() {
    for line in
        ["-o json --endpoints a:1,b:2 --stale host list", "host list -o json --endpoints a:1,b:2 --stale"]
    {
        let client = parse(line).unwrap().client;
        assert_eq!((client.output, client.stale), (Format::Json, true), "{line}");
        assert_eq!(client.endpoints, ["a:1", "b:2"], "{line}");
    }
    assert!(refusal("status -o yaml").contains("table, json"));
    assert!(refusal("status --deadline 0").contains("number of seconds"));
}

#[test]
fn labels_need_at_least_one() {
    assert!(refusal("group label g1").contains("KEY=VALUE"));
    let Command::Group(GroupVerb::Label { labels, .. }) = parsed("group label g1 a=1 b=") else {
        panic!("not a group label");
    };
    assert_eq!(labels.len(), 2);
}

#[test]
fn flags_of_a_role_are_layers_of_its_configuration() {
    let line = "coordinator --config c.toml --set raft.heartbeat_ms=50 --node-id 2 --data-dir d";
    let Command::Coordinator(args) = parsed(line) else { panic!("not a coordinator") };
    let sources = crate::config::Sources::from(args.config);
    assert_eq!(sources.file.as_deref(), Some(std::path::Path::new("c.toml")));
    assert_eq!(sources.sets, ["raft.heartbeat_ms=50"]);
    let flags: Vec<_> = sources.flags.iter().map(|flag| (flag.key.as_str(), flag.value.as_str())).collect();
    assert_eq!(flags, [("node.id", "2"), ("data_dir", "d")]);

    let line = "agent --host-id h1 --zone z1 --state-dir s --coordinators a:1 --listen b:2 --disks d=/x";
    let Command::Agent(AgentCommand { run: args, verb: None }) = parsed(line) else { panic!("not an agent") };
    let sources = crate::config::Sources::from(args);
    let known = |key: &str| Role::Agent.keys().iter().any(|known| known.name == key);
    assert_eq!(sources.flags.len(), 6);
    assert!(sources.flags.iter().all(|flag| known(&flag.key)), "{:?}", sources.flags);
}

#[test]
fn configurations_are_asked_for_by_role() {
    let Command::Agent(AgentCommand { verb: Some(AgentVerb::Status { agent }), .. }) =
        parsed("agent status --agent a:1")
    else {
        panic!("no question to an agent")
    };
    assert_eq!(agent, "a:1");
    assert!(matches!(parsed("config check agent --config a.toml"), Command::Config(ConfigVerb::Check(_))));
    for line in ["config show coordinator --origin", "config show --origin coordinator"] {
        assert!(matches!(parsed(line), Command::Config(ConfigVerb::Show { origin: true, .. })), "{line}");
    }
    assert!(refusal("config show").contains("coordinator"));
}

#[test]
fn a_guard_takes_all_that_follows_two_dashes_for_its_command() {
    let Command::Guard(args) = parsed("guard g1 --agent a:1 --stop-timeout 2.5 -- db --data /d -- --no-wait")
    else {
        panic!("not a guard")
    };
    assert_eq!((args.group.as_str(), args.agent.as_str(), args.no_wait), ("g1", "a:1", false));
    assert_eq!(args.stop_timeout, Duration::from_millis(2_500));
    assert_eq!(args.command, ["db", "--data", "/d", "--", "--no-wait"]);
    assert!(refusal("guard g1").contains("COMMAND"));
    assert!(refusal("guard g1 db").contains("db"), "the command stands after `--`");
    assert!(refusal("guard no/name -- db").contains("no/name"));
}
