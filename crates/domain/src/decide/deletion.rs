//! Deleting a group takes two commands, because its primary may act until it let go or its lease is over.

use super::{Context, failover::check_fencing, find_group};
use crate::{
    command::Fencing,
    event::Event,
    group::Phase,
    ids::{Epoch, GroupId},
    rejection::Rejection,
    state::State,
};

pub(super) fn begin(state: &State, id: &GroupId) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    if matches!(group.phase, Phase::Deleting { .. }) {
        return Err(Rejection::GroupDeleting(id.clone()));
    }
    let mut events = Vec::new();
    if let Some(operation) = group.phase.operation() {
        events.push(Event::OperationFailed {
            operation,
            group: id.clone(),
            outcome: "the group is being deleted".into(),
        });
    }
    events.push(Event::GroupDeletionBegun { group: id.clone(), epoch: group.epoch });
    Ok(events)
}

pub(super) fn finish(
    state: &State,
    context: &Context<'_>,
    id: &GroupId,
    epoch: Epoch,
    fencing: &Fencing,
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    let Phase::Deleting { released } = group.phase else {
        return Err(Rejection::WrongPhase {
            group: id.clone(),
            phase: group.phase.to_string(),
            needed: "only a group that is being deleted can be forgotten".into(),
        });
    };
    if group.epoch != epoch {
        return Err(Rejection::StaleEpoch { group: id.clone(), current: group.epoch, given: epoch });
    }
    check_fencing(state, context, group, fencing, released)?;
    Ok(vec![Event::GroupDeleted { group: id.clone(), epoch }])
}
