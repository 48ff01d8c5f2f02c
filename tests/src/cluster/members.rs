//! Coordinators that come later, and what the members say of themselves.

use super::{Cluster, config, process};
use crate::{binary, wait_until};
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientOptions,
    client::new_request_id,
    pb::control::{
        AddMemberRequest, CancelMemberChangeRequest, ListMembersRequest, ListMembersResponse,
        PromoteMemberRequest, ReplaceMemberRequest,
    },
    pb::types::{Operation, OperationStatus},
};
use std::time::Duration;

/// How long a change of the members may take once nothing is in its way.
const CHANGED: Duration = Duration::from_secs(30);

impl Cluster {
    /// Starts a coordinator that is not among the initial members: it waits to be added.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_newcomer(&mut self, id: u64) -> Result<()> {
        let root = self.root();
        let text = config::coordinator(&self.plan, self.loopback, id, &root);
        let program = tokio::task::spawn_blocking(binary::quorate).await??;
        let mut process = process("coordinator", &format!("c{id}"), &root, &program, &text)?;
        process.start()?;
        self.coordinators.insert(id, process);
        Ok(())
    }

    /// Starts a coordinator under a new number on the machine of one whose folder was lost, at its addresses.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_in_place_of(&mut self, lost: u64, id: u64) -> Result<()> {
        let root = self.root();
        let text = config::coordinator(&self.plan, self.loopback, lost, &root);
        let text = text.replacen(&format!("node.id = {lost}\n"), &format!("node.id = {id}\n"), 1);
        let program = tokio::task::spawn_blocking(binary::quorate).await??;
        let mut process = process("coordinator", &format!("c{id}"), &root, &program, &text)?;
        process.start()?;
        self.coordinators.insert(id, process);
        Ok(())
    }

    /// Where other coordinators reach one.
    pub fn peer_address(&self, id: u64) -> String {
        format!("{}:{}", self.loopback.coordinator(id), crate::loopback::PEER_PORT)
    }

    /// A client of some coordinators.
    ///
    /// # Errors
    /// When an address is none.
    pub fn client_of(&self, ids: &[u64]) -> Result<Client> {
        Ok(Client::connect(ids.iter().map(|id| self.api_address(*id)), ClientOptions::default())?)
    }

    /// The request that takes a coordinator in; it is sent until the newcomer is ready.
    ///
    /// # Errors
    /// When it is not taken in time.
    pub async fn add_member(&self, client: &Client, id: u64) -> Result<String> {
        let request = AddMemberRequest {
            request_id: String::new(),
            id,
            api_address: self.api_address(id),
            peer_address: self.peer_address(id),
        };
        wait_until("a new coordinator is taken in", CHANGED, async || {
            // A refusal is remembered under its request id, so that each try has its own.
            let request = AddMemberRequest { request_id: new_request_id(), ..request.clone() };
            Ok(client.add_member(request).await?.operation)
        })
        .await
    }

    /// Puts a new coordinator in the place of another, likewise.
    ///
    /// # Errors
    /// When it is not taken in time.
    pub async fn replace_member(&self, client: &Client, remove: u64, id: u64) -> Result<String> {
        self.replace_member_at(client, remove, id, id).await
    }

    /// The same with the new one at the addresses of any number.
    ///
    /// # Errors
    /// When it is not taken in time.
    pub async fn replace_member_at(
        &self,
        client: &Client,
        remove: u64,
        id: u64,
        address_of: u64,
    ) -> Result<String> {
        wait_until("a coordinator is replaced by another", CHANGED, async || {
            let request = ReplaceMemberRequest {
                request_id: new_request_id(),
                remove,
                id,
                api_address: self.api_address(address_of),
                peer_address: self.peer_address(address_of),
            };
            Ok(client.replace_member(request).await?.operation)
        })
        .await
    }

    /// Adds and promotes a coordinator and waits until it votes.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn grow(&self, client: &Client, id: u64) -> Result<()> {
        let operation = self.add_member(client, id).await?;
        succeeded(&change_ended(client, &operation).await?)?;
        let request = PromoteMemberRequest { request_id: new_request_id(), id };
        let operation = client.promote_member(request).await?.operation;
        succeeded(&change_ended(client, &operation).await?)
    }
}

/// Takes a change back.
///
/// # Errors
/// When it is refused.
pub async fn cancel(client: &Client, operation: &str) -> Result<()> {
    let request = CancelMemberChangeRequest { request_id: new_request_id(), operation: operation.to_owned() };
    client.cancel_member_change(request).await?;
    Ok(())
}

/// The members as the leader lists them.
///
/// # Errors
/// When nobody answers.
pub async fn members(client: &Client) -> Result<ListMembersResponse> {
    Ok(client.list_members(ListMembersRequest::default()).await?)
}

/// The numbers of those that vote.
///
/// # Errors
/// When nobody answers.
pub async fn voters(client: &Client) -> Result<Vec<u64>> {
    let members = members(client).await?.members;
    Ok(members.iter().filter(|member| member.voter).map(|member| member.id).collect())
}

/// Waits for the end of a change, across changes of the leader.
///
/// # Errors
/// When it does not end in time.
pub async fn change_ended(client: &Client, operation: &str) -> Result<Operation> {
    wait_until("a change of the members ends", CHANGED, async || {
        let answer = client.wait_operation(operation, Duration::from_secs(2)).await?;
        ensure!(answer.finished, "{:?}", members(client).await.map(|now| now.warnings));
        answer.operation.context("an answer has its operation")
    })
    .await
}

/// That it ended as wanted.
///
/// # Errors
/// When it did not.
pub fn succeeded(operation: &Operation) -> Result<()> {
    ensure!(operation.status() == OperationStatus::Succeeded, "{}: {}", operation.id, operation.outcome);
    Ok(())
}
