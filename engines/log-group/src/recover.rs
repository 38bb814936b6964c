//! What a group's partitions are, found when its log has been opened: by the index of each finished segment, or where that is missing or
//! disagrees with the log, by the frames in the segment. Blocks: runs on the helper.

use crate::{
    checkpoint,
    index::{self, Index, entries_path},
    layout::PARTITIONS_MAX,
    part::{Part, Placed},
};
use log_api::{Damage, Offset, OpenError};
use log_format::{CHECKPOINT, FRAME_BYTES, Frame, entry_header_bytes, peek_frame};
use log_segment::{DeviceReader, segment_path};
use rustc_hash::FxHashMap;
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The partitions of a group, by slot: numbered in the order in which they became known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) partitions: Vec<u32>,
    pub(crate) ends: Vec<u64>,
    slots: FxHashMap<u32, u32>,
}

impl Known {
    pub(crate) fn slot(&self, partition: u32) -> Option<usize> {
        self.slots.get(&partition).map(|slot| *slot as usize)
    }

    /// The slot of a partition, which is a new one that ends at `end` if it was not known.
    pub(crate) fn learn(&mut self, partition: u32, end: u64) -> usize {
        if let Some(slot) = self.slot(partition) {
            return slot;
        }
        let slot = self.partitions.len();
        self.slots.insert(partition, u32::try_from(slot).expect("a group has a bound"));
        self.partitions.push(partition);
        self.ends.push(end);
        slot
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) known: Known,
    /// First byte and the byte after each finished segment, oldest first; whether it holds a checkpoint.
    pub(crate) finished: Vec<(u64, u64, bool)>,
    pub(crate) active: Part,
    /// First offset of each partition that the log still has; 0 for those that are in no segment.
    pub(crate) starts: Vec<u64>,
    /// Indexes that were missing or wrong.
    pub(crate) rebuilt: u64,
}

/// Looks at the group's log in `dir`, which has been recovered and holds `start..end`.
pub(crate) fn recover(dir: &Path, start: u64, end: u64) -> Result<Recovered, OpenError> {
    let (bases, stale) = list(dir, start, end).map_err(|source| failed("list", dir, source))?;
    for path in stale {
        fs::remove_file(&path).map_err(|source| failed("unlink", &path, source))?;
    }
    let mut known = Known::default();
    let mut first_seen = HashMap::new();
    let (mut finished, mut rebuilt) = (Vec::new(), 0);
    for (&base, &next) in bases.iter().zip(bases.iter().skip(1)) {
        let index = match read_index(dir, base, next)? {
            Some(index) => index,
            None => {
                rebuilt += 1;
                rebuild(dir, base, next, &known, start == 0)?
            }
        };
        for span in index.spans() {
            let slot = known.learn(span.partition, span.before);
            known.ends[slot] = span.after;
            first_seen.entry(span.partition).or_insert(span.before);
        }
        finished.push((base, next, index.checkpoint));
    }
    let base = bases.last().copied().unwrap_or(end);
    let active = scan(dir, base, end, &mut known, start == 0)?;
    let starts = (0..known.partitions.len())
        .map(|slot| first_seen.get(&known.partitions[slot]).copied().or(active.before(slot)).unwrap_or(0))
        .collect();
    if known.partitions.len() > PARTITIONS_MAX {
        let what = format!("{} partitions in one group: {PARTITIONS_MAX} at most", known.partitions.len());
        return Err(failed("open", dir, io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    Ok(Recovered { known, finished, active, starts, rebuilt })
}

/// The first bytes of the log's segments, and files of the group that belong to none of them.
fn list(dir: &Path, start: u64, end: u64) -> io::Result<(Vec<u64>, Vec<PathBuf>)> {
    let (mut bases, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some((stem, kind)) = name.split_once('.') else { continue };
        let Some(number) = stem.parse::<u64>().ok().filter(|_| stem.len() == 20) else { continue };
        match kind {
            "log" if start <= number && number <= end => bases.push(number),
            "entries" => others.push((path, Some(number))),
            "entries.tmp" => others.push((path, None)),
            _ => {}
        }
    }
    bases.sort_unstable();
    let finished = &bases[..bases.len().saturating_sub(1)];
    others.retain(|(_, number)| number.is_none_or(|number| finished.binary_search(&number).is_err()));
    Ok((bases, others.into_iter().map(|(path, _)| path).collect()))
}

/// The index of a finished segment; `None` if it is missing, wrong, or does not agree with the segment at its two ends.
fn read_index(dir: &Path, base: u64, end: u64) -> Result<Option<Index>, OpenError> {
    let path = entries_path(dir, base);
    let file = match fs::read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path, error)),
    };
    let Some(index) = Index::decode(&file, base, end) else { return Ok(None) };
    let segment = segment_path(dir, Offset(base));
    let mut reader = DeviceReader::open(&segment).map_err(|source| failed("read", &segment, source))?;
    let header_bytes = entry_header_bytes(log_api::Framing::Framed);
    for (partition, placed) in index.outermost() {
        let header = reader.get(placed.position - base, header_bytes);
        let frame = peek_frame(header.map_err(|source| failed("read", &segment, source))?);
        if !frame.is_ok_and(|frame| frame.is_some_and(|frame| is_at(&frame, partition, &placed))) {
            return Ok(None);
        }
    }
    Ok(Some(index))
}

