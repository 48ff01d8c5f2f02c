//! A coordinator's data folder: whose it is, and that nobody else uses it.
//!
//! ```text
//! lock             held while a process uses the folder
//! identity.json    cluster, node, the random instance id of this folder, its place, its last start, whether it was used, and
//!                  by which starts its log may have been opened last
//! peers.json       the instance id under which each peer was first met, and which of its starts counts
//! log/             the write-ahead log, and by which start it was opened last
//! snapshots/       snapshot files
//! state/           the state store
//! ```

use crate::{
    disk::{Disk, Folder, FolderLock, Whereabouts},
    sealed_json::{self, damaged},
};
use quorate_domain::{
    ClusterId, CoordinatorId, InstanceId,
    starts::{Decision, KnownStarts, Pending, Place, Standing, Start, Survey, Wish},
};
use quorate_runtime::lack::is_lack_of_descriptors;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The layout of the folder that this build writes. Layout 1 had no checksums in its files.
const FORMAT: u32 = 2;
/// From this layout on a file without a checksum lost it.
const FIRST_SEALED_FORMAT: u32 = 2;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity.json";
const PEERS: &str = "peers.json";
/// In the folder of the log.
const OPENED_BY: &str = "opened-by.json";
/// What is there only after the identity was on disk.
const CONTENTS: [&str; 3] = ["log", "snapshots", "state"];

/// Why a data folder cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The operating system refused.
    #[error("data_dir {path}: {action} failed: {source}{}", remedy(.source))]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "data_dir {path} is in use by another process; stop that one or give this node a folder of its own"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error(
        "data_dir {path} belongs to {field} {found}, not {wanted}; point data_dir at this node's own folder, or correct {field} in the configuration"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Which setting differs.
        field: &'static str,
        /// What the folder says.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
    /// A later version wrote it.
    #[error(
        "data_dir {path} has layout {found}; this version knows up to {FORMAT}: start it with the version that wrote it"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
    /// A file in it cannot be read.
    #[error(
        "{path} is damaged: {problem}; bring this coordinator back under a new node id with an empty data_dir"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What an operator can do about an error of the operating system, behind a semicolon; nothing when that is not known.
pub fn remedy(source: &io::Error) -> &'static str {
    // There is no kind for it.
    if is_lack_of_descriptors(source) {
        return "; raise the limit of open files (`LimitNOFILE=` in the unit, `ulimit -n`)";
    }
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give it to the user that this process runs as, with all that is in it"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "; a file stands where a folder belongs: correct data_dir, or move the file away"
        }
        io::ErrorKind::NotFound => {
            "; its path leads nowhere: correct data_dir, or mount what belongs there (a link may point at nothing)"
        }
        io::ErrorKind::IsADirectory => {
            "; a folder stands where a file belongs: correct data_dir, or move that folder away"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount its file system for writing, or correct data_dir",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room on its file system",
        _ => "",
    }
}

impl FolderError {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster: ClusterId,
    node: u64,
    instance: InstanceId,
    /// Where the lock file was at the last start.
    #[serde(default)]
    found: Option<Whereabouts>,
    #[serde(default)]
    start: Option<Start>,
    /// It may have promised something: its log is not empty.
    #[serde(default)]
    used: bool,
    /// No other one counted it yet since it was found in another place.
    #[serde(default)]
    waits: bool,
    /// The starts of which one has opened the log last: two while the name of the second is written into it.
    #[serde(default)]
    log_opened_by: Vec<InstanceId>,
}

/// By which start a log was opened last, as it says itself.
#[derive(Debug, Serialize, Deserialize)]
struct OpenedBy {
    start: InstanceId,
}

/// What is known of the peers.
#[derive(Debug, Clone, Default)]
struct Peers {
    instances: BTreeMap<u64, InstanceId>,
    starts: BTreeMap<u64, KnownStarts>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MetPeers {
    format: u32,
    peers: BTreeMap<u64, InstanceId>,
    #[serde(default)]
    starts: BTreeMap<u64, KnownStarts>,
}

/// An open data folder. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    disk: Arc<dyn Disk>,
    root: Arc<dyn Folder>,
    cluster: ClusterId,
    node: CoordinatorId,
    instance: InstanceId,
    start: Start,
    fresh: bool,
    identity: Mutex<Identity>,
    peers: Mutex<Peers>,
    _lock: FolderLock,
}

