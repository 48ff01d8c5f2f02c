//! What was answered to which request, so that a retry changes nothing and hears the same.

use crate::{
    apply::Outcome,
    ids::{RequestId, Timestamp},
};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The most requests that are remembered; beyond it the oldest are forgotten.
pub const REQUESTS_MAX: usize = 50_000;
/// A request is remembered for this long, unless there are too many.
pub const REQUEST_AGE_MS: u64 = 24 * 60 * 60 * 1_000;

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

/// The remembered requests, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    by_seq: OrdMap<u64, Arc<RequestRecord>>,
    by_id: OrdMap<RequestId, u64>,
    next_seq: u64,
}

impl Requests {
    /// The record of a request, if it is remembered.
    pub fn get(&self, id: &RequestId) -> Option<&RequestRecord> {
        self.by_id.get(id).and_then(|seq| self.by_seq.get(seq)).map(AsRef::as_ref)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.by_seq.len()
    }

    /// True when none is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_seq.is_empty()
    }

    /// Remembers an answer, and forgets what is too old or too much.
    pub(crate) fn remember(&mut self, record: RequestRecord) {
        let now = record.at;
        let seq = self.next_seq;
        self.insert(seq, Arc::new(record));
        while let Some((&oldest, first)) =
            self.by_seq.get_min().map(|(seq, record)| (seq, Arc::clone(record)))
        {
            if self.by_seq.len() <= REQUESTS_MAX && now.since_ms(first.at) <= REQUEST_AGE_MS {
                break;
            }
            self.by_seq.remove(&oldest);
            self.by_id.remove(&first.id);
        }
    }

    /// The records by sequence number, as they are stored.
    pub(crate) fn rows(&self) -> &OrdMap<u64, Arc<RequestRecord>> {
        &self.by_seq
    }

    /// Puts a stored record back.
    pub(crate) fn insert(&mut self, seq: u64, record: Arc<RequestRecord>) {
        self.by_id.insert(record.id.clone(), seq);
        self.by_seq.insert(seq, record);
        self.next_seq = self.next_seq.max(seq + 1);
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

    #[test]
    fn forgets_the_oldest_when_there_are_too_many() {
        let mut requests = Requests::default();
        for id in 0..=REQUESTS_MAX {
            requests.remember(record(id, 1));
        }
        assert_eq!(requests.len(), REQUESTS_MAX);
        assert!(requests.get(&RequestId::new("r0").unwrap()).is_none());
        assert!(requests.get(&RequestId::new("r1").unwrap()).is_some());
    }

    #[test]
    fn forgets_what_is_older_than_the_limit() {
        let mut requests = Requests::default();
        requests.remember(record(0, 1));
        requests.remember(record(1, REQUEST_AGE_MS + 2));
        assert_eq!(requests.len(), 1);
        assert!(requests.get(&RequestId::new("r1").unwrap()).is_some());
    }
}
