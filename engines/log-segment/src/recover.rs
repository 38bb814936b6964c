//! Opening a log: find its end, cut a torn tail, refuse damage, make durable what is kept.

use crate::{
    Boundary, Files, LogConfig, SparseIndex,
    aligned::BLOCK_BYTES,
    epochs::Incarnation,
    examine::{Examined, Kept, examine},
    files::{FileError, naming},
    names::{index_path, prepared_path, segment_path},
    watermark::Watermark,
};
use log_api::{Cut, Epoch, Marks, Offset, OpenError, Recovery};
use std::{fs::File, path::PathBuf};

/// A log that can be continued. Everything in it is durable.
#[derive(Debug)]
pub struct Recovered {
    /// All equal but `start`.
    pub marks: Marks,
    /// The incarnation that begins now; durable in the `epochs` file.
    pub epoch: Epoch,
    /// The torn tail that was removed.
    pub cut: Option<Cut>,
    /// Finished segments, oldest first.
    pub sealed: Vec<SealedSegment>,
    /// The segment to go on with; made if there was none. At least `segment_bytes` long, zeros after its end.
    pub active: ActiveSegment,
    /// Number for the next `.next` file.
    pub next_number: u64,
    /// Bytes of zeros written to make the active segment ready.
    pub prepared_bytes: u64,
}

impl Recovered {
    /// What [`log_api::LogEngine::open`] returns.
    #[must_use]
    pub fn summary(&self) -> Recovery {
        Recovery { marks: self.marks, epoch: self.epoch, cut: self.cut.clone() }
    }
}

/// A finished segment: trimmed to its length, with its index beside it.
#[derive(Debug)]
pub struct SealedSegment {
    /// First offset.
    pub base: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its boundaries.
    pub index: SparseIndex,
}

/// The segment that appends go on with.
#[derive(Debug)]
pub struct ActiveSegment {
    /// First offset.
    pub base: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// The file.
    pub path: PathBuf,
    /// Bytes of batches: where the next one goes.
    pub bytes: u64,
    /// Length of the file: a multiple of 4096.
    pub capacity: u64,
    /// Its boundaries.
    pub index: SparseIndex,
    /// The last `bytes % 4096` bytes of the batches: the block that an engine with O_DIRECT writes again.
    pub tail: Vec<u8>,
}

impl ActiveSegment {
    /// Where the next batch goes.
    #[must_use]
    pub fn end_boundary(&self) -> Boundary {
        Boundary { offset: self.end, position: self.bytes }
    }
}

/// Recovers a log, or makes an empty one. Blocks: run it on a helper.
///
/// It first only looks, by what the device holds; then, in an order in which a crash at any point leaves a log that the next
/// recovery finds the same:
///
/// 1. unlinks what an interrupted trim left, and the segments after the end, newest first;
/// 2. gives adopted `.next` files their names;
/// 3. clears the last segment after its end and extends it to `segment_bytes`;
/// 4. seals the segments before it, and syncs everything that it did not already know to be durable;
/// 5. writes the new incarnation and the watermark, both at the log's end.
///
/// The `epochs` file missing or wrong: every segment is read, epochs may only rise, and what is found is written anew. The
/// `watermark` missing or wrong: the other lower bounds of what was durable remain (the last incarnation's first offset, sealed
/// segments). An index missing or wrong: its segment is read.
///
/// # Errors
/// [`OpenError::Damaged`] with nothing on disk changed; `Full` if there is no room for the active segment; `Io`.
///
/// # Panics
/// If `segment_bytes` is no positive multiple of 4096.
pub fn recover(config: &LogConfig, files: &Files) -> Result<Recovered, OpenError> {
    let whole_blocks = config.segment_bytes > 0 && config.segment_bytes.is_multiple_of(BLOCK_BYTES as u64);
    assert!(whole_blocks, "segment_bytes is a positive multiple of {BLOCK_BYTES}");
    let examined = examine(config)?;
    apply(config, files, examined).map_err(|error| {
        if error.is_full() {
            OpenError::Full { dir: config.dir.clone(), needed: config.segment_bytes }
        } else {
            error.into()
        }
    })
}

