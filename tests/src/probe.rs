//! Watches who acts as primary, by asking every agent all the time, and judges afterwards.

use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    client::LocalAgentClient,
    pb::{
        agent::{ListRolesRequest, ListRolesResponse},
        types::Role,
    },
    transport,
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::transport::Channel;

/// How often each agent is asked.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// How long an answer may take; an agent that stands still gives none.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);

/// Now on the clock that leases run on, which all processes of a machine share.
pub fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds.unwrap_or(0) * 1_000 + nanos.unwrap_or(0) / 1_000_000
}

/// What an agent said of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The host that said it.
    pub host: String,
    /// The group.
    pub group: String,
    /// Under which epoch.
    pub epoch: u64,
    /// What it was.
    pub role: Role,
    /// When it was that, on `CLOCK_BOOTTIME`.
    pub at_boot_ms: u64,
    /// Until when a process may write on the strength of this answer; zero unless primary.
    pub write_deadline_boot_ms: u64,
    /// Until when the lease lasts.
    pub lease_deadline_boot_ms: u64,
    /// Why.
    pub reason: String,
}

impl Sample {
    /// True when the host acted.
    pub fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }
}

/// A stretch of time in which a host was seen to act for a group under one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    /// Who.
    pub host: String,
    /// Under which epoch.
    pub epoch: u64,
    /// First seen.
    pub from_boot_ms: u64,
    /// Last seen.
    pub to_boot_ms: u64,
    /// The latest write deadline that it gave out.
    pub promised_boot_ms: u64,
}

/// Asks every agent for its roles until it is dropped.
#[derive(Debug)]
pub struct Probe {
    heard: Arc<Mutex<Heard>>,
    askers: JoinSet<()>,
}

/// By group, epoch and host.
type Reigns = BTreeMap<(String, u64, String), Reign>;

#[derive(Debug, Default)]
struct Heard {
    /// The latest answers.
    samples: Vec<Sample>,
    /// What earlier ones amount to.
    folded: Reigns,
}

impl Heard {
    fn reigns(&self) -> Reigns {
        let mut reigns = self.folded.clone();
        for sample in &self.samples {
            count(&mut reigns, sample);
        }
        reigns
    }
}

impl Probe {
    /// Starts asking; `agents` are addresses of the local API, as `host:port`.
    ///
    /// # Errors
    /// When one is not an address.
    pub fn start(agents: &[String]) -> Result<Self> {
        let mut probe = Self { heard: Arc::default(), askers: JoinSet::new() };
        for agent in agents {
            probe.ask_also(agent)?;
        }
        Ok(probe)
    }

    /// Asks an agent at one more address too, such as one that has moved.
    ///
    /// # Errors
    /// When it is not an address.
    pub fn ask_also(&mut self, agent: &str) -> Result<()> {
        let endpoint = transport::endpoint(agent).with_context(|| format!("agent at {agent}"))?;
        self.askers.spawn(ask_for_ever(endpoint.connect_lazy(), Arc::clone(&self.heard)));
        Ok(())
    }

    /// Asks nobody any more, until it is told whom to ask; what was heard stays.
    pub fn rest(&mut self) {
        self.askers.abort_all();
    }

    /// Everything heard so far, or since the last [`Probe::fold`].
    pub fn samples(&self) -> Vec<Sample> {
        self.lock().samples.clone()
    }

    /// Forgets single answers and keeps what they amount to, so that a long test needs little memory.
    pub fn fold(&self) {
        let mut heard = self.lock();
        let samples = std::mem::take(&mut heard.samples);
        for sample in samples {
            count(&mut heard.folded, &sample);
        }
    }

    /// The last thing that a host said of a group.
    pub fn last(&self, host: &str, group: &str) -> Option<Sample> {
        self.lock().samples.iter().rev().find(|sample| sample.host == host && sample.group == group).cloned()
    }

    /// Waits until a host that fulfils `wanted` is seen to act for a group from now on.
    ///
    /// # Errors
    /// When none is within the deadline.
    pub async fn wait_for_primary(
        &self,
        group: &str,
        deadline: Duration,
        wanted: impl Fn(&Sample) -> bool,
    ) -> Result<Sample> {
        let since = boottime_ms();
        let what = format!("a wanted host acts for {group}");
        wait_until(&what, deadline, async || {
            let heard = self.lock();
            let recent = heard.samples.iter().rev().take_while(|sample| sample.at_boot_ms >= since);
            let mut of_group = recent.filter(|sample| sample.group == group);
            let found = of_group.clone().find(|sample| sample.is_primary() && wanted(sample));
            found.cloned().with_context(|| format!("the last answer of any host: {:?}", of_group.next()))
        })
        .await
    }

    /// Who acted for a group and when, by the time they were first seen to.
    pub fn reigns(&self, group: &str) -> Vec<Reign> {
        of_group(&self.lock().reigns(), group)
    }

    /// No two hosts, and no host under two epochs, acted for one group at the same time; no epoch had two holders; and
    /// a later holder had the higher epoch.
    ///
    /// # Errors
    /// What was seen otherwise.
    pub fn assert_no_two_primaries(&self) -> Result<()> {
        self.each_group(judge)
    }

    /// Nobody acted for a group before every process that an earlier primary had told a deadline had to stop.
    ///
    /// # Errors
    /// What was seen otherwise.
    pub fn assert_no_broken_promise(&self) -> Result<()> {
        self.assert_no_broken_promise_but_of(|_| false)
    }

