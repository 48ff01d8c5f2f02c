//! What an agent keeps on disk: who it is, and the highest epoch of each group.
//!
//! Each file is one line that names format, length and CRC-32 of the rest, then JSON. A file is replaced whole:
//! temporary name, fsync, rename, fsync of the folder.

use quorate_agent_core::{DurableEpochs, Seat};
use quorate_domain::{ClusterId, DiskName, Epoch, FormationId, GroupId, HostId, Incarnation, InstanceId};
use quorate_runtime::lack::opened;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const FORMAT: u32 = 1;
const MAGIC: &str = "quorate-agent";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity.json";
const EPOCHS: &str = "epochs.json";

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error(
        "state folder {folder} is in use by another process; stop that agent, or give this one its own state_dir"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {action} {path}; check state_dir, its owner and its disk")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A file is damaged.
    #[error(
        "{file} is damaged ({problem}); restore the file, or, once `quorate host show` says that the host is offline, remove the whole folder so that the agent registers anew"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of a later version.
    #[error("{file} has format {found} and this agent reads {FORMAT}; start the newer version of the agent")]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The folder of another host.
    #[error("state folder {folder} belongs to host {found}, not {wanted}; correct state_dir or host.id")]
    OtherHost {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: HostId,
        /// Who wanted it.
        wanted: HostId,
    },
    /// The folder of another cluster.
    #[error(
        "state folder {folder} belongs to cluster {found}, and the coordinators are of cluster {wanted}; correct coordinators, or use another state_dir"
    )]
    OtherCluster {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Who answered.
        wanted: ClusterId,
    },
    /// Another start took its host away from it.
    #[error(
        "state folder {folder} speaks for host {host} no more: another start of its agent, on a copy of this folder or under the same host.id, took its place while this one ran; if that one is right, remove this folder or give this agent a host.id of its own; if this one is, stop the other, and once `quorate host show {host}` says that the host is offline, remove this folder so that the agent registers anew"
    )]
    Superseded {
        /// The folder.
        folder: PathBuf,
        /// The host.
        host: HostId,
    },
    /// The folder of another forming of the cluster.
    #[error(
        "state folder {folder} belongs to the cluster formed under {found}, and the coordinators are of one formed under {wanted}; correct coordinators, or use another state_dir"
    )]
    OtherFormation {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        found: FormationId,
        /// Who answered.
        wanted: FormationId,
    },
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The host.
    pub host: HostId,
    /// Names this folder.
    pub instance: InstanceId,
    /// Counts the starts on this folder.
    pub incarnation: Incarnation,
    /// Known once a leader has welcomed the agent.
    pub cluster: Option<ClusterId>,
    /// Which forming of a cluster of that name; known once a leader has said it.
    #[serde(default)]
    pub formation: Option<FormationId>,
    /// The identity that each disk was last seen with.
    pub disks: BTreeMap<DiskName, String>,
    /// The place of this folder: the boot of the machine, and the lock file's device and inode. A copy has another.
    pub place: String,
    /// The API addresses of the coordinators, as a leader last named them.
    #[serde(default)]
    pub coordinators: Vec<String>,
    /// Another start took the host away from a start on this folder: none may follow on it.
    #[serde(default)]
    pub superseded: bool,
}

#[derive(Serialize, Deserialize)]
struct EpochsFile {
    highest: BTreeMap<GroupId, Epoch>,
    primary_of: Vec<(GroupId, Epoch)>,
    #[serde(default)]
    elsewhere: Vec<(GroupId, Epoch)>,
    lease_ms: u64,
    #[serde(default)]
    demotion_ms: u64,
    /// Builds that did not know better may have been without.
    #[serde(default = "yes")]
    hookless: bool,
    #[serde(default)]
    guarded: Vec<(GroupId, Epoch, Seat)>,
}

fn yes() -> bool {
    true
}

/// An agent's state folder, held by this process alone.
#[derive(Debug)]
pub struct StateFolder {
    folder: PathBuf,
    identity: Identity,
    /// Holds the lock as long as it is open.
    lock: File,
}

