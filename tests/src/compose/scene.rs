//! The containers under test and everything that watches them.

mod recovery;

use super::{
    cut::Cut,
    docker::must,
    side::Side,
    stack::{Node, Stack},
};
use crate::{
    probe::{Probe, Sample},
    statuses::{statuses, told},
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientError, ClientOptions,
    client::LocalAgentClient,
    pb::{
        agent::{ListRolesRequest, ListRolesResponse},
        control::{
            CreateGroupRequest, GetGroupRequest, GetStatusResponse, ListHostsRequest, RequestFailoverRequest,
        },
        types::{Group, GroupPhase, HostStatus, Member, Role, ServiceMode},
    },
    transport,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How long a stack may take from `up` until everything is healthy.
const UP: Duration = Duration::from_mins(1);
/// How long a fault may take to show its effect: an election among survivors, or a whole failover, on a busy machine.
pub(super) const EFFECT: Duration = Duration::from_secs(30);
/// How long an agent may take to say what it is.
const ANSWER: Duration = Duration::from_secs(1);
/// Hosts of each group.
const MEMBERS: u64 = 3;
const PAGE: u32 = 1_000;

/// A stack that is up, with groups, clients of every coordinator at work, and a probe of every agent.
pub(super) struct Scene {
    pub(super) stack: Arc<Stack>,
    pub(super) probe: Probe,
    pub(super) groups: Vec<String>,
    pub(super) everybody: Side,
    /// Where nodes were last seen.
    addresses: BTreeMap<Node, String>,
    /// What `everybody` had decided when the last scenario ended.
    decided: u64,
}

/// The primary of a group.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    pub(super) group: String,
    pub(super) agent: Node,
    pub(super) epoch: u64,
}

/// The host that an agent of the compose file speaks for.
pub(super) fn host_of(agent: Node) -> String {
    match agent {
        Node::Agent(number) | Node::Coordinator(number) => format!("host-{number}"),
    }
}

impl Scene {
    /// Brings the stack up and makes groups.
    ///
    /// # Errors
    /// When it is not healthy in time.
    pub(super) async fn begin(stack: Arc<Stack>, say: &impl Fn(&str)) -> Result<Self> {
        let started = Instant::now();
        stack.compose(&["up", "--detach", "--no-build"]).await?;
        let mut scene = Self::of(stack).await?;
        scene.all_healthy(UP.saturating_sub(started.elapsed())).await.context("after `up`")?;
        scene.hosts_online(UP.saturating_sub(started.elapsed())).await?;
        let stack = Arc::clone(&scene.stack);
        say(&format!(
            "up   {:5.1} s  {} coordinators and {} agents are healthy, every host is online",
            started.elapsed().as_secs_f64(),
            stack.size(),
            stack.size()
        ));
        for (first, group) in (0..).zip(scene.groups.clone()) {
            let hosts = (0..MEMBERS).map(|next| host_of(Node::Agent((first + next) % stack.size() + 1)));
            scene.create_group(&group, hosts.collect()).await?;
        }
        for group in scene.groups.clone() {
            scene.probe.wait_for_primary(&group, EFFECT, |_| true).await?;
        }
        scene.everybody.begin();
        Ok(scene)
    }

    /// Finds the containers; nobody asks them for anything yet.
    async fn of(stack: Arc<Stack>) -> Result<Self> {
        let groups: Vec<String> = (1..=stack.size()).map(|number| format!("g{number}")).collect();
        let hosts: Vec<String> = stack.agents().into_iter().map(host_of).collect();
        let addresses = stack.addresses().await?;
        let at = |node: &Node| {
            let address = addresses.get(node).with_context(|| format!("{node} has no address"))?;
            Ok(format!("{address}:{}", node.port()))
        };
        let coordinators: Vec<String> = stack.coordinators().iter().map(at).collect::<Result<_>>()?;
        let agents: Vec<String> = stack.agents().iter().map(at).collect::<Result<_>>()?;
        Ok(Self {
            probe: Probe::start(&agents)?,
            everybody: Side::new("everybody", &coordinators, &groups, &hosts)?,
            stack,
            groups,
            addresses,
            decided: 0,
        })
    }

