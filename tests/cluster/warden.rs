//! A service that never asks ends with its lease, whatever became of its agent: killed, stopped, held up by its own log,
//! or without its warden. What the services of two hosts write stands in one file, in the order in which it was written.

use anyhow::{Context, Result, ensure};
use quorate_tests::{Cluster, Plan, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    time::Duration,
};

pub(crate) const SERVED: Duration = Duration::from_secs(30);
/// What a demotion may take: D has room for it.
const DEMOTE_MS: u64 = 200;

/// How the demote hook of a test behaves.
pub(crate) const FAILS: &str = "exit 1";
const HANGS: &str = "sleep 600";

/// Two hosts whose services write their epoch every 10 ms, listen to no signal and have daemonised themselves; group `g`
/// is served by h1.
pub(crate) async fn served(demote: &str, cgroups: bool) -> Result<(Cluster, u64)> {
    let mut cluster = Cluster::prepare(Plan::with_agents(2)).await?;
    write_hooks(&cluster, demote, cgroups)?;
    cluster.start_all().await?;
    cluster.create_group("g", &[1, 2]).await?;
    let epoch = cluster.wait_for_active("g", SERVED).await?.epoch;
    wait_for_epoch(&cluster, |last| last == epoch).await?;
    wait_until("the warden has seen that the service runs below its hook", SERVED, async || {
        let record = fs::read_to_string(cluster.root().join("h1-state/warden/g.json"))?;
        ensure!(record.contains("\"seen\":true"), "{record}");
        Ok(())
    })
    .await?;
    Ok((cluster, epoch))
}

fn write_hooks(cluster: &Cluster, demote: &str, cgroups: bool) -> Result<()> {
    let service = script(
        cluster,
        "service",
        &format!(
            "trap '' TERM HUP INT\nwhile :; do echo \"$1\" >> {}; sleep 0.01; done",
            writes(cluster).display()
        ),
    )?;
    let start = format!("(setsid {} \"$QUORATE_EPOCH\" >/dev/null 2>&1 &)", service.display());
    let promote = script(cluster, "promote", &start)?;
    let demote = script(cluster, "demote", demote)?;
    let hooks = format!(
        "hooks.on_promote = '{}'\nhooks.on_demote = '{}'\nhooks.demote_timeout_ms = {DEMOTE_MS}\nwarden.cgroups = {cgroups}\n",
        promote.display(),
        demote.display(),
    );
    ["h1", "h2"].into_iter().try_for_each(|host| cluster.configure(host, &hooks))
}

