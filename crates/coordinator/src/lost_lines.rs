//! Lines of this process's log that are lost, and when there were more of them the last time.

use quorate_planner::warnings::LostLines;
use quorate_runtime::telemetry;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines that were lost within this time are worth a warning; those before it a note.
const LOST_LATELY: Duration = Duration::from_mins(10);

/// How many lines of the log were lost by when it was looked, and when there were more of them the last time. Clones share
/// it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost(Arc<Mutex<(u64, Option<Instant>)>>);

impl Lost {
    /// What was said and is not in the log, and not because it was said too often.
    pub(crate) fn look(&self) -> LostLines {
        let lost = telemetry::lost();
        self.look_at(lost.dropped.saturating_add(lost.unwritten), Instant::now())
    }

    fn look_at(&self, count: u64, now: Instant) -> LostLines {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count > known.0 {
            *known = (count, Some(now));
        }
        let ago = known.1.map(|at| now.saturating_duration_since(at)).filter(|ago| *ago < LOST_LATELY);
        LostLines { count, lately_ms: ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_were_lost_are_news_for_ten_minutes() {
        let (lost, began) = (Lost::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let seen = |count, lately_ms| LostLines { count, lately_ms };
        assert_eq!(lost.look_at(0, at(0)), seen(0, None));
        assert_eq!(lost.look_at(7, at(1)), seen(7, Some(0)));
        assert_eq!(lost.look_at(7, at(600)), seen(7, Some(599_000)));
        assert_eq!(lost.look_at(7, at(601)), seen(7, None));
        assert_eq!(lost.look_at(8, at(602)), seen(8, Some(0)));
    }
}
