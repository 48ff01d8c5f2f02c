//! What `config check` and `config show` print.

use std::fmt::Write;

use super::Loaded;
use super::resolved::Resolved;

/// "OK", or every problem.
pub(crate) fn check_text(loaded: &Loaded) -> String {
    if loaded.problems.is_empty() {
        format!("OK: the configuration of the {} has no problems\n", loaded.resolved.role())
    } else {
        format!("{}\n", loaded.problems)
    }
}

/// Every key with its value, as TOML that reads back as the same configuration; with the origin as a comment if
/// wanted.
pub(crate) fn show_text(resolved: &Resolved, with_origin: bool) -> String {
    let mut text = String::new();
    for (key, entry) in resolved.entries() {
        let line = match entry {
            Some((value, origin)) if with_origin => format!("{} = {value}  # {origin}", key.name),
            Some((value, _)) => format!("{} = {value}", key.name),
            None => format!("# {} has no value", key.name),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}
