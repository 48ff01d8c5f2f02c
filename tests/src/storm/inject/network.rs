//! Links between coordinators that lose, delay, reset and forget.

use super::hold;
use crate::{
    cluster::crosses,
    link::Mode,
    storm::{
        command::label,
        proof::Proof,
        scene::{EFFECT, Scene},
        schedule::Fault,
    },
    wait::wait_until,
};
use anyhow::{Result, ensure};
use quorate_rpc::client::new_request_id;
use std::time::{Duration, Instant};

/// Operations that show that the others go on.
const GO_ON: u64 = 20;
/// What slow links take, each way: with the answer still less than a heartbeat interval of the test clusters.
const SLOW: Duration = Duration::from_millis(15);
/// Writes of which the fastest is measured.
const MEASURED: usize = 5;
const FLAPS: u32 = 6;

/// What is said between two sides.
type Sides = (Vec<u64>, Vec<u64>);

fn around(scene: &Scene, id: u64) -> Sides {
    (vec![id], scene.others(id))
}

fn bytes(scene: &Scene, (left, right): &Sides) -> u64 {
    scene.links().peer_bytes(|from, to| crosses(left, right, from, to))
}

/// Cuts two sides off each other and sees their bytes stand still; how many there are then.
async fn cut(scene: &Scene, sides: &Sides, mode: Mode) -> Result<u64> {
    scene.links().set_between(&sides.0, &sides.1, mode);
    scene.still("bytes of the cut links", || bytes(scene, sides)).await
}

/// Holds the cut, in which nothing passed, and heals it; then something passes.
async fn end_of_cut(scene: &Scene, sides: &Sides, at: u64, fault: &Fault, proof: &mut Proof) -> Result<()> {
    hold(fault).await;
    let now = bytes(scene, sides);
    ensure!(now == at, "{} bytes passed a cut link", now - at);
    proof.effect(format!("the links {:?}-{:?} stand at {at} bytes", sides.0, sides.1));
    scene.heal_links(proof);
    scene.moves("bytes of the healed links", at, || bytes(scene, sides)).await?;
    proof.end("bytes pass again");
    Ok(())
}

/// Another leader is elected, and the old one knows that it decides nothing.
async fn deposed(scene: &Scene, old: u64, term: u64, proof: &mut Proof) -> Result<()> {
    let (next, later) = scene.next_leader(old, term).await?;
    scene.cannot_decide(old).await?;
    scene.acknowledges(GO_ON).await?;
    proof.effect(format!("c{next} leads term {later} instead of c{old} in {term}, which decides nothing"));
    Ok(())
}

async fn caught_up(scene: &Scene, id: u64, proof: &mut Proof) -> Result<()> {
    scene.catches_up(id).await?;
    proof.end(format!("c{id} has caught up"));
    Ok(())
}

pub(super) async fn cut_leader(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, term) = scene.leader().await?;
    let sides = around(scene, old);
    let at = cut(scene, &sides, Mode::Silent).await?;
    deposed(scene, old, term, proof).await?;
    end_of_cut(scene, &sides, at, fault, proof).await?;
    caught_up(scene, old, proof).await
}

/// One of three, or two of five: by the draw with the leader, where that leaves a minority of more than itself.
pub(super) async fn cut_minority(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (leader, term) = scene.leader().await?;
    let others = scene.others(leader);
    let first = fault.pick(&others);
    let mut minority = vec![first];
    if others.len() >= 4 {
        let second = others.iter().copied().find(|id| *id != first).unwrap_or(leader);
        minority.push(if fault.target.is_multiple_of(2) { leader } else { second });
    }
    let majority: Vec<u64> = scene.ids().into_iter().filter(|id| !minority.contains(id)).collect();
    let sides = (minority.clone(), majority);
    let at = cut(scene, &sides, Mode::Silent).await?;
    if minority.contains(&leader) {
        deposed(scene, leader, term, proof).await?;
    } else {
        scene.acknowledges(GO_ON).await?;
        proof.effect("the majority goes on");
    }
    end_of_cut(scene, &sides, at, fault, proof).await?;
    for id in minority {
        caught_up(scene, id, proof).await?;
    }
    Ok(())
}

/// What goes one way is lost; what goes the other way arrives.
async fn one_way(scene: &Scene, old: u64, out: bool, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (_, term) = scene.leader().await?;
    let lost = |from: u64, to: u64| if out { from == old } else { to == old };
    let kept = |from: u64, to: u64| lost(to, from);
    scene.links().set_peers(Mode::Silent, lost);
    let count = || scene.links().peer_bytes(lost);
    let at = scene.still("bytes of the lost way", count).await?;
    let other_way = scene.links().peer_bytes(kept);
    deposed(scene, old, term, proof).await?;
    hold(fault).await;
    ensure!(count() == at, "{} bytes passed the lost way", count() - at);
    let came = scene.links().peer_bytes(kept) - other_way;
    ensure!(came > 0, "nothing passed the other way");
    proof.effect(format!("one way stands at {at} bytes, the other passed {came}"));
    scene.heal_links(proof);
    scene.moves("bytes of the lost way", at, count).await?;
    proof.end("bytes pass again");
    caught_up(scene, old, proof).await
}

