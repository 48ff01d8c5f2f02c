//! One value of everything that is only told, spelled out: never change these, add new ones.

use crate::{samples::stored_cluster, stage::h};
use quorate_domain::{
    Cause, Command, Committed, CoordinatorId, Event, Led, Outage, Proposal, RefusalReason, RefusedAgent,
    Revision, Term, Timestamp, state::Cluster,
};

const REASONS: [RefusalReason; 4] = [
    RefusalReason::OtherCluster,
    RefusalReason::OtherFormation,
    RefusalReason::Superseded,
    RefusalReason::HostIdInUse,
];

pub(crate) fn stored_cluster_with_incidents() -> Cluster {
    let led = Led { coordinator: CoordinatorId(2), term: Term(7), since: Timestamp(8_000), outages: 3 };
    let refused = |reason| RefusedAgent { host: h("h1"), reason, at: Timestamp(8_500) };
    Cluster { led: Some(led), refused: REASONS.map(refused).into(), ..stored_cluster() }
}

pub(crate) fn proposals() -> Vec<Proposal> {
    let outage = Some(Outage { number: 3, lasted_ms: 30_000 });
    let mut commands =
        vec![Command::RecordLeadership { coordinator: CoordinatorId(2), term: Term(7), outage }];
    commands.extend(REASONS.map(|reason| Command::RecordRefusedAgent {
        host: h("h1"),
        reason,
        address: "10.0.0.9:7000".into(),
        times: 300,
    }));
    let cause = Cause::Planner { rule: "rule".into() };
    commands.into_iter().map(|command| Proposal::new(Timestamp(8_000), cause.clone(), command)).collect()
}

pub(crate) fn committed() -> Committed {
    let (coordinator, lasted_ms) = (CoordinatorId(2), 30_000);
    let events = vec![
        Event::QuorumLost { coordinator, lasted_ms },
        Event::LeaderChanged { coordinator, term: Term(7), before: Some(CoordinatorId(1)) },
        Event::QuorumRegained { coordinator, outage: 3, lasted_ms },
        Event::AgentRefused {
            host: h("h1"),
            reason: RefusalReason::OtherCluster,
            address: "10.0.0.9:7000".into(),
            times: 300,
        },
    ];
    Committed {
        revision: Revision(70_002),
        at: Timestamp(9_000),
        cause: Cause::Planner { rule: "rule".into() },
        command: "RecordLeadership".into(),
        events,
    }
}
