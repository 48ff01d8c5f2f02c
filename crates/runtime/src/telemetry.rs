//! Logs: structured, to stderr, so that stdout stays free for data.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

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
    /// Logging was set up before in this process.
    #[error("logging is already set up in this process; call `init` once")]
    AlreadyInstalled,
}

/// Sends every event of this process that passes `filter` to stderr, from now on.
///
/// Colours only when stderr is a terminal and `NO_COLOR` is not set.
///
/// # Errors
/// When `filter` is not a filter, or logging is set up already.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let quiet_colours = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !quiet_colours;
    let subscriber = subscriber(parse_filter(filter)?, format, colours, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadyInstalled)
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

fn subscriber<W>(
    filter: EnvFilter,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(writer);
    match format {
        LogFormat::Human => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat, colours: bool) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let filter = parse_filter(filter).unwrap();
        let subscriber = subscriber(filter, format, colours, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(host.id = "a1", elapsed_ms = 7, "registered");
            tracing::debug!("not for everybody");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
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
