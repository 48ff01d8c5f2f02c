//! Whoever wants to know how the cluster is asks the others before an old leader's word is believed.

use crate::fake::{nobody, soon};
use quorate_rpc::{
    Client, ClientOptions,
    pb::control::{
        AddMemberRequest, AddMemberResponse, CancelMemberChangeRequest, CancelMemberChangeResponse,
        GetStatusRequest, GetStatusResponse, ListMembersRequest, ListMembersResponse, Member,
        PromoteMemberRequest, PromoteMemberResponse, RemoveMemberRequest, RemoveMemberResponse,
        ReplaceMemberRequest, ReplaceMemberResponse,
        cluster_server::{Cluster, ClusterServer},
    },
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

type Answer<T> = Result<Response<T>, Status>;

/// A coordinator that says of the cluster what it is told to; the last word again and again.
#[derive(Clone)]
struct Says(Arc<Mutex<VecDeque<GetStatusResponse>>>);

impl Says {
    async fn start(statuses: impl IntoIterator<Item = GetStatusResponse>) -> (String, Self) {
        let says = Self(Arc::new(Mutex::new(statuses.into_iter().collect())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::builder().add_service(ClusterServer::new(says.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (address, says)
    }

    fn tell(&self, status: GetStatusResponse) {
        *self.0.lock().unwrap() = VecDeque::from([status]);
    }
}

fn never<T>() -> Answer<T> {
    Err(Status::unimplemented("only the status is asked for"))
}

#[tonic::async_trait]
impl Cluster for Says {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let mut statuses = self.0.lock().unwrap();
        let status = if statuses.len() > 1 { statuses.pop_front() } else { statuses.front().cloned() };
        Ok(Response::new(status.unwrap()))
    }

    async fn list_members(&self, _: Request<ListMembersRequest>) -> Answer<ListMembersResponse> {
        never()
    }

    async fn add_member(&self, _: Request<AddMemberRequest>) -> Answer<AddMemberResponse> {
        never()
    }

    async fn promote_member(&self, _: Request<PromoteMemberRequest>) -> Answer<PromoteMemberResponse> {
        never()
    }

    async fn remove_member(&self, _: Request<RemoveMemberRequest>) -> Answer<RemoveMemberResponse> {
        never()
    }

    async fn replace_member(&self, _: Request<ReplaceMemberRequest>) -> Answer<ReplaceMemberResponse> {
        never()
    }

    async fn cancel_member_change(
        &self,
        _: Request<CancelMemberChangeRequest>,
    ) -> Answer<CancelMemberChangeResponse> {
        never()
    }
}

fn cut_off(members: &[&str]) -> GetStatusResponse {
    let members =
        members.iter().map(|address| Member { api_address: (*address).to_owned(), ..Member::default() });
    GetStatusResponse {
        coordinator_id: 1,
        leader_id: 1,
        term: 5,
        members: members.collect(),
        ..GetStatusResponse::default()
    }
}

fn leads(term: u64) -> GetStatusResponse {
    GetStatusResponse {
        coordinator_id: 2,
        leader_id: 2,
        term,
        can_decide: true,
        reaches_quorum: true,
        ..GetStatusResponse::default()
    }
}

fn follows(leader: &str) -> GetStatusResponse {
    GetStatusResponse {
        coordinator_id: 3,
        leader_id: 2,
        leader_api_address: leader.to_owned(),
        term: 6,
        reaches_quorum: true,
        ..GetStatusResponse::default()
    }
}

fn client(addresses: &[&str]) -> Client {
    let options = ClientOptions { deadline: Duration::from_secs(10), ..ClientOptions::default() };
    Client::connect(addresses, options).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_old_leader_that_is_asked_first_is_not_believed_where_another_one_can_decide() {
    let (new, _) = Says::start([leads(6)]).await;
    let (old, _) = Says::start([cut_off(&[])]).await;
    let survey = soon(client(&[&old, &new]).survey(GetStatusRequest::default(), PATIENCE)).await.unwrap();
    assert_eq!((survey.status.coordinator_id, survey.status.can_decide), (2, true));
}

#[tokio::test]
async fn the_members_that_the_old_leader_names_are_asked_as_well_as_those_that_were_given() {
    let (new, _) = Says::start([leads(6)]).await;
    let (old, _) = Says::start([cut_off(&[&new, "nonsense"])]).await;
    let survey = soon(client(&[&old]).survey(GetStatusRequest::default(), PATIENCE)).await.unwrap();
    assert_eq!(survey.status, leads(6));
}

#[tokio::test]
async fn where_nobody_can_decide_the_old_leader_is_believed_without_waiting() {
    let gone = nobody().await;
    let (old, _) = Says::start([cut_off(&[&gone])]).await;
    let began = Instant::now();
    let survey = soon(client(&[&old, &gone]).survey(GetStatusRequest::default(), PATIENCE)).await.unwrap();
    assert!(!survey.status.can_decide && survey.leader_unreached().is_none(), "{survey:?}");
    assert!(began.elapsed() < PATIENCE, "everybody had answered after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_leader_that_was_just_elected_is_waited_for_until_it_can_decide() {
    let (leader, _) = Says::start([GetStatusResponse { can_decide: false, ..leads(6) }, leads(6)]).await;
    let (follower, _) = Says::start([follows(&leader)]).await;
    let survey = soon(client(&[&follower]).survey(GetStatusRequest::default(), PATIENCE)).await.unwrap();
    assert_eq!(survey.status, leads(6));
}

#[tokio::test]
async fn a_follower_is_believed_with_the_remark_that_its_leader_does_not_answer() {
    let gone = nobody().await;
    let (follower, says) = Says::start([follows(&gone)]).await;
    let asking = client(&[&follower]);
    let survey = soon(asking.survey(GetStatusRequest::default(), Duration::from_secs(1))).await.unwrap();
    assert_eq!(survey.status.coordinator_id, 3);
    assert!(survey.leader_unreached().is_some(), "{survey:?}");
    says.tell(leads(7));
    let survey = soon(asking.survey(GetStatusRequest::default(), PATIENCE)).await.unwrap();
    assert!(survey.status.can_decide && survey.leader_unreached().is_none(), "{survey:?}");
}
