//! What coordinators say of themselves, asked all at once.

use quorate_rpc::{
    Client, ClientOptions,
    pb::control::{GetStatusRequest, GetStatusResponse},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::task::JoinSet;

/// How long a coordinator may take to say how it is; one that stands still does not.
const STATUS: Duration = Duration::from_millis(500);
/// The same with the digest of its whole state.
const DIGEST: Duration = Duration::from_secs(10);

/// What the coordinators at these addresses say of themselves, as far as they answer.
pub async fn statuses(addresses: &BTreeMap<u64, String>) -> BTreeMap<u64, GetStatusResponse> {
    ask(addresses, GetStatusRequest::default(), STATUS).await
}

/// The same with the digests of their states.
pub async fn statuses_with_digests(addresses: &BTreeMap<u64, String>) -> BTreeMap<u64, GetStatusResponse> {
    ask(addresses, GetStatusRequest { with_state_digest: true }, DIGEST).await
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
