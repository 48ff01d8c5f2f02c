//! The warden and nothing else, for the tests of this crate: in the product both verbs are of `quorate`.

use quorate_warden::{EXEC_VERB, VERB, exec, serve};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(verb) if verb == EXEC_VERB => exec(words),
        Some(verb) if verb == VERB => match serve(words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}: {:?}", std::error::Error::source(&error));
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(2),
    }
}