impl StateFolder {
    /// Takes the folder, making it when it is missing, and counts one more start durably.
    ///
    /// # Errors
    /// [`StateError`]: in use, damaged, of another host, or the operating system refuses.
    ///
    /// The incarnation is at least `unix_ms`, so that two starts on copies of one folder never have the same.
    pub fn open(folder: &Path, host: &HostId, unix_ms: u64) -> Result<(Self, DurableEpochs), StateError> {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
        let lock = lock(folder)?;
        let place = place(&lock).map_err(failed("look at", folder))?;
        let identity_file = folder.join(IDENTITY);
        let known = read_file::<Identity>(&identity_file)?;
        if known.is_none() && !folder.join(EPOCHS).exists() {
            // Before the identity: a folder that has an identity has its epochs.
            write_epochs(folder, &DurableEpochs::default())?;
        }
        let mut identity = known.unwrap_or_else(|| Identity {
            host: host.clone(),
            instance: random_instance(),
            incarnation: Incarnation(0),
            cluster: None,
            formation: None,
            disks: BTreeMap::new(),
            place: place.clone(),
            coordinators: Vec::new(),
            superseded: false,
        });
        if identity.host != *host {
            let (found, wanted) = (identity.host, host.clone());
            return Err(StateError::OtherHost { folder: folder.to_owned(), found, wanted });
        }
        if identity.superseded {
            return Err(StateError::Superseded { folder: folder.to_owned(), host: host.clone() });
        }
        let mut epochs = read_epochs(folder)?;
        if identity.place != place {
            // The lock says that the start before is gone only if it was in this very place. Before the identity, so
            // that a start that is cut short here does it again.
            epochs = epochs.moved();
            if boot_of(&identity.place) != boot_of(&place) {
                // Nothing that ran here has outlived the machine.
                epochs.guarded.clear();
            }
            write_epochs(folder, &epochs)?;
            identity.place = place;
        }
        identity.incarnation = after(identity.incarnation).max(Incarnation(unix_ms));
        let mut state = Self { folder: folder.to_owned(), identity: identity.clone(), lock };
        state.replace_identity(identity)?;
        Ok((state, epochs))
    }

    /// Who the agent is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is wrong with the folder, if it is not there as this start left it: a start that follows would not know what
    /// this one does, and another agent could take the folder beside it.
    pub fn problem(&self) -> Option<String> {
        let (folder, file) = (self.folder.display(), self.folder.join(IDENTITY));
        let inode = |data: &fs::Metadata| (data.dev(), data.ino());
        let locked = self.lock.metadata().map(|data| inode(&data)).ok();
        match fs::metadata(self.folder.join(LOCK)).map(|data| inode(&data)) {
            Ok(there) if Some(there) == locked => {}
            Ok(_) => return Some(format!("another folder is in the place of {folder}")),
            Err(error) => return Some(format!("{folder}: {LOCK}: {error}")),
        }
        match read_file::<Identity>(&file) {
            Ok(Some(found)) if found == self.identity => None,
            Ok(Some(_)) => Some(format!("{} was written by somebody else", file.display())),
            Ok(None) => Some(format!("{} is gone", file.display())),
            Err(error) => Some(error.to_string()),
        }
        .or_else(|| {
            let epochs = self.folder.join(EPOCHS);
            (!epochs.exists()).then(|| format!("{} is gone", epochs.display()))
        })
    }

    /// Makes the incarnation greater than one that the coordinators have recorded.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn raise_incarnation(&mut self, above: Incarnation) -> Result<Incarnation, StateError> {
        let incarnation = after(self.identity.incarnation.max(above));
        self.replace_identity(Identity { incarnation, ..self.identity.clone() })?;
        Ok(incarnation)
    }

    /// Notes that another start has taken the host away: no start on this folder may follow. Where that other start runs
    /// on this very folder, as on a file system that two machines share, the folder is its own and stays as it is.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn supersede(&mut self) -> Result<(), StateError> {
        let known = read_file::<Identity>(&self.folder.join(IDENTITY))?;
        if known.is_none_or(|known| known.incarnation != self.identity.incarnation) {
            return Ok(());
        }
        self.replace_identity(Identity { superseded: true, ..self.identity.clone() })
    }

    /// Notes which cluster the agent belongs to, and which forming of it, if a leader says one.
    ///
    /// # Errors
    /// [`StateError::OtherCluster`] and [`StateError::OtherFormation`] when it belongs to another one.
    pub fn learn_cluster(
        &mut self,
        cluster: &ClusterId,
        formation: Option<&FormationId>,
    ) -> Result<(), StateError> {
        if let Some(known) = self.identity.cluster.as_ref().filter(|known| *known != cluster) {
            let (folder, found, wanted) = (self.folder.clone(), known.clone(), cluster.clone());
            return Err(StateError::OtherCluster { folder, found, wanted });
        }
        if let (Some(known), Some(told)) = (&self.identity.formation, formation)
            && known != told
        {
            let (folder, found, wanted) = (self.folder.clone(), known.clone(), told.clone());
            return Err(StateError::OtherFormation { folder, found, wanted });
        }
        let formation = formation.or(self.identity.formation.as_ref()).cloned();
        let identity = Identity { cluster: Some(cluster.clone()), formation, ..self.identity.clone() };
        if identity == self.identity { Ok(()) } else { self.replace_identity(identity) }
    }

    /// Notes where the coordinators are.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn learn_coordinators(&mut self, api_addresses: Vec<String>) -> Result<(), StateError> {
        self.replace_identity(Identity { coordinators: api_addresses, ..self.identity.clone() })
    }

    /// Notes the identity that a disk has.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn record_disk(&mut self, name: &DiskName, disk_identity: &str) -> Result<(), StateError> {
        if self.identity.disks.get(name).is_some_and(|known| known == disk_identity) {
            return Ok(());
        }
        let mut identity = self.identity.clone();
        identity.disks.insert(name.clone(), disk_identity.to_owned());
        self.replace_identity(identity)
    }

    /// Replaces the epochs. Durable on return.
    ///
    /// # Errors
    /// [`StateError::Io`]; what is on disk is then the epochs before or these.
    pub fn store_epochs(&self, epochs: &DurableEpochs) -> Result<(), StateError> {
        write_epochs(&self.folder, epochs)
    }

    fn replace_identity(&mut self, identity: Identity) -> Result<(), StateError> {
        write_file(&self.folder, IDENTITY, &identity)?;
        self.identity = identity;
        Ok(())
    }
}

