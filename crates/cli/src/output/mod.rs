//! What verbs show: data on stdout, everything else on stderr.

pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod time;
mod word;

pub(crate) use word::word;

use quorate_domain::text::one_line;
use quorate_runtime::telemetry;
use std::{
    io::{self, Write},
    time::Duration,
};

/// How long a note may take to be written before the program goes on: nobody may be reading it.
const NOTE_DEADLINE: Duration = Duration::from_secs(1);

/// Whether anybody still reads stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody may.
    There,
    /// It was closed, as `head` does when it has enough.
    Gone,
}

/// Writes data to stdout as it is: documents, which escape by themselves.
///
/// # Errors
/// When stdout cannot take it for another reason than that it was closed.
pub(crate) fn data(text: &str) -> io::Result<Reader> {
    taken(write(&mut io::stdout().lock(), text))
}

/// Shows lines that were made for people on stdout. Their cells and values were made fit for it where they were put in
/// ([`one_line`]); whatever slipped through moves no cursor.
///
/// # Errors
/// As [`data`].
pub(crate) fn screen(text: &str) -> io::Result<Reader> {
    data(&each_line(text))
}

/// Every line of a text by itself.
fn each_line(text: &str) -> String {
    text.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}

fn write(to: &mut impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}

fn taken(written: io::Result<()>) -> io::Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Tells the operator something that is no data on one line, before anything else is shown.
pub(crate) fn note(text: &str) {
    say(&one_line(text));
}

/// The same on several lines.
pub(crate) fn notes(text: &str) {
    say(&each_line(text));
}

fn say(text: &str) {
    telemetry::say(text);
    telemetry::flush(NOTE_DEADLINE);
}

#[cfg(test)]
mod tests;
