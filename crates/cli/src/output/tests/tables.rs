//! Every table and sheet from a fixed value, letter by letter.

use super::fixed::{NOW_MS, disk, expect, group, host, operation, revision, roles, status, switch};
use crate::output::table::{self, Width};
use quorate_rpc::pb::{
    control::GetStatusResponse,
    types::{Disk, Group, Host, Operation},
};

const WIDTH: Width = Width::Content;

#[test]
fn hosts_stand_one_per_line() {
    expect(
        &table::hosts(&[host()], NOW_MS, WIDTH),
        r"
HOST  ZONE  STATUS             MODE       LAST CONTACT  SINCE   PRIMARY  BACKUP  ADDRESS
h1    z1    suspect, cordoned  read_only  3.2s ago      1m 30s  2        0       127.0.0.1:7402
",
    );
}

#[test]
fn a_host_stands_with_its_disks() {
    expect(
        &table::host_sheet(&host(), &[disk()], NOW_MS, WIDTH),
        r"
host          h1
zone          z1
address       127.0.0.1:7402
status        suspect
since         2026-01-01T00:00:00.000Z (1m 30s ago)
because       no heartbeat for 3000 ms
mode          read_only
heard of      3.2s ago
incarnation   3
assignment    revision 41, installed 40
primary of    g1 g2
backup of     -
errors        2
hooks take    at most 10s to promote, 11s to demote
cordoned      since 2026-01-01T00:00:30.000Z (1m 0s ago): new kernel

DISK   VERDICT          FREE          ERRORS  CHECKED   REASON        PATH
h1/d1  failed, latched  - of 1.5 GiB  1       5.0s ago  PROBE_FAILED  /srv/d1
",
    );
}

#[test]
fn a_disk_stands_with_the_reasons_of_its_verdict() {
    expect(
        &table::disk_sheet(&disk(), NOW_MS, WIDTH),
        r"
disk          h1/d1
path          /srv/d1
identity      disk-1
verdict       failed
since         2026-01-01T00:00:01.000Z (1m 29s ago)
capacity      1.5 GiB
free          -
checked       2026-01-01T00:01:25.000Z (5.0s ago)
errors        1
latched       since 2026-01-01T00:00:01.000Z (1m 29s ago) by PROBE_FAILED; passes its checks again since 2026-01-01T00:01:00.000Z (30s ago): `quorate disk clear h1/d1 --reason TEXT` if it is known to be good

CODE          ATTRIBUTE  OBSERVED  THRESHOLD  SOURCE  CLASS   AT
PROBE_FAILED  write      EIO       -          probe   medium  2026-01-01T00:00:01.000Z (1m 29s ago)
",
    );
}

#[test]
fn groups_stand_one_per_line() {
    expect(
        &table::groups(&[group()], WIDTH),
        r"
GROUP  PHASE    PRIMARY  EPOCH  OPERATION  BLOCKED  BACKUPS
g1     revoked  h1/d1    4      op-7       yes      h2/d1 h3/d1
",
    );
}

#[test]
fn a_group_stands_with_what_blocks_its_failover() {
    expect(
        &table::group_sheet(&group(), &[], NOW_MS),
        r"
group         g1
phase         revoked
primary       h1/d1, incarnation 3
epoch         4
backups       h2/d1 h3/d1
order         h1/d1 h2/d1 h3/d1 (not accepted: disk-3 held the copy)
operation     op-7
labels        app=db tier=gold
created       2026-01-01T00:00:00.000Z (1m 30s ago)
modified      revision 41

Not known to have stopped their service, and not promoted before
  - h3, epoch 2

Failover blocked since 2026-01-01T00:01:00.000Z (30s ago)
  - h2: offline
",
    );
}

#[test]
fn switches_stand_one_per_line() {
    expect(
        &table::switches(&[switch()], NOW_MS, WIDTH),
        r"
REVISION  AT                                     EPOCH  FROM  TO  OPERATION  REASON
30        2026-01-01T00:00:00.000Z (1m 30s ago)  4      h2    h1  op-6       host offline
",
    );
}

#[test]
fn operations_stand_one_per_line_with_the_step_they_are_at() {
    expect(
        &table::operations(&[operation()], NOW_MS, WIDTH),
        r"
OPERATION  KIND      GROUP  STATUS   FROM  TO  STEP                      BEGUN                     TOOK  REASON
op-7       failover  g1     running  h1    -   ensure-consistency (32s)  2026-01-01T00:00:50.000Z  40s   host offline
",
    );
}

#[test]
fn an_operation_stands_with_its_steps_and_evidence() {
    expect(
        &table::operation_sheet(&operation(), NOW_MS, WIDTH),
        r"
operation     op-7
kind          failover
status        running
reason        host offline
cause         rule host-offline
group         g1
from          h1, epoch 4
to            -
wanted        -
attempts      0 failed
begun         2026-01-01T00:00:50.000Z (40s ago)
finished      -
took          40s
outcome       -

STEP                STATUS   BEGUN                     TOOK  NOTE
stop-old-primary    done     2026-01-01T00:00:50.000Z  7.5s  -
ensure-consistency  running  2026-01-01T00:00:57.500Z  32s   -
switch-primary      pending  -                         -     -

EVIDENCE         OBSERVED  THRESHOLD  SOURCE
last_contact_ms  9000      7500       leader 2
",
    );
}

#[test]
fn each_event_of_a_revision_has_a_line() {
    expect(
        &table::event_lines(&revision()),
        r"
      41  2026-01-01T00:00:50.000Z  FailoverBegun           group g1: primary h1 revoked at epoch 4 (host offline), op-7  [rule host-offline]
      41  2026-01-01T00:00:50.000Z  FailoverBlocked         group g1: nobody can be promoted: h2: offline  [rule host-offline]
",
    );
}