    async fn create_group(&self, group: &str, hosts: Vec<String>) -> Result<()> {
        let mut members = hosts.into_iter().map(|host| Member { host, disk: String::new() });
        let request = CreateGroupRequest {
            group: group.to_owned(),
            primary: members.next(),
            backups: members.collect(),
            ..Default::default()
        };
        self.client()?.create_group(request).await.with_context(|| format!("creating group {group}"))?;
        Ok(())
    }

    /// Looks for containers at new addresses; those that were made anew have moved, perhaps.
    ///
    /// # Errors
    /// When the engine does not say.
    pub(super) async fn find_again(&mut self) -> Result<()> {
        let now = self.stack.addresses().await?;
        for agent in self.stack.agents() {
            let address = now.get(&agent).with_context(|| format!("{agent} has no address"))?;
            if self.addresses.get(&agent) != Some(address) {
                self.probe.ask_also(&format!("{address}:{}", agent.port()))?;
            }
        }
        self.addresses = now;
        self.everybody.readdress(&self.coordinator_addresses(&self.stack.coordinators())?)
    }

    /// Agents are not asked for their roles any more until they are looked for again.
    pub(super) fn leave_alone(&mut self) {
        self.probe.rest();
        self.addresses.retain(|node, _| !matches!(node, Node::Agent(_)));
    }

    /// Where a node is asked, as `host:port`.
    ///
    /// # Errors
    /// When it had no address when it was last looked for.
    pub(super) fn address(&self, node: Node) -> Result<String> {
        let address = self.addresses.get(&node).with_context(|| format!("{node} has no address"))?;
        Ok(format!("{address}:{}", node.port()))
    }

    /// The same for several.
    ///
    /// # Errors
    /// When one has none.
    pub(super) fn coordinator_addresses(&self, nodes: &[Node]) -> Result<Vec<String>> {
        nodes.iter().map(|node| self.address(*node)).collect()
    }

    /// A client of every coordinator.
    ///
    /// # Errors
    /// When an address is none.
    pub(super) fn client(&self) -> Result<Client> {
        let addresses = self.coordinator_addresses(&self.stack.coordinators())?;
        Ok(Client::connect(addresses, ClientOptions::default())?)
    }

    /// Clients at work that know these coordinators only, and make groups on these hosts.
    ///
    /// # Errors
    /// When an address is none.
    pub(super) fn side(&self, name: &str, coordinators: &[Node], agents: &[Node]) -> Result<Side> {
        let hosts: Vec<String> = agents.iter().copied().map(host_of).collect();
        let mut side = Side::new(name, &self.coordinator_addresses(coordinators)?, &self.groups, &hosts)?;
        side.begin();
        Ok(side)
    }

    /// What the coordinators that answer say of themselves.
    pub(super) async fn statuses(&self) -> BTreeMap<u64, GetStatusResponse> {
        statuses(&self.addresses()).await
    }

    /// Where the coordinators are asked, as far as they run.
    fn addresses(&self) -> BTreeMap<u64, String> {
        let address = |node: Node| match node {
            Node::Coordinator(id) => self.address(node).ok().map(|address| (id, address)),
            Node::Agent(_) => None,
        };
        self.stack.coordinators().into_iter().filter_map(address).collect()
    }

    /// The coordinators but these.
    pub(super) fn coordinators_without(&self, but: &[Node]) -> Vec<Node> {
        self.stack.coordinators().into_iter().filter(|node| !but.contains(node)).collect()
    }

    /// The agents but these.
    pub(super) fn agents_without(&self, but: &[Node]) -> Vec<Node> {
        self.stack.agents().into_iter().filter(|node| !but.contains(node)).collect()
    }

    /// Who leads and can decide, and its term.
    ///
    /// # Errors
    /// When nobody does in time.
    pub(super) async fn leader(&self) -> Result<(Node, u64)> {
        self.leader_among(&self.stack.coordinators(), 0).await
    }

