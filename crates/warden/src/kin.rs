//! Whose a process is. All that hooks start descends from the warden, which is the subreaper of it: what daemonised
//! itself becomes its child. Such an orphan is known by having been seen below its hook, by its session, or by its mark.

use crate::processes::{Identity, Process, Snapshot};
use quorate_agent_core::guard::RunKey;
use quorate_domain::GroupId;
use std::collections::{BTreeMap, BTreeSet};

/// Whose a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It comes from this run of a hook of this group.
    Group(GroupId, RunKey),
    /// Nothing tells.
    Unknown,
}

/// What is known of processes.
#[derive(Debug, Default)]
pub(crate) struct Kin {
    /// The processes that orphans fall to: this one, and the agent while what a dead warden left is looked for.
    roots: BTreeSet<i32>,
    own_pid: i32,
    owners: BTreeMap<Identity, Owner>,
    /// Asked for, not answered.
    asked: BTreeSet<Identity>,
    hooks: BTreeMap<Identity, (GroupId, RunKey)>,
    snapshot: Snapshot,
}

impl Kin {
    pub(crate) fn new(own_pid: i32) -> Self {
        Self { own_pid, roots: [own_pid].into(), ..Self::default() }
    }

    /// What falls to this process is looked at too, or no longer.
    pub(crate) fn adopt(&mut self, parent: Option<i32>) {
        self.roots = [Some(self.own_pid), parent].into_iter().flatten().collect();
    }

    /// A hook was started.
    pub(crate) fn hook(&mut self, process: Identity, group: GroupId, key: RunKey) {
        self.hooks.insert(process, (group, key));
    }

    /// True while the marks of some processes are awaited.
    pub(crate) fn awaits_marks(&self) -> bool {
        !self.asked.is_empty()
    }

    /// True while its mark is awaited.
    pub(crate) fn is_asked(&self, process: Identity) -> bool {
        self.asked.contains(&process)
    }

    /// The mark of a process came, of which this is the owner.
    pub(crate) fn learn(&mut self, process: Identity, owner: Owner) {
        self.asked.remove(&process);
        let known = self.owners.entry(process).or_insert(Owner::Unknown);
        if *known == Owner::Unknown {
            *known = owner;
        }
    }

    /// Takes in what runs now; gives back those whose mark must be read.
    pub(crate) fn refresh(&mut self, snapshot: Snapshot) -> Vec<Identity> {
        self.owners.retain(|process, _| snapshot.is_alive(*process));
        self.asked.retain(|process| snapshot.is_alive(*process));
        let sessions: BTreeSet<i32> = snapshot.iter().map(|process| process.session).collect();
        self.hooks.retain(|hook, _| snapshot.get(hook.0).is_some() || sessions.contains(&hook.0));
        let mut unknown = Vec::new();
        for process in snapshot.iter().filter(|process| !process.dead) {
            let identity = process.identity();
            if process.pid == self.own_pid || matches!(self.owners.get(&identity), Some(Owner::Group(..))) {
                continue;
            }
            let line = snapshot.line(process);
            let below = line.iter().skip(1).any(|one| self.roots.contains(&one.pid));
            if !below {
                continue;
            }
            match self.by_line(&line).or_else(|| self.by_session(process)) {
                Some(owner) => {
                    self.owners.insert(identity, owner);
                }
                None if self.owners.contains_key(&identity) || self.asked.contains(&identity) => {}
                None => unknown.push(identity),
            }
        }
        self.asked.extend(unknown.iter().copied());
        self.snapshot = snapshot;
        unknown
    }

    fn by_line(&self, line: &[Process]) -> Option<Owner> {
        line.iter().find_map(|one| {
            let identity = one.identity();
            if let Some((group, key)) = self.hooks.get(&identity) {
                return Some(Owner::Group(group.clone(), *key));
            }
            self.owners.get(&identity).filter(|owner| **owner != Owner::Unknown).cloned()
        })
    }

    fn by_session(&self, process: &Process) -> Option<Owner> {
        let of_session = (process.session, 0)..=(process.session, process.started);
        let (_, (group, key)) = self.hooks.range(of_session).next_back()?;
        Some(Owner::Group(group.clone(), *key))
    }

    /// Everything that runs and comes from the group's hooks.
    pub(crate) fn of_group(&self, group: &GroupId) -> Vec<Identity> {
        self.living(|owner| matches!(owner, Owner::Group(of, _) if of == group))
    }

    /// Everything that runs and comes from this run of a hook.
    pub(crate) fn of_run(&self, key: RunKey) -> Vec<Identity> {
        self.living(|owner| matches!(owner, Owner::Group(_, of) if *of == key))
    }

    /// Everything that hooks started and that nothing tells the group of; with those whose marks are awaited, or without.
    pub(crate) fn of_nobody(&self, with_awaited: bool) -> Vec<Identity> {
        let asked = self.asked.iter().filter(|process| with_awaited && !self.owners.contains_key(process));
        asked.copied().chain(self.living(|owner| *owner == Owner::Unknown)).collect()
    }

    fn living(&self, wanted: impl Fn(&Owner) -> bool) -> Vec<Identity> {
        let fits =
            self.owners.iter().filter(|(process, owner)| self.snapshot.is_alive(**process) && wanted(owner));
        fits.map(|(process, _)| *process).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARDEN: i32 = 100;

    fn process(pid: i32, parent: i32, session: i32) -> Process {
        Process { pid, parent, session, started: 1, dead: false }
    }

    fn group(name: &str) -> GroupId {
        GroupId::new(name).unwrap()
    }

    fn kin_with_hook(pid: i32) -> Kin {
        let mut kin = Kin::new(WARDEN);
        kin.hook((pid, 1), group("g"), RunKey(7));
        kin
    }

    #[test]
    fn what_was_seen_below_its_hook_is_known_for_good() {
        let mut kin = kin_with_hook(200);
        let seen = [process(WARDEN, 1, WARDEN), process(200, WARDEN, 200), process(201, 200, 201)];
        assert_eq!(kin.refresh(Snapshot::of(&seen)), []);
        // Its hook ended, and it is an orphan with a child of its own.
        let later = [process(WARDEN, 1, WARDEN), process(201, WARDEN, 201), process(202, 201, 202)];
        assert_eq!(kin.refresh(Snapshot::of(&later)), []);
        assert_eq!(kin.of_group(&group("g")), [(201, 1), (202, 1)]);
        assert_eq!(kin.of_run(RunKey(7)).len(), 2);
        assert_eq!(kin.of_nobody(true), []);
    }

    #[test]
    fn an_orphan_is_known_by_its_session_and_else_by_its_mark() {
        let mut kin = kin_with_hook(200);
        let now = [
            process(WARDEN, 1, WARDEN),
            process(201, WARDEN, 200),
            process(300, WARDEN, 300),
            process(9, 1, 9),
        ];
        assert_eq!(kin.refresh(Snapshot::of(&now)), [(300, 1)]);
        assert_eq!(kin.of_group(&group("g")), [(201, 1)]);
        assert_eq!(kin.of_nobody(true), [(300, 1)], "its mark has not been read");
        assert_eq!(kin.refresh(Snapshot::of(&now)), [], "asked once");
        kin.learn((300, 1), Owner::Group(group("g"), RunKey(7)));
        assert_eq!(kin.of_group(&group("g")).len(), 2);
        assert_eq!(kin.of_nobody(true), []);
    }
}
