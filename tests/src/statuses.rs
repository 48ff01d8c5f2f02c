//! What coordinators say of themselves, asked all at once.

use quorate_rpc::{
    Client, ClientOptions,
    pb::control::{GetStatusRequest, GetStatusResponse},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::task::JoinSet;

/// How long a coordinator may take to say how it is; one that stands still does not.
const STATUS: Duration = Duration::from_millis(500);

/// What the coordinators at these addresses say of themselves, as far as they answer.
pub async fn statuses(addresses: &BTreeMap<u64, String>) -> BTreeMap<u64, GetStatusResponse> {
    let mut asked = JoinSet::new();
    for (id, address) in addresses.clone() {
        asked.spawn(async move {
            let patience =
                ClientOptions { deadline: STATUS, per_try_timeout: STATUS, ..ClientOptions::default() };
            let client = Client::connect([address], patience).ok()?;
            Some((id, client.get_status(GetStatusRequest {}).await.ok()?))
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
