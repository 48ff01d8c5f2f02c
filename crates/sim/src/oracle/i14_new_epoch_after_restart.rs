//! I14: a restarted agent acts only under a new epoch.

use super::{Fact, Invariant};
use crate::{network::Node, time::Moment};
use quorate_domain::{Epoch, GroupId, Incarnation};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct NewEpochAfterRestart {
    /// The start that acted last, and the highest epoch of the starts before it.
    acted: BTreeMap<(Node, GroupId), (Incarnation, Epoch, Epoch)>,
}

impl Invariant for NewEpochAfterRestart {
    fn name(&self) -> &'static str {
        "I14 a restarted agent acts only under a new epoch"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        let Fact::Claims { claim, .. } = fact else { return Ok(()) };
        if !claim.fresh {
            return Ok(());
        }
        let key = (claim.machine, claim.group.clone());
        let (start, epoch, before) =
            self.acted.get(&key).copied().unwrap_or((claim.incarnation, claim.epoch, Epoch(0)));
        let before = if claim.incarnation == start { before } else { before.max(epoch) };
        let highest = if claim.incarnation == start { epoch.max(claim.epoch) } else { claim.epoch };
        self.acted.insert(key, (claim.incarnation, highest, before));
        if claim.epoch > before {
            return Ok(());
        }
        Err(format!(
            "node {} acts for {} under epoch {} after a restart; it had acted under {before} before",
            claim.machine, claim.group, claim.epoch
        ))
    }
}
