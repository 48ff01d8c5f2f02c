//! Containers that stand still, are killed, and are made anew.

use crate::{
    compose::{
        docker::must,
        scene::{EFFECT, Scene},
        stack::Node,
    },
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};

/// Decisions that are waited for while a coordinator is away.
const DECISIONS: u64 = 25;

/// The leader stands still, as a machine does that is suspended, and goes on as if nothing had happened.
pub(super) async fn paused(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, term) = scene.leader().await?;
    scene.stack.pause(leader).await?;
    let others = scene.coordinators_without(&[leader]);
    let (new, later) = scene.leader_among(&others, term).await?;
    ensure!(!answers(scene, leader).await, "{leader} is paused and answers");
    let mut seen =
        vec![format!("{leader} is paused and silent"), format!("{new} leads term {later} instead of {term}")];
    seen.push(goes_on(scene, &others).await?);
    scene.stack.unpause(leader).await?;
    seen.push(
        wait_until(&format!("{leader} knows that its term is over"), EFFECT, async || {
            let statuses = scene.statuses().await;
            let of_leader = statuses.iter().find(|(id, _)| Node::Coordinator(**id) == leader);
            let (_, status) = of_leader.context("it does not answer")?;
            ensure!(status.term > term, "it is in term {}", status.term);
            Ok(format!("woken up it is in term {}", status.term))
        })
        .await?,
    );
    Ok(seen)
}

/// The leader's processes are killed by the machine; the engine starts them again, perhaps soon enough to be elected.
pub(super) async fn killed(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, term) = scene.leader().await?;
    let before = scene.stack.container(leader).await?;
    must(&["kill", "-KILL", &before.pid.to_string()]).await?;
    let after = wait_until(&format!("the engine has started {leader} again"), EFFECT, async || {
        let now = scene.stack.container(leader).await?;
        let again = now.status == "running" && now.pid != before.pid && now.restarts > before.restarts;
        ensure!(again, "it is {now:?}");
        Ok(now)
    })
    .await?;
    let mut seen = vec![format!("{leader}'s process {} is gone, {} runs instead", before.pid, after.pid)];
    // An address may be lost with the network namespace.
    scene.find_again().await?;
    let all = scene.stack.coordinators();
    let (new, later) = scene.leader_among(&all, term).await?;
    seen.push(format!("{new} leads term {later} instead of {leader} term {term}"));
    seen.push(goes_on(scene, &all).await?);
    Ok(seen)
}

/// Every container is made anew, one after the other, as for a new version; each is healthy before the next goes.
pub(super) async fn rolling(scene: &mut Scene) -> Result<Vec<String>> {
    let before = scene.stack.containers().await?;
    let decided = scene.everybody.tally().decided();
    for node in scene.stack.nodes() {
        let service = node.to_string();
        scene
            .stack
            .compose(&["up", "--detach", "--no-build", "--no-deps", "--force-recreate", &service])
            .await?;
        scene.find_again().await?;
        scene.stack.checked(node, 0).await?;
    }
    let after = scene.stack.containers().await?;
    for node in scene.stack.nodes() {
        let service = node.to_string();
        let same = before.get(&service).map(|one| &one.id) == after.get(&service).map(|one| &one.id);
        ensure!(!same, "{service} is the same container as before");
    }
    let decisions = scene.everybody.tally().decided() - decided;
    ensure!(decisions >= DECISIONS, "{decisions} decisions while all were made anew");
    Ok(vec![format!("{} containers made anew, {decisions} decisions meanwhile", after.len())])
}

async fn answers(scene: &Scene, node: Node) -> bool {
    scene.statuses().await.keys().any(|id| Node::Coordinator(*id) == node)
}

/// Those who are left go on deciding.
pub(super) async fn goes_on(scene: &Scene, coordinators: &[Node]) -> Result<String> {
    let side = scene.side("left", coordinators, &scene.stack.agents())?;
    let seen = wait_until("those who are left decide", EFFECT, async || {
        let tally = side.tally();
        ensure!(tally.decided() >= DECISIONS, "{tally:?}");
        Ok(format!("the others took {} decisions", tally.decided()))
    })
    .await?;
    side.expect_well()?;
    Ok(seen)
}
