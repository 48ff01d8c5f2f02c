//! "Did you mean ...?"

/// The candidate most like `given`, or `None` when nothing is near enough to be what was meant.
pub(super) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = given.len().div_ceil(3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (likeness(given, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Distance to the whole candidate, or to its last part for those who left the section out.
fn likeness(given: &str, candidate: &str) -> usize {
    let whole = distance(given, candidate);
    match candidate.rsplit_once('.') {
        Some((_, last)) if !given.contains('.') => whole.min(distance(given, last) + 1),
        _ => whole,
    }
}

/// Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["node.id", "raft.heartbeat_ms", "lease.lease_ms", "data_dir"];

    #[test]
    fn finds_the_key_behind_a_slip_of_the_hand() {
        let cases = [
            ("raft.hearbeat_ms", Some("raft.heartbeat_ms")),
            ("rfat.heartbeat_ms", Some("raft.heartbeat_ms")),
            ("heartbeat_ms", Some("raft.heartbeat_ms")),
            ("datadir", Some("data_dir")),
            ("node_id", Some("node.id")),
            ("colour", None),
            ("", None),
        ];
        for (given, expected) in cases {
            assert_eq!(nearest(given, KEYS), expected, "{given:?}");
        }
    }

    #[test]
    fn counts_insertions_deletions_and_substitutions() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
