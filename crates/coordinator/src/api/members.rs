//! Changes of the coordinators, as operators ask for them.

use super::{Accepted, Api, read_error};
use crate::{gateway::refusal, members::raft_view};
use quorate_consensus::types::MemberNode;
use quorate_domain::{
    Command, CoordinatorRole, CoordinatorSpec, Rejection, RequestId, State, text::one_line,
};
use quorate_planner::{
    coordinators::{NextStep, next_step, remarks},
    warnings::{Contact, Coordinators, Standing},
};
use quorate_rpc::{
    ApiError, Client, ClientOptions,
    convert::{CancelRequest, ChangeRequest, Mutation},
    pb::control::{GetStatusRequest, Member, MemberRole, MemberState},
};
use std::time::Duration;
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
                not_ready(&spec.peer_address, format!("it answers: {}", one_line(status.message())))
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
        let status = status
            .map_err(|error| not_ready(&spec.api_address, one_line(&error.to_string()).into_owned()))?;
        let cluster = self.consensus.folder().cluster();
        if status.cluster_id != cluster.as_str() {
            let problem = format!(
                "a coordinator of cluster {} answers there, not of {cluster}",
                one_line(&status.cluster_id)
            );
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
        let mut found = remarks(&self.consensus.feed().view().state);
        found.extend(self.change_waits());
        found.extend(self.peers.run_twice());
        found.extend(self.peers.waiting_starts().iter().map(ToString::to_string));
        found
    }

    /// What a change of the coordinators waits for, as far as this coordinator leads and knows.
    pub(super) fn change_waits(&self) -> Vec<String> {
        let view = self.consensus.feed().view();
        let mut found = Vec::new();
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

    /// The members: those on record, and those that only Raft has, each as it is seen from here.
    pub(super) fn describe_members(&self, state: &State, seen: &Coordinators) -> Vec<Member> {
        let raft = self.consensus.members();
        let ids: std::collections::BTreeSet<_> =
            raft.nodes.keys().chain(state.coordinators.keys()).copied().collect();
        let describe = |id| {
            let known = state.coordinators.get(&id);
            let node = raft.nodes.get(&id);
            let votes = raft.votes(id);
            let role = match known.map(|known| known.role) {
                Some(CoordinatorRole::Voter) => MemberRole::Voter,
                None if votes => MemberRole::Voter,
                Some(CoordinatorRole::Learner) | None => MemberRole::Learner,
            };
            let contact = seen.others.iter().find(|contact| contact.id == id);
            let standing = contact.map_or(Standing::Answering, Contact::standing);
            let (state, state_for_ms, state_reason) = described(standing);
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
                last_answer_ms: self
                    .peers
                    .last_answer(id.0)
                    .and(contact.and_then(|contact| contact.silent_ms)),
                role: role.into(),
                since_ms: known.map_or(0, |known| known.since.0),
                state: state.into(),
                state_for_ms,
                state_reason,
            }
        };
        ids.into_iter().map(describe).collect()
    }
}

/// How a coordinator stands, on the wire: in a word, for how long, and why.
fn described(standing: Standing) -> (MemberState, Option<u64>, String) {
    match standing {
        Standing::Answering => (MemberState::Answering, None, String::new()),
        Standing::Behind(_) => (MemberState::Behind, None, String::new()),
        Standing::NotReached(ms, why) => {
            let why = why.unwrap_or_else(|| "it takes nothing from its leader".to_owned());
            (MemberState::NotReached, Some(ms), why)
        }
        Standing::Refuses(ms, why) => (MemberState::Refuses, Some(ms), why),
        Standing::NotTaken(ms, why) => {
            (MemberState::Refuses, Some(ms), format!("what it answers is not taken, {why}"))
        }
        Standing::NotCounted(ms, why) => (MemberState::NotCounted, Some(ms), why),
        Standing::Unknown => (MemberState::Unknown, None, String::new()),
    }
}
