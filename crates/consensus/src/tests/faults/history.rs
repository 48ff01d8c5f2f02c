//! What a node goes through, step by step, and what it must hold after each.

use crate::{
    codec, snapshot,
    types::{Batch, Entry, LogId, MemberNode, SnapshotMeta, StoredMembership, Vote},
};
use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload, Membership};
use quorate_domain::{
    Cause, ClusterId, Command, HookTimes, HostId, Incarnation, InstanceId, Proposal, Settings, StartId,
    State, Term, Timestamp, Zone, apply,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, OnceLock},
};

/// The last entry that is ever committed.
pub(super) const LAST: u64 = 23;
/// The last entry in the snapshot that another node sends.
pub(super) const RECEIVED: u64 = 20;

/// One thing that happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// A peer is met for the first time.
    Meet(u64),
    /// A vote in a term, for a node, which leads or is a candidate.
    Vote(u64, u64, bool),
    /// Committed entries, first to last.
    Append(u64, u64),
    /// Entries of a leader that is deposed: never committed.
    AppendInVain(u64, u64),
    Truncate(u64),
    /// Everything up to here is committed and applied.
    Commit(u64),
    Snapshot,
    Purge(u64),
    /// A snapshot of another node takes the place of everything.
    Install,
    /// The process ends without a word and starts again.
    Restart,
}

use Op::{Append, AppendInVain, Commit, Install, Meet, Purge, Restart, Snapshot, Truncate, Vote as Votes};

/// Everything that a node does to its disk, at least once.
pub(super) const HISTORY: &[Op] = &[
    Meet(2),
    Votes(1, 2, false),
    Append(0, 3),
    Votes(1, 2, true),
    Commit(3),
    Meet(3),
    Append(4, 7),
    AppendInVain(8, 9),
    Commit(6),
    Snapshot,
    Votes(2, 3, true),
    Truncate(8),
    Append(8, 10),
    Commit(9),
    Purge(4),
    Restart,
    Append(11, 11),
    Commit(11),
    Snapshot,
    Purge(10),
    AppendInVain(12, 13),
    Votes(3, 1, true),
    Install,
    Append(21, 22),
    Commit(21),
    Snapshot,
    Purge(21),
    Restart,
    Append(23, 23),
    Commit(23),
];

fn term_of(index: u64) -> u64 {
    match index {
        0..=7 => 1,
        8..=11 => 2,
        _ => 3,
    }
}

pub(super) fn log_id(index: u64) -> LogId {
    let term = term_of(index);
    LogId::new(CommittedLeaderId::new(term, term + 1), index)
}

/// A committed entry.
pub(super) fn entry(index: u64) -> Entry {
    let payload = match index {
        0 => {
            let nodes: BTreeMap<u64, MemberNode> = (1..=3).map(|id| (id, MemberNode::default())).collect();
            EntryPayload::Membership(Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes))
        }
        1 => normal(
            index,
            [Command::CreateCluster { cluster: cluster(), formation: None, settings: Settings::default() }],
        ),
        _ => normal(index, [register(index), register(index + 100)]),
    };
    Entry { log_id: log_id(index), payload }
}

/// What another leader had at the same place; it is never committed.
pub(super) fn vain_entry(index: u64) -> Entry {
    let log_id = LogId::new(CommittedLeaderId::new(term_of(index - 1), 9), index);
    Entry { log_id, payload: normal(index, [register(index + 500)]) }
}

fn normal<const N: usize>(index: u64, commands: [Command; N]) -> EntryPayload<crate::types::TypeConfig> {
    let proposals =
        commands.into_iter().map(|command| Proposal::new(Timestamp(index), Cause::Cluster, command));
    EntryPayload::Normal(Batch::new(proposals.collect()))
}

pub(super) fn cluster() -> ClusterId {
    ClusterId::new("c1").unwrap()
}

fn register(number: u64) -> Command {
    Command::RegisterHost {
        host: HostId::new(format!("h{number}")).unwrap(),
        zone: Zone::new("z").unwrap(),
        // Long, so that few entries fill a segment.
        address: format!("{}:1", "a".repeat(200)),
        instance: InstanceId::new("i").unwrap(),
        incarnation: Incarnation(1),
        start: StartId(1),
        hook_times: HookTimes::default(),
    }
}

