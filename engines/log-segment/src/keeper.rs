//! What one log wants done off the shard: renames, seals, the watermark, unlinking.

use crate::{
    DataDir, Dead, Files, LogConfig, PreparedFile, SealJob,
    files::{FileError, naming, temporary_path},
    listing::Listing,
    names::{index_path, prepared_path, segment_path},
    watermark::Watermark,
};
use log_api::{Framing, Marks, Offset};
use log_format::{ENTRY_HEADER_BYTES_MAX, entry_header_bytes, peek_entry};
use shard_ring::{Helper, Ring, spawn_local};
use std::{
    cell::{Cell, RefCell},
    fs::File,
    future::Future,
    io::{self, Read},
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the watermark file is written at most, rolls apart.
const WATERMARK_EVERY: Duration = Duration::from_secs(1);

/// Runs the file jobs of one log on the helper, in the order they were given. Lives on the shard; clones are the same keeper.
///
/// A job that was given is done even if nobody waits for it, and keeps the directory's lock until then.
#[derive(Clone)]
pub struct Keeper {
    ring: Ring,
    helper: Rc<Helper>,
    job: Job,
    state: Rc<State>,
}

/// What goes along to the helper.
#[derive(Clone)]
struct Job {
    /// Held for its lock.
    _data: DataDir,
    config: LogConfig,
    files: Files,
    /// The durable mark as far as the watermark file may say. Written on the helper alone.
    durable: Arc<AtomicU64>,
}

/// What detached tasks come back to. It holds no helper, so that dropping an engine ends it.
struct State {
    written: Cell<Option<Instant>>,
    last: Cell<Offset>,
    /// The log's start as far as it is durable.
    start: Cell<Offset>,
    writing: Cell<bool>,
    failure: RefCell<Option<String>>,
}

impl State {
    /// Whether a log that starts at `start` now has to say so on disk. Also when all that was given up is still leased and nothing is
    /// unlinked yet: the caller of a trim is told the new start.
    fn moves_start(&self, start: Offset) -> bool {
        start > self.start.get()
    }

    fn start_is_durable(&self, start: Offset) {
        self.start.set(self.start.get().max(start));
    }

    /// The outcome of a job that nobody waited for. On a full disk the watermark stays the lower bound that it was, and what was given up goes with
    /// the next open.
    fn note(&self, done: Result<(), FileError>) {
        if let Some(error) = done.err().filter(|error| !error.is_full()) {
            self.fail(&error);
        }
    }

    fn fail(&self, error: &FileError) {
        let what = || format!("{} {}: {}", error.action, error.path.display(), error.source);
        self.failure.borrow_mut().get_or_insert_with(what);
    }
}

impl Keeper {
    /// A keeper for a log that was just recovered and starts at `start`.
    #[must_use]
    pub fn new(ring: &Ring, helper: &Rc<Helper>, data: &DataDir, config: &LogConfig, start: Offset) -> Self {
        let state = State {
            written: Cell::new(None),
            last: Cell::new(Offset(0)),
            start: Cell::new(start),
            writing: Cell::new(false),
            failure: RefCell::new(None),
        };
        let job = Job {
            _data: data.clone(),
            config: config.clone(),
            files: Files::new(),
            durable: Arc::new(AtomicU64::new(start.0)),
        };
        Self { ring: ring.clone(), helper: helper.clone(), job, state: Rc::new(state) }
    }

    /// Renames a segment just taken into use to its name. Does not wait and need not be waited for: recovery adopts it either way.
    pub fn adopt(&self, file: &PreparedFile, base: Offset) {
        let from = file.path.clone();
        self.detached(move |job| {
            job.files.rename(&from, &segment_path(&job.config.dir, base))?;
            // Without acknowledgements that depend on it the seal makes the name durable: a flush would be the device's whole cache.
            if job.config.durable { job.files.sync_dir(&job.config.dir) } else { Ok(()) }
        });
    }

    /// Flushes a finished segment, trims it to its length and writes its index; then the watermark may reach its end, if everything before
    /// `durable_before` was durable at the call and that reaches its base. After `Ok` the segment is durable. All writes to it must have completed before the call.
    ///
    /// # Errors
    /// What the system said: the log is poisoned.
    pub fn seal(&self, seal: SealJob, durable_before: Offset) -> impl Future<Output = io::Result<()>> + 'static {
        let sealed = self.run(move |job| {
            job.seal(&seal)?;
            job.raise(durable_before);
            if job.durable.load(Ordering::Relaxed) >= seal.base.0 {
                job.raise(seal.end);
            }
            job.write_watermark(Offset(0))
        });
        async move { sealed.await.map_err(io::Error::from) }
    }

    /// The log's marks after a flush. Writes the watermark file at most once a second; does not wait.
    pub fn note_durable(&self, marks: Marks) {
        if self.state.writing.get() || marks.durable <= self.state.last.get() {
            return;
        }
        let now = Instant::now();
        if self.state.written.get().is_some_and(|written| now - written < WATERMARK_EVERY) {
            return;
        }
        self.state.written.set(Some(now));
        self.state.last.set(marks.durable);
        self.state.writing.set(true);
        let written = self.run(move |job| {
            job.raise(marks.durable);
            job.write_watermark(marks.start)
        });
        let state = self.state.clone();
        spawn_local(async move {
            state.note(written.await);
            state.writing.set(false);
        });
    }

    /// Makes the log's new start durable, then unlinks segments, oldest first. Call it for every [`crate::Segments::trim`].
    ///
    /// # Errors
    /// What the system said.
    pub fn trim<F: 'static>(&self, dead: Dead<F>) -> impl Future<Output = io::Result<()>> + 'static {
        let Dead { start, segments } = dead;
        let segments: Vec<Offset> = segments.into_iter().map(|(base, _)| base).collect();
        let moved = self.state.moves_start(start);
        let trimmed = (moved || !segments.is_empty())
            .then(|| self.run(move |job| job.recycle(start, &segments, Vec::<Successor<()>>::new()).map(drop)));
        let state = self.state.clone();
        async move {
            if let Some(trimmed) = trimmed {
                trimmed.await?;
                state.start_is_durable(start);
            }
            Ok(())
        }
    }

    /// The same, but the segments that have a successor are given its name and to `refit`, if they are worth it; what `refit` made of each is
    /// returned.
    pub(crate) fn trim_into<K: Send + 'static, T: Send + 'static>(
        &self,
        start: Offset,
        segments: Vec<Offset>,
        successors: Vec<Successor<K>>,
        refit: impl Fn(&Files, PathBuf, K) -> T + Send + 'static,
    ) -> impl Future<Output = Result<Vec<T>, FileError>> + 'static {
        let moved = self.state.moves_start(start);
        let trimmed = (moved || !segments.is_empty()).then(|| {
            self.run(move |job| {
                let recycled = job.recycle(start, &segments, successors)?;
                Ok(recycled.into_iter().map(|next| refit(&job.files, next.path, next.kept)).collect())
            })
        });
        let state = self.state.clone();
        async move {
            let Some(trimmed) = trimmed else { return Ok(Vec::new()) };
            let recycled = trimmed.await?;
            state.start_is_durable(start);
            Ok(recycled)
        }
    }

    /// The first failure of a job that nobody waited for. The log still recovers, but the file system is failing: an engine acknowledges
    /// nothing more.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state.failure.borrow().clone()
    }

    /// A clean end: seals (and thereby flushes) what [`crate::Segments::finish`] returned, unlinks prepared segments, writes the watermark at
    /// `marks.end`. All writes must have completed before the call.
    ///
    /// # Errors
    /// What the system said.
    pub fn close(&self, jobs: Vec<SealJob>, marks: Marks) -> impl Future<Output = io::Result<()>> + 'static {
        let closed = self.run(move |job| job.close(&jobs, marks));
        async move { closed.await.map_err(io::Error::from) }
    }

    /// The outcome of a trim that nobody waited for.
    pub(crate) fn note(&self, done: Result<(), FileError>) {
        self.state.note(done);
    }

    fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Job) -> T + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        let job = self.job.clone();
        self.helper.run(&self.ring, move || body(&job))
    }

    fn detached(&self, body: impl FnOnce(&Job) -> Result<(), FileError> + Send + 'static) {
        let done = self.run(body);
        let state = self.state.clone();
        spawn_local(async move {
            if let Err(error) = done.await {
                state.fail(&error);
            }
        });
    }
}

