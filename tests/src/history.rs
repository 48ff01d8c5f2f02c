//! What a coordinator has on record: every revision with its events.

use anyhow::{Context, Result};
use quorate_rpc::{
    Client, ClientOptions,
    pb::{control::ListEventsRequest, types::Revision},
};
use std::collections::BTreeMap;

const PAGE: u32 = 1_000;

/// What was committed from a revision on, as the coordinator at this address has it.
///
/// # Errors
/// When it does not answer.
pub async fn history_from(address: &str, start_revision: u64) -> Result<Vec<Revision>> {
    let client = Client::connect([address], ClientOptions::default())?;
    let mut revisions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListEventsRequest { start_revision, page_size: PAGE, page_token, ..Default::default() };
        let page = client.list_events(request).await?;
        revisions.extend(page.revisions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(revisions);
        }
    }
}

/// The first event of a kind for a group at or after a revision: when it was committed, and its revision.
///
/// # Errors
/// When there is none.
pub fn find_event(history: &[Revision], kind: &str, group: &str, from_revision: u64) -> Result<(u64, u64)> {
    let mut later = history.iter().filter(|revision| revision.revision >= from_revision);
    let found = later
        .find(|revision| revision.events.iter().any(|event| event.r#type == kind && event.group == group));
    let found = found.with_context(|| {
        let counts = history.iter().flat_map(|revision| &revision.events).fold(
            BTreeMap::<&str, u64>::new(),
            |mut counts, event| {
                *counts.entry(&event.r#type).or_default() += 1;
                counts
            },
        );
        format!("no {kind} of group {group} from revision {from_revision} on; there are {counts:?}")
    })?;
    Ok((found.at_ms, found.revision))
}
