//! Configurations, folders and ports that cannot be used: the process ends and says what to do.

use anyhow::{Context, Result};
use quorate_tests::{Cluster, Plan};
use std::{fs, net::TcpListener, time::Duration};

const ENDS: Duration = Duration::from_secs(20);

/// Starts a process with a changed configuration and expects it to end with this code and to say all of these.
async fn expect_refusal(
    cluster: &Cluster,
    role: &str,
    like: &str,
    change: (&str, &str),
    code: i32,
    says: &[&str],
) -> Result<()> {
    let config = fs::read_to_string(cluster.config_file(like))?;
    let changed = config.replacen(change.0, change.1, 1);
    assert!(change.0 == change.1 || changed != config, "{:?} is not in the configuration", change.0);
    let name = format!("stranger-{}", rand::random::<u32>());
    let mut stranger = cluster.stranger(role, &name, &changed).await?;
    stranger.start()?;
    let status = stranger.ended(ENDS).await.with_context(|| stranger.said().unwrap_or_default())?;
    let said = stranger.said()?;
    assert_eq!(status.code(), Some(code), "{change:?}: {said}");
    for words in says {
        assert!(said.contains(words), "{change:?}: {words:?} is not in: {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_with_the_key_and_the_remedy() -> Result<()> {
    let cluster = Cluster::prepare(Plan::with_agents(1)).await?;
    let coordinator = [
        (("raft.heartbeat_ms =", "raft.heartbeat ="), ["raft.heartbeat", "did you mean `raft.heartbeat_ms`"]),
        (
            ("lease.wait_ms = 2700", "lease.wait_ms = 2000"),
            ["lease.wait_ms", "raise lease.wait_ms to at least"],
        ),
        (("listen.api = \"", "listen.api = \"nonsense "), ["listen.api", "host:port"]),
        (("node.id = 1", "node.id = 0"), ["node.id", "1"]),
        (("data_dir = ", "# data_dir = "), ["data_dir", "this key is required"]),
    ];
    for (change, says) in coordinator {
        expect_refusal(&cluster, "coordinator", "c1", change, 2, &says).await?;
    }
    let agent = [
        (("host.zone = ", "host.zona = "), ["host.zona", "did you mean `host.zone`"]),
        (("host.id = \"h1\"", "host.id = \"no spaces please\""), ["host.id", "characters"]),
    ];
    for (change, says) in agent {
        expect_refusal(&cluster, "agent", "h1", change, 2, &says).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_in_use_or_belongs_to_another_is_refused() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let same = ("", "");
    let in_use = ["data_dir", "in use by another process", "a folder of its own"];
    expect_refusal(&cluster, "coordinator", "c1", same, 1, &in_use).await?;
    let another_port = (":7402\"", ":7403\"");
    expect_refusal(&cluster, "agent", "h1", another_port, 1, &["h1-state", "in use"]).await?;

    cluster.coordinator(1).kill()?;
    let other = ("cluster.id = \"test\"", "cluster.id = \"other\"");
    let says = ["belongs to cluster.id test, not other", "point data_dir at this node's own folder"];
    expect_refusal(&cluster, "coordinator", "c1", other, 1, &says).await?;
    let other = ("node.id = 1", "node.id = 2");
    let says = ["belongs to node.id 1, not 2", "correct node.id"];
    expect_refusal(&cluster, "coordinator", "c1", other, 1, &says).await?;
    cluster.coordinator(1).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_dir_that_cannot_be_opened_is_named_with_what_to_do() -> Result<()> {
    let cluster = Cluster::prepare(Plan::with_agents(1)).await?;
    let root = cluster.root();
    let (file, link, with_lock) = (root.join("a-file"), root.join("a-link"), root.join("with-lock"));
    fs::write(&file, "")?;
    std::os::unix::fs::symlink(root.join("nowhere/at/all"), &link)?;
    fs::create_dir_all(with_lock.join("lock"))?;
    let before = format!("data_dir = '{}'", cluster.data_dir(1).display());
    for (folder, says) in [
        (file.clone(), "a file stands where a folder belongs"),
        (file.join("below"), "a file stands where a folder belongs"),
        (with_lock, "a folder stands where a file belongs"),
        ("/proc/no/such/place".into(), "its path leads nowhere"),
        (link, "correct data_dir"),
    ] {
        let now = format!("data_dir = '{}'", folder.display());
        let named = format!("data_dir {}", folder.display());
        expect_refusal(&cluster, "coordinator", "c1", (&before, &now), 1, &[&named, says]).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_key() -> Result<()> {
    let mut cluster = Cluster::prepare(Plan { coordinators: 1, ..Plan::with_agents(1) }).await?;
    for (role, name, key) in
        [("coordinator", "c1", "listen.peer"), ("coordinator", "c1", "listen.api"), ("agent", "h1", "listen")]
    {
        let config = fs::read_to_string(cluster.config_file(name))?;
        let line = config.lines().find(|line| line.starts_with(&format!("{key} = ")));
        let address = line.and_then(|line| line.split('"').nth(1)).context("no such key")?;
        let held = TcpListener::bind(address)?;
        expect_refusal(&cluster, role, name, ("", ""), 1, &[key, address, "port"]).await?;
        drop(held);
    }
    cluster.coordinator(1).start()?;
    cluster.leader().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_other_than_the_one_on_record_is_named_and_an_election_too_long_for_it_is_refused()
-> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let file = cluster.config_file("c1");
    let config = fs::read_to_string(&file)?;
    cluster.wait_for_equal_states().await?;
    cluster.coordinator(1).terminate()?;
    cluster.coordinator(1).ended(ENDS).await?;

    // Safe by the configuration, and by nothing else.
    let long = config.replacen("lease.lease_ms = 2000", "lease.lease_ms = 20000", 1).replacen(
        "lease.wait_ms = 2700",
        "lease.wait_ms = 30000",
        1,
    );
    assert!(long.contains("lease.lease_ms = 20000") && long.contains("lease.wait_ms = 30000"), "{config}");
    let slow = long.replacen("raft.election_max_ms = 300", "raft.election_max_ms = 5000", 1);
    assert_ne!(slow, long);
    fs::write(&file, slow)?;
    cluster.coordinator(1).start()?;
    let status = cluster.coordinator(1).ended(ENDS).await?;
    let said = cluster.coordinator(1).said()?;
    assert_eq!(status.code(), Some(1), "{said}");
    for words in ["raft.election_max_ms: 5000 ms is too long for the lease", "lower it to at most 800"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }

    fs::write(&file, long)?;
    cluster.coordinator(1).start()?;
    cluster.wait_for_equal_states().await?;
    let warnings = cluster.status(1).await?.warnings;
    let said = cluster.coordinator(1).said()?;
    for words in ["lease.lease_ms is 20000 and on record 2000", "lease.wait_ms is 30000 and on record 2700"] {
        assert!(
            warnings.iter().any(|warning| warning.text.contains(words)),
            "{words:?} is not in: {warnings:?}"
        );
        assert!(said.contains(words), "{words:?} is not in the log");
    }
    let others = cluster.status(2).await?.warnings;
    assert!(!others.iter().any(|warning| warning.text.contains("on record")), "{others:?}");
    cluster.finish().await
}
