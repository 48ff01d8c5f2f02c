//! Three coordinators become five, and three of them are left that are not those that began, while clients write.

use crate::{
    compose::{
        scene::{EFFECT, Scene, coordinator_id},
        stack::{Node, mountpoint},
    },
    wait::wait_until,
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// The compose file has them in its profile `five`; they are configured with the three others as members.
const NEWCOMERS: [Node; 2] = [Node::Coordinator(4), Node::Coordinator(5)];
/// What one says that is not among its configured members: what it waits for.
const WAITS: &str = "waiting to be added with `quorate member add`";
/// What the last words of one that was removed must name: why, and the remedy.
const REMOVED: &str = "was removed from the cluster";
const REMEDY: &str = "under a new node id with an empty data_dir and `quorate member add`";

/// The two others of the compose file are added and promoted; then two of the first three are removed, the leader last.
pub(super) async fn three_to_five_to_three(scene: &mut Scene) -> Result<Vec<String>> {
    let first = voters(scene).await?;
    ensure!(first == [1, 2, 3], "voters to begin with: {first:?}");
    let phase = Phase::begin(scene);
    for node in NEWCOMERS {
        start_newcomer(scene, node).await?;
        add_and_promote(scene, node).await?;
    }
    let five = voters(scene).await?;
    ensure!(five == [1, 2, 3, 4, 5], "voters after both were promoted: {five:?}");
    let mut seen = vec![format!("voters {first:?} -> {five:?} {}", phase.end(scene)?)];
    seen.push(format!("newcomers NOT_SERVING until added; {}", agents_know(scene).await?));

    let phase = Phase::begin(scene);
    let (leader, _) = first_leader(scene).await?;
    let follower = scene.coordinators_without(&[&[leader], &NEWCOMERS[..]].concat());
    let follower = *follower.first().context("the leader has followers")?;
    seen.push(remove(scene, follower).await?);
    // Another one may lead by now.
    let (leader, term) = first_leader(scene).await?;
    seen.push(remove(scene, leader).await?);
    let (new, later) = scene.leader_among(&scene.stack.coordinators(), term).await?;
    let three = voters(scene).await?;
    let left: Vec<u64> = scene.stack.coordinators().into_iter().filter_map(coordinator_id).collect();
    ensure!(
        three == left && three.len() == 3 && three != first,
        "voters in the end: {three:?}, not {left:?}"
    );
    seen.push(format!("voters {five:?} -> {three:?} {}", phase.end(scene)?));
    seen.push(format!("{new} leads term {later} instead of {leader} term {term}"));
    seen.push(agents_know(scene).await?);
    Ok(seen)
}

/// What clients got decided during a part of the change, and how long that took.
struct Phase {
    began: Instant,
    decided: u64,
}

impl Phase {
    fn begin(scene: &Scene) -> Self {
        Self { began: Instant::now(), decided: scene.everybody.tally().decided() }
    }

    fn end(self, scene: &Scene) -> Result<String> {
        let decided = scene.everybody.tally().decided() - self.decided;
        ensure!(decided > 0, "nothing was decided while the members changed: {:?}", scene.everybody.tally());
        Ok(format!("in {:.1} s with {decided} acknowledged decisions", self.began.elapsed().as_secs_f64()))
    }
}

/// It is started as an operator would, says that it waits, and serves nobody.
async fn start_newcomer(scene: &Scene, node: Node) -> Result<()> {
    scene.stack.start(&[node]).await?;
    scene.stack.says(node, WAITS).await?;
    let checked = scene.stack.healthcheck(node).await?;
    let waits = checked.code == Some(1)
        && checked.stderr.contains("NOT_SERVING")
        && checked.stderr.contains("member add");
    ensure!(waits, "{node} waits to be added, and its health check says {checked:?}");
    let container = scene.stack.container(node).await?;
    ensure!(container.status == "running" && container.health != "healthy", "{container:?}");
    Ok(())
}

async fn add_and_promote(scene: &mut Scene, node: Node) -> Result<()> {
    let id = id(node)?;
    let (api, peer) = (format!("{node}:7401"), format!("{node}:7400"));
    member(scene, &["add", &id, "--api", &api, "--peer", &peer, "--wait"]).await?;
    member(scene, &["promote", &id, "--wait"]).await?;
    scene.stack.joined(node);
    scene.find_again().await?;
    scene.stack.checked(node, 0).await.context("once it votes")?;
    Ok(())
}

/// Removes a member and proves that it ends and is refused whenever the engine starts it; then its container goes, as the
/// runbook says.
async fn remove(scene: &mut Scene, node: Node) -> Result<String> {
    let before = scene.stack.container(node).await?.restarts;
    let began = Instant::now();
    member(scene, &["remove", &id(node)?, "--wait"]).await?;
    let seconds = began.elapsed().as_secs_f64();
    scene.stack.left(node);
    scene.find_again().await?;
    let times = refused_again(scene, node, before).await?;
    let words = scene.stack.ends_saying(node, REMOVED).await?;
    ensure!(words.contains(REMEDY), "no remedy: {words}");
    scene.stack.compose(&["--profile", "five", "rm", "--stop", "--force", &node.to_string()]).await?;
    let (_, why) = words.split_once("refuses this one: ").unwrap_or(("", &words));
    Ok(format!(
        "{node} removed in {seconds:.1} s, started again NOT_SERVING, ended with 1 {times} times, last words: {why:?}"
    ))
}

/// The engine starts it again and it ends again, at least twice; it never serves, and says so while it runs.
async fn refused_again(scene: &Scene, node: Node, before: u64) -> Result<u64> {
    let mut not_serving = 0;
    let outcome = wait_until(&format!("{node} is refused again"), EFFECT, async || {
        let now = scene.stack.container(node).await?;
        // Until its first end it may have heard of a leader a moment ago.
        ensure!(now.restarts > before, "it goes on: {now:?}");
        let checked = scene.stack.healthcheck(node).await?;
        let serves = checked.code == Some(0) || (now.status == "running" && now.health == "healthy");
        if serves {
            return Ok(Err(format!("{checked:?}, {now:?}")));
        }
        not_serving += u64::from(checked.stderr.contains("NOT_SERVING"));
        let ended = now.restarts - before;
        ensure!(
            ended > 1 && now.exit_code == 1 && not_serving > 0,
            "{ended} times so far; {checked:?}, {now:?}"
        );
        Ok(Ok(ended))
    })
    .await?;
    outcome.map_err(|healthy| anyhow::anyhow!("{node} was removed, and is called healthy: {healthy}"))
}

/// Who of the first three leads. A newcomer that was elected meanwhile stands still until somebody else leads.
async fn first_leader(scene: &Scene) -> Result<(Node, u64)> {
    wait_until("one of the first three leads", Duration::from_mins(1), async || {
        let (leader, term) = scene.leader().await?;
        if !NEWCOMERS.contains(&leader) {
            return Ok((leader, term));
        }
        scene.stack.pause(leader).await?;
        let others = scene.coordinators_without(&[leader]);
        let new = scene.leader_among(&others, term).await;
        scene.stack.unpause(leader).await?;
        bail!("{leader} led, and then {new:?}")
    })
    .await
}

/// Every agent keeps where the present coordinators are, and them only.
async fn agents_know(scene: &Scene) -> Result<String> {
    let present: BTreeSet<String> =
        scene.stack.coordinators().iter().map(|node| format!("{node}:{}", node.port())).collect();
    let began = Instant::now();
    let agents = scene.stack.agents();
    for agent in &agents {
        let volume = agent.volumes().into_iter().next().context("an agent has a state folder")?;
        let folder = mountpoint(&volume).await?;
        wait_until(&format!("{agent} knows {present:?}"), EFFECT, async || {
            let known = coordinators_kept(&folder)?;
            ensure!(known == present, "it keeps {known:?}");
            Ok(())
        })
        .await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!(
        "{} agents keep the {} present coordinators after {seconds:.1} s",
        agents.len(),
        present.len()
    ))
}

/// The addresses in an agent's state folder: a head line, and then a document.
fn coordinators_kept(folder: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(folder.join("identity.json")).context("the agent's identity")?;
    let (_head, document) = text.split_once('\n').context("a head line")?;
    let document: Value = serde_json::from_str(document).context("the agent's identity")?;
    let kept = document["coordinators"].as_array().context("it knows none")?;
    Ok(kept.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// `quorate member`, run as an operator would in the container of a coordinator that stays.
async fn member(scene: &Scene, words: &[&str]) -> Result<String> {
    let desk = scene.stack.coordinators().pop().context("there are coordinators")?;
    let said = scene.stack.exec(desk, &[&["quorate", "member"], words].concat()).await?;
    ensure!(said.code == Some(0), "`quorate member {}` in {desk}: {said:?}", words.join(" "));
    Ok(said.stdout)
}

/// Who votes, as `quorate member list` says.
async fn voters(scene: &Scene) -> Result<Vec<u64>> {
    let told = member(scene, &["list", "-o", "json"]).await?;
    let told: Value = serde_json::from_str(&told).with_context(|| format!("member list: {told}"))?;
    let members = told["members"].as_array().with_context(|| format!("no list of members: {told}"))?;
    let voting = members.iter().filter(|member| member["voter"] == true);
    voting.map(|member| member["id"].as_u64().with_context(|| format!("no id: {member}"))).collect()
}

fn id(node: Node) -> Result<String> {
    coordinator_id(node).map(|id| id.to_string()).with_context(|| format!("{node} is no coordinator"))
}
