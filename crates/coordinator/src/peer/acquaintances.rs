//! Which start of each peer counts here. A copy of a data folder speaks for the same node: its votes and answers must not
//! reach openraft beside those of the original. How it is judged stands in the domain crate, and the data folder remembers
//! it; this asks around whether the one on record is still there.

use super::{
    PROMISED_TO, REASON_LEFT_BEHIND, REASON_NOT_COUNTED, REFUSED_BY, START_HEADER, convert, transport::Peers,
};
use quorate_consensus::{DataFolder, VotersWatch, folder::PeerRefused};
use quorate_domain::{
    CoordinatorId, InstanceId,
    starts::{
        BadStart, Decision, KnownStarts, MAY_BE_THERE_MS, Pending, Standing, Start, Survey, Why, Wish, Word,
    },
};
use quorate_planner::warnings::{Elsewhere, WAITS_IN_SILENCE_MS, WaitsFor};
use quorate_rpc::pb::raft::{self as pb, raft_client::RaftClient};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::timeout};
use tonic::{Code, Status, metadata::MetadataMap, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt};

/// How long a peer may take to say who it is and whom it hears.
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// How long a start that waits to count is worth a warning after the last sign of it. It comes again every two seconds.
const WAITS_FOR: Duration = Duration::from_secs(10);
/// A start that counts this soon does so without a warning.
const WAITS_IN_SILENCE: Duration = Duration::from_millis(WAITS_IN_SILENCE_MS);
/// A start that was promised is there, and not only the one that was left for it, when it came within this time.
const IS_THERE_FOR: Duration = Duration::from_millis(MAY_BE_THERE_MS);
/// How long a node that runs twice is worth a warning after the last sign of it.
const TOLD_FOR: Duration = Duration::from_hours(1);

/// What is known of the peers' starts beyond what the data folder remembers. Clones share it.
#[derive(Clone)]
pub(super) struct Acquaintances {
    folder: Arc<DataFolder>,
    /// Whose promises it takes; known once Raft runs.
    voters: Arc<OnceLock<VotersWatch>>,
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
    /// Which start goes on in another place and does not count yet, by node.
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    start: Start,
    /// What it waits for, and where the start itself was last heard from, and when.
    waits_for: WaitsFor,
    heard: Option<(String, Instant)>,
    since: Instant,
    at: Instant,
}

struct TurnedAway {
    start: InstanceId,
    message: String,
    at: Instant,
}

