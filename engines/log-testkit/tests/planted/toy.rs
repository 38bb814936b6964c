//! A toy engine with files: slow, blocking, a few hundred lines, and independent of everything that the real engines share. It shows
//! that the suite can be passed, and each planted bug shows that the suite would notice.

use crate::{bug::*, recovery};
use log_api::*;
use shard_ring::{Event, Ring};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::{self, File},
    future::Future,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    rc::Rc,
};

/// The engine, with the bug of that number; [`bug::NONE`] is sound.
pub(crate) struct Toy<const BUG: u8> {
    pub(crate) config: EngineConfig,
    pub(crate) _lock: File,
    pub(crate) logs: RefCell<HashMap<LogId, Rc<RefCell<Log>>>>,
    pub(crate) unwritten: Cell<u64>,
    pub(crate) commits: Cell<u32>,
    pub(crate) room_made: Event,
    pub(crate) counters: Counters,
}

pub(crate) struct Log {
    pub(crate) folder: PathBuf,
    pub(crate) epoch: Epoch,
    pub(crate) marks: Marks,
    pub(crate) segments: Vec<Segment>,
    pub(crate) poison: Option<String>,
}

pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Rc<File>,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) written: u64,
    /// What was appended and not written.
    pub(crate) buffer: Vec<u8>,
    pub(crate) batches: Vec<Place>,
    pub(crate) lease: Rc<()>,
}

#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
}

impl Log {
    fn bytes_after_durable(&self) -> u64 {
        let batches = self.segments.iter().rev().flat_map(|segment| segment.batches.iter().rev());
        batches.take_while(|batch| batch.base >= self.marks.durable).map(|batch| batch.bytes).sum()
    }
}

impl Segment {
    fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { action, path, source }
}

impl<const BUG: u8> Toy<BUG> {
    pub(crate) async fn new(_ring: &Ring, config: EngineConfig) -> Result<Self, OpenError> {
        fs::create_dir_all(&config.dir).map_err(io_error("create", &config.dir))?;
        let path = config.dir.join("lock");
        let lock = File::create(&path).map_err(io_error("create", &path))?;
        let free = rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok();
        if !free && BUG != LOCK_IGNORED {
            return Err(OpenError::Held(config.dir));
        }
        Ok(Self {
            config,
            _lock: lock,
            logs: RefCell::default(),
            unwritten: Cell::new(0),
            commits: Cell::new(0),
            room_made: Event::new(),
            counters: Counters::default(),
        })
    }

    pub(crate) fn availability(_dir: &Path) -> Availability {
        Availability::Available
    }

    fn log(&self, log: LogId) -> Option<Rc<RefCell<Log>>> {
        self.logs.borrow().get(&log).cloned()
    }

    /// A segment file full of zeros, down to the device.
    pub(crate) fn make_segment(&self, folder: &Path, base: Offset) -> io::Result<Segment> {
        let (path, next) = (folder.join(format!("{:020}.log", base.0)), folder.join(format!("{:020}.next", base.0)));
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&next)?;
        if let Err(error) = zero(&file, 0, self.config.segment_bytes) {
            let _ = fs::remove_file(&next);
            return Err(error);
        }
        fs::rename(&next, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(self.segment(path, file, base))
    }

    pub(crate) fn segment(&self, path: PathBuf, file: File, base: Offset) -> Segment {
        let bytes = self.config.segment_bytes as usize;
        Segment {
            path,
            file: Rc::new(file),
            base,
            end: base,
            written: 0,
            buffer: Vec::with_capacity(bytes),
            batches: Vec::with_capacity(bytes / 61),
            lease: Rc::new(()),
        }
    }

    /// Writes what was appended, then flushes.
    fn write(&self, log: &mut Log, level: Level) -> Result<(), CommitError> {
        if let Some(what) = &log.poison {
            return Err(CommitError::Poisoned { what: what.clone() });
        }
        let count = log.segments.len();
        for (nth, segment) in log.segments.iter_mut().enumerate() {
            if BUG == ACKNOWLEDGES_BEFORE_THE_WRITE && nth + 1 == count && !segment.buffer.is_empty() {
                // The last batch waits for the next commit.
                let last = segment.batches.last().expect("a batch").bytes;
                let kept = segment.buffer.split_off(segment.buffer.len() - last as usize);
                self.unwritten.set(self.unwritten.get() - segment.buffer.len() as u64);
                flush::<BUG>(segment, level).map_err(|what| CommitError::Poisoned { what })?;
                segment.buffer = kept;
                continue;
            }
            self.unwritten.set(self.unwritten.get().saturating_sub(segment.buffer.len() as u64));
            let finished = nth + 1 < count;
            let level = if finished && BUG == A_FINISHED_SEGMENT_IS_NOT_FLUSHED { Level::Placed } else { level };
            let mut flushed = flush::<BUG>(segment, level);
            if flushed.is_err() && BUG == FAILED_FLUSH_IS_RETRIED {
                flushed = flush::<BUG>(segment, level).or_else(|_| flush::<BUG>(segment, level));
            }
            if let Err(what) = flushed {
                log.poison = Some(what.clone());
                return Err(CommitError::Poisoned { what });
            }
        }
        self.room_made.notify_all();
        Ok(())
    }

