//! `quorate group`.

use super::{
    Desk, missing,
    op::{ended, wait},
    pages,
    pages::{PAGE_SIZE, Page},
    status::LEADER_WAIT,
};
use crate::{
    args::{ClientArgs, GroupMemberVerb, GroupVerb, Label, MemberSpec},
    output::{self, json, table},
};
use anyhow::Context;
use quorate_rpc::pb::{
    control::{
        AcceptGroupMemberRequest, AddGroupMemberRequest, CreateGroupRequest, DeleteGroupRequest,
        GetGroupHistoryRequest, GetGroupRequest, GetStatusRequest, ListGroupsRequest,
        RemoveGroupMemberRequest, ReorderGroupMembersRequest, RequestFailoverRequest, SetGroupLabelsRequest,
    },
    types::{Member, Warning},
};
use serde_json::json;
use std::{collections::HashMap, time::Duration};

/// Answers a question about groups, or changes one.
pub(crate) async fn run(args: ClientArgs, verb: GroupVerb) -> anyhow::Result<u8> {
    let desk = Desk::open(&args)?;
    match verb {
        GroupVerb::Create { group, primary, backups, labels, mutation } => {
            let request = CreateGroupRequest {
                request_id: mutation.id(),
                group,
                primary: Some(member(primary)),
                backups: backups.into_iter().map(member).collect(),
                labels: label_map(labels),
            };
            create(&desk, request).await
        }
        GroupVerb::List => list(&desk).await,
        GroupVerb::Show { group } => show(&desk, group).await,
        GroupVerb::Member(verb) => change_member(&desk, verb).await,
        GroupVerb::Delete { group, mutation } => {
            delete(&desk, DeleteGroupRequest { request_id: mutation.id(), group }).await
        }
        GroupVerb::Failover { group, to, wait, mutation } => {
            let request_id = mutation.id();
            let request = RequestFailoverRequest { request_id, group, target: to.unwrap_or_default() };
            failover(&desk, request, wait).await
        }
        GroupVerb::History { group } => history(&desk, group).await,
        GroupVerb::Label { group, labels, mutation } => {
            let labels = label_map(labels);
            label(&desk, SetGroupLabelsRequest { request_id: mutation.id(), group, labels }).await
        }
    }
}

async fn change_member(desk: &Desk, verb: GroupMemberVerb) -> anyhow::Result<u8> {
    match verb {
        GroupMemberVerb::Add { group, member: added, accept, reason, mutation } => {
            let id = mutation.id();
            let what = if accept {
                format!("{} added to group {group} as a copy", added.host)
            } else {
                format!(
                    "{0} added to group {group}; `quorate group member accept {group} {0}` once it holds a copy",
                    added.host
                )
            };
            let (member, reason) = (Some(member(added)), reason.unwrap_or_default());
            let request_id = id.clone();
            let request = AddGroupMemberRequest { request_id, group, member, accepted: accept, reason };
            desk.show_change(&id, desk.client.add_group_member(request).await?.revision, &what)
        }
        GroupMemberVerb::Remove { group, host, why, mutation } => {
            let (id, what) = (mutation.id(), format!("{host} removed from group {group}"));
            let request =
                RemoveGroupMemberRequest { request_id: id.clone(), group, host, reason: why.reason };
            desk.show_change(&id, desk.client.remove_group_member(request).await?.revision, &what)
        }
        GroupMemberVerb::Reorder { group, hosts, mutation } => {
            let (id, what) = (mutation.id(), format!("order of group {group}: {}", hosts.join(" ")));
            let request = ReorderGroupMembersRequest { request_id: id.clone(), group, hosts };
            desk.show_change(&id, desk.client.reorder_group_members(request).await?.revision, &what)
        }
        GroupMemberVerb::Accept { group, host, why, mutation } => {
            let (id, what) = (mutation.id(), format!("{host} accepted as a copy of group {group}"));
            let request =
                AcceptGroupMemberRequest { request_id: id.clone(), group, host, reason: why.reason };
            let revision = desk.client.accept_group_member(request).await?.revision;
            desk.show_change(&id, revision, &what)
        }
    }
}

fn member(spec: MemberSpec) -> Member {
    Member { host: spec.host, disk: spec.disk }
}

fn label_map(labels: Vec<Label>) -> HashMap<String, String> {
    labels.into_iter().map(|label| (label.key, label.value)).collect()
}

