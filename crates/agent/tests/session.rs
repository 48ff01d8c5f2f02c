//! An agent and a coordinator that plays leader, over real gRPC on the loopback interface.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

mod leader;

use leader::{JumpingClock, Leader, Place, Running, boot_now, lease, read, role_of, role_of_host, until};
use quorate_agent::{Agent, AgentOptions};
use quorate_domain::{Epoch, FormationId, GroupState, Incarnation, Role, Verdict};
use quorate_rpc::{
    pb::{
        agent::{GetRoleResponse, ListRolesRequest},
        types,
    },
    session::ParsedReport,
};
use quorate_runtime::clock::{Clock, SystemClock};
use std::{sync::Arc, time::Duration};

fn is(answer: &GetRoleResponse, role: types::Role) -> bool {
    answer.role.as_ref().is_some_and(|group| group.role() == role)
}

/// Grants the group under this epoch and waits until the agent acts.
async fn promoted(leader: &Leader, agent: &Running, epoch: u64) {
    leader.assign(epoch, Role::Primary, agent.incarnation);
    leader.reported(epoch, GroupState::Acting).await;
}

#[tokio::test]
async fn a_granted_agent_acts_after_its_hook_and_is_fenced_by_the_write_deadline_without_acknowledgements() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    assert_eq!(place.hooks_log(), "promote g 5\n");
    let mut client = agent.asking().await;
    assert!(is(&role_of(&mut client).await.unwrap(), types::Role::Primary));

    leader.book().acknowledges = false;
    until("fenced", async || {
        let answer = role_of(&mut client).await?;
        if !is(&answer, types::Role::Primary) {
            assert_eq!(answer.role.as_ref().unwrap().write_deadline_boot_ms, 0);
            return Some(());
        }
        let deadline = answer.role.as_ref().unwrap().write_deadline_boot_ms;
        assert!(answer.at_boot_ms < deadline, "primary past its own deadline");
        let latest = leader.book().acknowledged_at.after_ms(lease().write_stop_ms);
        assert!(deadline <= latest.0, "the lease counts from the sending: {deadline} > {latest}");
        None
    })
    .await;
    assert_eq!(role_of(&mut client).await.unwrap().service_mode(), types::ServiceMode::ReadOnly);

    leader.book().acknowledges = true;
    leader.reported(5, GroupState::Ended).await;
    assert_eq!(place.hooks_log(), "promote g 5\ndemote g 5\n");
    let fenced = until("a lease again", async || {
        role_of(&mut client).await.filter(|answer| answer.service_mode() == types::ServiceMode::Normal)
    })
    .await;
    assert!(is(&fenced, types::Role::Fenced), "the old epoch does not come back: {fenced:?}");
    promoted(&leader, &agent, 6).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_told_that_there_is_no_quorum_is_safe_until_one_renews_its_lease() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    let mut client = agent.asking().await;
    {
        let mut book = leader.book();
        (book.acknowledges, book.lacks_quorum) = (false, true);
    }
    let safe = until("safe mode", async || {
        let answer = role_of(&mut client).await?;
        let covered = answer.at_boot_ms < leader.book().acknowledged_at.0 + lease().write_stop_ms;
        assert!(answer.service_mode() != types::ServiceMode::Safe || !covered, "safe under a valid lease");
        (answer.service_mode() == types::ServiceMode::Safe).then_some(answer)
    })
    .await;
    assert!(is(&safe, types::Role::Fenced), "{safe:?}");
    assert!(safe.service_mode_reason.contains(&leader.address.to_string()), "{safe:?}");

    {
        let mut book = leader.book();
        (book.acknowledges, book.lacks_quorum) = (true, false);
    }
    let normal = until("a lease again", async || {
        role_of(&mut client).await.filter(|answer| answer.service_mode() == types::ServiceMode::Normal)
    })
    .await;
    assert!(is(&normal, types::Role::Fenced), "the old epoch does not come back: {normal:?}");
    promoted(&leader, &agent, 6).await;
    agent.stop().await.unwrap();
}

