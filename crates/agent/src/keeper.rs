//! The one thread that writes the state folder, so that a slow disk holds up nothing but what must wait for it.

use crate::{error::AgentError, event::Event, state_folder::StateFolder};
use quorate_agent_core::DurableEpochs;
use quorate_domain::{ClusterId, DiskName, FormationId, Incarnation};
use std::{thread, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// The most requests that wait for the disk.
const REQUESTS_MAX: usize = 64;
/// Room that is kept for what must not wait behind the identities of disks.
const REQUESTS_RESERVED: usize = 8;
/// How long the last requests may take when the agent ends.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Request {
    Epochs(u64, DurableEpochs),
    Cluster(ClusterId, Option<FormationId>),
    Coordinators(Vec<String>),
    Disk(DiskName, String),
    RaiseAbove(Incarnation),
    Supersede,
    Look,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Keeper {
    requests: mpsc::Sender<Request>,
    closed: oneshot::Receiver<()>,
}

impl Keeper {
    /// Starts the thread, which holds the folder and its lock from then on.
    pub(crate) fn start(folder: StateFolder, events: mpsc::Sender<Event>) -> Result<Self, AgentError> {
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let (done, closed) = oneshot::channel();
        thread::Builder::new()
            .name("state folder".into())
            .spawn(move || {
                keep(folder, waiting, &events);
                // Nobody waits when the agent was dropped.
                let _ = done.send(());
            })
            .map_err(|source| AgentError::Part { part: "state folder", source: Some(source) })?;
        Ok(Self { requests, closed })
    }

    /// Asks for epochs to be stored; [`Event::Stored`] answers. False when the thread is stuck or gone.
    pub(crate) fn store(&self, request: u64, epochs: DurableEpochs) -> bool {
        self.requests.try_send(Request::Epochs(request, epochs)).is_ok()
    }

    /// Notes the cluster, and which forming of it. False when it must be tried again.
    pub(crate) fn learn_cluster(&self, cluster: ClusterId, formation: Option<FormationId>) -> bool {
        self.requests.try_send(Request::Cluster(cluster, formation)).is_ok()
    }

    /// Notes where the coordinators are. False when it must be tried again.
    pub(crate) fn learn_coordinators(&self, api_addresses: Vec<String>) -> bool {
        self.requests.capacity() > REQUESTS_RESERVED
            && self.requests.try_send(Request::Coordinators(api_addresses)).is_ok()
    }

    /// Notes what identity a disk has. False when it must be tried again.
    pub(crate) fn record_disk(&self, name: DiskName, identity: String) -> bool {
        self.requests.capacity() > REQUESTS_RESERVED
            && self.requests.try_send(Request::Disk(name, identity)).is_ok()
    }

    /// Asks for an incarnation above this one; [`Event::Renumbered`] answers.
    pub(crate) fn raise_incarnation(&self, above: Incarnation) -> bool {
        self.requests.try_send(Request::RaiseAbove(above)).is_ok()
    }

    /// Notes that another start has taken the host away. False when the thread is stuck or gone.
    pub(crate) fn supersede(&self) -> bool {
        self.requests.try_send(Request::Supersede).is_ok()
    }

    /// Asks for a look at the folder; [`Event::FolderSeen`] answers. Nothing waits for it.
    pub(crate) fn look(&self) {
        if self.requests.capacity() > REQUESTS_RESERVED {
            let _ = self.requests.try_send(Request::Look);
        }
    }

    /// Ends the thread and waits until the folder is free, though not for ever: its disk may hang.
    pub(crate) async fn close(self) {
        drop(self.requests);
        if tokio::time::timeout(CLOSE_WAIT, self.closed).await.is_err() {
            tracing::warn!("the state folder's disk hangs: its lock is held until the process ends");
        }
    }
}

/// Serves until nobody can ask any more, or until something could not be kept: a disk that failed once is not trusted
/// to have kept what it took.
fn keep(mut folder: StateFolder, mut requests: mpsc::Receiver<Request>, events: &mpsc::Sender<Event>) {
    while let Some(request) = requests.blocking_recv() {
        let result = match request {
            Request::Epochs(number, epochs) => {
                folder.store_epochs(&epochs).map(|()| Some(Event::Stored(number)))
            }
            Request::Cluster(cluster, formation) => {
                folder.learn_cluster(&cluster, formation.as_ref()).map(|()| None)
            }
            Request::Coordinators(addresses) => folder.learn_coordinators(addresses).map(|()| None),
            Request::Disk(name, identity) => folder.record_disk(&name, &identity).map(|()| None),
            Request::Look => Ok(Some(Event::FolderSeen(folder.problem()))),
            Request::Supersede => folder.supersede().map(|()| None),
            Request::RaiseAbove(above) => {
                folder.raise_incarnation(above).map(|incarnation| Some(Event::Renumbered(incarnation)))
            }
        };
        let event = match result {
            Ok(None) => continue,
            Ok(Some(event)) => event,
            Err(error) => {
                // A loop that is gone needs no telling.
                let _ = events.blocking_send(Event::StateLost(error));
                return;
            }
        };
        if events.blocking_send(event).is_err() {
            return;
        }
    }
}
