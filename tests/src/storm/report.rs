//! What a storm was, in a table.

use super::{
    Options,
    audit::{Audit, Totals},
    fault::Kind,
    history::Recorder,
    recovery::Recovery,
};
use anyhow::{Result, ensure};
use comfy_table::Table;
use std::{collections::BTreeMap, fmt, sync::atomic::Ordering, time::Duration};

/// What a storm was.
#[derive(Debug, Clone)]
pub struct Report {
    seed: u64,
    coordinators: u64,
    agents: u64,
    took: Duration,
    proven: BTreeMap<Kind, (usize, Recovery)>,
    unavailable: BTreeMap<Kind, String>,
    acknowledged: u64,
    refused: u64,
    failed: u64,
    unknown: u64,
    totals: Totals,
    /// Writes of services, and how many services there were.
    wrote: (usize, usize),
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            seed: options.seed,
            coordinators: options.coordinators,
            agents: options.agents,
            took: Duration::ZERO,
            proven: BTreeMap::new(),
            unavailable: BTreeMap::new(),
            acknowledged: 0,
            refused: 0,
            failed: 0,
            unknown: 0,
            totals: Totals::default(),
            wrote: (0, 0),
        }
    }

    pub(super) fn unavailable(&mut self, kind: Kind, why: &anyhow::Error) {
        self.unavailable.insert(kind, format!("{why:#}"));
    }

    pub(super) fn is_unavailable(&self, kind: Kind) -> bool {
        self.unavailable.contains_key(&kind)
    }

    pub(super) fn proven(&mut self, kind: Kind, recovery: Recovery) {
        let (count, slowest) = self.proven.entry(kind).or_default();
        *count += 1;
        *slowest = slowest.max(recovery);
    }

    pub(super) fn finish(
        &mut self,
        audit: &Audit,
        recorder: &Recorder,
        wrote: (usize, usize),
        took: Duration,
    ) {
        let counts = recorder.counts();
        self.acknowledged = counts.acknowledged.load(Ordering::Relaxed);
        self.refused = counts.refused.load(Ordering::Relaxed);
        self.failed = counts.failed.load(Ordering::Relaxed);
        self.unknown = counts.unknown.load(Ordering::Relaxed);
        self.totals = audit.totals();
        self.wrote = wrote;
        self.took = took;
    }

    /// Faults that took effect, and ended.
    pub fn faults(&self) -> usize {
        self.proven.values().map(|(count, _)| count).sum()
    }

    /// Operations that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Every kind that was asked for took effect at least once. A kind that this machine does not allow counts as
    /// missing if it is expected here.
    ///
    /// # Errors
    /// Which kinds did not.
    pub fn expect_kinds(&self, kinds: &[Kind], expected_here: impl Fn(Kind) -> bool) -> Result<()> {
        let missing: Vec<&Kind> = kinds
            .iter()
            .filter(|kind| !self.proven.contains_key(kind))
            .filter(|kind| !self.unavailable.contains_key(kind) || expected_here(**kind))
            .collect();
        ensure!(missing.is_empty(), "never took effect: {missing:?}; not available: {:?}", self.unavailable);
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.set_header(["fault", "proven", "leader after", "primaries after", "equal after"]);
        let mut row = |name: &str, count: usize, slowest: Recovery| {
            let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
            table.add_row([
                name.to_owned(),
                count.to_string(),
                seconds(slowest.leader),
                seconds(slowest.primaries),
                seconds(slowest.equal),
            ]);
        };
        for (kind, (count, slowest)) in &self.proven {
            row(kind.name(), *count, *slowest);
        }
        let slowest = self.proven.values().fold(Recovery::default(), |most, (_, one)| most.max(*one));
        row("all, slowest", self.faults(), slowest);
        let Self { seed, coordinators, agents, .. } = self;
        writeln!(f, "storm of seed {seed} on {coordinators} coordinators and {agents} agents")?;
        writeln!(f, "{table}")?;
        for (kind, why) in &self.unavailable {
            writeln!(f, "not available: {kind}: {why}")?;
        }
        let Totals { registers, operations, commands, asked_again, revisions, switches } = self.totals;
        writeln!(
            f,
            "operations: {} acknowledged, {} refused, {} failed for certain, {} unknown",
            self.acknowledged, self.refused, self.failed, self.unknown
        )?;
        writeln!(f, "failovers completed: {switches}, each under the next epoch")?;
        writeln!(
            f,
            "held: {operations} operations on {registers} registers linearizable, {commands} acknowledged commands once \
             at their revision on every coordinator, {asked_again} commands sent again and answered the same, \
             {revisions} revisions and the state digest equal everywhere, no two primaries at any instant, {} writes of {} \
             services that never ask and none after the first of a newer epoch",
            self.wrote.0, self.wrote.1
        )?;
        write!(
            f,
            "{} faults of {} kinds in {:.0} s",
            self.faults(),
            self.proven.len(),
            self.took.as_secs_f64()
        )
    }
}
