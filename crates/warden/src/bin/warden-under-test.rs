//! The warden, the keeper of a guard and the search of one, for the tests of this crate: in the product all verbs are of `quorate`.

use quorate_warden::{EXEC_VERB, VERB, exec, keeper, serve};
use std::{error::Error, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(verb) if verb == EXEC_VERB => exec(words),
        Some(verb) if verb == VERB => ended(serve(words)),
        Some(verb) if verb == keeper::VERB => ended(keeper::keep(words).map(drop)),
        // What a guard does before anything else; what came of it is the output.
        Some(verb) if verb == "search" => {
            let mark = words.next().unwrap_or_default();
            println!("{:?}", keeper::end_what_others_left(&mark.to_string_lossy(), Duration::from_secs(5)));
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}

fn ended<E: Error>(outcome: Result<(), E>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error}: {:?}", error.source());
    ExitCode::FAILURE
}
