//! Cuts of the network, in both directions, in one, and with a bridge.

use crate::{
    compose::{
        cut::{Cut, Flow, between, one_way},
        scene::{EFFECT, Primary, Scene},
        side::Side,
        stack::Node,
        view,
    },
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

/// Decisions that a majority must take while it is cut: enough that they are no echo of what was before.
const DECISIONS: u64 = 25;
/// How often a minority must have answered that it has no leader.
const REFUSALS: u64 = 3;

/// What a cut leaves.
struct Split {
    /// What no longer arrives.
    flows: Vec<Flow>,
    /// The coordinators that must decide nothing.
    cut_off: Vec<Node>,
    /// The agents that must be fenced.
    fenced: Vec<Node>,
    /// Whether a coordinator that is cut off still hears who leads, and then answers so.
    hears_leader: bool,
}

/// The leader against the others, in both directions.
pub(super) async fn leader(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, _) = quiet_leader(scene).await?;
    let others = scene.coordinators_without(&[leader]);
    let flows = between(&[leader], &others);
    through(scene, Split { flows, cut_off: vec![leader], fenced: vec![], hears_leader: false }).await
}

/// An agent that is primary against all coordinators, and against nobody else.
pub(super) async fn agent(scene: &mut Scene) -> Result<Vec<String>> {
    let agent = Node::Agent(2);
    let flows = between(&[agent], &scene.stack.coordinators());
    through(scene, Split { flows, cut_off: vec![], fenced: vec![agent], hears_leader: false }).await
}

/// Nobody hears the leader, which hears them all.
pub(super) async fn mute_leader(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, _) = quiet_leader(scene).await?;
    let flows = one_way(&[leader], &scene.coordinators_without(&[leader]));
    through(scene, Split { flows, cut_off: vec![leader], fenced: vec![], hears_leader: true }).await
}

/// The leader hears nobody, and everybody hears it.
pub(super) async fn deaf_leader(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, _) = quiet_leader(scene).await?;
    let flows = one_way(&scene.coordinators_without(&[leader]), &[leader]);
    through(scene, Split { flows, cut_off: vec![leader], fenced: vec![], hears_leader: false }).await
}

/// An agent that is primary and hears no coordinator, while they hear it.
pub(super) async fn deaf_agent(scene: &mut Scene) -> Result<Vec<String>> {
    let agent = Node::Agent(3);
    let flows = one_way(&scene.stack.coordinators(), &[agent]);
    through(scene, Split { flows, cut_off: vec![], fenced: vec![agent], hears_leader: false }).await
}

/// The leader, one more coordinator and two agents against everybody else.
pub(super) async fn minority(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, _) = quiet_leader(scene).await?;
    let with = scene.coordinators_without(&[leader]);
    let cut_off = vec![leader, *with.first().context("there are other coordinators")?];
    let fenced = vec![Node::Agent(4), Node::Agent(5)];
    let one = [cut_off.clone(), fenced.clone()].concat();
    let other = [scene.coordinators_without(&cut_off), scene.agents_without(&fenced)].concat();
    let flows = between(&one, &other);
    through(scene, Split { flows, cut_off, fenced, hears_leader: false }).await
}

/// Two coordinators on each side, and one that sees both: with the leader's side it is a majority.
pub(super) async fn bridge(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, _) = quiet_leader(scene).await?;
    let others = scene.coordinators_without(&[leader]);
    let [with, one, other, _bridge] = others[..] else { anyhow::bail!("a bridge takes five coordinators") };
    let cut_off = vec![one, other];
    let flows = between(&[leader, with], &cut_off);
    through(scene, Split { flows, cut_off, fenced: vec![], hears_leader: false }).await
}

/// The leader reaches one coordinator only, which reaches all: that one must not be held by what it hears.
pub(super) async fn bridge_to_leader(scene: &mut Scene) -> Result<Vec<String>> {
    let (leader, term) = quiet_leader(scene).await?;
    let others = scene.coordinators_without(&[leader]);
    let (bridge, far) = others.split_last().context("there are other coordinators")?;
    let cut = Cut::make(&scene.stack, between(&[leader], far)).await?;
    let (new, _) = scene.leader_among(&others, term).await?;
    let mut seen = vec![format!("{new} leads instead of {leader}, which reaches only {bridge}")];
    let side = scene.side("bridged", &others, &scene.stack.agents())?;
    seen.push(decides(&side).await?);
    seen.push(scene.loses_packets(&cut, &[leader]).await?);
    cut.heal().await?;
    Ok(seen)
}

