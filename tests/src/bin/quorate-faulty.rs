//! `quorate` on a disk that fails or is slow when a file says so, and by a clock that is off when the environment says so or
//! hangs when a file says so: see `quorate_tests::faulty_disk`, `quorate_tests::wrong_clock` and
//! `quorate_tests::hung_clock`.

use quorate_cli::Machine;
use quorate_tests::{
    faulty_disk::{FaultyDisk, RULES_FILE},
    hung_clock::HungClock,
    wrong_clock::WrongClock,
};
use std::{env, process::ExitCode, sync::Arc};

/// The same as that of `quorate`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Some(rules) = env::var_os(RULES_FILE) else {
        eprintln!("error: {RULES_FILE} must name the file with the rules of the disk");
        return ExitCode::FAILURE;
    };
    let clock = match WrongClock::from_environment() {
        Ok(clock) => clock,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let clock = HungClock::from_environment(clock);
    quorate_cli::main(Machine { disk: Arc::new(FaultyDisk::new(rules.into())), clock: Arc::new(clock) })
}
