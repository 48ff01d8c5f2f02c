//! The list: worst first, then longest first, bounded with some of each code in it, and in words only as far as it is listed.

use super::code::{Code, Severity, Subject};
use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
    fmt,
};

/// The most warnings that are listed; how many more there are is said.
pub const LISTED_MAX: usize = 100;
/// So many of each code are listed whatever there is of others, so that one thing that is wrong everywhere hides nothing else.
const OF_EACH_CODE: usize = 2;
const _: () = assert!(OF_EACH_CODE * Code::ALL.len() <= LISTED_MAX);
/// The longest text of a warning in bytes, and of its remedy: reasons come from hosts.
pub const TEXT_MAX_BYTES: usize = 2_048;

/// How long something has lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since {
    /// In milliseconds.
    pub ms: u64,
    /// True when it may have begun earlier: whoever saw the beginning does not lead any more.
    pub at_least: bool,
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_least = if self.at_least { "at least " } else { "" };
        f.pad(&format!("{at_least}{}", seconds(self.ms)))
    }
}

/// A span for people, to a tenth of a second below ten seconds.
pub(super) fn seconds(ms: u64) -> String {
    if ms < 10_000 { format!("{}.{} s", ms / 1_000, ms / 100 % 10) } else { format!("{} s", ms / 1_000) }
}

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Its stable name.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// How long it has lasted, as far as that is known.
    pub since: Option<Since>,
    /// What is wrong, for people.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// The list, and how much there is altogether.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Warnings {
    /// Worst first, then longest first; at most [`LISTED_MAX`], and when there are more, the first two of each code in any case.
    pub listed: Vec<Warning>,
    /// How many more there are.
    pub unlisted: usize,
    /// How bad the worst is.
    pub worst: Option<Severity>,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) remedy: String,
}

impl Words {
    pub(super) fn new(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { text: text.into(), remedy: remedy.into() }
    }
}

/// A warning whose words are not found yet.
pub(super) struct Draft<'a> {
    pub(super) severity: Severity,
    pub(super) code: Code,
    pub(super) subject: Subject,
    pub(super) since: Option<Since>,
    pub(super) words: Box<dyn Fn() -> Words + 'a>,
}

/// What was found, in any order.
#[derive(Default)]
pub(super) struct Drafts<'a>(Vec<Draft<'a>>);

impl<'a> Drafts<'a> {
    pub(super) fn add(
        &mut self,
        (severity, code): (Severity, Code),
        subject: Subject,
        since: Option<Since>,
        words: impl Fn() -> Words + 'a,
    ) {
        self.0.push(Draft { severity, code, subject, since, words: Box::new(words) });
    }

    pub(super) fn list(self) -> Warnings {
        let worst = self.0.iter().map(|draft| draft.severity).max();
        let order = |one: &Draft<'_>, other: &Draft<'_>| {
            let key = |draft: &Draft<'_>| {
                (Reverse(draft.severity), Reverse(draft.since.map_or(0, |since| since.ms)))
            };
            let rest = || (one.code, &one.subject).cmp(&(other.code, &other.subject));
            key(one).cmp(&key(other)).then_with(rest)
        };
        let unlisted = self.0.len().saturating_sub(LISTED_MAX);
        let mut listed = if unlisted > 0 { cut(self.0, order) } else { self.0 };
        listed.sort_by(order);
        Warnings { listed: listed.into_iter().map(said).collect(), unlisted, worst }
    }
}

/// The first [`OF_EACH_CODE`] of each code, and the first of all others up to [`LISTED_MAX`]; there are more.
fn cut<'a>(all: Vec<Draft<'a>>, order: impl Copy + Fn(&Draft<'a>, &Draft<'a>) -> Ordering) -> Vec<Draft<'a>> {
    let mut by_code: BTreeMap<Code, Vec<Draft<'a>>> = BTreeMap::new();
    for draft in all {
        by_code.entry(draft.code).or_default().push(draft);
    }
    let (mut listed, mut others) = (Vec::new(), Vec::new());
    for mut of_one in by_code.into_values() {
        if of_one.len() > OF_EACH_CODE {
            of_one.select_nth_unstable_by(OF_EACH_CODE, order);
            others.extend(of_one.drain(OF_EACH_CODE..));
        }
        listed.append(&mut of_one);
    }
    let room = LISTED_MAX.saturating_sub(listed.len());
    if others.len() > room {
        others.select_nth_unstable_by(room, order);
        others.truncate(room);
    }
    listed.append(&mut others);
    listed
}

fn said(draft: Draft<'_>) -> Warning {
    let Words { text, remedy } = (draft.words)();
    let Draft { severity, code, subject, since, .. } = draft;
    Warning { code, severity, subject, since, text: shortened(text), remedy: shortened(remedy) }
}

fn shortened(mut text: String) -> String {
    const MARK: &str = "...";
    if text.len() > TEXT_MAX_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES - MARK.len()));
        text.push_str(MARK);
    }
    text
}
