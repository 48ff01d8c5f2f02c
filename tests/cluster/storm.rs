//! Storms short enough for every change, more than thirty faults together: each is proven, and everything that must hold is
//! judged.

use anyhow::{Result, ensure};
use quorate_tests::storm::{
    self, Options,
    fault::{KINDS, Kind},
};
use std::{env, io::Write};

/// Says of which kinds of faults, by a word of their names, this machine must be able. Without it, what the machine or
/// the build does not allow is only reported.
const EXPECTED: &str = "QUORATE_TEST_EXPECTED";

/// The program whose storage fails on demand.
const FAULTY: &str = env!("CARGO_BIN_EXE_quorate-faulty");
/// The service that never asks.
const SERVICE: &str = env!("CARGO_BIN_EXE_quorate-service");

/// Past the harness, which shows what a test says only when it fails.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn expected_here(kind: Kind) -> bool {
    let words = env::var(EXPECTED).unwrap_or_default();
    words.split(',').any(|word| !word.is_empty() && kind.name().contains(word))
}

async fn weather(options: Options, least: u64) -> Result<()> {
    let report = storm::run(&options, say).await?;
    say(&report.to_string());
    report.expect_kinds(&options.kinds, expected_here)?;
    ensure!(report.faults() >= options.faults, "only {} faults took effect", report.faults());
    ensure!(report.acknowledged() >= least, "only {} operations were acknowledged", report.acknowledged());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_coordinators_weather_every_kind_of_fault_under_load() -> Result<()> {
    let options = Options {
        seed: 20_261,
        faults: KINDS.len(),
        operations: 0,
        coordinators: 3,
        agents: 5,
        kinds: KINDS.to_vec(),
        service_program: SERVICE.into(),
        faulty_program: Some(FAULTY.into()),
        keep_on_failure: false,
    };
    weather(options, 3_000).await
}

#[tokio::test(flavor = "multi_thread")]
async fn five_coordinators_weather_what_two_of_them_can_suffer() -> Result<()> {
    let kinds = vec![
        Kind::KillLeader,
        Kind::KillCoordinators,
        Kind::FreezeLeader,
        Kind::CutMinority,
        Kind::DeafLeader,
        Kind::Bridge,
        Kind::HalfOpenConnections,
        Kind::OldLeaderOnly,
        Kind::RollingRestart,
    ];
    let options = Options {
        seed: 20_265,
        faults: kinds.len(),
        operations: 0,
        coordinators: 5,
        agents: 4,
        kinds,
        service_program: SERVICE.into(),
        faulty_program: Some(FAULTY.into()),
        keep_on_failure: false,
    };
    weather(options, 500).await
}