impl DataFolder {
    /// Opens or makes the folder of one node of one cluster. `original_is_gone` is the word of an operator that nothing runs,
    /// nor ever will, on what this folder is a copy of.
    ///
    /// # Errors
    /// [`FolderError`] when it is in use, belongs to another cluster or node, or is damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        cluster: &ClusterId,
        node: CoordinatorId,
        original_is_gone: bool,
    ) -> Result<Self, FolderError> {
        let folder = disk.folder(root).map_err(FolderError::io(root, "opening or making it"))?;
        let lock = folder.lock(LOCK).map_err(FolderError::io(&folder.path(LOCK), "locking it"))?;
        let lock = lock.ok_or_else(|| FolderError::InUse { path: root.to_owned() })?;
        let known = read_identity(&*folder)?;
        let fresh = known.is_none();
        let identity = if let Some(identity) = known {
            check_identity(root, identity, cluster, node)?
        } else {
            refuse_orphans(&*folder)?;
            let (cluster, instance) = (cluster.clone(), new_instance(&*folder));
            let node = node.0;
            Identity {
                format: FORMAT,
                cluster,
                node,
                instance,
                found: None,
                start: None,
                used: false,
                waits: false,
                log_opened_by: Vec::new(),
            }
        };
        let found = folder.whereabouts(LOCK);
        let found = found.map_err(FolderError::io(&folder.path(LOCK), "looking where it is"))?;
        let place = found.since(identity.found.as_ref());
        let mut start = Start::after(identity.start.as_ref(), place, || new_instance(&*folder));
        if original_is_gone {
            start.vouch();
        }
        let waits = identity.waits || (place == Place::Another && identity.start.is_some());
        // Durable before anybody hears of this start: the next one must not pass for it, nor a copy.
        let identity = Identity {
            format: FORMAT,
            found: Some(found),
            start: Some(start.clone()),
            waits: waits && !original_is_gone,
            ..identity
        };
        sealed_json::write(&*folder, IDENTITY, &identity)?;
        let peers = read_peers(&*folder)?;
        // What is served from here on must be found again, also when an earlier start ended before it was durable.
        folder.sync().map_err(FolderError::io(root, "syncing it"))?;
        Ok(Self {
            disk,
            root: folder,
            cluster: cluster.clone(),
            node,
            instance: identity.instance.clone(),
            start,
            fresh,
            identity: Mutex::new(identity),
            peers: Mutex::new(peers),
            _lock: lock,
        })
    }

    /// The cluster that the folder belongs to.
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// The node that the folder belongs to.
    pub fn node(&self) -> CoordinatorId {
        self.node
    }

    /// The random name of this folder.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// This start on it.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// True when the folder was made by this start.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something else on record of the folder, on disk first.
    fn change_identity(&self, change: impl FnOnce(&mut Identity)) -> Result<(), FolderError> {
        let mut identity = self.identity();
        let mut changed = identity.clone();
        change(&mut changed);
        if changed != *identity {
            sealed_json::write(&*self.root, IDENTITY, &changed)?;
            *identity = changed;
        }
        Ok(())
    }

    /// True when something in it may have been promised: without its log it is not the same any more.
    pub(crate) fn is_used(&self) -> bool {
        self.identity().used
    }

    /// Something is in its log; durable on return.
    ///
    /// # Errors
    /// When it could not be written.
    pub(crate) fn mark_used(&self) -> Result<(), FolderError> {
        self.change_identity(|identity| identity.used = true)
    }

    /// Whether the log says that it is the one that this folder had at its last start: one from before, or of another coordinator,
    /// lacks what was promised since. One that says nothing has lost that, or is empty.
    ///
    /// # Errors
    /// When it could not be read.
    pub(crate) fn is_own_log(&self, log: &dyn Folder) -> Result<bool, FolderError> {
        let known = self.identity().log_opened_by.clone();
        let is_known = opened_by(log)?.is_some_and(|start| known.contains(&start));
        // A folder that knows of no log yet has promised nothing, nor has one that was never used.
        Ok(is_known || known.is_empty() || !self.is_used())
    }

    /// Has the log say that this start has opened it; durable on return.
    ///
    /// # Errors
    /// When it could not be written.
    pub(crate) fn claim_log(&self, log: &dyn Folder) -> Result<(), FolderError> {
        let this = self.start.id.clone();
        if let Some(before) = opened_by(log)? {
            self.change_identity(|identity| identity.log_opened_by = vec![before, this.clone()])?;
        }
        sealed_json::write(log, OPENED_BY, &OpenedBy { start: this.clone() })?;
        self.change_identity(|identity| identity.log_opened_by = vec![this])
    }

    /// True when no other one has counted it since it was found in another place, as far as it knows: the original of its
    /// folder may count instead.
    pub fn waits_to_count(&self) -> bool {
        self.identity().waits
    }

    /// Another one that votes counts this start; durable on return.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn counts_now(&self) -> Result<(), FolderError> {
        self.change_identity(|identity| identity.waits = false)
    }

    /// A path inside the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path(name)
    }

    /// A folder inside it, which is made if it is not there.
    pub(crate) fn folder(&self, name: &str) -> Result<Arc<dyn Folder>, FolderError> {
        let path = self.path(name);
        self.disk.folder(&path).map_err(FolderError::io(&path, "opening or making it"))
    }

    /// The disk that it is on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The instance under which a peer was first met.
    pub fn known_peer(&self, node: CoordinatorId) -> Option<InstanceId> {
        self.peers().instances.get(&node.0).cloned()
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is known of the peers in the place of what was, on disk first.
    fn replace_peers(&self, known: &mut Peers, by: Peers) -> Result<(), PeerRefused> {
        let met = MetPeers { format: FORMAT, peers: by.instances, starts: by.starts };
        sealed_json::write(&*self.root, PEERS, &met)
            .map_err(|error| PeerRefused::NotRemembered(error.to_string()))?;
        *known = Peers { instances: met.peers, starts: met.starts };
        Ok(())
    }

    /// The start of a peer that counts.
    pub fn current_start(&self, node: CoordinatorId) -> Option<InstanceId> {
        self.peers().starts.get(&node.0).map(|known| known.id().clone())
    }

    /// True when this is the start of a peer that counts.
    pub fn is_current_start(&self, node: CoordinatorId, id: &InstanceId) -> bool {
        self.peers().starts.get(&node.0).is_some_and(|known| known.is_current(id))
    }

    /// What is to be said to another one that asks about a start of a peer: whether it is refused here for good, and whether
    /// nothing else counts here. What that one wishes comes first, and is durable on return. `heard` is by which start the
    /// peer was last heard here, and how many milliseconds ago.
    ///
    /// # Errors
    /// When it could not be remembered.
    pub fn word_on_start(
        &self,
        node: CoordinatorId,
        start: &Start,
        wish: Wish,
        heard: Option<&(InstanceId, u64)>,
    ) -> Result<(bool, bool), PeerRefused> {
        let mut peers = self.peers();
        let Some(known) = peers.starts.get(&node.0) else { return Ok((false, false)) };
        if let Some(after) = known.after_wish(wish, start, heard) {
            self.record_starts(&mut peers, node, after)?;
        }
        let known = peers.starts.get(&node.0);
        Ok(known.map_or((false, false), |known| (known.refuses(start), known.takes(start))))
    }

    /// Says what a start of a peer is to this node. The first one that is met counts from now on, and so does the next one
    /// in the same place; which is durable on return.
    ///
    /// # Errors
    /// When it could not be remembered.
    pub fn meet_start(&self, node: CoordinatorId, start: &Start) -> Result<Standing, PeerRefused> {
        let mut peers = self.peers();
        let standing = peers.starts.get(&node.0).map_or(Standing::First, |known| known.judge(start));
        if matches!(standing, Standing::First | Standing::Successor) {
            let known = KnownStarts::with(peers.starts.get(&node.0), start);
            self.record_starts(&mut peers, node, known)?;
        }
        Ok(standing)
    }

    /// Decides about a start of a peer that goes on in another place; durable on return.
    ///
    /// # Errors
    /// When it could not be remembered.
    pub fn decide_start(&self, survey: &Survey<'_>) -> Result<Decision, PeerRefused> {
        let mut peers = self.peers();
        let Some(known) = peers.starts.get(&survey.node.0) else {
            return Ok(Decision::Open(Pending::MayBeThere));
        };
        let decision = known.decide(survey);
        if let Some(after) = known.after(&decision, survey.start) {
            self.record_starts(&mut peers, survey.node, after)?;
        }
        Ok(decision)
    }

    fn record_starts(
        &self,
        peers: &mut Peers,
        node: CoordinatorId,
        known: KnownStarts,
    ) -> Result<(), PeerRefused> {
        let mut extended = peers.clone();
        extended.starts.insert(node.0, known);
        self.replace_peers(peers, extended)
    }

    /// Checks the instance that a peer comes with; the first one is remembered on disk before this returns. A peer
    /// that lost its data has another one: what it promised is lost with it, so it must come back under a new id.
    ///
    /// # Errors
    /// The known instance, when it is another one; an IO error when it could not be remembered.
    pub fn meet_peer(&self, node: CoordinatorId, instance: &InstanceId) -> Result<(), PeerRefused> {
        let mut peers = self.peers();
        match peers.instances.get(&node.0) {
            Some(known) if known == instance => Ok(()),
            Some(known) => {
                Err(PeerRefused::OtherInstance { node, known: known.clone(), offered: instance.clone() })
            }
            None => {
                let mut extended = peers.clone();
                extended.instances.insert(node.0, instance.clone());
                self.replace_peers(&mut peers, extended)
            }
        }
    }
}

