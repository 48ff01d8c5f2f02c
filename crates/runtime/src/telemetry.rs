//! Logs: structured, to stderr, so that stdout stays free for data.
//!
//! Logging never blocks and never ends a process: lines go through a bounded backlog to a thread that writes them. When
//! nobody reads them, or the disk behind stderr is full, lines are lost, counted ([`lost`]) and said later.

mod backlog;
mod panics;
mod repeats;
mod style;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use backlog::Backlog;
use style::Style;

/// The most that is kept of a line that stands for those that are not written.
const MESSAGE_MAX: usize = 200;

/// The words that stand for a level in a filter.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line per event.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Every format by its configured name.
    pub const NAMES: [&str; 2] = ["human", "json"];
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(TelemetryError::BadFormat { value: other.to_owned() }),
        }
    }
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level filter does not parse.
    #[error(
        "log.level: `{value}` is not a log filter: {reason}; use a level (off, error, warn, info, debug, trace), \
         or levels by target such as `info,quorate_consensus=debug`"
    )]
    BadFilter {
        /// The filter as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The format has no such name.
    #[error("log.format: `{value}` is not a log format; use human or json")]
    BadFormat {
        /// The name as given.
        value: String,
    },
    /// The system gives no thread to write with.
    #[error("logging: no thread to write with: {0}; raise the limit of threads of this process")]
    NoThread(#[source] io::Error),
    /// Logging was set up before in this process.
    #[error("logging is already set up in this process; call `init` once")]
    AlreadyInstalled,
}

/// Lines that were said and are not in the log, since this process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// They found no room in the backlog: nobody read what was there.
    pub dropped: u64,
    /// The system did not take them, as when a disk is full.
    pub unwritten: u64,
    /// They were like too many others; the log says how many and what they were like.
    pub suppressed: u64,
}

/// The way to stderr, once logging is set up.
static BACKLOG: OnceLock<Arc<Backlog>> = OnceLock::new();

/// Sends every event of this process that passes `filter` to stderr, from now on, and panics with them. Nobody who logs
/// waits for stderr; [`flush`] does, at the end.
///
/// Colours only when stderr is a terminal and `NO_COLOR` is not set.
///
/// # Errors
/// When `filter` is not a filter, no thread can be had, or logging is set up already.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let filter = parse_filter(filter)?;
    if BACKLOG.get().is_some() {
        return Err(TelemetryError::AlreadyInstalled);
    }
    let quiet_colours = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !quiet_colours;
    let backlog = Backlog::start(Style::new(format), Stderr).map_err(TelemetryError::NoThread)?;
    let subscriber = subscriber(filter, format, colours, &backlog);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadyInstalled)?;
    panics::say_them_in(Arc::clone(&backlog));
    // Only one thread gets here: the subscriber is set once.
    let _ = BACKLOG.set(backlog);
    Ok(())
}

/// Says something to whoever started this process, behind what it has logged. It waits for stderr only where logging is
/// not set up.
pub fn say(text: &str) {
    match BACKLOG.get() {
        Some(backlog) => {
            // What ends a process is its last word.
            backlog.end_repeats();
            backlog.push(format!("{text}\n").into_bytes());
        }
        // A closed stderr is nobody to tell.
        None => drop(writeln!(io::stderr().lock(), "{text}")),
    }
}

/// Waits until everything that was said is written, at most this long: for the end of a process.
pub fn flush(deadline: Duration) {
    if let Some(backlog) = BACKLOG.get() {
        backlog.flush(deadline);
    }
}

/// What was said and is not in the log.
pub fn lost() -> Lost {
    BACKLOG.get().map_or_else(Lost::default, |backlog| Lost {
        dropped: backlog.dropped(),
        unwritten: backlog.unwritten(),
        suppressed: backlog.suppressed(),
    })
}

/// Checks a level filter without setting anything up.
///
/// # Errors
/// When `filter` is not a filter; the error names the field `log.level`.
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    parse_filter(filter).map(drop)
}

fn parse_filter(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let bad = |reason: String| TelemetryError::BadFilter { value: filter.to_owned(), reason };
    if filter.trim().is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    // A bare word that is no level would pass as the name of a target, and `inof` would silence everything.
    // Filters by span (in brackets) may hold commas of their own and are left to the parser.
    if !filter.contains('[') {
        let stray = filter.split(',').map(str::trim).find(|part| !part.contains('=') && !is_level(part));
        if let Some(part) = stray {
            return Err(bad(format!("`{part}` is not a level")));
        }
    }
    EnvFilter::builder().parse(filter).map_err(|error| bad(error.to_string()))
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level))
}

