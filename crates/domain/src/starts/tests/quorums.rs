//! Several coordinators whose folders are copied, in whatever order and at the same time: no two quorums of processes without
//! one in common.

use super::*;

/// A folder of some node, and the process on it while there is one.
#[derive(Clone)]
struct Process {
    node: CoordinatorId,
    start: Start,
    runs: bool,
    /// What it starts on next is a copy.
    copied: bool,
    waits: bool,
    known: BTreeMap<CoordinatorId, KnownStarts>,
    heard: BTreeMap<CoordinatorId, (InstanceId, u64)>,
    /// The process that it finds at the address of each node.
    addresses: BTreeMap<CoordinatorId, usize>,
    asking: BTreeMap<CoordinatorId, Asking>,
}

impl Process {
    fn counts(&self, other: &Self) -> bool {
        self.known.get(&other.node).is_some_and(|known| known.is_current(&other.start.id))
    }

    fn heard(&self, node: CoordinatorId, now_ms: u64) -> Option<(InstanceId, u64)> {
        let (id, at_ms) = self.heard.get(&node)?.clone();
        Some((id, now_ms - at_ms))
    }
}

struct Coordinators {
    chance: u64,
    names: Names,
    now_ms: u64,
    voters: BTreeSet<CoordinatorId>,
    processes: Vec<Process>,
}

const COPIES_MAX: usize = 4;

