//! The host's right to act: renewed by heartbeats, ended by the host itself on its own clock.

use crate::time::BootMs;
use quorate_domain::{LeaseSettings, Revision};
use std::collections::BTreeMap;

/// The most heartbeats that wait for an acknowledgement; beyond it the oldest is given up, which can only make the
/// lease shorter.
pub const OUTSTANDING_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lengths {
    lease_ms: u64,
    write_stop_ms: u64,
}

impl Lengths {
    fn of(settings: &LeaseSettings, longest_ms: u64) -> Self {
        let lease_ms = settings.lease_ms.min(longest_ms);
        // Writes stop no later than the lease ends, whatever the settings say.
        Self { lease_ms, write_stop_ms: settings.write_stop_ms.min(lease_ms) }
    }

    fn shorter(self, other: Self) -> Self {
        Self {
            lease_ms: self.lease_ms.min(other.lease_ms),
            write_stop_ms: self.write_stop_ms.min(other.write_stop_ms),
        }
    }
}

/// A renewal that a quorum has confirmed.
#[derive(Debug, Clone, Copy)]
struct Counted {
    at: BootMs,
    lengths: Lengths,
}

impl Counted {
    fn deadline(self) -> BootMs {
        self.at.after_ms(self.lengths.lease_ms)
    }
}

#[derive(Debug, Clone)]
struct Sent {
    at: BootMs,
    lengths: Lengths,
    /// Acknowledged, and waiting for this revision of the assignment to be installed.
    needs: Option<Revision>,
}

/// A lease, counted from the moment that the renewing heartbeat was sent (DESIGN section 5, rules 1 and 3). A renewal
/// counts once the warden knows the deadline that comes of it (rule 11): what ends the services must never believe in an
/// earlier right than those who run them.
#[derive(Debug, Clone)]
pub struct Lease {
    lengths: Lengths,
    last_seq: u64,
    outstanding: BTreeMap<u64, Sent>,
    /// Confirmed, and the warden is to be told.
    confirmed: Option<Counted>,
    /// The warden was told under this number, and has not said that it knows.
    telling: Option<(u64, Counted)>,
    told: u64,
    renewed_at: Option<BootMs>,
    write_deadline: BootMs,
    deadline: BootMs,
    promised: BootMs,
}

impl Lease {
    /// A lease that was never renewed: it is over. None will be longer than `longest_ms`.
    pub fn new(settings: &LeaseSettings, longest_ms: u64) -> Self {
        Self {
            lengths: Lengths::of(settings, longest_ms),
            last_seq: 0,
            outstanding: BTreeMap::new(),
            confirmed: None,
            telling: None,
            told: 0,
            renewed_at: None,
            write_deadline: BootMs(0),
            deadline: BootMs(0),
            promised: BootMs(0),
        }
    }

    /// From here on a primary takes no new write.
    pub fn write_deadline(&self) -> BootMs {
        self.write_deadline
    }

    /// The end of the lease.
    pub fn deadline(&self) -> BootMs {
        self.deadline
    }

    /// The latest end that was ever given out, which settings that became shorter do not take back.
    pub fn promised(&self) -> BootMs {
        self.promised
    }

    /// True while a primary may take writes.
    pub fn covers(&self, now: BootMs) -> bool {
        now < self.write_deadline
    }

    /// Takes over new settings. Shorter ones shorten the running lease; longer ones count from the next heartbeat on.
    pub fn resize(&mut self, settings: &LeaseSettings, longest_ms: u64) {
        self.lengths = Lengths::of(settings, longest_ms);
        if let Some(at) = self.renewed_at {
            self.write_deadline = self.write_deadline.min(at.after_ms(self.lengths.write_stop_ms));
            self.deadline = self.deadline.min(at.after_ms(self.lengths.lease_ms));
        }
    }

