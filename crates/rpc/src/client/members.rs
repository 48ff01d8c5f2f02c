//! Learning who the coordinators are, beside the calls: members come and go, and those that were given may all be gone
//! one day.

use super::{Client, pool::Target};
use crate::{
    pb::{
        control::{ListMembersRequest, ListMembersResponse, cluster_client::ClusterClient},
        types::Consistency,
    },
    status::{Failure, classify},
};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::{Response, Status, transport::Channel};

/// How long a coordinator may take to say who the others are.
const ASK_DEADLINE: Duration = Duration::from_secs(2);

impl Client {
    /// Asks a coordinator that has just answered who the members are, if it is time to; nobody waits for it.
    pub(super) fn learn_members(&self, channel: Channel) {
        if !self.pool().wants_members() {
            return;
        }
        let client = self.clone();
        tokio::spawn(async move {
            // Who does not answer this has answered something else: the next one is asked.
            let Ok(answer) = ask(channel).await else { return };
            let addresses: Vec<_> = answer.members.into_iter().map(|member| member.api_address).collect();
            if !addresses.is_empty() {
                let strangers = client.pool().strangers(&addresses);
                let reached = reached(strangers).await;
                client.pool().learn(&addresses, &reached);
            }
        });
    }
}

/// Those that answer.
async fn reached(strangers: Vec<Target>) -> Vec<Target> {
    let mut asked = JoinSet::new();
    for target in strangers {
        asked.spawn(async move {
            let is_reached = match ask(target.channel.clone()).await {
                Ok(_) => true,
                Err(status) => !matches!(classify(&status), Failure::Unreachable { .. }),
            };
            is_reached.then_some(target)
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

/// Asks a coordinator who the members are.
async fn ask(channel: Channel) -> Result<ListMembersResponse, Status> {
    let request =
        ListMembersRequest { consistency: Consistency::Stale.into(), ..ListMembersRequest::default() };
    let mut cluster = ClusterClient::new(channel);
    let answer = tokio::time::timeout(ASK_DEADLINE, cluster.list_members(request)).await;
    answer.map_err(|_| Status::deadline_exceeded("no answer in time"))?.map(Response::into_inner)
}
