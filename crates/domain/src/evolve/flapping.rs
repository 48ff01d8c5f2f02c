//! A service that ends by itself soon after its start has not started: what was tried before it stays tried, so that the next
//! pause is longer and the other hosts have their turn.

use crate::{
    group::Group,
    ids::{HostId, Timestamp},
    operation::{Failover, FailoverReason, OperationStatus},
    state::State,
};
use std::collections::BTreeMap;

/// A primary that has acted for so long has started.
const SETTLED_MS: u64 = 60_000;

/// The failed starts that a failover begins with: those of the one before, when the primary that it made has ended by itself
/// before it had settled.
pub(super) fn attempts(
    state: &State,
    group: &Group,
    reason: FailoverReason,
    now: Timestamp,
) -> BTreeMap<HostId, u32> {
    let before = group.history.last().and_then(|switch| state.operations.get(&switch.operation));
    let unsettled = before.filter(|operation| {
        let acted_ms = operation.finished_at.map(|acting| now.0.saturating_sub(acting.0));
        reason == FailoverReason::StartFailed
            && operation.status == OperationStatus::Succeeded
            && acted_ms.is_some_and(|acted_ms| acted_ms < SETTLED_MS)
    });
    unsettled
        .and_then(|operation| operation.failover())
        .map_or_else(BTreeMap::new, |Failover { attempts, .. }| attempts.clone())
}
