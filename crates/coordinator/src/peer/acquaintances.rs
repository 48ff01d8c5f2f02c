//! Which start of each peer counts here. A copy of a data folder speaks for the same node: its votes and answers must not
//! reach openraft beside those of the original. How it is judged stands in the domain crate, and the data folder remembers
//! it; this asks around whether the one on record is still there.

use super::{REASON_LEFT_BEHIND, START_HEADER, transport::Peers};
use quorate_consensus::{DataFolder, folder::PeerRefused};
use quorate_domain::{
    CoordinatorId, InstanceId,
    starts::{BadStart, Recorded, Standing, Start, Word},
};
use quorate_rpc::pb::raft::{self as pb, raft_client::RaftClient};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status, metadata::MetadataMap, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt};

/// How long a peer may take to say who it is and whom it hears.
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// How long a node that runs twice is worth a warning after the last sign of it.
const TOLD_FOR: Duration = Duration::from_hours(1);

/// What is known of the peers' starts beyond what the data folder remembers. Clones share it.
#[derive(Clone)]
pub(super) struct Acquaintances {
    folder: Arc<DataFolder>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// When the start that counts was last heard, by node.
    heard: BTreeMap<u64, Instant>,
    /// Of whom it is being asked whether the start on record is still there.
    asked: BTreeSet<u64>,
    /// Who was turned away last, by node.
    turned_away: BTreeMap<u64, TurnedAway>,
}

struct TurnedAway {
    start: InstanceId,
    message: String,
    at: Instant,
}

