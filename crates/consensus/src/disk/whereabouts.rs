//! Where a file is found, and whether what ran on it before is over.

use quorate_domain::starts::Place;
use serde::{Deserialize, Serialize};
use std::fs;

/// The machine's own name, which an installation draws once.
const MACHINE_ID: &str = "/etc/machine-id";
/// The name that the firmware or the hypervisor gives it; another one for a copy of a virtual machine. Only root may read it.
const PRODUCT_ID: &str = "/sys/class/dmi/id/product_uuid";

/// Where a file is found. A copy of it is found elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The machine, by what tells it from others; none where nothing does.
    pub machine: Option<String>,
    /// Its boot.
    pub boot: String,
    /// The device, and the file on it.
    pub at: String,
    /// What that very file has wherever it is found: its inode and its birth, or its device where the file system keeps no
    /// birth. None where there is no such thing.
    pub file: Option<String>,
}

impl Whereabouts {
    /// Held against where the file was at the last start.
    pub fn since(&self, before: Option<&Self>) -> Place {
        let Some(before) = before else { return Place::Another };
        let is_same_file = self.file == before.file;
        if self.boot == before.boot {
            // In one boot the lock keeps others out of this file, and of no other one: what is mounted a second time from a
            // snapshot of the disk is another one.
            let is_same = (&self.machine, &self.at) == (&before.machine, &before.at) && is_same_file;
            return if is_same { Place::Same } else { Place::Another };
        }
        // What the same machine ran before it was booted is over. A copy of a whole disk has the very same file too.
        let is_same_machine = self.machine.is_some() && self.machine == before.machine;
        let is_known = self.file.is_some() && is_same_file && is_same_machine;
        if is_known { Place::SameFile } else { Place::Another }
    }
}

/// What tells this machine from others.
pub(super) fn machine() -> Option<String> {
    let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let id = read(MACHINE_ID).filter(|id| !id.is_empty())?;
    Some(read(PRODUCT_ID).map_or_else(|| id.clone(), |product| format!("{id} {product}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(machine: &str, boot: &str, at: &str, file: &str) -> Whereabouts {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Whereabouts { machine: some(machine), boot: boot.into(), at: at.into(), file: some(file) }
    }

    #[test]
    fn what_ran_before_is_over_in_the_same_place_and_after_a_boot_of_the_same_machine() {
        let before = found("m", "b1", "8:1", "1:born");
        let table = [
            ("a restart", before.clone(), Place::Same),
            ("a boot", found("m", "b2", "8:1", "1:born"), Place::SameFile),
            ("a boot that numbers disks anew", found("m", "b2", "9:1", "1:born"), Place::SameFile),
            ("another file", found("m", "b2", "8:1", "1:later"), Place::Another),
            (
                "a file that took the inode of the one before",
                found("m", "b1", "8:1", "1:later"),
                Place::Another,
            ),
            ("a snapshot of the disk, mounted beside it", found("m", "b1", "9:1", "1:born"), Place::Another),
            (
                "the disk, or a copy of it, in another machine",
                found("n", "b2", "8:1", "1:born"),
                Place::Another,
            ),
            ("a machine without a name", found("", "b2", "8:1", "1:born"), Place::Another),
        ];
        for (what, now, expected) in table {
            assert_eq!(now.since(Some(&before)), expected, "{what}");
        }
        assert_eq!(before.since(None), Place::Another);
        let nameless = found("", "b1", "8:1", "1:born");
        assert_eq!(nameless.since(Some(&nameless)), Place::Same);
        assert_eq!(found("", "b2", "8:1", "1:born").since(Some(&nameless)), Place::Another);
        let fileless = found("m", "b1", "8:1", "");
        assert_eq!(fileless.since(Some(&fileless)), Place::Same);
        assert_eq!(found("m", "b2", "8:1", "").since(Some(&fileless)), Place::Another);
    }
}