impl Coordinators {
    fn new(seed: u64, voters: u64) -> Self {
        let mut names = Names(0, BTreeMap::new());
        let voters: BTreeSet<_> = (1..=voters).map(CoordinatorId).collect();
        let starts: BTreeMap<_, _> = voters.iter().map(|node| (*node, names.next(None, true))).collect();
        let process = |node: &CoordinatorId| {
            let others = || starts.iter().filter(|(other, _)| *other != node);
            Process {
                node: *node,
                start: starts[node].clone(),
                runs: true,
                copied: false,
                waits: false,
                known: others().map(|(other, start)| (*other, known(start))).collect(),
                heard: BTreeMap::new(),
                addresses: others()
                    .map(|(other, _)| (*other, usize::try_from(other.0 - 1).unwrap()))
                    .collect(),
                asking: BTreeMap::new(),
            }
        };
        let processes = voters.iter().map(process).collect();
        let chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { chance, names, now_ms: 0, voters, processes }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.chance >> 33).unwrap() % below
    }

    fn step(&mut self) {
        let (one, other) = (self.pick(self.processes.len()), self.pick(self.processes.len()));
        match self.pick(24) {
            0 => self.processes[one].runs = false,
            1 if !self.processes[one].runs => self.start(one),
            2 if self.processes.len() < self.voters.len() + COPIES_MAX => {
                let mut copy = self.processes[one].clone();
                (copy.runs, copy.copied) = (false, true);
                self.processes.push(copy);
            }
            3 => self.now_ms += MAY_BE_THERE_MS / 2 + 1,
            4 => {
                let node = self.processes[other].node;
                self.processes[one].addresses.insert(node, other);
            }
            // Most find it there from now on.
            5 => {
                let node = self.processes[other].node;
                for at in 0..self.processes.len() {
                    if self.pick(4) > 0 && self.processes[at].node != node {
                        self.processes[at].addresses.insert(node, other);
                    }
                }
            }
            6..=12 => self.speak(one, other),
            13..=19 => {
                if let Some((by, node)) = self.someone_who_asks() {
                    self.ask(by, node);
                }
            }
            _ => {
                if let Some((here, node)) = self.someone_who_asks() {
                    self.decide(here, node);
                }
            }
        }
    }

    fn someone_who_asks(&mut self) -> Option<(usize, CoordinatorId)> {
        let all = |(at, process): (usize, &Process)| {
            process.asking.keys().map(move |node| (at, *node)).collect::<Vec<_>>()
        };
        let asking: Vec<_> = self.processes.iter().enumerate().flat_map(all).collect();
        (!asking.is_empty()).then(|| asking[self.pick(asking.len())])
    }

    fn start(&mut self, at: usize) {
        let place = match (self.processes[at].copied, self.pick(3)) {
            (true, _) => Place::Another,
            (false, 0) => Place::SameFile,
            (false, _) => Place::Same,
        };
        let start = self.names.at(Some(&self.processes[at].start), place);
        let process = &mut self.processes[at];
        process.waits |= place == Place::Another;
        (process.start, process.runs, process.copied) = (start, true, false);
        process.heard.clear();
        process.asking.clear();
    }

    /// One says something to the other, and takes its answer.
    fn speak(&mut self, from: usize, to: usize) {
        let (one, other) = (&self.processes[from], &self.processes[to]);
        if !one.runs || !other.runs || one.node == other.node {
            return;
        }
        if self.admits(to, from) && self.admits(from, to) {
            self.processes[from].waits = false;
        }
    }

    fn admits(&mut self, here: usize, speaker: usize) -> bool {
        let (node, start) = (self.processes[speaker].node, self.processes[speaker].start.clone());
        let now_ms = self.now_ms;
        let process = &mut self.processes[here];
        let record = process.known.get_mut(&node).unwrap();
        let (start, wish) = match record.judge(&start) {
            Standing::First | Standing::LeftBehind { .. } => return false,
            Standing::Current | Standing::Successor => {
                *record = KnownStarts::with(Some(record), &start);
                process.heard.insert(node, (start.id.clone(), now_ms));
                return true;
            }
            Standing::Elsewhere { .. } => (start, Wish::Word),
            Standing::Contested { promised, .. } => {
                let wish = KnownStarts::wish_beside(&promised, &start);
                (*promised, wish)
            }
        };
        let (recorded, address) = (record.id().clone(), process.addresses[&node]);
        if !process.asking.contains_key(&node) {
            let at = &self.processes[address];
            let at_its_address = at.runs.then(|| at.start.id.clone());
            let asking = Asking { start, recorded, wish, at_its_address, words: Vec::new() };
            self.processes[here].asking.insert(node, asking);
        }
        false
    }

    /// One asks whoever it finds at the address of a node about another node.
    fn ask(&mut self, by: usize, node: CoordinatorId) {
        let Some(asking) = self.processes[by].asking.get(&node) else { return };
        let (start, wish) = (asking.start.clone(), asking.wish);
        let others: Vec<_> = self.processes[by].addresses.values().copied().collect();
        let of = others[self.pick(others.len())];
        let other = &self.processes[of];
        if !other.runs || other.node == node || asked(&self.processes[by], node, other.node) {
            return;
        }
        let (id, heard) = (CoordinatorId(other.node.0), other.heard(node, self.now_ms));
        let word_start = other.start.id.clone();
        let record = self.processes[of].known.get_mut(&node).unwrap();
        if let Some(after) = record.after_wish(wish, &start, heard.as_ref()) {
            *record = after;
        }
        let (refuses, takes) = (record.refuses(&start), record.takes(&start));
        let counts = self.processes[by].counts(&self.processes[of]);
        let word = Word { start: word_start, heard, refuses, takes }.if_it_counts(counts);
        self.processes[by].asking.get_mut(&node).unwrap().words.push((id, word));
    }

    fn decide(&mut self, here: usize, node: CoordinatorId) {
        let now_ms = self.now_ms;
        let voters = self.voters.clone();
        let process = &mut self.processes[here];
        let Some(asking) = process.asking.remove(&node) else { return };
        let heard_here = process.heard(node, now_ms);
        let record = process.known.get_mut(&node).unwrap();
        let decision = record.decide(&Survey {
            start: &asking.start,
            node,
            recorded: &asking.recorded,
            here: process.node,
            here_waits: process.waits,
            voters: &[voters],
            at_its_address: asking.at_its_address.as_ref(),
            words: &asking.words,
            heard_here: heard_here.as_ref(),
        });
        if let Some(after) = record.after(&decision, &asking.start) {
            *record = after;
        }
    }

    /// The processes that could decide together with this one, if they are enough.
    fn quorum_of(&self, one: usize) -> Option<BTreeSet<usize>> {
        let this = &self.processes[one];
        let agrees = |at: &usize| {
            let other = &self.processes[*at];
            *at == one || (other.runs && this.counts(other) && other.counts(this))
        };
        let together: BTreeSet<_> = (0..self.processes.len()).filter(agrees).collect();
        (this.runs && together.len() > self.voters.len() / 2).then_some(together)
    }

    fn quorums(&self) -> Vec<BTreeSet<usize>> {
        (0..self.processes.len()).filter_map(|one| self.quorum_of(one)).collect()
    }
}

fn asked(by: &Process, node: CoordinatorId, of: CoordinatorId) -> bool {
    by.asking[&node].words.iter().any(|(id, _)| *id == of)
}

#[test]
fn any_two_quorums_have_a_process_in_common_however_many_folders_are_copied() {
    let mut with_copies = 0;
    for seed in (0..2_000).chain([7_227, 39_038]) {
        for voters in [3, 4, 5] {
            let mut world = Coordinators::new(seed, voters);
            for step in 0..600 {
                world.step();
                let quorums = world.quorums();
                for (one, other) in
                    quorums.iter().flat_map(|one| quorums.iter().map(move |other| (one, other)))
                {
                    assert!(
                        !one.is_disjoint(other),
                        "seed {seed}, {voters} voters, step {step}: {one:?}, {other:?}"
                    );
                }
                let moved = |at: &usize| *at >= world.voters.len();
                with_copies += u32::from(quorums.iter().flatten().any(moved));
            }
        }
    }
    assert!(with_copies > 2_000, "copies are in quorums: {with_copies}");
}
