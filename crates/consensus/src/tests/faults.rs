//! The storage of a whole node on a disk that breaks at every step: log, snapshots, identity, and the state store.
//!
//! A history is driven through the parts as Raft would drive them, one call after the other, so that every run takes the
//! same steps. Whatever breaks, the node that is opened from what is left has what was acknowledged, or refuses.

mod crash;
mod errors;
mod flips;
mod history;
mod install;
mod node;
mod node_disk;
mod opening;
