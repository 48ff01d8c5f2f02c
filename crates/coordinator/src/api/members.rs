//! Changes of the coordinators, as operators ask for them.

use super::{Accepted, Api, read_error};
use crate::{gateway::refusal, members::raft_view};
use quorate_consensus::types::MemberNode;
use quorate_domain::{Command, CoordinatorRole, CoordinatorSpec, Rejection, RequestId, State};
use quorate_planner::coordinators::{NextStep, next_step, remarks};
use quorate_rpc::{
    ApiError, Client, ClientOptions,
    convert::{CancelRequest, ChangeRequest, Mutation},
    pb::control::{GetStatusRequest, Member, MemberRole},
};
use std::time::{Duration, Instant as StdInstant};
use tokio::time::{Instant, timeout};
use tonic::Status;

/// How long a new coordinator may take to say who it is, on either address. Whoever asks for the change waits meanwhile, and
/// a client gives up one try after two or three seconds.
const NEWCOMER_DEADLINE: Duration = Duration::from_secs(1);
/// How long one that has just started may take to find the cluster.
const NEWCOMER_SETTLES: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Api {
    /// Begins a change. A new coordinator is asked first whether it is ready to be one.
    pub(super) async fn change_members(
        &self,
        request: ChangeRequest,
    ) -> Result<(Accepted, Vec<String>), Status> {
        let ChangeRequest { request_id, change } = request;
        self.check_leads()?;
        self.wait_for_record().await;
        if let Some(spec) = change.joins()
            && !self.was_answered(&request_id)
            && let Err(refused) = self.check_newcomer(spec).await
        {
            // The leader before this one may have taken the request, and the newcomer has joined since. What was committed
            // by now is applied once a quorum has confirmed it.
            self.consensus.confirmed_view().await.map_err(read_error)?;
            if !self.was_answered(&request_id) {
                return Err(refused);
            }
        }
        let heard = raft_view(&self.consensus, &self.peers).heard();
        let command = Command::BeginCoordinatorChange { change, heard };
        let accepted = self.mutate(Mutation { request_id, command }).await?;
        Ok((accepted, self.member_warnings()))
    }

    /// Takes a change back.
    pub(super) async fn cancel_change(
        &self,
        request: CancelRequest,
    ) -> Result<(Accepted, Vec<String>), Status> {
        let CancelRequest { request_id, operation } = request;
        self.check_leads()?;
        let heard = raft_view(&self.consensus, &self.peers).heard();
        let command = Command::CancelCoordinatorChange { operation, heard };
        let accepted = self.mutate(Mutation { request_id, command }).await?;
        Ok((accepted, self.member_warnings()))
    }

    /// The leader of a new cluster has its coordinators on record within a moment. Without that a change is refused, and
    /// told why.
    async fn wait_for_record(&self) {
        let mut views = self.consensus.feed().watch();
        let recorded = views.wait_for(|view| !view.state.coordinators.is_empty());
        let _ = timeout(self.proposal_deadline, recorded).await;
    }

    fn check_leads(&self) -> Result<(), Status> {
        let leadership = self.consensus.leadership().borrow().clone();
        if leadership.leads { Ok(()) } else { Err(refusal(&leadership).into()) }
    }

    /// True when the answer to this request is known: it is given again, whatever became of the new coordinator since.
    fn was_answered(&self, request: &RequestId) -> bool {
        self.consensus.feed().view().state.requests.get(request).is_some()
    }

    /// Whether a coordinator of that number runs there, on an empty data folder of this cluster, and answers clients.
    async fn check_newcomer(&self, spec: &CoordinatorSpec) -> Result<(), Status> {
        let not_ready = |address: &str, problem: String| {
            let address = address.to_owned();
            let rejection = Rejection::CoordinatorNotReady { id: spec.id, address, problem };
            Status::from(ApiError::Rejected(rejection))
        };
        let node =
            MemberNode { peer_address: spec.peer_address.clone(), api_address: spec.api_address.clone() };
        let settled_by = Instant::now() + NEWCOMER_SETTLES;
        loop {
            let answer = self.peers.identify_newcomer(spec.id, &node, NEWCOMER_DEADLINE).await;
            let answer = answer.map_err(|status| {
                not_ready(&spec.peer_address, format!("it answers: {}", status.message()))
            })?;
            if answer.initialized {
                let problem = "its data_dir is not empty: it was a member of a cluster before".to_owned();
                return Err(not_ready(&spec.peer_address, problem));
            }
            if answer.takes_part {
                break;
            }
            // It would refuse the log.
            if Instant::now() >= settled_by {
                let problem = "its `members` name no present coordinator that it reaches: correct them and start \
                               it again";
                return Err(not_ready(&spec.peer_address, problem.to_owned()));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let options = ClientOptions {
            deadline: NEWCOMER_DEADLINE,
            per_try_timeout: NEWCOMER_DEADLINE,
            ..ClientOptions::default()
        };
        let client = Client::connect([&spec.api_address], options)
            .map_err(|error| not_ready(&spec.api_address, error.to_string()))?;
        let status = client.get_status(GetStatusRequest::default()).await;
        let status = status.map_err(|error| not_ready(&spec.api_address, error.to_string()))?;
        let cluster = self.consensus.folder().cluster();
        if status.cluster_id != cluster.as_str() {
            let problem =
                format!("a coordinator of cluster {} answers there, not of {cluster}", status.cluster_id);
            return Err(not_ready(&spec.api_address, problem));
        }
        if status.coordinator_id != spec.id.0 {
            let problem = format!("coordinator {} answers there", status.coordinator_id);
            return Err(not_ready(&spec.api_address, problem));
        }
        Ok(())
    }

    /// What a change of the coordinators waits for, as far as this coordinator leads and knows, and what else is to be
    /// said of them.
    pub(super) fn member_warnings(&self) -> Vec<String> {
        let view = self.consensus.feed().view();
        let mut found = remarks(&view.state);
        found.extend(self.peers.run_twice());
        let leadership = self.consensus.leadership().borrow().clone();
        if leadership.can_decide()
            && let Some((operation, progress)) = view.state.open_change()
        {
            let reasons = match next_step(&view.state, &raft_view(&self.consensus, &self.peers)) {
                NextStep::Wait(reasons) => reasons,
                NextStep::HandOver if !leadership.may_hand_over() => vec![format!(
                    "coordinator {} leads and loses its vote, and no other one took over when it handed over; it does so \
                     again, ever more rarely: look at the network between the others",
                    leadership.node
                )],
                _ => vec![],
            };
            let (id, change) = (operation.id, &progress.change);
            found.extend(reasons.iter().map(|reason| format!("{change} ({id}) waits: {reason}")));
        }
        found
    }

    /// The members: those on record, and those that only Raft has.
    pub(super) fn describe_members(&self, state: &State) -> Vec<Member> {
        let raft = self.consensus.members();
        let ids: std::collections::BTreeSet<_> =
            raft.nodes.keys().chain(state.coordinators.keys()).copied().collect();
        let led_since = self.consensus.leadership().borrow().led_since;
        let describe = |id| {
            let known = state.coordinators.get(&id);
            let node = raft.nodes.get(&id);
            let votes = raft.votes(id);
            let role = match known.map(|known| known.role) {
                Some(CoordinatorRole::Voter) => MemberRole::Voter,
                None if votes => MemberRole::Voter,
                Some(CoordinatorRole::Learner) | None => MemberRole::Learner,
            };
            let answered = self.peers.last_answer(id.0).filter(|_| raft.leads);
            let silent = answered.map(|at| silence(at, led_since, StdInstant::now()));
            let lag = raft.last_index.saturating_sub(raft.matched.get(&id).copied().unwrap_or(0));
            Member {
                id: id.0,
                peer_address: node
                    .map(|node| node.peer_address.clone())
                    .or_else(|| known.map(|known| known.peer_address.clone()))
                    .unwrap_or_default(),
                api_address: node
                    .map(|node| node.api_address.clone())
                    .or_else(|| known.map(|known| known.api_address.clone()))
                    .unwrap_or_default(),
                voter: votes,
                leader: raft.leader == Some(id),
                lag_entries: (raft.leads && node.is_some()).then_some(lag),
                last_answer_ms: silent.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                role: role.into(),
                since_ms: known.map_or(0, |known| known.since.0),
            }
        };
        ids.into_iter().map(describe).collect()
    }
}

/// For how long a member has said nothing to its leader. What it answered an earlier leadership of this coordinator, or
/// when it was asked for its vote long ago, is no measure of that: nobody asked it since, while another one led.
fn silence(last_answer: StdInstant, led_since: Option<StdInstant>, now: StdInstant) -> Duration {
    now.saturating_duration_since(led_since.map_or(last_answer, |since| last_answer.max(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_silent_since_its_last_answer_or_since_it_was_led_from_here() {
        let begun = StdInstant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(silence(at(7), Some(at(5)), at(8)), Duration::from_secs(1));
        assert_eq!(
            silence(at(0), Some(at(355)), at(357)),
            Duration::from_secs(2),
            "it was not asked meanwhile"
        );
        assert_eq!(silence(at(7), None, at(8)), Duration::from_secs(1));
        assert_eq!(silence(at(9), Some(at(5)), at(8)), Duration::ZERO);
    }
}
