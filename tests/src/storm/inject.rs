//! Makes a fault happen, proves that it did, ends it, and proves that too. What cannot be proven is an error.

mod agents;
mod clones;
mod coordinators;
mod descriptors;
mod hooks;
mod logs;
mod network;
mod storage;

use super::{fault::Kind, proof::Proof, scene::Scene, schedule::Fault};
use crate::services::Conduct;
use anyhow::{Context, Result};

impl Scene {
    /// Carries a fault out, from its beginning to its end.
    ///
    /// # Errors
    /// When it did not take effect, did not end, or the cluster did not behave as it must, with what was seen so far.
    pub(super) async fn inject(&mut self, fault: &Fault) -> Result<Proof> {
        let mut proof = Proof::default();
        let carried_out = match fault.kind {
            Kind::KillLeader => coordinators::kill_leader(self, fault, &mut proof).await,
            Kind::KillFollower => coordinators::kill_follower(self, fault, &mut proof).await,
            Kind::KillCoordinators => coordinators::kill_all(self, fault, &mut proof).await,
            Kind::FreezeLeader => coordinators::freeze_leader(self, fault, &mut proof).await,
            Kind::FreezeFollower => coordinators::freeze_follower(self, fault, &mut proof).await,
            Kind::RollingRestart => coordinators::rolling_restart(self, fault, &mut proof).await,
            Kind::KillAgent => agents::kill(self, fault, &mut proof).await,
            Kind::RestartAgent => agents::restart(self, fault, &mut proof).await,
            Kind::FreezeAgent => agents::freeze(self, fault, &mut proof).await,
            Kind::CutAgent => agents::cut(self, fault, &mut proof).await,
            Kind::OldLeaderOnly => agents::old_leader_only(self, fault, &mut proof).await,
            Kind::CutLeader => network::cut_leader(self, fault, &mut proof).await,
            Kind::CutMinority => network::cut_minority(self, fault, &mut proof).await,
            Kind::DeafPeers => network::deaf_peers(self, fault, &mut proof).await,
            Kind::DeafLeader => network::deaf_leader(self, fault, &mut proof).await,
            Kind::Bridge => network::bridge(self, fault, &mut proof).await,
            Kind::SlowLinks => network::slow_links(self, fault, &mut proof).await,
            Kind::DroppedConnections => network::dropped_connections(self, fault, &mut proof).await,
            Kind::HalfOpenConnections => network::half_open_connections(self, fault, &mut proof).await,
            Kind::FlappingLinks => network::flapping_links(self, fault, &mut proof).await,
            Kind::FullDisk => storage::full_disk(self, fault, &mut proof).await,
            Kind::StorageError => storage::storage_error(self, fault, &mut proof).await,
            Kind::HungDisk => storage::hung_disk(self, fault, &mut proof).await,
            Kind::KillWarden => agents::kill_warden(self, fault, &mut proof).await,
            Kind::PromoteFails => hooks::promotion(self, fault, Conduct::Fails, &mut proof).await,
            Kind::PromoteHangs => hooks::promotion(self, fault, Conduct::Hangs, &mut proof).await,
            Kind::DemoteFails => hooks::demotion(self, fault, Conduct::Fails, &mut proof).await,
            Kind::DemoteHangs => hooks::demotion(self, fault, Conduct::Hangs, &mut proof).await,
            Kind::UnreadAgentLog => logs::of_agent(self, fault, &mut proof).await,
            Kind::UnreadLeaderLog => logs::of_leader(self, fault, &mut proof).await,
            Kind::Clone => clones::clone(self, fault, &mut proof).await,
            Kind::AgentWithoutDescriptors => descriptors::of_agent(self, fault, &mut proof).await,
            Kind::CoordinatorWithoutDescriptors => descriptors::of_coordinator(self, fault, &mut proof).await,
        };
        carried_out.and_then(|()| proof.check()).with_context(|| format!("seen so far: {proof}"))?;
        Ok(proof)
    }

    /// Heals every link.
    fn heal_links(&self, proof: &mut Proof) {
        self.links().heal();
        proof.healed(self.healed());
    }
}

/// The duration of a fault, which is nothing to wait for.
async fn hold(fault: &Fault) {
    tokio::time::sleep(fault.hold).await;
}
