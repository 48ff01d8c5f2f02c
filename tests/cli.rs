//! The real binary, as scripts see it: exit codes, and what goes to stdout and what to stderr.

#![allow(clippy::unwrap_used)] // a test that cannot go on shall say where

use anyhow::ensure;
use quorate_tests::{
    binary,
    loopback::{API_PORT, Loopback, PEER_PORT},
    process::Process,
    wait_until,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The longest that anything here is waited for.
const DEADLINE: Duration = Duration::from_mins(1);

fn quorate() -> Command {
    let mut command = Command::new(binary::quorate().unwrap());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUORATE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

struct Seen {
    code: i32,
    stdout: String,
    stderr: String,
}

fn seen(output: Output) -> Seen {
    Seen {
        code: output.status.code().expect("it ended by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(line: &str) -> Seen {
    seen(quorate().args(line.split_whitespace()).output().unwrap())
}

/// Where nobody listens: the addresses of a network that was drawn for this test alone.
fn silent_endpoint() -> String {
    format!("{}:{API_PORT}", Loopback::draw().unwrap().coordinator(1))
}

/// A coordinator's configuration in a folder of its own, and the address of its API. It is the first of so many
/// members; on the addresses of the others nobody listens.
fn coordinator_file(members: u64) -> (TempDir, String, String) {
    let folder = TempDir::new().unwrap();
    let net = Loopback::draw().unwrap();
    let address = |id, port: u16| format!("{}:{port}", net.coordinator(id));
    let list: Vec<_> = (1..=members)
        .map(|id| format!("\"{id}={}/{}\"", address(id, PEER_PORT), address(id, API_PORT)))
        .collect();
    let (peer, api) = (address(1, PEER_PORT), address(1, API_PORT));
    let text = format!(
        "data_dir = \"{}\"\nmembers = [{}]\n[cluster]\nid = \"test\"\n[node]\nid = 1\n[listen]\npeer = \"{peer}\"\napi = \"{api}\"\n",
        folder.path().join("data").display(),
        list.join(", ")
    );
    let file = folder.path().join("coordinator.toml");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (folder, file, api)
}

/// A coordinator that runs; killed when the test ends.
struct Coordinator {
    process: Process,
    api: String,
    folder: TempDir,
}

impl Coordinator {
    fn start(members: u64) -> Self {
        let (folder, file, api) = coordinator_file(members);
        let words = ["coordinator", "--config", &file].map(Into::into).to_vec();
        let log = folder.path().join("log");
        let mut process = Process::new("coordinator 1", binary::quorate().unwrap(), words, log);
        process.start().unwrap();
        let mut running = Self { process, api, folder };
        running.until("status --stale --deadline 1", |seen| !seen.stdout.is_empty());
        running
    }

    fn ask(&self, line: &str) -> Seen {
        let words = line.split_whitespace();
        seen(quorate().args(["--endpoints", &self.api]).args(words).output().unwrap())
    }

    /// Asks until the answer is as wanted.
    fn until(&mut self, line: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let end = Instant::now() + DEADLINE;
        loop {
            let seen = self.ask(line);
            if wanted(&seen) {
                return seen;
            }
            let alive = self.process.is_alive().unwrap();
            assert!(alive, "the coordinator ended: {}", self.process.said().unwrap());
            assert!(Instant::now() < end, "{line}: {}\n{}{}", seen.code, seen.stdout, seen.stderr);
        }
    }
}

#[test]
fn help_and_version_are_data_and_an_unknown_verb_is_usage() {
    let help = run("--help");
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(help.stdout.contains("Exit codes"), "{}", help.stdout);
    assert_eq!(run("--version").stdout, format!("quorate {}\n", env!("CARGO_PKG_VERSION")));
    let unknown = run("statsu");
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("status"), "{}", unknown.stderr);
}

#[test]
fn a_good_configuration_is_ok_and_shown_with_origins() {
    let (_folder, file, api) = coordinator_file(1);
    let check = run(&format!("config check coordinator --config {file}"));
    assert_eq!((check.code, check.stderr.as_str()), (0, ""));
    assert_eq!(check.stdout, "OK: the configuration of the coordinator has no problems\n");
    let show = run(&format!("config show coordinator --config {file} --origin --set log.level=debug"));
    assert_eq!((show.code, show.stderr.as_str()), (0, ""));
    assert!(show.stdout.contains(&format!("listen.api = \"{api}\"  # {file}:")), "{}", show.stdout);
    assert!(show.stdout.contains("log.level = \"debug\"  # flag --set log.level\n"), "{}", show.stdout);
    assert!(show.stdout.contains("raft.heartbeat_ms = 100  # default\n"), "{}", show.stdout);
}

#[test]
fn a_bad_configuration_is_exit_code_2_for_check_and_show_and_start() {
    let (_folder, file, _) = coordinator_file(1);
    for verb in ["config check coordinator", "config show coordinator", "coordinator"] {
        let refused =
            run(&format!("{verb} --config {file} --set raft.heartbaet_ms=5 --set members=2=a:1/a:2"));
        assert_eq!(refused.code, 2, "{verb}: {}", refused.stderr);
        assert!(refused.stderr.contains("did you mean `raft.heartbeat_ms`"), "{verb}: {}", refused.stderr);
        assert!(refused.stderr.contains("no member has that id"), "{verb}: {}", refused.stderr);
        assert_eq!(
            refused.stdout.is_empty(),
            verb != "config show coordinator",
            "{verb}: {}",
            refused.stdout
        );
    }
    let missing = run("config check agent --config /no/such/file.toml");
    assert_eq!((missing.code, missing.stdout.as_str()), (2, ""));
    assert!(missing.stderr.contains("/no/such/file.toml"), "{}", missing.stderr);
}

#[test]
fn the_reference_names_every_role() {
    let reference = run("config reference");
    assert_eq!(reference.code, 0);
    assert!(
        reference.stdout.contains("## quorate coordinator") && reference.stdout.contains("## quorate agent")
    );
}

#[test]
fn nobody_there_is_exit_code_3_and_a_bad_endpoint_2() {
    let silent = run(&format!("--endpoints {} --deadline 0.3 host list", silent_endpoint()));
    assert_eq!((silent.code, silent.stdout.as_str()), (3, ""), "{}", silent.stderr);
    assert!(silent.stderr.contains("no coordinator answered"), "{}", silent.stderr);
    let bad = run("--endpoints nowhere status");
    assert_eq!((bad.code, bad.stdout.as_str()), (2, ""), "{}", bad.stderr);
}

#[test]
fn one_of_three_coordinators_answers_status_and_stale_reads_and_nothing_else() {
    let lone = Coordinator::start(3);
    let status = lone.ask("status");
    assert_eq!(status.code, 3, "{}", status.stderr);
    assert!(status.stdout.starts_with("NO LEADER: nothing can be decided\n"), "{}", status.stdout);
    let document: serde_json::Value = serde_json::from_str(&lone.ask("status -o json").stdout).unwrap();
    assert_eq!(document["coordinator_id"], 1);
    assert!(document["leader_id"].is_null(), "{document}");
    let read = lone.ask("--deadline 0.5 host list");
    assert_eq!((read.code, read.stdout.as_str()), (3, ""), "{}", read.stderr);
    let stale = lone.ask("host list --stale");
    assert_eq!((stale.code, stale.stdout.as_str()), (0, "none\n"));
    assert!(stale.stderr.contains("not confirmed by a quorum"), "{}", stale.stderr);
}

#[test]
fn verbs_against_a_cluster_of_one() {
    let mut one = Coordinator::start(1);
    one.until("events --since 1", |seen| seen.stdout.contains("ClusterCreated"));

    let json: serde_json::Value = serde_json::from_str(&one.ask("group list -o json").stdout).unwrap();
    assert_eq!(json["groups"], serde_json::json!([]));
    assert_eq!(json["view"]["stale"], false);

    let missing = one.ask("group show g1");
    assert_eq!((missing.code, missing.stdout.as_str()), (4, ""));
    assert!(missing.stderr.ends_with("[GROUP_NOT_FOUND]\n"), "{}", missing.stderr);
    let refused = one.ask("group create g1 --primary h1 --backup h2 --request-id r-1");
    assert_eq!((refused.code, refused.stdout.as_str()), (4, ""), "{}", refused.stderr);
    let invalid = one.ask("group create g!1 --primary h1 --backup h2");
    assert_eq!((invalid.code, invalid.stdout.as_str()), (2, ""), "{}", invalid.stderr);
    assert_eq!(one.ask("op wait op-99 --timeout 1").code, 4);
    assert_eq!(one.ask("events --limit 1001").code, 2);
}

#[test]
fn follow_streams_json_lines_and_a_closed_stdout_ends_nothing_in_a_panic() {
    let one = Coordinator::start(1);
    let mut follow = quorate()
        .args(["--endpoints", &one.api, "events", "--follow", "--since", "1", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert_eq!(first["revision"], 1);
    assert_eq!(first["events"][0]["type"], "ClusterCreated");
    assert!(first["events"][0]["detail"].is_object(), "{first}");

    let mut deaf = quorate()
        .args(["--endpoints", &one.api, "events", "--since", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(deaf.stdout.take());
    let mut stderr = String::new();
    deaf.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((deaf.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_coordinator_stops_on_sigterm_with_exit_code_0_and_a_second_on_its_folder_with_1() {
    let mut one = Coordinator::start(1);
    let folder = one.folder.path().join("coordinator.toml");
    let second = run(&format!("coordinator --config {}", folder.display()));
    assert_eq!((second.code, second.stdout.as_str()), (1, ""), "{}", second.stderr);
    assert!(second.stderr.contains("in use by another process"), "{}", second.stderr);
    one.process.terminate().unwrap();
    assert_eq!(one.process.ended(DEADLINE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_health_check_finds_its_coordinator_by_its_configuration_and_tells_by_exit_code_whether_it_serves()
{
    let mut alone = Coordinator::start(1);
    let file = alone.folder.path().join("coordinator.toml");
    let check = format!("healthcheck --config {}", file.display());
    let well = alone.until(&check, |seen| seen.code == 0);
    let line = format!("healthy: the coordinator at {} serves\n", alone.api);
    assert_eq!((well.stdout.as_str(), well.stderr.as_str()), (line.as_str(), ""));
    alone.process.terminate().unwrap();
    alone.process.ended(DEADLINE).await.unwrap();
    let gone = run(&check);
    assert_eq!((gone.code, gone.stdout.as_str(), gone.stderr.lines().count()), (1, "", 1), "{}", gone.stderr);
    assert!(gone.stderr.contains("does not answer"), "{}", gone.stderr);

    // One of three without the others follows nobody.
    let waiting = Coordinator::start(3);
    let ill = run(&format!("healthcheck coordinator --address {}", waiting.api));
    assert_eq!((ill.code, ill.stderr.lines().count()), (1, 1), "{}", ill.stderr);
    assert!(ill.stderr.contains("NOT_SERVING") && ill.stderr.contains("quorate status"), "{}", ill.stderr);
}

/// The command lines of all processes of this machine that name the folder.
fn processes_in(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    // A process may end while it is looked at.
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(name))
        .collect()
}

#[tokio::test]
async fn a_dev_cluster_that_is_told_to_stop_leaves_no_process_behind() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap().join("dev");
    let words = ["dev", "--coordinators", "1", "--agents", "2", "--dir", root.to_str().unwrap()];
    let log = folder.path().join("log");
    let program = binary::quorate().unwrap();
    let mut dev = Process::new("dev", program, words.map(Into::into).to_vec(), log);
    dev.start().unwrap();
    wait_until("the dev cluster runs", DEADLINE, async || {
        ensure!(dev.said()?.contains("running until ctrl-c"), "{}", dev.said()?);
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(processes_in(&root).len(), 4, "dev, a coordinator and two agents");
    dev.terminate().unwrap();
    assert_eq!(dev.ended(DEADLINE).await.unwrap().code(), Some(0), "{}", dev.said().unwrap());
    assert_eq!(processes_in(&root), [""; 0]);
}

#[test]
fn docs_config_md_is_what_the_binary_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let output = quorate().args(["config", "reference"]).output().unwrap();
    assert!(output.status.success());
    assert!(
        fs::read(&path).unwrap() == output.stdout,
        "docs/config.md is out of date; write it anew with: quorate config reference > docs/config.md"
    );
}
