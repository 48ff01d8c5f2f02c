//! What a command leads to: events, or a refusal with its reason.
//!
//! Every precondition is checked here, in log order, whatever the proposer had checked before: a plan made on an old
//! view is refused, not applied.

mod coordinator;
mod deletion;
mod failover;
mod group;
mod host;
mod incidents;
mod member;
mod upkeep;

use crate::{
    cause::Cause,
    command::{Command, REASON_MAX_BYTES},
    event::Event,
    group::Group,
    host::Host,
    ids::{GroupId, HostId, Incarnation, Revision, Term, Timestamp},
    rejection::Rejection,
    state::State,
};
use std::sync::Arc;

pub(crate) use group::merge_labels;

/// What a decision may know besides the state and the command.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The state's time when the command is applied.
    pub at: Timestamp,
    /// The term of the log entry that carries it.
    pub term: Term,
    /// The revision that it will make if it changes something.
    pub revision: Revision,
    /// Who wants it.
    pub cause: &'a Cause,
}

/// Decides one command.
///
/// # Errors
/// A [`Rejection`] with a stable code; the state stays as it is.
pub fn decide(state: &State, context: &Context<'_>, command: &Command) -> Result<Vec<Event>, Rejection> {
    if let Command::CreateCluster { cluster, formation, settings } = command {
        return create_cluster(state, cluster.clone(), formation.clone(), settings);
    }
    if state.cluster.id.is_none() {
        return Err(Rejection::ClusterMissing);
    }
    match command {
        Command::CreateCluster { .. } => Ok(vec![]),
        Command::RegisterHost { .. } => host::register(state, context, command),
        Command::ForgetHost { host, reason } => upkeep::forget_host(state, host, reason),
        Command::ResetHost { host, reason } => upkeep::reset_host(state, host, reason),
        Command::CordonHost { host, reason } => upkeep::cordon(state, host, reason),
        Command::UncordonHost { host } => upkeep::uncordon(state, host),
        Command::MarkHost { .. } => host::mark(state, command),
        Command::RecordDisk { .. } => host::record_disk(state, command),
        Command::ForgetDisk { disk, reason } => upkeep::forget_disk(state, disk, reason),
        Command::ClearDisk { disk, reason } => host::clear_disk(state, disk, reason),
        Command::CreateGroup { .. } => group::create(state, context, command),
        Command::SetGroupLabels { group, labels } => group::set_labels(state, group, labels),
        Command::AcceptMember { group, host, reason } => member::accept(state, group, host, reason),
        Command::AddMember { group, member, accepted, reason } => {
            member::add(state, group, member, *accepted, reason)
        }
        Command::RemoveMember { group, host, reason } => member::remove(state, group, host, reason),
        Command::ReorderMembers { group, order } => member::reorder(state, group, order),
        Command::DeleteGroup { group } => deletion::begin(state, group),
        Command::FinishDeletion { group, epoch, fencing } => {
            deletion::finish(state, context, group, *epoch, fencing)
        }
        Command::BeginFailover { .. } => failover::begin(state, context, command),
        Command::RecordRelease { .. } => failover::record_release(state, context, command),
        Command::RecordStopped { group, epoch, host, incarnation } => {
            failover::record_stopped(state, group, *epoch, host, *incarnation)
        }
        Command::ReportBlocked { group, epoch, reasons } => {
            failover::report_blocked(state, group, *epoch, reasons)
        }
        Command::ChooseCandidate { .. } => failover::choose(state, context, command),
        Command::Promote { group, operation, candidate, fencing } => {
            failover::promote(state, context, group, *operation, candidate, fencing)
        }
        Command::RecordInstalled { group, epoch, host, incarnation } => {
            failover::record_installed(state, group, *epoch, host, *incarnation)
        }
        Command::AcknowledgePromotion { group, epoch, host, incarnation } => {
            failover::acknowledge(state, group, *epoch, host, *incarnation)
        }
        Command::ReportStartFailed { .. } => failover::report_start_failed(state, context, command),
        Command::RecordCoordinators { coordinators } => Ok(coordinator::record(state, context, coordinators)),
        Command::BeginCoordinatorChange { change, heard } => {
            coordinator::begin(state, context, change, heard)
        }
        Command::RecordCaughtUp { operation, through_index, heard } => {
            coordinator::record_caught_up(state, context, *operation, *through_index, heard)
        }
        Command::RecordVoters { operation, members } => {
            coordinator::record_voters(state, context, *operation, members)
        }
        Command::CancelCoordinatorChange { operation, heard } => {
            coordinator::cancel(state, context, *operation, heard)
        }
        Command::FinishCoordinatorChange { operation, members } => {
            coordinator::finish(state, context, *operation, members)
        }
        Command::RecordLeadership { coordinator, term, outage } => {
            incidents::record_leadership(state, context, *coordinator, *term, *outage)
        }
        Command::RecordRefusedAgent { host, reason, address, times } => {
            incidents::record_refused_agent(state, context, host, *reason, address, *times)
        }
    }
}

fn create_cluster(
    state: &State,
    cluster: crate::ids::ClusterId,
    formation: Option<crate::ids::FormationId>,
    settings: &crate::settings::Settings,
) -> Result<Vec<Event>, Rejection> {
    if let Some(id) = &state.cluster.id {
        return Err(Rejection::ClusterExists(id.clone()));
    }
    // The election part of the rule for T belongs to the coordinators' own configuration; it is checked at start-up.
    let problems = settings.lease.problems(0);
    if !problems.is_empty() {
        return Err(Rejection::UnsafeSettings(problems.iter().map(ToString::to_string).collect()));
    }
    Ok(vec![Event::ClusterCreated { cluster, formation, settings: settings.clone() }])
}

/// What an operator answers for carries the operator's words.
fn check_reason(reason: &str) -> Result<(), Rejection> {
    let problem = if reason.trim().is_empty() {
        "none is given".to_owned()
    } else if reason.len() > REASON_MAX_BYTES {
        format!("it has {} bytes", reason.len())
    } else {
        return Ok(());
    };
    Err(Rejection::InvalidReason { problem })
}

fn find_group<'a>(state: &'a State, group: &GroupId) -> Result<&'a Arc<Group>, Rejection> {
    state.groups.get(group).ok_or_else(|| Rejection::GroupNotFound(group.clone()))
}

fn find_host<'a>(state: &'a State, host: &HostId) -> Result<&'a Arc<Host>, Rejection> {
    state.hosts.get(host).ok_or_else(|| Rejection::HostNotFound(host.clone()))
}

/// The host, if this is the start of its agent that the state knows.
fn current_host<'a>(
    state: &'a State,
    host: &HostId,
    incarnation: Incarnation,
) -> Result<&'a Arc<Host>, Rejection> {
    let found = find_host(state, host)?;
    if found.incarnation == incarnation {
        Ok(found)
    } else {
        Err(Rejection::StaleIncarnation {
            host: host.clone(),
            recorded: found.incarnation,
            offered: incarnation,
        })
    }
}
