//! A container that is made anew under another address: everybody finds it by its name.

use super::processes::goes_on;
use crate::{
    compose::{
        docker::must,
        image::IMAGE,
        scene::{EFFECT, Scene},
        stack::{Node, SQUATTER, Stack},
    },
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};

/// The leader is killed, and somebody else takes its address before it comes back.
pub(super) async fn changed(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, term) = scene.leader().await?;
    let old = scene.address(leader)?;
    scene.kill_and_remove(leader).await?;
    let squatter = Squatter::take(&old).await?;
    let others = scene.coordinators_without(&[leader]);
    let (new, _) = scene.leader_among(&others, term).await?;
    let mut seen = vec![format!("{new} leads instead of {leader}"), goes_on(scene, &others).await?];
    scene.stack.start(&[leader]).await?;
    scene.find_again().await?;
    let now = scene.address(leader)?;
    ensure!(now != old, "{leader} came back at its old address {old}");
    follows(scene, leader).await?;
    seen.push(format!("{leader} moved from {old} to {now} and was found there"));
    squatter.leave().await?;
    Ok(seen)
}

/// It hears of the leader, and the leader hears of it.
async fn follows(scene: &Scene, node: Node) -> Result<()> {
    wait_until(&format!("{node} is heard by the leader"), EFFECT, async || {
        let statuses = scene.statuses().await;
        let leader = statuses.values().find(|status| status.can_decide).context("nobody leads")?;
        let member = leader.members.iter().find(|member| Node::Coordinator(member.id) == node);
        let member = member.context("it is no member")?;
        let leads = Node::Coordinator(leader.coordinator_id) == node;
        let heard = member.last_answer_ms.is_some_and(|ms| ms < 1_000) && member.lag_entries == Some(0);
        ensure!(leads || heard, "{member:?}");
        Ok(())
    })
    .await
}

/// A container that has an address so that nobody else gets it: the engine gives the lowest that is free.
struct Squatter;

impl Squatter {
    async fn take(address: &str) -> Result<Self> {
        let network = Stack::control_network();
        let words =
            ["--detach", "--name", SQUATTER, "--network", &network, "--entrypoint", "sleep", IMAGE, "600"];
        must(&[&["docker", "run"][..], &words].concat()).await?;
        let shown = format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}");
        let taken = must(&["docker", "inspect", "--format", &shown, SQUATTER]).await?;
        ensure!(
            address.starts_with(&format!("{}:", taken.trim())),
            "{address} was free, and {taken} was given"
        );
        Ok(Self)
    }

    async fn leave(self) -> Result<()> {
        must(&["docker", "rm", "--force", SQUATTER]).await?;
        Ok(())
    }
}
