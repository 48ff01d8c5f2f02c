//! Coordinators as they stand in a configuration: `ID=PEER_ADDRESS/API_ADDRESS` and `ID=PEER_ADDRESS`.

use std::fmt;
use std::str::FromStr;

use quorate_domain::coordinator::COORDINATOR_ID_MAX;
use quorate_domain::ids::CoordinatorId;
use quorate_runtime::address::Address;

/// One of the coordinators that form a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its number.
    pub(crate) id: CoordinatorId,
    /// Where the other coordinators reach it.
    pub(crate) peer: Address,
    /// Where clients and agents reach it.
    pub(crate) api: Address,
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, addresses) = split_id(text)?;
        let Some((peer, api)) = addresses.split_once('/') else {
            return Err("there is no `/` between the peer address and the API address".to_owned());
        };
        let member = Self { id, peer: reachable(peer)?, api: reachable(api)? };
        if member.peer == member.api {
            return Err("the address for peers and the one for the API are the same".to_owned());
        }
        Ok(member)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}/{}", self.id.0, self.peer, self.api)
    }
}

/// How this node reaches a member's peer port when that differs from what the member advertises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerRoute {
    /// The member.
    pub(crate) id: CoordinatorId,
    /// The address to dial instead.
    pub(crate) peer: Address,
}

impl FromStr for PeerRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = split_id(text)?;
        Ok(Self { id, peer: reachable(address)? })
    }
}

impl fmt::Display for PeerRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.id.0, self.peer)
    }
}

/// Why a list of members is not one cluster: an id or an address that stands for two.
pub(super) fn member_conflicts(members: &[Member]) -> Vec<String> {
    let mut conflicts = Vec::new();
    for (position, member) in members.iter().enumerate() {
        let earlier = &members[..position];
        if earlier.iter().any(|other| other.id == member.id) {
            conflicts.push(format!("id {} is there twice", member.id.0));
        }
        for address in [&member.peer, &member.api] {
            let taken_by = earlier.iter().find(|other| [&other.peer, &other.api].contains(&address));
            if let Some(other) = taken_by {
                let (one, two) = (other.id.0, member.id.0);
                conflicts.push(format!("{address} is the address of both {one} and {two}"));
            }
        }
    }
    conflicts
}

/// Why a list of routes is ambiguous.
pub(super) fn route_conflicts(routes: &[PeerRoute]) -> Vec<String> {
    let twice = |(position, route): (usize, &PeerRoute)| {
        let again = routes[..position].iter().any(|other| other.id == route.id);
        again.then(|| format!("id {} is there twice", route.id.0))
    };
    routes.iter().enumerate().filter_map(twice).collect()
}

fn split_id(text: &str) -> Result<(CoordinatorId, &str), String> {
    let (id, rest) = text.split_once('=').ok_or("there is no `=` after the id")?;
    match id.trim().parse() {
        Ok(number) if (1..=COORDINATOR_ID_MAX).contains(&number) => Ok((CoordinatorId(number), rest.trim())),
        _ => Err(format!("`{id}` is not an id, use a whole number from 1 to {COORDINATOR_ID_MAX}")),
    }
}

fn reachable(text: &str) -> Result<Address, String> {
    let address: Address = text.trim().parse().map_err(|error| format!("`{text}`: {error}"))?;
    if address.is_unspecified() {
        return Err(format!("nobody can connect to `{address}`"));
    }
    Ok(address)
}
