//! `highwater log dump` and `highwater log verify`: looks into the logs of a data directory and changes nothing.
//!
//! A segment that was not closed ends in zeros, in what a recycled file holds from its life before, or in a torn tail that the next open
//! will cut: none is damage. A batch that is not whole, not checksummed or not the next one is damage in every segment that another one
//! follows, and in the last one where a whole batch of the log stands behind it. (After a power cut in the middle of a large write that may
//! be a torn tail too: only an open knows what was acknowledged, and judges.) Logs that several partitions share are told by the frame
//! before their first batch; their offsets count bytes, and a batch is shown with the partition that it belongs to.

mod later;

use crate::config::folder_of;
use crate::run::exit;
use anyhow::{Context, bail};
use later::{Known, later_batch};
use log_api::Framing;
use log_format::{CHECKPOINT, Entry, Header, entry_header_bytes, entry_magic, peek_entry, peek_frame, verify_entry};
use std::{
    fs::{self, File},
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The largest batch that is believed: a length beyond it is damage, not a reason to take memory.
const BATCH_BYTES_MAX: u64 = 1 << 30;
const READ_BYTES: usize = 1 << 20;

/// The segments of one log, oldest first.
#[derive(Debug, PartialEq, Eq)]
struct LogFiles {
    folder: PathBuf,
    /// First offset by the name, and the file.
    segments: Vec<(u64, PathBuf)>,
    /// First offset of the log, also where one segment of it was named.
    start: u64,
    /// First offset of the segment after these: they are finished.
    followed_by: Option<u64>,
}

/// How a log was found to end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With its last segment's file or in zeros.
    Clean,
    /// In bytes of the last segment that are no next batch, and nothing behind them: what an open cuts.
    Torn { segment: PathBuf, position: u64, what: String },
    /// In bytes that something should have followed.
    Damaged { segment: PathBuf, position: u64, what: String },
}

/// What was found in one log.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    batches: u64,
    records: u64,
    bytes: u64,
    /// The offset after the last record.
    next: u64,
    end: End,
}

