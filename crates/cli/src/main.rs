//! `quorate`, on this machine as it is.

use quorate_cli::Machine;
use std::process::ExitCode;

/// Faster than the system's under many small allocations; measured in the benches.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate_cli::main(Machine::real())
}
