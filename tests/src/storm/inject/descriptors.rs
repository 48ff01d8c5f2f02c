//! Processes that can open nothing more for a while. Whoever cannot go on so ends, says why, and is started again, as a
//! service manager does.

use super::{agents::pick, coordinators::start_again, hold};
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

/// Operations that show that the others go on.
const GO_ON: u64 = 20;
/// What the system says.
const TOO_MANY: &str = "Too many open files";
/// What an agent says that cannot look at its disks.
const NOT_CHECKED: &str = "a disk is not checked";
/// And one that cannot store the epoch of a group.
const NOT_STORED: &str = "the state folder cannot be written";

/// The primary's agent keeps its lease for longer than T, and gives its group away when it is asked to. Should it have to
/// store anything meanwhile, it cannot: it ends every role in order, and says why.
pub(super) async fn of_agent(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    let host = old.name();
    let lease = scene.cluster.plan().timing.lease();
    let process = scene.cluster.agent(old.host);
    let said_before = process.said()?.len();
    let usual = process.take_descriptors()?;
    let since = Instant::now();
    wait_until("the agent can open nothing", EFFECT, async || {
        ensure!(says(process, said_before, NOT_CHECKED)?, "it checks its disk");
        Ok(())
    })
    .await?;
    proof.effect(format!("{host} can open nothing"));
    scene.lasts(since, lease).await;
    let now = scene.primary(&old.group).await?;
    if now.epoch == old.epoch {
        proof.effect(format!("it has kept {} for {:.1} s", old.group, since.elapsed().as_secs_f64()));
        scene.ask_for_failover(&old.group, "").await?;
    } else {
        let process = scene.cluster.agent(old.host);
        ensure!(says(process, said_before, NOT_STORED)?, "{} was taken from {host}: {now:?}", old.group);
    }
    proof.effect(scene.moved_from(&old).await?);
    hold(fault).await;
    let process = scene.cluster.agent(old.host);
    if says(process, said_before, NOT_STORED)? {
        let status = process.ended(EFFECT).await?;
        let said = process.said()?;
        let last = said.trim_end().lines().next_back().unwrap_or_default();
        let why = status.code() == Some(1) && last.contains(TOO_MANY);
        ensure!(why, "{host} ended with {status}, saying {last:?}");
        proof.effect(format!("{host} ended with code 1, saying {last:?}"));
        process.start()?;
    } else {
        process.set_descriptors(usual)?;
    }
    proof.healed(scene.healed());
    proof.end(scene.serves_again(&host, &old.group).await?);
    Ok(())
}

/// Whether a process has said this since then.
fn says(process: &Process, said_before: usize, words: &str) -> Result<bool> {
    Ok(process.said()?.get(said_before..).is_some_and(|said| said.contains(words)))
}

/// It takes no new connection, and those that there are go on; the cluster does in any case.
pub(super) async fn of_coordinator(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let id = fault.pick(&scene.ids());
    let process = scene.cluster.coordinator(id);
    let said_before = process.said()?.len();
    let spent = process.cpu_time()?;
    let usual = process.take_descriptors()?;
    let since = Instant::now();
    scene.acknowledges(GO_ON).await?;
    ensure!(!scene.statuses().await.contains_key(&id), "c{id} can open nothing and takes connections");
    scene.lasts(since, scene.cluster.plan().timing.lease()).await;
    hold(fault).await;
    scene.acknowledges(GO_ON).await?;
    let process = scene.cluster.coordinator(id);
    if process.is_alive()? {
        let (spent, lasted) = (process.cpu_time()?.saturating_sub(spent), since.elapsed());
        process.set_descriptors(usual)?;
        proof.healed(scene.healed());
        proof
            .effect(format!("c{id} took no connection for {lasted:.1?} and used {spent:.1?} of a processor"));
        scene.catches_up(id).await?;
        proof.end(format!("c{id} takes connections again and has caught up"));
        return Ok(());
    }
    let status = process.ended(EFFECT).await?;
    let said = process.said()?;
    let said = said.get(said_before..).unwrap_or_default();
    let why = said.lines().rev().find(|line| line.contains(TOO_MANY));
    ensure!(status.code() == Some(1) && why.is_some(), "c{id} ended with {status}: {said}");
    proof.effect(format!("c{id} ended with code 1, saying {:?}, the others go on", why.unwrap_or_default()));
    start_again(scene, id, proof).await
}