impl Acquaintances {
    pub(super) fn new(folder: Arc<DataFolder>) -> Self {
        Self { folder, inner: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when this is the start of a peer that counts. It was heard just now.
    pub(super) fn is_current(&self, node: u64, id: &InstanceId) -> bool {
        let current = self.folder.is_current_start(CoordinatorId(node), id);
        if current {
            self.lock().heard.insert(node, Instant::now());
        }
        current
    }

    /// The start that a peer on record was last heard by, and how long ago.
    pub(super) fn heard(&self, node: CoordinatorId) -> Option<(InstanceId, Duration)> {
        let recorded = self.folder.current_start(node)?;
        let at = self.lock().heard.get(&node.0).copied()?;
        Some((recorded, at.elapsed()))
    }

    /// What is to be said of nodes that run twice.
    pub(super) fn run_twice(&self) -> Vec<String> {
        let inner = self.lock();
        let fresh = inner.turned_away.values().filter(|away| away.at.elapsed() < TOLD_FOR);
        fresh.map(|away| away.message.clone()).collect()
    }

    /// The same of one node, for itself.
    pub(super) fn runs_twice(&self, node: CoordinatorId) -> Option<String> {
        let inner = self.lock();
        inner
            .turned_away
            .get(&node.0)
            .filter(|away| away.at.elapsed() < TOLD_FOR)
            .map(|away| away.message.clone())
    }

    /// Refuses a start for good.
    fn turn_away(&self, node: CoordinatorId, start: &Start, whence: &str, why: &str) -> Status {
        let message = format!(
            "coordinator {node} runs twice: its start {} (number {}), heard from {whence}, is refused for good: {why}; \
             leave it stopped and remove its copy of the data folder. To move a coordinator, stop it before its folder is \
             copied",
            start.id,
            start.number(),
        );
        let away = TurnedAway { start: start.id.clone(), message: message.clone(), at: Instant::now() };
        let before = self.lock().turned_away.insert(node.0, away);
        if before.is_none_or(|before| before.start != start.id) {
            tracing::error!(coordinator = node.0, "{message}");
        }
        let details = ErrorDetails::with_error_info(REASON_LEFT_BEHIND, "quorate", HashMap::new());
        Status::with_error_details(Code::PermissionDenied, message, details)
    }
}

fn not_remembered(error: &PeerRefused) -> Status {
    Status::internal(error.to_string())
}

/// The start that an answer comes from.
pub(super) fn start_of(metadata: &MetadataMap) -> Result<&str, Status> {
    let text = metadata.get(START_HEADER).and_then(|value| value.to_str().ok());
    text.ok_or_else(|| Status::failed_precondition(format!("an answer without a valid {START_HEADER}")))
}

impl Peers {
    /// Lets a start of a member speak for its node, or refuses it: for good, or until it is known whether the one on
    /// record is gone. Gives back its id, by which [`Peers::is_current`] knows whether it still counts.
    pub(super) fn admit(&self, node: CoordinatorId, text: &str, whence: &str) -> Result<InstanceId, Status> {
        let start: Start = text.parse().map_err(|error: BadStart| {
            Status::invalid_argument(format!(
                "sender.start: {error}; let all coordinators run the same version"
            ))
        })?;
        let known = &self.acquaintances;
        let standing = known.folder.meet_start(node, &start).map_err(|error| not_remembered(&error))?;
        match standing {
            Standing::LeftBehind { why } => Err(known.turn_away(node, &start, whence, &why.to_string())),
            Standing::Elsewhere { recorded } => {
                let id = start.id.clone();
                self.look_into(node, start, recorded, whence.to_owned());
                Err(Status::unavailable(format!(
                    "coordinator {node} was last met by a start in another place than {id}: it is looked whether that \
                     one is gone"
                )))
            }
            Standing::First | Standing::Current | Standing::Successor => {
                known.lock().heard.insert(node.0, Instant::now());
                Ok(start.id)
            }
        }
    }

    /// True when this is still the start of a peer that counts.
    pub(super) fn is_current(&self, node: u64, id: &InstanceId) -> bool {
        self.acquaintances.is_current(node, id)
    }

    /// What is to be said of nodes that run twice.
    pub(crate) fn run_twice(&self) -> Vec<String> {
        self.acquaintances.run_twice()
    }

    /// The same of one node, for itself.
    pub(super) fn runs_twice(&self, node: CoordinatorId) -> Option<String> {
        self.acquaintances.runs_twice(node)
    }

    /// The start by which a peer counts, and how long ago it was last heard.
    pub(super) fn heard(&self, node: CoordinatorId) -> Option<(InstanceId, Duration)> {
        self.acquaintances.heard(node)
    }

    /// Finds out whether the start on record is still there, and decides about the other one. Nobody waits for it: whoever
    /// was refused comes again.
    fn look_into(&self, node: CoordinatorId, start: Start, recorded: InstanceId, whence: String) {
        if !self.acquaintances.lock().asked.insert(node.0) {
            return;
        }
        let peers = self.clone();
        self.lane.spawn(async move {
            let found = peers.find(node, &start, &recorded).await;
            let known = &peers.acquaintances;
            let refuse = |why: &str| {
                known.turn_away(node, &start, &whence, why);
                known.folder.refuse_start(node, &start)
            };
            let decided = match found {
                Recorded::Answers => refuse(&format!(
                    "it runs on a copy of the data folder of start {recorded}, which answers at its address"
                )),
                Recorded::RefusedBy(peer) => refuse(&format!("coordinator {peer} has refused it before")),
                Recorded::Unclear => Ok(()),
                Recorded::Gone => {
                    tracing::warn!(
                        coordinator = node.0, start = %start.id, number = start.number(), whence, before = %recorded,
                        "a coordinator goes on in another place, and the start before it is gone: it counts from now on"
                    );
                    let accepted = known.folder.accept_start(node, &start);
                    known.lock().heard.insert(node.0, Instant::now());
                    accepted
                }
            };
            if let Err(error) = decided {
                tracing::error!(coordinator = node.0, %error, "what was decided about a start is not remembered");
            }
            known.lock().asked.remove(&node.0);
        });
    }

    async fn find(&self, node: CoordinatorId, start: &Start, recorded: &InstanceId) -> Recorded {
        let mut clients = self.known_clients();
        // Not connected yet, as just after a start of this one.
        let Some(own) = clients.remove(&node.0) else { return Recorded::Unclear };
        let at_its_address = self.ask(own, node, (node, start.clone())).await.map(|word| word.start);
        let mut others = JoinSet::new();
        if at_its_address.as_ref() != Some(recorded) {
            for (id, client) in clients {
                let (peers, about, id) = (self.clone(), (node, start.clone()), CoordinatorId(id));
                others.spawn(async move { peers.ask(client, id, about).await.map(|word| (id, word)) });
            }
        }
        let others: Vec<_> = others.join_all().await.into_iter().flatten().collect();
        let heard_here = self.acquaintances.heard(node).map(|(start, ago)| (start, whole_ms(ago)));
        Recorded::by(&start.id, recorded, at_its_address.as_ref(), &others, heard_here.as_ref())
    }

    /// Asks a peer who it is, and about a node: by which start it hears it, and whether it refuses this one. The answer is
    /// judged by nobody: to judge the one who answers might take the very same question.
    async fn ask(
        &self,
        mut client: RaftClient<Channel>,
        to: CoordinatorId,
        (about, about_start): (CoordinatorId, Start),
    ) -> Option<Word> {
        let request = pb::IdentifyRequest {
            sender: Some(self.sender(to.0)),
            about: about.0,
            about_start: about_start.to_string(),
        };
        let response = timeout(ASK_DEADLINE, client.identify(request)).await.ok()?.ok()?;
        let start: Start = start_of(response.metadata()).ok()?.parse().ok()?;
        let answer = response.into_inner();
        let heard = InstanceId::new(&answer.heard_start).ok().map(|start| (start, answer.heard_ms_ago));
        Some(Word { start: start.id, heard, refuses: answer.refuses_start })
    }
}

/// A span as it travels between coordinators.
pub(super) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
