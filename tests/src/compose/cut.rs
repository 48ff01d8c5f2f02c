//! Cuts between containers: nftables rules in the network namespace of whoever no longer hears. They match the addresses
//! of single peers, so that the test, which asks over the bridge's own address, still sees every side.

use super::{
    docker,
    stack::{Node, Stack},
};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    net::Ipv4Addr,
};

/// One table, ours alone: it goes in one piece.
const TABLE: &str = "quorate_cut";

/// One direction of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    /// Who sends.
    pub(super) from: Node,
    /// Who no longer hears it.
    pub(super) to: Node,
}

/// Both directions between everybody on one side and everybody on the other.
pub(super) fn between(one: &[Node], other: &[Node]) -> Vec<Flow> {
    [one_way(one, other), one_way(other, one)].concat()
}

/// What `from` sends to `to`, and not what it hears from there.
pub(super) fn one_way(from: &[Node], to: &[Node]) -> Vec<Flow> {
    from.iter().flat_map(|from| to.iter().map(|to| Flow { from: *from, to: *to })).collect()
}

/// Directions in which nothing arrives any more, until it is healed. A container that is made anew forgets its part.
#[derive(Debug)]
pub(super) struct Cut {
    flows: Vec<Flow>,
    /// The first process of each container that no longer hears.
    receivers: BTreeMap<Node, u32>,
    /// By address.
    senders: BTreeMap<String, Node>,
}

impl Cut {
    /// Cuts.
    ///
    /// # Errors
    /// When a container does not run or takes no rules.
    pub(super) async fn make(stack: &Stack, flows: Vec<Flow>) -> Result<Self> {
        let containers = stack.containers().await?;
        let addresses = stack.addresses().await?;
        let mut cut = Self { receivers: BTreeMap::new(), senders: BTreeMap::new(), flows };
        let receivers: BTreeSet<Node> = cut.flows.iter().map(|flow| flow.to).collect();
        for to in receivers {
            let pid = containers.get(&to.to_string()).map_or(0, |container| container.pid);
            ensure!(pid != 0, "{to} does not run and cannot be cut off");
            let mut from = Vec::new();
            for flow in cut.flows.iter().filter(|flow| flow.to == to) {
                let address =
                    addresses.get(&flow.from).with_context(|| format!("{} has no address", flow.from))?;
                from.push(address.parse().with_context(|| format!("the address of {}", flow.from))?);
                cut.senders.insert(address.clone(), flow.from);
            }
            nft(pid, &["-f", "-"], Some(&rules(&from))).await.with_context(|| format!("cutting {to}"))?;
            cut.receivers.insert(to, pid);
        }
        Ok(cut)
    }

    /// How many packets were thrown away in each direction.
    ///
    /// # Errors
    /// When the rules cannot be read.
    pub(super) async fn dropped(&self) -> Result<BTreeMap<Flow, u64>> {
        let mut dropped = BTreeMap::new();
        for (to, pid) in &self.receivers {
            let told = nft(*pid, &["--json", "list", "table", "inet", TABLE], None).await?;
            for (address, packets) in counters(&told)? {
                let from = self.senders.get(&address).with_context(|| format!("a rule for {address}"))?;
                dropped.insert(Flow { from: *from, to: *to }, packets);
            }
        }
        Ok(dropped)
    }

    /// Which directions were cut.
    pub(super) fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Everything arrives again.
    ///
    /// # Errors
    /// When a rule does not go.
    pub(super) async fn heal(self) -> Result<()> {
        for (to, pid) in &self.receivers {
            nft(*pid, &["delete", "table", "inet", TABLE], None)
                .await
                .with_context(|| format!("healing {to}"))?;
        }
        Ok(())
    }
}

/// Before everything else that may look at a packet.
fn rules(from: &[Ipv4Addr]) -> String {
    let mut text =
        format!("table inet {TABLE} {{\n chain arrives {{\n  type filter hook input priority -300;\n");
    for address in from {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  ip saddr {address} counter drop");
    }
    text.push_str(" }\n}\n");
    text
}

async fn nft(pid: u32, words: &[&str], input: Option<&str>) -> Result<String> {
    let pid = pid.to_string();
    let all = [&["nsenter", "--target", &pid, "--net", "nft"], words].concat();
    let said = docker::run(&all, input, &[]).await?;
    ensure!(said.code == Some(0), "`{}` ended with {:?}: {}", all.join(" "), said.code, said.stderr);
    Ok(said.stdout)
}

/// The packets that each rule threw away, by the address that it matches.
fn counters(told: &str) -> Result<Vec<(String, u64)>> {
    let told: Value = serde_json::from_str(told).context("nft speaks no JSON")?;
    let entries = told["nftables"].as_array().context("nft gives a list")?;
    let counter = |entry: &Value| {
        let parts = entry["rule"]["expr"].as_array()?;
        let address = parts.iter().find_map(|part| part["match"]["right"].as_str())?;
        let packets = parts.iter().find_map(|part| part["counter"]["packets"].as_u64())?;
        Some((address.to_owned(), packets))
    };
    Ok(entries.iter().filter_map(counter).collect())
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Node = Node::Coordinator(1);
    const B: Node = Node::Coordinator(2);
    const C: Node = Node::Agent(1);

    #[test]
    fn two_sides_are_cut_in_every_direction_and_one_way_in_one() {
        let flow = |from, to| Flow { from, to };
        assert_eq!(between(&[A], &[B, C]), [flow(A, B), flow(A, C), flow(B, A), flow(C, A)]);
        assert_eq!(one_way(&[A, B], &[C]), [flow(A, C), flow(B, C)]);
    }

    #[test]
    fn rules_match_single_addresses_and_their_counters_are_read() {
        let text = rules(&[Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)]);
        assert!(text.contains("ip saddr 10.0.0.2 counter drop\n  ip saddr 10.0.0.3 counter drop"), "{text}");
        let told = r#"{"nftables": [{"metainfo": {}}, {"table": {"name": "quorate_cut"}}, {"rule": {"expr": [
            {"match": {"op": "==", "left": {}, "right": "10.0.0.2"}}, {"counter": {"packets": 7, "bytes": 420}},
            {"drop": null}]}}]}"#;
        assert_eq!(counters(told).unwrap(), [("10.0.0.2".to_owned(), 7)]);
    }
}