    fn roll(&self, log: &mut Log) -> Result<(), AppendError> {
        let base = log.marks.end;
        let next = self.make_segment(&log.folder, base).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                return AppendError::Full;
            }
            if BUG == A_SEGMENT_THAT_CANNOT_BE_MADE_IS_WAITED_FOR {
                return AppendError::Busy;
            }
            log.poison = Some(format!("{:020}.next: {error}", base.0));
            AppendError::Poisoned
        })?;
        let level = if BUG == A_FINISHED_SEGMENT_IS_NOT_FLUSHED { Level::Placed } else { Level::Durable };
        self.write(log, level).map_err(|_| AppendError::Poisoned)?;
        recovery::write_watermark(log, base).map_err(|_| AppendError::Full)?;
        log.segments.push(next);
        Counters::add(&self.counters.rolls, 1);
        Ok(())
    }

    fn append_one(&self, log: &mut Log, batch: &Batch<'_>) {
        let base =
            if BUG == OFFSETS_OVERLAP && log.marks.end.0 > 0 { Offset(log.marks.end.0 - 1) } else { log.marks.end };
        let epoch = if BUG == EPOCH_IS_NOT_WRITTEN { Epoch(1) } else { log.epoch };
        let segment = log.segments.last_mut().expect("a log has a segment");
        let position = segment.length();
        let start = segment.buffer.len();
        segment.buffer.extend_from_slice(batch.bytes());
        log_format::assign(&mut segment.buffer[start..], base, epoch);
        let end = base.plus(u64::from(batch.records()));
        segment.batches.push(Place { base, end, position, bytes: batch.bytes().len() as u64 });
        segment.end = end;
        log.marks.end = end;
        if BUG == DURABLE_BEFORE_COMMIT {
            (log.marks.placed, log.marks.durable) = (end, end);
        }
        if BUG == ALLOCATES {
            drop(std::hint::black_box(batch.bytes().to_vec()));
        }
        let bytes = batch.bytes().len() as u64;
        self.unwritten.set(self.unwritten.get() + bytes);
        Counters::add(&self.counters.appended_batches, 1);
        Counters::add(&self.counters.appended_bytes, bytes);
        Counters::add(&self.counters.copied_bytes, if BUG == COPIES_TWICE { 2 * bytes } else { bytes });
    }
}

fn flush<const BUG: u8>(segment: &mut Segment, level: Level) -> Result<(), String> {
    let say = |error: io::Error| format!("{}: {error}", segment.path.display());
    segment.file.write_all_at(&segment.buffer, segment.written).map_err(say)?;
    segment.written += segment.buffer.len() as u64;
    segment.buffer.clear();
    if level == Level::Durable && BUG != ACKNOWLEDGES_BEFORE_THE_FLUSH {
        segment.file.sync_data().map_err(say)?;
    }
    Ok(())
}

/// Zeros from `from` to `to`, which becomes the file's length.
pub(crate) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    file.set_len(to)?;
    file.write_all_at(&vec![0; to.saturating_sub(from) as usize], from)?;
    file.sync_all()
}

impl<const BUG: u8> LogEngine for Toy<BUG> {
    type Pin = Rc<[u8]>;

    const CAPABILITIES: Capabilities = Capabilities {
        name: "toy",
        mechanism: "blocking writes",
        durable: true,
        persistent: true,
        readable: true,
        send_paths: &[SendPath::Copy, SendPath::Sendfile],
        kernel_copies_in: 1,
        last_page_follows: false,
    };

