//! The next segment, made ready off the shard.

use crate::{
    DataDir, Files, LogConfig, SparseIndex,
    files::{FileError, naming},
    names::prepared_path,
};
use log_api::Offset;
use shard_ring::{Event, Helper, Ring, sleep, spawn_local};
use std::{
    cell::{Cell, RefCell},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

/// How long [`Preparer::room`] waits after an attempt that failed.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How an engine opens a segment that it will write. Used on the helper.
pub trait Medium: Clone + Send + 'static {
    /// What it opens: a file, a mapping.
    type Handle: Send + 'static;

    /// Opens the file at `path`, which is `bytes` long, and does whatever would stall the shard later (populating a mapping, say).
    ///
    /// # Errors
    /// Anything: it is reported as [`Preparer::failure`]. `StorageFull` counts as a full disk.
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Self::Handle>;
}

/// A segment that is ready to be written: zeros, durable, its directory entry too.
#[derive(Debug)]
pub struct Prepared<H> {
    /// What [`Medium::open`] returned.
    pub handle: H,
    /// The rest, for [`crate::Segments::roll`] and [`crate::Keeper::adopt`].
    pub file: PreparedFile,
}

/// The file of a prepared segment.
#[derive(Debug)]
pub struct PreparedFile {
    /// `<n>.next`.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Empty, with its memory.
    pub(crate) index: SparseIndex,
}

/// Keeps one segment ready. Lives on the shard; clones are the same preparer.
#[derive(Clone)]
pub struct Preparer<M: Medium> {
    ring: Ring,
    helper: Rc<Helper>,
    data: DataDir,
    config: LogConfig,
    medium: M,
    state: Rc<State<M::Handle>>,
}

/// What an attempt comes back to. It holds no helper, so that dropping an engine ends it.
struct State<H> {
    next_number: Cell<u64>,
    ready: RefCell<Option<Prepared<H>>>,
    running: Cell<bool>,
    full: Cell<bool>,
    failure: RefCell<Option<String>>,
    prepared_bytes: Cell<u64>,
    /// An attempt has ended.
    ended: Event,
}

/// What an attempt brings: the segment and the bytes of zeros written for it.
type Attempt<H> = Result<(Prepared<H>, u64), FileError>;

impl<M: Medium> Preparer<M> {
    /// `next_number` is [`crate::Recovered::next_number`]. Nothing happens before [`Preparer::start`] or [`Preparer::take`].
    #[must_use]
    pub fn new(
        ring: &Ring,
        helper: &Rc<Helper>,
        data: &DataDir,
        config: &LogConfig,
        medium: M,
        next_number: u64,
    ) -> Self {
        let state = State {
            next_number: Cell::new(next_number),
            ready: RefCell::new(None),
            running: Cell::new(false),
            full: Cell::new(false),
            failure: RefCell::new(None),
            prepared_bytes: Cell::new(0),
            ended: Event::new(),
        };
        Self {
            ring: ring.clone(),
            helper: helper.clone(),
            data: data.clone(),
            config: config.clone(),
            medium,
            state: Rc::new(state),
        }
    }

    /// Begins to prepare a segment, unless one is ready or on its way.
    pub fn start(&self) {
        if self.is_ready() || self.state.running.replace(true) {
            return;
        }
        let number = self.state.next_number.get();
        self.state.next_number.set(number + 1);
        let (data, config, medium) = (self.data.clone(), self.config.clone(), self.medium.clone());
        let attempt = self.helper.run(&self.ring, move || {
            let made = prepare(&config, &medium, number);
            // The lock of the directory is kept for as long as the job runs.
            drop(data);
            made
        });
        let state = self.state.clone();
        spawn_local(async move { state.end(attempt.await) });
    }

    /// The prepared segment, if there is one, and begins to prepare the next. `None`: answer `Full` if [`Preparer::is_full`], else
    /// `Busy`, and let [`Preparer::room`] end the wait.
    pub fn take(&self) -> Option<Prepared<M::Handle>> {
        let taken = self.state.ready.take();
        self.start();
        taken
    }

    /// A segment is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.ready.borrow().is_some()
    }

    /// The last attempt that ended found no space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state.full.get()
    }

    /// Another error of the last attempt, in words. Preparing is tried again at each [`Preparer::room`].
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state.failure.borrow().clone()
    }

    /// Waits until a segment is ready; if the attempt fails, 100 ms, so that the caller tries again.
    pub async fn room(&self) {
        let ended = self.state.ended.wait();
        self.start();
        if self.is_ready() {
            return;
        }
        ended.await;
        if !self.is_ready() {
            sleep(RETRY_AFTER).await;
        }
    }

    /// Bytes of zeros written so far: [`log_api::Counters::prepared_bytes`].
    #[must_use]
    pub fn prepared_bytes(&self) -> u64 {
        self.state.prepared_bytes.get()
    }
}

impl<H> State<H> {
    fn end(&self, attempt: Attempt<H>) {
        self.running.set(false);
        self.full.set(false);
        self.failure.replace(None);
        match attempt {
            Ok((prepared, written)) => {
                self.prepared_bytes.set(self.prepared_bytes.get() + written);
                self.ready.replace(Some(prepared));
            }
            Err(error) if error.is_full() => self.full.set(true),
            Err(error) => {
                self.failure.replace(Some(io::Error::from(error).to_string()));
            }
        }
        self.ended.notify_all();
    }
}

/// Makes the file, then what the engine holds it by. On the helper.
fn prepare<M: Medium>(config: &LogConfig, medium: &M, number: u64) -> Attempt<M::Handle> {
    let files = Files::new();
    let path = prepared_path(&config.dir, number);
    let bytes = config.segment_bytes;
    let written = files.make_segment(&path, bytes, config.durable)?;
    let opened = files.sync_dir(&config.dir).and_then(|()| medium.open(&path, bytes).map_err(naming("open", &path)));
    let handle = match opened {
        Ok(handle) => handle,
        Err(error) => {
            // The space goes back; if even this fails, the next recovery unlinks the file.
            let _ = files.unlink(&path);
            return Err(error);
        }
    };
    let index = SparseIndex::new(Offset(0), config.index_interval_bytes, bytes);
    Ok((Prepared { handle, file: PreparedFile { path, bytes, index } }, written))
}
