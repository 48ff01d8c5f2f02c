//! Folds in what is only told, as far as it must be remembered so that it is told once.

use crate::{
    apply::Committed,
    event::Event,
    incidents::{Led, RefusedAgent},
    state::State,
};
use std::sync::Arc;

pub(super) fn incident(state: &mut State, committed: &Committed, event: &Event) {
    let at = committed.at;
    let cluster = Arc::make_mut(&mut state.cluster);
    match event {
        Event::LeaderChanged { coordinator, term, .. } => {
            cluster.led = Some(Led { coordinator: *coordinator, term: *term, since: at, outages: 0 });
        }
        Event::QuorumRegained { outage, .. } => {
            if let Some(led) = &mut cluster.led {
                led.outages = led.outages.max(*outage);
            }
        }
        Event::AgentRefused { host, reason, .. } => {
            cluster.refused.retain(|known| known.is_fresh(at));
            cluster.refused.push(RefusedAgent { host: host.clone(), reason: *reason, at });
        }
        _ => {}
    }
}
