//! Learning who the coordinators are, beside the calls: members come and go, and those that were given may all be gone
//! one day.

use super::Client;
use crate::pb::{
    control::{ListMembersRequest, cluster_client::ClusterClient},
    types::Consistency,
};
use std::time::Duration;
use tonic::transport::Channel;

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
            let request = ListMembersRequest {
                consistency: Consistency::Stale.into(),
                ..ListMembersRequest::default()
            };
            let mut cluster = ClusterClient::new(channel);
            let answer = tokio::time::timeout(ASK_DEADLINE, cluster.list_members(request)).await;
            // Who does not answer this has answered something else: the next one is asked.
            let Ok(Ok(answer)) = answer else { return };
            let members = answer.into_inner().members;
            let addresses: Vec<_> = members.into_iter().map(|member| member.api_address).collect();
            if !addresses.is_empty() {
                client.pool().learn(&addresses);
            }
        });
    }
}