async fn list(desk: &Desk) -> anyhow::Result<u8> {
    let consistency = desk.consistency();
    let (groups, view) = pages(async |page_token| {
        let request = ListGroupsRequest { page_size: PAGE_SIZE, page_token, consistency };
        let answer = desk.client.list_groups(request).await?;
        Ok(Page { items: answer.groups, next_page_token: answer.next_page_token, view: answer.view })
    })
    .await?;
    desk.show_read(
        view.as_ref(),
        || json!({ "groups": json::groups(&groups) }),
        || table::groups(&groups, desk.width),
    )
}

async fn show(desk: &Desk, group: String) -> anyhow::Result<u8> {
    let answer = desk.client.get_group(GetGroupRequest { group, consistency: desk.consistency() }).await?;
    let group = answer.group.ok_or_else(|| missing("group"))?;
    let warnings = warnings_of(desk, &group.id).await;
    desk.show_read(
        answer.view.as_ref(),
        || json!({ "group": json::group(&group), "warnings": json::warnings(&warnings) }),
        || table::group_sheet(&group, &warnings, desk.now_ms),
    )
}

/// What `quorate status` says of the group: whether it is served is no part of what all agree on. Nothing when nobody says it.
async fn warnings_of(desk: &Desk, group: &str) -> Vec<Warning> {
    let request = GetStatusRequest { with_state_digest: false };
    let answer = desk.client.survey(request, LEADER_WAIT.min(desk.deadline)).await;
    let all = answer.map(|survey| survey.status.warnings).unwrap_or_default();
    all.into_iter().filter(|one| one.subject_kind == "group" && one.subject_id == group).collect()
}

async fn history(desk: &Desk, group: String) -> anyhow::Result<u8> {
    let request = GetGroupHistoryRequest { group, consistency: desk.consistency() };
    let answer = desk.client.get_group_history(request).await?;
    desk.show_read(
        answer.view.as_ref(),
        || json!({ "switches": json::switches(&answer.switches) }),
        || table::switches(&answer.switches, desk.now_ms, desk.width),
    )
}

async fn create(desk: &Desk, request: CreateGroupRequest) -> anyhow::Result<u8> {
    let (id, group) = (request.request_id.clone(), request.group.clone());
    let revision = desk.client.create_group(request).await?.revision;
    desk.show_change(&id, revision, &format!("group {group} created"))
}

async fn delete(desk: &Desk, request: DeleteGroupRequest) -> anyhow::Result<u8> {
    let (id, group) = (request.request_id.clone(), request.group.clone());
    let revision = desk.client.delete_group(request).await?.revision;
    desk.show_change(
        &id,
        revision,
        &format!("group {group} revoked, to be deleted once nobody can act for it"),
    )
}

async fn label(desk: &Desk, request: SetGroupLabelsRequest) -> anyhow::Result<u8> {
    let (id, group) = (request.request_id.clone(), request.group.clone());
    let revision = desk.client.set_group_labels(request).await?.revision;
    desk.show_change(&id, revision, &format!("labels of group {group} set"))
}

async fn failover(
    desk: &Desk,
    request: RequestFailoverRequest,
    patience: Option<Duration>,
) -> anyhow::Result<u8> {
    let (id, group) = (request.request_id.clone(), request.group.clone());
    let answer = desk.client.request_failover(request).await?;
    let (revision, op) = (answer.revision, answer.operation);
    let Some(patience) = patience else {
        return desk.show(
            || json!({ "request_id": id, "revision": revision, "operation_id": op }),
            || {
                format!(
                    "failover of group {group} begun: operation {op} (revision {revision}, request {id})\n"
                )
            },
        );
    };
    output::note(&format!("failover of group {group} begun: operation {op}, waiting for its end"));
    let follow = || format!("operation {op} has begun; follow it with `quorate op wait {op}`");
    let (operation, finished) = wait(desk, &op, patience).await.with_context(follow)?;
    desk.show(
        || {
            json!({
                "request_id": id,
                "revision": revision,
                "operation_id": op,
                "operation": json::operation(&operation),
                "finished": finished,
            })
        },
        || table::operation_sheet(&operation, output::time::now_ms(), desk.width),
    )?;
    Ok(ended(&operation, finished, patience))
}
