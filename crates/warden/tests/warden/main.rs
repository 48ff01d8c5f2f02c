//! The warden as a process, spoken to as an agent does.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

mod ends;
mod hooks;
mod keeper;
mod left;
mod scene;
mod takeover;
mod words;
