//! The command line.

use clap::Parser;
use quorate_sim::Plan;
use std::{ops::Range, str::FromStr, thread};

/// Runs simulated clusters. Each seed stands for one run: its size, its pace, its faults, its clients.
#[derive(Debug, Parser)]
#[command(name = "quorate-sim", version)]
pub(crate) struct Args {
    /// One seed, told in full.
    #[arg(long, value_name = "N", required_unless_present = "seeds", conflicts_with = "seeds")]
    pub(crate) seed: Option<u64>,
    /// Many seeds, such as 1..501; the last one is not run.
    #[arg(long, value_name = "FROM..TO")]
    pub(crate) seeds: Option<Seeds>,
    /// The most events of the phase in which things go wrong.
    #[arg(long, value_name = "M", default_value_t = 1_000_000)]
    pub(crate) steps: u64,
    /// Runs every seed twice and compares what happened.
    #[arg(long)]
    pub(crate) twice: bool,
    /// Fails when a fault or a decision that is expected of many runs never happened.
    #[arg(long)]
    pub(crate) expect_all: bool,
    /// Threads for many seeds; one for each processor when it is not given.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Looks for fewer faults and clients that break the same invariant.
    #[arg(long)]
    pub(crate) shrink: bool,
    /// Leaves in only these faults of the seed's plan, by their numbers.
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub(crate) only_faults: Option<Vec<usize>>,
    /// Leaves in only so many clients.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) clients: Option<u64>,
    #[cfg(planted)]
    /// Plants a bug.
    #[arg(long, value_name = "BUG")]
    pub(crate) plant: Option<quorate_domain::planted::Bug>,
}

/// A range of seeds.
#[derive(Debug, Clone)]
pub(crate) struct Seeds(pub(crate) Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed =
            text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        match parsed {
            Some((from, to)) if from < to => Ok(Self(from..to)),
            _ => Err(format!(
                "{text:?} is no range of seeds; write FROM..TO with FROM below TO, such as 1..501"
            )),
        }
    }
}

impl Args {
    /// All seeds.
    pub(crate) fn seeds(&self) -> Range<u64> {
        self.seeds.as_ref().map_or(0..0, |seeds| seeds.0.clone())
    }

    /// How many threads run them.
    pub(crate) fn threads(&self) -> usize {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or(processors).max(1)
    }

    /// The plan of a seed, as far as the command line leaves it.
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::of(seed, self.steps);
        if let Some(only) = &self.only_faults {
            plan.faults.retain(|fault| only.contains(&fault.number));
        }
        if let Some(clients) = self.clients {
            plan.clients = plan.clients.min(usize::try_from(clients).unwrap_or(usize::MAX));
        }
        plan
    }
}
