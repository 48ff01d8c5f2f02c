//! `quorate`, on the disk of this machine.

use quorate_cli::RealDisk;
use std::{process::ExitCode, sync::Arc};

/// Faster than the system's under many small allocations; measured in the benches.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate_cli::main(Arc::new(RealDisk))
}
