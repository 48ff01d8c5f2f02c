//! What a hook's process does before it is the hook: it joins its cgroup and a session of its own, takes back what the
//! warden took for itself, and looks at the clock a last time. A process of its own, so that a program on a file system
//! that hangs holds up nobody else.

use crate::clock::boot_ms;
use rustix::process::{
    Resource, Signal, getppid, getrlimit, set_parent_process_death_signal, setpriority_process, setrlimit,
    setsid,
};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

/// The hidden verb.
pub const VERB: &str = "warden-exec";
/// How it ends when the program could not be run.
pub(crate) const NOT_RUN: u8 = 126;

/// What to take back and to join before the program is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Preparation {
    /// The file of the cgroup to join.
    pub(crate) door: Option<PathBuf>,
    /// The process that it must not outlive: it is killed when that one ends.
    pub(crate) with_parent: Option<u32>,
    /// Not to be run from this moment on the boot clock on.
    pub(crate) not_after_ms: Option<u64>,
    /// The standard input is closed once the program is what runs, and written to before if it cannot be. Its own is empty.
    pub(crate) tells: bool,
    /// The priority of whoever started the warden.
    pub(crate) nice: i32,
    /// Its soft limit of open files.
    pub(crate) files: Option<u64>,
    /// How it stood with the killer of processes that take too much memory.
    pub(crate) oom_score: Option<String>,
}

impl Preparation {
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![VERB.into(), "--nice".into(), self.nice.to_string().into()];
        let mut word = |name: &str, value: Option<OsString>| {
            if let Some(value) = value {
                words.extend([name.into(), value]);
            }
        };
        word("--door", self.door.clone().map(Into::into));
        word("--with-parent", self.with_parent.map(|pid| pid.to_string().into()));
        word("--not-after", self.not_after_ms.map(|ms| ms.to_string().into()));
        word("--tells", self.tells.then(|| "exec".into()));
        word("--files", self.files.map(|files| files.to_string().into()));
        word("--oom-score", self.oom_score.clone().map(Into::into));
        words.push("--".into());
        words
    }

    fn parse(words: &mut impl Iterator<Item = OsString>) -> Option<Self> {
        let mut preparation = Self::default();
        loop {
            let name = words.next()?;
            if name == "--" {
                return Some(preparation);
            }
            let value = words.next()?;
            let number = || value.to_str()?.parse::<u64>().ok();
            match name.to_str()? {
                "--door" => preparation.door = Some(value.into()),
                "--with-parent" => preparation.with_parent = Some(number()?.try_into().ok()?),
                "--not-after" => preparation.not_after_ms = Some(number()?),
                "--tells" => preparation.tells = true,
                "--files" => preparation.files = Some(number()?),
                "--nice" => preparation.nice = value.to_str()?.parse().ok()?,
                "--oom-score" => preparation.oom_score = Some(value.into_string().ok()?),
                _ => return None,
            }
        }
    }
}

/// Becomes the program that the words after `--` name; returns only when it could not.
pub fn exec(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let why = match (Preparation::parse(&mut words), words.next()) {
        (Some(preparation), Some(program)) => {
            // This copy is closed by the kernel at the very moment that the program is what runs.
            let tell = preparation.tells.then(|| io::stdin().as_fd().try_clone_to_owned());
            let why = become_program(&preparation, &program, words);
            if let Some(Ok(tell)) = tell {
                // The keeper may be gone.
                let _ = fs::File::from(tell).write_all(b"!");
            }
            why
        }
        _ => format!("{VERB} is for the warden alone"),
    };
    eprintln!("quorate: {why}");
    ExitCode::from(NOT_RUN)
}

fn become_program(
    preparation: &Preparation,
    program: &OsString,
    words: impl Iterator<Item = OsString>,
) -> String {
    if let Some(door) = &preparation.door
        && let Err(error) = fs::write(door, "0")
    {
        return format!("cannot join {}: {error}", door.display());
    }
    if let Err(error) = setsid() {
        return format!("cannot have a session of its own: {error}");
    }
    if let Some(parent) = preparation.with_parent
        && let Err(why) = die_with(parent)
    {
        return why;
    }
    give_back(preparation);
    if preparation.not_after_ms.is_some_and(|end| boot_ms() >= end) {
        return format!("{} was not run: its lease has run out", program.display());
    }
    let mut command = Command::new(program);
    if preparation.tells {
        command.stdin(Stdio::null());
    }
    let error = command.args(words).exec();
    format!("cannot run {}: {error}", program.display())
}

/// A parent that ended before this was asked for kills nobody any more.
fn die_with(parent: u32) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot be made to end with its keeper: {error}"))?;
    let found = getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
    if found == parent { Ok(()) } else { Err("its keeper has ended".to_owned()) }
}

/// What cannot be given back does not keep a hook from running.
fn give_back(preparation: &Preparation) {
    let _ = setpriority_process(None, preparation.nice);
    if let Some(files) = preparation.files {
        let now = getrlimit(Resource::Nofile);
        let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(files), ..now });
    }
    if let Some(score) = &preparation.oom_score {
        let _ = fs::write("/proc/self/oom_score_adj", score);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_to_be_prepared() {
        let preparation = Preparation {
            door: Some("/sys/fs/cgroup/g/cgroup.procs".into()),
            with_parent: Some(12),
            not_after_ms: Some(17),
            tells: true,
            nice: -3,
            files: Some(1_024),
            oom_score: Some("0".into()),
        };
        for preparation in [preparation, Preparation::default()] {
            let mut words = preparation.words().into_iter().skip(1).chain(["/hook".into()]);
            assert_eq!(Preparation::parse(&mut words), Some(preparation));
            assert_eq!(words.next(), Some("/hook".into()));
        }
        assert_eq!(Preparation::parse(&mut ["--door".into()].into_iter()), None);
    }
}
