//! Looks at a log's folder and decides what recovery will do, changing nothing. Torn or damaged is decided here.
//!
//! The log ends before the first batch that is not whole, checksummed, of exactly the next offset and of the epoch that the `epochs`
//! file gives to that offset. Three things are *lower bounds of what was durable*: the watermark, the first offset of the last incarnation
//! (its recovery made everything before it durable), and the end of each sealed segment (flushed before its index was written). If
//! the log ends below the highest of them, that is damage.
//!
//! Else, if the last incarnation wrote for durable acknowledgement and a valid batch of it stands more than its `inflight_bytes_max` later,
//! that is damage too: so much was never in flight at once, so the bad batch had been durable. Everything else is a torn tail.
//!
//! ```text
//!                  lower bound           end           end + inflight_bytes_max
//! batches batches batches | batches batches | bad ...........  | a valid batch here: damage; none: torn, cut at `end`
//!      a bad one here: damage
//! ```

use crate::{
    Boundary, LogConfig, SparseIndex,
    aligned::BLOCK_BYTES,
    device::DeviceReader,
    epochs::Epochs,
    files::{FileError, naming},
    listing::Listing,
    names::{LAYOUT_FILE, index_path, prepared_path, segment_path},
    scan::{Known, Rest, Rule, Scanned, Stop, next_entry, scan, survey},
    watermark::Watermark,
};
use log_api::{Cut, Damage, Epoch, Framing, Offset, OpenError};
use std::path::{Path, PathBuf};

/// A segment that stays.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) base: Offset,
    pub(crate) end: Boundary,
    pub(crate) index: SparseIndex,
    /// Where it lies now: its own name, or `<n>.next` if it is to be adopted.
    pub(crate) path: PathBuf,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Sealed, and believed by its index; else it was read from first batch to last.
    pub(crate) trusted: bool,
}

/// What recovery will do.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) listing: Listing,
    /// Trimmed before the last crash, but still there: oldest first.
    pub(crate) forgotten: Vec<Offset>,
    /// In order; empty for a log that has nothing yet.
    pub(crate) kept: Vec<Kept>,
    /// Segments after the end: oldest first.
    pub(crate) dropped: Vec<Offset>,
    pub(crate) cut: Option<Cut>,
    /// Bytes other than zeros stand after the end in the last kept segment.
    pub(crate) dirty: bool,
    /// The bytes between the start of the end's 4 KiB block and the end.
    pub(crate) tail: Vec<u8>,
    /// What is known of incarnations.
    pub(crate) epochs: Epochs,
    pub(crate) watermark: Watermark,
    /// The epoch that may be used next.
    pub(crate) epoch: Epoch,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
}

/// What stands in the files behind the last kept segment.
struct Behind {
    /// A batch that must have been durable.
    later: Option<(PathBuf, u64)>,
    /// Something was written there by the last incarnation.
    used: bool,
}

/// A segment while the log is walked.
struct Walk<'a> {
    config: &'a LogConfig,
    listing: Listing,
    rule: Rule,
    watermark: Watermark,
    /// Everything before it was durable.
    durable: Offset,
}

/// Reads the folder. Blocks.
pub(crate) fn examine(config: &LogConfig) -> Result<Examined, OpenError> {
    let dir = &config.dir;
    check_layout(config)?;
    let mut listing = Listing::read(dir)?;
    let watermark = read_side(&dir.join("watermark"))?.and_then(|file| Watermark::decode_file(&file));
    let epochs = read_side(&dir.join("epochs"))?.and_then(|file| Epochs::decode(&file));
    let known_watermark = watermark.is_some();
    let watermark = watermark.unwrap_or_default();
    let begun = epochs.as_ref().and_then(Epochs::last).map_or(Offset(0), |last| last.first);
    let rule = epochs.map_or_else(|| Rule::Learn(Epochs::default()), Rule::Known);

    let mut forgotten = Vec::new();
    while listing.segments.len() > 1 && known_watermark && listing.segments[1].0 <= watermark.start {
        forgotten.push(listing.segments.remove(0).0);
    }
    if let (true, Some(&(first, _))) = (known_watermark, listing.segments.first())
        && first > watermark.start
    {
        let what = format!("the log starts at offset {}: the segments before {first} are missing", watermark.start);
        return Err(damage(&segment_path(dir, first), 0, what));
    }
    let walk = Walk { config, listing, rule, durable: watermark.durable.max(begun), watermark };
    walk.run(forgotten)
}

