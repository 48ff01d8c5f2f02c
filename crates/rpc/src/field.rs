//! Fields of messages from outside that cannot be taken as they are.

use prost::UnknownEnumValue;
use quorate_domain::{ids::InvalidName, text::one_line};
use std::{borrow::Cow, str::FromStr};
use tonic_types::FieldViolation;

/// The longest free text in one field, in bytes.
pub const TEXT_MAX_BYTES: usize = 4 << 10;

/// A field that was refused. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct InvalidField {
    /// The field's path, such as `groups[3].epoch`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be accepted.
    pub remedy: String,
}

impl InvalidField {
    /// A refusal of the field of that name.
    pub fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A field that must be set and is not.
    pub fn required(field: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(field, "required and not set", remedy)
    }

    /// The same refusal, seen from the message that holds this one.
    #[must_use]
    pub(crate) fn within(mut self, parent: impl std::fmt::Display) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }

    /// As the gRPC error details say it.
    pub(crate) fn violation(&self) -> FieldViolation {
        FieldViolation::new(&self.field, format!("{}; {}", self.problem, self.remedy))
    }
}

/// Reads a name that must be there.
pub(crate) fn name<T: FromStr<Err = InvalidName>>(field: &str, text: &str) -> Result<T, InvalidField> {
    text.parse().map_err(|bad: InvalidName| {
        if text.is_empty() {
            InvalidField::required(field, bad.expected)
        } else {
            InvalidField::new(field, format!("{:?} is not a valid {}", bad.value, bad.field), bad.expected)
        }
    })
}

/// Reads a name that may be left out.
pub(crate) fn optional_name<T: FromStr<Err = InvalidName>>(
    field: &str,
    text: &str,
) -> Result<Option<T>, InvalidField> {
    if text.is_empty() { Ok(None) } else { name(field, text).map(Some) }
}

/// Takes free text up to [`TEXT_MAX_BYTES`], as one line of what can be shown. Escaping makes it longer: what is then beyond
/// the limit is cut, for a disk may be mounted anywhere, and whoever sent it cannot know how it is shown.
pub(crate) fn text(field: &str, text: String) -> Result<String, InvalidField> {
    if text.len() > TEXT_MAX_BYTES {
        let problem = format!("has {} bytes", text.len());
        return Err(InvalidField::new(field, problem, format!("shorten it to at most {TEXT_MAX_BYTES}")));
    }
    Ok(bounded_line(text))
}

/// The words of another one as one line of at most [`TEXT_MAX_BYTES`].
pub fn bounded_line(text: impl Into<String>) -> String {
    let text = text.into();
    let mut line = match one_line(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(line) => line,
    };
    line.truncate(line.floor_char_boundary(TEXT_MAX_BYTES));
    line
}

/// Takes a number of which zero means "not set".
pub(crate) fn positive(field: &str, number: u64) -> Result<u64, InvalidField> {
    if number == 0 { Err(InvalidField::required(field, "use a number from 1 on")) } else { Ok(number) }
}

/// Holds the length of a list against its limit.
pub(crate) fn at_most(field: &str, count: usize, limit: usize) -> Result<(), InvalidField> {
    if count <= limit {
        return Ok(());
    }
    Err(InvalidField::new(field, format!("has {count} entries"), format!("send at most {limit}")))
}

/// Takes a message that must be there.
pub(crate) fn present<T>(field: &str, message: Option<T>) -> Result<T, InvalidField> {
    message.ok_or_else(|| InvalidField::required(field, "set this message"))
}

/// Reads every entry of a list; a refusal names the entry.
pub(crate) fn each<S, T>(
    field: &str,
    list: Vec<S>,
    read: impl Fn(S) -> Result<T, InvalidField>,
) -> Result<Vec<T>, InvalidField> {
    list.into_iter()
        .enumerate()
        .map(|(index, entry)| read(entry).map_err(|bad| bad.within(format_args!("{field}[{index}]"))))
        .collect()
}

/// Reads the number of an enum's value. Zero passes here; the caller refuses it with [`unspecified`].
pub(crate) fn known<E: TryFrom<i32, Error = UnknownEnumValue>>(
    field: &str,
    number: i32,
    allowed: &[&str],
) -> Result<E, InvalidField> {
    E::try_from(number).map_err(|unknown| {
        InvalidField::new(
            field,
            format!("{} is not a value that this version knows", unknown.0),
            format!("use one of {}", allowed.join(", ")),
        )
    })
}

/// Refuses the value zero, which every enum keeps for "not set".
pub(crate) fn unspecified(field: &str, allowed: &[&str]) -> InvalidField {
    InvalidField::required(field, format!("use one of {}", allowed.join(", ")))
}
