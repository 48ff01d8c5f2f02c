//! A coordinator whose volume is lost: it is refused under its old id, and says what to do.

use super::processes::goes_on;
use crate::{
    compose::{
        docker::must,
        scene::{EFFECT, Scene},
        stack::{Node, mountpoint},
    },
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// What the last words of a refused coordinator must name: the remedy.
const REMEDY: &str = "new node id";

/// A follower comes back without its data under its old id, and later with them.
pub(super) async fn refused(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, _) = scene.leader().await?;
    let others = scene.coordinators_without(&[leader]);
    let victim = *others.first().context("the leader has followers")?;
    let left = scene.coordinators_without(&[victim]);
    let volume = victim.volumes().pop().context("a coordinator has a volume")?;
    scene.stack.compose(&["stop", &victim.to_string()]).await?;
    let kept = tempfile::Builder::new().prefix("kept-").tempdir_in(crate::binary::scratch()?)?;
    copy(&mountpoint(&volume).await?, kept.path()).await?;
    remove_with_volume(scene, victim, &volume).await?;
    scene.stack.start(&[victim]).await?;
    let words = scene.stack.ends_saying(victim, REMEDY).await?;
    let mut seen = vec![format!("{victim} without its volume ends with 1 and says: {words}")];
    seen.push(goes_on(scene, &left).await?);
    seen.push(agent_comes_up(scene, Node::Agent(1)).await?);
    // What it had is put back exactly as it was: a copy of an earlier time would have forgotten votes.
    remove_with_volume(scene, victim, &volume).await?;
    copy(kept.path(), &scene.stack.make_volume(&volume).await?).await?;
    scene.stack.start(&[victim]).await?;
    scene.find_again().await?;
    scene.stack.checked(victim, 0).await.context("with its data")?;
    seen.push("with its data it is taken back".to_owned());
    Ok(seen)
}

/// `up` makes an agent anew, as after a change of its settings, though a coordinator is broken.
async fn agent_comes_up(scene: &Scene, agent: Node) -> Result<String> {
    let before = scene.stack.container(agent).await?.id;
    // With everything that it depends on, unlike `Stack::start`.
    scene.stack.compose(&["up", "--detach", "--no-build", "--force-recreate", &agent.to_string()]).await?;
    ensure!(scene.stack.container(agent).await?.id != before, "{agent} was not made anew");
    wait_until(&format!("{agent} has a lease"), EFFECT, async || {
        let checked = scene.stack.healthcheck(agent).await?;
        ensure!(checked.code == Some(0) && checked.stdout.contains(", normal,"), "{checked:?}");
        Ok(())
    })
    .await?;
    Ok(format!("{agent} was made anew meanwhile and has a lease"))
}

async fn remove_with_volume(scene: &Scene, node: Node, volume: &str) -> Result<()> {
    scene.stack.compose(&["rm", "--stop", "--force", &node.to_string()]).await?;
    must(&["docker", "volume", "rm", volume]).await?;
    Ok(())
}

/// Everything in a folder, with owners and times.
async fn copy(from: &Path, to: &Path) -> Result<()> {
    let all = format!("{}/.", from.display());
    must(&["cp", "--archive", &all, &to.to_string_lossy()]).await?;
    Ok(())
}
