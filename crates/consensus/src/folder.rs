//! A coordinator's data folder: whose it is, and that nobody else uses it.
//!
//! ```text
//! lock             held while a process uses the folder
//! identity.json    cluster, node, and the random instance id of this folder
//! peers.json       the instance id under which each peer was first met
//! log/             the write-ahead log
//! snapshots/       snapshot files
//! state/           the state store
//! ```

use crate::{
    disk::{Disk, Folder, FolderLock},
    sealed_json::{self, damaged},
};
use quorate_domain::{ClusterId, CoordinatorId, InstanceId};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// The layout of the folder that this build writes. Layout 1 had no checksums in its files.
const FORMAT: u32 = 2;
/// From this layout on a file without a checksum lost it.
const FIRST_SEALED_FORMAT: u32 = 2;

const LOCK: &str = "lock";
const IDENTITY: &str = "identity.json";
const PEERS: &str = "peers.json";
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
        "{path} is damaged: {problem}; restore it from another copy, or bring this coordinator back under a new node id with an empty data_dir"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What an operator can do about an error of the operating system, behind a semicolon; nothing when that is not known.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give it to the user that this process runs as, with all that is in it"
        }
        _ => "",
    }
}

impl FolderError {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format: u32,
    cluster: ClusterId,
    node: u64,
    instance: InstanceId,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct MetPeers {
    format: u32,
    peers: BTreeMap<u64, InstanceId>,
}

/// An open data folder. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    disk: Arc<dyn Disk>,
    root: Arc<dyn Folder>,
    cluster: ClusterId,
    node: CoordinatorId,
    instance: InstanceId,
    fresh: bool,
    peers: Mutex<BTreeMap<u64, InstanceId>>,
    _lock: FolderLock,
}

impl DataFolder {
    /// Opens or makes the folder of one node of one cluster.
    ///
    /// # Errors
    /// [`FolderError`] when it is in use, belongs to another cluster or node, or is damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        cluster: &ClusterId,
        node: CoordinatorId,
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
            let instance = new_instance(&*folder);
            let identity = Identity { format: FORMAT, cluster: cluster.clone(), node: node.0, instance };
            sealed_json::write(&*folder, IDENTITY, &identity)?;
            identity
        };
        let peers = read_peers(&*folder)?;
        // What is served from here on must be found again, also when an earlier start ended before it was durable.
        folder.sync().map_err(FolderError::io(root, "syncing it"))?;
        Ok(Self {
            disk,
            root: folder,
            cluster: cluster.clone(),
            node,
            instance: identity.instance,
            fresh,
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

    /// True when the folder was made by this start.
    pub fn is_fresh(&self) -> bool {
        self.fresh
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
        self.peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&node.0).cloned()
    }

    /// Checks the instance that a peer comes with; the first one is remembered on disk before this returns. A peer
    /// that lost its data has another one: what it promised is lost with it, so it must come back under a new id.
    ///
    /// # Errors
    /// The known instance, when it is another one; an IO error when it could not be remembered.
    pub fn meet_peer(&self, node: CoordinatorId, instance: &InstanceId) -> Result<(), PeerRefused> {
        let mut peers = self.peers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match peers.get(&node.0) {
            Some(known) if known == instance => Ok(()),
            Some(known) => {
                Err(PeerRefused::OtherInstance { node, known: known.clone(), offered: instance.clone() })
            }
            None => {
                let mut extended = peers.clone();
                extended.insert(node.0, instance.clone());
                let met = MetPeers { format: FORMAT, peers: extended };
                sealed_json::write(&*self.root, PEERS, &met)
                    .map_err(|error| PeerRefused::NotRemembered(error.to_string()))?;
                *peers = met.peers;
                Ok(())
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

fn read_peers(folder: &dyn Folder) -> Result<BTreeMap<u64, InstanceId>, FolderError> {
    match sealed_json::read(folder, PEERS)? {
        None => Ok(BTreeMap::new()),
        Some(found) if found.is_sealed => Ok(found.parse::<MetPeers>(folder, PEERS)?.peers),
        // Layout 1 had nothing around the map.
        Some(found) => found.parse(folder, PEERS),
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
