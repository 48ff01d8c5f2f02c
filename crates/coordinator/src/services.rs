//! The names of what a coordinator serves to clients and agents.

use quorate_rpc::pb::{
    agent::agent_gateway_server,
    control::{cluster_server, disks_server, events_server, groups_server, hosts_server, operations_server},
};

/// Every service of the API port but those that speak of the others: health and reflection.
pub(crate) const API: [&str; 7] = [
    agent_gateway_server::SERVICE_NAME,
    cluster_server::SERVICE_NAME,
    disks_server::SERVICE_NAME,
    events_server::SERVICE_NAME,
    groups_server::SERVICE_NAME,
    hosts_server::SERVICE_NAME,
    operations_server::SERVICE_NAME,
];