    /// Who of these leads a term above the given and can decide.
    ///
    /// # Errors
    /// When nobody does in time.
    pub(super) async fn leader_among(&self, nodes: &[Node], above: u64) -> Result<(Node, u64)> {
        wait_until(&format!("one of {nodes:?} can decide in a term above {above}"), EFFECT, async || {
            let statuses = self.statuses().await;
            let leaders = statuses.iter().filter(|(_, status)| status.can_decide && status.term > above);
            let found = leaders.max_by_key(|(_, status)| status.term);
            let (id, status) = found.with_context(|| format!("{:?}", told(&statuses)))?;
            ensure!(nodes.contains(&Node::Coordinator(*id)), "coordinator {id} can: {:?}", told(&statuses));
            Ok((Node::Coordinator(*id), status.term))
        })
        .await
    }

    /// Each of these knows that it cannot decide, follows nobody, and does not serve by its own health check; gives back
    /// the revisions that they stand at.
    ///
    /// # Errors
    /// When one does not in time.
    pub(super) async fn cannot_decide(&self, nodes: &[Node]) -> Result<BTreeMap<u64, u64>> {
        let ids: Vec<u64> = nodes.iter().filter_map(|node| coordinator_id(*node)).collect();
        let revisions = wait_until(&format!("{nodes:?} decide nothing"), EFFECT, async || {
            let statuses = self.statuses().await;
            let mut revisions = BTreeMap::new();
            for id in &ids {
                let status = statuses.get(id).with_context(|| format!("coordinator {id} does not answer"))?;
                let alone = status.leader_id == 0 || status.leader_id == *id;
                ensure!(!status.can_decide && alone, "{:?}", told(&statuses));
                revisions.insert(*id, status.revision);
            }
            Ok(revisions)
        })
        .await?;
        for node in nodes {
            // The health service looks at it a few times a second.
            self.stack.checked(*node, 1).await?;
        }
        Ok(revisions)
    }

    /// Every host is online and its disk is healthy.
    ///
    /// # Errors
    /// When one is not in time.
    pub(super) async fn hosts_online(&self, deadline: Duration) -> Result<()> {
        let wanted = self.stack.size();
        wait_until("every host is online and its disk is known to be healthy", deadline, async || {
            let client = self.client()?;
            let hosts = client.list_hosts(ListHostsRequest { page_size: PAGE, ..Default::default() }).await?;
            let online = hosts.hosts.iter().filter(|host| host.status() == HostStatus::Online).count() as u64;
            ensure!(online == wanted, "{online} of {wanted} are online");
            let healthy = self.statuses().await.values().map(|status| status.disks_healthy).max();
            ensure!(healthy == Some(wanted), "{healthy:?} disks are healthy");
            Ok(())
        })
        .await
    }

    /// The engine calls every container healthy.
    ///
    /// # Errors
    /// When it does not in time, with what the health checks say.
    pub(super) async fn all_healthy(&self, deadline: Duration) -> Result<()> {
        wait_until("every container is healthy", deadline, async || {
            let containers = self.stack.containers().await?;
            for node in self.stack.nodes() {
                let one =
                    containers.get(&node.to_string()).with_context(|| format!("{node} is not there"))?;
                ensure!(
                    one.status == "running" && one.health == "healthy",
                    "{node} is {} and {}: {}",
                    one.status,
                    one.health,
                    one.health_said
                );
            }
            Ok(())
        })
        .await
    }

