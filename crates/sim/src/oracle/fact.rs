//! What the oracle is told.

use crate::{
    message::{Answers, Asks},
    network::Node,
    raft::{Ballot, Entry, Membership, Place},
    time::Moment,
};
use quorate_domain::{
    Applied, Epoch, FormationId, GroupId, Heard, HostId, Incarnation, Proposal, Revision, ServiceMode,
    StartId, State,
};
use quorate_planner::Plan;
use std::sync::Arc;

/// A right to act as primary, as somebody on a host uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The machine.
    pub(crate) machine: Node,
    /// The start of its agent.
    pub(crate) incarnation: Incarnation,
    /// The same process, whatever it counts itself.
    pub(crate) start: StartId,
    /// The group.
    pub(crate) group: GroupId,
    /// Under which epoch.
    pub(crate) epoch: Epoch,
    /// When it ends if nothing more happens, in true time.
    pub(crate) until: Moment,
    /// It is of this instant; otherwise it is what is left of an earlier one.
    pub(crate) fresh: bool,
}

/// A group that could have a primary that acts, and does not have exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unserved {
    /// Since when it could: it may have waited for an operator before.
    pub(crate) since: Moment,
    /// How often its start has failed in a row, which earns it a pause.
    pub(crate) failed_starts: u32,
    /// How it is.
    pub(crate) what: String,
}

/// How a world is that should be well again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// A coordinator leads and a quorum says so, or one has just handed over.
    pub(crate) led: bool,
    /// Groups that could have a primary that acts, and do not have exactly one.
    pub(crate) without_primary: Vec<Unserved>,
    /// How the coordinators' states differ; none when they do not, or nobody has looked yet.
    pub(crate) differences: Option<String>,
    /// What is not as it should be with the coordinators themselves.
    pub(crate) coordinators: Vec<String>,
}

/// Something that is true.
#[derive(Debug)]
pub(crate) enum Fact<'a> {
    /// Something arrived at a node or woke it.
    Happened { node: Node },
    /// A coordinator won an election.
    Won { node: Node, term: u64 },
    /// A coordinator gave its vote away: to a machine, for the coordinator that it stands for.
    Granted { node: Node, term: u64, to: Node, stands_for: Node },
    /// A coordinator spoke to another in this term.
    Spoke { node: Node, term: u64 },
    /// Where a coordinator stands after an event.
    Stands {
        node: Node,
        ballot: Ballot,
        committed: u64,
        applied: Place,
        last: u64,
        log_len: usize,
        waiting: usize,
    },
    /// A machine gets a copy of the data folder that another one has.
    Copied { node: Node, from: Node },
    /// A coordinator starts from what it finds on its disk.
    Started { node: Node, ballot: Ballot },
    /// An entry is committed, as a coordinator knows.
    Committed { node: Node, entry: &'a Arc<Entry> },
    /// A coordinator applied a command.
    Applied {
        node: Node,
        entry: &'a Arc<Entry>,
        nth: usize,
        proposal: &'a Proposal,
        before: &'a State,
        after: &'a State,
        applied: &'a Applied,
    },
    /// The same, for the first coordinator that did so: this is what was decided.
    Decided { term: u64, proposal: &'a Proposal, before: &'a State, after: &'a State, applied: &'a Applied },
    /// A coordinator has applied an entry and everything before.
    Through { node: Node, index: u64, state: &'a State },
    /// A coordinator has a state from a snapshot.
    Restored { node: Node, at: Place, state: &'a State },
    /// A coordinator's question was answered: it had been asked at this moment.
    Answered { leader: Node, term: u64, peer: Node, asked: Moment },
    /// Another configuration of Raft is in force on a coordinator.
    Configured { node: Node, members: &'a Membership },
    /// A leader has put another configuration into its log.
    Reconfigured { node: Node, term: u64, from: &'a Membership, to: &'a Membership },
    /// A leader says whom it has heard from lately.
    Heard { node: Node, heard: &'a Heard },
    /// A leader's welcome reached an agent, and says which forming of the cluster it is of.
    Welcomed { machine: Node, formation: Option<&'a FormationId> },
    /// An agent sent a heartbeat, and has this revision of its assignment installed.
    HeartbeatSent { machine: Node, start: StartId, seq: u64, installed: Revision },
    /// It reached a coordinator.
    HeartbeatArrived { node: Node, machine: Node, host: &'a HostId, start: StartId, seq: u64 },
    /// A coordinator acknowledged it.
    Renewed { node: Node, term: u64, machine: Node, start: StartId, seq: u64, assignment: Revision },
    /// A leader has opened a session of a host.
    Opened { node: Node, term: u64, host: &'a HostId },
    /// A leader looked at this state and plans this. `anew`: it stood still before, or no quorum acknowledges it, so that
    /// it only observes from now on for a while.
    Planned { node: Node, term: u64, anew: bool, state: &'a State, plan: &'a Plan },
    /// Somebody on a machine may act until then; replaces what the machine claimed of the group before.
    Claims { claim: &'a Claim, stored: Option<Epoch>, named: bool },
    /// Nobody on the machine acts for the group any more.
    Yields { machine: Node, group: &'a GroupId },
    /// A service that asks nobody runs on a machine from now on.
    ServiceStarts { machine: Node, group: &'a GroupId, epoch: Epoch },
    /// What is left of it is ended by nobody at its deadline: a guard and its keeper were killed in one instant.
    ServiceStrays { machine: Node, group: &'a GroupId, epoch: Epoch },
    /// A guard is told that it may run a service. Its agent's disk has it on record, or not.
    GuardTold { machine: Node, group: &'a GroupId, epoch: Epoch, recorded: bool },
    /// It runs no more.
    ServiceStops { machine: Node, group: &'a GroupId },
    /// The mode that a host is in from now on, and when a normal one ends if nothing more happens, in true time.
    Mode { machine: Node, start: StartId, mode: ServiceMode, until: Moment },
    /// A client asked for something, for the first time.
    Asked { client: Node, number: u64, asks: &'a Asks },
    /// It has the answer.
    Returned { client: Node, number: u64, asks: &'a Asks, answers: &'a Answers },
    /// All faults have ended at this moment, and this is how the world is now.
    Healing { since: Moment, health: &'a Health },
}
