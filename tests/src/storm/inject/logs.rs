//! Logs that nobody reads: the pipe is full, and whoever writes to it goes on all the same.

use super::{agents::pick, hold};
use crate::{
    process::Process,
    storm::{
        proof::Proof,
        scene::{EFFECT, Scene},
        schedule::Fault,
    },
    wait::wait_until,
};
use anyhow::{Result, ensure};
use std::time::Instant;

/// Operations that show that the leader goes on.
const GO_ON: u64 = 20;

/// What an agent says when it is told what to do, and a leader when its plans are committed.
const INSTALLED: &str = "assignment installed";
const COMMITTED: &str = "planned and committed";

/// The primary's agent keeps its lease for longer than T, and gives its group away in order when it is asked to.
pub(super) async fn of_agent(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    let lease = scene.cluster.plan().timing.lease();
    let process = scene.cluster.agent(old.host);
    let said_before = process.said()?.len();
    process.stop_reading()?;
    let since = Instant::now();
    scene.lasts(since, lease).await;
    let kept = scene.primary(&old.group).await?;
    ensure!(kept.epoch == old.epoch, "{} was taken from h{}: {kept:?}", old.group, old.host);
    scene.ask_for_failover(&old.group, "").await?;
    proof.effect(scene.moved_from(&old).await?);
    hold(fault).await;
    let process = scene.cluster.agent(old.host);
    process.expect_unread()?;
    proof.effect(format!(
        "h{} has had no room in its log for {:.1} s",
        old.host,
        since.elapsed().as_secs_f64()
    ));
    process.read_again()?;
    proof.healed(scene.healed());
    let process = scene.cluster.agent(old.host);
    proof.end(arrives(process, said_before, INSTALLED).await?);
    proof.end(scene.serves_again(&old.name(), &old.group).await?);
    Ok(())
}

/// The leader leads on in its term for longer than T, decides, and has a group moved.
pub(super) async fn of_leader(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    let (leader, term) = scene.leader().await?;
    let lease = scene.cluster.plan().timing.lease();
    let process = scene.cluster.coordinator(leader);
    let said_before = process.said()?.len();
    process.stop_reading()?;
    let since = Instant::now();
    scene.ask_for_failover(&old.group, "").await?;
    scene.moved_from(&old).await?;
    scene.lasts(since, lease).await;
    scene.acknowledges(GO_ON).await?;
    hold(fault).await;
    let process = scene.cluster.coordinator(leader);
    process.expect_unread()?;
    let now = scene.leader().await?;
    ensure!(now == (leader, term), "c{leader} led term {term}, and now c{} leads term {}", now.0, now.1);
    let lasted = since.elapsed().as_secs_f64();
    proof.effect(format!("c{leader} has had no room in its log for {lasted:.1} s and leads term {term}"));
    let process = scene.cluster.coordinator(leader);
    process.read_again()?;
    proof.healed(scene.healed());
    let process = scene.cluster.coordinator(leader);
    proof.end(arrives(process, said_before, COMMITTED).await?);
    Ok(())
}

/// What was said meanwhile is read now.
async fn arrives(process: &Process, said_before: usize, words: &str) -> Result<String> {
    wait_until("what was said is read", EFFECT, async || {
        let said = process.said()?;
        let new = said.get(said_before..).unwrap_or_default();
        ensure!(new.contains(words), "no {words:?} among {} bytes", new.len());
        Ok(format!(
            "{} lines of {} are read, {words:?} among them",
            new.trim().lines().count(),
            process.name()
        ))
    })
    .await
}
