//! What a program that serves a group, or ends that, is told by its environment.

use crate::protocol::Disk;
use quorate_domain::{Epoch, GroupId};

/// What is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The group.
    pub group: &'a GroupId,
    /// The epoch that begins or ends.
    pub epoch: Epoch,
    /// `primary` for what starts the service or is it, else `backup`.
    pub role: &'static str,
    /// This host.
    pub host: &'a str,
    /// Why, in words.
    pub reason: &'a str,
    /// The disk of the group's member on this host, if it is known.
    pub disk: Option<&'a Disk>,
}

impl Told<'_> {
    /// Every variable with its value.
    pub fn variables(self) -> Vec<(&'static str, String)> {
        // It may come from a coordinator, and a variable holds no zero byte.
        let clean = |text: &str| text.replace('\0', " ");
        let mut variables = vec![
            ("QUORATE_GROUP", self.group.to_string()),
            ("QUORATE_EPOCH", self.epoch.to_string()),
            ("QUORATE_ROLE", self.role.to_owned()),
            ("QUORATE_HOST", clean(self.host)),
            ("QUORATE_REASON", clean(self.reason)),
        ];
        if let Some(disk) = self.disk {
            variables.push(("QUORATE_DISK", clean(&disk.name)));
            if !disk.path.is_empty() {
                variables.push(("QUORATE_DISK_PATH", clean(&disk.path)));
            }
        }
        variables
    }
}
