//! Coordinators that are killed, frozen and restarted.

use super::hold;
use crate::storm::{
    proof::Proof,
    scene::{EFFECT, Scene},
    schedule::Fault,
};
use anyhow::{Context, Result, ensure};

/// Operations that show that the others go on.
const GO_ON: u64 = 20;

pub(super) async fn kill_leader(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, term) = scene.leader().await?;
    scene.cluster.coordinator(old).kill()?;
    let (next, later) = scene.next_leader(old, term).await?;
    scene.acknowledges(GO_ON).await?;
    proof.effect(format!("c{old} ended by SIGKILL, c{next} leads term {later} instead of {term}"));
    hold(fault).await;
    start_again(scene, old, proof).await
}

pub(super) async fn kill_follower(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (leader, _) = scene.leader().await?;
    let id = fault.pick(&scene.others(leader));
    scene.cluster.coordinator(id).kill()?;
    ensure!(!scene.statuses().await.contains_key(&id), "c{id} was killed and answers");
    scene.acknowledges(GO_ON).await?;
    proof.effect(format!("c{id} ended by SIGKILL and does not answer, the others go on"));
    hold(fault).await;
    start_again(scene, id, proof).await
}

pub(super) async fn kill_all(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let before = scene.statuses().await;
    let revision = before.values().map(|status| status.revision).max().unwrap_or(0);
    let term = before.values().map(|status| status.term).max().unwrap_or(0);
    for id in scene.ids() {
        scene.cluster.coordinator(id).kill()?;
    }
    let acknowledged = || scene.clients.recorder().acknowledged();
    let at = scene.still("acknowledgements", acknowledged).await?;
    hold(fault).await;
    ensure!(acknowledged() == at, "{} operations were acknowledged by nobody", acknowledged() - at);
    proof.effect("all ended by SIGKILL and nothing was acknowledged");
    for id in scene.ids() {
        scene.cluster.coordinator(id).start()?;
    }
    proof.healed(scene.healed());
    let (leader, later) = scene.leader().await?;
    let status = scene.statuses().await.remove(&leader).context("the leader does not answer")?;
    ensure!(later > term, "the term went from {term} to {later}");
    ensure!(status.revision >= revision, "the revision went from {revision} to {}", status.revision);
    scene.acknowledges(GO_ON).await?;
    proof.end(format!("c{leader} leads term {later} and has revision {revision}"));
    Ok(())
}

pub(super) async fn freeze_leader(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, term) = scene.leader().await?;
    scene.cluster.coordinator(old).pause().await?;
    let (next, later) = scene.next_leader(old, term).await?;
    scene.acknowledges(GO_ON).await?;
    hold(fault).await;
    thaw(scene, old, &format!("c{next} leads term {later} instead of {term}"), proof).await
}

pub(super) async fn freeze_follower(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (leader, _) = scene.leader().await?;
    let id = fault.pick(&scene.others(leader));
    scene.cluster.coordinator(id).pause().await?;
    // Longer than an election, also when the draw is short.
    tokio::time::sleep(scene.cluster.plan().timing.election_max() * 2).await;
    scene.acknowledges(GO_ON).await?;
    hold(fault).await;
    thaw(scene, id, "the others go on", proof).await
}

pub(super) async fn rolling_restart(scene: &mut Scene, _: &Fault, proof: &mut Proof) -> Result<()> {
    for id in scene.ids() {
        let process = scene.cluster.coordinator(id);
        let before = process.pid()?;
        process.terminate()?;
        let status = process.ended(EFFECT).await?;
        ensure!(status.success(), "c{id} was asked to stop and ended with {status}");
        process.start()?;
        let pid = process.pid()?;
        proof.healed(scene.healed());
        proof.effect(format!("c{id} ended in order and is process {pid} instead of {before}"));
        scene.catches_up(id).await?;
    }
    proof.end("each caught up before the next");
    Ok(())
}

async fn thaw(scene: &mut Scene, id: u64, meanwhile: &str, proof: &mut Proof) -> Result<()> {
    let process = scene.cluster.coordinator(id);
    let state = process.state()?;
    ensure!(state == "T", "c{id} was stopped and is in state {state}");
    proof.effect(format!("c{id} is in state {state}, {meanwhile}"));
    process.resume().await?;
    let state = process.state()?;
    proof.healed(scene.healed());
    scene.catches_up(id).await?;
    proof.end(format!("c{id} is in state {state} and has caught up"));
    Ok(())
}

/// Starts a coordinator that has ended; it takes part again.
pub(super) async fn start_again(scene: &mut Scene, id: u64, proof: &mut Proof) -> Result<()> {
    scene.cluster.coordinator(id).start()?;
    proof.healed(scene.healed());
    scene.catches_up(id).await?;
    proof.end(format!("c{id} runs and has caught up"));
    Ok(())
}
