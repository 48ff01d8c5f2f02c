//! The coordinators themselves. Answered from what this one knows, with or without a quorum.

use super::Api;
use quorate_consensus::types::MemberNode;
use quorate_domain::{HostStatus, OperationStatus, Phase, State, Verdict};
use quorate_rpc::pb::control::{
    GetStatusRequest, GetStatusResponse, ListMembersRequest, ListMembersResponse, Member,
    cluster_server::Cluster,
};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

/// A member that has not answered its leader for this long is worth a warning.
const SILENT_MS: u64 = 2_000;
/// The most running operations and warnings that a status lists.
const LISTED_MAX: usize = 100;

fn count<T>(items: impl Iterator<Item = T>, wanted: impl Fn(&T) -> bool) -> u64 {
    items.filter(wanted).count() as u64
}

/// An even number of voters survives no more failures than one voter less.
fn even_voters(members: &[Member]) -> Option<String> {
    let voters = members.iter().filter(|member| member.voter).count();
    (voters > 0 && voters.is_multiple_of(2)).then(|| {
        let less = voters - 1;
        format!(
            "{voters} coordinators vote: no more of them may fail than of {less}; run {less} or {}",
            voters + 1
        )
    })
}

fn warnings(state: &State, members: &[Member], can_reach_quorum: bool) -> Vec<String> {
    let mut found = Vec::new();
    if !can_reach_quorum {
        found.push(
            "no quorum: nothing can be decided until a majority of the coordinators is up and connected"
                .to_owned(),
        );
    }
    found.extend(even_voters(members));
    let led_here = members.iter().any(|member| member.leader && member.lag_entries.is_some());
    for member in members.iter().filter(|member| led_here && !member.leader) {
        match member.last_answer_ms {
            Some(silent) if silent > SILENT_MS => {
                found.push(format!("coordinator {} has not answered its leader for {silent} ms", member.id));
            }
            None => found.push(format!("coordinator {} has not answered its leader yet", member.id)),
            Some(_) => {}
        }
    }
    for group in state.groups.values() {
        if let Some(blocked) = &group.blocked {
            found.push(format!("group {} cannot fail over: {}", group.id, blocked.reasons.join("; ")));
        }
    }
    for host in state.hosts.values().filter(|host| host.status != HostStatus::Online) {
        found.push(format!("host {} is {}: {}", host.id, host.status, host.last_transition.reason));
    }
    for disk in state.disks.values().filter(|disk| disk.verdict != Verdict::Healthy) {
        let why: Vec<_> = disk.reasons.iter().map(ToString::to_string).collect();
        found.push(format!("disk {} is {}: {}", disk.id, disk.verdict, why.join("; ")));
    }
    for group in state.groups.values().filter(|group| group.backups.is_empty()) {
        found.push(format!("group {} has no backup", group.id));
    }
    let surplus = found.len().saturating_sub(LISTED_MAX);
    if surplus > 0 {
        found.truncate(LISTED_MAX);
        found.push(format!("and {surplus} more"));
    }
    found
}

impl Api {
    fn members(&self) -> Vec<Member> {
        let metrics = self.consensus.raft().metrics().borrow().clone();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let lag = |id: &u64| {
            let last = metrics.last_log_index?;
            let matched = metrics.replication.as_ref()?.get(id)?.map_or(0, |matched| matched.index);
            Some(last.saturating_sub(matched))
        };
        let leads = metrics.state.is_leader();
        let last_answer = |id| {
            let answered = self.peers.last_answer(id).filter(|_| leads)?;
            Some(u64::try_from(answered.elapsed().as_millis()).unwrap_or(u64::MAX))
        };
        let describe = |(id, node): (&u64, &MemberNode)| Member {
            id: *id,
            peer_address: node.peer_address.clone(),
            api_address: node.api_address.clone(),
            voter: voters.contains(id),
            leader: metrics.current_leader == Some(*id),
            lag_entries: lag(id),
            last_answer_ms: last_answer(*id),
        };
        metrics.membership_config.nodes().map(describe).collect()
    }

    fn grace_left_ms(&self) -> Option<u64> {
        let now = self.memory.now();
        self.memory.ask(|leader| leader.grace_left_ms(now))
    }
}

#[tonic::async_trait]
impl Cluster for Api {
    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let leadership = self.consensus.leadership().borrow().clone();
        let view = self.consensus.feed().view();
        let state = &view.state;
        let digested = Arc::clone(state);
        // Of everything there is: not on the thread that everybody is served on.
        let state_digest = spawn_blocking(move || digested.digest())
            .await
            .map_err(|error| Status::internal(format!("the digest of the state: {error}")))?;
        let last_log_index = self.consensus.raft().metrics().borrow().last_log_index.unwrap_or(0);
        let grace_left_ms = self.grace_left_ms();
        let reaches_quorum =
            if leadership.leads { leadership.can_decide() } else { leadership.leader.is_some() };
        let host = |status| count(state.hosts.values(), move |host| host.status == status);
        let disk = |verdict| count(state.disks.values(), move |disk| disk.verdict == verdict);
        let running =
            state.operations.values().filter(|operation| operation.status == OperationStatus::Running);
        let members = self.members();
        let (leader_id, leader_api_address) = leadership
            .leader
            .as_ref()
            .map_or((0, String::new()), |(id, node)| (id.0, node.api_address.clone()));
        Ok(Response::new(GetStatusResponse {
            cluster_id: self.consensus.folder().cluster().to_string(),
            coordinator_id: leadership.node.0,
            leader_id,
            leader_api_address,
            term: leadership.term.0,
            last_log_index,
            applied_index: view.applied_index,
            revision: state.revision().0,
            state_digest,
            quorum_ack_ms: leadership
                .quorum_ack
                .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            // Before an entry of its own is applied, a leader's state may lack what was committed before it.
            can_decide: leadership.can_decide() && view.applied_term == leadership.term,
            hosts_online: host(HostStatus::Online),
            hosts_suspect: host(HostStatus::Suspect),
            hosts_offline: host(HostStatus::Offline),
            disks_healthy: disk(Verdict::Healthy),
            disks_degraded: disk(Verdict::Degraded),
            disks_failed: disk(Verdict::Failed),
            disks_unknown: disk(Verdict::Unknown),
            groups_active: count(state.groups.values(), |group| group.phase == Phase::Active),
            groups_starting: count(state.groups.values(), |group| {
                matches!(group.phase, Phase::Starting { .. })
            }),
            groups_revoked: count(state.groups.values(), |group| !group.phase.grants()),
            groups_blocked: count(state.groups.values(), |group| group.blocked.is_some()),
            running: running.take(LISTED_MAX).map(|operation| operation.as_ref().into()).collect(),
            warnings: warnings(state, &members, reaches_quorum),
            members,
            grace_left_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn list_members(
        &self,
        _request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        Ok(Response::new(ListMembersResponse { members: self.members() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_voters_is_worth_a_warning_and_learners_do_not_count() {
        let member = |id, voter| Member { id, voter, ..Member::default() };
        let voters = |count| (1..=count).map(|id| member(id, true)).collect::<Vec<_>>();
        for count in [0, 1, 3, 5] {
            assert_eq!(even_voters(&voters(count)), None);
        }
        let four = even_voters(&voters(4)).unwrap();
        assert_eq!(four, "4 coordinators vote: no more of them may fail than of 3; run 3 or 5");
        assert_eq!(even_voters(&[voters(3), vec![member(4, false)]].concat()), None);
    }
}
