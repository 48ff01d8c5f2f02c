//! `cargo xtask compose`: the containers of docker-compose.yml under faults.

use anyhow::Result;
use clap::Parser;
use quorate_tests::compose;
use std::process::ExitCode;

/// Brings up the product's own compose file, three and five, cuts, pauses, kills and wipes containers, and removes them
/// again. Run it by `cargo xtask compose`. It ends at the first thing that is wrong, and then names the folder in which
/// all logs are. `QUORATE_TEST_BINARY` names a binary to put into the image instead of the one of this build.
#[derive(Debug, Parser)]
#[command(name = "quorate-compose", version)]
struct Args {
    /// Only scenarios whose names contain one of these words.
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compose: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    compose::run(&args.only, |line| println!("{line}")).await
}