/// The states after each of the committed entries.
fn states() -> &'static [State] {
    static STATES: OnceLock<Vec<State>> = OnceLock::new();
    STATES.get_or_init(|| {
        let mut state = State::default();
        let state_after = |index| {
            if let EntryPayload::Normal(batch) = entry(index).payload {
                for proposal in batch.proposals().unwrap().iter() {
                    apply(&mut state, Term(term_of(index)), proposal);
                }
            }
            state.clone()
        };
        (0..=LAST).map(state_after).collect()
    })
}

fn state_at(index: u64) -> &'static State {
    &states()[usize::try_from(index).unwrap()]
}

/// The digest of the state after all committed entries up to this one.
pub(super) fn digest_at(index: u64) -> String {
    state_at(index).digest()
}

/// A snapshot as a node sends it that has applied all entries up to this one.
pub(super) fn snapshot_at(index: u64) -> (SnapshotMeta, Vec<u8>) {
    let EntryPayload::Membership(members) = entry(0).payload else { unreachable!("entry 0 is the members") };
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(index)),
        last_membership: StoredMembership::new(Some(log_id(0)), members),
        snapshot_id: format!("sent-{index}"),
    };
    let bytes = snapshot::encode(&meta, state_at(index)).unwrap();
    (meta, bytes)
}

/// What the log of a node says, and whom it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) vote: Option<Vote>,
    pub(super) entries: BTreeMap<u64, Encoded>,
    pub(super) purged: Option<LogId>,
    pub(super) met: BTreeSet<u64>,
}

impl Model {
    pub(super) fn last(&self) -> Option<u64> {
        self.entries.last_key_value().map(|(index, _)| *index).or(self.purged.map(|id| id.index))
    }

    /// Whether a node that was opened again has this much. A leader gives up its term.
    pub(super) fn is_found(&self, found: &Self) -> bool {
        (after_restart(self.vote), &self.entries, self.purged) == (found.vote, &found.entries, found.purged)
    }

    fn after(mut self, op: Op) -> Self {
        match op {
            Meet(peer) => {
                self.met.insert(peer);
            }
            Votes(term, node, committed) => {
                self.vote = Some(Vote { leader_id: openraft::LeaderId::new(term, node), committed });
            }
            Append(first, last) => self.entries.extend((first..=last).map(|at| encoded(&entry(at)))),
            AppendInVain(first, last) => {
                self.entries.extend((first..=last).map(|at| encoded(&vain_entry(at))));
            }
            Truncate(index) => drop(self.entries.split_off(&index)),
            Purge(index) => self.purge(index),
            Install => self.purge(RECEIVED),
            Restart => self.vote = after_restart(self.vote),
            Commit(_) | Snapshot => {}
        }
        self
    }

    fn purge(&mut self, index: u64) {
        self.purged = Some(log_id(index));
        self.entries = self.entries.split_off(&(index + 1));
    }
}

/// The vote with which a node starts that had another when it stopped.
pub(super) fn after_restart(vote: Option<Vote>) -> Option<Vote> {
    vote.map(|vote| {
        let led = vote.committed && codec::voted_for(&vote) == 1;
        if led { Vote::new(vote.leader_id.term + 1, 1) } else { vote }
    })
}

/// An entry under its index.
pub(super) fn encoded(entry: &Entry) -> (u64, Encoded) {
    (entry.log_id.index, Encoded(codec::encode_entry(entry)))
}

/// An entry as the log has it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Encoded(Bytes);

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// The models before the first step of the history, and after each.
pub(super) fn models() -> &'static Arc<Vec<Model>> {
    static MODELS: OnceLock<Arc<Vec<Model>>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let mut models = vec![Model::default()];
        for op in HISTORY {
            models.push(models[models.len() - 1].clone().after(*op));
        }
        Arc::new(models)
    })
}

/// Whether what went before it is on disk once it has succeeded.
pub(super) fn makes_durable(op: Op) -> bool {
    !matches!(op, Meet(_) | Commit(_) | Snapshot)
}
