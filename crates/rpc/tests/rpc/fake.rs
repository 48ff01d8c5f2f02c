//! A coordinator that answers from a script, on a real connection.

use quorate_rpc::{
    ApiError,
    pb::{
        agent::{
            AgentMessage, CoordinatorMessage,
            agent_gateway_server::{AgentGateway, AgentGatewayServer},
        },
        control::{
            events_server::{Events, EventsServer},
            groups_server::{Groups, GroupsServer},
            operations_server::{Operations, OperationsServer},
            *,
        },
        types::Revision,
    },
};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// What to do with one request. The last entry of a script is used for ever.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Answer well, at this revision.
    Accept(u64),
    /// Answer with an error.
    Fail(ApiError),
    /// Never answer.
    Hang,
}

/// One watch: these messages, then the end.
pub(crate) type Watch = Vec<Result<WatchEventsResponse, ApiError>>;

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) request_ids: Vec<String>,
    pub(crate) with_deadline: Vec<bool>,
    pub(crate) reads: usize,
    pub(crate) watch_starts: Vec<u64>,
    pub(crate) wait_timeouts_ms: Vec<u64>,
    pub(crate) hellos: Vec<AgentMessage>,
}

#[derive(Default)]
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    watches: Mutex<VecDeque<Watch>>,
    seen: Mutex<Seen>,
}

pub(crate) struct FakeCoordinator {
    pub(crate) address: String,
    script: Arc<Script>,
    server: JoinHandle<()>,
}

impl Drop for FakeCoordinator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeCoordinator {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(replies, []).await
    }

    pub(crate) async fn watched(watches: impl IntoIterator<Item = Watch>) -> Self {
        Self::with([], watches).await
    }

    async fn with(
        replies: impl IntoIterator<Item = Reply>,
        watches: impl IntoIterator<Item = Watch>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Script {
            replies: Mutex::new(replies.into_iter().collect()),
            watches: Mutex::new(watches.into_iter().collect()),
            seen: Mutex::default(),
        });
        let service = Service(Arc::clone(&script));
        let router = Server::builder()
            .add_service(GroupsServer::new(service.clone()))
            .add_service(EventsServer::new(service.clone()))
            .add_service(OperationsServer::new(service.clone()))
            .add_service(AgentGatewayServer::new(service));
        let server = tokio::spawn(async move {
            router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, script, server }
    }

    /// What was asked so far.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.script.seen.lock().unwrap())
    }
}

/// An address on which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[derive(Clone)]
struct Service(Arc<Script>);

impl Service {
    async fn reply(&self) -> Result<u64, Status> {
        let reply = {
            let mut replies = self.0.replies.lock().unwrap();
            let reply = replies.front().cloned().expect("a script is not empty");
            if replies.len() > 1 {
                replies.pop_front();
            }
            reply
        };
        match reply {
            Reply::Accept(revision) => Ok(revision),
            Reply::Fail(error) => Err(error.into()),
            Reply::Hang => std::future::pending().await,
        }
    }

