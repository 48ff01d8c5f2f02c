//! Where a guard runs, which says what it can see and end of what another one left.

use md5::{Digest, Md5};
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
    /// By which clock it counts deadlines: this boot of this machine, and the namespace of times.
    #[serde(default)]
    pub clock: String,
    /// The seal of the secret that only the guard and its keepers know; empty where they have none.
    #[serde(default)]
    pub keeper_seal: String,
}

/// By what a secret is known to whoever does not know it: its MD5 in hexadecimal.
pub fn seal(secret: &str) -> String {
    let digest: [u8; 16] = Md5::digest(secret).into();
    format!("{:032x}", u128::from_be_bytes(digest))
}

impl Seat {
    /// True for what knows the secret of the guard: a keeper of it.
    pub fn is_kept_by(&self, secret: &str) -> bool {
        !self.keeper_seal.is_empty() && self.keeper_seal == seal(secret)
    }

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
        let (pid_namespace, user_namespace) = (pids.to_owned(), users.to_owned());
        Seat { uid, pid_namespace, user_namespace, ..Seat::default() }
    }

    #[test]
    fn a_keeper_is_known_by_the_secret_and_none_where_there_is_none() {
        let kept = Seat { keeper_seal: seal("secret"), ..seat(7, "p1", "u1") };
        assert!(kept.is_kept_by("secret"));
        for other in ["", "Secret", &kept.keeper_seal] {
            assert!(!kept.is_kept_by(other) && !seat(7, "p1", "u1").is_kept_by(other), "{other:?}");
        }
        assert_eq!(seal(""), "d41d8cd98f00b204e9800998ecf8427e");
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
