//! What is true in a Quorate cluster, and how it may change.
//!
//! One [`State`] is replicated by Raft. Every change goes through [`apply`]: [`decide`](decide::decide) looks at a
//! command and the state and answers with events or a [`Rejection`]; [`evolve`](evolve::evolve) folds the events in.
//! `decide` never mutates, `evolve` never fails, and both depend on their arguments alone, so that every coordinator
//! that applies the same log ends with the same bytes (see [`State::digest`]).
//!
//! Architecture invariant: there is no clock, no randomness, no IO, no async and no hash map in this crate.

pub mod apply;
pub mod assignment;
pub mod cause;
pub mod command;
pub mod coordinator;
pub mod decide;
pub mod disk;
pub mod election;
pub mod eligibility;
pub mod event;
pub mod evolve;
pub mod group;
pub mod host;
pub mod ids;
pub mod incidents;
pub mod invariants;
pub mod operation;
#[cfg(planted)]
pub mod planted;
pub mod rejection;
pub mod request;
pub mod rows;
pub mod settings;
pub mod starts;
pub mod state;
pub mod text;

pub use apply::{Applied, Committed, Outcome, Proposal, apply};
pub use assignment::{Assignment, AssignmentDelta, AssignmentEntry, GroupState, Role};
pub use cause::{Cause, Evidence};
pub use command::Command;
pub use coordinator::{Coordinator, CoordinatorChange, CoordinatorRole, CoordinatorSpec, Heard, RaftMembers};
pub use disk::{Disk, DiskIdentity, DiskReport, FaultClass, Latch, Verdict, VerdictReason};
pub use event::Event;
pub use group::{Group, Member, Phase, Switch};
pub use host::{Cordon, HookTimes, Host, HostStatus, ServiceMode};
pub use ids::{
    ClusterId, CoordinatorId, DiskId, DiskName, Epoch, FormationId, GroupId, HostId, Incarnation, InstanceId,
    OperationId, RequestId, Revision, StartId, Term, Timestamp, Zone,
};
pub use incidents::{Led, Outage, RefusalReason, RefusedAgent};
pub use operation::{Failover, Operation, OperationStatus, Step, StepName, StepStatus, Work};
pub use rejection::Rejection;
pub use settings::{LeaseSettings, Settings};
pub use state::State;