fn subscriber(
    filter: EnvFilter,
    format: LogFormat,
    colours: bool,
    backlog: &Arc<Backlog>,
) -> Box<dyn Subscriber + Send + Sync> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        // It would print to stderr itself.
        .log_internal_errors(false)
        .with_writer(ToBacklog(Arc::clone(backlog)));
    let repeats = Unrepeated(Arc::clone(backlog));
    match format {
        LogFormat::Human => Box::new(builder.finish().with(repeats)),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish().with(repeats)),
    }
}

/// Where the subscriber writes each line, whole.
#[derive(Clone)]
struct ToBacklog(Arc<Backlog>);

impl<'a> MakeWriter<'a> for ToBacklog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for ToBacklog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stderr itself. The standard library's has a lock, which a writer that stands still would keep from everybody.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps events back that repeat themselves.
struct Unrepeated(Arc<Backlog>);

impl<S: Subscriber> Layer<S> for Unrepeated {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admits(event.metadata(), || {
            let mut message = Message(String::new());
            event.record(&mut message);
            message.0
        })
    }
}

/// The message of an event, cut.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(MESSAGE_MAX).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Sink(Sender<Vec<u8>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged_by(filter: &str, format: LogFormat, colours: bool, events: impl FnOnce()) -> String {
        let (sink, written) = channel();
        let backlog = Backlog::start(Style::new(format), Sink(sink)).unwrap();
        let subscriber = subscriber(parse_filter(filter).unwrap(), format, colours, &backlog);
        tracing::subscriber::with_default(subscriber, events);
        assert!(backlog.flush(SOON));
        String::from_utf8(written.try_iter().flatten().collect()).unwrap()
    }

    fn logged(filter: &str, format: LogFormat, colours: bool) -> String {
        logged_by(filter, format, colours, || {
            tracing::info!(host.id = "a1", elapsed_ms = 7, "registered");
            tracing::debug!("not for everybody");
        })
    }

    #[test]
    fn a_warning_that_repeats_itself_is_counted_and_said_at_the_end() {
        let text = logged_by("info", LogFormat::Human, false, || {
            for attempt in 0..50 {
                tracing::warn!(target: "a_library", attempt, "peer is {}", "gone");
                tracing::info!("and this is no warning");
            }
        });
        assert_eq!(text.matches("attempt=").count(), 3, "{text}");
        assert_eq!(text.matches("no warning").count(), 50, "{text}");
        let last = text.lines().last().unwrap();
        assert!(
            last.contains("suppressed 47 lines like this within 60 s: WARN a_library: peer is gone"),
            "{last}"
        );
    }

    #[test]
    fn the_human_format_is_one_line_without_colours_off_a_terminal() {
        let text = logged("info", LogFormat::Human, false);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("registered") && text.contains("elapsed_ms=7"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(logged("info", LogFormat::Human, true).contains('\u{1b}'));
    }

    #[test]
    fn the_json_format_has_fields_at_the_top_of_one_object_per_line() {
        let text = logged("info", LogFormat::Json, false);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with('{') && text.trim_end().ends_with('}'), "{text}");
        assert!(text.contains(r#""host.id":"a1""#) && text.contains(r#""elapsed_ms":7"#), "{text}");
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        assert_eq!(logged("debug", LogFormat::Human, false).lines().count(), 2);
        assert_eq!(logged("warn", LogFormat::Human, false), "");
        assert_eq!(logged("off,quorate_runtime=debug", LogFormat::Human, false).lines().count(), 2);
    }

    #[test]
    fn refuses_a_filter_that_would_silently_silence_everything() {
        for filter in ["inof", "", "  ", "info,chatty", "quorate=loud", "info,"] {
            let message = check_filter(filter).unwrap_err().to_string();
            assert!(message.starts_with("log.level: "), "{filter:?}: {message}");
            assert!(message.contains("use a level"), "{filter:?}: {message}");
        }
        for filter in ["info", "INFO", "warn,quorate_agent=trace", "info,[beat{host.id=a1}]=debug"] {
            assert!(check_filter(filter).is_ok(), "{filter:?}");
        }
    }

    #[test]
    fn formats_are_known_by_name() {
        for name in LogFormat::NAMES {
            assert_eq!(name.parse::<LogFormat>().unwrap().to_string(), name);
        }
        let message = "xml".parse::<LogFormat>().unwrap_err().to_string();
        assert!(message.starts_with("log.format: `xml`"), "{message}");
    }

    #[test]
    fn a_second_set_up_is_an_error_not_a_surprise() {
        let first = init("warn", LogFormat::Human);
        let second = init("warn", LogFormat::Json);
        assert!(first.is_ok(), "{first:?}");
        assert!(matches!(second, Err(TelemetryError::AlreadyInstalled)), "{second:?}");
    }
}
