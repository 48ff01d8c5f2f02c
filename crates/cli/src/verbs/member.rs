//! `quorate member`.

use super::{
    Desk,
    op::{ended, wait},
    pages::PAGE_SIZE,
};
use crate::{
    args::{ClientArgs, MemberVerb, MutationArgs},
    exit,
    output::{self, json, table},
};
use anyhow::Context;
use quorate_rpc::{
    client::new_request_id,
    pb::control::{
        AddMemberRequest, CancelMemberChangeRequest, ListMembersRequest, ListMembersResponse,
        PromoteMemberRequest, RemoveMemberRequest, ReplaceMemberRequest,
    },
};
use serde_json::json;
use std::time::Duration;

/// A change that a coordinator has taken.
struct Begun {
    request_id: String,
    revision: u64,
    operation: String,
    warnings: Vec<String>,
    what: String,
}

/// Lists the coordinators, or changes them.
pub(crate) async fn run(args: ClientArgs, verb: MemberVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    let client = &desk.client;
    let (begun, patience) = match verb {
        MemberVerb::List => return list(&desk).await,
        MemberVerb::Add { id, api, peer, wait, mutation } => {
            let request_id = request_id(mutation);
            let (api_address, peer_address) = (api, peer);
            let request = AddMemberRequest { request_id: request_id.clone(), id, api_address, peer_address };
            let answer = client.add_member(request).await?;
            let what = format!("coordinator {id} joins as a learner");
            (begun(request_id, answer.revision, answer.operation, answer.warnings, what), wait)
        }
        MemberVerb::Promote { id, wait, mutation } => {
            let request_id = request_id(mutation);
            let request = PromoteMemberRequest { request_id: request_id.clone(), id };
            let answer = client.promote_member(request).await?;
            let what = format!("coordinator {id} gets a vote");
            (begun(request_id, answer.revision, answer.operation, answer.warnings, what), wait)
        }
        MemberVerb::Remove { id, wait, mutation } => {
            let request_id = request_id(mutation);
            let request = RemoveMemberRequest { request_id: request_id.clone(), id };
            let answer = client.remove_member(request).await?;
            let what = format!("coordinator {id} is removed");
            (begun(request_id, answer.revision, answer.operation, answer.warnings, what), wait)
        }
        MemberVerb::Replace { old, id, api, peer, wait, mutation } => {
            let request_id = request_id(mutation);
            let request = ReplaceMemberRequest {
                request_id: request_id.clone(),
                remove: old,
                id,
                api_address: api,
                peer_address: peer,
            };
            let answer = client.replace_member(request).await?;
            let what = format!("coordinator {old} is replaced by {id}");
            (begun(request_id, answer.revision, answer.operation, answer.warnings, what), wait)
        }
        MemberVerb::Cancel { operation, wait, mutation } => {
            let Some(operation) = which(&desk, operation).await? else {
                return Ok(nothing_to_cancel());
            };
            let request_id = request_id(mutation);
            let request =
                CancelMemberChangeRequest { request_id: request_id.clone(), operation: operation.clone() };
            let answer = client.cancel_member_change(request).await?;
            let what = format!("{operation} is taken back");
            (begun(request_id, answer.revision, answer.operation, answer.warnings, what), wait)
        }
    };
    show(&desk, begun, patience).await
}

fn request_id(mutation: MutationArgs) -> String {
    mutation.request_id.unwrap_or_else(new_request_id)
}

fn begun(request_id: String, revision: u64, operation: String, warnings: Vec<String>, what: String) -> Begun {
    Begun { request_id, revision, operation, warnings, what }
}

async fn read(desk: &Desk) -> anyhow::Result<ListMembersResponse> {
    // A cluster has fewer members than a page.
    let request = ListMembersRequest {
        page_size: PAGE_SIZE,
        page_token: String::new(),
        consistency: desk.consistency(),
    };
    Ok(desk.client.list_members(request).await?)
}

async fn list(desk: &Desk) -> anyhow::Result<u8> {
    let answer = read(desk).await?;
    desk.show_read(
        answer.view.as_ref(),
        || {
            json!({
                "members": json::members(&answer.members),
                "change": answer.change.as_ref().map(json::operation),
                "warnings": answer.warnings,
            })
        },
        || {
            table::member_list(
                &answer.members,
                answer.change.as_ref(),
                &answer.warnings,
                desk.now_ms,
                desk.width,
            )
        },
    )
}

/// The change that was named, or the one that is under way.
async fn which(desk: &Desk, named: Option<String>) -> anyhow::Result<Option<String>> {
    if named.is_some() {
        return Ok(named);
    }
    Ok(read(desk).await?.change.map(|operation| operation.id))
}

fn nothing_to_cancel() -> u8 {
    output::note("no change of the coordinators is under way");
    exit::REFUSED
}

async fn show(desk: &Desk, begun: Begun, patience: Option<Duration>) -> anyhow::Result<u8> {
    let Begun { request_id, revision, operation: op, warnings, what } = begun;
    for warning in &warnings {
        output::note(warning);
    }
    let Some(patience) = patience else {
        return desk.show(
            || json!({ "request_id": request_id, "revision": revision, "operation_id": op, "warnings": warnings }),
            || format!("{what}: operation {op} (revision {revision}, request {request_id})\n"),
        );
    };
    output::note(&format!("{what}: operation {op}, waiting for its end"));
    let follow = || format!("operation {op} has begun; follow it with `quorate op wait {op}`");
    let (operation, finished) = wait(desk, &op, patience).await.with_context(follow)?;
    desk.show(
        || {
            json!({
                "request_id": request_id,
                "revision": revision,
                "operation_id": op,
                "operation": json::operation(&operation),
                "finished": finished,
                "warnings": warnings,
            })
        },
        || table::operation_sheet(&operation, output::time::now_ms(), desk.width),
    )?;
    // A cancelled change has ended as wanted for whoever cancelled it.
    let taken_back = operation.member_change.as_ref().is_some_and(|change| change.cancelled);
    if finished && taken_back && what.ends_with("taken back") {
        return Ok(exit::OK);
    }
    Ok(ended(&operation, finished, patience))
}