/// What a segment that is given up will be.
pub(crate) struct Successor<K> {
    /// Its first offset.
    pub(crate) base: Offset,
    /// The name that it gets.
    pub(crate) path: PathBuf,
    /// What is kept of it beside the file.
    pub(crate) kept: K,
}

impl Job {
    fn raise(&self, durable: Offset) {
        self.durable.fetch_max(durable.0, Ordering::Relaxed);
    }

    /// Writes the older slot of the watermark file, in place. The start never goes back.
    fn write_watermark(&self, start: Offset) -> Result<(), FileError> {
        let path = self.config.dir.join("watermark");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(naming("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(naming("read", &path))?;
        let last = Watermark::decode_file(&bytes);
        let last_known = last.unwrap_or_default();
        let start = last_known.start.max(start);
        let durable = Offset(self.durable.load(Ordering::Relaxed)).max(last_known.durable).max(start);
        let next = Watermark { sequence: last_known.sequence + 1, start, durable, epoch: last_known.epoch };
        if last.is_some() {
            self.files.write_at(&file, &path, &next.encode(), next.position())?;
        } else {
            self.files.write_at(&file, &path, &next.encode_file(), 0)?;
        }
        self.files.sync_data(&file, &path)
    }

    /// Flush, trim, flush, index, in this order: a segment that is trimmed holds all its bytes, and one with an index is durable.
    fn seal(&self, seal: &SealJob) -> Result<(), FileError> {
        let path = segment_path(&self.config.dir, seal.base);
        let file = File::options().read(true).write(true).open(&path).map_err(naming("open", &path))?;
        self.files.sync_data(&file, &path)?;
        self.files.set_len(&file, &path, seal.bytes)?;
        self.files.sync(&file, &path)?;
        if seal.bytes == 0 {
            return Ok(());
        }
        let end = crate::Boundary { offset: seal.end, position: seal.bytes };
        let index = index_path(&self.config.dir, seal.base);
        match self.files.replace(&index, &seal.index.encode(end)) {
            // The index is a hint, and a full disk is no failure of the log.
            Err(error) if error.is_full() => self.files.unlink(&temporary_path(&index))?,
            other => other?,
        }
        // Its name was not made durable when it was taken into use.
        if self.config.durable { Ok(()) } else { self.files.sync_dir(&self.config.dir) }
    }

    /// Gives segments up; those that have a successor and are worth it get its name. Returns the successors that there are. The start is
    /// durable before anything is renamed: what recovery finds of it afterwards, under either name, holds only offsets before the start, and
    /// no batch of the log has one of those again.
    fn recycle<K>(
        &self,
        start: Offset,
        segments: &[Offset],
        successors: Vec<Successor<K>>,
    ) -> Result<Vec<Successor<K>>, FileError> {
        // Both slots: with only one of them left, an older start would make the segments given up look lost.
        self.write_watermark(start)?;
        self.write_watermark(start)?;
        let dir = &self.config.dir;
        let mut successors = successors.into_iter().peekable();
        let mut recycled = Vec::with_capacity(successors.len());
        for &base in segments {
            let from = segment_path(dir, base);
            self.files.unlink(&index_path(dir, base))?;
            match successors.next_if(|next| next.base == base).filter(|_| self.is_worth_recycling(&from)) {
                Some(next) => {
                    self.files.rename(&from, &next.path)?;
                    recycled.push(next);
                }
                None => self.files.unlink(&from)?,
            }
        }
        Ok(recycled)
    }

    /// Nearly as long as a segment: less would have to be filled with zeros than of a new one.
    fn is_worth_recycling(&self, path: &Path) -> bool {
        let least = self.config.segment_bytes / 4 * 3;
        path.metadata().is_ok_and(|metadata| (least..=self.config.segment_bytes).contains(&metadata.len()))
    }

    fn close(&self, jobs: &[SealJob], marks: Marks) -> Result<(), FileError> {
        for seal in jobs {
            self.seal(seal)?;
        }
        let dir = &self.config.dir;
        for (number, _) in Listing::read(dir)?.prepared {
            let path = prepared_path(dir, number);
            // One that was taken into use but whose rename failed holds records: recovery adopts it.
            if holds_nothing(&path, self.config.framing, marks.start).map_err(naming("read", &path))? {
                self.files.unlink(&path)?;
            }
        }
        self.raise(marks.end);
        self.write_watermark(marks.start)?;
        self.files.sync_dir(dir)
    }
}

/// Zeros, or batches from before the log's start.
fn holds_nothing(path: &Path, framing: Framing, start: Offset) -> io::Result<bool> {
    let mut first = [0; ENTRY_HEADER_BYTES_MAX];
    let first = &mut first[..entry_header_bytes(framing)];
    let read = File::open(path)?.read(first)?;
    let offset = peek_entry(framing, &first[..read]).ok().flatten().and_then(|entry| entry.offset);
    Ok(first.iter().all(|&byte| byte == 0) || offset.is_some_and(|offset| offset < start))
}
