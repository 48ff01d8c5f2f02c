//! What local processes ask: role, epoch and deadlines. Answered by the task that owns the core, at its clock reading
//! of that moment.

mod guard;

use crate::event::Event;
use quorate_agent_core::{BootMs, LocalRole, RoleAnswer};
use quorate_domain::{ClusterId, GroupId, HostId, Incarnation, ServiceMode};
use quorate_rpc::{
    ApiError,
    client::meant_cluster,
    convert::group_id,
    pb::{
        agent::{
            GetRoleRequest, GetRoleResponse, GroupRole, GuardRequest, GuardResponse, GuardStoppedRequest,
            GuardStoppedResponse, ListRolesRequest, ListRolesResponse, local_agent_server::LocalAgent,
        },
        types,
    },
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

/// The most questions that wait.
pub(crate) const QUESTIONS_MAX: usize = 1_024;
/// An answer that takes longer is none: who asked must not go on waiting for a right that runs out meanwhile.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// A question to the core.
#[derive(Debug)]
pub(crate) struct Question {
    /// About this group, or about all.
    pub(crate) group: Option<GroupId>,
    /// Whoever asks only looks, and will not act on the answer.
    pub(crate) observe_only: bool,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What was true at one instant.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) roles: Vec<RoleAnswer>,
    pub(crate) at: BootMs,
    pub(crate) host: HostId,
    pub(crate) incarnation: Incarnation,
    pub(crate) service_mode: ServiceMode,
    pub(crate) service_mode_reason: String,
}

/// The service.
#[derive(Debug)]
pub(crate) struct LocalApi {
    pub(crate) host: HostId,
    /// The host's, once it is known.
    pub(crate) cluster: Arc<OnceLock<ClusterId>>,
    pub(crate) questions: mpsc::Sender<Question>,
    pub(crate) events: mpsc::Sender<Event>,
}

impl LocalApi {
    /// Refuses whoever means another cluster; the one that is meant, when it is not known yet which one this is.
    fn check_cluster(&self, metadata: &MetadataMap) -> Result<Option<ClusterId>, ApiError> {
        let Some(theirs) = meant_cluster(metadata).map_err(ApiError::Invalid)? else { return Ok(None) };
        match self.cluster.get() {
            None => Ok(Some(theirs)),
            Some(ours) if *ours == theirs => Ok(None),
            Some(ours) => Err(ApiError::OtherCluster { who: "agent", ours: ours.clone(), theirs }),
        }
    }

    async fn ask(&self, group: Option<GroupId>, observe_only: bool) -> Result<Answer, Status> {
        let (answer, answered) = oneshot::channel();
        let question = Question { group, observe_only, answer };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.questions.try_send(question) {
            return Err(ApiError::Overloaded.into());
        }
        match tokio::time::timeout(ANSWER_WAIT, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(stopping().into()),
            Err(_) => Err(ApiError::TooLate { what: "the agent's answer", remedy: "act for nothing" }.into()),
        }
    }
}

fn stopping() -> ApiError {
    ApiError::Stopping { who: "the agent", remedy: "this host acts for nothing" }
}

#[tonic::async_trait]
impl LocalAgent for LocalApi {
    type GuardStream = ReceiverStream<Result<GuardResponse, Status>>;

    async fn guard(
        &self,
        request: Request<Streaming<GuardRequest>>,
    ) -> Result<Response<Self::GuardStream>, Status> {
        guard::check_local(&request)?;
        // Whoever takes the host in later might be another one, and the guard's service would run for that.
        if let Some(meant) = self.check_cluster(request.metadata())? {
            let problem = format!("no cluster has taken this host in yet, and {meant} is meant");
            return Err(Status::unavailable(problem));
        }
        let answers = guard::attach(self.host.clone(), self.events.clone(), request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn guard_stopped(
        &self,
        request: Request<GuardStoppedRequest>,
    ) -> Result<Response<GuardStoppedResponse>, Status> {
        guard::check_local(&request)?;
        guard::stopped(&self.events, request.into_inner()).await?;
        Ok(Response::new(GuardStoppedResponse {}))
    }

    async fn get_role(&self, request: Request<GetRoleRequest>) -> Result<Response<GetRoleResponse>, Status> {
        self.check_cluster(request.metadata())?;
        let group = group_id(&request.into_inner().group).map_err(ApiError::from)?;
        let mut answer = self.ask(Some(group.clone()), false).await?;
        let Some(role) = answer.roles.pop() else {
            return Err(ApiError::NotFound { what: "group", id: group.to_string() }.into());
        };
        Ok(Response::new(GetRoleResponse {
            role: Some(group_role(&role)),
            at_boot_ms: answer.at.0,
            host: answer.host.to_string(),
            service_mode: wire_mode(answer.service_mode),
            service_mode_reason: answer.service_mode_reason,
        }))
    }

    async fn list_roles(
        &self,
        request: Request<ListRolesRequest>,
    ) -> Result<Response<ListRolesResponse>, Status> {
        self.check_cluster(request.metadata())?;
        let answer = self.ask(None, request.into_inner().observe_only).await?;
        Ok(Response::new(ListRolesResponse {
            roles: answer.roles.iter().map(group_role).collect(),
            at_boot_ms: answer.at.0,
            host: answer.host.to_string(),
            service_mode: wire_mode(answer.service_mode),
            service_mode_reason: answer.service_mode_reason,
            incarnation: answer.incarnation.0,
        }))
    }
}

fn wire_mode(mode: ServiceMode) -> i32 {
    types::ServiceMode::from(mode).into()
}

fn group_role(answer: &RoleAnswer) -> GroupRole {
    let role = match answer.role {
        LocalRole::Primary => types::Role::Primary,
        LocalRole::Backup => types::Role::Backup,
        LocalRole::Fenced => types::Role::Fenced,
    };
    GroupRole {
        group: answer.group.to_string(),
        role: role.into(),
        epoch: answer.epoch.0,
        write_deadline_boot_ms: answer.write_deadline.0,
        lease_deadline_boot_ms: answer.lease_deadline.0,
        reason: answer.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_rpc::client::mean_cluster;

    #[tokio::test]
    async fn whoever_means_another_cluster_is_refused_and_one_that_is_not_known_yet_is_no_yes() {
        let (questions, _asked) = mpsc::channel(1);
        let (events, _happened) = mpsc::channel(1);
        let name = |name: &str| ClusterId::new(name).unwrap();
        let cluster = Arc::new(OnceLock::new());
        let host = HostId::new("h1").unwrap();
        let api = LocalApi { host, cluster: Arc::clone(&cluster), questions, events };
        let checked = |meant: Option<&ClusterId>| {
            let mut metadata = MetadataMap::new();
            mean_cluster(&mut metadata, meant);
            api.check_cluster(&metadata)
        };
        let (ours, theirs) = (name("test"), name("prod"));
        assert_eq!(checked(None), Ok(None));
        assert_eq!(checked(Some(&ours)), Ok(Some(ours.clone())), "it may be taken in by any");
        cluster.set(ours.clone()).unwrap();
        assert_eq!(checked(None), Ok(None));
        assert_eq!(checked(Some(&ours)), Ok(None));
        let refusal = ApiError::OtherCluster { who: "agent", ours, theirs: theirs.clone() };
        assert_eq!(checked(Some(&theirs)), Err(refusal));
    }
}
