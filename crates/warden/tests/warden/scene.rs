//! A warden, what an agent says to it, and services that never ask.

use quorate_domain::{Epoch, GroupId, HostId};
use quorate_warden::{
    CgroupUse, Decoder, Settings,
    clock::boot_ms,
    connect, encode,
    protocol::{FromWarden, GroupEnded, Hello, Hook, HookOutcome, Run, ToWarden, VERSION, Welcome},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const MESSAGE_MAX: usize = 64 << 10;
/// How long anything may take that is to happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A warden that follows a killed one kills what fell to the agent and that nothing tells the group of. All tests of one
/// process are one agent, so such a test waits until no other scene of its process is left, and keeps others out.
static SCENES: RwLock<()> = RwLock::new(());

/// Held for the shared or the sole use of this process as an agent.
pub(crate) enum Turn {
    Shared { _held: RwLockReadGuard<'static, ()> },
    Alone { _held: RwLockWriteGuard<'static, ()> },
}

impl Turn {
    /// Waits until no scene is alone.
    pub(crate) fn shared() -> Self {
        Self::Shared { _held: SCENES.read().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// A state folder, its wardens, and a folder for scripts.
pub(crate) struct Scene {
    _turn: Turn,
    folder: TempDir,
    pub(crate) warden: Child,
    host: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// One in which another warden follows a killed one.
    pub(crate) fn alone() -> Self {
        let held = SCENES.write().unwrap_or_else(PoisonError::into_inner);
        Self::of(Turn::Alone { _held: held }, |_| {})
    }

    /// The warden's command may be changed before it is started.
    pub(crate) fn with(change: impl FnOnce(&mut Command)) -> Self {
        Self::of(Turn::shared(), change)
    }

    fn of(turn: Turn, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("state")).unwrap();
        let warden = start(&folder.path().join("state"), change);
        let host = format!("t{}", std::process::id());
        Self { _turn: turn, folder, warden, host }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Another warden for the same folder.
    pub(crate) fn start_another(&mut self, change: impl FnOnce(&mut Command)) {
        self.warden = start(&self.state(), change);
    }

    /// A hook.
    pub(crate) fn script(&self, name: &str, body: &str) -> PathBuf {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        fs::write(&new, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, &path).unwrap();
        path
    }

    /// A promote hook that starts a service that listens to no signal, asks nobody, and writes its epoch every 10 ms; it
    /// daemonises itself, with a session of its own.
    pub(crate) fn service(&self) -> PathBuf {
        let writes = self.path("writes");
        let loops = format!(
            "trap '' TERM HUP INT\nwhile :; do echo \"$1\" >> {}; sleep 0.01; done",
            writes.display()
        );
        let service = self.script("service", &loops);
        let start = format!("(setsid {} \"$QUORATE_EPOCH\" >/dev/null 2>&1 &)", service.display());
        self.script("promote", &start)
    }

    /// How much the service has written.
    pub(crate) fn written(&self) -> u64 {
        fs::metadata(self.path("writes")).map_or(0, |data| data.len())
    }

    pub(crate) fn wait_for_writes(&self) {
        let before = self.written();
        until("the service writes", || self.written() > before);
    }

    /// Waits until the warden has seen that it runs below its hook.
    pub(crate) fn wait_until_seen(&self, group: &str) {
        let record = self.state().join(format!("warden/{group}.json"));
        until("it is on record that the service was seen", || {
            fs::read_to_string(&record).is_ok_and(|record| record.contains("\"seen\":true"))
        });
    }

    /// Waits until it has not written for a quarter of a second, and gives the moment of its last write.
    pub(crate) fn wait_for_silence(&self) -> u64 {
        let (mut size, mut at) = (self.written(), boot_ms());
        until("the service is silent", || {
            let (now, written) = (boot_ms(), self.written());
            if written != size {
                (size, at) = (written, now);
            }
            now > at + 250
        });
        at
    }

    pub(crate) fn hello(&self, settings: &Settings) -> Agent {
        let mut agent = self.connect();
        let host = HostId::new(&self.host).unwrap();
        agent.say(&ToWarden::Hello(Box::new(Hello { version: VERSION, host, settings: settings.clone() })));
        agent
    }

    /// An agent that is welcome.
    pub(crate) fn agent(&self, settings: &Settings) -> (Agent, Welcome) {
        let mut agent = self.hello(settings);
        let welcome = agent.hear(|message| match message {
            FromWarden::Welcome(welcome) => Some(welcome.clone()),
            _ => None,
        });
        (agent, welcome)
    }

    pub(crate) fn connect(&self) -> Agent {
        let mut stream = None;
        until("the warden listens", || {
            stream = connect(&self.state()).ok();
            stream.is_some()
        });
        Agent::new(stream.unwrap())
    }

    pub(crate) fn kill_warden(&mut self) {
        self.warden.kill().unwrap();
        self.warden.wait().unwrap();
    }

    pub(crate) fn signal_warden(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.warden), signal).unwrap();
    }

    /// So many files may be open in the warden; how many might before.
    pub(crate) fn limit_files(&self, current: Option<u64>) -> Option<u64> {
        let limit = Rlimit { current, ..getrlimit(Resource::Nofile) };
        prlimit(Some(Pid::from_child(&self.warden)), Resource::Nofile, limit).unwrap().current
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What it still guards is killed by the next one, which is not there to guard anything.
        let _ = self.warden.kill();
        let _ = self.warden.wait();
        let marks = fs::read_to_string(self.state().join("warden/mark")).unwrap_or_default();
        for pid in pids().filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            !marks.is_empty() && environment.windows(marks.len()).any(|window| window == marks.as_bytes())
        }) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

pub(crate) fn start(state: &Path, change: impl FnOnce(&mut Command)) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warden-under-test"));
    command.arg("warden").arg("--state-dir").arg(state).stdin(Stdio::null()).stdout(Stdio::null());
    change(&mut command);
    command.spawn().unwrap()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// An agent's end of the connection.
pub(crate) struct Agent {
    stream: UnixStream,
    decoder: Decoder,
    runs: u64,
    pub(crate) heard: Vec<FromWarden>,
}

impl Agent {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let decoder = Decoder::new(quorate_warden::protocol::FROM_WARDEN_MAX_BYTES);
        Self { stream, decoder, runs: 0, heard: Vec::new() }
    }

    pub(crate) fn say(&mut self, message: &ToWarden) {
        self.write(&encode(message, MESSAGE_MAX).unwrap());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// False when the connection is over.
    pub(crate) fn listen(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => self.decoder.take(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
        while let Some(message) = self.decoder.next_message().unwrap() {
            self.heard.push(message);
        }
        true
    }

    /// Waits for a message that fits, and takes it.
    pub(crate) fn hear<T>(&mut self, fits: impl Fn(&FromWarden) -> Option<T>) -> T {
        let end = Instant::now() + SOON;
        loop {
            if let Some(index) = self.heard.iter().position(|message| fits(message).is_some()) {
                return fits(&self.heard.remove(index)).unwrap();
            }
            let open = self.listen();
            assert!(open || !self.heard.is_empty(), "the connection is over");
            assert!(Instant::now() < end, "nothing that fits was heard: {:?}", self.heard);
        }
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        let end = Instant::now() + SOON;
        while self.listen() {
            assert!(Instant::now() < end, "the connection is still open");
        }
        true
    }

    /// Tells a deadline that many milliseconds from now, and waits until it is known.
    pub(crate) fn lease(&mut self, ms: u64) -> u64 {
        let deadline_ms = boot_ms() + ms;
        self.say(&ToWarden::Lease { deadline_ms });
        self.hear(|message| (*message == FromWarden::Told { deadline_ms }).then_some(()));
        deadline_ms
    }

    pub(crate) fn run(&mut self, group: &str, epoch: u64, hook: Hook) -> u64 {
        self.runs += 1;
        let (run, group) = (self.runs, GroupId::new(group).unwrap());
        let reason = "a test".to_owned();
        self.say(&ToWarden::Run(Run { run, group, epoch: Epoch(epoch), hook, reason, disk: None }));
        run
    }

    pub(crate) fn ended(&mut self, wanted: u64) -> HookOutcome {
        self.hear(|message| match message {
            FromWarden::Ended { run, outcome } if *run == wanted => Some(outcome.clone()),
            _ => None,
        })
    }

    pub(crate) fn promoted(&mut self, group: &str, epoch: u64) {
        let run = self.run(group, epoch, Hook::Promote);
        assert_eq!(self.ended(run), HookOutcome::Succeeded);
    }

    pub(crate) fn group_ended(&mut self, wanted: &str) -> GroupEnded {
        self.hear(|message| match message {
            FromWarden::GroupEnded(ended) if ended.group.as_str() == wanted => Some(ended.clone()),
            _ => None,
        })
    }

    pub(crate) fn pings(&mut self, number: u64) -> Duration {
        let asked = Instant::now();
        self.say(&ToWarden::Ping { number });
        self.hear(|message| (*message == FromWarden::Pong { number }).then_some(()));
        asked.elapsed()
    }

    pub(crate) fn output(&self) -> Vec<String> {
        let line = |message: &FromWarden| match message {
            FromWarden::Output(output) => Some(output.line.clone()),
            _ => None,
        };
        self.heard.iter().filter_map(line).collect()
    }
}

/// True when nothing of a process runs: one whose first thread alone has ended is not gone.
pub(crate) fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let Some((_, stat)) = stat.as_ref().ok().and_then(|stat| stat.rsplit_once(") ")) else { return true };
    let fields: Vec<&str> = stat.split(' ').collect();
    fields[0] == "Z" && fields[17] == "1"
}

/// A program in Python that writes its second word into the file that is its first one, every 10 ms, deaf to SIGTERM, by
/// another thread than its first, which ends. No program in safe Rust can do that.
const HEADLESS: &str = r#"
import ctypes, signal, sys, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def write():
    while True:
        with open(sys.argv[1], "a") as file:
            file.write(sys.argv[2] + "\n")
        time.sleep(0.01)
threading.Thread(target=write).start()
ctypes.CDLL(None).pthread_exit(None)
"#;

/// A word of a shell that begins it; none where there is no Python, which is said.
pub(crate) fn headless(folder: &Path) -> Option<String> {
    let try_it = Command::new("python3").args(["-c", "import ctypes, threading"]).status();
    if !try_it.is_ok_and(|status| status.success()) {
        let expected = std::env::var("QUORATE_TEST_EXPECTED").unwrap_or_default();
        assert!(!expected.split(',').any(|word| word == "python"), "there is no python3");
        eprintln!("SKIPPED services whose first thread has ended: there is no python3");
        return None;
    }
    let path = folder.join("headless.py");
    fs::write(&path, HEADLESS).unwrap();
    Some(format!("python3 {}", path.display()))
}

/// Waits for something to become true.
pub(crate) fn until(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !check() {
        assert!(Instant::now() < end, "waited {SOON:?} in vain until {what}");
        sleep(Duration::from_millis(5));
    }
}

/// Each way to find what hooks started, and whether this machine has it.
pub(crate) fn ways() -> [CgroupUse; 3] {
    [CgroupUse::Best, CgroupUse::Version1, CgroupUse::Off]
}
