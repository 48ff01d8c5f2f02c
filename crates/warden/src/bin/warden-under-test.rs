//! The warden, the keeper of a guard and the search of one, for the tests of this crate: in the product all verbs are of `quorate`.

use quorate_warden::{EXEC_VERB, VERB, adopt_orphans, exec, keeper, serve};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::{error::Error, process::ExitCode, time::Duration};

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(verb) if verb == EXEC_VERB => exec(words),
        Some(verb) if verb == VERB => ended(serve(words)),
        Some(verb) if verb == keeper::VERB => ended(keeper::keep(words).map(drop)),
        Some(verb) if verb == "search" => search(&words.next().unwrap_or_default().to_string_lossy()),
        Some(verb) if verb == "search-blindly" => {
            let none = Rlimit { current: Some(3), maximum: Some(3) };
            let limited = setrlimit(Resource::Nofile, none);
            limited.map_or(ExitCode::FAILURE, |()| search("none"))
        }
        _ => ExitCode::from(2),
    }
}

fn ended<E: Error>(outcome: Result<(), E>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error}: {:?}", error.source());
    ExitCode::FAILURE
}

/// What a guard does before anything else; what came of it is the output.
fn search(mark: &str) -> ExitCode {
    let found = keeper::Bystanders::find();
    println!("bystanders: {}", found.as_ref().err().map_or("found".to_owned(), ToString::to_string));
    let bystanders = found.unwrap_or_default();
    let adopted = adopt_orphans();
    match keeper::end_what_others_left(mark, &bystanders, LIMIT) {
        Ok(keeper::Ended { killed, hidden: None }) => println!("killed {killed}"),
        Ok(keeper::Ended { killed, hidden: Some(why) }) => println!("killed {killed}; hidden: {why}"),
        Err(why) => println!("error: {why}"),
    }
    let is_gone = adopted.is_ok() && keeper::kill_what_is_left(&bystanders, SHORT);
    println!("nothing is left: {is_gone}");
    ExitCode::SUCCESS
}
