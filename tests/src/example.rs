//! docs/examples/client.py, which has no code of ours, while the leader ends in the middle of a failover.

use crate::probe::Probe;
use anyhow::{Context, Result, bail, ensure};
use quorate_rpc::pb::types::Revision;
use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Names an interpreter that has the packages of docs/examples/requirements.txt.
const PYTHON: &str = "QUORATE_TEST_PYTHON";
/// Says what this machine must be able to do, by words; see the storms.
const EXPECTED: &str = "QUORATE_TEST_EXPECTED";
/// How long the example may say nothing: a failover may wait out a lease, and a leader must be found.
const PATIENCE: Duration = Duration::from_mins(1);

/// The interpreter; none where the example has to be left out, which is said on stderr.
///
/// # Errors
/// When this machine is expected to have one.
pub fn interpreter() -> Result<Option<PathBuf>> {
    if let Some(given) = env::var_os(PYTHON) {
        return Ok(Some(given.into()));
    }
    let expected = env::var(EXPECTED).unwrap_or_default();
    if expected.split(',').any(|word| word.trim() == "python") {
        bail!("{EXPECTED} has \"python\" and {PYTHON} names no interpreter");
    }
    // Past the test harness, which shows what a test says only when it fails. It may have nobody who reads it.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED the Python client: {PYTHON} names no interpreter with docs/examples/requirements.txt installed"
    );
    Ok(None)
}

/// What came of a run that ended well.
#[derive(Debug)]
pub struct Outcome {
    /// Who led, and was ended.
    pub leader: u64,
    /// Who led then.
    pub next: u64,
    ended_at_ms: u128,
    first_request: String,
    second_operation: String,
    /// Everything that it said, line by line.
    pub said: Vec<String>,
}

impl Outcome {
    /// The cluster's own record says the same: one effect of the request that was sent three times, and an operation that
    /// came to its end only after the leader was ended.
    ///
    /// # Errors
    /// What it says instead.
    pub fn is_on_record(&self, history: &[Revision]) -> Result<()> {
        let effects = history.iter().filter(|revision| revision.request_id == self.first_request).count();
        ensure!(effects == 1, "{} has {effects} effects", self.first_request);
        let switched = history.iter().find(|revision| {
            let mut events = revision.events.iter();
            events.any(|event| event.r#type == "PrimarySwitched" && event.operation == self.second_operation)
        });
        let operation = &self.second_operation;
        let switched_at_ms = switched.with_context(|| format!("{operation} switched nobody"))?.at_ms;
        ensure!(
            u128::from(switched_at_ms) >= self.ended_at_ms,
            "{operation} was over before the leader was ended"
        );
        Ok(())
    }
}

/// Runs it for a group that it makes on these hosts, the coordinators' API addresses in the order of their numbers.
/// `end_leader` ends the coordinator that leads, by its number, and is called while a failover is under way: not before the
/// probe was told of the primary that it takes away, so that this one lets go only when the probe's deadline has passed.
///
/// # Errors
/// When the example fails, hangs, or does not say what it should.
pub async fn through_a_change_of_leader(
    python: &Path,
    endpoints: &[String],
    group: &str,
    hosts: &[String],
    probe: &Probe,
    end_leader: impl AsyncFnOnce(u64) -> Result<()>,
) -> Result<Outcome> {
    let mut example = Example::start(python, endpoints, group, hosts)?;
    let asked = example.line_with(&format!("failover of {group} asked for twice")).await?;
    let first_request = between(&asked, "under ", ":")?.to_owned();
    example.line_with("press Enter").await?;
    probe.wait_for_primary(group, PATIENCE, |sample| Some(&sample.host) != hosts.first()).await?;
    example.press_enter().await?;
    let marked = example.line_with("; end it now").await?;
    let leader: u64 = between(&marked, "coordinator ", " at ")?.parse()?;
    end_leader(leader).await.with_context(|| format!("{marked:?}"))?;
    let ended_at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let second_operation = between(&marked, "", " runs;")?.to_owned();
    let resumed = example.line_with("; resuming at ").await?;
    let place = usize::try_from(leader)?.checked_sub(1).context("coordinators are counted from one")?;
    let old = endpoints.get(place).with_context(|| format!("no endpoint of coordinator {leader}"))?;
    ensure!(between(&resumed, "resuming at ", " from")? != old, "{resumed}");
    let new = example.line_with("new leader: coordinator").await?;
    let next: u64 = between(&new, "coordinator ", " at ")?.parse()?;
    ensure!(next != leader, "{new}");
    example.line_with("done: ").await?;
    let status = timeout(PATIENCE, example.child.wait()).await.context("the example does not end")??;
    ensure!(status.success(), "{}", example.complaint().await);
    Ok(Outcome { leader, next, ended_at_ms, first_request, second_operation, said: example.said })
}

/// The example while it runs.
struct Example {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Example {
    fn start(python: &Path, endpoints: &[String], group: &str, hosts: &[String]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/client.py");
        let mut child = Command::new(python)
            .arg(script)
            .args(["--endpoints", &endpoints.join(","), "--through-a-change-of-leader", group])
            .args(hosts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", python.display()))?;
        let out = child.stdout.take().context("a child without stdout")?;
        Ok(Self { child, lines: BufReader::new(out).lines(), said: Vec::new() })
    }

    async fn press_enter(&mut self) -> Result<()> {
        let input = self.child.stdin.as_mut().context("a child without stdin")?;
        input.write_all(b"\n").await.context("the example's input")
    }

    async fn line_with(&mut self, part: &str) -> Result<String> {
        loop {
            let next = timeout(PATIENCE, self.lines.next_line());
            let line = next.await.with_context(|| format!("the example hangs after {:#?}", self.said))??;
            let Some(line) = line else {
                bail!("the example ended without {part:?}: {}", self.complaint().await);
            };
            self.said.push(line);
            if let Some(line) = self.said.last().filter(|line| line.contains(part)) {
                return Ok(line.clone());
            }
        }
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
