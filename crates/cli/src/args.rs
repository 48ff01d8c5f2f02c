//! The command line.

mod source;
mod spec;

pub(crate) use source::{AgentArgs, CoordinatorArgs, RunCoordinatorArgs, SourceArgs};
pub(crate) use spec::{DiskSpec, Label, MemberSpec};

use crate::{config::Role, dev::DevArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
use quorate_domain::{ClusterId, GroupId};
use quorate_rpc::client::new_request_id;
use quorate_runtime::address::Address;
use std::{ffi::OsString, path::PathBuf, time::Duration};

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 unreachable or no leader, \
                          4 refused or not found.";

/// Control plane of a distributed storage platform: coordinators agree on what to do about failures, agents do it.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How operator verbs reach the coordinators and show what they say.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of operator verbs")]
pub(crate) struct ClientArgs {
    /// How to show the answer.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// API addresses of coordinators, separated by commas; the leader is found from any of them.
    #[arg(
        long,
        global = true,
        env = "QUORATE_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST:PORT,...",
        default_value = "127.0.0.1:7401"
    )]
    pub(crate) endpoints: Vec<String>,
    /// The cluster that is meant; a coordinator or an agent of another one refuses. Default: whichever answers.
    #[arg(long, global = true, env = "QUORATE_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<ClusterId>,
    /// Give up after this many seconds.
    #[arg(long, global = true, value_name = "SECS", value_parser = spec::seconds, default_value = "10")]
    pub(crate) deadline: Duration,
    /// Read what the asked coordinator has applied, without a round of the quorum.
    #[arg(long, global = true)]
    pub(crate) stale: bool,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document; `events --follow` writes one object per line.
    Json,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a coordinator.
    Coordinator(RunCoordinatorArgs),
    /// Run the agent of a storage host, or ask one that runs.
    Agent(AgentCommand),
    /// Run a service of this host under the lease of a group, without hooks.
    Guard(GuardArgs),
    /// Run a whole cluster on this machine, to try things out.
    Dev(DevArgs),
    /// Check and show configurations.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Ask the coordinator or agent of this machine whether it is well; exit code 0 if so, 1 if not.
    Healthcheck(HealthcheckArgs),
    /// Show on one screen how the cluster is; exit code 0 if healthy, 1 with warnings, 3 without quorum or leader.
    Status {
        /// Also show the digest of the whole state: the same on all coordinators that have applied the same.
        #[arg(long)]
        digest: bool,
    },
    /// Storage hosts.
    #[command(subcommand)]
    Host(HostVerb),
    /// Disks of storage hosts.
    #[command(subcommand)]
    Disk(DiskVerb),
    /// Failover groups.
    #[command(subcommand)]
    Group(GroupVerb),
    /// The coordinators.
    #[command(subcommand)]
    Member(MemberVerb),
    /// Show what happened, the latest last.
    Events(EventsArgs),
    /// Long-running operations.
    #[command(subcommand)]
    Op(OpVerb),
}

/// An agent, or a question to one.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentCommand {
    #[command(flatten)]
    pub(crate) run: AgentArgs,
    #[command(subcommand)]
    pub(crate) verb: Option<AgentVerb>,
}

/// Questions to an agent, which knows its own host also when no coordinator is reached.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentVerb {
    /// Show in which service mode the host is and what it is to each group; exit code 0 if normal, 1 if read-only, 3 if
    /// safe. It only looks: nothing may act on what it shows, and it has no deadlines.
    Status {
        /// Where the agent answers local processes: its `listen`.
        #[arg(long, env = "QUORATE_AGENT", value_name = "HOST:PORT", default_value = "127.0.0.1:7402")]
        agent: String,
    },
}

/// Starts COMMAND while this host is primary of GROUP, by the word of its agent, and leaves nothing of it when that ends: at
/// the deadline of the lease at the latest, whatever becomes of the agent or of the guard.
///
/// COMMAND stays in the foreground and has the variables of hooks, such as `QUORATE_EPOCH`. While the host is
/// not primary the guard waits. SIGTERM, SIGINT and SIGQUIT are passed on to COMMAND and end the guard, a second one kills
/// COMMAND at once; SIGHUP, SIGUSR1 and SIGUSR2 are passed on. A COMMAND that ends by itself ends the guard with its exit
/// code (128 and the signal's number when a signal ended it), and the group moves to another host.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: that of COMMAND if it ended by itself or with the guard, 0 if the guard was told to stop while \
                        nothing ran, 1 failed, 2 usage, 3 the agent does not answer (--no-wait), 4 refused or no such group."
)]
pub(crate) struct GuardArgs {
    /// The failover group.
    pub(crate) group: GroupId,
    /// What to run, and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
    /// Where the agent answers local processes: its `listen`.
    #[arg(long, env = "QUORATE_AGENT", value_name = "HOST:PORT", default_value = "127.0.0.1:7402")]
    pub(crate) agent: String,
    /// How long COMMAND may take to end when it is asked to, if its lease lasts so long; then it is killed.
    #[arg(long, value_name = "SECS", value_parser = spec::seconds, default_value = "10")]
    pub(crate) stop_timeout: Duration,
    /// End with exit code 3 when the agent does not answer at first, instead of waiting for it.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Your word that nothing is left on this host of what earlier guards of the group ran, for when `quorate status` says
    /// that it is not known and this guard cannot see it itself. It is not passed on while something is left that can be seen.
    #[arg(long)]
    pub(crate) nothing_left: bool,
    /// The cluster that is meant, as for every verb.
    #[arg(skip)]
    pub(crate) cluster: Option<ClusterId>,
}

