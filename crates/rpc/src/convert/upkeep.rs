//! What operators do to hosts, disks and members.

use super::{
    mutation::{Mutation, member},
    read::{disk_id, group_id, host_id},
};
use crate::{
    field::{InvalidField, at_most, name, present, text},
    pb::control as wire,
};
use quorate_domain::{Command, group::MEMBERS_MAX};

macro_rules! mutations {
    ($($request:ident: |$asked:ident| $command:expr;)+) => { $(
        impl TryFrom<wire::$request> for Mutation {
            type Error = InvalidField;
            fn try_from($asked: wire::$request) -> Result<Self, InvalidField> {
                let request_id = name("request_id", &$asked.request_id)?;
                Ok(Self { request_id, command: $command })
            }
        }
    )+ };
}

mutations! {
    ForgetHostRequest: |asked| Command::ForgetHost {
        host: host_id(&asked.host)?,
        reason: text("reason", asked.reason)?,
    };
    ResetHostRequest: |asked| Command::ResetHost {
        host: host_id(&asked.host)?,
        reason: text("reason", asked.reason)?,
    };
    CordonHostRequest: |asked| Command::CordonHost {
        host: host_id(&asked.host)?,
        reason: text("reason", asked.reason)?,
    };
    UncordonHostRequest: |asked| Command::UncordonHost { host: host_id(&asked.host)? };
    ForgetDiskRequest: |asked| Command::ForgetDisk {
        disk: disk_id(&asked.host, &asked.name)?,
        reason: text("reason", asked.reason)?,
    };
    ClearDiskRequest: |asked| Command::ClearDisk {
        disk: disk_id(&asked.host, &asked.name)?,
        reason: text("reason", asked.reason)?,
    };
    AcceptGroupMemberRequest: |asked| Command::AcceptMember {
        group: group_id(&asked.group)?,
        host: host_id(&asked.host)?,
        reason: text("reason", asked.reason)?,
    };
    AddGroupMemberRequest: |asked| Command::AddMember {
        group: group_id(&asked.group)?,
        member: member(&present("member", asked.member)?).map_err(|bad| bad.within("member"))?,
        accepted: asked.accepted,
        reason: text("reason", asked.reason)?,
    };
    RemoveGroupMemberRequest: |asked| Command::RemoveMember {
        group: group_id(&asked.group)?,
        host: host_id(&asked.host)?,
        reason: text("reason", asked.reason)?,
    };
    ReorderGroupMembersRequest: |asked| {
        at_most("hosts", asked.hosts.len(), MEMBERS_MAX)?;
        let named = asked.hosts.into_iter().enumerate();
        let order = named.map(|(place, host)| name(&format!("hosts[{place}]"), &host));
        Command::ReorderMembers { group: group_id(&asked.group)?, order: order.collect::<Result<_, _>>()? }
    };
}
