//! Closed-loop clients: each sends its next command when it has the answer to the last.

use anyhow::{Result, ensure};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Before this much of a run is over, nothing is counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// Something that takes commands. A clone shares its connections.
pub trait Target: Clone + Send + Sync + 'static {
    /// Sends one command and returns when it is committed.
    ///
    /// # Errors
    /// When it is not.
    fn command(&self, connection: usize) -> impl Future<Output = Result<()>> + Send;
}

/// The processes that serve a target.
pub trait Servers {
    /// The time that all of them have spent on processors so far.
    ///
    /// # Errors
    /// When one of them does not run.
    fn cpu_time(&self) -> Result<Duration>;
}

/// What was measured in one or more runs.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Commands per second of each run.
    pub per_second: Vec<f64>,
    /// Of every command of every run, in microseconds.
    latencies_us: Vec<u32>,
    /// The servers' processor time while these were measured.
    cpu: Duration,
    /// Commands without an acknowledgement.
    pub failed: u64,
}

impl Measured {
    /// Adds a run.
    pub fn add(&mut self, run: Self) {
        self.per_second.extend(run.per_second);
        self.latencies_us.extend(run.latencies_us);
        self.cpu += run.cpu;
        self.failed += run.failed;
    }

    /// What a command cost all servers together, in microseconds of processor time. Unlike the rate it does not depend
    /// on what else the machine does.
    pub fn cpu_us_per_command(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / f64::from(count(&self.latencies_us).max(1))
    }

    /// The middle run's commands per second.
    pub fn median_per_second(&self) -> f64 {
        let mut sorted = self.per_second.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    /// The latency in milliseconds that this share of all commands stayed within.
    pub fn latency_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }
}

/// Runs `clients` loops for some time, after a warm-up.
///
/// # Errors
/// When no command at all was acknowledged.
pub(super) async fn run(
    target: &impl Target,
    servers: &impl Servers,
    clients: usize,
    duration: Duration,
) -> Result<Measured> {
    let counting = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let mut loops = JoinSet::new();
    for client in 0..clients {
        let (target, counting, stop) = (target.clone(), Arc::clone(&counting), Arc::clone(&stop));
        loops.spawn(async move {
            let mut found = Measured::default();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let counted = counting.load(Ordering::Relaxed);
                let outcome = target.command(client).await;
                // What ends behind the last instant is not part of the run.
                if !counted || stop.load(Ordering::Relaxed) {
                    continue;
                }
                match outcome {
                    Ok(()) => {
                        let us = began.elapsed().as_micros();
                        found.latencies_us.push(u32::try_from(us).unwrap_or(u32::MAX));
                    }
                    Err(_) => found.failed += 1,
                }
            }
            found
        });
    }
    sleep_until(Instant::now() + WARM_UP).await;
    counting.store(true, Ordering::Relaxed);
    let (began, cpu_before) = (Instant::now(), servers.cpu_time()?);
    sleep_until(began + duration).await;
    stop.store(true, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = servers.cpu_time()?.saturating_sub(cpu_before);
    let mut all = Measured { cpu, ..Measured::default() };
    while let Some(found) = loops.join_next().await {
        all.add(found?);
    }
    ensure!(!all.latencies_us.is_empty(), "not one command of {clients} clients was acknowledged");
    all.per_second = vec![f64::from(count(&all.latencies_us)) / seconds];
    Ok(all)
}

fn count(latencies_us: &[u32]) -> u32 {
    u32::try_from(latencies_us.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians_are_those_of_all_runs() {
        let mut all = Measured::default();
        for (rate, latencies_us) in [(10.0, vec![1_000, 3_000]), (30.0, vec![2_000]), (20.0, vec![9_000])] {
            let cpu = Duration::from_micros(40);
            all.add(Measured { per_second: vec![rate], latencies_us, cpu, failed: 1 });
        }
        assert!((all.cpu_us_per_command() - 30.0).abs() < 1e-6);
        assert!((all.median_per_second() - 20.0).abs() < f64::EPSILON);
        assert!((all.latency_ms(50) - 3.0).abs() < f64::EPSILON);
        assert!((all.latency_ms(99) - 9.0).abs() < f64::EPSILON);
        assert_eq!(all.failed, 3);
        assert!(Measured::default().latency_ms(99).abs() < f64::EPSILON);
    }
}
