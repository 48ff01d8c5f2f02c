//! Which process speaks for a coordinator, as the coordinator crate judges it, over the real rules: each start is compared
//! with the one on record, and where it goes on in another place it is asked whether that one is gone.

use super::{Coordinator, Desk, Process, coordinator_id};
use crate::{
    env::Env,
    message::{Packet, Sender},
    network::Node,
    oracle::Fact,
    raft::Durable,
};
use quorate_domain::{
    CoordinatorId, InstanceId,
    starts::{Decision, KnownStarts, Place, Standing, Start, Survey, Wish, Word},
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
    /// Nothing runs, nor ever will, on what it is a copy of.
    vouched: bool,
    /// No other one counted it yet since it was found in another place.
    waits: bool,
}

/// What a process knows of those that speak for the others.
#[derive(Debug)]
pub(super) struct Starts {
    own: Arc<Start>,
    /// No other one has counted it yet.
    waits: bool,
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
        // Its file system keeps no birth of files: what is found elsewhere may be a copy.
        let place = if same_place { Place::Same } else { Place::Another };
        let mut start = Start::after(last.as_ref().map(|(start, _)| start), place, || env.new_instance());
        let waits = self.folder.waits || (place == Place::Another && last.is_some());
        let vouched = std::mem::take(&mut self.folder.vouched);
        if vouched {
            start.vouch();
        }
        let waits = waits && !vouched;
        self.folder.last = Some((start.clone(), self.node));
        let known = std::mem::take(&mut self.folder.known);
        Starts { own: Arc::new(start), waits, known, heard_ms: BTreeMap::new(), asking: BTreeMap::new() }
    }

    /// What the process has put into the folder stays there.
    pub(super) fn keep(&mut self, starts: Starts) {
        self.folder.known = starts.known;
        self.folder.waits = starts.waits;
    }

    /// Its data folder, as a copy of it would be at this moment.
    fn copied(&self) -> (Folder, Durable) {
        match &self.process {
            Some(process) => {
                let Starts { known, waits, .. } = &process.starts;
                let folder = Folder { known: known.clone(), waits: *waits, ..self.folder.clone() };
                (folder, process.raft.durable().clone())
            }
            None => (self.folder.clone(), self.durable.clone()),
        }
    }

    /// True for a machine on which nothing has ever run.
    pub(crate) fn is_blank(&self) -> bool {
        self.life == 0
    }

    /// Where it stands.
    pub(crate) fn machine(&self) -> Node {
        self.node
    }

    /// True when both speak for the same node.
    pub(crate) fn is_copy_of(&self, original: &Self) -> bool {
        self.me == original.me
    }

    fn known(&self) -> &BTreeMap<Node, KnownStarts> {
        self.process.as_ref().map_or(&self.folder.known, |process| &process.starts.known)
    }

    /// True when it has promised no start that it does not count: then whoever was moved counts here, or went back and was
    /// settled.
    pub(crate) fn has_settled_all(&self) -> bool {
        self.known().values().all(|known| known.is_current(known.id()))
    }

    /// True when it takes no start of that node but the last one on this copy.
    pub(crate) fn goes_on_as(&self, copy: &Self) -> bool {
        let record = self.known().get(&copy.me);
        let last = copy.folder.last.as_ref();
        last.is_some_and(|(last, _)| record.is_some_and(|record| record.takes(last)))
    }

    /// Goes on with what its copy has, which never runs again.
    pub(crate) fn take_back(&mut self, copy: &Self, env: &mut Env) {
        self.folder_of(copy, env);
        self.folder.vouched = true;
        self.start(env);
    }

    /// Starts on a copy of another one's folder, and speaks for it.
    pub(crate) fn start_on_a_copy_of(&mut self, original: &Self, env: &mut Env) {
        self.folder_of(original, env);
        self.start(env);
    }

    fn folder_of(&mut self, original: &Self, env: &mut Env) {
        self.me = original.me;
        (self.folder, self.durable) = original.copied();
        env.note_copy(self.node, original.me);
        env.see(&Fact::Copied { node: self.node, from: original.node });
        env.note(self.node, || format!("is a copy of c{}", original.me + 1));
    }

    /// True once it was told that its folder counts no more.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.folder.left_behind
    }

    /// Another start of this node counts: the process ends for good, if it is the one that was refused, by one that counts.
    pub(super) fn end_left_behind(&mut self, by: &Sender, refused: &InstanceId, env: &mut Env) {
        let is_refused = self.process.as_ref().is_some_and(|process| {
            let another_counts =
                process.starts.known.contains_key(&by.id) && !process.counts(by.id, &by.start.id);
            process.starts.own.id == *refused && !another_counts
        });
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
            Standing::LeftBehind { why } => {
                env.counts.add("starts/refused");
                env.note(desk.node, || {
                    format!("refuses {} of c{} for good: {why}", sender.start, sender.id + 1)
                });
                let refused = sender.start.id.clone();
                env.send(desk.node, machine, Packet::LeftBehind { by: self.sender(desk), refused });
                return false;
            }
            Standing::Elsewhere { recorded } => {
                self.look_into(sender.id, Arc::clone(&sender.start), recorded, Wish::Word, desk, env);
                return false;
            }
            Standing::Contested { recorded, promised } => {
                env.counts.add("starts/contested");
                let wish = KnownStarts::wish_beside(&promised, &sender.start);
                self.look_into(sender.id, Arc::new(*promised), recorded, wish, desk, env);
                return false;
            }
        }
        self.starts.heard_ms.insert(sender.id, now_ms);
        true
    }

    /// Another one has answered what was said to it: it counts there.
    pub(super) fn counted_by(&mut self, peer: Node) {
        if self.raft.members().votes(peer) {
            self.starts.waits = false;
        }
    }

    /// Asks around whether the start on record is still there. Nobody waits for it: whoever was refused comes again.
    fn look_into(
        &mut self,
        node: Node,
        start: Arc<Start>,
        recorded: InstanceId,
        wish: Wish,
        desk: &Desk,
        env: &mut Env,
    ) {
        if self.starts.asking.contains_key(&node) {
            return;
        }
        env.counts.add("starts/looked-into");
        let until_ms = env.local_ms(desk.node) + ASK_MS;
        for peer in self.raft.members().everybody().into_iter().filter(|peer| *peer != desk.me) {
            let wish = if peer == node { Wish::Word } else { wish };
            env.send(desk.node, peer, Packet::About { node, start: Arc::clone(&start), wish });
        }
        let asking = Asking { start, recorded, at_its_address: None, others: Vec::new(), until_ms };
        self.starts.asking.insert(node, asking);
    }

    /// Says by which start another one is heard here, and does what the asking one wishes first.
    pub(super) fn asked_about(
        &mut self,
        machine: Node,
        node: Node,
        start: &Arc<Start>,
        wish: Wish,
        desk: &Desk,
        env: &mut Env,
    ) {
        let heard = self.heard(node, env.local_ms(desk.node));
        let known = self.starts.known.get(&node);
        if let Some(after) = known.and_then(|known| known.after_wish(wish, start, heard.as_ref())) {
            env.counts.add("starts/wish-granted");
            env.note(desk.node, || format!("grants the wish about {start} of c{}: {wish:?}", node + 1));
            self.starts.known.insert(node, after);
        }
        let known = self.starts.known.get(&node);
        let word = Word {
            start: self.starts.own.id.clone(),
            heard,
            refuses: known.is_some_and(|known| known.refuses(start)),
            takes: known.is_some_and(|known| known.takes(start)),
        };
        env.send(desk.node, machine, Packet::Word { by: desk.me, of: node, about: Arc::clone(start), word });
    }

    /// True when this start of another one counts.
    pub(super) fn counts(&self, node: Node, start: &InstanceId) -> bool {
        self.starts.known.get(&node).is_some_and(|known| known.is_current(start))
    }

    fn heard(&self, node: Node, now_ms: u64) -> Option<(InstanceId, u64)> {
        let counts = self.starts.known.get(&node)?.id().clone();
        Some((counts, now_ms.saturating_sub(*self.starts.heard_ms.get(&node)?)))
    }

    /// One of those that were asked has answered.
    pub(super) fn told(&mut self, by: Node, of: Node, about: &Arc<Start>, word: Word) {
        let counts = self.counts(by, &word.start);
        let asking = self.starts.asking.get_mut(&of).filter(|asking| asking.start == *about);
        match asking {
            Some(asking) if by == of => asking.at_its_address = Some(word.start),
            Some(asking) => asking.others.push((coordinator_id(by), word.if_it_counts(counts))),
            None => {}
        }
    }

    /// Decides about those of whom enough time was given to hear.
    pub(super) fn decide_about_starts(&mut self, now_ms: u64, desk: &Desk, env: &mut Env) {
        let due = |asking: &Asking| asking.until_ms <= now_ms;
        let nodes: Vec<Node> =
            self.starts.asking.iter().filter(|(_, asking)| due(asking)).map(|(node, _)| *node).collect();
        let voters =
            self.raft.members().voters.iter().map(|voters| voters.iter().copied().map(coordinator_id));
        let voters: Vec<_> = voters.map(Iterator::collect).collect();
        for node in nodes {
            let Some(asking) = self.starts.asking.remove(&node) else { continue };
            let heard_here = self.heard(node, now_ms);
            let Some(known) = self.starts.known.get(&node) else { continue };
            let decision = known.decide(&Survey {
                start: &asking.start,
                node: coordinator_id(node),
                recorded: &asking.recorded,
                here: desk.id,
                here_waits: self.starts.waits,
                voters: &voters,
                at_its_address: asking.at_its_address.as_ref(),
                words: &asking.others,
                heard_here: heard_here.as_ref(),
            });
            env.counts.add(match decision {
                Decision::Counts => "starts/counts-elsewhere",
                Decision::Promised => "starts/promised",
                Decision::Refused(_) => "starts/refused-by-survey",
                Decision::Open(_) => "starts/left-open",
            });
            if let Some(after) = known.after(&decision, &asking.start) {
                env.note(desk.node, || {
                    format!("decides about {} of c{}: {decision:?}", asking.start, node + 1)
                });
                self.starts.known.insert(node, after);
            }
        }
    }
}
