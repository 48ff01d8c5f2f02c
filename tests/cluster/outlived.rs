//! No service outlives its lease, though it never asks: it is ended by what started it, whatever became of the agent.

use anyhow::{Result, ensure};
use quorate_tests::{
    Timing,
    services::{Mode, Options, run},
};

const SERVICE: &str = env!("CARGO_BIN_EXE_quorate-service");

/// Two rounds, so that who was met in the first follows in the second or is at least whole again.
async fn none_outlives(mode: Mode) -> Result<()> {
    let options = Options { mode, rounds: 2, timing: Timing::short(), program: SERVICE.into() };
    let rounds = run(&options).await?;
    ensure!(rounds.writes > 100, "{} writes say nothing", rounds.writes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_ends_before_the_next_begins_in_a_clean_failover() -> Result<()> {
    none_outlives(Mode::CleanFailover).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_demote_hook_fails_is_ended_before_the_next_begins() -> Result<()> {
    none_outlives(Mode::DemotionFails).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_demote_hook_is_waited_for() -> Result<()> {
    none_outlives(Mode::DemotionSlow).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_killed_agent_is_ended_before_the_next_begins() -> Result<()> {
    none_outlives(Mode::AgentKilled).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_stopped_agent_is_ended_before_the_next_begins() -> Result<()> {
    none_outlives(Mode::AgentStopped).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_log_nobody_reads_ends_its_service_in_time() -> Result<()> {
    none_outlives(Mode::LogUnread).await
}
