//! Is it certain that nobody acts under the old epoch? (I12)

use super::View;
use crate::Plan;
use quorate_domain::{Group, command::Fencing};

/// Why nobody can act under the revoked epoch any more; none while somebody could.
///
/// The wait counts from when this leadership saw the revoke applied. What was not noted yet has not waited at all.
pub(super) fn fencing(plan: &mut Plan, view: &View<'_>, group: &Group, released: bool) -> Option<Fencing> {
    if released {
        return Some(Fencing::Released);
    }
    let since = *view.observations.revoked_since.get(&(group.id.clone(), group.epoch))?;
    #[cfg(planted)]
    {
        use quorate_domain::planted::{Bug, is};
        let lease = &view.state.settings().lease;
        if is(Bug::PromoteBeforeD) && view.now.since_ms(since) > lease.wait_ms / 3 {
            let waited_ms = lease.wait_for_ms(group.demotion_ms);
            return Some(Fencing::Waited { waited_ms, term: view.observations.term });
        }
    }
    let due = since.plus_ms(view.state.settings().lease.wait_for_ms(group.demotion_ms));
    if view.now < due {
        plan.wake(due);
        return None;
    }
    Some(Fencing::Waited { waited_ms: view.now.since_ms(since), term: view.observations.term })
}