/// What the leader saw of the world when it was first told that epoch 5 has ended.
fn first_report_of_the_end(leader: &Leader) -> bool {
    let book = leader.book();
    let ended = |report: &ParsedReport| {
        report.groups.iter().any(|group| group.epoch == Epoch(5) && group.state == GroupState::Ended)
    };
    let first = book.reports.iter().position(ended).unwrap();
    book.looks[first]
}

#[tokio::test]
async fn a_revoked_epoch_is_reported_as_ended_only_after_the_demote_hook() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    let log = place.path("hooks.log");
    leader.book().look = Some(Box::new(move || read(&log).contains("demote g 5")));
    leader.assign(5, Role::Backup, agent.incarnation);
    leader.reported(5, GroupState::Ended).await;
    assert!(first_report_of_the_end(&leader), "ENDED came before the demote hook had run");
    let answer = role_of(&mut agent.asking().await).await.unwrap();
    assert!(is(&answer, types::Role::Backup), "{answer:?}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_release_waits_for_whoever_was_told_and_not_for_whoever_only_looked() {
    let leader = Leader::start().await;
    let mut place = Place::new(&leader);
    // Nothing but the deadline ends what a process on this host does.
    place.has_hooks = false;
    let agent = place.start().await;
    let mut client = agent.asking().await;
    for (epoch, observe_only) in [(5, true), (6, false)] {
        promoted(&leader, &agent, epoch).await;
        let said = client.list_roles(ListRolesRequest { observe_only }).await.unwrap().into_inner();
        let shown = said.roles.iter().find(|role| role.epoch == epoch).unwrap();
        assert_eq!(shown.role(), types::Role::Primary);
        let deadlines = (shown.write_deadline_boot_ms, shown.lease_deadline_boot_ms);
        leader.assign(epoch, Role::Backup, agent.incarnation);
        leader.reported(epoch, GroupState::Ended).await;
        if observe_only {
            assert_eq!(deadlines, (0, 0), "somebody could act on it");
            let over = said.at_boot_ms + lease().write_stop_ms;
            assert!(boot_now().0 < over, "the release waited for the end of the lease");
        } else {
            assert!(deadlines.0 > said.at_boot_ms && boot_now().0 >= deadlines.1, "{deadlines:?}");
        }
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_agent_starts_fenced_under_a_new_incarnation_and_never_acts_under_the_old_epoch() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let first = place.start().await;
    promoted(&leader, &first, 5).await;
    let old = first.incarnation;
    first.kill().await;

    let second = place.start().await;
    assert!(second.incarnation > old);
    let mut client = second.asking().await;
    leader.reported(5, GroupState::Ended).await;
    until("a lease", async || {
        let answer = role_of(&mut client).await?;
        assert!(is(&answer, types::Role::Fenced), "{answer:?}");
        (answer.service_mode() == types::ServiceMode::Normal).then_some(())
    })
    .await;
    assert_eq!(place.hooks_log(), "promote g 5\ndemote g 5\n");
    assert_eq!(leader.book().hellos.last().unwrap().incarnation, second.incarnation);
    promoted(&leader, &second, 6).await;
    assert!(is(&role_of(&mut client).await.unwrap(), types::Role::Primary));
    second.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_was_stopped_past_its_lease_is_fenced_from_its_first_answer_on() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let clock = Arc::new(JumpingClock::default());
    let agent = place.start_with(clock.clone()).await;
    promoted(&leader, &agent, 5).await;
    let mut client = agent.asking().await;
    assert!(is(&role_of(&mut client).await.unwrap(), types::Role::Primary));
    clock.jump(Duration::from_mins(1));
    until("the end of the epoch", async || {
        let answer = role_of(&mut client).await.unwrap();
        assert!(is(&answer, types::Role::Fenced), "{answer:?}");
        (leader.last_state(5) == Some(GroupState::Ended)).then_some(())
    })
    .await;
    promoted(&leader, &agent, 6).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_agent_on_the_folder_or_the_port_is_refused_and_counts_as_no_start() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    let identity = read(&place.path("state/identity.json"));
    let Err(error) = Agent::start(place.options(), Arc::new(SystemClock)).await else {
        panic!("two on a folder")
    };
    assert!(error.to_string().contains("is in use by another process"), "{error}");
    let options = AgentOptions { listen: agent.address.to_string(), ..place.options() };
    let Err(error) = Agent::start(options, Arc::new(SystemClock)).await else { panic!("two on a port") };
    assert!(error.to_string().starts_with("listen: cannot listen on 127.0.0.1:"), "{error}");
    assert_eq!(read(&place.path("state/identity.json")), identity, "a refused start counts");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_graceful_stop_demotes_reports_and_returns() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    agent.stop().await.unwrap();
    assert_eq!(place.hooks_log(), "promote g 5\ndemote g 5\n");
    until("the last report", async || leader.book().reports.last().filter(|last| last.stopping).map(drop))
        .await;
    assert_eq!(leader.last_state(5), Some(GroupState::Ended));
    assert!(read(&place.path("state/epochs.json")).contains("\"primary_of\":[]"));
}

#[tokio::test]
async fn the_hint_of_a_coordinator_that_does_not_lead_is_followed() {
    let (follower, leader) = (Leader::start().await, Leader::start().await);
    follower.book().redirect_to = Some(leader.address.to_string());
    let place = Place::new(&follower);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    assert!(follower.book().reports.is_empty());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_leader_of_another_forming_of_the_cluster_is_refused_and_what_it_says_is_not_learnt() {
    let (real, other) = (Leader::start().await, Leader::start().await);
    let (first, second) = (FormationId::of(1), FormationId::of(2));
    (real.book().formation, other.book().formation) = (Some(first.clone()), Some(second.clone()));
    let mut place = Place::new(&real);
    let agent = place.start().await;
    promoted(&real, &agent, 5).await;
    agent.stop().await.unwrap();

    // Those that it is configured with have formed another cluster, and the real ones have no quorum.
    place.coordinators = vec![other.address.to_string()];
    (real.book().acknowledges, real.book().lacks_quorum) = (false, true);
    let agent = place.start().await;
    let mut client = agent.asking().await;
    other.assign(6, Role::Primary, agent.incarnation);
    until("tries at both", async || {
        (other.book().hellos.len() >= 2 && real.book().hellos.len() >= 3).then_some(())
    })
    .await;
    assert_eq!(other.book().hellos[0].formation, Some(first.clone()));
    assert!(other.book().reports.is_empty(), "it went over");
    let said = role_of_host(&mut client).await;
    assert_ne!(said.service_mode(), types::ServiceMode::Normal);
    for part in [first.as_str(), second.as_str(), &other.address.to_string(), "state_dir"] {
        assert!(said.service_mode_reason.contains(part), "{part}: {said:?}");
    }
    let identity = read(&place.path("state/identity.json"));
    assert!(identity.contains(&real.address.to_string()), "{identity}");
    assert!(!identity.contains(&other.address.to_string()), "{identity}");

    (real.book().acknowledges, real.book().lacks_quorum) = (true, false);
    promoted(&real, &agent, 7).await;
    let said = role_of_host(&mut client).await;
    assert!(!said.service_mode_reason.contains(second.as_str()), "{said:?}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_fresh_folder_raises_its_incarnation_above_the_recorded_one() {
    let leader = Leader::start().await;
    // As if the clock of the lost machine had been two seconds ahead of this one.
    let recorded = SystemClock.unix_ms() + 2_000;
    leader.book().recorded = recorded;
    let place = Place::new(&leader);
    let agent = place.start().await;
    assert!(agent.incarnation < Incarnation(recorded));
    until("a report", async || leader.book().reports.first().map(drop)).await;
    let accepted = leader.book().hellos.last().unwrap().incarnation;
    assert!(accepted > Incarnation(recorded));
    assert!(accepted < Incarnation(recorded + 100), "a few above, one for each refusal: {accepted}");
    leader.assign(5, Role::Primary, accepted);
    leader.reported(5, GroupState::Acting).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_does_not_follow_a_forged_number_which_it_would_keep_after_the_reset() {
    let leader = Leader::start().await;
    leader.book().recorded = u64::MAX;
    let place = Place::new(&leader);
    let agent = place.start().await;
    until("three refusals", async || (leader.book().hellos.len() >= 3).then_some(())).await;
    let offered: Vec<_> = leader.book().hellos.iter().map(|hello| hello.incarnation).collect();
    assert!(offered.iter().all(|offered| *offered == agent.incarnation), "{offered:?}");
    leader.book().recorded = 0;
    until("a report", async || leader.book().reports.first().map(drop)).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_host_id_in_use_is_asked_for_again_until_it_is_free() {
    let leader = Leader::start().await;
    leader.book().in_use = true;
    let place = Place::new(&leader);
    let agent = place.start().await;
    until("a second try", async || (leader.book().hellos.len() >= 2).then_some(())).await;
    leader.book().in_use = false;
    until("a report", async || leader.book().reports.first().map(drop)).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_disk_whose_directory_is_gone_is_reported_as_failed() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    let verdict = |wanted: Verdict| {
        let leader = leader.clone();
        async move {
            until("the disk's verdict", async || {
                let book = leader.book();
                let disk = book.reports.last()?.disks.first()?.clone();
                (disk.verdict == wanted).then_some(disk)
            })
            .await
        }
    };
    let good = verdict(Verdict::Healthy).await;
    assert!(!good.identity.0.is_empty() && good.capacity_bytes > 0);
    std::fs::rename(place.path("disk"), place.path("away")).unwrap();
    std::fs::write(place.path("disk"), "a file in its place").unwrap();
    let bad = verdict(Verdict::Failed).await;
    assert!(bad.reasons.iter().any(|reason| reason.code == "probe_write_failed"), "{bad:?}");
    std::fs::remove_file(place.path("disk")).unwrap();
    std::fs::rename(place.path("away"), place.path("disk")).unwrap();
    assert_eq!(verdict(Verdict::Healthy).await.identity, good.identity);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_state_folder_that_is_removed_under_a_running_agent_is_told_and_its_roles_go_on() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    let told = async |wanted: fn(&str) -> bool| {
        until("a report of the folder", async || {
            leader.book().reports.last().filter(|last| wanted(&last.state_folder_problem)).map(drop)
        })
        .await;
    };
    told(str::is_empty).await;
    std::fs::rename(place.path("state"), place.path("lost")).unwrap();
    told(|problem| problem.contains("lock")).await;
    std::fs::create_dir(place.path("state")).unwrap();
    std::fs::write(place.path("state").join("lock"), "").unwrap();
    told(|problem| problem.contains("another folder")).await;
    std::fs::remove_dir_all(place.path("state")).unwrap();
    std::fs::rename(place.path("lost"), place.path("state")).unwrap();
    told(str::is_empty).await;
    assert_eq!(leader.last_state(5), Some(GroupState::Acting));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_state_folder_that_cannot_be_written_ends_every_role_and_the_agent() {
    let leader = Leader::start().await;
    let place = Place::new(&leader);
    let agent = place.start().await;
    promoted(&leader, &agent, 5).await;
    std::fs::rename(place.path("state"), place.path("lost")).unwrap();
    // The next epoch cannot be stored.
    leader.assign(6, Role::Primary, agent.incarnation);
    until("the demote hook", async || place.hooks_log().contains("demote g 5").then_some(())).await;
    until("the last report", async || leader.book().reports.last().filter(|last| last.stopping).map(drop))
        .await;
    assert!(!place.hooks_log().contains("promote g 6"));
    let error = agent.stop().await.unwrap_err();
    assert!(error.to_string().contains("its state could not be kept"), "{error}");
}
