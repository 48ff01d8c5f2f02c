//! Who may be promoted, and why not.

use crate::{
    disk::Verdict,
    group::{Group, Member, verdict_rank},
    host::HostStatus,
    ids::{DiskId, Epoch},
    state::State,
};
use serde::{Deserialize, Serialize};

/// Why a member may not be promoted now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Ineligible {
    /// Its host is not online.
    #[error("its host is {0}")]
    HostNotOnline(String),
    /// Its host was forgotten.
    #[error("its host is not known")]
    HostUnknown,
    /// Its disk may not be used.
    #[error("its disk {disk} is {verdict}")]
    DiskNotUsable {
        /// The disk.
        disk: DiskId,
        /// The verdict.
        verdict: String,
    },
    /// It was primary, and what it ran may still run.
    #[error("its service of epoch {0} is not known to have stopped")]
    NotStopped(Epoch),
    /// Its disk was never reported.
    #[error("its disk {0} was never reported")]
    DiskUnknown(DiskId),
}

/// Says whether a member of the group may be made its primary as things stand.
///
/// Every member of a group counts as in sync in this version: the data itself joins with shards and replicas.
///
/// # Errors
/// The first reason against it.
pub fn eligibility(state: &State, group: &Group, member: &Member) -> Result<(), Ineligible> {
    fitness(state, member)?;
    match group.unstopped.get(&member.host) {
        Some(epoch) => Err(Ineligible::NotStopped(*epoch)),
        None => Ok(()),
    }
}

/// Says whether a host and its disk can serve any group as things stand.
///
/// # Errors
/// The first reason against it.
pub(crate) fn fitness(state: &State, member: &Member) -> Result<(), Ineligible> {
    let host = state.hosts.get(&member.host).ok_or(Ineligible::HostUnknown)?;
    #[cfg(planted)]
    if crate::planted::is(crate::planted::Bug::PromoteUnfit) {
        return Ok(());
    }
    if host.status != HostStatus::Online {
        return Err(Ineligible::HostNotOnline(host.status.to_string()));
    }
    let id = member.disk_id();
    let Some(disk) = state.disks.get(&id) else { return Err(Ineligible::DiskUnknown(id)) };
    if disk.verdict == Verdict::Failed {
        return Err(Ineligible::DiskNotUsable { disk: id, verdict: disk.verdict.to_string() });
    }
    Ok(())
}

/// The members of a group that may be promoted, best first, and one line for each that may not.
///
/// `prefer_primary` puts the present primary first; otherwise it comes last, so that it is taken again only when
/// nobody else can. Among backups a better disk comes first, then the order of the group.
pub fn candidates(state: &State, group: &Group, prefer_primary: bool) -> (Vec<Member>, Vec<String>) {
    let mut fit = Vec::new();
    let mut unfit = Vec::new();
    for (position, member) in group.members().enumerate() {
        match eligibility(state, group, member) {
            Ok(()) => {
                let rank =
                    state.disks.get(&member.disk_id()).map_or(u8::MAX, |disk| verdict_rank(disk.verdict));
                let place = match (position, prefer_primary) {
                    (0, true) => 0,
                    (0, false) => 2,
                    _ => 1,
                };
                fit.push(((place, rank, position), member.clone()));
            }
            Err(reason) => unfit.push(format!("{member}: {reason}")),
        }
    }
    fit.sort_by_key(|(key, _)| *key);
    (fit.into_iter().map(|(_, member)| member).collect(), unfit)
}

/// The backups of a group that may be promoted, best first, or one line for each why not.
pub fn eligible_backups(state: &State, group: &Group) -> (Vec<Member>, Vec<String>) {
    let (mut fit, mut unfit) = candidates(state, group, false);
    fit.retain(|member| member.host != group.primary.host);
    unfit.retain(|line| !line.starts_with(&format!("{}:", group.primary)));
    (fit, unfit)
}