    async fn mutation<T>(&self, request: &Request<T>, request_id: &str) -> Result<u64, Status> {
        {
            let mut seen = self.0.seen.lock().unwrap();
            seen.request_ids.push(request_id.to_owned());
            seen.with_deadline.push(request.metadata().contains_key("grpc-timeout"));
        }
        self.reply().await
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Groups for Service {
    async fn create_group(&self, request: Request<CreateGroupRequest>) -> Answer<CreateGroupResponse> {
        let revision = self.mutation(&request, &request.get_ref().request_id).await?;
        Ok(Response::new(CreateGroupResponse { revision }))
    }
    async fn accept_group_member(
        &self,
        request: Request<AcceptGroupMemberRequest>,
    ) -> Answer<AcceptGroupMemberResponse> {
        let revision = self.mutation(&request, &request.get_ref().request_id).await?;
        Ok(Response::new(AcceptGroupMemberResponse { revision }))
    }
    async fn delete_group(&self, request: Request<DeleteGroupRequest>) -> Answer<DeleteGroupResponse> {
        let revision = self.mutation(&request, &request.get_ref().request_id).await?;
        Ok(Response::new(DeleteGroupResponse { revision }))
    }
    async fn set_group_labels(
        &self,
        request: Request<SetGroupLabelsRequest>,
    ) -> Answer<SetGroupLabelsResponse> {
        let revision = self.mutation(&request, &request.get_ref().request_id).await?;
        Ok(Response::new(SetGroupLabelsResponse { revision }))
    }
    async fn request_failover(
        &self,
        request: Request<RequestFailoverRequest>,
    ) -> Answer<RequestFailoverResponse> {
        let revision = self.mutation(&request, &request.get_ref().request_id).await?;
        Ok(Response::new(RequestFailoverResponse { revision, operation: format!("op-{revision}") }))
    }
    async fn get_group(&self, _: Request<GetGroupRequest>) -> Answer<GetGroupResponse> {
        self.0.seen.lock().unwrap().reads += 1;
        self.reply().await?;
        Ok(Response::new(GetGroupResponse::default()))
    }
    async fn add_group_member(&self, _: Request<AddGroupMemberRequest>) -> Answer<AddGroupMemberResponse> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn remove_group_member(
        &self,
        _: Request<RemoveGroupMemberRequest>,
    ) -> Answer<RemoveGroupMemberResponse> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn reorder_group_members(
        &self,
        _: Request<ReorderGroupMembersRequest>,
    ) -> Answer<ReorderGroupMembersResponse> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn list_groups(&self, _: Request<ListGroupsRequest>) -> Answer<ListGroupsResponse> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn get_group_history(&self, _: Request<GetGroupHistoryRequest>) -> Answer<GetGroupHistoryResponse> {
        Err(Status::unimplemented("not in the script"))
    }
}

#[tonic::async_trait]
impl Events for Service {
    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn list_events(&self, _: Request<ListEventsRequest>) -> Answer<ListEventsResponse> {
        Err(Status::unimplemented("not in the script"))
    }

    async fn watch_events(&self, request: Request<WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        {
            let mut seen = self.0.seen.lock().unwrap();
            seen.with_deadline.push(request.metadata().contains_key("grpc-timeout"));
            seen.watch_starts.push(request.into_inner().start_revision);
        }
        match self.0.watches.lock().unwrap().pop_front() {
            Some(watch) => {
                let items = watch.into_iter().map(|item| item.map_err(Status::from));
                Ok(Response::new(Box::pin(tokio_stream::iter(items.collect::<Vec<_>>()))))
            }
            None => Ok(Response::new(Box::pin(tokio_stream::pending()))),
        }
    }
}

#[tonic::async_trait]
impl Operations for Service {
    async fn get_operation(&self, _: Request<GetOperationRequest>) -> Answer<GetOperationResponse> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn list_operations(&self, _: Request<ListOperationsRequest>) -> Answer<ListOperationsResponse> {
        Err(Status::unimplemented("not in the script"))
    }
    async fn wait_operation(&self, request: Request<WaitOperationRequest>) -> Answer<WaitOperationResponse> {
        self.0.seen.lock().unwrap().wait_timeouts_ms.push(request.into_inner().timeout_ms);
        let revision = self.reply().await?;
        Ok(Response::new(WaitOperationResponse { operation: None, finished: revision > 0 }))
    }
}

#[tonic::async_trait]
impl AgentGateway for Service {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

    /// Reads the hello before it accepts, then answers every further message with an empty one.
    async fn session(&self, request: Request<Streaming<AgentMessage>>) -> Answer<Self::SessionStream> {
        let mut incoming = request.into_inner();
        let hello = incoming.message().await?.expect("a session begins with a hello");
        self.0.seen.lock().unwrap().hellos.push(hello);
        self.reply().await?;
        let answers = incoming.map(|message| message.map(|_| CoordinatorMessage::default()));
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A message with these revisions.
pub(crate) fn revisions(numbers: impl IntoIterator<Item = u64>) -> WatchEventsResponse {
    let revisions: Vec<_> =
        numbers.into_iter().map(|revision| Revision { revision, ..Revision::default() }).collect();
    let through_revision = revisions.last().map_or(0, |last| last.revision);
    WatchEventsResponse { revisions, through_revision }
}

/// Fails the test when something takes longer than anything here should.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("no answer within 20 s")
}
