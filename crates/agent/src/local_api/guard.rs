//! The stream of one guard.

use super::{group_role, stopping};
use crate::{
    event::Event,
    guards::{GuardEvent, GuardRole, ROLES_MAX, Told},
};
use quorate_agent_core::{BootMs, Seat};
use quorate_domain::{Epoch, GroupId, HostId};
use quorate_rpc::{
    ApiError, InvalidField,
    convert::group_id,
    pb::agent::{
        GuardRequest, GuardResponse, GuardStoppedRequest,
        guard_request::{Attach, Hindered, Knows, NothingLeft, Ready, Started, Stopped, Word},
    },
};
use quorate_warden::keeper;
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{Request, Status, Streaming, transport::server::TcpConnectInfo};

/// How long the first word may take.
const ATTACH_WAIT: Duration = Duration::from_secs(5);
/// The longest command and reason that are kept, in bytes.
const TEXT_MAX_BYTES: usize = 1_024;

/// A guard ends what runs on its own machine, by the clock of its own machine.
pub(super) fn check_local<T>(request: &Request<T>) -> Result<(), ApiError> {
    // Without an address it is no connection of a network.
    let Some(info) = request.extensions().get::<TcpConnectInfo>() else { return Ok(()) };
    let Some(remote) = info.remote_addr() else { return Ok(()) };
    let is_here = remote.ip().to_canonical().is_loopback()
        || info.local_addr().is_some_and(|local| local.ip() == remote.ip());
    if is_here { Ok(()) } else { Err(ApiError::GuardElsewhere { from: remote.ip().to_string() }) }
}

/// Attaches a guard; what it is told.
pub(super) async fn attach(
    host: HostId,
    events: mpsc::Sender<Event>,
    mut words: Streaming<GuardRequest>,
) -> Result<mpsc::Receiver<Result<GuardResponse, Status>>, Status> {
    let first = timeout(ATTACH_WAIT, words.message()).await;
    let first = first.map_err(|_| ApiError::TooLate { what: "the first word", remedy: "attach again" })??;
    let Some(Word::Attach(attach)) = first.and_then(|request| request.word) else {
        let problem = InvalidField::required("attach", "begin with the group to be guarded");
        return Err(ApiError::from(problem).into());
    };
    let Attach { group, pid, command, seat } = attach;
    let seat = seat.unwrap_or_default();
    let (pid_namespace, user_namespace) = (bounded(seat.pid_namespace), bounded(seat.user_namespace));
    let (clock, keeper_seal) = (bounded(seat.clock), bounded(seat.keeper_seal));
    if clock != keeper::seat().clock {
        let from = "a process that counts by another clock (another boot or machine, or a time namespace)";
        return Err(ApiError::GuardElsewhere { from: from.to_owned() }.into());
    }
    let seat = Seat { uid: seat.uid, pid_namespace, user_namespace, clock, keeper_seal };
    let group = group_id(&group).map_err(ApiError::from)?;
    let name = format!("process {pid}: {}", bounded(command));
    let (roles, told) = mpsc::channel(ROLES_MAX);
    let (answer, answered) = oneshot::channel();
    let event = GuardEvent::Attach { group: group.clone(), name, seat, roles, answer };
    events.send(Event::Guard(event)).await.map_err(|_| stopping())?;
    let number = answered.await.map_err(|_| stopping())??;
    let (out, answers) = mpsc::channel(1);
    // It is told beside what it says: one that says nothing is told all the same.
    tokio::spawn(async move {
        tokio::select! {
            () = tell(host, told, out) => {}
            () = hear(&events, &group, number, words) => {}
        }
        // With the end of the agent nobody is left to be told.
        let _ = events.send(Event::Guard(GuardEvent::Gone { group, number })).await;
    });
    Ok(answers)
}

/// What has outlived a guard has ended its service.
pub(super) async fn stopped(
    events: &mpsc::Sender<Event>,
    request: GuardStoppedRequest,
) -> Result<(), ApiError> {
    let group = group_id(&request.group)?;
    let (epoch, reason, secret) = (Epoch(request.epoch), bounded(request.reason), bounded(request.secret));
    let (answer, answered) = oneshot::channel();
    let event = Event::Guard(GuardEvent::KeeperStopped { group, epoch, reason, secret, answer });
    events.send(event).await.map_err(|_| stopping())?;
    answered.await.map_err(|_| stopping())?
}

async fn tell(
    host: HostId,
    mut told: mpsc::Receiver<Told>,
    out: mpsc::Sender<Result<GuardResponse, Status>>,
) {
    while let Some(told) = told.recv().await {
        let is_last = told.is_err();
        let message = told.map(|told| response(&host, told)).map_err(Status::from);
        if out.send(message).await.is_err() || is_last {
            return;
        }
    }
}

/// Until it says nothing more.
async fn hear(
    events: &mpsc::Sender<Event>,
    group: &GroupId,
    number: u64,
    mut words: Streaming<GuardRequest>,
) {
    while let Ok(Some(request)) = words.message().await {
        let group = group.clone();
        let event = match request.word {
            Some(Word::Knows(Knows { epoch, lease_deadline_boot_ms })) => {
                let (epoch, deadline) = (Epoch(epoch), BootMs(lease_deadline_boot_ms));
                GuardEvent::Knows { group, number, epoch, deadline }
            }
            Some(Word::Stopped(Stopped { epoch, reason, failed })) => {
                let (epoch, reason) = (Epoch(epoch), bounded(reason));
                GuardEvent::Stopped { group, number, epoch, reason, failed }
            }
            Some(Word::Ready(Ready { epoch })) => GuardEvent::Ready { group, number, epoch: Epoch(epoch) },
            Some(Word::Started(Started { epoch })) => {
                GuardEvent::Started { group, number, epoch: Epoch(epoch) }
            }
            Some(Word::NothingLeft(NothingLeft { vouched })) => {
                GuardEvent::NothingLeft { group, number, vouched }
            }
            Some(Word::Hindered(Hindered { reason })) => {
                GuardEvent::Hindered { group, number, reason: bounded(reason) }
            }
            // A second attachment, or a word of a later version, changes nothing.
            Some(Word::Attach(_)) | None => continue,
        };
        if events.send(Event::Guard(event)).await.is_err() {
            return;
        }
    }
}

fn response(host: &HostId, told: GuardRole) -> GuardResponse {
    let (disk, disk_path) = told.disk.map(|disk| (disk.name, disk.path)).unwrap_or_default();
    GuardResponse {
        role: Some(group_role(&told.role)),
        host: host.to_string(),
        disk,
        disk_path,
        asks_epoch: told.asks.map_or(0, |epoch| epoch.0),
        instance: told.instance.to_string(),
        nothing_awaited: told.nothing_awaited,
    }
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
    text
}