    /// The same, but for what these hosts told: their demote hooks stop whoever relied on it.
    ///
    /// # Errors
    /// What was seen otherwise.
    pub fn assert_no_broken_promise_but_of(&self, stops_by_hook: impl Fn(&str) -> bool) -> Result<()> {
        self.each_group(|group, reigns| judge_promises(group, reigns, &stops_by_hook))
    }

    fn each_group(&self, judge: impl Fn(&str, &[Reign]) -> Result<()>) -> Result<()> {
        let reigns = self.lock().reigns();
        ensure!(!reigns.is_empty(), "the probe never saw a primary: it proves nothing");
        let groups: BTreeSet<&str> = reigns.keys().map(|(group, ..)| group.as_str()).collect();
        groups.into_iter().try_for_each(|group| judge(group, &of_group(&reigns, group)))
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes an answer part of the reign that it tells of.
fn count(reigns: &mut Reigns, sample: &Sample) {
    if !sample.is_primary() {
        return;
    }
    let key = (sample.group.clone(), sample.epoch, sample.host.clone());
    let reign = reigns.entry(key).or_insert_with(|| Reign {
        host: sample.host.clone(),
        epoch: sample.epoch,
        from_boot_ms: sample.at_boot_ms,
        to_boot_ms: sample.at_boot_ms,
        promised_boot_ms: 0,
    });
    reign.from_boot_ms = reign.from_boot_ms.min(sample.at_boot_ms);
    reign.to_boot_ms = reign.to_boot_ms.max(sample.at_boot_ms);
    reign.promised_boot_ms = reign.promised_boot_ms.max(sample.write_deadline_boot_ms);
}

fn of_group(reigns: &Reigns, group: &str) -> Vec<Reign> {
    let of_group = reigns.iter().filter(|((of, ..), _)| of == group);
    let mut found: Vec<_> = of_group.map(|(_, reign)| reign.clone()).collect();
    found.sort_by_key(|reign| (reign.from_boot_ms, reign.epoch));
    found
}

fn judge_promises(group: &str, reigns: &[Reign], stops_by_hook: impl Fn(&str) -> bool) -> Result<()> {
    for (position, later) in reigns.iter().enumerate() {
        let others = reigns[..position].iter().filter(|earlier| earlier.host != later.host);
        for earlier in others.filter(|earlier| !stops_by_hook(&earlier.host)) {
            ensure!(
                earlier.promised_boot_ms <= later.from_boot_ms,
                "{group}: a process of {earlier:?} may still write when {later:?} acts"
            );
        }
    }
    Ok(())
}

fn judge(group: &str, reigns: &[Reign]) -> Result<()> {
    for (position, later) in reigns.iter().enumerate() {
        for earlier in &reigns[..position] {
            ensure!(
                earlier.to_boot_ms < later.from_boot_ms,
                "two primaries of {group} at once: {earlier:?} and {later:?}"
            );
            ensure!(
                earlier.epoch < later.epoch,
                "the epoch of {group} did not rise: {earlier:?} and then {later:?}"
            );
        }
    }
    Ok(())
}

async fn ask_for_ever(channel: Channel, memory: Arc<Mutex<Heard>>) {
    let mut agent = LocalAgentClient::new(channel);
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // An agent that is down or stands still acts for nothing that it could tell us of.
        if let Ok(Ok(answer)) = timeout(ANSWER_DEADLINE, agent.list_roles(ListRolesRequest::default())).await
        {
            let heard = read(answer.into_inner());
            memory.lock().unwrap_or_else(PoisonError::into_inner).samples.extend(heard);
        }
    }
}

fn read(answer: ListRolesResponse) -> Vec<Sample> {
    let ListRolesResponse { roles, at_boot_ms, host, .. } = answer;
    roles
        .into_iter()
        .map(|role| Sample {
            host: host.clone(),
            role: role.role(),
            group: role.group,
            epoch: role.epoch,
            at_boot_ms,
            write_deadline_boot_ms: role.write_deadline_boot_ms,
            lease_deadline_boot_ms: role.lease_deadline_boot_ms,
            reason: role.reason,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reign(host: &str, epoch: u64, from_boot_ms: u64, to_boot_ms: u64) -> Reign {
        Reign { host: host.to_owned(), epoch, from_boot_ms, to_boot_ms, promised_boot_ms: 0 }
    }

    #[test]
    fn a_clean_succession_passes() {
        judge("g", &[reign("a", 1, 0, 10), reign("b", 2, 11, 20), reign("a", 3, 30, 40)]).unwrap();
    }

    #[test]
    fn two_at_once_and_an_epoch_with_two_holders_and_a_falling_epoch_are_caught() {
        for pair in [
            [reign("a", 1, 0, 10), reign("b", 2, 10, 20)],
            [reign("a", 1, 0, 10), reign("b", 1, 11, 20)],
            [reign("a", 2, 0, 10), reign("b", 1, 11, 20)],
            [reign("a", 1, 0, 30), reign("a", 2, 11, 20)],
        ] {
            assert!(judge("g", &pair).is_err(), "{pair:?}");
        }
    }

    #[test]
    fn a_primary_that_acts_before_the_deadline_that_another_told_is_caught() {
        let told = |promised_boot_ms| Reign { promised_boot_ms, ..reign("a", 1, 0, 10) };
        let judged = |told| judge_promises("g", &[told, reign("b", 2, 15, 20)], |host| host == "h");
        judged(told(15)).unwrap();
        judged(told(16)).unwrap_err();
        judged(Reign { host: "h".to_owned(), ..told(16) }).unwrap();
    }
}