    /// Notes that a heartbeat is about to be sent, and numbers it. Numbers are never used twice.
    pub fn heartbeat_sent(&mut self, now: BootMs) -> u64 {
        self.last_seq += 1;
        self.outstanding.insert(self.last_seq, Sent { at: now, lengths: self.lengths, needs: None });
        if self.outstanding.len() > OUTSTANDING_MAX {
            self.outstanding.pop_first();
        }
        self.last_seq
    }

    /// As if a heartbeat had been sent at another time.
    #[cfg(planted)]
    pub(crate) fn pretend_sent(&mut self, seq: u64, at: BootMs) {
        if let Some(sent) = self.outstanding.get_mut(&seq) {
            sent.at = at;
        }
    }

    /// Takes in an acknowledged renewal, or keeps it until `needs` is installed. An unknown number is ignored.
    pub fn acknowledged(&mut self, seq: u64, needs: Revision, installed: Option<Revision>) {
        let Some(sent) = self.outstanding.get_mut(&seq) else { return };
        sent.needs = Some(needs);
        self.installed(installed);
    }

    /// Takes in the renewals that waited for a revision that is installed by now.
    pub fn installed(&mut self, installed: Option<Revision>) {
        let Some(installed) = installed else { return };
        let newest = self.outstanding.iter().rev().find_map(|(seq, sent)| {
            sent.needs.is_some_and(|needs| needs <= installed).then(|| (*seq, sent.clone()))
        });
        let Some((seq, sent)) = newest else { return };
        // Whatever was sent earlier would end earlier.
        self.outstanding = self.outstanding.split_off(&(seq + 1));
        let later = [self.confirmed, self.telling.map(|(_, told)| told)].into_iter().flatten();
        if later.map(|counted| counted.at).chain(self.renewed_at).all(|at| at < sent.at) {
            self.confirmed = Some(Counted { at: sent.at, lengths: sent.lengths });
        }
    }

    /// What to tell the warden next: a number for the answer, and the deadline. One is under way at a time.
    pub(crate) fn next_word(&mut self) -> Option<(u64, BootMs)> {
        if self.telling.is_some() {
            return None;
        }
        let counted = self.confirmed.take()?;
        let lengths = counted.lengths.shorter(self.lengths);
        let counted = Counted { lengths, ..counted };
        self.told += 1;
        self.telling = Some((self.told, counted));
        Some((self.told, counted.deadline()))
    }

    /// The warden knows: the renewal counts. An answer that nobody waits for changes nothing.
    pub(crate) fn warden_told(&mut self, request: u64) {
        let Some((_, counted)) = self.telling.take_if(|(number, _)| *number == request) else { return };
        let lengths = counted.lengths.shorter(self.lengths);
        self.renewed_at = self.renewed_at.max(Some(counted.at));
        self.write_deadline = self.write_deadline.max(counted.at.after_ms(lengths.write_stop_ms));
        self.deadline = self.deadline.max(counted.at.after_ms(lengths.lease_ms));
        self.promised = self.promised.max(self.deadline);
    }

    /// There is no warden: the lease is over, and the renewals that it was to be told of do not count.
    pub(crate) fn warden_lost(&mut self, now: BootMs) {
        (self.confirmed, self.telling) = (None, None);
        self.write_deadline = self.write_deadline.min(now);
        self.deadline = self.deadline.min(now);
    }

    /// Gives up what was sent in a session that is over; the running lease keeps its end.
    pub fn session_lost(&mut self) {
        self.outstanding.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease::new(&LeaseSettings::default(), u64::MAX)
    }

    impl Lease {
        /// Acknowledged, and the warden knows.
        fn renewed(&mut self, seq: u64, needs: Revision, installed: Option<Revision>) {
            self.acknowledged(seq, needs, installed);
            self.pass_on();
        }

        fn pass_on(&mut self) {
            if let Some((request, _)) = self.next_word() {
                self.warden_told(request);
            }
        }
    }

