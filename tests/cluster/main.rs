//! Clusters of real processes on loopback: what is killed, frozen, cut off and damaged here is real.

mod agent_faults;
mod bad_config;
mod bad_requests;
mod damaged_data;
mod dead_connections;
mod disk_failure;
mod disk_faults;
mod health;
mod hung_leader;
mod isolated_leader;
mod leader_kills;
mod members;
mod python_client;
mod reflection;
mod restart;
mod second_cluster;
mod service_modes;
mod storm;
mod warden;
mod writers;
mod wrong_peers;