/// The number after this one; the last is its own successor, and is refused by the coordinators as used.
fn after(incarnation: Incarnation) -> Incarnation {
    Incarnation(incarnation.0.saturating_add(1))
}

/// A random name of 16 characters.
pub(crate) fn random_name() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Names this boot of this machine and this very folder on it.
fn place(lock: &File) -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let file = lock.metadata()?;
    Ok(format!("{}:{}:{}", boot.trim(), file.dev(), file.ino()))
}

fn boot_of(place: &str) -> Option<&str> {
    place.split(':').next()
}

fn random_instance() -> InstanceId {
    InstanceId::new(random_name()).expect("hexadecimal digits make a name")
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StateError::Io { action: "lock", path, source }),
    }
}

fn read_epochs(folder: &Path) -> Result<DurableEpochs, StateError> {
    let file = folder.join(EPOCHS);
    let Some(epochs) = read_file::<EpochsFile>(&file)? else {
        return Err(StateError::Damaged { file, problem: "it is missing beside an identity".into() });
    };
    Ok(DurableEpochs {
        highest: epochs.highest,
        primary_of: epochs.primary_of.into_iter().collect(),
        elsewhere: epochs.elsewhere.into_iter().collect(),
        lease_ms: epochs.lease_ms,
        demotion_ms: epochs.demotion_ms,
        hookless: epochs.hookless,
        guarded: epochs.guarded.into_iter().map(|(group, epoch, seat)| ((group, epoch), seat)).collect(),
    })
}

fn write_epochs(folder: &Path, epochs: &DurableEpochs) -> Result<(), StateError> {
    let file = EpochsFile {
        highest: epochs.highest.clone(),
        primary_of: epochs.primary_of.iter().cloned().collect(),
        elsewhere: epochs.elsewhere.iter().cloned().collect(),
        lease_ms: epochs.lease_ms,
        demotion_ms: epochs.demotion_ms,
        hookless: epochs.hookless,
        guarded: epochs
            .guarded
            .iter()
            .map(|((group, epoch), seat)| (group.clone(), *epoch, seat.clone()))
            .collect(),
    };
    write_file(folder, EPOCHS, &file)
}

fn read_file<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, StateError> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { action: "read", path: file.to_owned(), source }),
    };
    let damaged = |problem: &str| StateError::Damaged { file: file.to_owned(), problem: problem.to_owned() };
    let split =
        bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("its first line is cut off"))?;
    let body = &bytes[split + 1..];
    let (format, length, crc) = std::str::from_utf8(&bytes[..split])
        .ok()
        .and_then(header_fields)
        .ok_or_else(|| damaged("its first line is not valid"))?;
    if format != FORMAT {
        return Err(StateError::NewerFormat { file: file.to_owned(), found: format });
    }
    if length != body.len() || crc != crc32fast::hash(body) {
        return Err(damaged("its checksum does not match"));
    }
    serde_json::from_slice(body).map(Some).map_err(|error| damaged(&error.to_string()))
}

fn header(body: &[u8]) -> String {
    format!("{MAGIC} format={FORMAT} bytes={} crc32={:08x}\n", body.len(), crc32fast::hash(body))
}

fn header_fields(line: &str) -> Option<(u32, usize, u32)> {
    let rest = line.strip_prefix(MAGIC)?.strip_prefix(" format=")?;
    let (format, rest) = rest.split_once(" bytes=")?;
    let (length, crc) = rest.split_once(" crc32=")?;
    Some((format.parse().ok()?, length.parse().ok()?, u32::from_str_radix(crc, 16).ok()?))
}

fn write_file(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), StateError> {
    let path = folder.join(name);
    let temporary = folder.join(format!("{name}.new"));
    let body = serde_json::to_vec(value).map_err(|error| StateError::Io {
        action: "encode",
        path: path.clone(),
        source: error.into(),
    })?;
    let write = || -> io::Result<()> {
        let mut file = opened(|| File::create(&temporary))?;
        file.write_all(header(&body).as_bytes())?;
        file.write_all(&body)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        opened(|| File::open(folder))?.sync_all()
    };
    write().map_err(failed("replace", &path))
}

#[cfg(test)]
mod tests;
