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

use quorate_domain::{ClusterId, CoordinatorId, InstanceId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

/// The layout of the folder that this build writes.
const FORMAT: u32 = 1;

/// Why a data folder cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The operating system refused.
    #[error("data_dir {path}: {action} failed: {source}")]
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

/// An open data folder. The lock is held until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    root: PathBuf,
    cluster: ClusterId,
    node: CoordinatorId,
    instance: InstanceId,
    fresh: bool,
    peers: Mutex<BTreeMap<u64, InstanceId>>,
    _lock: File,
}

impl DataFolder {
    /// Opens or makes the folder of one node of one cluster.
    ///
    /// # Errors
    /// [`FolderError`] when it is in use, belongs to another cluster or node, or is damaged.
    pub fn open(root: &Path, cluster: &ClusterId, node: CoordinatorId) -> Result<Self, FolderError> {
        std::fs::create_dir_all(root).map_err(FolderError::io(root, "creating it"))?;
        let lock = lock(root)?;
        let path = root.join("identity.json");
        let known: Option<Identity> = read_json(&path)?;
        let fresh = known.is_none();
        let identity = if let Some(identity) = known {
            check_identity(root, identity, cluster, node)?
        } else {
            refuse_orphaned_log(root)?;
            let identity =
                Identity { format: FORMAT, cluster: cluster.clone(), node: node.0, instance: new_instance() };
            write_json(&path, &identity)?;
            identity
        };
        let peers = read_json(&root.join("peers.json"))?.unwrap_or_default();
        Ok(Self {
            root: root.to_owned(),
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
        self.root.join(name)
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
                write_json(&self.root.join("peers.json"), &extended)
                    .map_err(|error| PeerRefused::NotRemembered(error.to_string()))?;
                *peers = extended;
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
        "node {node} was known with data folder {known} and comes with {offered}: its data was lost; remove it from the cluster and bring it back under a new node id with an empty data_dir"
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

fn lock(root: &Path) -> Result<File, FolderError> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(FolderError::io(&path, "opening it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(FolderError::Io { path, action: "locking it", source }),
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
fn refuse_orphaned_log(root: &Path) -> Result<(), FolderError> {
    let log = root.join("log");
    if log.exists() {
        return Err(FolderError::Damaged {
            path: root.join("identity.json"),
            problem: format!("it is missing, and {} is there", log.display()),
        });
    }
    Ok(())
}

fn new_instance() -> InstanceId {
    InstanceId::new(format!("{:032x}", rand::random::<u128>())).expect("32 hex digits are a valid name")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FolderError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FolderError::io(path, "reading it")(error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| FolderError::Damaged { path: path.to_owned(), problem: error.to_string() })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FolderError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| FolderError::Damaged { path: path.to_owned(), problem: error.to_string() })?;
    bytes.push(b'\n');
    replace_file(path, &bytes).map_err(FolderError::io(path, "writing it"))
}

/// Puts a file in place so that a crash leaves the old one or the new one, never half of either.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
