//! A client that has no code of ours and reaches the coordinators by the ports that the compose file publishes.

use crate::{
    compose::{
        SKIPPED,
        scene::{Scene, host_of},
        stack::Node,
    },
    example,
    history::history_from,
};
use anyhow::{Context, Result};
use quorate_rpc::pb::control::DeleteGroupRequest;

const GROUP: &str = "example";

/// The example of docs/client.md on the machine that runs the containers. In the middle of a failover the leader stands
/// still, which no connection tells: deadlines and pings do. Hints name coordinators as they know each other, and lead
/// nowhere from there.
pub(super) async fn in_python(scene: &mut Scene) -> Result<Vec<String>> {
    let Some(python) = example::interpreter()? else {
        return Ok(vec![format!("{SKIPPED}: no Python")]);
    };
    let endpoints: Vec<String> = scene.stack.coordinators().into_iter().filter_map(Node::published).collect();
    let hosts: Vec<String> = scene.stack.agents().into_iter().map(host_of).collect();
    let pause = async |leader| scene.stack.pause(Node::Coordinator(leader)).await;
    let outcome =
        example::through_a_change_of_leader(&python, &endpoints, GROUP, &hosts, &scene.probe, pause).await?;
    let leader = Node::Coordinator(outcome.leader);
    scene.stack.unpause(leader).await?;
    let next = scene.address(Node::Coordinator(outcome.next))?;
    outcome.is_on_record(&history_from(&next, 0).await?)?;
    let request = DeleteGroupRequest { group: GROUP.to_owned(), ..Default::default() };
    scene.client()?.delete_group(request).await.context("the example's group")?;
    let last = outcome.said.last().context("the example said nothing")?;
    Ok(vec![format!(
        "{leader} paused, coordinator-{} leads; the client at {} says {last:?}",
        outcome.next,
        endpoints.join(",")
    )])
}
