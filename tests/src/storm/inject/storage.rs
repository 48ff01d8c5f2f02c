//! Disks that are full or fail. The coordinator ends and says why; it has lost nothing.

use super::{coordinators::start_again, hold};
use crate::storm::{
    proof::Proof,
    scene::{EFFECT, Scene},
    schedule::Fault,
};
use anyhow::{Context, Result, ensure};
use std::sync::Arc;

/// What the system says when there is no room.
const NO_ROOM: &str = "No space left on device";
/// What it says when the disk fails.
const DISK_FAILED: &str = "Input/output error";
/// What a leader says last when a part of it hangs.
const STANDS_STILL: &str = "has stood still for 15 s";

pub(super) async fn full_disk(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (id, disk) = scene.disk.as_ref().context("no coordinator has a small disk")?;
    let (id, disk) = (*id, Arc::clone(disk));
    let said_before = scene.cluster.coordinator(id).said()?.len();
    disk.fill()?;
    let free = disk.free_bytes()?;
    ensure!(free == 0, "the full disk has {free} bytes free");
    expect_end(scene, id, said_before, NO_ROOM, proof).await?;
    hold(fault).await;
    disk.free()?;
    let free = disk.free_bytes()?;
    ensure!(free > 0, "there is no room again");
    proof.end(format!("{free} bytes are free"));
    start_again(scene, id, proof).await
}

pub(super) async fn storage_error(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let errors = scene.storage_errors.clone().context("no program fails on demand")?;
    let id = fault.pick(&scene.ids());
    let said_before = scene.cluster.coordinator(id).said()?.len();
    errors.fail_syncs(id)?;
    expect_end(scene, id, said_before, DISK_FAILED, proof).await?;
    hold(fault).await;
    errors.heal(id)?;
    start_again(scene, id, proof).await
}

/// A sync of the leader's log does not come back. Another one leads, and the old one ends itself.
pub(super) async fn hung_disk(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let errors = scene.storage_errors.clone().context("no program hangs on demand")?;
    let (old, term) = scene.leader().await?;
    errors.hang_syncs(old)?;
    let (next, later) = scene.next_leader(old, term).await?;
    scene.acknowledges(20).await?;
    proof.effect(format!("c{next} leads term {later} instead of c{old} in {term}"));
    let process = scene.cluster.coordinator(old);
    let status = process.ended(EFFECT).await?;
    let said = process.said()?;
    let last = said.lines().next_back().unwrap_or_default();
    let words = [STANDS_STILL, "the log on disk"];
    ensure!(
        status.code() == Some(1) && words.iter().all(|words| last.contains(words)),
        "c{old} ended with {status}, saying {last:?}"
    );
    proof.effect(format!("c{old} ended with code 1, saying {last:?}"));
    hold(fault).await;
    errors.heal(old)?;
    start_again(scene, old, proof).await
}

/// A coordinator ends by itself, not well, and says why in what comes after so many bytes of its words; the others go on.
async fn expect_end(
    scene: &mut Scene,
    id: u64,
    said_before: usize,
    why: &str,
    proof: &mut Proof,
) -> Result<()> {
    let status = scene.cluster.coordinator(id).ended(EFFECT).await?;
    ensure!(status.code() == Some(1), "c{id} ended with {status}");
    let text = scene.cluster.coordinator(id).said()?;
    let reason = text.get(said_before..).unwrap_or_default().lines().rev().find(|line| line.contains(why));
    let reason = reason.with_context(|| format!("c{id} ended without a word of {why:?}"))?;
    let last = text.lines().next_back().unwrap_or_default();
    ensure!(
        last.starts_with("error: coordinator: consensus stopped: ") && !last.contains("core is gone"),
        "the last words of c{id} do not say why it ended: {last}"
    );
    scene.acknowledges(20).await?;
    proof.effect(format!("c{id} ended with code 1, saying {:?}, the others go on", reason.trim()));
    Ok(())
}