    /// A group, by a confirmed read.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn group(&self, group: &str) -> Result<Group> {
        let request = GetGroupRequest { group: group.to_owned(), ..Default::default() };
        self.client()?.get_group(request).await?.group.context("an answer without a group")
    }

    /// Makes an agent the primary of one of the groups that it belongs to.
    ///
    /// # Errors
    /// When it is not in time.
    pub(super) async fn make_primary(&self, agent: Node) -> Result<Primary> {
        let host = host_of(agent);
        let mut of_agent = None;
        for group in &self.groups {
            let found = self.group(group).await?;
            let mut members = found.primary.iter().chain(&found.backups);
            if members.any(|member| member.host == host) {
                of_agent = Some(found.id);
                break;
            }
        }
        let group = of_agent.with_context(|| format!("{host} is in no group"))?;
        wait_until(&format!("{host} is primary of {group}"), EFFECT, async || {
            let found = self.group(&group).await?;
            ensure!(found.phase() == GroupPhase::Active, "{found:?}");
            if found.primary.as_ref().is_some_and(|primary| primary.host == host) {
                return Ok(());
            }
            let request =
                RequestFailoverRequest { group: group.clone(), target: host.clone(), ..Default::default() };
            match self.client()?.request_failover(request).await {
                Ok(_) | Err(ClientError::Refused { .. }) => anyhow::bail!("it was asked for: {found:?}"),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        let acts = |sample: &Sample| sample.host == host;
        let sample = self.probe.wait_for_primary(&group, EFFECT, acts).await?;
        Ok(Primary { group, agent, epoch: sample.epoch })
    }

    /// What an agent says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn roles(&self, agent: Node) -> Result<ListRolesResponse> {
        let channel = transport::endpoint(&self.address(agent)?)?.connect_lazy();
        let mut client = LocalAgentClient::new(channel);
        let answer = timeout(ANSWER, client.list_roles(ListRolesRequest::default())).await;
        Ok(answer.with_context(|| format!("{agent} does not answer"))??.into_inner())
    }

    /// These agents are primary of nothing, and read-only by their own decision; their health checks are content.
    ///
    /// # Errors
    /// When one is not in time.
    pub(super) async fn fenced(&self, agents: &[Node]) -> Result<()> {
        for agent in agents {
            wait_until(&format!("{agent} is fenced"), EFFECT, async || {
                let said = self.roles(*agent).await?;
                let primary = said.roles.iter().find(|role| role.role() == Role::Primary);
                ensure!(primary.is_none(), "it is primary: {primary:?}");
                let mode = said.service_mode();
                ensure!(matches!(mode, ServiceMode::ReadOnly | ServiceMode::Safe), "it is {mode:?}");
                Ok(())
            })
            .await?;
            let checked = self.stack.healthcheck(*agent).await?;
            ensure!(checked.code == Some(0), "the health check of a fenced agent says {checked:?}");
        }
        Ok(())
    }

    /// Another host acts for the group under a later epoch, and it is none of those that are cut off.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub(super) async fn moved(&self, old: &Primary, away_from: &[Node]) -> Result<String> {
        let away: Vec<String> = away_from.iter().copied().map(host_of).collect();
        let wanted = |sample: &Sample| sample.epoch > old.epoch && !away.contains(&sample.host);
        let new = self.probe.wait_for_primary(&old.group, EFFECT, wanted).await?;
        let name = host_of(old.agent);
        Ok(format!("{} went from {name} to {} under epoch {}", old.group, new.host, new.epoch))
    }

    /// Waits until every one of the nodes that are cut off has lost packets, and says how many there were in all.
    ///
    /// # Errors
    /// When one has lost none.
    pub(super) async fn loses_packets(&self, cut: &Cut, cut_off: &[Node]) -> Result<String> {
        wait_until("packets are thrown away", EFFECT, async || {
            let dropped = cut.dropped().await?;
            for node in cut_off {
                let of_node = dropped.iter().filter(|(flow, _)| flow.from == *node || flow.to == *node);
                let packets: u64 = of_node.map(|(_, packets)| packets).sum();
                ensure!(packets > 0, "{node} has lost nothing: {dropped:?}");
            }
            let packets: u64 = dropped.values().sum();
            Ok(format!("{packets} packets thrown away in {} directions", cut.flows().len()))
        })
        .await
    }

    /// Ends a container's processes and removes it; its volumes stay.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) async fn kill_and_remove(&self, node: Node) -> Result<()> {
        self.stack.kill(node).await?;
        let container = self.stack.container(node).await?;
        must(&["docker", "rm", "--force", &container.id]).await?;
        Ok(())
    }
}

/// The number of a coordinator.
pub(super) fn coordinator_id(node: Node) -> Option<u64> {
    match node {
        Node::Coordinator(id) => Some(id),
        Node::Agent(_) => None,
    }
}
