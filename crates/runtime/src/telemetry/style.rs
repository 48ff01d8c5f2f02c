//! Lines of our own about the log itself, in the format that the log has.

use super::LogFormat;
use serde_json::json;
use tracing::Level;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

/// What such lines say of where they come from.
const TARGET: &str = "quorate_runtime::telemetry";

/// How lines look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    format: LogFormat,
}

impl Style {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format }
    }

    #[cfg(test)]
    pub(super) fn human() -> Self {
        Self::new(LogFormat::Human)
    }

    /// One line with its end.
    pub(super) fn line(self, level: Level, text: &str) -> Vec<u8> {
        let mut at = String::new();
        // Writing to a string cannot fail, and a line without its time is better than none.
        let _ = SystemTime.format_time(&mut Writer::new(&mut at));
        let line = match self.format {
            LogFormat::Human => format!("{at} {level:>5} {TARGET}: {text}\n"),
            LogFormat::Json => {
                let level = level.to_string();
                format!("{}\n", json!({"timestamp": at, "level": level, "message": text, "target": TARGET}))
            }
        };
        line.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_our_own_looks_like_the_others() {
        let line = |format| String::from_utf8(Style::new(format).line(Level::WARN, "a \"b\"")).unwrap();
        let human = line(LogFormat::Human);
        assert!(human.ends_with("Z  WARN quorate_runtime::telemetry: a \"b\"\n"), "{human}");
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!((json["level"].as_str(), json["message"].as_str()), (Some("WARN"), Some("a \"b\"")));
        assert!(json["timestamp"].as_str().unwrap().ends_with('Z'), "{json}");
    }
}