    #[test]
    fn counts_from_the_moment_of_sending_and_not_of_the_acknowledgement() {
        let mut lease = lease();
        assert!(!lease.covers(BootMs(0)));
        let seq = lease.heartbeat_sent(BootMs(1_000));
        assert_eq!(lease.deadline(), BootMs(0), "nothing counts before the acknowledgement");
        lease.renewed(seq, Revision(3), Some(Revision(3)));
        assert_eq!((lease.write_deadline(), lease.deadline()), (BootMs(6_000), BootMs(7_000)));
        assert!(lease.covers(BootMs(5_999)) && !lease.covers(BootMs(6_000)));
    }

    #[test]
    fn a_renewal_waits_for_the_assignment_that_it_names_and_then_counts_from_its_sending() {
        let mut lease = lease();
        let seq = lease.heartbeat_sent(BootMs(1_000));
        lease.renewed(seq, Revision(5), Some(Revision(4)));
        assert_eq!(lease.deadline(), BootMs(0));
        lease.installed(Some(Revision(4)));
        lease.pass_on();
        assert_eq!(lease.deadline(), BootMs(0));
        lease.installed(Some(Revision(5)));
        lease.pass_on();
        assert_eq!(lease.deadline(), BootMs(7_000));
    }

    #[test]
    fn an_older_renewal_never_moves_the_deadline_back() {
        let mut lease = lease();
        let old = lease.heartbeat_sent(BootMs(1_000));
        let new = lease.heartbeat_sent(BootMs(2_000));
        lease.renewed(new, Revision(1), Some(Revision(1)));
        lease.renewed(old, Revision(1), Some(Revision(1)));
        assert_eq!(lease.deadline(), BootMs(8_000));
    }

    #[test]
    fn unknown_repeated_and_lost_numbers_renew_nothing() {
        let mut lease = lease();
        lease.renewed(7, Revision(0), Some(Revision(1)));
        assert_eq!(lease.deadline(), BootMs(0));
        let seq = lease.heartbeat_sent(BootMs(1_000));
        lease.session_lost();
        lease.renewed(seq, Revision(0), Some(Revision(1)));
        assert_eq!(lease.deadline(), BootMs(0), "a session that is over extends nothing");
        assert!(lease.heartbeat_sent(BootMs(1_500)) > seq, "a number is never used twice");
    }

    #[test]
    fn shorter_settings_shorten_the_running_lease_and_longer_ones_do_not_lengthen_it() {
        let mut lease = lease();
        let seq = lease.heartbeat_sent(BootMs(1_000));
        let waiting = lease.heartbeat_sent(BootMs(1_100));
        lease.renewed(seq, Revision(0), Some(Revision(0)));
        lease.resize(
            &LeaseSettings { lease_ms: 60_000, write_stop_ms: 50_000, ..LeaseSettings::default() },
            u64::MAX,
        );
        assert_eq!(lease.deadline(), BootMs(7_000));
        lease.renewed(waiting, Revision(0), Some(Revision(0)));
        assert_eq!(lease.deadline(), BootMs(7_100), "sent under the shorter lease");
        lease.resize(
            &LeaseSettings { lease_ms: 3_000, write_stop_ms: 2_000, ..LeaseSettings::default() },
            u64::MAX,
        );
        assert_eq!((lease.write_deadline(), lease.deadline()), (BootMs(3_100), BootMs(4_100)));
        assert_eq!(lease.promised(), BootMs(7_100), "what was promised to the platform stays promised");
    }

    #[test]
    fn the_heartbeats_that_wait_are_bounded() {
        let mut lease = lease();
        let first = lease.heartbeat_sent(BootMs(1));
        for at in 0..OUTSTANDING_MAX as u64 {
            lease.heartbeat_sent(BootMs(2 + at));
        }
        assert_eq!(lease.outstanding.len(), OUTSTANDING_MAX);
        lease.renewed(first, Revision(0), Some(Revision(0)));
        assert_eq!(lease.deadline(), BootMs(0));
    }
}
