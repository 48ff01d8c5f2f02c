//! Makes a failing plan smaller while it goes on failing in the same way.

use crate::{fault::Fault, plan::Plan, world::World};

/// Removes faults and clients of a plan, as long as a run of what is left still breaks the same invariant. Returns the
/// smallest plan found, and how many runs that took.
pub fn shrink(plan: &Plan, invariant: &str) -> (Plan, usize) {
    let mut runs = 0;
    let mut fails = |candidate: &Plan| {
        runs += 1;
        let report = World::run(candidate.clone(), false);
        report.violation.is_some_and(|violation| violation.invariant == invariant)
    };
    let mut best = plan.clone();
    let mut chunk = best.faults.len().div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < best.faults.len() {
            let candidate = without(&best, start, chunk);
            if fails(&candidate) {
                best = candidate;
            } else {
                start += chunk;
            }
        }
        chunk /= 2;
    }
    while best.clients > 1 {
        let candidate = Plan { clients: best.clients - 1, ..best.clone() };
        if !fails(&candidate) {
            break;
        }
        best = candidate;
    }
    (best, runs)
}

fn without(plan: &Plan, start: usize, count: usize) -> Plan {
    let kept = |(place, _): &(usize, &Fault)| *place < start || *place >= start + count;
    let faults = plan.faults.iter().enumerate().filter(kept).map(|(_, fault)| *fault).collect();
    Plan { faults, ..plan.clone() }
}
