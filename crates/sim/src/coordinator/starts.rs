//! Which process speaks for a coordinator, as the coordinator crate judges it, over the real rules: each start is compared
//! with the one on record, and where it goes on in another place it is asked whether that one is gone.

use super::{Coordinator, Desk, Process, coordinator_id};
use crate::{
    env::Env,
    message::{Packet, Sender},
    network::Node,
    raft::Durable,
};
use quorate_domain::{
    CoordinatorId, InstanceId,
    starts::{KnownStarts, Recorded, Standing, Start, Word},
};
use std::{collections::BTreeMap, sync::Arc};

/// How long the others may take to say whom they hear.
const ASK_MS: u64 = 1_000;

/// What a data folder has beside the log. It is durable before anything rests on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    /// The last start on it, and the machine that it was on.
    last: Option<(Start, Node)>,
    /// The starts of the others that count.
    known: BTreeMap<Node, KnownStarts>,
    /// No process on it counts any more, by what another coordinator said.
    left_behind: bool,
}

/// What a process knows of those that speak for the others.
#[derive(Debug)]
pub(super) struct Starts {
    own: Arc<Start>,
    known: BTreeMap<Node, KnownStarts>,
    /// When the start that counts was last heard.
    heard_ms: BTreeMap<Node, u64>,
    /// Of whom it is being asked whether the start on record is still there.
    asking: BTreeMap<Node, Asking>,
}

#[derive(Debug)]
struct Asking {
    start: Arc<Start>,
    recorded: InstanceId,
    at_its_address: Option<InstanceId>,
    others: Vec<(CoordinatorId, Word)>,
    until_ms: u64,
}

impl Coordinator {
    /// A machine for a copy of another one's folder.
    pub(crate) fn for_a_copy(node: Node) -> Self {
        Self::new(node, 0)
    }

    /// Begins a start on the folder.
    pub(super) fn next_start(&mut self, env: &mut Env) -> Starts {
        let last = self.folder.last.take();
        let same_place = last.as_ref().is_none_or(|(_, machine)| *machine == self.node);
        let start = Start::after(last.as_ref().map(|(start, _)| start), same_place, || env.new_instance());
        self.folder.last = Some((start.clone(), self.node));
        let known = std::mem::take(&mut self.folder.known);
        Starts { own: Arc::new(start), known, heard_ms: BTreeMap::new(), asking: BTreeMap::new() }
    }

    /// What the process has put into the folder stays there.
    pub(super) fn keep(&mut self, starts: Starts) {
        self.folder.known = starts.known;
    }

    /// Its data folder, as a copy of it would be at this moment.
    fn copied(&self) -> (Folder, Durable) {
        match &self.process {
            Some(process) => {
                let folder = Folder { known: process.starts.known.clone(), ..self.folder.clone() };
                (folder, process.raft.durable().clone())
            }
            None => (self.folder.clone(), self.durable.clone()),
        }
    }

    /// True for a machine on which nothing has ever run.
    pub(crate) fn is_blank(&self) -> bool {
        self.life == 0
    }

    /// Starts on a copy of another one's folder, and speaks for it.
    pub(crate) fn start_on_a_copy_of(&mut self, original: &Self, env: &mut Env) {
        self.me = original.me;
        (self.folder, self.durable) = original.copied();
        env.note_copy(self.node, original.me);
        env.note(self.node, || format!("is a copy of c{}", original.me + 1));
        self.start(env);
    }

    /// True once it was told that its folder counts no more.
    pub(super) fn is_left_behind(&self) -> bool {
        self.folder.left_behind
    }

    /// Another start of this node counts: the process ends for good, if it is the one that was refused.
    pub(super) fn end_left_behind(&mut self, refused: &InstanceId, env: &mut Env) {
        let is_refused = self.process.as_ref().is_some_and(|process| process.starts.own.id == *refused);
        if is_refused && self.crash(env) {
            env.note(self.node, || "is refused for good, and ends".to_owned());
            env.counts.add("starts/refused-and-away");
            self.folder.left_behind = true;
        }
    }
}

impl Process {
    /// As whom it speaks.
    pub(super) fn sender(&self, desk: &Desk) -> Sender {
        Sender { id: desk.me, start: Arc::clone(&self.starts.own) }
    }

