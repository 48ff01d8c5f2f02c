//! The warden: the agent's second process. It runs every hook, knows every deadline, and ends a group's service when its
//! deadline passes unrenewed, whatever became of the agent (DESIGN section 5, rule 11).
//!
//! One thread polls and kills; nothing in it waits for a disk, for a child or for whoever reads. Programs are started
//! and records are written by a second thread, environments of processes are read by a third.
//!
//! Architecture invariant: a deadline that was acknowledged is kept without any word of the agent.

mod cgroup;
pub mod clock;
mod conn;
mod ending;
mod exec;
mod frame;
mod journal;
pub mod keeper;
mod kin;
mod limits;
mod orphans;
mod output;
mod place;
mod processes;
pub mod protocol;
mod record;
mod runs;
mod search;
mod serve;
mod settings;
mod signals;
mod spawner;
mod timer;
mod told;
mod wake;
mod warden;
mod watchdog;

pub use exec::{VERB as EXEC_VERB, exec};
pub use frame::{Decoder, FrameError, encode};
pub use orphans::{adopt_orphans, reap_orphans};
pub use place::{Holder, connect};
pub use record::guards_something;
pub use serve::{VERB, WardenError, serve};
pub use settings::{CgroupUse, GROUP_MARK, Service, Settings, SettingsError};
pub use told::Told;
