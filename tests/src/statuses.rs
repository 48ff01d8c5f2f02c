//! What coordinators say of themselves, asked all at once.

use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientOptions,
    pb::control::{GetStatusRequest, GetStatusResponse},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::task::JoinSet;

/// How long a coordinator may take to say how it is; one that stands still does not.
const STATUS: Duration = Duration::from_millis(500);
/// The same with the digest of its whole state, which may be a large one in a debug build.
const DIGEST: Duration = Duration::from_secs(15);

/// What the coordinators at these addresses say of themselves, as far as they answer.
pub async fn statuses(addresses: &BTreeMap<u64, String>) -> BTreeMap<u64, GetStatusResponse> {
    ask(addresses, GetStatusRequest::default(), STATUS).await
}

/// Waits until all of these coordinators have applied the same, and checks that it led to the same state; what the last
/// of them says of itself.
///
/// # Errors
/// When they do not come to the same index in time, or their states differ there.
pub async fn wait_for_equal_states(
    addresses: &BTreeMap<u64, String>,
    deadline: Duration,
) -> Result<GetStatusResponse> {
    let with_digests = GetStatusRequest { with_state_digest: true };
    let statuses = wait_until("all coordinators have applied the same", deadline, async || {
        // A digest is not taken of a state that still changes.
        equally_far(addresses, &statuses(addresses).await)?;
        let statuses = ask(addresses, with_digests, DIGEST).await;
        equally_far(addresses, &statuses)?;
        Ok(statuses)
    })
    .await?;
    let mut digests = statuses.values().map(|status| status.state_digest.as_str());
    let first = digests.next().context("there is no coordinator")?;
    ensure!(!first.is_empty(), "coordinators tell no digest when they are asked for one");
    ensure!(digests.all(|digest| digest == first), "I6: equal index, other state: {}", listed(&statuses));
    statuses.into_values().next_back().context("there is no coordinator")
}

/// All of them answer and have applied as much as the others.
fn equally_far(addresses: &BTreeMap<u64, String>, statuses: &BTreeMap<u64, GetStatusResponse>) -> Result<()> {
    ensure!(statuses.len() == addresses.len(), "{} of {} answer", statuses.len(), addresses.len());
    let mut applied = statuses.values().map(|status| status.applied_index);
    let first = applied.next();
    ensure!(applied.all(|index| Some(index) == first), "{:?}", told(statuses));
    Ok(())
}

fn listed(statuses: &BTreeMap<u64, GetStatusResponse>) -> String {
    let one = |(id, status): (&u64, &GetStatusResponse)| format!("{id}: {}", status.state_digest);
    statuses.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn ask(
    addresses: &BTreeMap<u64, String>,
    request: GetStatusRequest,
    limit: Duration,
) -> BTreeMap<u64, GetStatusResponse> {
    let mut asked = JoinSet::new();
    for (id, address) in addresses.clone() {
        asked.spawn(async move {
            let patience =
                ClientOptions { deadline: limit, per_try_timeout: limit, ..ClientOptions::default() };
            let client = Client::connect([address], patience).ok()?;
            Some((id, client.get_status(request).await.ok()?))
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

/// In few words.
pub fn told(statuses: &BTreeMap<u64, GetStatusResponse>) -> Vec<String> {
    let one = |(id, status): (&u64, &GetStatusResponse)| {
        format!(
            "{id}: term {} leader {} decides {} applied {}",
            status.term, status.leader_id, status.can_decide, status.applied_index
        )
    };
    statuses.iter().map(one).collect()
}