/// Nobody moves groups any more but the scenario; then who leads, and in which term.
async fn quiet_leader(scene: &Scene) -> Result<(Node, u64)> {
    scene.everybody.operate(false);
    // What was asked for before has come to its end.
    drop(scene.everybody.calm().await);
    scene.leader().await
}

/// Cuts, proves what must be seen on either side, and heals.
async fn through(scene: &mut Scene, split: Split) -> Result<Vec<String>> {
    let (leader, term) = quiet_leader(scene).await?;
    let mut primaries = Vec::new();
    for agent in &split.fenced {
        primaries.push(scene.make_primary(*agent).await?);
    }
    let deciding = scene.coordinators_without(&split.cut_off);
    let cut = Cut::make(&scene.stack, split.flows.clone()).await?;
    let mut seen = Vec::new();
    if split.cut_off.contains(&leader) {
        let (new, later) = scene.leader_among(&deciding, term).await?;
        seen.push(format!("{new} leads term {later} instead of {leader} term {term}"));
    }
    let stood_at = minority_stands(scene, &split).await?;
    let free = scene.agents_without(&split.fenced);
    let majority = scene.side("majority", &deciding, &free)?;
    seen.push(decides(&majority).await?);
    if !split.cut_off.is_empty() {
        seen.push(refuses(scene, &split, &stood_at).await?);
    }
    seen.extend(fences(scene, &split, &primaries).await?);
    view::sees_a_leader(&scene.coordinator_addresses(&deciding)?.join(",")).await?;
    majority.expect_well()?;
    let inner = [split.cut_off, split.fenced].concat();
    seen.push(scene.loses_packets(&cut, &inner).await?);
    drop(majority);
    cut.heal().await?;
    Ok(seen)
}

/// The side with a quorum labels, creates and moves groups.
async fn decides(side: &Side) -> Result<String> {
    wait_until("the majority decides", EFFECT, async || {
        let tally = side.tally();
        let moves =
            ["create", "failover"].iter().filter_map(|kind| tally.acknowledged.get(kind)).sum::<u64>();
        ensure!(tally.decided() >= DECISIONS && moves > 0, "{tally:?}");
        Ok(format!("the majority took {} decisions", tally.decided()))
    })
    .await
}

/// Where the coordinators that are cut off stand, once they know that they decide nothing.
async fn minority_stands(scene: &Scene, split: &Split) -> Result<BTreeMap<u64, u64>> {
    if split.hears_leader { Ok(BTreeMap::new()) } else { scene.cannot_decide(&split.cut_off).await }
}

/// The side without a quorum says so to everybody who asks it, and decides nothing.
async fn refuses(scene: &Scene, split: &Split, stood_at: &BTreeMap<u64, u64>) -> Result<String> {
    let minority = scene.side("minority", &split.cut_off, &scene.stack.agents())?;
    wait_until("the minority refuses", EFFECT, async || {
        let tally = minority.tally();
        ensure!(tally.no_leader >= REFUSALS, "{tally:?}");
        Ok(())
    })
    .await?;
    let mut seen = Vec::new();
    if !split.hears_leader {
        let one = split.cut_off.first().context("somebody is cut off")?;
        seen.push(view::says_that_there_is_no_quorum(&scene.address(*one)?).await?);
        let stand_at = scene.cannot_decide(&split.cut_off).await?;
        ensure!(stand_at == *stood_at, "revisions without a quorum: {stood_at:?} and then {stand_at:?}");
    }
    minority.expect_well()?;
    let tally = minority.tally();
    ensure!(tally.decided() == 0, "the minority decided: {tally:?}");
    seen.push(format!("the minority took none and said {} times that nobody leads", tally.no_leader));
    Ok(seen.join("; "))
}

/// The agents that are cut off act for nothing, and others do instead.
async fn fences(scene: &Scene, split: &Split, primaries: &[Primary]) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    if split.fenced.is_empty() {
        return Ok(seen);
    }
    scene.fenced(&split.fenced).await?;
    let names: Vec<String> = split.fenced.iter().map(ToString::to_string).collect();
    seen.push(format!("{} fenced and read-only", names.join(" and ")));
    for primary in primaries {
        seen.push(scene.moved(primary, &split.fenced).await?);
    }
    Ok(seen)
}
