//! `highwater log dump` and `highwater log verify`: looks into the logs of a data directory and changes nothing.
//!
//! A segment that was not closed ends in zeros, or in a torn tail that the next open will cut: neither is damage. In every other
//! segment, a batch that is not whole, not checksummed or not the next one is. Logs that several partitions share are told by the frame
//! before their first batch; their offsets count bytes, and a batch is shown with the partition that it belongs to.

use anyhow::{Context, bail};
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
}

/// How a log was found to end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With its last segment's file or in zeros.
    Clean,
    /// In bytes of the last segment that are no next batch: what an open cuts.
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
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        return Ok(vec![LogFiles { folder, segments: vec![(base, path.to_path_buf())] }]);
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
        if !segments.is_empty() {
            found.push(LogFiles { folder, segments });
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

/// Walks a log. `each` gets every good batch: its header, its partition if it has one, its segment and its position there.
fn walk(
    log: &LogFiles,
    mut each: impl FnMut(&Header, Option<u32>, &Path, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Found> {
    let framing = framing_of(log)?;
    let header_bytes = entry_header_bytes(framing);
    let mut found = Found { batches: 0, records: 0, bytes: 0, next: log.segments[0].0, end: End::Clean };
    let mut epoch = None;
    let mut batch = Vec::new();
    for (number, (base, path)) in log.segments.iter().enumerate() {
        let last = number + 1 == log.segments.len();
        let ends = |position, what: String| {
            let segment = path.clone();
            if last { End::Torn { segment, position, what } } else { End::Damaged { segment, position, what } }
        };
        if *base != found.next {
            let what = format!("begins at offset {base} where {} is next", found.next);
            found.end = End::Damaged { segment: path.clone(), position: 0, what };
            return Ok(found);
        }
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        let file_bytes = file.metadata().with_context(|| format!("open {}", path.display()))?.len();
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        let mut position = 0;
        while position < file_bytes {
            let mut reading = |bytes: usize, into: &mut Vec<u8>| {
                into.clear();
                reader.by_ref().take(bytes as u64).read_to_end(into).with_context(|| format!("read {}", path.display()))
            };
            if reading(header_bytes, &mut batch)? < header_bytes || batch.iter().all(|byte| *byte == 0) {
                if batch.iter().any(|byte| *byte != 0) {
                    found.end = ends(position, format!("{} bytes where a header is next", batch.len()));
                    return Ok(found);
                }
                // Zeros after the last batch are what is left of a segment that was made ahead.
                break;
            }
            let entry: Entry = match peek_entry(framing, &batch) {
                Ok(Some(entry)) if entry.bytes <= BATCH_BYTES_MAX => entry,
                Ok(Some(entry)) => {
                    found.end = ends(position, format!("a batch of {} bytes", entry.bytes));
                    return Ok(found);
                }
                Ok(None) => {
                    found.end = ends(position, "a batch length of 0 in a header that is not all zeros".to_owned());
                    return Ok(found);
                }
                Err(error) => {
                    found.end = ends(position, error.to_string());
                    return Ok(found);
                }
            };
            let mut rest = Vec::new();
            reading(entry.bytes as usize - header_bytes, &mut rest)?;
            batch.extend_from_slice(&rest);
            let or_none = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
            let (offset, own_epoch) = (entry.offset.map(|offset| offset.0), entry.epoch.map(|epoch| epoch.0));
            let wrong = match verify_entry(framing, &batch) {
                Err(error) => Some(error.to_string()),
                Ok(_) if offset != Some(found.next) => {
                    Some(format!("base offset {} where {} is next", or_none(offset), found.next))
                }
                Ok(_) if own_epoch.is_none() || own_epoch < epoch => {
                    let [own, last] = [own_epoch, epoch].map(|epoch| or_none(epoch.map(u64::from)));
                    Some(format!("epoch {own} after epoch {last}"))
                }
                Ok(_) => None,
            };
            let seen = batch_in(framing, &batch);
            if let Some(what) = wrong.or_else(|| seen.is_none().then(|| "no batch".to_owned())) {
                found.end = ends(position, what);
                return Ok(found);
            }
            epoch = own_epoch;
            if let Some((header, partition)) = seen {
                each(&header, partition, path, position)?;
                if partition != Some(CHECKPOINT) {
                    found.records += u64::from(header.records.unsigned_abs());
                }
            }
            found.batches += 1;
            found.bytes += entry.bytes;
            found.next += entry.takes;
            position += entry.bytes;
        }
    }
    Ok(found)
}

/// Prints one line a batch, from an offset on.
///
/// # Errors
/// There are no logs, or a file cannot be read.
pub fn dump(path: &Path, from: u64, limit: u64) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut damaged = false;
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
        damaged |= matches!(found.end, End::Damaged { .. });
    }
    Ok(status(damaged))
}

/// Checks every batch and prints one line a log.
///
/// # Errors
/// There are no logs, or a file cannot be read.
pub fn verify(path: &Path) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut damaged = false;
    for log in logs(path)? {
        let found = walk(&log, |_, _, _, _| Ok(()))?;
        writeln!(out, "{}: {} segments, {}", log.folder.display(), log.segments.len(), summed(&found))?;
        damaged |= matches!(found.end, End::Damaged { .. });
    }
    Ok(status(damaged))
}

fn status(damaged: bool) -> ExitCode {
    ExitCode::from(if damaged { crate::run::exit::FAILED } else { crate::run::exit::DONE })
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

    #[test]
    fn a_bad_batch_is_damage_in_a_finished_segment_and_a_torn_tail_in_the_last() {
        for (segment, damaged) in [("00000000000000000000.log", true), ("00000000000000000003.log", false)] {
            let dir = log(if damaged { "damaged" } else { "torn" });
            let path = dir.join("00000").join(segment);
            let mut bytes = fs::read(&path).unwrap();
            let at = if damaged { batch(0, 1, &["a", "b"]).len() } else { batch(3, 2, &["d"]).len() };
            bytes[at + 65] ^= 1;
            fs::write(&path, bytes).unwrap();
            match found(&dir).end {
                End::Damaged { segment, position, .. } => assert!(damaged && segment == path && position == at as u64),
                End::Torn { segment, position, .. } => assert!(!damaged && segment == path && position == at as u64),
                End::Clean => panic!("a flipped bit was not seen"),
            }
            fs::remove_dir_all(dir).unwrap();
        }
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
