//! Every JSON document from a fixed value, letter by letter: other programs read them.

use super::fixed::{disk, expect, group, host, operation, revision, status, switch};
use crate::output::json;
use quorate_rpc::pb::{
    control::GetStatusResponse,
    types::{Host, View},
};

#[test]
fn hosts_keep_their_names() {
    expect(
        &json::document(&json::hosts(&[host()])),
        r#"
[
  {
    "address": "127.0.0.1:7402",
    "assignment_revision": 41,
    "backup_of": [],
    "cordoned": {
      "reason": "new kernel",
      "since": "2026-01-01T00:00:30.000Z"
    },
    "demotion_ms": 11000,
    "error_count": 2,
    "id": "h1",
    "incarnation": 3,
    "installed_revision": 40,
    "last_contact_ms": 3250,
    "last_transition_at": "2026-01-01T00:00:00.000Z",
    "last_transition_reason": "no heartbeat for 3000 ms",
    "primary_of": [
      "g1",
      "g2"
    ],
    "promotion_ms": 10000,
    "service_mode": "read_only",
    "status": "suspect",
    "zone": "z1"
  }
]
"#,
    );
}

#[test]
fn disks_keep_their_names() {
    expect(
        &json::document(&json::disks(&[disk()])),
        r#"
[
  {
    "capacity_bytes": 1610612736,
    "changed_at": "2026-01-01T00:00:01.000Z",
    "checked_at": "2026-01-01T00:01:25.000Z",
    "error_count": 1,
    "free_bytes": null,
    "host": "h1",
    "identity": "disk-1",
    "latched": {
      "codes": [
        "PROBE_FAILED"
      ],
      "since": "2026-01-01T00:00:01.000Z",
      "well_since": "2026-01-01T00:01:00.000Z"
    },
    "name": "d1",
    "path": "/srv/d1",
    "reasons": [
      {
        "at": "2026-01-01T00:00:01.000Z",
        "attribute": "write",
        "class": "medium",
        "code": "PROBE_FAILED",
        "observed": "EIO",
        "source": "probe",
        "threshold": null
      }
    ],
    "verdict": "failed"
  }
]
"#,
    );
}

#[test]
fn groups_keep_their_names() {
    expect(
        &json::document(&json::groups(&[group()])),
        r#"
[
  {
    "backups": [
      {
        "disk": "d1",
        "host": "h2"
      },
      {
        "disk": "d1",
        "host": "h3"
      }
    ],
    "blocked_reasons": [
      "h2: offline"
    ],
    "blocked_since": "2026-01-01T00:01:00.000Z",
    "created_at": "2026-01-01T00:00:00.000Z",
    "epoch": 4,
    "granted_to_incarnation": 3,
    "id": "g1",
    "labels": {
      "app": "db",
      "tier": "gold"
    },
    "members": [
      {
        "accepted": true,
        "disk": "d1",
        "host": "h1",
        "missed_identity": null,
        "primary": true
      },
      {
        "accepted": true,
        "disk": "d1",
        "host": "h2",
        "missed_identity": null,
        "primary": false
      },
      {
        "accepted": false,
        "disk": "d1",
        "host": "h3",
        "missed_identity": "disk-3",
        "primary": false
      }
    ],
    "modified_revision": 41,
    "operation": "op-7",
    "phase": "revoked",
    "primary": {
      "disk": "d1",
      "host": "h1"
    },
    "unstopped": [
      {
        "epoch": 2,
        "host": "h3"
      }
    ]
  }
]
"#,
    );
}

#[test]
fn switches_keep_their_names() {
    expect(
        &json::document(&json::switches(&[switch()])),
        r#"
[
  {
    "at": "2026-01-01T00:00:00.000Z",
    "epoch": 4,
    "from": "h2",
    "operation": "op-6",
    "reason": "host offline",
    "revision": 30,
    "to": "h1"
  }
]
"#,
    );
}

#[test]
fn operations_keep_their_names() {
    expect(
        &json::document(&json::operations(&[operation()])),
        r#"
[
  {
    "cause": "rule host-offline",
    "created_at": "2026-01-01T00:00:50.000Z",
    "evidence": [
      {
        "observed": "9000",
        "source": "leader 2",
        "threshold": "7500",
        "what": "last_contact_ms"
      }
    ],
    "failed_attempts": 0,
    "finished_at": null,
    "from": "h1",
    "from_epoch": 4,
    "group": "g1",
    "id": "op-7",
    "kind": "failover",
    "member_change": null,
    "outcome": null,
    "reason": "host offline",
    "request_id": null,
    "status": "running",
    "steps": [
      {
        "finished_at": "2026-01-01T00:00:57.500Z",
        "name": "stop-old-primary",
        "note": null,
        "started_at": "2026-01-01T00:00:50.000Z",
        "status": "done"
      },
      {
        "finished_at": null,
        "name": "ensure-consistency",
        "note": null,
        "started_at": "2026-01-01T00:00:57.500Z",
        "status": "running"
      },
      {
        "finished_at": null,
        "name": "switch-primary",
        "note": null,
        "started_at": null,
        "status": "pending"
      }
    ],
    "target": null,
    "to": null
  }
]
"#,
    );
}

