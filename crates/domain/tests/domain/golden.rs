//! Bytes that were written once must be read for ever: `tests/golden` holds them as hex, one `name hex` per line.
//!
//! A change that breaks these tests would make coordinators refuse their own logs and stores after an upgrade. New
//! fields need a serde default; the samples then name that default.

use crate::{coordinator_samples, demotion_samples, incident_samples, operator_samples, samples};
use quorate_domain::{Committed, Proposal, State, rows::Row};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Write as _, fs, path::PathBuf};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "half a byte in {hex}");
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("golden files hold hex"))
        .collect()
}

fn pack(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("samples have bytes")
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> T {
    rmp_serde::from_slice(bytes).expect("what was written once can still be read")
}

fn lines(name: &str) -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(path(name)).expect("golden files are checked in");
    text.lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').expect("a golden line is `name hex`");
            (name.to_owned(), bytes(hex))
        })
        .collect()
}

/// The samples as rows of a state, keyed as the state store keys them.
fn sample_rows() -> Vec<Row> {
    let text_key = |letter: u8, id: String| [vec![letter], id.into_bytes()].concat();
    let number_key = |letter: u8, id: u64| [vec![letter], id.to_be_bytes().to_vec()].concat();
    let mut rows = vec![(vec![b'c'], pack(&samples::stored_cluster()))];
    rows.extend(samples::stored_disks().iter().map(|disk| (text_key(b'd', disk.id.to_string()), pack(disk))));
    rows.extend(
        samples::stored_groups().iter().map(|group| (text_key(b'g', group.id.to_string()), pack(group))),
    );
    rows.extend(samples::stored_hosts().iter().map(|host| (text_key(b'h', host.id.to_string()), pack(host))));
    rows.extend(
        samples::stored_operations().iter().map(|record| (number_key(b'o', record.id.0), pack(record))),
    );
    rows.push((number_key(b'q', 0), pack(&samples::stored_requests())));
    rows
}

#[test]
fn the_rows_of_the_first_format_are_read_as_the_same_values() {
    let rows: Vec<Row> = lines("rows-1.hex").into_iter().map(|(key, value)| (bytes(&key), value)).collect();
    let state = State::from_rows(rows.clone()).unwrap();
    assert_eq!(*state.cluster, samples::stored_cluster());
    assert_eq!(
        state.hosts.values().map(|host| (**host).clone()).collect::<Vec<_>>(),
        samples::stored_hosts()
    );
    assert_eq!(
        state.disks.values().map(|disk| (**disk).clone()).collect::<Vec<_>>(),
        samples::stored_disks()
    );
    assert_eq!(
        state.groups.values().map(|group| (**group).clone()).collect::<Vec<_>>(),
        samples::stored_groups()
    );
    let operations: Vec<_> = state.operations.values().map(|operation| (**operation).clone()).collect();
    assert_eq!(operations, samples::stored_operations());
    for record in samples::stored_requests() {
        assert_eq!(state.requests.get(&record.id), Some(&record));
    }
    assert_eq!(state.requests.len(), samples::stored_requests().len());
    assert_eq!(state.rows().count(), rows.len());
}

