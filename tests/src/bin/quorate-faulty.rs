//! `quorate` on a disk that fails or is slow when a file says so: see `quorate_tests::faulty_disk`.

use quorate_tests::faulty_disk::{FaultyDisk, RULES_FILE};
use std::{env, process::ExitCode, sync::Arc};

/// The same as that of `quorate`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Some(rules) = env::var_os(RULES_FILE) else {
        eprintln!("error: {RULES_FILE} must name the file with the rules of the disk");
        return ExitCode::FAILURE;
    };
    quorate_cli::main(Arc::new(FaultyDisk::new(rules.into())))
}