    /// Whether a process speaks for its node. One that does not is told so if that is for good; otherwise it is looked into.
    pub(super) fn admits(&mut self, machine: Node, sender: &Sender, desk: &Desk, env: &mut Env) -> bool {
        let now_ms = env.local_ms(desk.node);
        let known = self.starts.known.get(&sender.id);
        match known.map_or(Standing::First, |known| known.judge(&sender.start)) {
            Standing::First | Standing::Successor => {
                let counts = KnownStarts::with(known, &sender.start);
                self.starts.known.insert(sender.id, counts);
            }
            Standing::Current => {}
            Standing::LeftBehind { .. } => {
                env.counts.add("starts/refused");
                env.send(desk.node, machine, Packet::LeftBehind(sender.start.id.clone()));
                return false;
            }
            Standing::Elsewhere { recorded } => {
                self.look_into(sender, recorded, desk, env);
                return false;
            }
        }
        self.starts.heard_ms.insert(sender.id, now_ms);
        true
    }

    /// Asks around whether the start on record is still there. Nobody waits for it: whoever was refused comes again.
    fn look_into(&mut self, sender: &Sender, recorded: InstanceId, desk: &Desk, env: &mut Env) {
        if self.starts.asking.contains_key(&sender.id) {
            return;
        }
        env.counts.add("starts/looked-into");
        let until_ms = env.local_ms(desk.node) + ASK_MS;
        let start = Arc::clone(&sender.start);
        for peer in self.raft.members().everybody().into_iter().filter(|peer| *peer != desk.me) {
            env.send(desk.node, peer, Packet::About { node: sender.id, start: Arc::clone(&start) });
        }
        let asking = Asking { start, recorded, at_its_address: None, others: Vec::new(), until_ms };
        self.starts.asking.insert(sender.id, asking);
    }

    /// Says by which start another one is heard here.
    pub(super) fn asked_about(
        &self,
        machine: Node,
        node: Node,
        start: &Arc<Start>,
        desk: &Desk,
        env: &mut Env,
    ) {
        let known = self.starts.known.get(&node);
        let word = Word {
            start: self.starts.own.id.clone(),
            heard: self.heard(node, env.local_ms(desk.node)),
            refuses: known.is_some_and(|known| matches!(known.judge(start), Standing::LeftBehind { .. })),
        };
        env.send(desk.node, machine, Packet::Word { by: desk.me, of: node, about: Arc::clone(start), word });
    }

    fn heard(&self, node: Node, now_ms: u64) -> Option<(InstanceId, u64)> {
        let counts = self.starts.known.get(&node)?.id().clone();
        Some((counts, now_ms.saturating_sub(*self.starts.heard_ms.get(&node)?)))
    }

    /// One of those that were asked has answered.
    pub(super) fn told(&mut self, by: Node, of: Node, about: &Arc<Start>, word: Word) {
        let asking = self.starts.asking.get_mut(&of).filter(|asking| asking.start == *about);
        match asking {
            Some(asking) if by == of => asking.at_its_address = Some(word.start),
            Some(asking) => asking.others.push((coordinator_id(by), word)),
            None => {}
        }
    }

    /// Decides about those of whom enough time was given to hear.
    pub(super) fn decide_about_starts(&mut self, now_ms: u64, env: &mut Env) {
        let due = |asking: &Asking| asking.until_ms <= now_ms;
        let nodes: Vec<Node> =
            self.starts.asking.iter().filter(|(_, asking)| due(asking)).map(|(node, _)| *node).collect();
        for node in nodes {
            let Some(Asking { start, recorded, at_its_address, others, .. }) =
                self.starts.asking.remove(&node)
            else {
                continue;
            };
            let heard_here = self.heard(node, now_ms);
            let found =
                Recorded::by(&start.id, &recorded, at_its_address.as_ref(), &others, heard_here.as_ref());
            // Something else may have been decided meanwhile.
            let known = self.starts.known.get(&node).filter(|known| *known.id() == recorded);
            let (Some(known), decided) = (known, found) else { continue };
            let now_known = match decided {
                Recorded::Answers | Recorded::RefusedBy(_) => known.refusing(&start),
                Recorded::Gone => KnownStarts::with(Some(known), &start),
                Recorded::Unclear => {
                    env.counts.add("starts/left-open");
                    continue;
                }
            };
            self.starts.known.insert(node, now_known);
        }
    }
}
