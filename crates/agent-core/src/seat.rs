//! Where a guard runs, which says what it can see and end of what another one left.

use serde::{Deserialize, Serialize};

/// Where a guard runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// As which user.
    pub uid: u32,
    /// In which namespace of processes; empty when it cannot tell.
    pub pid_namespace: String,
    /// In which namespace of users; empty when it cannot tell.
    pub user_namespace: String,
}

impl Seat {
    /// True when a search from here finds and ends what a guard in the other seat left.
    pub fn sees(&self, other: &Self) -> bool {
        let is_known = !self.pid_namespace.is_empty() && !self.user_namespace.is_empty();
        let is_shared =
            self.pid_namespace == other.pid_namespace && self.user_namespace == other.user_namespace;
        is_known && is_shared && (self.uid == 0 || self.uid == other.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(uid: u32, pids: &str, users: &str) -> Seat {
        Seat { uid, pid_namespace: pids.to_owned(), user_namespace: users.to_owned() }
    }

    #[test]
    fn a_seat_sees_its_own_user_and_root_sees_all_in_the_same_namespaces() {
        let old = seat(7, "p1", "u1");
        assert!(old.sees(&old) && seat(0, "p1", "u1").sees(&old));
        for other in [seat(8, "p1", "u1"), seat(0, "p2", "u1"), seat(0, "p1", "u2"), seat(7, "p2", "u1")] {
            assert!(!other.sees(&old), "{other:?}");
        }
        assert!(!Seat::default().sees(&Seat::default()), "one that cannot tell proves nothing");
    }
}
