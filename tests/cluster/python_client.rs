//! The example of docs/client.md, in a language that has no code of ours, with a leader killed in the middle.

use anyhow::{Result, ensure};
use quorate_tests::{Cluster, Plan, example};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_only_reflection_comes_through_the_death_of_the_leader() -> Result<()> {
    let Some(python) = example::interpreter()? else { return Ok(()) };
    let mut cluster = Cluster::start(Plan::with_agents(3)).await?;
    let probe = cluster.probe()?;
    let endpoints: Vec<String> = (1..=3).map(|id| cluster.api_address(id)).collect();
    let hosts = ["h1", "h2", "h3"].map(str::to_owned);
    let kill = async |leader| {
        ensure!(leader == cluster.leader().await?, "another coordinator leads");
        cluster.coordinator(leader).kill()
    };
    let outcome = example::through_a_change_of_leader(&python, &endpoints, "g", &hosts, &probe, kill).await?;
    // For `--nocapture`: it is the run that docs/client.md shows.
    outcome.said.iter().for_each(|line| println!("{line}"));

    cluster.coordinator(outcome.leader).start()?;
    cluster.wait_for_equal_states().await?;
    outcome.is_on_record(&cluster.history(cluster.leader().await?).await?)?;
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}