impl Acquaintances {
    pub(super) fn new(folder: Arc<DataFolder>) -> Self {
        Self { folder, voters: Arc::default(), inner: Arc::default() }
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

    /// What is to be said of starts that go on in another place and do not count yet.
    pub(super) fn waiting(&self) -> Vec<Elsewhere> {
        let inner = self.lock();
        let told = |waiting: &Waiting| {
            waiting.at.elapsed() < WAITS_FOR && waiting.since.elapsed() >= WAITS_IN_SILENCE
        };
        let told = inner.waiting.iter().filter(|(_, waiting)| told(waiting));
        told.map(|(id, waiting)| Elsewhere {
            id: CoordinatorId(*id),
            start: in_words(&waiting.start),
            whence: waiting.heard.as_ref().map(|(whence, _)| whence.clone()),
            waits_for: waiting.waits_for.clone(),
            for_ms: whole_ms(waiting.since.elapsed()),
        })
        .collect()
    }

    /// Why a start does not count yet, as far as it was looked into.
    fn pending(&self, node: CoordinatorId, start: &Start) -> String {
        let inner = self.lock();
        let known = inner.waiting.get(&node.0).filter(|known| known.start.id == start.id);
        known.map_or_else(
            || "it is looked whether the start before it is gone, and whether all others agree".to_owned(),
            |known| known.waits_for.to_string(),
        )
    }

    /// A start does not count yet.
    fn note_waiting(&self, node: CoordinatorId, question: &Question, pending: &Pending) {
        let Question { start, whence, instead, .. } = question;
        let mut inner = self.lock();
        let before = inner.waiting.remove(&node.0).filter(|before| before.at.elapsed() < WAITS_FOR);
        let now = Instant::now();
        let since = before.as_ref().map_or(now, |before| before.since);
        let before = before.filter(|before| before.start.id == start.id);
        let heard = match instead {
            None => Some((whence.clone(), now)),
            // What came just now came from another start.
            Some(_) => before.and_then(|before| before.heard),
        };
        let is_there = heard.as_ref().is_some_and(|(_, at)| at.elapsed() <= IS_THERE_FOR);
        let waits_for = match (pending, instead) {
            (Pending::MayBeThere, _) => WaitsFor::Silence,
            (Pending::ThisOne, _) => WaitsFor::ThisOne,
            (Pending::Promises(missing), Some(by)) if !is_there => {
                WaitsFor::TakenBack { by: in_words(by), missing: missing.clone() }
            }
            (Pending::Promises(missing), _) => WaitsFor::Promises(missing.clone()),
        };
        inner.waiting.insert(node.0, Waiting { start: start.clone(), waits_for, heard, since, at: now });
    }

    /// Refuses a start for good.
    fn turn_away(&self, node: CoordinatorId, start: &Start, whence: &str, why: &str) -> Status {
        let message = format!(
            "coordinator {node} runs twice: its start {}, heard from {whence}, is refused for good: {why}; leave it stopped \
             and remove its copy of the data folder. To move a coordinator, stop it before its folder is copied",
            in_words(start),
        );
        let away = TurnedAway { start: start.id.clone(), message: message.clone(), at: Instant::now() };
        let before = self.lock().turned_away.insert(node.0, away);
        if before.is_none_or(|before| before.start != start.id) {
            tracing::error!(coordinator = node.0, "{message}");
        }
        let by = HashMap::from([(REFUSED_BY.to_owned(), self.folder.start().id.to_string())]);
        let details = ErrorDetails::with_error_info(REASON_LEFT_BEHIND, "quorate", by);
        Status::with_error_details(Code::PermissionDenied, message, details)
    }
}

/// A start as people see it.
fn in_words(start: &Start) -> String {
    format!("{} (number {})", start.id, start.number())
}

/// The refusal of a start that may count yet. `promised` is the one that its node went on by since, if it did.
fn not_counted(message: String, promised: Option<&Start>) -> Status {
    let promised: HashMap<_, _> =
        promised.map(|start| (PROMISED_TO.to_owned(), start.id.to_string())).into_iter().collect();
    let details = ErrorDetails::with_error_info(REASON_NOT_COUNTED, "quorate", promised);
    Status::with_error_details(Code::Unavailable, message, details)
}

fn not_remembered(error: &PeerRefused) -> Status {
    Status::internal(error.to_string())
}

/// What is to be found out about a start that goes on in another place.
struct Question {
    start: Start,
    /// The one on record.
    recorded: InstanceId,
    wish: Wish,
    whence: String,
    /// The start that came, when it is another one that its node had left for the one in question.
    instead: Option<Start>,
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
                let why = known.pending(node, &start);
                let message = format!(
                    "coordinator {node} goes on in another place by start {} and does not count here yet: {why}",
                    start.id
                );
                let whence = whence.to_owned();
                self.look_into(node, Question { start, recorded, wish: Wish::Word, whence, instead: None });
                Err(not_counted(message, None))
            }
            Standing::Contested { recorded, promised } => {
                let wish = KnownStarts::wish_beside(&promised, &start);
                let why = known.pending(node, &promised);
                let message = format!(
                    "coordinator {node} went on in another place by start {}, and whether that one counts is settled first: \
                     {why}",
                    promised.id
                );
                // One that comes from the promised start was moved once more.
                let was_left = wish == Wish::Refusal;
                let refusal = not_counted(message, was_left.then_some(&*promised));
                let whence = whence.to_owned();
                let instead = was_left.then_some(start);
                self.look_into(node, Question { start: *promised, recorded, wish, whence, instead });
                Err(refusal)
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

    /// A peer that votes takes this start: it counts.
    pub(super) fn counted_by(&self, peer: CoordinatorId) {
        let known = &self.acquaintances;
        let votes =
            known.voters.get().is_some_and(|voters| voters.voters().iter().flatten().any(|id| *id == peer));
        if votes
            && known.folder.waits_to_count()
            && let Err(error) = known.folder.counts_now()
        {
            tracing::error!(%error, "that this coordinator counts in its new place is not remembered");
        }
    }

    /// From now on it is known whose promises a start takes that goes on in another place.
    pub(crate) fn know_voters(&self, voters: VotersWatch) {
        // It is said once.
        let _ = self.acquaintances.voters.set(voters);
    }

    /// What is to be said of starts that go on in another place and do not count yet.
    pub(crate) fn waiting_starts(&self) -> Vec<Elsewhere> {
        self.acquaintances.waiting()
    }

    /// Finds out whether the start on record is still there, and decides about the other one. Nobody waits for it: whoever
    /// was refused comes again.
    fn look_into(&self, node: CoordinatorId, question: Question) {
        if !self.acquaintances.lock().asked.insert(node.0) {
            return;
        }
        let peers = self.clone();
        self.lane.spawn(async move {
            match peers.find(node, &question).await {
                Ok(decision) => peers.decided(node, &question, &decision),
                Err(error) => {
                    tracing::error!(coordinator = node.0, %error, "what was decided about a start is not remembered");
                }
            }
            peers.acquaintances.lock().asked.remove(&node.0);
        });
    }

    fn decided(&self, node: CoordinatorId, question: &Question, decision: &Decision) {
        let (known, Question { start, recorded, whence, .. }) = (&self.acquaintances, question);
        match decision {
            Decision::Counts => {
                tracing::warn!(
                    coordinator = node.0, start = %start.id, number = start.number(), whence, before = %recorded,
                    "a coordinator goes on in another place, and the start before it is gone: it counts from now on"
                );
                let mut inner = known.lock();
                inner.heard.insert(node.0, Instant::now());
                inner.waiting.remove(&node.0);
            }
            Decision::Promised => {
                tracing::info!(
                    coordinator = node.0, start = %start.id, number = start.number(), whence, before = %recorded,
                    "a coordinator goes on in another place: it counts once all others have agreed"
                );
            }
            Decision::Refused(why) => {
                let why = match why {
                    Why::Answers => format!(
                        "it runs on a copy of the data folder of start {recorded}, which answers at its address"
                    ),
                    Why::RefusedBy(_) => why.to_string(),
                };
                known.lock().waiting.remove(&node.0);
                known.turn_away(node, start, whence, &why);
            }
            Decision::Open(pending) => known.note_waiting(node, question, pending),
        }
    }

    /// Asks around, and decides; what was decided is remembered.
    async fn find(&self, node: CoordinatorId, question: &Question) -> Result<Decision, PeerRefused> {
        let Question { start, recorded, wish, .. } = question;
        let open = Ok(Decision::Open(Pending::MayBeThere));
        let Some(voters) = self.acquaintances.voters.get().map(VotersWatch::voters) else { return open };
        let mut clients = self.known_clients();
        // Not connected yet, as just after a start of this one.
        let Some(own) = clients.remove(&node.0) else { return open };
        let about = (node, start.clone());
        let at_its_address = self.ask(own, node, about.clone(), Wish::Word).await.map(|word| word.start);
        // The promised one is still there: the others find out about it by themselves.
        let goes_on = *wish == Wish::Promise && at_its_address.as_ref() == Some(&start.id);
        let wish = if goes_on { Wish::Word } else { *wish };
        let mut others = JoinSet::new();
        if at_its_address.as_ref() != Some(recorded) || wish != Wish::Word {
            for (id, client) in clients {
                let (peers, about, id) = (self.clone(), about.clone(), CoordinatorId(id));
                others.spawn(async move { peers.ask(client, id, about, wish).await.map(|word| (id, word)) });
            }
        }
        let words: Vec<_> = others.join_all().await.into_iter().flatten().collect();
        let heard_here = self.acquaintances.heard(node).map(|(start, ago)| (start, whole_ms(ago)));
        self.acquaintances.folder.decide_start(&Survey {
            start,
            node,
            recorded,
            here: self.acquaintances.folder.node(),
            here_waits: self.acquaintances.folder.waits_to_count(),
            voters: &voters,
            at_its_address: at_its_address.as_ref(),
            words: &words,
            heard_here: heard_here.as_ref(),
        })
    }

    /// Asks a peer who it is, and about a node: by which start it hears it, and whether it refuses this one. The answer is
    /// judged by nobody: to judge the one who answers might take the very same question.
    async fn ask(
        &self,
        mut client: RaftClient<Channel>,
        to: CoordinatorId,
        (about, about_start): (CoordinatorId, Start),
        wish: Wish,
    ) -> Option<Word> {
        let request = pb::IdentifyRequest {
            sender: Some(self.sender(to.0)),
            about: about.0,
            about_start: about_start.to_string(),
            wish: convert::wish_to_pb(wish).into(),
        };
        let response = timeout(ASK_DEADLINE, client.identify(request)).await.ok()?.ok()?;
        let start: Start = start_of(response.metadata()).ok()?.parse().ok()?;
        let answer = response.into_inner();
        let heard = InstanceId::new(&answer.heard_start).ok().map(|start| (start, answer.heard_ms_ago));
        let counts = self.acquaintances.folder.is_current_start(to, &start.id);
        let word = Word { start: start.id, heard, refuses: answer.refuses_start, takes: answer.takes_start };
        Some(word.if_it_counts(counts))
    }
}

/// A span as it travels between coordinators.
pub(super) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