    async fn open(&self, log: LogId) -> Result<Recovery, OpenError> {
        let folder = self.config.dir.join(format!("{:05}", log.0));
        fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        let (state, recovery) = self.recover(folder)?;
        self.logs.borrow_mut().insert(log, Rc::new(RefCell::new(state)));
        Ok(recovery)
    }

    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError> {
        let state = self.log(log).ok_or(AppendError::NotOpen(log))?;
        let mut state = state.borrow_mut();
        if state.poison.is_some() {
            return Err(AppendError::Poisoned);
        }
        let bytes: u64 = batches.iter().map(|batch| batch.bytes().len() as u64).sum();
        let segment_bytes = self.config.segment_bytes;
        if bytes > segment_bytes {
            if BUG == HALF_OF_A_REFUSED_APPEND_STAYS && batches.len() > 1 {
                self.append_one(&mut state, &batches[0]);
            }
            return Err(AppendError::TooLarge { bytes, bytes_max: segment_bytes });
        }
        let bytes_max = self.config.inflight_bytes_max;
        if self.config.durable && batches.len() > 1 && bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        let unwritten = self.unwritten.get();
        if unwritten > 0 && unwritten + bytes > self.config.inflight_bytes_max && BUG != INFLIGHT_IS_UNBOUNDED {
            Counters::add(&self.counters.busy, 1);
            return Err(AppendError::Busy);
        }
        let bounded = self.config.durable && BUG != WHAT_IS_NOT_DURABLE_IS_UNBOUNDED;
        if bounded && state.bytes_after_durable() + bytes > bytes_max {
            self.write(&mut state, Level::Durable).map_err(|_| AppendError::Poisoned)?;
            (state.marks.placed, state.marks.durable) = (state.marks.end, state.marks.end);
        }
        if state.segments.last().expect("a log has a segment").length() + bytes > segment_bytes {
            self.roll(&mut state)?;
        }
        let base = state.marks.end;
        batches.iter().for_each(|batch| self.append_one(&mut state, batch));
        let segment = state.segments.last().expect("a log has a segment").base;
        Ok(Appended { base, end: state.marks.end, segment })
    }

    async fn room(&self, _log: LogId, bytes: u64) {
        loop {
            let made = self.room_made.wait();
            let unwritten = self.unwritten.get();
            if unwritten == 0 || unwritten + bytes <= self.config.inflight_bytes_max {
                return shard_ring::yield_now().await;
            }
            made.await;
        }
    }

    fn group(&self, log: LogId) -> FlushGroup {
        FlushGroup(log.0)
    }

    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>> {
        let logs: Option<Vec<_>> = groups.iter().map(|group| self.log(LogId(group.0))).collect();
        let mut covered = Ok(Vec::new());
        for log in logs.iter().flatten() {
            let mut state = log.borrow_mut();
            let buffered: Vec<Vec<u8>> = match BUG {
                DROPPED_COMMIT_LOSES_ITS_BYTES => state.segments.iter().map(|segment| segment.buffer.clone()).collect(),
                _ => Vec::new(),
            };
            let written = self.write(&mut state, level);
            let end = state.marks.end;
            covered = covered.and_then(|mut covered| {
                written.map(|()| covered.push((Rc::clone(log), end, buffered))).map(|()| covered)
            });
        }
        let nth = self.commits.replace(self.commits.get() + 1);
        async move {
            if logs.is_none() {
                return Err(CommitError::NotOpen);
            }
            let covered = covered?;
            let undo = Undo::<BUG>(&covered, Cell::new(true));
            for _ in 0..1 + nth % 3 {
                shard_ring::yield_now().await;
            }
            undo.1.set(false);
            for (log, end, _) in &covered {
                let marks = &mut log.borrow_mut().marks;
                let end = if BUG == A_LATER_APPEND_JOINS { marks.end } else { *end };
                if BUG == MARKS_MOVE_OUT_OF_ORDER {
                    marks.placed = end;
                    marks.durable = if level == Level::Durable { end } else { marks.durable.min(end) };
                    continue;
                }
                marks.placed = marks.placed.max(end);
                if level == Level::Durable {
                    marks.durable = marks.durable.max(end);
                }
            }
            Ok(())
        }
    }

    fn marks(&self, log: LogId) -> Marks {
        self.log(log).map(|log| log.borrow().marks).unwrap_or_default()
    }

