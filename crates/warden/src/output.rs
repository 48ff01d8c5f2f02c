//! What hooks, and what they left running, write: read for as long as anything holds the pipe, so that nobody ends by
//! SIGPIPE or waits for a reader, and passed on in lines, within bounds.

use crate::protocol::{Hook, Output};
use quorate_domain::{Epoch, GroupId};
use rustix::{fd::OwnedFd, fs::OFlags, io::Errno};

/// The longest line that is passed on, in bytes; what is beyond is left out.
pub(crate) const LINE_MAX_BYTES: usize = 4 << 10;
/// The most lines of one stream that are passed on in [`PERIOD_MS`].
const LINES_PER_PERIOD: u32 = 200;
const PERIOD_MS: u64 = 1_000;
/// The most that is read of one stream at once.
const READ_MAX_BYTES: usize = 256 << 10;
/// A stream that had more to say than that rests for so long.
pub(crate) const REST_MS: u64 = 10;
/// How much of the last words is kept.
const LAST_WORDS_MAX_BYTES: usize = 300;

/// Where the reading of a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing more for now.
    Dry,
    /// There is more.
    More,
    /// Nobody holds it any more.
    Over,
}

/// One stream of a hook.
#[derive(Debug)]
pub(crate) struct Outlet {
    pub(crate) pipe: OwnedFd,
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    pub(crate) hook: Hook,
    pub(crate) stream: &'static str,
    lines: Lines,
    period: u64,
    said: u32,
    dropped: u64,
}

impl Outlet {
    pub(crate) fn new(
        pipe: OwnedFd,
        (group, epoch, hook): (GroupId, Epoch, Hook),
        stream: &'static str,
    ) -> rustix::io::Result<Self> {
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self { pipe, group, epoch, hook, stream, lines: Lines::default(), period: 0, said: 0, dropped: 0 })
    }

    /// Reads what is there; whole lines go to `say`, which answers whether it has taken them.
    pub(crate) fn read(&mut self, now: u64, buffer: &mut [u8], say: &mut impl FnMut(Output) -> bool) -> Flow {
        let mut read = 0;
        while read < READ_MAX_BYTES {
            match rustix::io::read(&self.pipe, &mut *buffer) {
                Ok(0) => {
                    self.lines.finish();
                    self.pass_on(now, say);
                    return Flow::Over;
                }
                Ok(count) => {
                    read += count;
                    self.lines.take(&buffer[..count]);
                    self.pass_on(now, say);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Flow::Dry,
                Err(_) => return Flow::Over,
            }
        }
        Flow::More
    }

    fn pass_on(&mut self, now: u64, say: &mut impl FnMut(Output) -> bool) {
        if now / PERIOD_MS != self.period {
            (self.period, self.said) = (now / PERIOD_MS, 0);
        }
        for line in self.lines.whole.drain(..) {
            let output = Output {
                group: self.group.clone(),
                epoch: self.epoch,
                hook: self.hook,
                stream: self.stream.to_owned(),
                line,
                dropped: self.dropped,
            };
            if self.said < LINES_PER_PERIOD && say(output) {
                self.said += 1;
                self.dropped = 0;
            } else {
                self.dropped += 1;
            }
        }
        self.dropped += std::mem::take(&mut self.lines.dropped);
    }

    /// What it said last.
    pub(crate) fn last_words(&self) -> &str {
        let last = self.lines.last.trim();
        &last[last.floor_char_boundary(last.len().saturating_sub(LAST_WORDS_MAX_BYTES))..]
    }
}

/// Bytes as lines.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    /// The line is longer than is passed on.
    cut: bool,
    whole: Vec<String>,
    last: String,
    dropped: u64,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let first = pieces.next().unwrap_or_default();
        self.extend(first);
        for piece in pieces {
            self.finish();
            self.extend(piece);
        }
    }

    fn extend(&mut self, piece: &[u8]) {
        let room = LINE_MAX_BYTES - self.partial.len();
        self.cut |= piece.len() > room;
        self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn finish(&mut self) {
        if self.partial.is_empty() {
            return;
        }
        // Within one period no more than this is ever said.
        if self.whole.len() as u64 >= u64::from(LINES_PER_PERIOD) {
            self.dropped += 1;
            self.partial.clear();
            self.cut = false;
            return;
        }
        let mut line = String::from_utf8_lossy(&self.partial).into_owned();
        if std::mem::take(&mut self.cut) {
            line.push_str(" [cut]");
        }
        self.partial.clear();
        self.last.clone_from(&line);
        self.whole.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn outlet() -> (Outlet, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let whose = (GroupId::new("g").unwrap(), Epoch(3), Hook::Promote);
        (Outlet::new(reader.into(), whose, "stdout").unwrap(), writer)
    }

    fn read(outlet: &mut Outlet, now: u64) -> (Flow, Vec<(String, u64)>) {
        let mut said = Vec::new();
        let flow = outlet.read(now, &mut [0; 4_096], &mut |output| {
            said.push((output.line, output.dropped));
            true
        });
        (flow, said)
    }

    #[test]
    fn lines_are_passed_on_whole_and_a_last_one_without_an_end_too() {
        let (mut outlet, mut writer) = outlet();
        writer.write_all(b"one\ntw").unwrap();
        assert_eq!(read(&mut outlet, 0), (Flow::Dry, vec![("one".into(), 0)]));
        writer.write_all(b"o\n\nthree").unwrap();
        assert_eq!(read(&mut outlet, 0).1, [("two".into(), 0)]);
        drop(writer);
        assert_eq!(read(&mut outlet, 0), (Flow::Over, vec![("three".into(), 0)]));
        assert_eq!(outlet.last_words(), "three");
    }

    #[test]
    fn long_lines_are_cut_and_too_many_are_counted() {
        let (mut outlet, mut writer) = outlet();
        writer.write_all(&[b'x'; 3 * LINE_MAX_BYTES]).unwrap();
        writer.write_all(b"\n").unwrap();
        let (_, said) = read(&mut outlet, 0);
        assert_eq!(said[0].0.len(), LINE_MAX_BYTES + " [cut]".len());
        for _ in 0..500 {
            writer.write_all(b"a\n").unwrap();
        }
        let (_, said) = read(&mut outlet, 0);
        assert_eq!(said.len(), usize::try_from(LINES_PER_PERIOD).unwrap() - 1);
        writer.write_all(b"later\n").unwrap();
        let (_, said) = read(&mut outlet, PERIOD_MS);
        assert_eq!(said, [("later".into(), 301)]);
    }
}
