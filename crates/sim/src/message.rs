//! What nodes say to each other.

use crate::{network::Node, raft::RaftMessage};
use quorate_domain::starts::{Start, Wish, Word};
use quorate_domain::{
    Assignment, AssignmentDelta, Command, FormationId, GroupId, Incarnation, InstanceId, LeaseSettings,
    Outcome, RequestId, Revision, ServiceMode,
};
use quorate_leader_core::{Hello, QuorumSeen, Report};
use std::sync::Arc;

/// Names one connection of an agent to a coordinator.
pub(crate) type Connection = u64;

/// What an agent says in a session.
#[derive(Debug, Clone)]
pub(crate) enum AgentSays {
    /// Its first word.
    Hello(Hello),
    /// It asks for a renewal.
    Heartbeat { seq: u64, installed: Revision, mode: ServiceMode },
    /// What the host is.
    Report(Report),
    /// It is gone.
    Bye,
}

/// What a coordinator says in a session.
#[derive(Debug, Clone)]
pub(crate) enum CoordinatorSays {
    /// The session is open.
    Welcome { formation: Option<FormationId>, lease: LeaseSettings },
    /// The whole assignment.
    Snapshot(Assignment),
    /// A change of it.
    Delta(AssignmentDelta),
    /// A renewal counts.
    Renewed { seq: u64, assignment: Revision },
    /// The session is over.
    Over(Why),
}

/// Why a session is over or was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Another coordinator leads, if it is known and heard.
    NotLeader(Option<usize>),
    /// It leads, and no quorum confirms it.
    NoQuorum,
    /// The one asked is not there.
    Nobody,
    /// The state knows a later start of the agent.
    StaleIncarnation(Incarnation),
    /// Another agent speaks for the host.
    HostIdInUse,
    /// Anything else.
    Refused,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum Asks {
    /// A command under a request id.
    Change { request: RequestId, command: Command },
    /// A group, as a quorum confirms it.
    Read(GroupId),
}

/// What a client is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answers {
    /// The command's outcome.
    Done(Outcome),
    /// The group's register, and the revision of the state that it was read from.
    Value { revision: Revision, value: Option<String> },
    /// Ask another coordinator; nothing was done.
    NotLeader(Option<usize>),
    /// No quorum, or too busy; nothing was done.
    Unavailable,
    /// Nobody knows what became of it.
    Unknown,
}

/// The process that speaks for a coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    /// The coordinator, by its place.
    pub(crate) id: Node,
    /// Which of its starts.
    pub(crate) start: Arc<Start>,
}

/// A message and what it belongs to.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// Between coordinators.
    Raft(Sender, RaftMessage),
    /// A coordinator says who it is, and asks another one whether it is still one of them.
    Identify(Sender),
    /// Another process counts for its node, for good, and not this start.
    LeftBehind { by: Sender, refused: InstanceId },
    /// A coordinator asks another one about a node, and a start that speaks for it, and what it would have of that one.
    About { node: Node, start: Arc<Start>, wish: Wish },
    /// The answer.
    Word { by: Node, of: Node, about: Arc<Start>, word: Word },
    /// Whoever leads asks another coordinator what it has seen of the quorum, at this moment of its own clock.
    AskOfQuorum { asked_ms: u64 },
    /// The answer.
    SawQuorum { by: Node, seen: QuorumSeen, asked_ms: u64 },
    /// It is none any more, and never will be.
    Removed,
    /// From an agent.
    FromAgent(Connection, AgentSays),
    /// To an agent.
    ToAgent(Connection, CoordinatorSays),
    /// From a client: the number of its try.
    Request(u64, Asks),
    /// To a client.
    Response(u64, Answers),
}

impl Packet {
    /// True for what coordinators say to each other.
    pub(crate) fn is_between_coordinators(&self) -> bool {
        matches!(
            self,
            Self::Raft(..)
                | Self::Identify(_)
                | Self::Removed
                | Self::LeftBehind { .. }
                | Self::About { .. }
                | Self::Word { .. }
                | Self::AskOfQuorum { .. }
                | Self::SawQuorum { .. }
        )
    }

    /// True for what travels on a stream that keeps order and loses nothing while it lasts.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::FromAgent(..) | Self::ToAgent(..))
    }
}
