//! The last events of each node, to be read in one line of time.

use crate::{network::Node, plan::Plan, time::Moment};
use std::collections::VecDeque;

/// Stands for no node, but for the world itself.
pub(crate) const WORLD: Node = Node::MAX;

/// So many lines are kept for each node.
const LINES_MAX: usize = 60;

/// The lines of all nodes.
#[derive(Debug)]
pub(crate) struct Timeline {
    names: Vec<String>,
    lines: Vec<VecDeque<(Moment, u64, String)>>,
    written: u64,
}

impl Timeline {
    /// An empty one.
    pub(crate) fn new(plan: &Plan) -> Self {
        let coordinators = (1..=plan.machines()).map(|number| format!("c{number}"));
        let agents = (1..=plan.agents).map(|number| format!("h{number}")).chain(["copy".to_owned()]);
        let clients = (1..=plan.clients).map(|number| format!("client{number}"));
        let copies = (1..=plan.clones).map(|number| format!("clone{number}"));
        let names: Vec<String> =
            coordinators.chain(agents).chain(clients).chain(copies).chain(["world".to_owned()]).collect();
        Self { lines: vec![VecDeque::new(); names.len()], names, written: 0 }
    }

    /// Adds a line, of a node or of the [`WORLD`].
    pub(crate) fn add(&mut self, at: Moment, node: Node, line: String) {
        let node = node.min(self.lines.len() - 1);
        self.written += 1;
        let lines = &mut self.lines[node];
        lines.push_back((at, self.written, line));
        if lines.len() > LINES_MAX {
            lines.pop_front();
        }
    }

    /// All lines in order of time.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .lines
            .iter()
            .zip(&self.names)
            .flat_map(|(lines, name)| lines.iter().map(move |(at, order, line)| (*at, *order, name, line)))
            .collect();
        all.sort_by_key(|(at, order, ..)| (*at, *order));
        all.into_iter().map(|(at, _, name, line)| format!("{at:>12} {name:<8} {line}")).collect()
    }
}
