//! A process that stands still, as after a signal: it exists, and what reaches it waits.

use crate::{env::Timer, message::Packet, network::Node};

/// What reaches a process.
#[derive(Debug)]
pub(crate) enum Reached {
    /// A packet, from a node.
    Packet(Node, Packet),
    /// A timer of its own.
    Timer(Timer),
}

/// Whether a process stands still, and what waits for it.
#[derive(Debug, Default)]
pub(crate) struct Standstill(Option<Vec<Reached>>);

impl Standstill {
    /// True while it stands still.
    pub(crate) fn holds(&self) -> bool {
        self.0.is_some()
    }

    /// Stops it.
    pub(crate) fn begin(&mut self) {
        self.0.get_or_insert_default();
    }

    /// Lets it go on; what has come meanwhile is returned.
    pub(crate) fn end(&mut self) -> Vec<Reached> {
        self.0.take().unwrap_or_default()
    }

    /// Gives back what the process takes in at once; keeps it for later while it stands still.
    pub(crate) fn pass(&mut self, reached: Reached) -> Option<Reached> {
        match &mut self.0 {
            Some(waiting) => {
                waiting.push(reached);
                None
            }
            None => Some(reached),
        }
    }
}
