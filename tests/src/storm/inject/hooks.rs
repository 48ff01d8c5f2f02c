//! Hooks that fail and hang for a while.

use super::{agents::pick_hooked, hold};
use crate::{
    services::{Conduct, Hook},
    storm::{
        proof::Proof,
        scene::{EFFECT, Primary, Scene, is_hooked},
        schedule::Fault,
    },
    wait::wait_until,
};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{
    slice,
    time::{Duration, Instant},
};

/// The pause after the first failure of a hook. Each further one doubles it, so that a pause is longer than all before it
/// together by this.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The demote hook of a primary's host. What it fails to stop is killed at the end of its lease, and another host follows
/// while the hook is as it is.
pub(super) async fn demotion(
    scene: &mut Scene,
    fault: &Fault,
    conduct: Conduct,
    proof: &mut Proof,
) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick_hooked(scene, fault).await?;
    let host = old.name();
    let noted = scene.services.misconduct(Hook::Demote, &host)?.len();
    scene.services.tell(Hook::Demote, &host, conduct)?;
    scene.ask_for_failover(&old.group, "").await?;
    let began = misbehaves(scene, Hook::Demote, &host, &old.group, noted).await?;
    let named = scene.named(began, |warning| {
        let code = warning["code"] == "DEMOTION_NOT_DONE" || warning["code"] == "WAITING_FOR_DEMOTION";
        code && is_about(warning, &old.group, slice::from_ref(&host))
    });
    proof.effect(named.await?);
    proof.effect(scene.moved_from(&old).await?);
    hold(fault).await;
    scene.services.tell(Hook::Demote, &host, Conduct::Works)?;
    proof.healed(scene.healed());
    proof.end(scene.serves_again(&host, &old.group).await?);
    Ok(())
}

/// The promote hook of the next primary, for whom another host follows; or, by the draw, those of all members: nobody
/// serves then, and `quorate status` says so for as long as it lasts.
pub(super) async fn promotion(
    scene: &mut Scene,
    fault: &Fault,
    conduct: Conduct,
    proof: &mut Proof,
) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    // All members of this one have hooks.
    let old = scene.primary(&scene.groups[0]).await?;
    let members: Vec<String> =
        scene.cluster.group(&old.group).await?.members.into_iter().map(|member| member.host).collect();
    let backups: Vec<String> = members.iter().filter(|host| **host != old.name()).cloned().collect();
    ensure!(members.iter().all(|host| is_hooked(host)) && !backups.is_empty(), "{members:?}");
    let next = backups[usize::try_from(fault.target / 2)? % backups.len()].clone();
    let all = fault.target.is_multiple_of(2);
    let told = if all { members } else { vec![next.clone()] };
    let noted = scene.services.misconduct(Hook::Promote, &next)?.len();
    for host in &told {
        scene.services.tell(Hook::Promote, host, conduct)?;
    }
    scene.ask_for_failover(&old.group, &next).await?;
    let began = misbehaves(scene, Hook::Promote, &next, &old.group, noted).await?;
    if all {
        nobody_serves(scene, fault, &old, &told, began, proof).await?;
    } else {
        proof.effect(format!("the promote hook of {next} does not start {}", old.group));
        let later = |host: &str, epoch| host != next && epoch > old.epoch;
        let other = scene
            .probe
            .wait_for_primary(&old.group, EFFECT, |sample| later(&sample.host, sample.epoch))
            .await?;
        proof.effect(format!("{} acts for {} under epoch {}", other.host, other.group, other.epoch));
        hold(fault).await;
    }
    for host in &told {
        scene.services.tell(Hook::Promote, host, Conduct::Works)?;
    }
    // A hook that hangs already has its time, with the demotion after it; then the pause that the failures have earned.
    let last_run = Duration::from_millis(scene.hook_times.promotion_ms + scene.hook_times.demotion_ms);
    let pause = (began.elapsed() + last_run + FIRST_PAUSE).min(LONGEST_PAUSE);
    let put_off = if all { last_run + pause } else { Duration::ZERO };
    proof.healed(scene.healed().with_put_off(put_off));
    if all {
        let served = scene.cluster.wait_for_active(&old.group, EFFECT + put_off).await?;
        proof.end(format!("{} is served under epoch {}", old.group, served.epoch));
    } else {
        proof.end(scene.serves_again(&next, &old.group).await?);
    }
    Ok(())
}

/// `quorate status` names the group and the hosts in time, and calls it critical until D has passed and the fault has
/// lasted.
async fn nobody_serves(
    scene: &Scene,
    fault: &Fault,
    old: &Primary,
    told: &[String],
    began: Instant,
    proof: &mut Proof,
) -> Result<()> {
    let is_named = |warning: &Value| {
        warning["code"] == "GROUP_NOT_SERVED"
            && warning["severity"] == "critical"
            && is_about(warning, &old.group, told)
    };
    proof.effect(scene.named(began, is_named).await?);
    scene.lasts(began, scene.cluster.plan().timing.wait()).await;
    hold(fault).await;
    scene.named(Instant::now(), is_named).await?;
    proof.effect(format!("nobody serves {} after {:.1} s", old.group, began.elapsed().as_secs_f64()));
    Ok(())
}

/// A warning about a group that names one of these hosts.
fn is_about(warning: &Value, group: &str, hosts: &[String]) -> bool {
    let text = crate::health::text(warning);
    warning["subject"]["id"] == group && hosts.iter().any(|host| text.contains(host.as_str()))
}

/// A hook does not do its work for a group; since when.
async fn misbehaves(scene: &Scene, hook: Hook, host: &str, group: &str, noted: usize) -> Result<Instant> {
    wait_until(&format!("the hook of {host} is run"), EFFECT, async || {
        let since = scene.services.misconduct(hook, host)?;
        ensure!(since[noted..].iter().any(|one| one == group), "{since:?}");
        Ok(Instant::now())
    })
    .await
}
