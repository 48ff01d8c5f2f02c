//! The archive of revisions in sled, in runs of bounded size, each under its first revision: an item for each would cost
//! sled more than all the rest.

use super::{EVENT_PREFIX, changes::Changes};
use crate::{feed::Archived, packed_list::PackedList};
use quorate_domain::{Committed, Revision};
use std::sync::Arc;

/// Revisions that the archive keeps.
const ARCHIVE_MAX: u64 = 100_000;
/// The most revisions that are kept together.
const RUN_MAX: usize = 256;
/// A run of this size takes nothing more. sled keeps up to 16 items in a page, whatever their size, writes all of it with
/// every tenth change, and moves a page of more than 128 KiB out to a file that it never syncs.
const RUN_BYTES: usize = 4 << 10;

fn event_key(revision: Revision) -> [u8; 9] {
    let mut key = [EVENT_PREFIX; 9];
    key[1..].copy_from_slice(&revision.0.to_be_bytes());
    key
}

fn first_revision_of(key: &[u8]) -> Result<Revision, String> {
    let digits = key.get(1..).and_then(|digits| digits.try_into().ok());
    digits
        .map(|digits| Revision(u64::from_be_bytes(digits)))
        .ok_or_else(|| "the archive has a key of another length".to_owned())
}

/// Revisions from `start` on.
pub(super) fn read(db: &sled::Db, start: Revision, limit: usize) -> Result<Archived, String> {
    let failed = |error: sled::Error| format!("reading the archive: {error}");
    let Some(oldest) = db.scan_prefix([EVENT_PREFIX]).keys().next() else {
        return Ok(Archived::Revisions(vec![]));
    };
    let first = first_revision_of(&oldest.map_err(failed)?)?;
    // Zero means the beginning, wherever it is kept; anything else must be there.
    if start < first && start.0 > 0 {
        return Ok(Archived::Compacted(first));
    }
    let holding = db.range(event_key(first)..=event_key(start.max(first))).next_back();
    let from =
        holding.transpose().map_err(failed)?.map_or(event_key(first).to_vec(), |(key, _)| key.to_vec());
    let mut found = Vec::new();
    for item in db.range(from..=event_key(Revision(u64::MAX)).to_vec()) {
        let (_, bytes) = item.map_err(failed)?;
        let run: Vec<Arc<Committed>> = rmp_serde::from_slice(&bytes)
            .map_err(|error| format!("the archive has a damaged run of revisions: {error}"))?;
        found.extend(run.into_iter().filter(|committed| committed.revision >= start));
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(Archived::Revisions(found))
}

/// Adds revisions to a batch.
pub(super) fn add(changes: &mut Changes, revisions: &[Arc<Committed>]) {
    let mut run = PackedList::default();
    let mut first = None;
    for committed in revisions {
        if run.len() == RUN_MAX || run.bytes().len() >= RUN_BYTES {
            add_run(changes, &mut first, &mut run);
        }
        first.get_or_insert(committed.revision);
        run.push(committed);
    }
    add_run(changes, &mut first, &mut run);
}

fn add_run(changes: &mut Changes, first: &mut Option<Revision>, run: &mut PackedList) {
    if let Some(first) = first.take() {
        changes.put(event_key(first), run.bytes());
    }
    run.clear();
}

/// Removes the runs that lie wholly before what is kept.
pub(super) fn remove_expired(db: &sled::Db, changes: &mut Changes, last: Revision) -> sled::Result<()> {
    let Some(kept_from) = last.0.checked_sub(ARCHIVE_MAX) else { return Ok(()) };
    let mut before: Option<sled::IVec> = None;
    for key in db.range(event_key(Revision(0))..=event_key(Revision(kept_from))).keys() {
        // A run ends where the next one begins: this one's beginning is still at or before what is kept.
        if let Some(expired) = before.replace(key?) {
            changes.remove(&*expired);
        }
    }
    Ok(())
}
