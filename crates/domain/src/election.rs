//! How coordinators find a leader without staying tied: each has a range of election timeouts of its own, and whoever
//! sees no leader for a freshly drawn while starts an election.
//!
//! Raft draws its timeout once per process here; two voters that drew alike could split every vote for ever.

use std::ops::RangeInclusive;

/// The part of the election range that belongs to one of several voters, so that no two draw alike.
pub fn own_range(min_ms: u64, max_ms: u64, rank: usize, voters: usize) -> (u64, u64) {
    let voters = voters.max(1) as u64;
    let width = ((max_ms - min_ms) / voters).max(1);
    let low = min_ms + width * (rank as u64).min(voters - 1);
    (low, (low + width).min(max_ms).max(low + 1))
}

/// Says when a voter that sees no leader should start an election. Each wait is drawn anew.
#[derive(Debug, Clone)]
pub struct Watchdog {
    election_max_ms: u64,
    /// Since when there is no leader, and how long to wait.
    leaderless: Option<(u64, u64)>,
}

impl Watchdog {
    /// For voters whose election timeouts end at `election_max_ms`.
    pub fn new(election_max_ms: u64) -> Self {
        Self { election_max_ms, leaderless: None }
    }

    /// True when it is time. `draw` draws a wait in milliseconds from a range; `content` says that there is a leader, or
    /// that this node is no voter.
    pub fn is_due(
        &mut self,
        content: bool,
        now_ms: u64,
        draw: impl FnOnce(RangeInclusive<u64>) -> u64,
    ) -> bool {
        if content {
            self.leaderless = None;
            return false;
        }
        // From one and a half to four times the longest timeout: nobody is hurried who is about to win.
        let waits = self.election_max_ms * 3 / 2..=self.election_max_ms * 4;
        let (since_ms, wait_ms) = *self.leaderless.get_or_insert_with(|| (now_ms, draw(waits)));
        let due = now_ms.saturating_sub(since_ms) >= wait_ms;
        if due {
            self.leaderless = None;
        }
        due
    }
}

/// How long a leader leads after a hand-over in vain before it hands over again, after so many in vain before that one:
/// four of the longest election timeouts, and twice as long each time, up to sixty-four. Who could not be elected the first
/// time may never be, as behind a link that carries one way only, and the cluster is to work meanwhile.
pub fn rest_after_hand_over(longest_ms: u64, vain_before: u32) -> u64 {
    longest_ms.saturating_mul(4 << vain_before.min(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_ranges_of_voters_do_not_overlap() {
        for voters in 1..=7_usize {
            let ranges: Vec<_> = (0..voters).map(|rank| own_range(500, 800, rank, voters)).collect();
            assert!(ranges.iter().all(|(low, high)| low < high && *low >= 500 && *high <= 800), "{ranges:?}");
            assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
        }
    }

    #[test]
    fn hand_overs_in_vain_become_rarer_and_never_cease() {
        let rests: Vec<_> = (0..7).map(|vain| rest_after_hand_over(800, vain)).collect();
        assert_eq!(rests, [3_200, 6_400, 12_800, 25_600, 51_200, 51_200, 51_200]);
    }

    #[test]
    fn the_watchdog_waits_its_while_and_only_while_there_is_no_leader() {
        let mut watchdog = Watchdog::new(800);
        assert!(!watchdog.is_due(true, 0, |waits| *waits.start()));
        assert!(!watchdog.is_due(false, 100, |waits| *waits.start()));
        assert!(!watchdog.is_due(false, 1_299, |waits| *waits.end()), "1.5 times 800 ms are not over");
        assert!(watchdog.is_due(false, 1_300, |waits| *waits.end()));
        assert!(!watchdog.is_due(false, 1_400, |waits| *waits.end()), "the next wait is drawn anew");
        assert!(!watchdog.is_due(false, 4_599, |waits| *waits.start()), "four times 800 ms are not over");
        assert!(!watchdog.is_due(true, 4_600, |waits| *waits.end()), "there is a leader");
        assert!(!watchdog.is_due(false, 9_000, |waits| *waits.start()), "which starts it again");
        assert!(watchdog.is_due(false, 10_200, |waits| *waits.start()));
    }
}
