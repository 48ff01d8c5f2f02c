//! Agents of primaries that are killed, restarted, frozen and cut off.

use super::hold;
use crate::{
    history::find_event,
    leftovers,
    link::Mode,
    probe::boottime_ms,
    storm::{
        proof::Proof,
        scene::{EFFECT, Primary, Scene, is_hooked},
        schedule::Fault,
    },
    wait::wait_until,
};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};

pub(super) async fn pick(scene: &Scene, fault: &Fault) -> Result<Primary> {
    let groups: Vec<&str> = scene.groups.iter().map(String::as_str).collect();
    scene.primary(fault.pick(&groups)).await
}

/// The primary of a group whose agent has hooks: the members of the first one all have.
pub(super) async fn pick_hooked(scene: &Scene, fault: &Fault) -> Result<Primary> {
    let picked = pick(scene, fault).await?;
    if is_hooked(&picked.name()) { Ok(picked) } else { scene.primary(&scene.groups[0]).await }
}

pub(super) async fn kill(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    scene.cluster.agent(old.host).kill()?;
    proof.effect(format!("h{} ended by SIGKILL", old.host));
    proof.effect(scene.moved_from(&old).await?);
    hold(fault).await;
    start_again(scene, &old, proof).await
}

/// The agent ends its roles and has another warden, before anything is done under a later epoch.
pub(super) async fn kill_warden(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick_hooked(scene, fault).await?;
    let state_dir = scene.cluster.state_dir(old.host);
    let [first] = leftovers::wardens(&state_dir)[..] else { bail!("h{} has not one warden", old.host) };
    kill_process(first, Signal::KILL).context("killing a warden")?;
    let later = scene.probe.wait_for_primary(&old.group, EFFECT, |sample| sample.epoch > old.epoch).await?;
    proof.effect(format!("its warden {first:?} was killed, {} acts under epoch {}", later.host, later.epoch));
    hold(fault).await;
    proof.healed(scene.healed());
    let second = wait_until("it has another warden", EFFECT, async || {
        let [second] = leftovers::wardens(&state_dir)[..] else { bail!("there is not one warden") };
        ensure!(second != first, "{first:?} was killed and runs");
        Ok(second)
    })
    .await?;
    proof.end(format!("h{} has warden {second:?}", old.host));
    proof.end(scene.serves_again(&old.name(), &old.group).await?);
    Ok(())
}

pub(super) async fn restart(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    let (leader, _) = scene.leader().await?;
    let revision = scene.cluster.status(leader).await?.revision;
    let process = scene.cluster.agent(old.host);
    process.terminate()?;
    let status = process.ended(EFFECT).await?;
    ensure!(status.success(), "h{} was asked to stop and ended with {status}", old.host);
    proof.effect(scene.moved_from(&old).await?);
    let (leader, _) = scene.leader().await?;
    let events = scene.cluster.history_from(leader, revision + 1).await?;
    let (_, released) = find_event(&events, "PrimaryReleased", &old.group, revision + 1)?;
    proof.effect(format!("h{} ended in order and its release is revision {released}", old.host));
    hold(fault).await;
    start_again(scene, &old, proof).await
}

pub(super) async fn freeze(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    scene.cluster.agent(old.host).pause().await?;
    let frozen = boottime_ms();
    proof.effect(scene.moved_from(&old).await?);
    hold(fault).await;
    let (lasted, lease) = (boottime_ms() - frozen, scene.cluster.plan().timing.lease.lease_ms);
    ensure!(lasted > lease, "it was frozen for {lasted} ms, and T is {lease} ms");
    let state = scene.cluster.agent(old.host).state()?;
    ensure!(state == "T", "h{} was stopped and is in state {state}", old.host);
    proof.effect(format!("h{} is in state {state} after {lasted} ms", old.host));
    let thawed = boottime_ms();
    scene.cluster.agent(old.host).resume().await?;
    proof.healed(scene.healed());
    proof.end(scene.comes_back(&old, thawed).await?);
    Ok(())
}

pub(super) async fn cut(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    let bytes = || scene.ids().into_iter().map(|id| scene.links().agent_bytes(old.host, id)).sum::<u64>();
    set(scene, &old, &scene.ids(), Mode::Silent);
    let at = scene.still("bytes of the agent", bytes).await?;
    proof.effect(scene.fenced(&old).await?);
    proof.effect(scene.moved_from(&old).await?);
    hold(fault).await;
    ensure!(bytes() == at, "{} bytes passed a cut link", bytes() - at);
    proof.effect(format!("its links stand at {at} bytes"));
    let healed = boottime_ms();
    scene.heal_links(proof);
    scene.moves("bytes of the agent", at, bytes).await?;
    proof.end(scene.comes_back(&old, healed).await?);
    Ok(())
}

pub(super) async fn old_leader_only(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let _helm = scene.take_the_helm().await;
    let old = pick(scene, fault).await?;
    let (leader, term) = scene.leader().await?;
    let others = scene.others(leader);
    set(scene, &old, &others, Mode::Silent);
    let to_leader = || scene.links().agent_bytes(old.host, leader);
    let to_others = || others.iter().map(|id| scene.links().agent_bytes(old.host, *id)).sum::<u64>();
    let before = to_leader();
    scene.moves("bytes of the agent to the leader", before, to_leader).await?;
    scene.links().set_around(leader, Mode::Silent);
    let at = scene.still("bytes of the agent to the others", to_others).await?;
    let (next, later) = scene.next_leader(leader, term).await?;
    scene.cannot_decide(leader).await?;
    proof.effect(format!("c{next} leads term {later} instead of c{leader} in {term}"));
    proof.effect(scene.fenced(&old).await?);
    proof.effect(scene.moved_from(&old).await?);
    let spoken = to_leader();
    scene.moves("bytes of the agent to the old leader", spoken, to_leader).await?;
    hold(fault).await;
    ensure!(to_others() == at, "{} bytes passed a cut link", to_others() - at);
    proof.effect(format!("h{} speaks to c{leader} only", old.host));
    let healed = boottime_ms();
    scene.heal_links(proof);
    proof.end(scene.comes_back(&old, healed).await?);
    scene.catches_up(leader).await.context("the old leader")
}

fn set(scene: &Scene, agent: &Primary, coordinators: &[u64], mode: Mode) {
    for id in coordinators {
        scene.links().set_agent(agent.host, *id, mode);
    }
}

async fn start_again(scene: &mut Scene, old: &Primary, proof: &mut Proof) -> Result<()> {
    let started = boottime_ms();
    scene.cluster.agent(old.host).start()?;
    proof.healed(scene.healed());
    proof.end(scene.comes_back(old, started).await?);
    Ok(())
}
