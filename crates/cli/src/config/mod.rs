//! Configuration of the two long-running roles: default < TOML file < environment < flags.
//!
//! One table per role ([`Role::keys`]) is the only list of keys there is: values are read, defaulted, shown and
//! documented from it. Every problem of every layer is reported at once, each with where the value came from and
//! what to do.

mod agent;
mod coordinator;
mod disk_folder;
mod file;
mod key;
mod kind;
mod layers;
mod member;
mod origin;
mod problem;
mod reference;
mod report;
mod resolved;
mod suggest;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use agent::AgentConfig;
pub(crate) use coordinator::CoordinatorConfig;
pub(crate) use key::Role;
pub(crate) use kind::LONGEST_MS;
pub(crate) use layers::{Flag, Sources};
pub(crate) use problem::Problems;
pub(crate) use reference::reference_markdown;
pub(crate) use report::{check_text, show_text};
pub(crate) use resolved::Resolved;

use quorate_runtime::address::Address;

/// What the sources say, and everything that is wrong with it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Every key with its value and origin, as far as it could be read.
    pub(crate) resolved: Resolved,
    /// Everything that makes this configuration unusable; empty when it is good.
    pub(crate) problems: Problems,
}

/// Reads and checks the configuration of `role` without building anything from it.
pub(crate) fn load(role: Role, sources: &Sources) -> Loaded {
    let (resolved, mut problems) = layers::resolve(role, sources);
    problems.extend(match role {
        Role::Coordinator => coordinator::check(&resolved),
        Role::Agent => agent::check(&resolved),
    });
    Loaded { resolved, problems: Problems::new(role, problems) }
}

/// The configuration of a coordinator.
///
/// # Errors
/// Every problem found, when there is any.
pub(crate) fn coordinator(sources: &Sources) -> Result<CoordinatorConfig, Problems> {
    build(load(Role::Coordinator, sources), CoordinatorConfig::from_resolved)
}

/// The configuration of an agent.
///
/// # Errors
/// Every problem found, when there is any.
pub(crate) fn agent(sources: &Sources) -> Result<AgentConfig, Problems> {
    build(load(Role::Agent, sources), AgentConfig::from_resolved)
}

/// The role that these sources are a whole configuration of. Of both they never are: each role refuses the other's
/// variables and keys.
pub(crate) fn configured_role(sources: &Sources) -> Option<Role> {
    [Role::Coordinator, Role::Agent].into_iter().find(|role| load(*role, sources).problems.is_empty())
}

/// Where `role` is reached from this machine; none when its address is not usable.
pub(crate) fn local_address(role: Role, sources: &Sources) -> Option<Address> {
    Some(load(role, sources).resolved.address(role.listener())?.as_reached_locally())
}

fn build<T>(loaded: Loaded, from: fn(&Resolved) -> Option<T>) -> Result<T, Problems> {
    let Loaded { resolved, problems } = loaded;
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(from(&resolved).expect("every key has a value of its kind, since a key without one is a problem"))
}