#[test]
fn a_revision_is_one_line_with_the_detail_of_its_events_embedded() {
    expect(
        &json::line(&json::revision(&revision())),
        r#"
{"at":"2026-01-01T00:00:50.000Z","cause":"rule host-offline","command":"BeginFailover","events":[{"detail":{"FailoverBegun":{"epoch":4,"group":"g1"}},"group":"g1","host":"h1","message":"group g1: primary h1 revoked at epoch 4 (host offline), op-7","operation":"op-7","type":"FailoverBegun"},{"detail":"not json","group":"g1","host":null,"message":"group g1: nobody can be promoted: h2: offline","operation":null,"type":"FailoverBlocked"}],"request_id":null,"revision":41}
"#,
    );
}

#[test]
fn the_status_keeps_its_names() {
    expect(
        &json::document(&json::status(&GetStatusResponse { running: vec![], warnings: vec![], ..status() })),
        r#"
{
  "applied_index": 119,
  "can_decide": true,
  "cluster_id": "prod",
  "coordinator_id": 2,
  "disks": {
    "degraded": 0,
    "failed": 1,
    "healthy": 4,
    "unknown": 0
  },
  "formation_id": "0123456789abcdef0123456789abcdef",
  "grace_left_ms": 2500,
  "groups": {
    "active": 2,
    "blocked": 1,
    "revoked": 1,
    "starting": 0
  },
  "health": "critical",
  "hosts": {
    "offline": 0,
    "online": 4,
    "suspect": 1
  },
  "last_log_index": 120,
  "leader_api_address": "10.0.0.2:7401",
  "leader_id": 2,
  "log_lines_lost": 7,
  "member_change": null,
  "members": [
    {
      "api_address": "10.0.0.1:7401",
      "id": 1,
      "lag_entries": 3,
      "last_answer_ms": 30,
      "leader": false,
      "peer_address": "10.0.0.1:7400",
      "role": "voter",
      "since": "2026-01-01T00:00:00.000Z",
      "state": "answering",
      "state_for_ms": null,
      "state_reason": null,
      "voter": true
    },
    {
      "api_address": "10.0.0.2:7401",
      "id": 2,
      "lag_entries": 0,
      "last_answer_ms": 0,
      "leader": true,
      "peer_address": "10.0.0.2:7400",
      "role": "voter",
      "since": "2026-01-01T00:00:00.000Z",
      "state": "answering",
      "state_for_ms": null,
      "state_reason": null,
      "voter": true
    },
    {
      "api_address": "10.0.0.3:7401",
      "id": 3,
      "lag_entries": null,
      "last_answer_ms": null,
      "leader": false,
      "peer_address": "10.0.0.3:7400",
      "role": "learner",
      "since": "2026-01-01T00:00:00.000Z",
      "state": "not_reached",
      "state_for_ms": 12400,
      "state_reason": "at 10.0.0.3:7400: connection refused",
      "voter": false
    }
  ],
  "quorum_ack_ms": 12,
  "reaches_quorum": true,
  "revision": 41,
  "running": [],
  "service_modes": {
    "normal": 3,
    "read_only": 1,
    "safe": 0,
    "unknown": 1
  },
  "stands_still": false,
  "state_digest": "abcd",
  "term": 5,
  "version": "0.1.0",
  "warnings": [],
  "warnings_unlisted": 7
}
"#,
    );
}

#[test]
fn warnings_keep_their_names_and_codes() {
    expect(
        &json::document(&json::status(&status())["warnings"]),
        r#"
[
  {
    "code": "GROUP_NOT_SERVED",
    "remedy": "bring one of these hosts back",
    "severity": "critical",
    "since_at_least": true,
    "since_ms": 40200,
    "subject": {
      "id": "g1",
      "kind": "group"
    },
    "text": "nobody is primary: it was taken from h1/d1 (host-lost)"
  },
  {
    "code": "COORDINATOR_NOT_REACHED",
    "remedy": "start it",
    "severity": "warning",
    "since_at_least": false,
    "since_ms": 12400,
    "subject": {
      "id": "3",
      "kind": "coordinator"
    },
    "text": "coordinator 3 is not reached at 10.0.0.3:7400: connection refused"
  },
  {
    "code": "EVEN_VOTERS",
    "remedy": null,
    "severity": "note",
    "since_at_least": false,
    "since_ms": null,
    "subject": {
      "id": null,
      "kind": "cluster"
    },
    "text": "4 coordinators vote"
  }
]
"#,
    );
}

#[test]
fn what_is_not_set_is_null() {
    let host = json::host(&Host::default());
    for field in ["status", "service_mode", "last_transition_at", "last_transition_reason", "last_contact_ms"]
    {
        assert!(host[field].is_null(), "{field}: {host}");
    }
    let status = json::status(&GetStatusResponse::default());
    assert!(status["leader_id"].is_null() && status["quorum_ack_ms"].is_null(), "{status}");
    assert!(json::view(None).is_null());
}

#[test]
fn the_running_operations_of_a_status_are_whole_operations() {
    assert_eq!(json::status(&status())["running"], json::operations(&[operation()]));
}

#[test]
fn a_view_says_whether_it_may_be_old() {
    let view = View { revision: 7, stale: true, coordinator_id: 2 };
    expect(&json::line(&json::view(Some(&view))), "{\"coordinator_id\":2,\"revision\":7,\"stale\":true}\n");
}
