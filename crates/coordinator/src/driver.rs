//! Runs the planners while this coordinator leads, and proposes what they return. It decides nothing itself.

use crate::memory::Memory;
use quorate_consensus::{Consensus, Leadership, ProposeError, View};
use quorate_domain::{Cause, ClusterId, Command, FormationId, Outcome, Revision, Settings};
use quorate_leader_core::Next;
use quorate_planner::{Plan, Planned};
use quorate_runtime::{shutdown::Shutdown, standstill::Pulse};
use std::{
    pin::pin,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Planning happens at least this often, whatever the signals say.
const TICK: Duration = Duration::from_millis(250);
/// Planning takes at most a sixth of one core: after a plan that took t, the next begins no sooner than 5 t later.
const REST_FACTOR: u32 = 5;
/// And no later than this.
const REST_MAX: Duration = Duration::from_millis(500);
/// But what changes within this time is looked at together.
const REST_MIN: Duration = Duration::from_millis(5);
/// The most commands of one plan that are proposed at once; the rest comes with the next plan.
const PROPOSE_MAX: usize = 512;

/// What a look at the world cost, and how long nothing needs to be looked at again.
#[derive(Default)]
struct Step {
    cost: Duration,
    idle: Option<Duration>,
}

/// The driver of one coordinator.
pub(crate) struct Driver {
    pub(crate) consensus: Consensus,
    pub(crate) memory: Memory,
    pub(crate) cluster: ClusterId,
    pub(crate) settings: Settings,
    /// Shows that it goes on.
    pub(crate) pulse: Pulse,
}

impl Driver {
    /// Runs until the process stops.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let token = shutdown.token();
        let mut leadership = self.consensus.leadership();
        let mut views = self.consensus.feed().watch();
        let mut sleep = TICK;
        loop {
            self.pulse.beat();
            let leads = leadership.borrow().leads;
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(sleep) => {}
                () = self.memory.changed() => {}
                changed = views.changed(), if leads => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
            }
            let view = views.borrow_and_update().clone();
            let leads = leadership.borrow_and_update().clone();
            let step = self.step(&leads, &view).await;
            sleep = step.idle.unwrap_or(TICK);
            tokio::time::sleep((step.cost * REST_FACTOR).clamp(REST_MIN, REST_MAX)).await;
        }
    }

    /// One look at the world.
    async fn step(&self, leadership: &Leadership, view: &View) -> Step {
        let started = Instant::now();
        let (look, now) = self.memory.look(leadership, view);
        let cost = started.elapsed();
        if let Some(gap_ms) = look.stalled_ms {
            tracing::warn!(gap_ms, "this coordinator stood still: it only observes for a grace period");
        }
        match look.next {
            Next::Wait => Step::default(),
            Next::FormCluster => {
                self.form_cluster().await;
                Step::default()
            }
            // It would be refused before it is written, and asked for again at once, and again.
            Next::Propose(_) if !leadership.can_decide() => Step::default(),
            Next::Propose(plan) => {
                let wake_at = plan.wake_at;
                self.propose(plan, view).await;
                let idle = wake_at.map(|at| TICK.min(Duration::from_millis(at.since_ms(now).max(1))));
                Step { cost, idle }
            }
        }
    }

    async fn form_cluster(&self) {
        // Drawn here and not when it is applied: all coordinators must come to the same state.
        let formation = Some(FormationId::of(rand::random()));
        let (cluster, settings) = (self.cluster.clone(), self.settings.clone());
        let command = Command::CreateCluster { cluster, formation, settings };
        match self.waits_for(self.consensus.propose(Cause::Cluster, command)).await {
            Ok(outcome) => tracing::info!(?outcome, cluster = %self.cluster, "cluster formed"),
            Err(error) => tracing::warn!(%error, "the cluster is not formed yet"),
        }
    }

    /// Proposes the commands of a plan together, so that they share entries, and waits for the answers: the next plan
    /// sees their effects.
    async fn propose(&self, plan: Plan, view: &View) {
        let (mut answers, planned_at) = (JoinSet::new(), view.state.revision());
        for planned in plan.commands.into_iter().take(PROPOSE_MAX) {
            let consensus = self.consensus.clone();
            answers.spawn(async move { propose(&consensus, planned, planned_at).await });
        }
        self.waits_for(async { while answers.join_next().await.is_some() {} }).await;
    }

    /// Waits for answers, which have a deadline of their own: to do so is to go on.
    async fn waits_for<T>(&self, answers: impl Future<Output = T>) -> T {
        let mut answers = pin!(answers);
        loop {
            tokio::select! {
                answered = &mut answers => return answered,
                () = tokio::time::sleep(TICK) => self.pulse.beat(),
            }
        }
    }
}

/// Proposes what was planned at a revision, and logs what became of it. True when it changed something.
pub(crate) async fn propose(
    consensus: &Consensus,
    Planned { command, rule }: Planned,
    planned_at: Revision,
) -> bool {
    let (name, cause) = (command.name(), Cause::Planner { rule: rule.to_owned() });
    let result = consensus.propose(cause, command).await;
    log(rule, name, &result, planned_at);
    matches!(result, Ok(Outcome::Accepted { changed: true, .. }))
}

fn log(rule: &str, command: &str, result: &Result<Outcome, ProposeError>, planned_at: Revision) {
    let planned_at = planned_at.0;
    match result {
        Ok(Outcome::Accepted { revision, changed, .. }) => {
            tracing::info!(rule, command, revision = revision.0, changed, "planned and committed");
        }
        Ok(Outcome::Refused(rejection)) => {
            tracing::info!(rule, command, planned_at, code = rejection.code(), %rejection, "planned and refused: the state has moved");
        }
        Err(error) => tracing::warn!(rule, command, planned_at, %error, "planned and not committed"),
    }
}
