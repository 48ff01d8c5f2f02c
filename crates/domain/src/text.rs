//! Text that others wrote: what of it may stand on somebody's screen.

use std::{borrow::Cow, fmt::Write};

/// The same text on one line and in the order in which it is written: control characters, ends of lines and marks of
/// direction are escaped as in Rust. Everything else stays, backslashes too, so that a text which was escaped already stays
/// as it is.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if acts(letter) {
            // A string takes everything.
            let _ = write!(line, "{}", letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    Cow::Owned(line)
}

/// True for what a terminal obeys instead of showing it: C0, DEL and C1, ends of lines and paragraphs, and what turns the
/// direction of the letters that follow.
fn acts(letter: char) -> bool {
    const DIRECTIONS: [char; 3] = ['\u{61c}', '\u{200e}', '\u{200f}'];
    letter.is_control()
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || DIRECTIONS.contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        for (text, line) in [
            ("", ""),
            ("/srv/d1", "/srv/d1"),
            ("Größe 10 \\ \"x\" 'y' 表", "Größe 10 \\ \"x\" 'y' 表"),
            ("gone\n\x1b[2J\x1b[HHEALTHY", "gone\\n\\u{1b}[2J\\u{1b}[HHEALTHY"),
            ("a\tb\r\0\x7f", "a\\tb\\r\\u{0}\\u{7f}"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("\u{202e}evil\u{2066}", "\\u{202e}evil\\u{2066}"),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_becomes_one_line_and_stays_it(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.chars().any(acts), "{line:?}");
            prop_assert_eq!(one_line(&line), line.clone());
            prop_assert!(line.len() >= text.len());
        }
    }
}