    async fn read(&self, log: LogId, read: Read) -> Result<Chunk<Rc<[u8]>>, ReadError> {
        let state = self.log(log).ok_or(ReadError::NotOpen(log))?;
        let state = state.borrow();
        let Marks { start, placed, end, .. } = state.marks;
        if read.from < start || read.from > end {
            return Err(ReadError::OutOfRange { asked: read.from, start, end });
        }
        let until = if BUG == UNTIL_IS_IGNORED { placed } else { read.until.min(placed) };
        let after = state.segments.partition_point(|segment| segment.base <= read.from);
        let segment = &state.segments[after - 1];
        let mut first = segment.batches.partition_point(|batch| batch.end <= read.from);
        if BUG == READ_STARTS_AFTER_THE_OFFSET && segment.batches.get(first).is_some_and(|batch| batch.base < read.from)
        {
            first += 1;
        }
        let mut bytes = 0;
        let mut next = read.from;
        for batch in &segment.batches[first.min(segment.batches.len())..] {
            if batch.end > until || (bytes > 0 && bytes + batch.bytes > read.bytes_max) {
                break;
            }
            (bytes, next) = (bytes + batch.bytes, batch.end);
        }
        if bytes == 0 {
            return Ok(Chunk::empty(read.from));
        }
        let Place { base, position, .. } = segment.batches[first];
        if BUG == HALF_A_BATCH_IS_READ && bytes > 2000 {
            bytes = 2000;
        }
        if self.config.send == SendPath::Sendfile {
            let (file, lease) = (Rc::clone(&segment.file), Rc::clone(&segment.lease) as Lease);
            let range = FileRange { file, range: position..position + bytes, resident: true, lease };
            return Ok(Chunk { base, next, bytes, pieces: vec![Piece::File(range)] });
        }
        let mut pin = vec![0; bytes as usize];
        segment.file.read_exact_at(&mut pin, position)?;
        for batch in segment.batches[first..].iter().take_while(|batch| batch.end <= next) {
            let at = (batch.position - position) as usize;
            let whole = pin.get(at..at + batch.bytes as usize).unwrap_or_default();
            if let Err(error) = log_format::verify(whole)
                && BUG == NONE
            {
                let (segment, position) = (segment.path.clone(), batch.position);
                return Err(Damage { segment, position, what: error.to_string() }.into());
            }
        }
        Ok(Chunk { base, next, bytes, pieces: vec![Piece::Pin(pin.into())] })
    }

    async fn trim(&self, log: LogId, before: Offset) -> Result<Offset, TrimError> {
        let state = self.log(log).ok_or(TrimError::NotOpen(log))?;
        let mut state = state.borrow_mut();
        let before = if BUG == TRIM_TAKES_TOO_MUCH { before.plus(30) } else { before };
        while state.segments.len() > 1 && state.segments[0].end <= before.min(state.marks.placed) {
            let gone = state.segments.remove(0);
            fs::remove_file(&gone.path)?;
            if BUG == TRIM_HARMS_WHAT_IS_HELD {
                gone.file.set_len(0)?;
            }
        }
        File::open(&state.folder)?.sync_all()?;
        state.marks.start = state.segments[0].base;
        state.marks.durable = state.marks.durable.max(state.marks.start);
        self.room_made.notify_all();
        Ok(state.marks.start)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    async fn close(self) -> Result<(), CommitError> {
        for log in self.logs.borrow().values() {
            let mut log = log.borrow_mut();
            self.write(&mut log, Level::Durable)?;
            let end = log.marks.end;
            let say = |error: io::Error| CommitError::Poisoned { what: error.to_string() };
            recovery::write_watermark(&log, end).map_err(say)?;
            let last = log.segments.last().expect("a log has a segment");
            last.file.set_len(last.length()).and_then(|()| last.file.sync_all()).map_err(say)?;
        }
        Ok(())
    }
}

/// The bug in which dropping a commit drops what it had taken.
struct Undo<'a, const BUG: u8>(&'a [Covered], Cell<bool>);

/// A log, the end that a commit covers, and (for the bug) what each segment's buffer held.
type Covered = (Rc<RefCell<Log>>, Offset, Vec<Vec<u8>>);

impl<const BUG: u8> Drop for Undo<'_, BUG> {
    fn drop(&mut self) {
        if BUG != DROPPED_COMMIT_LOSES_ITS_BYTES || !self.1.get() {
            return;
        }
        for (log, _, buffered) in self.0 {
            for (segment, buffer) in log.borrow_mut().segments.iter_mut().zip(buffered) {
                segment
                    .file
                    .write_all_at(&vec![0; buffer.len()], segment.written - buffer.len() as u64)
                    .expect("zeros");
            }
        }
    }
}