/// Questions about a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Say what is wrong with a configuration; exit code 2 if anything is.
    #[command(subcommand)]
    Check(RoleArgs),
    /// Print every key with its value, as TOML.
    Show {
        /// Say for each value where it comes from.
        #[arg(long, global = true)]
        origin: bool,
        #[command(subcommand)]
        role: RoleArgs,
    },
    /// Print the reference of every key, as Markdown.
    Reference,
}

/// Whose configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleArgs {
    /// That of a coordinator.
    Coordinator(CoordinatorArgs),
    /// That of an agent.
    Agent(AgentArgs),
}

/// Whom a container engine or a service manager asks.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Which of the two; by default the one that the environment or the file configures.
    #[arg(value_enum)]
    pub(crate) role: Option<Role>,
    /// Where it listens; by default as its configuration says.
    #[arg(long, value_name = "HOST:PORT", requires = "role")]
    pub(crate) address: Option<Address>,
    /// How long it may take to answer.
    #[arg(long, value_name = "SECS", value_parser = spec::seconds, default_value = "2")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// Questions about hosts, and changes of them.
#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// Every host.
    List,
    /// One host with its disks.
    Show {
        /// Its id.
        host: String,
    },
    /// Forget a host that is gone for good, with its disks; it must be offline and a member of no group.
    Forget {
        /// Its id.
        host: String,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Free the name of a host that is not online for an agent on another state folder, as when the first was lost.
    Reset {
        /// Its id.
        host: String,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Keep a host from becoming primary of anything more; what it is primary of it keeps until it is moved.
    Cordon {
        /// Its id.
        host: String,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Let a host become primary again.
    Uncordon {
        /// Its id.
        host: String,
        #[command(flatten)]
        mutation: MutationArgs,
    },
}

/// Questions about disks, and changes of them.
#[derive(Debug, Subcommand)]
pub(crate) enum DiskVerb {
    /// Every disk.
    List {
        /// Only those of this host.
        #[arg(long)]
        host: Option<String>,
    },
    /// One disk.
    Show {
        /// The host and the disk's name.
        #[arg(value_name = "HOST/DISK")]
        disk: DiskSpec,
    },
    /// Forget a disk that is gone for good; no group may have a member on it. One that its agent still names comes back.
    Forget {
        /// The host and the disk's name.
        #[arg(value_name = "HOST/DISK")]
        disk: DiskSpec,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Say that a disk is good again that a fault of its medium has latched; its checks must pass.
    Clear {
        /// The host and the disk's name.
        #[arg(value_name = "HOST/DISK")]
        disk: DiskSpec,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Make the empty directory of a new disk one that the agent of this host takes; run it on the storage host, as the
    /// agent's user, once the disk is mounted. The members that were on the old disk are not promoted before
    /// `quorate group member accept`.
    Prepare {
        /// Where the new disk is mounted.
        directory: PathBuf,
    },
}

/// What an operator answers for.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReasonArgs {
    /// Why, for those who read the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// The id under which a change is sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct MutationArgs {
    /// Sent again under the same id, a change has no second effect and gets the first answer; default a new id.
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

impl MutationArgs {
    /// The id that was given, or a new one.
    pub(crate) fn id(self) -> String {
        self.request_id.unwrap_or_else(new_request_id)
    }
}

/// Questions about groups, and changes of them.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupVerb {
    /// Create a group.
    Create {
        /// Its id.
        group: String,
        /// The host that serves it; the disk may be left out when the host has one only.
        #[arg(long, value_name = "HOST[/DISK]")]
        primary: MemberSpec,
        /// A host that may follow; repeat it in order of preference.
        #[arg(long = "backup", value_name = "HOST[/DISK]")]
        backups: Vec<MemberSpec>,
        /// A label; repeat it for more.
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<Label>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Every group.
    List,
    /// One group.
    Show {
        /// Its id.
        group: String,
    },
    /// The members of a group.
    #[command(subcommand)]
    Member(GroupMemberVerb),
    /// Revoke the primary and delete the group once nobody can act for it.
    Delete {
        /// Its id.
        group: String,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Move a group to another host.
    Failover {
        /// Its id.
        group: String,
        /// Who shall follow; default whom the planner chooses.
        #[arg(long, value_name = "HOST")]
        to: Option<String>,
        /// Wait until it is over, at most this many seconds.
        #[arg(
            long,
            value_name = "SECS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "60",
            value_parser = spec::seconds
        )]
        wait: Option<Duration>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// The last switches of primary, oldest first.
    History {
        /// The group's id.
        group: String,
    },
    /// Set labels; an empty value removes one.
    Label {
        /// The group's id.
        group: String,
        /// The labels.
        #[arg(required = true, value_name = "KEY=VALUE")]
        labels: Vec<Label>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
}

/// Changes of a group's members.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupMemberVerb {
    /// Add a member at the end of the order. Without --accept it is not promoted before `accept`.
    Add {
        /// The group's id.
        group: String,
        /// The host; the disk may be left out when the host has one only.
        #[arg(value_name = "HOST[/DISK]")]
        member: MemberSpec,
        /// It holds a copy already: it may be promoted from now on.
        #[arg(long, requires = "reason")]
        accept: bool,
        /// Why it holds one, for those who read the history.
        #[arg(long, value_name = "TEXT", requires = "accept")]
        reason: Option<String>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Take a member out that is not primary.
    Remove {
        /// The group's id.
        group: String,
        /// The member's host.
        host: String,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Put the members into another order of preference. It stays, whoever leads.
    Reorder {
        /// The group's id.
        group: String,
        /// Every member's host once, most preferred first.
        #[arg(required = true, value_name = "HOST")]
        hosts: Vec<String>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Say that a member holds a copy although its disk was replaced: from then on it may be promoted.
    Accept {
        /// The group's id.
        group: String,
        /// The member's host.
        host: String,
        #[command(flatten)]
        why: ReasonArgs,
        #[command(flatten)]
        mutation: MutationArgs,
    },
}

/// Questions about the coordinators, and changes of them.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberVerb {
    /// Every coordinator, and a change of them under way.
    List,
    /// Take in a new coordinator, as a learner without a vote; it must run, with an empty data folder.
    Add {
        /// Its node.id; higher than any that was ever used.
        id: u64,
        /// Where agents and clients reach it.
        #[arg(long, value_name = "HOST:PORT")]
        api: String,
        /// Where other coordinators reach it.
        #[arg(long, value_name = "HOST:PORT")]
        peer: String,
        /// Wait until it has caught up, at most this many seconds.
        #[arg(
            long,
            value_name = "SECS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "60",
            value_parser = spec::seconds
        )]
        wait: Option<Duration>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Give a learner a vote.
    Promote {
        /// Its id.
        id: u64,
        /// Wait until it votes, at most this many seconds.
        #[arg(
            long,
            value_name = "SECS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "60",
            value_parser = spec::seconds
        )]
        wait: Option<Duration>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Let a coordinator go, for good: its id is never used again.
    Remove {
        /// Its id.
        id: u64,
        /// Wait until it is gone, at most this many seconds.
        #[arg(
            long,
            value_name = "SECS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "60",
            value_parser = spec::seconds
        )]
        wait: Option<Duration>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Put a new coordinator in the place of one that votes, lost or not, as one change.
    Replace {
        /// The one that goes.
        old: u64,
        /// The node.id of the new one; higher than any that was ever used.
        id: u64,
        /// Where agents and clients reach the new one.
        #[arg(long, value_name = "HOST:PORT")]
        api: String,
        /// Where other coordinators reach the new one.
        #[arg(long, value_name = "HOST:PORT")]
        peer: String,
        /// Wait until it is done, at most this many seconds.
        #[arg(
            long,
            value_name = "SECS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "60",
            value_parser = spec::seconds
        )]
        wait: Option<Duration>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
    /// Take a change back; refused once it is on record that others vote.
    Cancel {
        /// The change; default the one that is under way.
        operation: Option<String>,
        /// Wait until it is taken back, at most this many seconds.
        #[arg(
            long,
            value_name = "SECS",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "60",
            value_parser = spec::seconds
        )]
        wait: Option<Duration>,
        #[command(flatten)]
        mutation: MutationArgs,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on with what happens from now on.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin at this revision instead of with the latest.
    #[arg(long, value_name = "REVISION")]
    pub(crate) since: Option<u64>,
    /// At most this many revisions [default: the latest 20; with --since all].
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

/// Questions about operations.
#[derive(Debug, Subcommand)]
pub(crate) enum OpVerb {
    /// Every operation, newest first.
    List {
        /// Only those under way.
        #[arg(long)]
        running: bool,
    },
    /// One operation with its steps and evidence.
    Show {
        /// Its id.
        op: String,
    },
    /// Wait until an operation is over; exit code 1 if it failed or goes on.
    Wait {
        /// Its id.
        op: String,
        /// At most this many seconds.
        #[arg(long, value_name = "SECS", value_parser = spec::seconds, default_value = "60")]
        timeout: Duration,
    },
}

#[cfg(test)]
mod tests;
