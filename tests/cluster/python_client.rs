//! The example of docs/client.md, in a language that has no code of ours, with a leader killed in the middle.

use anyhow::{Context, Result, bail, ensure};
use quorate_tests::{Cluster, Plan};
use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Names an interpreter that has the packages of docs/examples/requirements.txt.
const PYTHON: &str = "QUORATE_TEST_PYTHON";
/// Says what this machine must be able to do, by words; see the storms.
const EXPECTED: &str = "QUORATE_TEST_EXPECTED";
/// How long the example may say nothing: a failover may wait out a lease, and a leader must be found.
const PATIENCE: Duration = Duration::from_mins(1);

/// The interpreter; none where the test has to be left out.
fn interpreter() -> Result<Option<PathBuf>> {
    if let Some(given) = env::var_os(PYTHON) {
        return Ok(Some(given.into()));
    }
    let expected = env::var(EXPECTED).unwrap_or_default();
    if expected.split(',').any(|word| word.trim() == "python") {
        bail!("{EXPECTED} has \"python\" and {PYTHON} names no interpreter");
    }
    // Past the harness, which shows what a test says only when it fails.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED the Python client: {PYTHON} names no interpreter with docs/examples/requirements.txt installed"
    );
    Ok(None)
}

/// The example while it runs.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Example {
    fn start(python: &Path, cluster: &Cluster) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/client.py");
        let endpoints: Vec<_> = (1..=3).map(|id| cluster.api_address(id)).collect();
        let mut child = Command::new(python)
            .arg(script)
            .args([
                "--endpoints",
                &endpoints.join(","),
                "--through-a-change-of-leader",
                "g",
                "h1",
                "h2",
                "h3",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", python.display()))?;
        let out = child.stdout.take().context("a child without stdout")?;
        Ok(Self { child, lines: BufReader::new(out).lines(), said: Vec::new() })
    }

    /// The next line; none when it has said its last.
    async fn line(&mut self) -> Result<Option<String>> {
        let next = timeout(PATIENCE, self.lines.next_line());
        let line = next.await.with_context(|| format!("the example hangs after {:#?}", self.said))??;
        if let Some(line) = &line {
            // For `--nocapture`: it is the run that docs/client.md shows.
            println!("{line}");
            self.said.push(line.clone());
        }
        Ok(line)
    }

    async fn line_with(&mut self, part: &str) -> Result<String> {
        while let Some(line) = self.line().await? {
            if line.contains(part) {
                return Ok(line);
            }
        }
        bail!("the example ended without {part:?}: {}", self.complaint().await)
    }

    async fn complaint(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            // What could be read is better than nothing.
            let _ = err.read_to_string(&mut text).await;
        }
        format!("{text}\nafter {:#?}", self.said)
    }
}

/// What stands between two texts.
fn between<'a>(line: &'a str, before: &str, after: &str) -> Result<&'a str> {
    let rest = line.split_once(before).with_context(|| format!("no {before:?} in {line:?}"))?.1;
    Ok(rest.split_once(after).with_context(|| format!("no {after:?} in {line:?}"))?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_only_reflection_comes_through_the_death_of_the_leader() -> Result<()> {
    let Some(python) = interpreter()? else { return Ok(()) };
    let mut cluster = Cluster::start(Plan::with_agents(3)).await?;
    // Who is asked owes it to the asker to let the deadline pass, so that no failover is over before the leader is killed.
    let probe = cluster.probe()?;
    let mut example = Example::start(&python, &cluster)?;
    let asked = example.line_with("failover of g asked for twice").await?;
    let first_id = between(&asked, "under ", ":")?.to_owned();
    let marked = example.line_with("; end it now").await?;
    let leader: u64 = between(&marked, "coordinator ", " at ")?.parse()?;
    ensure!(leader == cluster.leader().await?, "{marked}");
    cluster.coordinator(leader).kill()?;
    let killed_at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let operation = between(&marked, "", " runs;")?.to_owned();
    let resumed = example.line_with("; resuming at ").await?;
    ensure!(!between(&resumed, "resuming at ", " from")?.contains(&cluster.api_address(leader)), "{resumed}");
    let next = example.line_with("new leader: coordinator").await?;
    ensure!(between(&next, "coordinator ", " at ")? != leader.to_string(), "{next}");
    example.line_with("done: ").await?;
    let status = timeout(PATIENCE, example.child.wait()).await.context("the example does not end")??;
    ensure!(status.success(), "{}", example.complaint().await);

    // The cluster's own record says the same as the example.
    cluster.coordinator(leader).start()?;
    cluster.wait_for_equal_states().await?;
    let history = cluster.history(cluster.leader().await?).await?;
    let of_first = history.iter().filter(|revision| revision.request_id == first_id).count();
    assert_eq!(of_first, 1, "effects of {first_id}");
    let switched = history.iter().find(|revision| {
        let mut events = revision.events.iter();
        events.any(|event| event.r#type == "PrimarySwitched" && event.operation == operation)
    });
    let switched_at_ms = switched.context("the second failover switched nobody")?.at_ms;
    ensure!(u128::from(switched_at_ms) >= killed_at_ms, "{operation} was over before the leader was killed");
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}