fn script(cluster: &Cluster, name: &str, body: &str) -> Result<PathBuf> {
    let path = cluster.root().join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// What demote hooks do from now on; one that runs goes on as it was.
pub(crate) fn write_demote(cluster: &Cluster, body: &str) -> Result<()> {
    let new = script(cluster, "demote.new", body)?;
    fs::rename(new, cluster.root().join("demote")).context("could not change the demote hook")
}

fn writes(cluster: &Cluster) -> PathBuf {
    cluster.root().join("writes")
}

/// The epochs that were written, in their order.
pub(crate) fn epochs(cluster: &Cluster) -> Result<Vec<u64>> {
    let text = fs::read_to_string(writes(cluster)).unwrap_or_default();
    text.lines().map(|line| line.parse().with_context(|| format!("{line:?} is no epoch"))).collect()
}

pub(crate) async fn wait_for_epoch(cluster: &Cluster, wanted: impl Fn(u64) -> bool) -> Result<u64> {
    wait_until("a service writes under the epoch", SERVED, async || {
        let last = epochs(cluster)?.last().copied().context("nothing was written yet")?;
        ensure!(wanted(last), "epoch {last} was written last");
        Ok(last)
    })
    .await
}

/// The next primary has written a hundred times, and no service of an epoch before did after its first.
pub(crate) async fn follows_without_overlap(cluster: &Cluster, before: u64) -> Result<()> {
    let next = wait_for_epoch(cluster, |last| last > before).await?;
    wait_until("the next one has written a while", SERVED, async || {
        let of_next = epochs(cluster)?.iter().filter(|epoch| **epoch >= next).count();
        ensure!(of_next >= 100, "{of_next} writes");
        Ok(())
    })
    .await?;
    expect_no_overlap(cluster)
}

pub(crate) fn expect_no_overlap(cluster: &Cluster) -> Result<()> {
    let epochs = epochs(cluster)?;
    let overlaps = epochs.windows(2).filter(|pair| pair[0] > pair[1]).count();
    ensure!(overlaps == 0, "an older epoch was written after a newer one {overlaps} times");
    Ok(())
}

/// The process of an agent's warden, by what the agent logged last.
pub(crate) fn warden_of(cluster: &mut Cluster, number: u64) -> Result<Pid> {
    let said = cluster.agent(number).said()?;
    let (_, after) = said.rsplit_once("warden.pid=").context("the agent has not said who its warden is")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    Pid::from_raw(digits.parse()?).context("a process id is not zero")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_killed_agent_is_gone_before_the_next_one_starts() -> Result<()> {
    for (demote, cgroups) in [(FAILS, true), (HANGS, true), (FAILS, false), (HANGS, false)] {
        let (mut cluster, epoch) = served(demote, cgroups).await?;
        cluster.agent(1).kill()?;
        let followed = follows_without_overlap(&cluster, epoch).await;
        followed.with_context(|| format!("demote hook `{demote}`, cgroups {cgroups}"))?;
        // The start that follows is told what its warden did.
        cluster.agent(1).start()?;
        wait_until("the agent learns of it", SERVED, async || {
            let said = cluster.agent(1).said()?;
            ensure!(said.contains("the service has stopped"), "not yet");
            Ok(())
        })
        .await?;
        cluster.wait_for_hosts().await?;
        end(cluster).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_stopped_agent_is_gone_before_the_next_one_starts() -> Result<()> {
    for cgroups in [true, false] {
        let (mut cluster, epoch) = served(HANGS, cgroups).await?;
        cluster.agent(1).pause().await?;
        follows_without_overlap(&cluster, epoch).await?;
        cluster.agent(1).resume().await?;
        wait_for_epoch(&cluster, |last| last > epoch).await?;
        expect_no_overlap(&cluster)?;
        end(cluster).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_log_nobody_reads_keeps_no_service_beside_the_next_one() -> Result<()> {
    let mut cluster = Cluster::prepare(Plan::with_agents(2)).await?;
    write_hooks(&cluster, FAILS, true)?;
    let (log, kept) = (cluster.agent(1).log().to_owned(), cluster.root().join("read-until-full"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &log,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )?;
    let pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&log)?;
    // Whoever looks at the log of a failed test must not wait for a pipe.
    cluster.agent(1).start()?;
    fs::rename(&log, &kept)?;
    fs::write(&log, "")?;
    let mut reader = pipe.try_clone()?;
    let reading = tokio::spawn(async move {
        let mut bytes = [0; 4_096];
        loop {
            let read = std::io::Read::read(&mut reader, &mut bytes);
            if read.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for id in 1..=3 {
        cluster.coordinator(id).start()?;
    }
    cluster.agent(2).start()?;
    cluster.wait_for_hosts().await?;
    cluster.create_group("g", &[1, 2]).await?;
    let epoch = cluster.wait_for_active("g", SERVED).await?.epoch;
    wait_for_epoch(&cluster, |last| last == epoch).await?;
    reading.abort();
    let mut writer = pipe.try_clone()?;
    while writer.write(&[b'x'; 512]).is_ok() {}
    // It has something to say now.
    let leader = cluster.leader().await?;
    cluster.coordinator(leader).kill()?;
    let other = cluster.leader_other_than(Some(leader)).await?;
    // Whether it stands still by that, or goes on: the service and its lease go together.
    let wait = cluster.plan().timing.wait() * 3;
    let end = tokio::time::Instant::now() + wait;
    wait_until("D has passed three times", wait * 2, async || {
        expect_no_overlap(&cluster)?;
        ensure!(tokio::time::Instant::now() >= end);
        Ok(())
    })
    .await?;
    expect_no_overlap(&cluster)?;
    let group = cluster.group("g").await?;
    wait_for_epoch(&cluster, |last| last >= group.epoch).await?;
    ensure!(other != leader);
    cluster.agent(1).kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_its_warden_ends_its_roles_and_has_another_one_that_kills_what_is_left() -> Result<()>
{
    for cgroups in [true, false] {
        let (mut cluster, epoch) = served(FAILS, cgroups).await?;
        let warden = warden_of(&mut cluster, 1)?;
        kill_process(warden, Signal::KILL)?;
        wait_until("there is another warden", SERVED, async || {
            ensure!(warden_of(&mut cluster, 1)? != warden, "the first is the last");
            Ok(())
        })
        .await?;
        follows_without_overlap(&cluster, epoch).await?;
        end(cluster).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warden_that_stands_still_is_replaced() -> Result<()> {
    let (mut cluster, epoch) = served(FAILS, true).await?;
    let warden = warden_of(&mut cluster, 1)?;
    kill_process(warden, Signal::STOP)?;
    wait_until("there is another warden", SERVED, async || {
        ensure!(warden_of(&mut cluster, 1)? != warden, "the first is the last");
        Ok(())
    })
    .await?;
    follows_without_overlap(&cluster, epoch).await?;
    end(cluster).await
}

/// What remains possible (docs/hooks.md): counted, so that it is known, and ended by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_and_a_warden_killed_at_once_leave_goes_on_until_the_agent_is_started_again()
-> Result<()> {
    for cgroups in [true, false] {
        let (mut cluster, epoch) = served(FAILS, cgroups).await?;
        let warden = warden_of(&mut cluster, 1)?;
        kill_process(warden, Signal::KILL)?;
        cluster.agent(1).kill()?;
        let next = wait_for_epoch(&cluster, |last| last > epoch).await?;
        let late = || -> Result<usize> {
            let after_next = epochs(&cluster)?.into_iter().skip_while(|written| *written < next);
            Ok(after_next.filter(|written| *written < next).count())
        };
        let counted = wait_until("the old service has written beside the next one", SERVED, async || {
            let late = late()?;
            ensure!(late > 0, "nothing remains: the page says too much");
            Ok(late)
        })
        .await?;
        println!("cgroups {cgroups}: {counted} writes beside the next one before anybody came");
        cluster.agent(1).start()?;
        // It is killed, and still not known to have stopped: what else there was nobody has seen.
        wait_until("only the next one writes", SERVED, async || {
            let written = epochs(&cluster)?;
            // Two that run write by turns, however busy the machine is.
            let of_next = written.iter().rev().take_while(|epoch| **epoch >= next).count();
            ensure!(of_next >= 50, "{of_next} writes since the last of the old one");
            Ok(())
        })
        .await?;
        // The demotion that is tried again succeeds from here on.
        write_demote(&cluster, "exit 0")?;
        has_stopped(&cluster).await?;
        cluster.wait_for_hosts().await?;
        end(cluster).await?;
    }
    Ok(())
}

/// The service of h1 is known to have stopped at last.
pub(crate) async fn has_stopped(cluster: &Cluster) -> Result<()> {
    wait_until("h1 is known to have stopped", SERVED, async || {
        let unstopped = cluster.group("g").await?.unstopped;
        ensure!(unstopped.is_empty(), "{unstopped:?}");
        Ok(())
    })
    .await
}

/// Ends everything; wardens end once their agents have said goodbye and nothing is left to guard.
pub(crate) async fn end(mut cluster: Cluster) -> Result<()> {
    // The demote hooks of these tests succeed from here on: whatever runs still is ended by it.
    let kill = format!("pkill -9 -f {}", cluster.root().join("service").display());
    write_demote(&cluster, &format!("{kill}\nexit 0"))?;
    let wardens = [warden_of(&mut cluster, 1)?, warden_of(&mut cluster, 2)?];
    cluster.finish().await?;
    wait_until("the wardens have ended", SERVED, async || {
        for warden in wardens {
            let stat = fs::read_to_string(format!("/proc/{}/stat", warden.as_raw_nonzero()));
            ensure!(stat.map_or(true, |stat| stat.contains(") Z ")), "warden {warden:?} runs");
        }
        Ok(())
    })
    .await
}
