//! The warden as a process, spoken to as an agent does.

mod ends;
mod hooks;
mod scene;
mod takeover;
mod words;
