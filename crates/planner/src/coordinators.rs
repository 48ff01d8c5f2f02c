//! Who should be a coordinator: one next step of Raft, or one command, towards what is on record.
//!
//! The step follows from the record and from what Raft has, whatever it has: a leader that finds Raft halfway through a
//! change, because the one before it died there, takes the same step as if it had begun the change itself. What is on
//! record is the aim; Raft is brought there, never the other way round.
//!
//! The order within a change keeps the promise of the record: a newcomer holds the log before it votes, voters change
//! before it is on record that they did, and it is on record before anybody is let go. A leader takes no vote from
//! itself: it hands over first.

use crate::Planned;
use quorate_domain::{
    Command, Coordinator, CoordinatorId, CoordinatorRole, CoordinatorSpec, Heard, Operation, RaftMembers,
    State, Term, Timestamp,
    coordinator::{ChangeProgress, has_quorum, lags, listed, quorum_of},
};
use std::collections::{BTreeMap, BTreeSet};

/// Whoever lacks no more entries than these has caught up: one message carries them.
pub const CAUGHT_UP_ENTRIES: u64 = 64;

/// Raft's members as the leader sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RaftView {
    /// The leader, which asks.
    pub this: CoordinatorId,
    /// The leader's term.
    pub term: Term,
    /// True once the entry that holds these members is committed.
    pub committed: bool,
    /// Who votes: one set, or two while a quorum of each is needed.
    pub voters: Vec<BTreeSet<CoordinatorId>>,
    /// Everybody, with addresses.
    pub nodes: BTreeMap<CoordinatorId, CoordinatorSpec>,
    /// The last entry of the leader's log.
    pub last_index: u64,
    /// Up to which entry each of the others holds the log.
    pub matched: BTreeMap<CoordinatorId, u64>,
    /// Who answered the leader's entries, votes or snapshots lately, itself included: whoever answers nothing but who it is
    /// may not be able to write.
    pub heard: BTreeSet<CoordinatorId>,
}

impl RaftView {
    fn votes(&self, id: CoordinatorId) -> bool {
        self.voters.iter().any(|voters| voters.contains(&id))
    }

    fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }

    fn learners(&self) -> impl Iterator<Item = CoordinatorId> {
        self.nodes.keys().copied().filter(|id| !self.votes(*id))
    }

    /// How many entries of the leader's log another one lacks.
    fn lag(&self, id: CoordinatorId) -> u64 {
        self.last_index.saturating_sub(self.matched.get(&id).copied().unwrap_or(0))
    }

    /// Whom the leader has heard from, as a command carries it.
    pub fn heard(&self) -> Heard {
        let others = self.heard.iter().copied().filter(|id| *id != self.this);
        let lags = others.map(|id| (id, self.lag(id))).filter(|(_, lag)| *lag > CAUGHT_UP_ENTRIES);
        Heard { term: self.term, coordinators: self.heard.clone(), lagging: lags.collect() }
    }

    fn members(&self) -> RaftMembers {
        RaftMembers {
            term: self.term,
            voters: self.voters.first().cloned().unwrap_or_default(),
            learners: self.learners().collect(),
        }
    }
}

/// What should be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// All is as it should be.
    Nothing,
    /// Something is missing, in words for people.
    Wait(Vec<String>),
    /// A command, of the state's own kind.
    Propose(Planned),
    /// Raft sends the log to a new member, which has no vote.
    AddLearner(CoordinatorSpec),
    /// These vote in Raft, and whoever voted until then and is not among them takes no part any more: it must not hold the
    /// entry that says so before a quorum of the others does, because with it it could neither stand nor vote for them.
    ChangeVoters(BTreeSet<CoordinatorId>),
    /// Another coordinator leads first: this one is about to lose its vote.
    HandOver,
    /// A learner is no member of Raft any more.
    LetGo(CoordinatorId),
}

/// The next step towards what is on record.
pub fn next_step(state: &State, raft: &RaftView) -> NextStep {
    if state.cluster.id.is_none() {
        return NextStep::Nothing;
    }
    if !raft.committed {
        return wait("Raft's last change of its members is not committed yet");
    }
    if state.coordinators.is_empty() {
        return record(raft);
    }
    let open = state.open_change();
    let progress = open.map(|(_, progress)| progress);
    let wanted = progress.map_or_else(|| state.recorded_voters(), |open| open.wanted_voters().clone());
    let gone = progress.and_then(ChangeProgress::let_go);
    if let Some(step) = join(state, raft, gone, &wanted).or_else(|| switch(raft, &wanted)) {
        return step;
    }
    if let Some(step) = open.and_then(|(operation, progress)| to_record(operation, progress, raft)) {
        return step;
    }
    let goes = |id: &CoordinatorId| Some(*id) == gone || !state.coordinators.contains_key(id);
    if let Some(id) = raft.learners().find(goes) {
        return NextStep::LetGo(id);
    }
    match open {
        None => NextStep::Nothing,
        Some((operation, _)) => propose(
            "coordinators/finish",
            Command::FinishCoordinatorChange { operation: operation.id, members: raft.members() },
        ),
    }
}

/// What an operator should know of the coordinators that is no step: nothing is wrong with it.
pub fn remarks(state: &State) -> Vec<String> {
    even_voters(state.recorded_voters().len()).into_iter().collect()
}