/// The frame is that of a partition's batch at this place.
pub(crate) fn is_at(frame: &Frame, partition: u32, placed: &Placed) -> bool {
    frame.partition == partition
        && frame.sequence == Some(Offset(placed.position))
        && frame.batch.offset() == Some(Offset(placed.offset))
        && frame.total_bytes() == u64::from(placed.bytes)
}

/// Makes the index of a finished segment from its frames, and its file.
pub(crate) fn rebuild(dir: &Path, base: u64, end: u64, known: &Known, complete: bool) -> Result<Index, OpenError> {
    let mut known = known.clone();
    let part = scan(dir, base, end, &mut known, complete)?;
    // Without room for the file it is made again next time.
    let _ = index::write(dir, &part, &known.partitions);
    let file = index::encode(&part, &known.partitions);
    Ok(Index::decode(&file, base, end).expect("what was just encoded"))
}

/// The index of a segment or a missing one's, by its frames from `base` to `end`. `known` learns where the partitions end. `complete`: the log
/// begins at 0, so a partition that was not met before begins there too.
fn scan(dir: &Path, base: u64, end: u64, known: &mut Known, complete: bool) -> Result<Part, OpenError> {
    let mut part = Part::new(base, known.ends.iter().copied());
    let path = segment_path(dir, Offset(base));
    if base == end {
        return Ok(part);
    }
    let mut reader = DeviceReader::open(&path).map_err(|source| failed("read", &path, source))?;
    let header_bytes = entry_header_bytes(log_api::Framing::Framed);
    let mut at = base;
    while at < end {
        let damage = |what: String| Damage { segment: path.clone(), position: at - base, what };
        let header = reader.get(at - base, header_bytes).map_err(|source| failed("read", &path, source))?;
        let frame = match peek_frame(header) {
            Ok(Some(frame)) if frame.sequence == Some(Offset(at)) => frame,
            Ok(_) => return Err(damage("no frame stands where the next one must be".to_owned()).into()),
            Err(error) => return Err(damage(error.to_string()).into()),
        };
        let bytes = u32::try_from(frame.total_bytes()).map_err(|_| damage("an entry of 4 GiB".to_owned()))?;
        if frame.partition == CHECKPOINT {
            let whole = reader.get(at - base, bytes as usize).map_err(|source| failed("read", &path, source))?;
            let ends = whole.get(FRAME_BYTES..).and_then(checkpoint::decode);
            let ends = ends.ok_or_else(|| damage("a checkpoint that cannot be read".to_owned()))?;
            for (partition, end) in ends {
                let slot = known.learn(partition, end);
                if slot == part.slots() {
                    part.learn(slot, end);
                }
                if known.ends[slot] != end {
                    let what = format!("partition {partition} ends at {end}, its batches at {}", known.ends[slot]);
                    return Err(damage(what).into());
                }
            }
            part.checkpoint = true;
            part.end = at + u64::from(bytes);
        } else {
            let offset = frame.batch.offset().expect("a framed batch has a place").0;
            let slot = known.learn(frame.partition, if complete { 0 } else { offset });
            if slot == part.slots() {
                part.learn(slot, known.ends[slot]);
            }
            if known.ends[slot] != offset {
                let what = format!(
                    "the batch of offset {offset} of partition {}, where {} is next",
                    frame.partition, known.ends[slot]
                );
                return Err(damage(what).into());
            }
            let records = frame.batch.records.unsigned_abs();
            let placed = Placed { offset, end: offset + u64::from(records), position: at, bytes };
            part.push(slot, records, placed);
            known.ends[slot] = placed.end;
        }
        at += u64::from(bytes);
    }
    Ok(part)
}

pub(crate) fn failed(action: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { action, path: path.to_path_buf(), source }
}
