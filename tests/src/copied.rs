//! A second process of a coordinator, on a copy of its data folder or on the folder itself.

use crate::{cluster::Cluster, process::Process};
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// How soon it must be refused.
const SOON: Duration = Duration::from_secs(20);
/// How far its ports are from those of the original.
const PORTS_APART: u16 = 50;

/// A process with the configuration of a coordinator, on another folder and other ports of the same address.
///
/// # Errors
/// When there is no such configuration.
pub async fn elsewhere(cluster: &Cluster, id: u64, name: &str, folder: &Path) -> Result<Process> {
    let config = fs::read_to_string(cluster.config_file(&format!("c{id}")))?;
    let lines = config.lines().map(|line| {
        if line.starts_with("data_dir") {
            return Ok(format!("data_dir = '{}'", folder.display()));
        }
        if !line.starts_with("listen.") {
            return Ok(line.to_owned());
        }
        let (address, port) = line.trim_end_matches('"').rsplit_once(':').context("host:port")?;
        Ok(format!("{address}:{}\"", port.parse::<u16>()? + PORTS_APART))
    });
    let config = lines.collect::<Result<Vec<_>>>()?.join("\n");
    cluster.stranger("coordinator", name, &config).await
}

/// The process is refused by another coordinator and says why; its last words.
///
/// # Errors
/// When it is not refused, or says something else.
pub async fn expect_refused(process: &mut Process, id: u64) -> Result<String> {
    process.start()?;
    let status = process.ended(SOON).await.with_context(|| process.said().unwrap_or_default())?;
    let said = process.said()?;
    ensure!(status.code() == Some(1), "it ended with {status}: {said}");
    let last = said.lines().next_back().unwrap_or_default();
    for words in [&format!("coordinator {id} runs twice") as &str, "refused for good", "remove its copy"] {
        ensure!(last.contains(words), "{words:?} is not in the last words: {said}");
    }
    Ok(last.to_owned())
}

/// How much each coordinator has said so far.
///
/// # Errors
/// When a log cannot be read.
pub fn said_so_far(cluster: &mut Cluster) -> Result<BTreeMap<u64, usize>> {
    let ids = 1..=cluster.plan().coordinators;
    ids.map(|id| Ok((id, cluster.coordinator(id).said()?.len()))).collect()
}

/// A coordinator other than the one that runs twice says so in its status, and has said so in its log since then. Who.
///
/// # Errors
/// When nobody does.
pub async fn expect_a_peer_says_so(
    cluster: &mut Cluster,
    id: u64,
    since: &BTreeMap<u64, usize>,
) -> Result<u64> {
    let words = format!("coordinator {id} runs twice");
    let mut seen = Vec::new();
    for (peer, said_before) in since.iter().filter(|(peer, _)| **peer != id) {
        let warnings = cluster.status(*peer).await?.warnings;
        let in_status = warnings.iter().any(|warning| warning.text.starts_with(&words));
        let said = cluster.coordinator(*peer).said()?;
        let said = said.get(*said_before..).unwrap_or_default();
        if in_status && said.lines().any(|line| line.contains("ERROR") && line.contains(&words)) {
            return Ok(*peer);
        }
        seen.push(format!("{peer}: {warnings:?}: {said}"));
    }
    anyhow::bail!("nobody says that {words}: {}", seen.join("\n"))
}