impl Walk<'_> {
    fn run(mut self, forgotten: Vec<Offset>) -> Result<Examined, OpenError> {
        let Some(&(start, _)) = self.listing.segments.first() else { return self.empty() };
        let mut kept: Vec<Kept> = Vec::new();
        let mut base = start;
        let mut number = 0;
        let mut adopted = None;
        // Each turn keeps one segment; the last one leaves the reader and the place at which the log ends.
        let (mut reader, stop) = loop {
            let named = self.listing.segments.get(number).copied();
            let (path, file_bytes) = match named {
                Some((_, bytes)) => (segment_path(&self.config.dir, base), bytes),
                None => adopted.take().expect("a turn without a segment of that name was given a prepared file"),
            };
            let sealed = named.and_then(|_| self.sealed(base, file_bytes));
            if let Some((index, end)) = sealed.as_ref() {
                self.durable = self.durable.max(end.offset);
                let followed = self.listing.segments.get(number + 1).is_some_and(|&(next, _)| next == end.offset);
                if followed && matches!(self.rule, Rule::Known(_)) {
                    kept.push(Kept { base, end: *end, index: index.clone(), path, file_bytes, trusted: true });
                    base = end.offset;
                    number += 1;
                    continue;
                }
            }
            let mut reader = DeviceReader::open(&path).map_err(naming("read", &path))?;
            let Scanned { end, stop, index } =
                scan(&mut reader, base, &mut self.rule, self.config).map_err(naming("read", &path))?;
            kept.push(Kept { base, end, index, path: path.clone(), file_bytes, trusted: false });
            let next = self.listing.segments.get(number + 1).map(|&(next, _)| next);
            match next {
                Some(next) if next < end.offset => {
                    let what = format!("the segment starts at offset {next}, the one before it reaches {}", end.offset);
                    return Err(damage(&segment_path(&self.config.dir, next), 0, what));
                }
                Some(next) if next > end.offset && stop == Stop::EndOfFile => {
                    let what = format!("the segment starts at offset {next}, the log before it ends at {}", end.offset);
                    return Err(damage(&segment_path(&self.config.dir, next), 0, what));
                }
                Some(next) if next > end.offset => break (reader, stop),
                Some(_) => {}
                None => {
                    adopted = if end.offset > base { self.fitting_prepared(end.offset)? } else { None };
                    if adopted.is_none() {
                        break (reader, stop);
                    }
                }
            }
            base = end.offset;
            number += 1;
        };
        let last = kept.last().expect("each turn keeps one");
        let (segment, end) = (last.path.clone(), last.end);
        let after: Vec<Offset> = self.listing.segments.iter().skip(kept.len()).map(|&(base, _)| base).collect();
        let prepared = self.unused_prepared(&kept);
        if end.offset < self.durable {
            let what = format!(
                "{} where the next batch must be: everything before offset {} was durable",
                stop.words(),
                self.durable
            );
            return Err(damage(&segment, end.position, what));
        }
        let known = Known { start, end: end.offset, rule: &self.rule, framing: self.config.framing };
        let Rest { dirty, torn, later } = survey(&mut reader, end.position, self.beyond_flight(end.position), known)
            .map_err(naming("read", &segment))?;
        let behind = self.look_behind(known, &after, &prepared)?;
        let later = later.map(|position| (segment.clone(), position)).or(behind.later);
        if let Some((path, position)) = later {
            let what = format!(
                "{}, but {} holds a valid batch at byte {position}, further on than was ever in flight at once",
                stop.words(),
                path.file_name().unwrap_or_default().display()
            );
            return Err(damage(&segment, end.position, what));
        }
        let torn = torn || !after.is_empty() || behind.used;
        let cut = torn.then(|| {
            let segment = segment_path(&self.config.dir, last.base);
            let mut what = stop.words();
            if !after.is_empty() {
                what += &format!("; {} later segments dropped", after.len());
            }
            Cut { segment, position: end.position, what }
        });
        let block = end.position % BLOCK_BYTES as u64;
        let tail = reader
            .get(end.position - block, usize::try_from(block).expect("less than a block"))
            .map_err(naming("read", &segment))?
            .to_vec();
        Ok(Examined {
            forgotten,
            dropped: after,
            cut,
            dirty,
            tail,
            epoch: self.next_epoch(),
            epochs: self.rule.epochs().clone(),
            watermark: self.watermark,
            start,
            end: end.offset,
            kept,
            listing: self.listing,
        })
    }

    /// A folder without segments: nothing was ever appended, or everything is gone.
    fn empty(self) -> Result<Examined, OpenError> {
        let start = self.watermark.start;
        if self.durable > start {
            let what = format!("the segments up to offset {} are missing", self.durable);
            return Err(damage(&segment_path(&self.config.dir, start), 0, what));
        }
        Ok(Examined {
            forgotten: Vec::new(),
            kept: Vec::new(),
            dropped: Vec::new(),
            cut: None,
            dirty: false,
            tail: Vec::new(),
            epoch: self.next_epoch(),
            epochs: self.rule.epochs().clone(),
            watermark: self.watermark,
            start,
            end: start,
            listing: self.listing,
        })
    }

    fn next_epoch(&self) -> Epoch {
        let last = self.rule.epochs().last().map_or(0, |last| last.epoch.0);
        Epoch(last.max(self.watermark.epoch) + 1)
    }

    /// The index of a sealed segment, if it agrees with the file's length. Sealing flushes the segment before it writes the index, so
    /// everything in it is durable.
    fn sealed(&self, base: Offset, file_bytes: u64) -> Option<(SparseIndex, Boundary)> {
        let file = std::fs::read(index_path(&self.config.dir, base)).ok()?;
        let (index, end) = SparseIndex::decode(&file, base)?;
        (end.position == file_bytes && end.offset > base).then_some((index, end))
    }

    /// A prepared file that had been taken into use at `base` and not been renamed: its first batch is the log's next one.
    fn fitting_prepared(&self, base: Offset) -> Result<Option<(PathBuf, u64)>, FileError> {
        for (number, bytes) in &self.listing.prepared {
            let path = prepared_path(&self.config.dir, *number);
            let mut reader = DeviceReader::open(&path).map_err(naming("read", &path))?;
            let first = Boundary { offset: base, position: 0 };
            let next = next_entry(&mut reader, self.config.framing, first, &self.rule);
            if next.map_err(naming("read", &path))?.is_ok() {
                return Ok(Some((path, *bytes)));
            }
        }
        Ok(None)
    }

    /// The prepared files that are not kept.
    fn unused_prepared(&self, kept: &[Kept]) -> Vec<PathBuf> {
        let paths = self.listing.prepared.iter().map(|(number, _)| prepared_path(&self.config.dir, *number));
        paths.filter(|path| kept.iter().all(|kept| kept.path != *path)).collect()
    }

    /// The bound on what the last incarnation had appended and not yet flushed; None if it did not flush.
    fn inflight_bytes_max(&self) -> Option<u64> {
        let (durable, inflight_bytes_max) = match self.rule.epochs().last() {
            Some(last) => (last.durable, last.inflight_bytes_max),
            None => (self.config.durable, self.config.inflight_bytes_max),
        };
        durable.then_some(inflight_bytes_max)
    }

    /// The first position behind `position` that nothing in flight can have reached.
    fn beyond_flight(&self, position: u64) -> u64 {
        self.inflight_bytes_max().map_or(u64::MAX, |bytes| position.saturating_add(bytes).saturating_add(1))
    }

    /// Looks for what was written behind the last kept segment: later ones, and prepared ones that were taken into use. A valid batch of the
    /// last incarnation further behind the end than its bytes in flight could reach is damage. The distance to a batch in a later file is not
    /// known exactly (how full the segment before it was, the torn part hides), so the smallest possible one counts.
    fn look_behind(&self, known: Known<'_>, after: &[Offset], prepared: &[PathBuf]) -> Result<Behind, FileError> {
        let mut behind = Behind { later: None, used: false };
        let segments = after.iter().map(|&base| segment_path(&self.config.dir, base));
        // The bad batch itself takes a byte at least.
        let mut distance = 1u64;
        for path in segments.chain(prepared.iter().cloned()) {
            let mut reader = DeviceReader::open(&path).map_err(naming("read", &path))?;
            let from = self.inflight_bytes_max().map_or(u64::MAX, |bytes| (bytes + 1).saturating_sub(distance));
            let rest = survey(&mut reader, 0, from, known).map_err(naming("read", &path))?;
            behind.used |= rest.torn;
            if let Some(position) = rest.later {
                behind.later = Some((path, position));
                return Ok(behind);
            }
            distance += self.chain_bytes(&mut reader, known.end).map_err(naming("read", &path))?;
        }
        Ok(behind)
    }

    /// Bytes of valid batches of the last incarnation at the start of a file that come after the log's end, wherever they begin. Those before
    /// it are what a segment given up in this incarnation holds: they take none of what was in flight.
    fn chain_bytes(&self, reader: &mut DeviceReader, end: Offset) -> std::io::Result<u64> {
        let framing = self.config.framing;
        let first = reader.get(0, log_format::entry_header_bytes(framing))?;
        let entry = log_format::peek_entry(framing, first).ok().flatten();
        let Some(offset) = entry.and_then(|entry| entry.offset).filter(|&offset| offset > end) else { return Ok(0) };
        let mut at = Boundary { offset, position: 0 };
        while let Ok((entry, epoch)) = next_entry(reader, framing, at, &self.rule)? {
            if !self.rule.is_current(epoch) {
                break;
            }
            at.offset = at.offset.plus(entry.takes);
            at.position += entry.bytes;
        }
        Ok(at.position)
    }
}

fn damage(segment: &Path, position: u64, what: String) -> OpenError {
    Damage { segment: segment.to_path_buf(), position, what }.into()
}

/// A directory with a `layout` file holds logs that several partitions share: no partition's own log is opened there. The other way round
/// is for whoever writes that file.
fn check_layout(config: &LogConfig) -> Result<(), OpenError> {
    let Some(dir) = config.dir.parent().filter(|_| config.framing == Framing::Bare) else { return Ok(()) };
    match read_side(&dir.join(LAYOUT_FILE))? {
        Some(layout) => Err(OpenError::Layout {
            dir: dir.to_path_buf(),
            made_with: String::from_utf8_lossy(&layout).trim().to_owned(),
            asked: "partition".to_owned(),
        }),
        None => Ok(()),
    }
}

/// A side file's bytes; `None` if there is none.
fn read_side(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(naming("read", path)(error)),
    }
}
