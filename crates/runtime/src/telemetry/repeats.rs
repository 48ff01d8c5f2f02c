//! Warnings and errors that repeat themselves: of each place in the code so many in a while, and then how many more.
//!
//! A coordinator that is lost is reported by its peers thirty times a second. That is one fact.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::{Level, Metadata, callsite::Identifier};

/// Lines of one place are counted for so long.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// So many of each place in our own code are written within it: one line may speak of each of several hosts or groups.
pub(super) const OWN_BURST: u32 = 20;
/// So many of each place in libraries, which know less of what is worth a line.
pub(super) const OTHERS_BURST: u32 = 3;
/// Targets of our own code begin with this.
const OWN: &str = "quorate";
/// Places that are counted at most; there are hundreds in the whole binary. More than that are not limited.
const PLACES_MAX: usize = 4_096;

/// What each place has said lately.
#[derive(Default)]
pub(super) struct Repeats {
    places: Mutex<HashMap<Identifier, Place>>,
    suppressed: AtomicU64,
}

struct Place {
    event: &'static Metadata<'static>,
    from: Instant,
    written: u32,
    suppressed: u64,
    /// The first one that was suppressed.
    message: String,
}

/// What becomes of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) admitted: bool,
    /// The first of its place that is not written: from now on there is something to be said at the end of the window.
    pub(super) is_first_suppressed: bool,
    /// What is to be said of the window before.
    pub(super) ended: Option<String>,
}

impl Place {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.from) >= WINDOW
    }

    /// What was not written in the window that is over; the next one begins with the next line.
    fn end(&mut self) -> Option<String> {
        let suppressed = std::mem::take(&mut self.suppressed);
        self.written = 0;
        (suppressed > 0).then(|| {
            let (level, target) = (self.event.level(), self.event.target());
            format!(
                "suppressed {suppressed} lines like this within {} s: {level} {target}: {}",
                WINDOW.as_secs(),
                self.message
            )
        })
    }
}

impl Repeats {
    /// Decides about a line. `message` is asked for when the line stands for those that are not written.
    pub(super) fn judge(
        &self,
        event: &'static Metadata<'static>,
        now: Instant,
        message: impl FnOnce() -> String,
    ) -> Verdict {
        let admitted = Verdict { admitted: true, ..Verdict::default() };
        if *event.level() > Level::WARN {
            return admitted;
        }
        let mut places = self.lock();
        if places.len() >= PLACES_MAX && !places.contains_key(&event.callsite()) {
            return admitted;
        }
        let place = places.entry(event.callsite()).or_insert_with(|| Place {
            event,
            from: now,
            written: 0,
            suppressed: 0,
            message: String::new(),
        });
        let ended = if place.is_over(now) { place.end() } else { None };
        if place.written == 0 {
            place.from = now;
        }
        let burst = if event.target().starts_with(OWN) { OWN_BURST } else { OTHERS_BURST };
        if place.written < burst {
            place.written += 1;
            return Verdict { ended, ..admitted };
        }
        let is_first_suppressed = place.suppressed == 0;
        if is_first_suppressed {
            place.message = message();
        }
        place.suppressed += 1;
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        Verdict { admitted: false, is_first_suppressed, ended }
    }

    /// What is to be said of the windows that are over by a time, or of all.
    pub(super) fn over(&self, by: Option<Instant>) -> Vec<String> {
        let mut places = self.lock();
        let over = places
            .values_mut()
            .filter(|place| place.suppressed > 0 && by.is_none_or(|now| place.is_over(now)));
        over.filter_map(Place::end).collect()
    }

    /// How long it is until something is to be said of a window, if there is something to be said.
    pub(super) fn next_over(&self, now: Instant) -> Option<Duration> {
        let places = self.lock();
        let left = places.values().filter(|place| place.suppressed > 0);
        left.map(|place| WINDOW.saturating_sub(now.saturating_duration_since(place.from))).min()
    }

    /// Lines that were not written, since the start.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{callsite::Callsite, metadata::Kind, subscriber::Interest};

    struct Spot(&'static Metadata<'static>);

    impl Callsite for Spot {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            self.0
        }
    }

    macro_rules! place {
        ($target:expr, $level:expr) => {{
            static SPOT: Spot = Spot(&EVENT);
            static EVENT: Metadata<'static> = Metadata::new(
                "event",
                $target,
                $level,
                None,
                None,
                None,
                tracing::field::FieldSet::new(&["message"], tracing::callsite::Identifier(&SPOT)),
                Kind::EVENT,
            );
            &EVENT
        }};
    }

    fn admitted(repeats: &Repeats, event: &'static Metadata<'static>, now: Instant) -> bool {
        repeats.judge(event, now, || "again".to_owned()).admitted
    }

    #[test]
    fn each_place_has_its_burst_and_the_rest_of_the_window_is_one_line() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let (ours, theirs) = (place!("quorate_agent::link", Level::WARN), place!("openraft", Level::ERROR));
        let written = |event| (0..100).filter(|_| admitted(&repeats, event, now)).count();
        assert_eq!((written(ours), written(theirs)), (20, 3));
        assert_eq!(repeats.suppressed(), 80 + 97);
        assert_eq!(repeats.next_over(now), Some(WINDOW));
        assert_eq!(repeats.over(Some(now)), Vec::<String>::new());
        let later = now + WINDOW;
        let mut said = repeats.over(Some(later));
        said.sort();
        assert_eq!(
            said,
            [
                "suppressed 80 lines like this within 60 s: WARN quorate_agent::link: again",
                "suppressed 97 lines like this within 60 s: ERROR openraft: again",
            ]
        );
        assert_eq!(repeats.next_over(later), None, "it is said once");
        assert!(admitted(&repeats, theirs, later), "a window begins anew");
    }

    #[test]
    fn the_first_line_of_the_next_window_comes_behind_the_word_about_the_last() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let event = place!("openraft::network", Level::WARN);
        for number in 0..5_u32 {
            let verdict = repeats.judge(event, now, || format!("number {number}"));
            assert_eq!((verdict.admitted, verdict.is_first_suppressed), (number < 3, number == 3));
        }
        let verdict = repeats.judge(event, now + WINDOW, String::new);
        assert!(verdict.admitted);
        let said = verdict.ended.unwrap();
        assert!(said.starts_with("suppressed 2 lines like this") && said.ends_with("number 3"), "{said}");
    }

    #[test]
    fn what_is_no_warning_is_never_suppressed_nor_what_comes_slowly() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let (info, slow) = (place!("quorate", Level::INFO), place!("sled", Level::WARN));
        assert!((0..1_000).all(|_| admitted(&repeats, info, now)));
        assert!((0..100).all(|number| admitted(&repeats, slow, now + WINDOW / 2 * number)));
    }
}
