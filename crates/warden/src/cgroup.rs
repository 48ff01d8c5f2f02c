//! A cgroup for each group, below the one that the warden runs in: what hooks start cannot leave it by forking, by a
//! session of its own or by clearing its environment.

use crate::{
    processes::{self, Identity},
    settings::CgroupUse,
};
use rustix::io::Errno;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// How deep a service may nest cgroups of its own.
const DEPTH_MAX: usize = 16;
/// Hierarchies of version 1, those first that are meant for it.
const VERSION_1: [&str; 3] = ["pids", "freezer", "name=systemd"];

/// Where cgroups of groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroups {
    parent: PathBuf,
    prefix: String,
    version: u8,
}

impl fmt::Display for Cgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cgroups of version {} below {}", self.version, self.parent.display())
    }
}

impl Cgroups {
    /// Finds where they can be made, by making one. `None` where they cannot, as in most containers.
    /// `mark` tells them from those of another state folder on this machine.
    pub(crate) fn find(wanted: CgroupUse, host: &str, mark: &str) -> Option<Self> {
        if wanted == CgroupUse::Off {
            return None;
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let candidates = candidates(&mounts, &own, wanted);
        candidates.into_iter().find_map(|(parent, version)| {
            let found = Self { parent, prefix: format!("quorate-{host}-{mark}"), version };
            found.can_be_made().then_some(found)
        })
    }

    fn can_be_made(&self) -> bool {
        let probe = self.parent.join(format!("{}.probe-{}", self.prefix, std::process::id()));
        let made = fs::create_dir(&probe).is_ok() && probe.join("cgroup.procs").exists();
        // Nothing is in it.
        let _ = fs::remove_dir(&probe);
        made
    }

    /// The group in whose cgroup a process is, if it is in one of these.
    pub(crate) fn group_of(&self, pid: i32) -> Option<String> {
        let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        self.group_in(&told)
    }

    fn group_in(&self, told: &str) -> Option<String> {
        let names =
            told.lines().filter_map(|line| line.splitn(3, ':').nth(2)).flat_map(|path| path.split('/'));
        let mut groups = names.filter_map(|name| name.strip_prefix(&self.prefix)?.strip_prefix('.'));
        groups.next().map(str::to_owned)
    }

    /// That of a group; not made yet.
    pub(crate) fn of(&self, group: &str) -> Cgroup {
        Cgroup { path: self.parent.join(format!("{}.{group}", self.prefix)) }
    }
}

/// Where the process is in each hierarchy that could do, best first, with the version.
fn candidates(mounts: &str, own: &str, wanted: CgroupUse) -> Vec<(PathBuf, u8)> {
    let place = |controller: &str| {
        own.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|one| one == controller).then_some(path)
        })
    };
    let mounted = |kind: &str, controller: &str| {
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let fits = *right.first()? == kind
                && (controller.is_empty() || right.last()?.split(',').any(|one| one == controller));
            let path = Path::new(place(controller)?).strip_prefix(left.get(3)?).ok()?.to_owned();
            fits.then(|| Path::new(left[4]).join(path))
        })
    };
    let mut found = Vec::new();
    if wanted == CgroupUse::Best {
        found.extend(mounted("cgroup2", "").map(|path| (path, 2)));
    }
    found.extend(VERSION_1.iter().filter_map(|controller| Some((mounted("cgroup", controller)?, 1))));
    found
}

/// One cgroup, which may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file by which a process joins it.
    pub(crate) fn door(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    pub(crate) fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes it, unless something is in it.
    pub(crate) fn remove(&self) {
        for folder in self.folders().unwrap_or_default().into_iter().rev() {
            // One that is not empty stays.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Kills what is in it; once is not always enough.
    pub(crate) fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        // What cannot be looked at is not empty, and killed when it can be.
        self.members().unwrap_or_default().into_iter().for_each(processes::kill);
    }

    /// Every living process in it and below.
    ///
    /// # Errors
    /// When it cannot be looked at; a cgroup that is missing holds nothing.
    pub(crate) fn members(&self) -> io::Result<Vec<Identity>> {
        let mut members = Vec::new();
        for folder in self.folders()? {
            let text = or_missing(fs::read_to_string(folder.join("cgroup.procs")))?.unwrap_or_default();
            for pid in text.lines().filter_map(|line| line.parse().ok()) {
                let living = processes::look(pid)?.filter(|process| !process.dead);
                members.extend(living.map(|process| process.identity()));
            }
        }
        Ok(members)
    }

    /// True when something is seen running in it.
    pub(crate) fn is_seen_populated(&self) -> bool {
        self.members().is_ok_and(|members| !members.is_empty())
    }

    /// True when nothing runs in it, and that can be seen.
    pub(crate) fn is_empty(&self) -> bool {
        match fs::read_to_string(self.path.join("cgroup.events")) {
            Ok(events) if events.contains("populated 0") => true,
            // What was killed and not waited for counts there, and not here.
            _ => self.members().is_ok_and(|members| members.is_empty()),
        }
    }

    /// It and those below, outermost first.
    fn folders(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut open = vec![(self.path.clone(), 0)];
        while let Some((folder, depth)) = open.pop() {
            let Some(entries) = or_missing(fs::read_dir(&folder))? else { continue };
            for entry in entries {
                let entry = entry?;
                if depth < DEPTH_MAX && entry.file_type()?.is_dir() {
                    open.push((entry.path(), depth + 1));
                }
            }
            found.push(folder);
        }
        Ok(found)
    }
}

/// A cgroup may be removed while it is looked at.
fn or_missing<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NODEV)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
36 31 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn the_second_version_comes_first_where_both_are_mounted() {
        let own = "8:pids:/a/b\n6:freezer:/\n0::/a\n";
        let found = candidates(MOUNTS, own, CgroupUse::Best);
        let expected = [
            ("/sys/fs/cgroup/unified/a".into(), 2),
            ("/sys/fs/cgroup/pids/a/b".into(), 1),
            ("/sys/fs/cgroup/freezer".into(), 1),
        ];
        assert_eq!(found, expected);
        assert_eq!(candidates(MOUNTS, own, CgroupUse::Version1), expected[1..]);
    }

    #[test]
    fn a_hierarchy_of_which_only_a_part_is_mounted_is_entered_there() {
        let mounts = "30 20 0:2 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let found = candidates(mounts, "0::/docker/x/inner\n", CgroupUse::Best);
        assert_eq!(found, [(PathBuf::from("/sys/fs/cgroup/inner"), 2)]);
        assert_eq!(candidates(mounts, "0::/elsewhere\n", CgroupUse::Best), []);
    }

    #[test]
    fn the_group_of_a_process_is_that_of_the_cgroup_it_is_in_or_below() {
        let cgroups = Cgroups { parent: "/c".into(), prefix: "quorate-h1-ab".into(), version: 1 };
        let group_in = |told: &str| cgroups.group_in(told);
        assert_eq!(group_in("8:pids:/a/quorate-h1-ab.g.1/below\n0::/\n").as_deref(), Some("g.1"));
        for other in ["0::/a\n", "8:pids:/quorate-h1-abc.g\n", "8:pids:/quorate-h1-ab\n", ""] {
            assert_eq!(group_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_cgroup_that_is_missing_holds_nothing() {
        let cgroup = Cgroup::at("/sys/fs/cgroup/there-is-none".into());
        assert!(cgroup.is_empty());
        assert_eq!(cgroup.members().unwrap(), []);
    }
}
