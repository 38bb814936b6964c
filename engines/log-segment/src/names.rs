//! Where a log's files lie, and who has the directory.

use log_api::{EngineConfig, Framing, LogId, Offset, OpenError};
use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// A data directory that this process has for itself. Clones share the lock; the last one gives it back, so a job on another
/// thread that keeps a clone keeps the directory.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Locked (flock) as long as it is open.
    _lock: File,
}

/// How often, and how far apart, a lock that is held is tried again.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Takes the lock, or says that it stays held. A process that forks to start another shares its descriptors, and with them the
/// lock, until the child's exec: a directory that was just given back is free a moment later.
fn try_lock(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            taken => return taken,
        }
    }
    lock.try_lock()
}

impl DataDir {
    /// Makes the directory if it is missing, and takes it.
    ///
    /// # Errors
    /// [`OpenError::Held`] if another open `DataDir`, of this or another process, has it; `Io` otherwise.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let fail = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenError::Io { action, path, source }
        };
        std::fs::create_dir_all(dir).map_err(fail("create directory", dir))?;
        let path = dir.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(fail("open", &path))?;
        match try_lock(&lock) {
            Ok(()) => Ok(Self(Arc::new(Inner { path: dir.to_path_buf(), _lock: lock }))),
            Err(TryLockError::WouldBlock) => Err(OpenError::Held(dir.to_path_buf())),
            Err(TryLockError::Error(source)) => Err(fail("lock", &path)(source)),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The folder of a log: its id in five digits.
    #[must_use]
    pub fn log_dir(&self, log: LogId) -> PathBuf {
        self.0.path.join(format!("{:05}", log.0))
    }
}

/// What recovery and preparing need to know of one log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The log's own folder.
    pub dir: PathBuf,
    /// See [`EngineConfig::durable`].
    pub durable: bool,
    /// Bytes of a segment file; a multiple of 4096.
    pub segment_bytes: u64,
    /// See [`EngineConfig::inflight_bytes_max`].
    pub inflight_bytes_max: u64,
    /// See [`EngineConfig::index_interval_bytes`].
    pub index_interval_bytes: u64,
    /// See [`EngineConfig::framing`].
    pub framing: Framing,
}

impl LogConfig {
    /// One log of an engine.
    #[must_use]
    pub fn new(config: &EngineConfig, data: &DataDir, log: LogId) -> Self {
        Self {
            dir: data.log_dir(log),
            durable: config.durable,
            segment_bytes: config.segment_bytes,
            inflight_bytes_max: config.inflight_bytes_max,
            index_interval_bytes: config.index_interval_bytes,
            framing: config.framing,
        }
    }
}

/// Beside the lock, where logs are shared by several partitions: how, in the words of the command line.
pub const LAYOUT_FILE: &str = "layout";

/// `<dir>/<first offset>.log`
#[must_use]
pub fn segment_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base.0))
}

/// `<dir>/<first offset>.index`
#[must_use]
pub fn index_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.index", base.0))
}

/// `<dir>/<number>.next`
#[must_use]
pub fn prepared_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.next"))
}
