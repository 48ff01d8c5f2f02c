//! A copy of a coordinator's data folder that runs under the same id elsewhere. It is refused, and the cluster goes on.

use super::hold;
use crate::{
    copied::{elsewhere, expect_a_peer_says_so, expect_refused, said_so_far},
    folder,
    storm::{proof::Proof, scene::Scene, schedule::Fault},
};
use anyhow::{Context, Result};
use std::fs;

/// Operations that show that the cluster goes on.
const GO_ON: u64 = 20;

pub(super) async fn clone(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let id = fault.pick(&scene.ids());
    let name = format!("c{id}-copy-{}", fault.number);
    let (original, copy) = (scene.cluster.data_dir(id), scene.cluster.root().join(&name));
    // All of it at one moment, as a snapshot of a machine has it.
    scene.cluster.coordinator(id).pause().await?;
    folder::copy(&original, &copy)?;
    scene.cluster.coordinator(id).resume().await?;
    scene.catches_up(id).await?;
    let before = said_so_far(&mut scene.cluster)?;
    let mut process = elsewhere(&scene.cluster, id, &name, &copy).await?;
    let last = expect_refused(&mut process, id).await?;
    proof.effect(format!("the copy of c{id} ended with code 1, saying {last:?}"));
    let peer = expect_a_peer_says_so(&mut scene.cluster, id, &before).await?;
    scene.acknowledges(GO_ON).await?;
    proof.effect(format!("c{peer} says so too, operations are acknowledged"));
    hold(fault).await;
    expect_refused(&mut process, id).await?;
    proof.healed(scene.healed());
    fs::remove_dir_all(&copy).context("removing a copy")?;
    scene.catches_up(id).await?;
    proof.end(format!("the copy was refused again, and c{id} has caught up"));
    Ok(())
}
