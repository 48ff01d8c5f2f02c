//! One value of everything about demotions that is stored, spelled out: never change these, add new ones.

use crate::{
    samples::{stored_groups, stored_hosts},
    stage::{g, h},
};
use quorate_domain::{
    Cause, Command, Committed, Epoch, Event, Group, HookTimes, Host, Incarnation, InstanceId, Proposal,
    Revision, StartId, Timestamp, Zone,
};
use std::collections::BTreeMap;

fn hook_times() -> HookTimes {
    HookTimes { promotion_ms: 10_000, demotion_ms: 11_000 }
}

fn zone() -> Zone {
    Zone::new("z1").expect("a valid name")
}

fn instance() -> InstanceId {
    InstanceId::new("i-1").expect("a valid name")
}

pub(crate) fn stored_host_with_hooks() -> Host {
    let host = stored_hosts().swap_remove(0);
    Host { start: StartId(77), hook_times: hook_times(), ..host }
}

pub(crate) fn stored_group_with_unstopped() -> Group {
    let group = stored_groups().swap_remove(2);
    Group { demotion_ms: 11_000, unstopped: BTreeMap::from([(h("h2"), Epoch(43))]), ..group }
}

pub(crate) fn proposals() -> Vec<Proposal> {
    let (host, incarnation) = (h("h1"), Incarnation(300));
    let register = Command::RegisterHost {
        host: host.clone(),
        zone: zone(),
        address: "10.0.0.1:7000".into(),
        instance: instance(),
        incarnation,
        start: StartId(77),
        hook_times: hook_times(),
    };
    let stopped = Command::RecordStopped { group: g("g1"), epoch: Epoch(43), host, incarnation };
    [register, stopped]
        .map(|command| Proposal::new(Timestamp(8_000), Cause::Planner { rule: "rule".into() }, command))
        .into()
}

pub(crate) fn committed() -> Committed {
    let (host, incarnation, start) = (h("h1"), Incarnation(300), StartId(77));
    let registered = Event::HostRegistered {
        host: host.clone(),
        zone: zone(),
        address: "10.0.0.1:7000".into(),
        instance: instance(),
        incarnation,
        start,
        hook_times: hook_times(),
    };
    let restarted = Event::HostRestarted {
        host: host.clone(),
        instance: instance(),
        incarnation,
        start,
        hook_times: hook_times(),
    };
    let stopped = Event::OldPrimaryStopped { group: g("g1"), epoch: Epoch(43), host };
    Committed {
        revision: Revision(70_000),
        at: Timestamp(8_000),
        cause: Cause::Planner { rule: "rule".into() },
        command: "RecordStopped".into(),
        events: vec![registered, restarted, stopped],
    }
}