fn apply(config: &LogConfig, files: &Files, mut examined: Examined) -> Result<Recovered, FileError> {
    let dir = &config.dir;
    if !examined.listing.exists {
        files.create_dir(dir)?;
    }
    unlink(config, files, &examined)?;
    adopt(config, files, &mut examined.kept)?;
    let (active, prepared_bytes) = make_active(config, files, &mut examined)?;
    let sealed = examined.kept.into_iter().map(|kept| seal_kept(config, files, kept)).collect::<Result<Vec<_>, _>>()?;
    // An index of the active segment stems from a clean close and speaks of a shorter file.
    let stale = examined.listing.indexes.iter().filter(|&&base| sealed.iter().all(|segment| segment.base != base));
    for &base in stale {
        files.unlink(&index_path(dir, base))?;
    }
    files.sync_dir(dir)?;

    let incarnation = Incarnation {
        epoch: examined.epoch,
        first: examined.end,
        durable: config.durable,
        inflight_bytes_max: config.inflight_bytes_max,
    };
    files.replace(&dir.join("epochs"), &examined.epochs.with(incarnation, examined.start).encode())?;
    let watermark = Watermark {
        sequence: examined.watermark.sequence + 1,
        start: examined.start,
        durable: examined.end,
        epoch: examined.epoch.0,
    };
    files.replace(&dir.join("watermark"), &watermark.encode_file())?;
    files.sync_dir(dir)?;

    let Examined { start, end, epoch, cut, .. } = examined;
    Ok(Recovered {
        marks: Marks { start, durable: end, placed: end, end },
        epoch,
        cut,
        sealed,
        active,
        next_number: examined.listing.prepared.last().map_or(0, |(number, _)| number + 1),
        prepared_bytes,
    })
}

/// Unlinks what is no longer of the log.
fn unlink(config: &LogConfig, files: &Files, examined: &Examined) -> Result<(), FileError> {
    let dir = &config.dir;
    for &base in &examined.forgotten {
        files.unlink(&segment_path(dir, base))?;
    }
    for path in &examined.listing.temporary {
        files.unlink(path)?;
    }
    let paths = examined.listing.prepared.iter().rev().map(|(number, _)| prepared_path(dir, *number));
    for path in paths.filter(|path| examined.kept.iter().all(|kept| kept.path != *path)) {
        files.unlink(&path)?;
    }
    for &base in examined.dropped.iter().rev() {
        files.unlink(&segment_path(dir, base))?;
    }
    files.sync_dir(dir)
}

/// Renames the prepared files that turned out to be segments.
fn adopt(config: &LogConfig, files: &Files, kept: &mut [Kept]) -> Result<(), FileError> {
    let mut adopted = false;
    for segment in kept {
        let path = segment_path(&config.dir, segment.base);
        if segment.path != path {
            files.rename(&segment.path, &path)?;
            segment.path = path;
            adopted = true;
        }
    }
    if adopted { files.sync_dir(&config.dir) } else { Ok(()) }
}

/// Makes the last kept segment one that appends can go on with: zeros after its end, as long as a segment is, durable.
fn make_active(config: &LogConfig, files: &Files, examined: &mut Examined) -> Result<(ActiveSegment, u64), FileError> {
    let Some(last) = examined.kept.pop() else {
        let base = examined.end;
        let path = segment_path(&config.dir, base);
        let written = files.make_segment(&path, config.segment_bytes, config.durable)?;
        let index = SparseIndex::new(base, config.index_interval_bytes, config.segment_bytes);
        let active =
            ActiveSegment { base, end: base, path, bytes: 0, capacity: config.segment_bytes, index, tail: Vec::new() };
        return Ok((active, written));
    };
    let Kept { base, end, index, path, file_bytes, .. } = last;
    let capacity = file_bytes.next_multiple_of(BLOCK_BYTES as u64).max(config.segment_bytes);
    let file = File::options().read(true).write(true).open(&path).map_err(naming("open", &path))?;
    if file_bytes < capacity {
        files.allocate(&file, &path, capacity)?;
    }
    // A log that was not written for durable acknowledgement has segments whose space is only allocated.
    let was_durable = examined.epochs.last().is_some_and(|last| last.durable);
    let unfit = config.durable && (!was_durable || file_bytes < capacity);
    let written = if examined.dirty || unfit { files.zero(&path, &examined.tail, end.position, capacity)? } else { 0 };
    files.sync(&file, &path)?;
    let tail = std::mem::take(&mut examined.tail);
    Ok((ActiveSegment { base, end: end.offset, path, bytes: end.position, capacity, index, tail }, written))
}

/// Trims, syncs and indexes a segment that is followed by another, unless it is known to be sealed.
fn seal_kept(config: &LogConfig, files: &Files, kept: Kept) -> Result<SealedSegment, FileError> {
    let Kept { base, end, index, path, file_bytes, trusted } = kept;
    if !trusted {
        let file = File::options().read(true).write(true).open(&path).map_err(naming("open", &path))?;
        files.sync_data(&file, &path)?;
        if file_bytes > end.position {
            files.set_len(&file, &path, end.position)?;
            files.sync(&file, &path)?;
        }
        files.replace(&index_path(&config.dir, base), &index.encode(end))?;
    }
    Ok(SealedSegment { base, end: end.offset, path, bytes: end.position, index })
}
