//! I9: at most one agent acts as primary of a group at any real instant.
//!
//! A claim is an interval of true time: it begins with the event that made it and ends with the deadline that somebody
//! on the machine was given, or with the event that takes it back. Two machines whose claims overlap in a single instant
//! are a violation, whether or not anybody looked at that instant.

use super::{Claim, Fact, Invariant};
use crate::{network::Node, time::Moment};
use quorate_domain::GroupId;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct OnePrimary {
    claims: BTreeMap<GroupId, BTreeMap<Node, Claim>>,
}

impl Invariant for OnePrimary {
    fn name(&self) -> &'static str {
        "I9 at most one agent acts as primary of a group at any real instant"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Claims { claim, .. } => {
                let claims = self.claims.entry(claim.group.clone()).or_default();
                claims.retain(|_, held| held.until > now);
                claims.insert(claim.machine, claim.clone());
                let others: Vec<String> = claims
                    .values()
                    .filter(|held| held.machine != claim.machine && claim.until > now)
                    .map(|held| format!("node {} (epoch {}) until {}", held.machine, held.epoch, held.until))
                    .collect();
                if others.is_empty() {
                    return Ok(());
                }
                Err(format!(
                    "at {now} node {} acts for {} under epoch {} until {}, and so does {}",
                    claim.machine,
                    claim.group,
                    claim.epoch,
                    claim.until,
                    others.join(" and ")
                ))
            }
            Fact::Yields { machine, group } => {
                if let Some(claims) = self.claims.get_mut(group) {
                    claims.remove(&machine);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
