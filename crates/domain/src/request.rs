//! What was answered to which request, so that a retry changes nothing and hears the same.

use crate::{
    apply::Outcome,
    ids::{RequestId, Timestamp},
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, OnceLock},
};

/// The most requests that are remembered; beyond it the oldest are forgotten.
pub const REQUESTS_MAX: usize = 50_000;
/// A request is remembered for at least this long, unless there are too many.
pub const REQUEST_AGE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Records of one page: 5 kB or so, for what the state store is good at.
const PAGE_LENGTH: usize = 32;

/// What was answered to one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The client's id for it.
    pub id: RequestId,
    /// A digest of the command: the same id with another command is refused.
    pub fingerprint: u64,
    /// When it was answered.
    pub at: Timestamp,
    /// The answer.
    pub outcome: Outcome,
}

/// Records that were remembered one after the other. Stored as a whole: a row of its own for each record would cost the
/// state store more than the decision costs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestPage(Vec<RequestRecord>);

/// The remembered requests, oldest first. Whole pages are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    pages: OrdMap<u64, Arc<RequestPage>>,
    /// Derived.
    index: Index,
}

/// Where a record stands: its page, and the place there.
type Place = (u64, usize);

/// Where the records of ids stand, by a hash of the id; made when it is first needed.
///
/// Not a persistent map, unlike the rest of the state: only the state that commands are applied to needs it, and copying
/// a path of a large map for every command would cost more than the decision. A clone begins without one.
#[derive(Debug, Default)]
struct Index(OnceLock<BTreeSet<(u64, Place)>>);

impl Clone for Index {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It follows from the pages.
impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Index {}

/// Says nothing about the id and is never stored; ids with the same hash are told apart by their records.
fn hash(id: &RequestId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The keys of the index for the records of a page.
fn places(number: u64, page: &RequestPage) -> impl Iterator<Item = (u64, Place)> {
    page.0.iter().enumerate().map(move |(slot, record)| (hash(&record.id), (number, slot)))
}

impl Requests {
    /// The record of a request, if it is remembered.
    pub fn get(&self, id: &RequestId) -> Option<&RequestRecord> {
        let hash = hash(id);
        let places = self.index().range((hash, (0, 0))..=(hash, (u64::MAX, usize::MAX)));
        let mut records = places.filter_map(|(_, (page, slot))| self.pages.get(page)?.0.get(*slot));
        records.find(|record| record.id == *id)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.index().len()
    }

    /// At most so many are remembered; unlike their number this costs nothing.
    pub fn at_most(&self) -> usize {
        self.pages.len() * PAGE_LENGTH
    }

    /// True when none is remembered.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    fn index(&self) -> &BTreeSet<(u64, Place)> {
        self.index
            .0
            .get_or_init(|| self.pages.iter().flat_map(|(number, page)| places(*number, page)).collect())
    }

    /// Remembers an answer, and forgets the oldest page when it is too old or there are too many.
    pub(crate) fn remember(&mut self, record: RequestRecord) {
        let now = record.at;
        let number = match self.pages.get_max() {
            Some((number, page)) if page.0.len() < PAGE_LENGTH => *number,
            Some((number, _)) => number + 1,
            None => 0,
        };
        let hash = hash(&record.id);
        let page = Arc::make_mut(self.pages.entry(number).or_default());
        let slot = page.0.len();
        page.0.push(record);
        if let Some(index) = self.index.0.get_mut() {
            index.insert((hash, (number, slot)));
        }
        self.forget(now, number);
    }

    /// Forgets pages from the oldest on, never the one that is being filled: the next page's number follows from it.
    fn forget(&mut self, now: Timestamp, filling: u64) {
        while let Some((number, oldest)) = self.pages.get_min() {
            let number = *number;
            let too_old = oldest.0.last().is_none_or(|last| now.since_ms(last.at) > REQUEST_AGE_MS);
            if number == filling || (self.len() <= REQUESTS_MAX && !too_old) {
                break;
            }
            let Some(forgotten) = self.pages.remove(&number) else { break };
            if let Some(index) = self.index.0.get_mut() {
                for place in places(number, &forgotten) {
                    index.remove(&place);
                }
            }
        }
    }

    /// The pages by number, as they are stored.
    pub(crate) fn pages(&self) -> &OrdMap<u64, Arc<RequestPage>> {
        &self.pages
    }

    /// Puts a stored page back.
    pub(crate) fn insert_page(&mut self, number: u64, page: RequestPage) {
        self.index = Index::default();
        self.pages.insert(number, Arc::new(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Revision;

    fn record(id: usize, at: u64) -> RequestRecord {
        RequestRecord {
            id: RequestId::new(format!("r{id}")).unwrap(),
            fingerprint: 0,
            at: Timestamp(at),
            outcome: Outcome::Accepted { revision: Revision(1), changed: true, operation: None },
        }
    }

    fn remembered(requests: &Requests, id: usize) -> bool {
        requests.get(&RequestId::new(format!("r{id}")).unwrap()).is_some()
    }

    #[test]
    fn forgets_the_oldest_page_when_there_are_too_many() {
        let mut requests = Requests::default();
        for id in 0..=REQUESTS_MAX {
            requests.remember(record(id, 1));
        }
        assert_eq!(requests.len(), REQUESTS_MAX + 1 - PAGE_LENGTH);
        assert!(!remembered(&requests, PAGE_LENGTH - 1));
        assert!((PAGE_LENGTH..=REQUESTS_MAX).all(|id| remembered(&requests, id)));
    }

    #[test]
    fn forgets_a_page_when_its_newest_is_older_than_the_limit() {
        let mut requests = Requests::default();
        for id in 0..PAGE_LENGTH {
            requests.remember(record(id, 1 + id as u64));
        }
        let last = PAGE_LENGTH as u64;
        requests.remember(record(PAGE_LENGTH, last + REQUEST_AGE_MS));
        assert_eq!(requests.len(), PAGE_LENGTH + 1, "the newest is just young enough");
        requests.remember(record(PAGE_LENGTH + 1, last + REQUEST_AGE_MS + 1));
        assert_eq!(requests.len(), 2);
        assert!(!remembered(&requests, 0) && remembered(&requests, PAGE_LENGTH));
    }

    #[test]
    fn a_clone_finds_what_was_remembered_before_and_after_it_was_made() {
        let mut requests = Requests::default();
        for id in 0..(2 * PAGE_LENGTH) {
            requests.remember(record(id, 1));
        }
        let mut clone = requests.clone();
        clone.remember(record(9_999, REQUEST_AGE_MS + 2));
        assert!(remembered(&clone, 9_999) && !remembered(&requests, 9_999));
        assert_eq!((clone.len(), requests.len()), (1, 2 * PAGE_LENGTH));
        assert!((0..2 * PAGE_LENGTH).all(|id| remembered(&requests, id) && !remembered(&clone, id)));
    }

    #[test]
    fn stored_pages_make_the_same_table_and_go_on_where_it_ended() {
        let mut requests = Requests::default();
        for id in 0..(3 * PAGE_LENGTH) {
            requests.remember(record(id, 1 + id as u64 * REQUEST_AGE_MS / 200));
        }
        let mut restored = Requests::default();
        for (number, page) in requests.pages().iter().rev() {
            restored.insert_page(*number, page.as_ref().clone());
        }
        assert_eq!(restored, requests);
        for table in [&mut requests, &mut restored] {
            table.remember(record(9_999, u64::MAX / 2));
        }
        assert_eq!(restored, requests);
    }
}
