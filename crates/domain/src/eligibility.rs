//! Who may be promoted, and why not.

use crate::{
    disk::{DiskIdentity, Verdict},
    group::{Group, Member, verdict_rank},
    host::{Cordon, HostStatus},
    ids::{DiskId, Epoch, GroupId, HostId},
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
    /// Its agent started anew, and another medium may sit in the disk's place by now.
    #[error("its disk {0} was not read yet by the present start of its agent")]
    DiskNotRead(DiskId),
    /// An operator keeps its host from becoming primary of anything more.
    #[error("host {host} is cordoned ({reason}); `quorate host uncordon {host}` first")]
    Cordoned {
        /// The host.
        host: HostId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// It holds no copy as far as anybody knows.
    #[error(
        "its disk {disk} is not known to hold a copy ({missed} did, {present} is there); put that one back, or, once it holds a copy, `quorate group member accept {group} {} --reason TEXT`",
        disk.host
    )]
    NotAccepted {
        /// The group.
        group: GroupId,
        /// The disk.
        disk: DiskId,
        /// The medium that held the copy.
        missed: DiskIdentity,
        /// The medium that is there.
        present: DiskIdentity,
    },
}

impl Ineligible {
    pub(crate) fn cordoned(host: &HostId, cordon: &Cordon) -> Self {
        Self::Cordoned { host: host.clone(), reason: cordon.reason.clone() }
    }
}

/// Says whether a member of the group may be made its primary as things stand.
///
/// Every member of a group on the medium that it had counts as in sync in this version: the data itself joins with shards
/// and replicas.
///
/// # Errors
/// The first reason against it.
pub fn eligibility(state: &State, group: &Group, member: &Member) -> Result<(), Ineligible> {
    fitness(state, member)?;
    if let Some(epoch) = group.unstopped.get(&member.host) {
        return Err(Ineligible::NotStopped(*epoch));
    }
    // Where it is primary already it may stay so, under a new epoch too.
    if member.host != group.primary.host
        && let Some(cordon) = state.hosts.get(&member.host).and_then(|host| host.cordoned.as_ref())
    {
        return Err(Ineligible::cordoned(&member.host, cordon));
    }
    #[cfg(planted)]
    if crate::planted::is(crate::planted::Bug::BlankDiskEligible) {
        return Ok(());
    }
    let Some(missed) = group.unaccepted.get(&member.host) else { return Ok(()) };
    let disk = member.disk_id();
    let present = state.disks.get(&disk).map_or_else(|| missed.clone(), |disk| disk.identity.clone());
    Err(Ineligible::NotAccepted { group: group.id.clone(), disk, missed: missed.clone(), present })
}

/// Says whether a host and a disk of it may serve any group.
///
/// # Errors
/// The first reason against it.
pub fn fitness(state: &State, member: &Member) -> Result<(), Ineligible> {
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
    #[cfg(planted)]
    if crate::planted::is(crate::planted::Bug::BlankDiskEligible) {
        return Ok(());
    }
    if disk.awaits_report {
        return Err(Ineligible::DiskNotRead(id));
    }
    Ok(())
}

/// The members of a group that may be promoted, best first, and one line for each that may not.
///
/// `prefer_primary` puts the present primary first, unless its host is cordoned; otherwise it comes last, so that it is taken
/// again only when no other can be. Among backups a better disk comes first, then the order of the group.
pub fn candidates(state: &State, group: &Group, prefer_primary: bool) -> (Vec<Member>, Vec<String>) {
    let cordoned = state.hosts.get(&group.primary.host).is_some_and(|host| host.cordoned.is_some());
    let prefer_primary = prefer_primary && !cordoned;
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