/// Why a peer is not spoken with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefused {
    /// It comes with another data folder than before.
    #[error(
        "node {node} was known with data folder {known} and comes with {offered}: its data was lost, or another coordinator uses node.id {node} too; remove a lost one from the cluster and bring it back under a new node id with an empty data_dir, and give each coordinator its own node.id"
    )]
    OtherInstance {
        /// The peer.
        node: CoordinatorId,
        /// The instance known here.
        known: InstanceId,
        /// The instance it came with.
        offered: InstanceId,
    },
    /// The first meeting could not be written down.
    #[error("the peer could not be remembered: {0}")]
    NotRemembered(String),
}

fn read_identity(folder: &dyn Folder) -> Result<Option<Identity>, FolderError> {
    let Some(found) = sealed_json::read(folder, IDENTITY)? else { return Ok(None) };
    let identity: Identity = found.parse(folder, IDENTITY)?;
    if !found.is_sealed && identity.format >= FIRST_SEALED_FORMAT {
        return Err(damaged(folder, IDENTITY, "it was cut, and its checksum is gone".to_owned()));
    }
    Ok(Some(identity))
}

fn opened_by(log: &dyn Folder) -> Result<Option<InstanceId>, FolderError> {
    let Some(found) = sealed_json::read(log, OPENED_BY)? else { return Ok(None) };
    found.parse(log, OPENED_BY).map(|OpenedBy { start }| Some(start))
}