pub(super) async fn deaf_peers(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, _) = scene.leader().await?;
    one_way(scene, old, true, fault, proof).await
}

pub(super) async fn deaf_leader(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, _) = scene.leader().await?;
    one_way(scene, old, false, fault, proof).await
}

pub(super) async fn bridge(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (leader, _) = scene.leader().await?;
    let mut others = scene.others(leader);
    let turn = usize::try_from(fault.target % others.len() as u64)?;
    others.rotate_left(turn);
    let middle = others.pop().unwrap_or(leader);
    let right = others.split_off(others.len() / 2);
    let left: Vec<u64> = others.into_iter().chain([leader]).collect();
    let sides = (left.clone(), right.clone());
    let at = cut(scene, &sides, Mode::Silent).await?;
    let over = [(vec![middle], left), (vec![middle], right)];
    let before: Vec<u64> = over.iter().map(|sides| bytes(scene, sides)).collect();
    scene.acknowledges(GO_ON).await?;
    for (sides, before) in over.iter().zip(before) {
        scene.moves("bytes over the bridge", before, || bytes(scene, sides)).await?;
    }
    proof.effect(format!("c{middle} hears both sides, and operations are acknowledged"));
    end_of_cut(scene, &sides, at, fault, proof).await?;
    for id in sides.1 {
        caught_up(scene, id, proof).await?;
    }
    Ok(())
}

pub(super) async fn slow_links(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let round = SLOW * 2;
    scene.links().set_peers(Mode::Delayed(SLOW), |_, _| true);
    // What the clients had under way when the links became slow is faster.
    scene.acknowledges(GO_ON).await?;
    let fastest = fastest_write(scene).await?;
    ensure!(fastest >= round, "a write took {fastest:?} over links that take {round:?}");
    hold(fault).await;
    proof.effect(format!("the fastest of {MEASURED} writes took {fastest:?}"));
    scene.heal_links(proof);
    let fastest = wait_until("writes are as fast as ever", EFFECT, async || {
        let fastest = fastest_write(scene).await?;
        ensure!(fastest < round, "the fastest took {fastest:?}");
        Ok(fastest)
    })
    .await?;
    proof.end(format!("the fastest took {fastest:?}"));
    Ok(())
}

async fn fastest_write(scene: &Scene) -> Result<Duration> {
    let mut fastest = Duration::MAX;
    for number in 0..MEASURED {
        let request = label(&new_request_id(), &scene.groups[0], "measured", &number.to_string());
        let sent = Instant::now();
        scene.cluster.client().set_group_labels(request).await?;
        fastest = fastest.min(sent.elapsed());
    }
    Ok(fastest)
}

pub(super) async fn dropped_connections(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, term) = scene.leader().await?;
    let sides = around(scene, old);
    let closed = scene.links().closed_connections();
    let at = cut(scene, &sides, Mode::Closed).await?;
    deposed(scene, old, term, proof).await?;
    let closed = scene.links().closed_connections() - closed;
    ensure!(closed >= sides.1.len() as u64, "only {closed} connections were reset");
    proof.effect(format!("{closed} connections were reset"));
    end_of_cut(scene, &sides, at, fault, proof).await?;
    caught_up(scene, old, proof).await
}

/// Of the leader's connections or, by the draw, of all between coordinators, as when a firewall forgets what it knew.
pub(super) async fn half_open_connections(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, term) = scene.leader().await?;
    let all = fault.target.is_multiple_of(2);
    let (half_opened, given_up) =
        (scene.links().half_opened_connections(), scene.links().given_up_connections());
    let sides = if all { (scene.ids(), scene.ids()) } else { around(scene, old) };
    let at = cut(scene, &sides, Mode::HalfOpen).await?;
    if all {
        scene.cannot_decide(old).await?;
        proof.effect(format!("c{old} decides nothing"));
    } else {
        deposed(scene, old, term, proof).await?;
    }
    let half_opened = scene.links().half_opened_connections() - half_opened;
    let least = sides.1.len() as u64 - u64::from(all);
    ensure!(half_opened >= least, "only {half_opened} connections were left half open");
    proof.effect(format!("{half_opened} connections are half open"));
    end_of_cut(scene, &sides, at, fault, proof).await?;
    scene.moves("connections that are given up", given_up, || scene.links().given_up_connections()).await?;
    scene.leader().await?;
    proof.end("dead connections are given up");
    caught_up(scene, old, proof).await
}

pub(super) async fn flapping_links(scene: &mut Scene, fault: &Fault, proof: &mut Proof) -> Result<()> {
    let (old, _) = scene.leader().await?;
    let sides = around(scene, old);
    for _ in 0..FLAPS {
        let at = cut(scene, &sides, Mode::Silent).await?;
        tokio::time::sleep(fault.hold / 2).await;
        ensure!(bytes(scene, &sides) == at, "something passed a cut link");
        scene.heal_links(proof);
        scene.moves("bytes of the flapping links", at, || bytes(scene, &sides)).await?;
        tokio::time::sleep(fault.hold / 4).await;
    }
    proof.effect(format!("the links of c{old} fell silent and came back {FLAPS} times"));
    scene.leader().await?;
    caught_up(scene, old, proof).await
}
