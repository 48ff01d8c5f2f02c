//! openraft's own conformance suite over our log and state machine, and what it does not ask.

mod cluster;
mod faults;
mod remedies;
mod storage;