#[test]
fn the_proposals_of_the_first_format_are_read_as_the_same_values() {
    let read: Vec<(String, Proposal)> =
        lines("proposals-1.hex").into_iter().map(|(name, value)| (name, unpack(&value))).collect();
    let expected: Vec<(String, Proposal)> = samples::proposals()
        .into_iter()
        .map(|proposal| (proposal.command.name().to_owned(), proposal))
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn the_revisions_of_the_first_format_are_read_as_the_same_values() {
    let read: Vec<Committed> =
        lines("revisions-1.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(read, [samples::committed()]);
    assert_eq!(read[0].events.len(), 21, "every event is in it");
}

/// The same for what came with changes of the coordinators.
fn sample_rows_with_coordinators() -> Vec<Row> {
    let number_key = |letter: u8, id: u64| [vec![letter], id.to_be_bytes().to_vec()].concat();
    let mut rows = vec![(vec![b'c'], pack(&coordinator_samples::stored_cluster_with_coordinators()))];
    for known in coordinator_samples::stored_coordinators() {
        rows.push((number_key(b'm', known.id.0), pack(&known)));
    }
    for change in coordinator_samples::stored_changes() {
        rows.push((number_key(b'o', change.id.0), pack(&change)));
    }
    rows
}

#[test]
fn the_rows_of_coordinators_and_their_changes_are_read_as_the_same_values() {
    let rows: Vec<Row> = lines("rows-2.hex").into_iter().map(|(key, value)| (bytes(&key), value)).collect();
    assert_eq!(rows, sample_rows_with_coordinators(), "and written with the same bytes");
    let state = State::from_rows(rows.clone()).unwrap();
    assert_eq!(*state.cluster, coordinator_samples::stored_cluster_with_coordinators());
    let known: Vec<_> = state.coordinators.values().map(|known| (**known).clone()).collect();
    assert_eq!(known, coordinator_samples::stored_coordinators());
    let changes: Vec<_> = state.operations.values().map(|change| (**change).clone()).collect();
    assert_eq!(changes, coordinator_samples::stored_changes());
    assert_eq!(state.open_change().map(|(open, _)| open.id.0), Some(63));
    assert_eq!(state.rows().collect::<Vec<_>>(), rows);
}

#[test]
fn rows_from_before_there_were_coordinators_are_still_written_with_the_same_bytes() {
    let rows: Vec<Row> = lines("rows-1.hex").into_iter().map(|(key, value)| (bytes(&key), value)).collect();
    let mut rewritten: Vec<Row> = State::from_rows(rows.clone()).unwrap().rows().collect();
    // A host's start came later and is written always.
    let kept = |rows: &[Row]| rows.iter().filter(|(key, _)| key[0] != b'h').cloned().collect::<Vec<_>>();
    rewritten.sort();
    let mut rows = kept(&rows);
    rows.sort();
    assert_eq!(kept(&rewritten), rows);
}

#[test]
fn the_proposals_about_coordinators_are_read_as_the_same_values() {
    let read: Vec<Proposal> = lines("proposals-2.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(read, coordinator_samples::proposals());
}

#[test]
fn the_revisions_about_coordinators_are_read_as_the_same_values() {
    let read: Vec<Committed> =
        lines("revisions-2.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(read, [coordinator_samples::committed()]);
    assert_eq!(read[0].events.len() + samples::committed().events.len(), 27, "every event is in one");
}

/// The same for what operators and replaced disks brought.
fn sample_rows_with_upkeep() -> Vec<Row> {
    let (host, disk, group) =
        (operator_samples::stored_host(), operator_samples::stored_disk(), operator_samples::stored_group());
    let key = |letter: u8, id: String| [vec![letter], id.into_bytes()].concat();
    vec![
        (key(b'd', disk.id.to_string()), pack(&disk)),
        (key(b'g', group.id.to_string()), pack(&group)),
        (key(b'h', host.id.to_string()), pack(&host)),
    ]
}

/// The same for what came with demotions that are waited for.
fn sample_rows_with_demotions() -> Vec<Row> {
    let text_key = |letter: u8, id: String| [vec![letter], id.into_bytes()].concat();
    let group = demotion_samples::stored_group_with_unstopped();
    let host = demotion_samples::stored_host_with_hooks();
    vec![
        (text_key(b'g', group.id.to_string()), pack(&group)),
        (text_key(b'h', host.id.to_string()), pack(&host)),
    ]
}

#[test]
fn the_rows_of_what_operators_say_are_read_as_the_same_values_and_written_with_the_same_bytes() {
    let rows: Vec<Row> = lines("rows-4.hex").into_iter().map(|(key, value)| (bytes(&key), value)).collect();
    let state = State::from_rows(rows.clone()).unwrap();
    assert_eq!(
        state.hosts.values().next().map(|host| (**host).clone()),
        Some(operator_samples::stored_host())
    );
    assert_eq!(
        state.disks.values().next().map(|disk| (**disk).clone()),
        Some(operator_samples::stored_disk())
    );
    let group = state.groups.values().next().map(|group| (**group).clone());
    assert_eq!(group, Some(operator_samples::stored_group()));
    let rewritten: Vec<Row> = state.rows().filter(|(key, _)| key[0] != b'c').collect();
    assert_eq!(rewritten, rows);
}

#[test]
fn the_proposals_of_operators_are_read_as_the_same_values() {
    let read: Vec<Proposal> = lines("proposals-4.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(read, operator_samples::proposals());
}

#[test]
fn the_revisions_about_upkeep_are_read_as_the_same_values() {
    let read: Vec<Committed> =
        lines("revisions-4.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(read, [operator_samples::committed()]);
    assert_eq!(read[0].events.len(), 14, "every event of it");
}

#[test]
fn what_came_with_demotions_is_read_as_the_same_values_and_written_with_the_same_bytes() {
    let rows: Vec<Row> = lines("rows-3.hex").into_iter().map(|(key, value)| (bytes(&key), value)).collect();
    assert_eq!(rows, sample_rows_with_demotions());
    let state = State::from_rows(rows).unwrap();
    let group = demotion_samples::stored_group_with_unstopped();
    assert_eq!(state.groups.get(&group.id).map(|known| (**known).clone()), Some(group));
    let host = demotion_samples::stored_host_with_hooks();
    assert_eq!(state.hosts.get(&host.id).map(|known| (**known).clone()), Some(host));
    let proposals: Vec<Proposal> =
        lines("proposals-3.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(proposals, demotion_samples::proposals());
    let revisions: Vec<Committed> =
        lines("revisions-3.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(revisions, [demotion_samples::committed()]);
}

#[test]
fn what_is_only_told_is_read_as_the_same_values_and_written_with_the_same_bytes() {
    let rows: Vec<Row> = lines("rows-5.hex").into_iter().map(|(key, value)| (bytes(&key), value)).collect();
    let state = State::from_rows(rows.clone()).unwrap();
    assert_eq!(*state.cluster, incident_samples::stored_cluster_with_incidents());
    assert_eq!(state.rows().collect::<Vec<_>>(), rows);
    let proposals: Vec<Proposal> =
        lines("proposals-5.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(proposals, incident_samples::proposals());
    let revisions: Vec<Committed> =
        lines("revisions-5.hex").into_iter().map(|(_, value)| unpack(&value)).collect();
    assert_eq!(revisions, [incident_samples::committed()]);
}

#[test]
fn a_row_of_an_unknown_table_and_a_damaged_row_are_refused_by_name() {
    let unknown = State::from_rows([(b"zx".to_vec(), vec![0])]).unwrap_err();
    assert!(unknown.to_string().contains("\"zx\""), "{unknown}");
    let damaged = State::from_rows([(b"hh1".to_vec(), vec![0xc1])]).unwrap_err();
    assert!(damaged.to_string().contains("\"hh1\""), "{damaged}");
    let short = State::from_rows([(b"q1".to_vec(), vec![0xc0])]).unwrap_err();
    assert!(short.to_string().contains("eight bytes"), "{short}");
}

/// Writes the files that are missing, for the first time or for a new format; never those that are there.
#[test]
#[ignore = "run by hand, once for each new format"]
fn write_the_golden_files_that_are_missing() {
    let name = |name: &str, value: Vec<u8>| format!("{name} {}\n", hex(&value));
    let rows: String = sample_rows().into_iter().map(|(key, value)| name(&hex(&key), value)).collect();
    let proposals: String =
        samples::proposals().iter().map(|proposal| name(proposal.command.name(), pack(proposal))).collect();
    let revisions = name("every-event", pack(&samples::committed()));
    let rows_2: String =
        sample_rows_with_coordinators().into_iter().map(|(key, value)| name(&hex(&key), value)).collect();
    let proposals_2: String = coordinator_samples::proposals()
        .iter()
        .map(|proposal| name(proposal.command.name(), pack(proposal)))
        .collect();
    let revisions_2 = name("every-event", pack(&coordinator_samples::committed()));
    let rows_4: String =
        sample_rows_with_upkeep().into_iter().map(|(key, value)| name(&hex(&key), value)).collect();
    let proposals_4: String = operator_samples::proposals()
        .iter()
        .map(|proposal| name(proposal.command.name(), pack(proposal)))
        .collect();
    let revisions_4 = name("every-event", pack(&operator_samples::committed()));
    let rows_3: String =
        sample_rows_with_demotions().into_iter().map(|(key, value)| name(&hex(&key), value)).collect();
    let proposals_3: String = demotion_samples::proposals()
        .iter()
        .map(|proposal| name(proposal.command.name(), pack(proposal)))
        .collect();
    let revisions_3 = name("new-events", pack(&demotion_samples::committed()));
    let cluster = incident_samples::stored_cluster_with_incidents();
    let rows_5 = name(&hex(b"c"), pack(&cluster));
    let proposals_5: String = incident_samples::proposals()
        .iter()
        .map(|proposal| name(proposal.command.name(), pack(proposal)))
        .collect();
    let revisions_5 = name("new-events", pack(&incident_samples::committed()));
    for (file, text) in [
        ("rows-5.hex", rows_5),
        ("proposals-5.hex", proposals_5),
        ("revisions-5.hex", revisions_5),
        ("rows-4.hex", rows_4),
        ("proposals-4.hex", proposals_4),
        ("revisions-4.hex", revisions_4),
        ("rows-1.hex", rows),
        ("proposals-1.hex", proposals),
        ("revisions-1.hex", revisions),
        ("rows-2.hex", rows_2),
        ("proposals-2.hex", proposals_2),
        ("revisions-2.hex", revisions_2),
        ("rows-3.hex", rows_3),
        ("proposals-3.hex", proposals_3),
        ("revisions-3.hex", revisions_3),
    ] {
        if !path(file).exists() {
            fs::write(path(file), text).unwrap();
        }
        assert!(path(file).exists());
    }
}