/// Finds the logs: `path` is a data directory (also of several shards), the folder of one log, or a segment.
fn logs(path: &Path) -> anyhow::Result<Vec<LogFiles>> {
    if path.is_file() {
        let base =
            segment_base(path).with_context(|| format!("{} is no segment: its name is no offset", path.display()))?;
        let folder = folder_of(path);
        let listed = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let bases: Vec<u64> = listed.flatten().filter_map(|entry| segment_base(&entry.path())).collect();
        let start = bases.iter().copied().min().unwrap_or(base);
        let followed_by = bases.into_iter().filter(|other| *other > base).min();
        let segments = vec![(base, path.to_path_buf())];
        return Ok(vec![LogFiles { folder: folder.to_path_buf(), segments, start, followed_by }]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(path.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
        let mut segments = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", folder.display()))?.path();
            // A data directory holds logs, or shards that hold logs.
            if entry.is_dir() && depth < 2 {
                folders.push((entry, depth + 1));
            } else if let Some(base) = segment_base(&entry) {
                segments.push((base, entry));
            }
        }
        segments.sort();
        if let Some((start, _)) = segments.first() {
            found.push(LogFiles { start: *start, folder, segments, followed_by: None });
        }
    }
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    if found.is_empty() {
        bail!("{}: no logs here; a log is a folder with segments named by 20 digits and .log", path.display());
    }
    Ok(found)
}

fn segment_base(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    (name.len() == 20).then(|| name.parse().ok()).flatten()
}

/// What a log is made of, as the beginning of its first segment shows.
fn framing_of(log: &LogFiles) -> anyhow::Result<Framing> {
    let (_, path) = &log.segments[0];
    let mut first = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(entry_header_bytes(Framing::Framed) as u64).read_to_end(&mut first)?;
    let framed = first.get(16) == Some(&entry_magic(Framing::Framed));
    Ok(if framed { Framing::Framed } else { Framing::Bare })
}

/// The header of the batch in an entry that was verified, and whose it is, where the log is shared.
fn batch_in(framing: Framing, entry: &[u8]) -> Option<(Header, Option<u32>)> {
    match framing {
        Framing::Bare => log_format::peek(entry).ok()?.map(|header| (header, None)),
        Framing::Framed => peek_frame(entry).ok()?.map(|frame| (frame.batch, Some(frame.partition))),
    }
}

/// Why the walk of a segment ended.
enum Stop {
    /// With the file.
    EndOfFile,
    /// At zeros, or at a batch that was given up before the file was used again.
    Unused { position: u64 },
    /// At bytes that are not the next batch.
    Bad { position: u64, what: String },
}

/// Walks a log. `each` gets every good batch: its header, its partition if it has one, its segment and its position there.
fn walk(
    log: &LogFiles,
    mut each: impl FnMut(&Header, Option<u32>, &Path, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Found> {
    let framing = framing_of(log)?;
    let mut walk = Walk {
        framing,
        start: log.start,
        epoch: None,
        found: Found { batches: 0, records: 0, bytes: 0, next: log.segments[0].0, end: End::Clean },
    };
    for (number, (base, path)) in log.segments.iter().enumerate() {
        let segment = path.clone();
        let next = walk.found.next;
        if *base != next {
            let what = format!("begins at offset {base} where {next} is next");
            return Ok(walk.ends(End::Damaged { segment, position: 0, what }));
        }
        let last = number + 1 == log.segments.len() && log.followed_by.is_none();
        let (position, bad) = match walk.segment(path, &mut each)? {
            Stop::EndOfFile => continue,
            Stop::Unused { position } => (position, None),
            Stop::Bad { position, what } => (position, Some(what)),
        };
        let known = Known { framing, next: walk.found.next, epoch: walk.epoch };
        let later = || {
            let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
            later_batch(&file, position + u64::from(bad.is_some()), known)
                .with_context(|| format!("read {}", path.display()))
        };
        let later = if last { later()? } else { None };
        let end = match (bad, later) {
            (None, None) => continue,
            (bad, Some(later)) => {
                let what = bad.as_deref().unwrap_or("nothing");
                let what = format!("{what}, and a whole batch of the log follows at byte {later}");
                End::Damaged { segment, position, what }
            }
            (Some(what), None) if last => End::Torn { segment, position, what },
            (Some(what), None) => End::Damaged { segment, position, what },
        };
        return Ok(walk.ends(end));
    }
    if let Some(followed_by) = log.followed_by.filter(|base| *base != walk.found.next)
        && let Some((_, path)) = log.segments.last()
    {
        let what = format!("ends at offset {} and the next segment begins at {followed_by}", walk.found.next);
        let position = walk.found.bytes;
        return Ok(walk.ends(End::Damaged { segment: path.clone(), position, what }));
    }
    Ok(walk.found)
}

/// A log while it is walked.
struct Walk {
    framing: Framing,
    /// First offset of the log.
    start: u64,
    /// Of the last good batch.
    epoch: Option<u32>,
    found: Found,
}

impl Walk {
    fn ends(self, end: End) -> Found {
        Found { end, ..self.found }
    }

    /// Walks one segment for as long as each batch is the next one.
    fn segment(
        &mut self,
        path: &Path,
        each: &mut impl FnMut(&Header, Option<u32>, &Path, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Stop> {
        let (framing, header_bytes) = (self.framing, entry_header_bytes(self.framing));
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let file_bytes = file.metadata().with_context(|| format!("open {}", path.display()))?.len();
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        let mut position = 0;
        let mut batch = Vec::new();
        while position < file_bytes {
            let bad = |what: String| Ok(Stop::Bad { position, what });
            let mut reading = |bytes: usize, into: &mut Vec<u8>| {
                into.clear();
                reader.by_ref().take(bytes as u64).read_to_end(into).with_context(|| format!("read {}", path.display()))
            };
            let whole_header = reading(header_bytes, &mut batch)? == header_bytes;
            if batch.iter().all(|byte| *byte == 0) {
                // Zeros after the last batch are what is left of a segment that was made ahead.
                return Ok(Stop::Unused { position });
            }
            if !whole_header {
                return bad(format!("{} bytes where a header is next", batch.len()));
            }
            let entry: Entry = match peek_entry(framing, &batch) {
                Ok(Some(entry)) if entry.bytes <= BATCH_BYTES_MAX => entry,
                Ok(Some(entry)) => return bad(format!("a batch of {} bytes", entry.bytes)),
                Ok(None) => return bad("a batch length of 0 in a header that is not all zeros".to_owned()),
                Err(error) => return bad(error.to_string()),
            };
            let mut rest = Vec::new();
            reading(entry.bytes as usize - header_bytes, &mut rest)?;
            batch.extend_from_slice(&rest);
            let or_none = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
            let (offset, own_epoch) = (entry.offset.map(|offset| offset.0), entry.epoch.map(|epoch| epoch.0));
            if let Err(error) = verify_entry(framing, &batch) {
                return bad(error.to_string());
            }
            if offset.is_some_and(|offset| offset + entry.takes <= self.start) {
                return Ok(Stop::Unused { position });
            }
            if offset != Some(self.found.next) {
                return bad(format!("base offset {} where {} is next", or_none(offset), self.found.next));
            }
            if own_epoch.is_none() || own_epoch < self.epoch {
                let [own, last] = [own_epoch, self.epoch].map(|epoch| or_none(epoch.map(u64::from)));
                return bad(format!("epoch {own} after epoch {last}"));
            }
            let Some((header, partition)) = batch_in(framing, &batch) else { return bad("no batch".to_owned()) };
            self.epoch = own_epoch;
            each(&header, partition, path, position)?;
            if partition != Some(CHECKPOINT) {
                self.found.records += u64::from(header.records.unsigned_abs());
            }
            self.found.batches += 1;
            self.found.bytes += entry.bytes;
            self.found.next += entry.takes;
            position += entry.bytes;
        }
        Ok(Stop::EndOfFile)
    }
}

/// Prints one line a batch, from an offset on.
///
/// # Errors
/// There are no logs, or a file cannot be read.
pub fn dump(path: &Path, from: u64, limit: u64) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut status = exit::DONE;
    for log in logs(path)? {
        writeln!(out, "{}", log.folder.display())?;
        writeln!(
            out,
            "{:>20} {:>8} {:>9} {:>6} {:>13} {:>8}  segment:position",
            "offset", "records", "bytes", "epoch", "timestamp ms", "crc"
        )?;
        let mut printed = 0;
        let found = walk(&log, |header, partition, segment, position| {
            let last = header.base_offset.unsigned_abs() + u64::from(header.last_offset_delta.unsigned_abs());
            if last < from || printed >= limit {
                return Ok(());
            }
            printed += 1;
            let name = segment.file_name().unwrap_or_default().to_string_lossy();
            let whose = match partition {
                None => String::new(),
                Some(CHECKPOINT) => "  the group's own".to_owned(),
                Some(partition) => format!("  partition {partition}"),
            };
            writeln!(
                out,
                "{:>20} {:>8} {:>9} {:>6} {:>13} {:08x}  {name}:{position}{whose}",
                header.base_offset,
                header.records,
                header.total_bytes(),
                header.leader_epoch,
                header.base_timestamp,
                header.crc,
            )?;
            Ok(())
        })?;
        writeln!(out, "{}", summed(&found))?;
        status = worse(status, &found.end);
    }
    Ok(ExitCode::from(status))
}

/// Checks every batch and prints one line a log.
///
/// # Errors
/// There are no logs, or a file cannot be read.
pub fn verify(path: &Path) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut status = exit::DONE;
    for log in logs(path)? {
        let found = walk(&log, |_, _, _, _| Ok(()))?;
        writeln!(out, "{}: {} segments, {}", log.folder.display(), log.segments.len(), summed(&found))?;
        status = worse(status, &found.end);
    }
    Ok(ExitCode::from(status))
}

/// The status of several logs: damage is graver than a torn tail.
fn worse(status: u8, end: &End) -> u8 {
    match end {
        End::Damaged { .. } => exit::FAILED,
        End::Torn { .. } if status == exit::DONE => exit::TORN,
        End::Torn { .. } | End::Clean => status,
    }
}

fn summed(found: &Found) -> String {
    let Found { batches, records, bytes, next, end } = found;
    let end = match end {
        End::Clean => "whole".to_owned(),
        End::Torn { segment, position, what } => {
            format!("a torn tail in {} at byte {position} ({what}), which the next open will judge", segment.display())
        }
        End::Damaged { segment, position, what } => {
            format!("DAMAGED in {} at byte {position}: {what}", segment.display())
        }
    };
    format!("{batches} batches, {records} records, {bytes} bytes, next offset {next}: {end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_api::{Epoch, Offset};

    fn batch(offset: u64, epoch: u32, values: &[&str]) -> Vec<u8> {
        let mut builder = log_format::BatchBuilder::new(1_000);
        for value in values {
            builder.push(0, None, Some(value.as_bytes()));
        }
        let mut bytes = builder.finish();
        log_format::assign(&mut bytes, Offset(offset), Epoch(epoch));
        bytes
    }

    /// A log of two segments: offsets 0..3 and 3..5, the last one with zeros behind.
    fn log(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("highwater-inspect-{name}-{}", std::process::id()));
        let folder = dir.join("00000");
        fs::create_dir_all(&folder).unwrap();
        let first = [batch(0, 1, &["a", "b"]), batch(2, 1, &["c"])].concat();
        let second = [batch(3, 2, &["d"]), batch(4, 2, &["e"]), vec![0; 5_000]].concat();
        fs::write(folder.join("00000000000000000000.log"), first).unwrap();
        fs::write(folder.join("00000000000000000003.log"), second).unwrap();
        fs::write(folder.join("00000000000000000000.index"), "hint").unwrap();
        dir
    }

    fn found(dir: &Path) -> Found {
        let logs = logs(dir).unwrap();
        assert_eq!(logs.len(), 1);
        walk(&logs[0], |_, _, _, _| Ok(())).unwrap()
    }

    #[test]
    fn a_whole_log_is_walked_over_its_segments() {
        let dir = log("whole");
        let whole = found(&dir);
        assert_eq!((whole.batches, whole.records, whole.next, &whole.end), (4, 5, 5, &End::Clean));
        assert_eq!(found(&dir.join("00000")), whole, "the log's own folder will do");
        let one = found(&dir.join("00000/00000000000000000003.log"));
        assert_eq!((one.records, one.next), (2, 5));
        fs::remove_dir_all(dir).unwrap();
    }

    /// Flips a bit of the batch at `at` of a segment.
    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).unwrap();
        bytes[at + 65] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    const FIRST: &str = "00000/00000000000000000000.log";
    const LAST: &str = "00000/00000000000000000003.log";

    fn is_damage(end: &End, path: &Path, at: usize) -> bool {
        matches!(end, End::Damaged { segment, position, .. } if segment == path && *position == at as u64)
    }

    #[test]
    fn a_bad_batch_is_damage_in_a_finished_segment_also_where_it_was_named() {
        let dir = log("damaged");
        let (path, at) = (dir.join(FIRST), batch(0, 1, &["a", "b"]).len());
        flip(&path, at);
        for named in [&dir, &path] {
            let end = found(named).end;
            assert!(is_damage(&end, &path, at), "{end:?}");
            assert_eq!(worse(exit::TORN, &end), exit::FAILED);
        }
        // Cut off, it has nothing behind, and the segment after it says what is missing.
        fs::File::options().write(true).open(&path).unwrap().set_len(at as u64).unwrap();
        assert!(is_damage(&found(&path).end, &path, at));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_bad_batch_in_the_last_segment_is_a_torn_tail_only_if_nothing_of_the_log_follows() {
        let dir = log("torn");
        let (path, at) = (dir.join(LAST), batch(3, 2, &["d"]).len());
        flip(&path, at);
        for named in [&dir, &path] {
            let end = found(named).end;
            assert!(matches!(end, End::Torn { position, .. } if position == at as u64), "{end:?}");
            assert_eq!((worse(exit::DONE, &end), worse(exit::FAILED, &end)), (exit::TORN, exit::FAILED));
        }
        fs::remove_dir_all(dir).unwrap();
        let dir = log("rotten");
        let path = dir.join(LAST);
        flip(&path, 0);
        for named in [&dir, &path] {
            let end = found(named).end;
            assert!(is_damage(&end, &path, 0), "a whole batch follows: {end:?}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_hole_before_a_whole_batch_is_damage_and_what_was_given_up_before_is_not() {
        let dir = log("hole");
        let (path, first) = (dir.join(LAST), batch(3, 2, &["d"]));
        fs::write(&path, [first.clone(), vec![0; 300], batch(5, 2, &["f"]), vec![0; 5_000]].concat()).unwrap();
        assert!(is_damage(&found(&dir).end, &path, first.len()));
        // Earlier epochs have ended before.
        fs::write(&path, [first.clone(), vec![0; 300], batch(5, 1, &["f"]), vec![0; 5_000]].concat()).unwrap();
        assert_eq!(found(&dir).end, End::Clean);
        // A recycled segment: what it held before lies before the start of the log.
        fs::remove_file(dir.join(FIRST)).unwrap();
        fs::write(&path, [first.clone(), batch(1, 2, &["b"]), batch(2, 2, &["c"])].concat()).unwrap();
        assert_eq!((found(&dir).end, found(&dir).next), (End::Clean, 4));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_missing_segment_and_a_directory_without_logs_are_told() {
        let dir = log("missing");
        fs::rename(dir.join("00000/00000000000000000003.log"), dir.join("00000/00000000000000000004.log")).unwrap();
        assert!(matches!(found(&dir).end, End::Damaged { position: 0, .. }));
        fs::remove_dir_all(dir.join("00000")).unwrap();
        assert!(logs(&dir).unwrap_err().to_string().contains("no logs here"));
        fs::remove_dir_all(dir).unwrap();
    }
}
