//! Groups in a storm: who is primary, who follows, and what `quorate status` says meanwhile.

use super::scene::{EFFECT, Primary, Scene};
use crate::{health, probe::boottime_ms, wait::wait_until};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{
    control::RequestFailoverRequest,
    types::{GroupPhase, Role},
};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;

impl Scene {
    /// From now on no operator moves a group; the guard ends that.
    pub(super) async fn take_the_helm(&self) -> OwnedMutexGuard<()> {
        self.clients.helm().lock_owned().await
    }

    /// The primary of one of the groups, which is active. Its lease is renewed: one that is about to lapse, after an
    /// earlier fault, is released all the same, and what follows then does not come from the fault that is made next.
    pub(super) async fn primary(&self, group: &str) -> Result<Primary> {
        let half = self.cluster.plan().timing.lease.lease_ms / 2;
        let found = wait_until(&format!("the primary of {group} has a renewed lease"), EFFECT, async || {
            let found = self.cluster.group(group).await?;
            ensure!(found.phase() == GroupPhase::Active, "{found:?}");
            let host = &found.primary.as_ref().context("a group without a primary")?.host;
            // Another one may be primary a moment later: then it is that one's turn.
            let last = self.probe.last(host, group).context("it said nothing")?;
            let is_renewed = last.lease_deadline_boot_ms >= boottime_ms() + half;
            ensure!(last.is_primary() && last.epoch == found.epoch && is_renewed, "{found:?}, and {last:?}");
            Ok(found)
        })
        .await?;
        let host = found.primary.context("a group without a primary")?.host;
        let host = host.strip_prefix('h').and_then(|number| number.parse().ok());
        let host = host.context("a host of the plan is named h and a number")?;
        Ok(Primary { group: group.to_owned(), host, epoch: found.epoch })
    }

    /// Another host acts for the group under a later epoch.
    pub(super) async fn moved_from(&self, old: &Primary) -> Result<String> {
        let later = |host: &str, epoch| host != old.name() && epoch > old.epoch;
        let new = self
            .probe
            .wait_for_primary(&old.group, EFFECT, |sample| later(&sample.host, sample.epoch))
            .await?;
        Ok(format!("{} acts for {} under epoch {} instead of {}", new.host, new.group, new.epoch, old.epoch))
    }

    /// The old primary says that it does not act for the group.
    pub(super) async fn fenced(&self, old: &Primary) -> Result<String> {
        let since = boottime_ms();
        wait_until(&format!("{} is fenced", old.name()), EFFECT, async || {
            let last = self.probe.last(&old.name(), &old.group).context("it said nothing")?;
            ensure!(last.at_boot_ms >= since && !last.is_primary(), "{last:?}");
            Ok(format!("{} says that it does not act: {}", last.host, last.reason))
        })
        .await
    }

    /// The old primary is back, as a backup, and has not acted under its old epoch since.
    pub(super) async fn comes_back(&self, old: &Primary, since_boot_ms: u64) -> Result<String> {
        wait_until(&format!("{} comes back", old.name()), EFFECT, async || {
            let last = self.probe.last(&old.name(), &old.group).context("it said nothing")?;
            let fresh = last.at_boot_ms >= since_boot_ms;
            ensure!(fresh && (last.role == Role::Backup || last.epoch > old.epoch), "{last:?}");
            Ok(())
        })
        .await?;
        let acted = self.probe.samples().into_iter().find(|sample| {
            let of_old = sample.host == old.name() && sample.group == old.group && sample.epoch == old.epoch;
            of_old && sample.is_primary() && sample.at_boot_ms >= since_boot_ms
        });
        ensure!(acted.is_none(), "{} acted under its old epoch: {acted:?}", old.name());
        Ok(format!("{} is a backup of {} and acts under epoch {} no more", old.name(), old.group, old.epoch))
    }

    /// An operator asks for another primary, or for this host.
    pub(super) async fn ask_for_failover(&self, group: &str, target: &str) -> Result<()> {
        let (group, target) = (group.to_owned(), target.to_owned());
        let request = RequestFailoverRequest { group, target, ..Default::default() };
        self.cluster.client().request_failover(request).await.context("a failover was refused")?;
        Ok(())
    }

    /// An operator has a host serve a group, and it does: what kept it from that is over.
    pub(super) async fn serves_again(&self, host: &str, group: &str) -> Result<String> {
        self.cluster.wait_for_hosts().await?;
        wait_until(&format!("{host} may be primary of {group}"), EFFECT, async || {
            let found = self.cluster.group(group).await?;
            ensure!(found.phase() == GroupPhase::Active, "{found:?}");
            ensure!(!found.unstopped.iter().any(|one| one.host == host), "{:?}", found.unstopped);
            Ok(())
        })
        .await?;
        let serves = |found: &quorate_rpc::pb::types::Group| {
            found.primary.as_ref().is_some_and(|primary| primary.host == host)
        };
        if !serves(&self.cluster.group(group).await?) {
            self.ask_for_failover(group, host).await?;
        }
        let found = self.cluster.wait_for_active(group, EFFECT).await?;
        ensure!(serves(&found), "{host} was asked to serve {group}: {found:?}");
        Ok(format!("{host} serves {group} under epoch {}", found.epoch))
    }

    /// `quorate status` has exit code 1 and a warning like this within D of the moment when the trouble began.
    pub(super) async fn named(&self, began: Instant, wanted: impl Fn(&Value) -> bool) -> Result<String> {
        let left = self.cluster.plan().timing.wait().saturating_sub(began.elapsed());
        wait_until("status names it", left, async || {
            let (code, document) = health::status(&self.cluster, &self.ids()).await?;
            ensure!(code == 1, "exit code {code}: {document}");
            let warnings = document["warnings"].as_array().context("a status has a list of warnings")?;
            let found = warnings.iter().find(|warning| wanted(warning));
            let found = found.with_context(|| format!("{warnings:?}"))?;
            Ok(format!("status names {}: {:?}", found["code"], health::text(found)))
        })
        .await
    }

    /// Nothing changes for so long since then.
    pub(super) async fn lasts(&self, since: Instant, at_least: Duration) {
        tokio::time::sleep(at_least.saturating_sub(since.elapsed())).await;
    }
}
