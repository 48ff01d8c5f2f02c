//! A host comes back under its id with an empty state folder and an empty disk: it holds no copy of anything.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{
    control::{AcceptGroupMemberRequest, GetHostRequest},
    types::{GroupPhase, HostStatus},
};
use quorate_tests::{Cluster, Plan, history::find_event, wait_until};
use std::{fs, time::Duration};

const SERVED: Duration = Duration::from_secs(30);

async fn status(cluster: &Cluster, host: &str) -> Result<HostStatus> {
    let request = GetHostRequest { host: host.into(), ..Default::default() };
    Ok(cluster.client().get_host(request).await?.host.context("no host")?.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_blank_disk_is_not_promoted_before_an_operator_accepts_it() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    let first = cluster.wait_for_active("g", SERVED).await?;

    cluster.agent(2).kill()?;
    let (state, disk) = (cluster.root().join("h2-state"), cluster.disk(2));
    for folder in [&state, &disk] {
        fs::remove_dir_all(folder).and_then(|()| fs::create_dir(folder)).context("emptying a folder")?;
    }
    let before = cluster.status(cluster.leader().await?).await?.revision;
    cluster.agent(2).start()?;
    let leader = cluster.leader().await?;
    wait_until("the replacement is on record", SERVED, async || {
        find_event(&cluster.history_from(leader, before).await?, "DiskConfirmed", "", before).map(|_| ())
    })
    .await?;
    wait_until("h2 is online", SERVED, async || {
        ensure!(status(&cluster, "h2").await? == HostStatus::Online);
        Ok(())
    })
    .await?;

    cluster.agent(1).kill()?;
    let blocked = wait_until("nobody can take over, and it says why", SERVED, async || {
        let group = cluster.group("g").await?;
        let why = group.blocked_reasons.join("; ");
        ensure!(why.contains("quorate group member accept g h2"), "{group:?}");
        Ok(group)
    })
    .await?;
    assert_eq!((blocked.epoch, blocked.phase()), (first.epoch, GroupPhase::Revoked));
    let accepted: Vec<_> =
        blocked.members.iter().map(|member| (member.host.as_str(), member.accepted)).collect();
    assert_eq!(accepted, [("h1", true), ("h2", false)]);

    let reason = "restored from a backup".to_owned();
    let accept =
        AcceptGroupMemberRequest { group: "g".into(), host: "h2".into(), reason, ..Default::default() };
    cluster.client().accept_group_member(accept).await?;
    let served = cluster.wait_for_active("g", SERVED).await?;
    assert_eq!((served.epoch, served.primary.context("a primary")?.host.as_str()), (first.epoch + 1, "h2"));
    let history = cluster.history_from(leader, before).await?;
    find_event(&history, "DiskReplaced", "", before)?;
    find_event(&history, "MemberAccepted", "g", before)?;
    cluster.finish().await
}
