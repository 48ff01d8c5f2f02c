//! What happens to storage hosts, their agents, hooks, guards and folders.

use super::{Effect, Undo};
use crate::{
    agent::{Agent, CutShort, Services},
    fault::Kind,
    plan::Starter,
    world::World,
};
use quorate_domain::Verdict;

impl World {
    pub(super) fn harm_host(&mut self, index: usize, kind: Kind, target: u64) -> Effect {
        let place = self.host(target);
        let env = &mut self.env;
        let agent = &mut self.agents[place];
        let (met, undo) = match kind {
            Kind::AgentCrash => (agent.crash(env), Undo::StartAgent(place)),
            Kind::HostCrash => (agent.lose_power(env), Undo::StartAgent(place)),
            Kind::AgentGone if (target >> 40).is_multiple_of(2) => {
                (agent.crash(env), Undo::StartAgent(place))
            }
            Kind::AgentGone | Kind::AgentPause => (agent.pause(env), Undo::ResumeAgent(place)),
            Kind::AgentStop => (agent.stop(env), Undo::StartAgent(place)),
            Kind::DiskFailed => (agent.set_disk(Verdict::Failed, env), Undo::ReplaceDisk(place)),
            Kind::HookFails => {
                agent.hooks_fail = true;
                (false, Undo::HooksWork(place))
            }
            Kind::HookHangs => {
                agent.hooks_hang = true;
                (false, Undo::HooksWork(place))
            }
            _ => return self.copy_folder(index, place),
        };
        self.active[index].undo.push(undo);
        Effect::AtOnce(met)
    }

    /// While a host's folder is in use in two places nothing happens to guards: what one start says of what the other's
    /// guards have left is no more than what waiting for D says of a host that is lost.
    pub(super) fn harm_guards(&mut self, index: usize, kind: Kind, target: u64) -> Effect {
        if self.env.plan.habits.starter != Starter::Guards || self.agents.last().is_some_and(Agent::is_up) {
            return Effect::AtOnce(false);
        }
        let place = self.host(target);
        let (env, agent) = (&mut self.env, &mut self.agents[place]);
        let target = target >> 16;
        let (met, undo) = match kind {
            Kind::GuardKilled => (agent.kill_a_guard(target, env), None),
            Kind::GuardAndKeeperKilled => (agent.kill_a_keeper(true, target, env), None),
            Kind::KeeperKilled => (agent.kill_a_keeper(false, target, env), None),
            Kind::GuardPause => (agent.stop_a_guard(target, env), Some(Undo::GuardsGoOn(place))),
            Kind::ServiceEnds => {
                agent.services = Services::EndSoon;
                (false, Some(Undo::ServicesRun(place)))
            }
            Kind::ExecFails => {
                agent.services = Services::NotExecutable;
                (false, Some(Undo::ServicesRun(place)))
            }
            _ => {
                let dies = target.is_multiple_of(2);
                agent.cut_short = Some(if dies { CutShort::Dies } else { CutShort::StandsStill });
                (false, Some(Undo::NotCutShort(place)))
            }
        };
        self.active[index].undo.extend(undo);
        Effect::AtOnce(met)
    }

    /// There is one machine for copies: while it is in use, nothing is copied.
    fn copy_folder(&mut self, index: usize, place: usize) -> Effect {
        let leader = self.leader();
        let Some((copy, originals)) = self.agents.split_last_mut() else { return Effect::AtOnce(false) };
        let original = &originals[place];
        if !copy.is_up() && !original.has_strays() {
            copy.take_folder(original.host.clone(), original.copied_folder());
            copy.was_welcomed = false;
            self.active[index].shown = 0;
            if let Some(leader) = leader {
                copy.forge_a_hello(leader, &mut self.env);
            }
            copy.start(&mut self.env);
            self.active[index].undo.push(Undo::EndCopy(place));
        }
        Effect::Later
    }
}
