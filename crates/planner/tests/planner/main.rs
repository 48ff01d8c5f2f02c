//! What the planners answer, by tables, by exact command lists and by arbitrary states.

#[path = "../../../domain/tests/domain/arbitrary.rs"]
mod arbitrary;
mod coordinators;
mod disks;
mod driver;
mod elsewhere;
mod failover;
mod held_back;
mod liveness;
mod media;
mod orders;
mod own_warnings;
mod properties;
mod speed;
mod warnings;
mod world;
