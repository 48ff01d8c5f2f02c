//! The container engine, by its own command line.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// How long one command may take: an image is built, or a whole stack comes up.
const COMMAND: Duration = Duration::from_mins(5);
const NEEDS: &str = "the container tests need a Docker engine, docker-compose (1.29 or v2), nft and nsenter, and root: \
                     apt-get install docker.io docker-compose nftables util-linux, and start dockerd";
const SERVICE_LABEL: &str = "com.docker.compose.service";

/// What a program said, and how it ended.
#[derive(Debug)]
pub(super) struct Said {
    /// None when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it does not start or takes too long.
pub(super) async fn run(words: &[&str], input: Option<&str>, variables: &[(&str, String)]) -> Result<Said> {
    let shown = words.join(" ");
    let (program, rest) = words.split_first().context("a command has a first word")?;
    let mut child = Command::new(program)
        .args(rest)
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("`{shown}` does not start"))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).await.with_context(|| format!("writing to `{shown}`"))?;
    }
    let output = timeout(COMMAND, child.wait_with_output()).await;
    let output = output.with_context(|| format!("`{shown}` took longer than {COMMAND:?}"))?;
    let output = output.with_context(|| format!("waiting for `{shown}`"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

/// Takes away what is still attached to the networks of a project after its containers were removed, and names it.
///
/// # Errors
/// When the engine does not say, or does not let go.
pub(super) async fn free_networks(project: &str) -> Result<Vec<String>> {
    let filter = format!("label=com.docker.compose.project={project}");
    let networks = must(&["docker", "network", "ls", "--quiet", "--filter", &filter]).await?;
    let mut freed = Vec::new();
    for network in networks.split_whitespace() {
        let attached = must(&[
            "docker",
            "network",
            "inspect",
            "--format",
            "{{range .Containers}}{{println .Name}}{{end}}",
            network,
        ])
        .await?;
        for name in attached.split_whitespace() {
            must(&["docker", "network", "disconnect", "--force", network, name]).await?;
            freed.push(name.to_owned());
        }
    }
    Ok(freed)
}

/// Runs a program that must succeed; what it said on stdout.
///
/// # Errors
/// When it does not, with what it said.
pub(super) async fn must(words: &[&str]) -> Result<String> {
    let said = run(words, None, &[]).await?;
    ensure!(
        said.code == Some(0),
        "`{}` ended with {:?}: {}{}",
        words.join(" "),
        said.code,
        said.stdout,
        said.stderr
    );
    Ok(said.stdout)
}

/// The words that compose is called by: those of v2, or of 1.29.
///
/// # Errors
/// What is missing, and what to install.
pub(super) async fn compose_command() -> Result<Vec<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        bail!("cutting networks of containers needs root; {NEEDS}");
    }
    for tool in [["docker", "version"], ["nft", "--version"], ["nsenter", "--version"]] {
        must(&tool).await.context(NEEDS)?;
    }
    for command in [&["docker", "compose"][..], &["docker-compose"]] {
        let version = [command, &["version"]].concat();
        if run(&version, None, &[]).await.is_ok_and(|said| said.code == Some(0)) {
            return Ok(command.to_vec());
        }
    }
    bail!("neither `docker compose` nor `docker-compose` is there; {NEEDS}")
}

/// A container as the engine sees it.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) service: String,
    /// `running`, `paused`, `exited`, `restarting` and so on.
    pub(super) status: String,
    /// `healthy`, `unhealthy`, `starting`.
    pub(super) health: String,
    /// The last line that its health check said.
    pub(super) health_said: String,
    /// Of its first process, on this machine; zero when it does not run.
    pub(super) pid: u32,
    /// By network, without the project's name.
    pub(super) addresses: BTreeMap<String, String>,
    pub(super) exit_code: i64,
    pub(super) restarts: u64,
}

/// Every container of a project, also those that do not run, by service.
///
/// # Errors
/// When the engine does not say.
pub(super) async fn containers(project: &str) -> Result<BTreeMap<String, Container>> {
    let label = format!("label=com.docker.compose.project={project}");
    let ids = must(&["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", &label]).await?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let told = run(&[&["docker", "inspect"], &ids[..]].concat(), None, &[]).await?;
    // One that went away meanwhile is said on stderr and left out.
    let told: Value = serde_json::from_str(&told.stdout).context("`docker inspect` speaks no JSON")?;
    let all = told.as_array().context("`docker inspect` gives a list")?;
    Ok(all.iter().map(|one| container(one, project)).map(|one| (one.service.clone(), one)).collect())
}

fn container(told: &Value, project: &str) -> Container {
    let text = |pointer: &str| told.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let networks = told.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let address = |(name, network): (&String, &Value)| {
        let short = name.strip_prefix(project).unwrap_or(name).trim_start_matches(['_', '-']);
        let address = network["IPAddress"].as_str().filter(|address| !address.is_empty())?;
        Some((short.to_owned(), address.to_owned()))
    };
    let checks = told.pointer("/State/Health/Log").and_then(Value::as_array);
    let last_check = checks.and_then(|checks| checks.last()?["Output"].as_str());
    Container {
        id: text("/Id"),
        service: told["Config"]["Labels"][SERVICE_LABEL].as_str().unwrap_or_default().to_owned(),
        status: text("/State/Status"),
        health: text("/State/Health/Status"),
        health_said: last_check.unwrap_or_default().trim().to_owned(),
        pid: u32::try_from(number("/State/Pid")).unwrap_or(0),
        addresses: networks.into_iter().flatten().filter_map(address).collect(),
        exit_code: told.pointer("/State/ExitCode").and_then(Value::as_i64).unwrap_or(-1),
        restarts: number("/RestartCount"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_engine_says_of_a_container_is_read() {
        let told = json!({
            "Id": "abc",
            "Config": { "Labels": { SERVICE_LABEL: "agent-1" } },
            "RestartCount": 2,
            "State": {
                "Status": "running", "Pid": 42, "ExitCode": 0,
                "Health": { "Status": "healthy", "Log": [{ "Output": "no\n" }, { "Output": "yes\n" }] },
            },
            "NetworkSettings": { "Networks": {
                "p_control": { "IPAddress": "172.18.0.2" }, "p-storage": { "IPAddress": "172.19.0.2" },
                "p_gone": { "IPAddress": "" },
            } },
        });
        let read = container(&told, "p");
        assert_eq!((read.service.as_str(), read.pid, read.restarts), ("agent-1", 42, 2));
        assert_eq!((read.health.as_str(), read.health_said.as_str()), ("healthy", "yes"));
        let addresses: Vec<_> =
            read.addresses.iter().map(|(name, at)| (name.as_str(), at.as_str())).collect();
        assert_eq!(addresses, [("control", "172.18.0.2"), ("storage", "172.19.0.2")]);
    }

    #[tokio::test]
    async fn a_program_that_fails_is_an_error_that_says_what_it_said() {
        let error = must(&["sh", "-c", "echo why >&2; exit 3"]).await.unwrap_err().to_string();
        assert!(error.contains("Some(3)") && error.contains("why"), "{error}");
        let said = run(&["cat"], Some("in"), &[]).await.unwrap();
        assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "in", ""));
    }
}
