//! What happens to the containers, one after the other.

mod address;
mod client;
mod cuts;
mod members;
mod processes;
mod wiped;

use super::{figures, scene::Scene};
use anyhow::Result;
use std::pin::Pin;

/// What was seen of the fault.
type Seen<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>>> + 'a>>;

/// Something that happens to a stack; when it returns, nothing is in the way any more.
pub(super) struct Scenario {
    /// For people, and to choose it by.
    pub(super) name: &'static str,
    /// How many there are: 3 or 5.
    pub(super) coordinators: u64,
    pub(super) run: for<'a> fn(&'a mut Scene) -> Seen<'a>,
}

/// In this order; the first ones want a stack on which nothing has happened yet, and the change of members leaves others
/// than there were.
pub(super) const SCENARIOS: [Scenario; 17] = [
    Scenario { name: "idle figures", coordinators: 3, run: |scene| Box::pin(idle(scene)) },
    Scenario { name: "client in Python", coordinators: 3, run: |scene| Box::pin(client::in_python(scene)) },
    Scenario { name: "leader cut off", coordinators: 3, run: |scene| Box::pin(cuts::leader(scene)) },
    Scenario { name: "agent cut off", coordinators: 3, run: |scene| Box::pin(cuts::agent(scene)) },
    Scenario {
        name: "leader is not heard",
        coordinators: 3,
        run: |scene| Box::pin(cuts::mute_leader(scene)),
    },
    Scenario {
        name: "leader hears nothing",
        coordinators: 3,
        run: |scene| Box::pin(cuts::deaf_leader(scene)),
    },
    Scenario { name: "agent hears nothing", coordinators: 3, run: |scene| Box::pin(cuts::deaf_agent(scene)) },
    Scenario { name: "leader paused", coordinators: 3, run: |scene| Box::pin(processes::paused(scene)) },
    Scenario { name: "leader killed", coordinators: 3, run: |scene| Box::pin(processes::killed(scene)) },
    Scenario { name: "other address", coordinators: 3, run: |scene| Box::pin(address::changed(scene)) },
    Scenario {
        name: "rolling re-creation",
        coordinators: 3,
        run: |scene| Box::pin(processes::rolling(scene)),
    },
    Scenario { name: "volume wiped", coordinators: 3, run: |scene| Box::pin(wiped::refused(scene)) },
    Scenario {
        name: "three to five to three",
        coordinators: 3,
        run: |scene| Box::pin(members::three_to_five_to_three(scene)),
    },
    Scenario { name: "idle figures", coordinators: 5, run: |scene| Box::pin(idle(scene)) },
    Scenario { name: "minority cut off", coordinators: 5, run: |scene| Box::pin(cuts::minority(scene)) },
    Scenario { name: "bridge", coordinators: 5, run: |scene| Box::pin(cuts::bridge(scene)) },
    Scenario {
        name: "bridge to the leader",
        coordinators: 5,
        run: |scene| Box::pin(cuts::bridge_to_leader(scene)),
    },
];

/// What a stack costs that nobody asks for anything but its own health checks.
async fn idle(scene: &mut Scene) -> Result<Vec<String>> {
    scene.leave_alone();
    let calm = scene.everybody.calm().await;
    let figures = figures::idle(&scene.stack).await?;
    drop(calm);
    scene.find_again().await?;
    Ok(vec![figures])
}
