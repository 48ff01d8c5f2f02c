//! What `quorate status` says of a cluster, as scripts read it.

use crate::{binary::shown, cluster::Cluster};
use anyhow::{Context, Result};
use serde_json::Value;

/// What is said when these coordinators are asked in this order: the exit code and the document.
///
/// # Errors
/// When there is no document.
pub async fn status(cluster: &Cluster, ids: &[u64]) -> Result<(i32, Value)> {
    let addresses: Vec<_> = ids.iter().map(|id| cluster.api_address(*id)).collect();
    let (code, text) = shown(&["--endpoints", &addresses.join(","), "-o", "json", "status"]).await?;
    let document = serde_json::from_str(&text).with_context(|| format!("exit code {code}: {text}"))?;
    Ok((code, document))
}

/// The warning of a code about something, if there is one.
///
/// # Errors
/// When there is none.
pub fn warning<'a>(document: &'a Value, code: &str, id: &str) -> Result<&'a Value> {
    let all = document["warnings"].as_array().context("a status has a list of warnings")?;
    let found = all.iter().find(|warning| warning["code"] == code && warning["subject"]["id"] == id);
    found.with_context(|| format!("no {code} of {id}: {all:?}"))
}

/// What it says.
pub fn text(warning: &Value) -> &str {
    warning["text"].as_str().unwrap_or_default()
}
