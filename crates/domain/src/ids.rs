//! Names and numbers, each a type of its own, so that an epoch is never taken for a revision.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use std::{fmt, str::FromStr, sync::Arc};

/// The longest name of a host, group, zone, disk or cluster, in bytes.
pub const NAME_MAX_BYTES: usize = 63;
/// The longest request id, in bytes.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value:?} is not valid: {expected}")]
pub struct InvalidName {
    /// What the name was meant for, such as `host id`.
    pub field: &'static str,
    /// What was given.
    pub value: String,
    /// What would have been accepted.
    pub expected: &'static str,
}

const NAME_RULE: &str =
    "use 1 to 63 characters of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit";
const FORMATION_RULE: &str = "use 32 lower-case hexadecimal digits, as `quorate status -o json` shows them";
const REQUEST_RULE: &str = "use 1 to 128 visible ASCII characters without spaces";

fn is_name(text: &str) -> bool {
    text.len() <= NAME_MAX_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn is_formation(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_request_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= REQUEST_ID_MAX_BYTES && text.chars().all(|c| c.is_ascii_graphic())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $valid:path, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the text and makes it an id.
            ///
            /// # Errors
            /// [`InvalidName`] when the text breaks the rule it states.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
                let text = text.as_ref();
                if $valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { field: $field, value: text.chars().take(80).collect(), expected: $rule })
                }
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextOf(|text| Self::new(text), $rule))
            }
        }
    };
}

/// Reads an id from text that is not copied first: coordinators read several for every command.
struct TextOf<T>(fn(&str) -> Result<T, InvalidName>, &'static str);

impl<T> Visitor<'_> for TextOf<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

text_id!(
    /// Names a cluster; a coordinator or agent of another cluster is refused.
    ClusterId, "cluster id", is_name, NAME_RULE
);
text_id!(
    /// Names one forming of a cluster, drawn at random: coordinators that form another one under the same cluster id,
    /// such as removed ones with emptied folders, are told from the cluster by it.
    FormationId, "formation id", is_formation, FORMATION_RULE
);
impl FormationId {
    /// The formation of these 128 bits.
    pub fn of(bits: u128) -> Self {
        Self(format!("{bits:032x}").into())
    }
}
text_id!(
    /// Names a storage host for good.
    HostId, "host id", is_name, NAME_RULE
);
text_id!(
    /// Names a failure domain: a rack, a room.
    Zone, "zone", is_name, NAME_RULE
);
text_id!(
    /// Names a disk within its host.
    DiskName, "disk name", is_name, NAME_RULE
);
text_id!(
    /// Names a failover group.
    GroupId, "group id", is_name, NAME_RULE
);
text_id!(
    /// Names one data folder of an agent or coordinator: made at random when the folder is first used.
    InstanceId, "instance id", is_name, NAME_RULE
);
text_id!(
    /// Names a request of a client: the same id has at most one effect and always the same answer.
    RequestId, "request id", is_request_id, REQUEST_RULE
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "{}"), self.0))
            }
        }
    };
}

number!(
    /// Numbers a coordinator; never used again once its data is lost.
    CoordinatorId, ""
);
impl CoordinatorId {
    /// True before any coordinator is on record.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    pub(crate) fn is_none(&self) -> bool {
        self.0 == 0
    }
}
number!(
    /// A group's fencing token: up by one at every change of primary.
    Epoch, ""
);
number!(
    /// Counts the committed commands that changed something.
    Revision, ""
);
number!(
    /// A Raft term.
    Term, ""
);
number!(
    /// Counts the starts of a host's agent.
    Incarnation, ""
);
number!(
    /// Drawn at random by each start of a host's agent: two starts on copies of one folder may count alike, and are
    /// told apart by it. Zero in records that were made before it was known.
    StartId, ""
);

impl StartId {
    /// True in records that were made before it was known.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    pub(crate) fn is_unknown(&self) -> bool {
        self.0 == 0
    }
}
number!(
    /// An operation, numbered by the revision that began it.
    OperationId, "op-"
);

impl FromStr for OperationId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.strip_prefix("op-").and_then(|digits| digits.parse().ok()).map(Self).ok_or_else(|| InvalidName {
            field: "operation id",
            value: text.chars().take(80).collect(),
            expected: "use the form op-123, as `quorate op list` prints it",
        })
    }
}

/// Milliseconds since the Unix epoch, as the leader that proposed the command read them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds from `earlier` to this, zero when it is not earlier.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A disk of a host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DiskId {
    /// The host that it sits in.
    pub host: HostId,
    /// Its name there.
    pub name: DiskName,
}

impl DiskId {
    /// The smallest id that a disk of this host can have: names begin with a letter or digit, and '0' is the least.
    pub(crate) fn first_of(host: HostId) -> Self {
        Self { host, name: DiskName("0".into()) }
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.host, self.name))
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}/{}\"", self.host, self.name)
    }
}

impl FromStr for DiskId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (host, name) = text.split_once('/').ok_or_else(|| InvalidName {
            field: "disk id",
            value: text.chars().take(80).collect(),
            expected: "use the form HOST/DISK",
        })?;
        Ok(Self { host: HostId::new(host)?, name: DiskName::new(name)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_would_break_a_path_a_table_or_a_log_line() {
        for bad in ["", "-a", "a b", "a/b", "ä", "a\n", &"x".repeat(64)] {
            assert!(HostId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "host-1.rack_2", &"x".repeat(63)] {
            assert_eq!(HostId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_formation_is_128_bits_in_hexadecimal_digits_and_nothing_else() {
        for bits in [0, 7, u128::MAX] {
            let formation = FormationId::of(bits);
            assert_eq!(FormationId::new(formation.as_str()), Ok(formation));
        }
        for bad in ["", "c1", &"0".repeat(31), &"0".repeat(33), &"A".repeat(32), &"g".repeat(32)] {
            assert!(FormationId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_invalid_name_in_bytes_is_an_error_and_not_an_id() {
        let bytes = rmp_serde::to_vec_named("no spaces allowed").unwrap();
        assert!(rmp_serde::from_slice::<HostId>(&bytes).is_err());
    }

    #[test]
    fn operation_and_disk_ids_read_back_what_they_print() {
        let op = OperationId(42);
        assert_eq!(op.to_string().parse::<OperationId>().unwrap(), op);
        let disk = DiskId { host: HostId::new("h1").unwrap(), name: DiskName::new("d1").unwrap() };
        assert_eq!(disk.to_string().parse::<DiskId>().unwrap(), disk);
        assert!("h1".parse::<DiskId>().is_err());
    }
}