fn read_peers(folder: &dyn Folder) -> Result<Peers, FolderError> {
    match sealed_json::read(folder, PEERS)? {
        None => Ok(Peers::default()),
        Some(found) if found.is_sealed => {
            let MetPeers { peers: instances, starts, .. } = found.parse(folder, PEERS)?;
            Ok(Peers { instances, starts })
        }
        // Layout 1 had nothing around the map.
        Some(found) => Ok(Peers { instances: found.parse(folder, PEERS)?, starts: BTreeMap::new() }),
    }
}

fn check_identity(
    root: &Path,
    identity: Identity,
    cluster: &ClusterId,
    node: CoordinatorId,
) -> Result<Identity, FolderError> {
    let foreign = |field, found: String, wanted: String| FolderError::Foreign {
        path: root.to_owned(),
        field,
        found,
        wanted,
    };
    if identity.format > FORMAT {
        return Err(FolderError::Newer { path: root.to_owned(), found: identity.format });
    }
    if identity.cluster != *cluster {
        return Err(foreign("cluster.id", identity.cluster.to_string(), cluster.to_string()));
    }
    if identity.node != node.0 {
        return Err(foreign("node.id", identity.node.to_string(), node.to_string()));
    }
    Ok(identity)
}

/// A log without an identity means that the identity was lost: a new one would let the node vote twice.
fn refuse_orphans(folder: &dyn Folder) -> Result<(), FolderError> {
    let names = folder.list().map_err(FolderError::io(&folder.path(""), "listing it"))?;
    match CONTENTS.iter().find(|content| names.iter().any(|name| name == *content)) {
        None => Ok(()),
        Some(content) => {
            let problem = format!("it is missing, and {} is there", folder.path(content).display());
            Err(damaged(folder, IDENTITY, problem))
        }
    }
}

fn new_instance(folder: &dyn Folder) -> InstanceId {
    InstanceId::new(format!("{:016x}{:016x}", folder.random(), folder.random()))
        .expect("32 hex digits are a valid name")
}
