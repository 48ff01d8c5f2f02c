//! What a coordinator has written, what of it is durable, and what a crash leaves.

use super::{
    RaftMessage,
    log::{Entry, Log, Place, Snapshot},
};
use std::{collections::VecDeque, sync::Arc};

/// Term and vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Ballot {
    /// The term.
    pub(crate) term: u64,
    /// Whom it voted for in it.
    pub(crate) voted_for: Option<usize>,
}

/// One batch on its way to the disk: all of it or nothing survives a crash.
#[derive(Debug, Default)]
pub(crate) struct Write {
    /// A new term or vote.
    pub(crate) ballot: Option<Ballot>,
    /// Drop the entries from here on.
    pub(crate) cut: Option<u64>,
    /// Then add these.
    pub(crate) append: Vec<Arc<Entry>>,
    /// A snapshot.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// It came from the leader, and takes the place of all that it covers.
    pub(crate) installs: bool,
    /// Forget the entries up to here.
    pub(crate) purge: Option<Place>,
    /// What is said once it is durable.
    pub(crate) then: Vec<(usize, RaftMessage)>,
    /// The own log counts up to here once it is durable, for a leader of this term.
    pub(crate) flushed: Option<Place>,
    /// The own vote counts in this term once it is durable.
    pub(crate) stood_for: Option<u64>,
}

/// What survives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    /// Term and vote.
    pub(crate) ballot: Ballot,
    /// The log.
    pub(crate) log: Log,
    /// The newest snapshot.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
}

/// A disk that takes one batch after the other.
#[derive(Debug)]
pub(crate) struct Disk {
    /// What survives.
    pub(crate) durable: Durable,
    under_way: VecDeque<Write>,
}

impl Disk {
    /// An idle disk that holds this.
    pub(crate) fn holding(durable: Durable) -> Self {
        Self { durable, under_way: VecDeque::new() }
    }

    /// Hands over a batch. True when the disk was idle: somebody must say when it is done.
    pub(crate) fn write(&mut self, write: Write) -> bool {
        self.under_way.push_back(write);
        self.under_way.len() == 1
    }

    /// Says something once everything that was handed over is durable; at once when it is.
    pub(crate) fn say_when_durable(&mut self, to: usize, message: RaftMessage) -> Option<RaftMessage> {
        match self.under_way.back_mut() {
            Some(last) => last.then.push((to, message)),
            None => return Some(message),
        }
        None
    }

    /// The first batch is durable. Also says whether another is under way.
    pub(crate) fn done(&mut self) -> Option<(Write, bool)> {
        let write = self.under_way.pop_front()?;
        keep(&mut self.durable, &write);
        Some((write, !self.under_way.is_empty()))
    }

    /// How many batches a crash could lose.
    pub(crate) fn unsynced(&self) -> usize {
        self.under_way.len()
    }

    /// Power is lost: of what was not synced, the first `kept` batches happen to be there.
    pub(crate) fn crash(&mut self, kept: usize) {
        let kept = kept.min(self.under_way.len());
        let survivors: Vec<Write> = self.under_way.drain(..).take(kept).collect();
        for write in survivors {
            keep(&mut self.durable, &write);
        }
    }
}

fn keep(durable: &mut Durable, write: &Write) {
    if let Some(ballot) = write.ballot {
        durable.ballot = ballot;
    }
    if let Some(snapshot) = &write.snapshot {
        durable.snapshot = Some(Arc::clone(snapshot));
        if durable.log.term_at(snapshot.at.index) != Some(snapshot.at.term) || write.installs {
            durable.log.restart(snapshot);
        }
    }
    if let Some(index) = write.cut {
        durable.log.cut(index);
    }
    durable.log.append(&write.append);
    if let Some(upto) = write.purge {
        durable.log.purge(upto);
    }
}
