//! What every sequence of commands keeps, what each command answers, and which bytes must stay readable.

mod answers;
mod arbitrary;
mod coordinator_samples;
mod coordinators;
mod demotion_samples;
mod failover;
mod golden;
mod hosts;
mod incident_samples;
mod incidents;
mod operator_samples;
mod properties;
mod replaced;
mod samples;
mod stage;
mod upkeep;