#[test]
fn the_status_is_one_screen() {
    expect(
        &table::status_sheet(&status(), "1 CRITICAL, 1 WARNING AND 7 MORE", NOW_MS, WIDTH),
        r"
1 CRITICAL, 1 WARNING AND 7 MORE

cluster       prod
answered by   coordinator 2, version 0.1.0
leader        coordinator 2 at 10.0.0.2:7401, term 5
decisions     possible, a quorum acknowledged this leader 12ms ago; it only observes hosts for another 2.5s
state         revision 41, applied 119 of 120 log entries, digest abcd
hosts         4 online, 1 suspect, 0 offline
modes         3 normal, 1 read-only, 0 safe, 1 unknown
disks         4 healthy, 0 degraded, 1 failed, 0 unknown
groups        2 active, 0 starting, 1 revoked, 1 blocked

COORDINATOR  ROLE      LAG        STATE                API            PEER
1            follower  3 entries  answering            10.0.0.1:7401  10.0.0.1:7400
2            leader    0 entries  answering            10.0.0.2:7401  10.0.0.2:7400
3            learner   -          not reached for 12s  10.0.0.3:7401  10.0.0.3:7400

Running operations
OPERATION  KIND      GROUP  FROM  TO  STEP                      AGE
op-7       failover  g1     h1    -   ensure-consistency (32s)  40s

Warnings, worst first
  - critical: group g1 for at least 40s: nobody is primary: it was taken from h1/d1 (host-lost) [GROUP_NOT_SERVED]
    do: bring one of these hosts back
  - warning: for 12s: coordinator 3 is not reached at 10.0.0.3:7400: connection refused [COORDINATOR_NOT_REACHED]
    do: start it
  - note: cluster: 4 coordinators vote [EVEN_VOTERS]
  - and 7 more
",
    );
}

#[test]
fn the_members_stand_with_how_they_are_for_how_long_and_why() {
    use quorate_rpc::pb::control::MemberState;
    let mut members = status().members;
    members[0].state = MemberState::Behind.into();
    members[0].lag_entries = Some(1_234);
    expect(
        &table::member_list(&members, None, &[], NOW_MS, WIDTH),
        r"
COORDINATOR  ROLE      LAG           STATE                   API            PEER
1            follower  1234 entries  behind by 1234 entries  10.0.0.1:7401  10.0.0.1:7400
2            leader    0 entries     answering               10.0.0.2:7401  10.0.0.2:7400
3            learner   -             not reached for 12s     10.0.0.3:7401  10.0.0.3:7400

Why
  - coordinator 3: at 10.0.0.3:7400: connection refused
",
    );
}

#[test]
fn what_an_agent_says_of_its_host_is_one_screen() {
    expect(
        &table::roles_sheet(&roles(), WIDTH),
        r"
host          h1
incarnation   7
mode          normal
because       a quorum renewed the lease

Groups
GROUP  ROLE     EPOCH  REASON
g1     primary  4      because
g2     fenced   2      because

This host's to serve or to stop, and not done
  - group g2: because
    do: start `quorate guard g2` here, or let it and its keeper go on, where a guard runs it; else mend what its hooks trip over, by the log of this agent; `quorate group show g2` says what else there is
",
    );
}

#[test]
fn an_empty_list_says_so() {
    assert_eq!(table::hosts(&[], NOW_MS, WIDTH), "none\n");
    assert_eq!(table::operations(&[], NOW_MS, WIDTH), "none\n");
}

#[test]
fn a_host_and_a_disk_of_which_nothing_is_known_yet_are_shown_with_dashes() {
    let bare = Host { id: "h9".into(), zone: "z".into(), ..Host::default() };
    let row = table::hosts(&[bare], NOW_MS, WIDTH);
    let cells: Vec<_> = row.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["h9", "z", "-", "-", "-", "-", "0", "0"]);
    let bare = Disk { host: "h9".into(), name: "d".into(), path: "/d".into(), ..Disk::default() };
    let row = table::disks(&[bare], NOW_MS, WIDTH);
    let cells: Vec<_> = row.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["h9/d", "-", "-", "of", "0", "B", "0", "-", "-", "/d"]);
}

#[test]
fn a_follower_without_a_leader_says_that_none_is_known() {
    let status = GetStatusResponse { coordinator_id: 1, term: 4, ..GetStatusResponse::default() };
    let sheet = table::status_sheet(&status, "NO LEADER", NOW_MS, WIDTH);
    assert!(sheet.contains("leader        none known, term 4\n"), "{sheet}");
    let decisions = "decisions     not this coordinator's to take, and no quorum is reached from here\n";
    assert!(sheet.contains(decisions), "{sheet}");
    assert!(sheet.contains("modes         known to the leader only\n"), "{sheet}");
    assert!(!sheet.contains("Warnings"), "{sheet}");
}

#[test]
fn a_word_from_a_newer_coordinator_is_shown_as_its_number() {
    let sheet = table::group_sheet(&Group { id: "g".into(), phase: 77, ..Group::default() }, &[], NOW_MS);
    assert!(sheet.contains("phase         unrecognized_77\n"), "{sheet}");
}

#[test]
fn an_operation_that_ended_has_no_current_step() {
    let ended = Operation { finished_at_ms: Some(NOW_MS), ..operation() };
    let text = table::operations(&[ended], NOW_MS + 500_000, WIDTH);
    assert!(!text.contains("ensure-consistency"), "{text}");
    assert!(text.contains("40s"), "{text}");
}
