//! Instants and spans, for machines and for people.

use jiff::Timestamp;

/// Milliseconds since the Unix epoch on this machine's clock, to say how long ago something was.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// RFC 3339 in UTC with milliseconds; none for zero, which means "never".
pub(crate) fn instant(at_ms: u64) -> Option<String> {
    if at_ms == 0 {
        return None;
    }
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Some(at.map_or_else(|| format!("{at_ms} ms after 1970"), |at| format!("{at:.3}")))
}

/// A span in its two largest units, such as `1h 5m`; below ten seconds to the tenth, where waits of leases lie.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, 0) => format!("{ms}ms"),
        (0, 0, 0, s) if s < 10 => format!("{s}.{}s", ms / 100 % 10),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

/// How long ago something was; `-` for never. Clocks of two machines differ, so the future counts as now.
pub(crate) fn age(at_ms: u64, now_ms: u64) -> String {
    if at_ms == 0 { "-".to_owned() } else { span(now_ms.saturating_sub(at_ms)) }
}

/// An instant with how long ago it was.
pub(crate) fn instant_and_age(at_ms: u64, now_ms: u64) -> String {
    match instant(at_ms) {
        None => "-".to_owned(),
        Some(instant) => format!("{instant} ({} ago)", age(at_ms, now_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339_in_utc_and_zero_is_never() {
        assert_eq!(instant(1_767_225_600_007).as_deref(), Some("2026-01-01T00:00:00.007Z"));
        assert_eq!(instant(1_767_225_600_000).as_deref(), Some("2026-01-01T00:00:00.000Z"));
        assert_eq!(instant(0), None);
    }

    #[test]
    fn an_absurd_instant_is_shown_and_does_not_panic() {
        assert_eq!(instant(u64::MAX).as_deref(), Some("18446744073709551615 ms after 1970"));
    }

    #[test]
    fn spans_keep_their_two_largest_units() {
        let shown: Vec<_> =
            [0, 850, 1_000, 7_560, 59_999, 61_000, 3_600_000, 90_000_000, 864_000_000].map(span).into();
        assert_eq!(shown, ["0ms", "850ms", "1.0s", "7.5s", "59s", "1m 1s", "1h 0m", "1d 1h", "10d 0h"]);
    }

    #[test]
    fn ages_never_go_below_zero() {
        assert_eq!(age(5_000, 2_000), "0ms");
        assert_eq!(age(0, 2_000), "-");
        assert_eq!(
            instant_and_age(1_767_225_600_000, 1_767_225_605_000),
            "2026-01-01T00:00:00.000Z (5.0s ago)"
        );
    }
}
