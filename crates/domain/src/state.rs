//! The replicated state.

use crate::{
    coordinator::{ChangeProgress, Coordinator, CoordinatorRole},
    disk::Disk,
    group::{Group, Phase},
    host::Host,
    ids::{ClusterId, CoordinatorId, DiskId, FormationId, GroupId, HostId, OperationId, Revision, Timestamp},
    incidents::{Led, RefusedAgent},
    operation::{Operation, OperationStatus},
    request::Requests,
    settings::Settings,
};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// The protocol level that this build writes: raised by a command once all members understand the next.
pub const PROTOCOL: u32 = 1;

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name; none before the first command.
    pub id: Option<ClusterId>,
    /// Which forming of a cluster of this name it is; none before the first command, and in clusters from before there
    /// were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formation: Option<FormationId>,
    /// The level of decide logic that all members have agreed on.
    pub protocol: u32,
    /// Replicated settings.
    pub settings: Settings,
    /// When it was formed.
    pub created_at: Timestamp,
    /// The time of the last command; never goes back.
    pub now: Timestamp,
    /// The last revision.
    pub revision: Revision,
    /// The highest number that a coordinator ever had; zero before the first are on record. Numbers are never used
    /// again: Raft would take what the new one holds for what the old one had acknowledged (openraft issue 2002).
    #[serde(default, skip_serializing_if = "CoordinatorId::is_none")]
    pub highest_coordinator: CoordinatorId,
    /// Who leads, by what the last leader has put on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub led: Option<Led>,
    /// Agents that were refused lately.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedAgent>,
}

/// Everything the coordinators agree on. A clone is a consistent view and costs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The cluster itself, with the clock and the revision.
    pub cluster: Arc<Cluster>,
    /// Storage hosts.
    pub hosts: OrdMap<HostId, Arc<Host>>,
    /// Their disks.
    pub disks: OrdMap<DiskId, Arc<Disk>>,
    /// Failover groups.
    pub groups: OrdMap<GroupId, Arc<Group>>,
    /// The coordinators on record; none before the first leader has recorded those that formed the cluster.
    pub coordinators: OrdMap<CoordinatorId, Arc<Coordinator>>,
    /// Operations, running and lately finished.
    pub operations: OrdMap<OperationId, Arc<Operation>>,
    /// Remembered requests.
    pub requests: Requests,
    /// Derived: which groups a host is a member of.
    pub(crate) groups_of: OrdMap<HostId, OrdSet<GroupId>>,
    /// Derived: groups whose primary was revoked, to be promoted anew or deleted.
    pub(crate) revoked: OrdSet<GroupId>,
    /// Derived: groups whose primary has not acknowledged yet.
    pub(crate) starting: OrdSet<GroupId>,
    /// Derived: finished operations that may be forgotten, oldest first.
    pub(crate) finished: OrdSet<OperationId>,
    /// Derived: the change of coordinators under way.
    pub(crate) open_change: Option<OperationId>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            cluster: Arc::new(Cluster {
                id: None,
                formation: None,
                protocol: PROTOCOL,
                settings: Settings::default(),
                created_at: Timestamp(0),
                now: Timestamp(0),
                revision: Revision(0),
                highest_coordinator: CoordinatorId(0),
                led: None,
                refused: Vec::new(),
            }),
            hosts: OrdMap::new(),
            disks: OrdMap::new(),
            groups: OrdMap::new(),
            coordinators: OrdMap::new(),
            operations: OrdMap::new(),
            requests: Requests::default(),
            groups_of: OrdMap::new(),
            revoked: OrdSet::new(),
            starting: OrdSet::new(),
            finished: OrdSet::new(),
            open_change: None,
        }
    }
}

impl State {
    /// The last revision.
    pub fn revision(&self) -> Revision {
        self.cluster.revision
    }

    /// The time of the last command.
    pub fn now(&self) -> Timestamp {
        self.cluster.now
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.cluster.settings
    }

    /// The groups that a host is a member of, in order of their names.
    pub fn groups_of(&self, host: &HostId) -> impl Iterator<Item = &Arc<Group>> {
        self.groups_of.get(host).into_iter().flatten().filter_map(|id| self.groups.get(id))
    }

    /// The groups whose primary was revoked, those being deleted among them, in order of their names.
    pub fn revoked_groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.revoked.iter().filter_map(|id| self.groups.get(id))
    }

    /// The groups whose primary has not acknowledged yet, in order of their names.
    pub fn starting_groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.starting.iter().filter_map(|id| self.groups.get(id))
    }

    /// The disks of a host, in order of their names.
    pub fn disks_of(&self, host: &HostId) -> impl Iterator<Item = &Arc<Disk>> {
        let host = host.clone();
        self.disks
            .range(DiskId::first_of(host.clone())..)
            .map(|(_, disk)| disk)
            .take_while(move |disk| disk.id.host == host)
    }

    /// Who votes, by the record.
    pub fn recorded_voters(&self) -> BTreeSet<CoordinatorId> {
        let voters = self.coordinators.values().filter(|known| known.role == CoordinatorRole::Voter);
        voters.map(|known| known.id).collect()
    }

    /// The change of coordinators under way, if there is one.
    pub fn open_change(&self) -> Option<(&Arc<Operation>, &ChangeProgress)> {
        let operation = self.operations.get(&self.open_change?)?;
        Some((operation, operation.coordinator_change()?))
    }

    /// True when a coordinator of this number was one once and is none any more.
    pub fn has_gone(&self, id: CoordinatorId) -> bool {
        id <= self.cluster.highest_coordinator && !self.coordinators.contains_key(&id)
    }

    pub(crate) fn index_group(&mut self, group: &Group) {
        for member in group.members() {
            self.groups_of.entry(member.host.clone()).or_default().insert(group.id.clone());
        }
    }

    pub(crate) fn unindex_group(&mut self, group: &Group) {
        for member in group.members() {
            let emptied = self.groups_of.get_mut(&member.host).is_some_and(|groups| {
                groups.remove(&group.id);
                groups.is_empty()
            });
            if emptied {
                self.groups_of.remove(&member.host);
            }
        }
    }

    /// Notes in which phase a group is; none once it is gone.
    pub(crate) fn index_phase(&mut self, group: &GroupId, phase: Option<&Phase>) {
        let is_in = |index: &mut OrdSet<GroupId>, belongs: bool| {
            if belongs {
                index.insert(group.clone());
            } else {
                index.remove(group);
            }
        };
        is_in(&mut self.revoked, phase.is_some_and(|phase| !phase.grants()));
        is_in(&mut self.starting, matches!(phase, Some(Phase::Starting { .. })));
    }

    /// Rebuilds what is derived; for a state that was read back from rows.
    pub(crate) fn reindex(&mut self) {
        (self.groups_of, self.revoked, self.starting) = (OrdMap::new(), OrdSet::new(), OrdSet::new());
        let groups: Vec<_> = self.groups.values().cloned().collect();
        for group in groups {
            self.index_group(&group);
            self.index_phase(&group.id, Some(&group.phase));
        }
        self.finished = self
            .operations
            .values()
            .filter(|operation| operation.status != OperationStatus::Running)
            .map(|operation| operation.id)
            .collect();
        self.open_change = self
            .operations
            .values()
            .find(|operation| {
                operation.status == OperationStatus::Running && operation.coordinator_change().is_some()
            })
            .map(|operation| operation.id);
    }
}
