//! What an operator sees from one side: the product's own command line, asked of single nodes.

use super::docker::{self, Said};
use crate::binary;
use anyhow::{Context, Result, ensure};

/// The exit code of `quorate` when nobody answers or nobody can decide.
const UNREACHABLE: i32 = 3;
/// How long the command line tries.
const DEADLINE: &str = "2";

async fn quorate(endpoint: &str, words: &[&str]) -> Result<Said> {
    let program = tokio::task::spawn_blocking(binary::quorate).await??;
    let program = program.to_string_lossy().into_owned();
    let all = [&[program.as_str(), "--endpoints", endpoint, "--deadline", DEADLINE], words].concat();
    docker::run(&all, None, &[]).await
}

/// Asked of a coordinator without a quorum, the command line says so with a code of its own; a confirmed read is not
/// answered, and one that may be stale is, and is marked as such.
///
/// # Errors
/// What it said instead.
pub(super) async fn says_that_there_is_no_quorum(endpoint: &str) -> Result<String> {
    let status = quorate(endpoint, &["status"]).await?;
    let headline = status.stdout.lines().next().unwrap_or_default().to_owned();
    let no_quorum = headline.starts_with("NO QUORUM") || headline.starts_with("NO LEADER");
    ensure!(no_quorum && status.code == Some(UNREACHABLE), "`quorate status` said {status:?}");
    let confirmed = quorate(endpoint, &["group", "list"]).await?;
    ensure!(
        confirmed.code == Some(UNREACHABLE) && confirmed.stdout.is_empty(),
        "a confirmed read without a quorum: {confirmed:?}"
    );
    let stale = quorate(endpoint, &["--stale", "group", "list"]).await?;
    ensure!(
        stale.code == Some(0) && stale.stderr.contains("not confirmed by a quorum"),
        "a stale read: {stale:?}"
    );
    let document = quorate(endpoint, &["--stale", "-o", "json", "group", "list"]).await?;
    let document: serde_json::Value =
        serde_json::from_str(&document.stdout).with_context(|| format!("{document:?}"))?;
    ensure!(document["view"]["stale"] == true, "a stale read is not marked: {}", document["view"]);
    Ok(format!("there `quorate status` says {headline:?} and ends with {UNREACHABLE}"))
}

/// Asked of a coordinator with a quorum, it finds a leader.
///
/// # Errors
/// What it said instead.
pub(super) async fn sees_a_leader(endpoints: &str) -> Result<()> {
    let status = quorate(endpoints, &["status"]).await?;
    // A host or coordinator that is cut off is a warning; the leader's own address means nothing on this machine.
    let decided = matches!(status.code, Some(0 | 1)) && !status.stdout.starts_with("NO ");
    ensure!(decided, "`quorate status` of a side with a quorum said {status:?}");
    Ok(())
}
