//! `cargo xtask bench NAME`: benches on clusters of real processes.

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use quorate_tests::bench::{decisions, failover_time};

/// Benches on clusters of real processes on loopback; run them by `cargo xtask bench`.
#[derive(Debug, Parser)]
#[command(name = "quorate-bench", version)]
struct Args {
    /// Which bench.
    #[arg(value_enum)]
    bench: Bench,
    /// Ends with one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// decisions: how long one run takes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// decisions: how many runs each side has for each number of clients.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// failover-time: how many leaders are killed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bench {
    /// Committed commands per second, in turns with etcd.
    Decisions,
    /// From kill -9 of the leader to the next committed command.
    FailoverTime,
}

/// The same as the servers of ours have, so that the clients cost them both the less.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// On one thread: clients on the same machine take from both servers alike, so they should take little. What they ask
/// together leaves together, in few packets.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(!cfg!(debug_assertions), "benches are run on release builds: use `cargo xtask bench`");
    let report = match args.bench {
        Bench::Decisions => {
            decisions::run(&decisions::Options { seconds: args.seconds, rounds: args.rounds }).await?
        }
        Bench::FailoverTime => failover_time::run(args.runs).await?,
    };
    if args.json {
        println!("{report}");
    }
    Ok(())
}