/// What is to be said of a number of voters of which one is of no use.
pub fn even_voters(voters: usize) -> Option<String> {
    (voters >= 2 && voters.is_multiple_of(2)).then(|| {
        format!(
            "{voters} coordinators vote, which survives the loss of no more of them than {} would; an odd number is better",
            voters - 1
        )
    })
}

fn wait(reason: impl Into<String>) -> NextStep {
    NextStep::Wait(vec![reason.into()])
}

fn propose(rule: &'static str, command: Command) -> NextStep {
    NextStep::Propose(Planned { command, rule })
}

/// Those that formed the cluster are what Raft has, as long as nothing is on record.
fn record(raft: &RaftView) -> NextStep {
    if raft.is_joint() {
        return wait("Raft is between two sets of voters and nothing is on record");
    }
    let coordinators = raft.nodes.values().map(|node| Coordinator {
        id: node.id,
        api_address: node.api_address.clone(),
        peer_address: node.peer_address.clone(),
        role: if raft.votes(node.id) { CoordinatorRole::Voter } else { CoordinatorRole::Learner },
        since: Timestamp(0),
    });
    propose("coordinators/record", Command::RecordCoordinators { coordinators: coordinators.collect() })
}

/// Whoever is on record takes the log. Where Raft is between two sets of voters it leaves that state first, unless
/// somebody is missing for it.
fn join(
    state: &State,
    raft: &RaftView,
    gone: Option<CoordinatorId>,
    wanted: &BTreeSet<CoordinatorId>,
) -> Option<NextStep> {
    // Raft drops a voter together with its vote; it is on record a little longer.
    let dropped = |id: CoordinatorId| {
        let leaves = state.open_change().and_then(|(_, progress)| progress.change.leaves());
        leaves == Some(id) && !wanted.contains(&id)
    };
    let missing = state.coordinators.values().find(|known| {
        Some(known.id) != gone
            && !dropped(known.id)
            && !raft.nodes.contains_key(&known.id)
            && (!raft.is_joint() || wanted.contains(&known.id))
    })?;
    Some(NextStep::AddLearner(CoordinatorSpec {
        id: missing.id,
        api_address: missing.api_address.clone(),
        peer_address: missing.peer_address.clone(),
    }))
}

fn switch(raft: &RaftView, wanted: &BTreeSet<CoordinatorId>) -> Option<NextStep> {
    if raft.voters == [wanted.clone()] {
        return None;
    }
    // Between two sets a quorum of each is needed already: to end in one of them asks for no more.
    let halfway = raft.is_joint() && raft.voters.contains(wanted);
    if !halfway && let Some(problem) = without_quorum(raft, wanted) {
        return Some(wait(problem));
    }
    // Its log would be ahead of everybody's by the very entry that takes its vote away. If it lost its lead then, it
    // could not stand, nor vote for those behind it; and where they need its vote, nobody would ever lead again.
    if raft.votes(raft.this) && !wanted.contains(&raft.this) {
        return Some(NextStep::HandOver);
    }
    Some(NextStep::ChangeVoters(wanted.clone()))
}

/// What Raft has by now and the record does not.
fn to_record(operation: &Operation, progress: &ChangeProgress, raft: &RaftView) -> Option<NextStep> {
    if progress.cancelled {
        return None;
    }
    if let Some(id) = progress.change.catches_up().filter(|_| !progress.caught_up) {
        return Some(caught_up(operation, progress, raft, id));
    }
    if progress.on_record || progress.voters_before == progress.voters_after {
        return None;
    }
    let command = Command::RecordVoters { operation: operation.id, members: raft.members() };
    Some(propose("coordinators/voters", command))
}

fn caught_up(
    operation: &Operation,
    progress: &ChangeProgress,
    raft: &RaftView,
    id: CoordinatorId,
) -> NextStep {
    if !raft.heard.contains(&id) {
        return wait(format!(
            "coordinator {id} is not reached, or takes nothing: is it running, at the address given, and is its disk well?"
        ));
    }
    let Some(through_index) = raft.matched.get(&id).copied() else {
        return wait(format!("coordinator {id} has not taken anything of the log yet"));
    };
    let lag = raft.lag(id);
    if lag > CAUGHT_UP_ENTRIES {
        return wait(format!("coordinator {id} has not caught up: it lacks {lag} entries"));
    }
    let switches = progress.voters_before != progress.voters_after;
    if switches && let Some(problem) = without_quorum(raft, &progress.voters_after) {
        return wait(problem);
    }
    let command = Command::RecordCaughtUp { operation: operation.id, through_index, heard: raft.heard() };
    propose("coordinators/caught-up", command)
}

fn without_quorum(raft: &RaftView, voters: &BTreeSet<CoordinatorId>) -> Option<String> {
    let heard = raft.heard();
    (!has_quorum(voters, &heard.able())).then(|| {
        let silent = voters.difference(&heard.coordinators);
        let (needed, lagging) = (quorum_of(voters.len()), lags(&heard.lagging_of(voters)));
        format!("with {} as voters {needed} must answer; silent: {}{lagging}", listed(voters), listed(silent))
    })
}
