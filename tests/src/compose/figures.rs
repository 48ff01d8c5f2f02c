//! What idle containers cost: memory, and processor time over a while, by the files of their control groups.

use super::stack::Stack;
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long processor time is counted.
const COUNTED: Duration = Duration::from_secs(6);
/// The most that an idle container of either role may use, far above what it does: a leak or a busy loop shows.
const MEMORY_MAX_BYTES: u64 = 200_000_000;
const CPU_MAX_PERCENT: f64 = 50.0;

/// Where the accounting of one container is.
#[derive(Debug)]
struct Group {
    /// Of version 1 there is a folder for each kind.
    cpu: PathBuf,
    memory: PathBuf,
}

impl Group {
    fn of(id: &str) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("docker/{id}");
        let one = Self { cpu: root.join("cpuacct").join(&name), memory: root.join("memory").join(&name) };
        if one.cpu.exists() {
            return Ok(one);
        }
        let two = [root.join(&name), root.join(format!("system.slice/docker-{id}.scope"))];
        let two = two.into_iter().find(|folder| folder.exists());
        let two =
            two.with_context(|| format!("no control group of container {id} is under /sys/fs/cgroup"))?;
        Ok(Self { cpu: two.clone(), memory: two })
    }

    fn cpu_time(&self) -> Result<Duration> {
        if let Ok(nanos) = fs::read_to_string(self.cpu.join("cpuacct.usage")) {
            return Ok(Duration::from_nanos(nanos.trim().parse().context("cpuacct.usage")?));
        }
        let stat = fs::read_to_string(self.cpu.join("cpu.stat")).context("cpu.stat")?;
        Ok(Duration::from_micros(field(&stat, "usage_usec")?))
    }

    /// As the engine shows it: without what the page cache could give back at once.
    fn memory_bytes(&self) -> Result<u64> {
        let read = |name: &str| fs::read_to_string(self.memory.join(name));
        let used =
            read("memory.usage_in_bytes").or_else(|_| read("memory.current")).context("memory used")?;
        let stat = read("memory.stat").context("memory.stat")?;
        let cached = field(&stat, "total_inactive_file").or_else(|_| field(&stat, "inactive_file"))?;
        let used: u64 = used.trim().parse().context("memory used")?;
        Ok(used.saturating_sub(cached))
    }
}

/// A number in a file of names and numbers.
fn field(text: &str, name: &str) -> Result<u64> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = pairs.find(|(found, _)| *found == name).with_context(|| format!("no {name}"))?;
    value.trim().parse().with_context(|| format!("{name} is {value:?}"))
}

/// Counts for a while and says what each container used.
///
/// # Errors
/// When one uses more than it ever should, or the accounting is not found.
pub(super) async fn idle(stack: &Stack) -> Result<String> {
    let mut before = Vec::new();
    for (service, container) in stack.containers().await? {
        let group = Group::of(&container.id)?;
        let began = group.cpu_time()?;
        before.push((service, group, began, Instant::now()));
    }
    sleep(COUNTED).await;
    let mut figures = Vec::new();
    for (service, group, began, at) in before {
        let used = group.cpu_time()?.saturating_sub(began);
        let (percent, bytes) =
            (used.as_secs_f64() / at.elapsed().as_secs_f64() * 100.0, group.memory_bytes()?);
        ensure!(
            bytes <= MEMORY_MAX_BYTES && percent <= CPU_MAX_PERCENT,
            "{service} is idle and uses {bytes} bytes and {percent:.1} % of a processor"
        );
        figures.push(format!("{service} {} MB {percent:.1} %", bytes / 1_000_000));
    }
    Ok(format!("idle for {COUNTED:?}: {}", figures.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text = "usage_usec 12\nuser_usec 7\ntotal_inactive_file 3\n";
        assert_eq!(field(text, "usage_usec").unwrap(), 12);
        assert_eq!(field(text, "total_inactive_file").unwrap(), 3);
        assert!(field(text, "inactive_file").is_err());
    }
}
