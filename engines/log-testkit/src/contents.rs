//! Reads a log through the engine and checks every chunk against the contract on the way.

use log_api::{Chunk, Epoch, LogEngine, LogId, Offset, Piece, Read, ReadKind};
use std::os::unix::fs::FileExt;

/// A batch as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Offset of the first record.
    pub base: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// Incarnation that wrote it.
    pub epoch: Epoch,
    /// All bytes.
    pub bytes: Vec<u8>,
}

/// The bytes of a chunk: pins as they are, file ranges read from the file.
///
/// # Errors
/// In words, if a file is shorter than its range, or the pieces are not as long as the chunk says.
pub fn bytes_of<P: AsRef<[u8]>>(chunk: &Chunk<P>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for piece in &chunk.pieces {
        match piece {
            Piece::Pin(pin) => bytes.extend_from_slice(pin.as_ref()),
            Piece::File(part) => {
                let start = bytes.len();
                bytes.resize(start + (part.range.end - part.range.start) as usize, 0);
                part.file
                    .read_exact_at(&mut bytes[start..], part.range.start)
                    .map_err(|error| format!("a file range {:?} cannot be read: {error}", part.range))?;
            }
        }
    }
    if bytes.len() as u64 == chunk.bytes {
        return Ok(bytes);
    }
    Err(format!("the pieces of a chunk have {} bytes, the chunk says {}", bytes.len(), chunk.bytes))
}

/// The batches of a run of bytes, each whole and with the right checksum.
///
/// # Errors
/// In words, what is no batch.
pub fn batches_of(bytes: &[u8]) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    let mut iterator = log_format::iterate(bytes);
    while let Some(item) = iterator.next() {
        let (header, batch) = item.map_err(|error| format!("byte {}: {error}", iterator.position()))?;
        log_format::verify(batch).map_err(|error| format!("the batch at offset {}: {error}", header.base_offset))?;
        let base = header.offset().ok_or_else(|| format!("a base offset of {}", header.base_offset))?;
        let epoch = header.epoch().ok_or_else(|| format!("an epoch of {}", header.leader_epoch))?;
        let end = base.plus(u64::from(header.records.unsigned_abs()));
        found.push(Found { base, end, epoch, bytes: batch.to_vec() });
    }
    if iterator.position() == bytes.len() {
        return Ok(found);
    }
    Err(format!("byte {} of {} is no batch", iterator.position(), bytes.len()))
}

/// The batches of a chunk, after checking it against what was asked.
///
/// # Errors
/// In words, what of the contract does not hold.
pub fn checked<P: AsRef<[u8]>>(read: &Read, chunk: &Chunk<P>) -> Result<Vec<Found>, String> {
    let found = batches_of(&bytes_of(chunk)?)?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        let nothing = chunk.base == read.from && chunk.next == read.from && chunk.bytes == 0;
        return if nothing { Ok(found) } else { Err(format!("an empty chunk {}..{}", chunk.base, chunk.next)) };
    };
    let holds = |what: &str, holds: bool| {
        if holds {
            Ok(())
        } else {
            Err(format!("{what}: asked {read:?}, got {}..{}, {} bytes", first.base, last.end, chunk.bytes))
        }
    };
    holds("the chunk's base is its first batch's", chunk.base == first.base)?;
    holds("the chunk's next follows its last batch", chunk.next == last.end)?;
    holds("the first batch holds the offset", first.base <= read.from && read.from < first.end)?;
    holds("no batch reaches beyond until", last.end <= read.until)?;
    holds("no more bytes than asked, but for one batch", found.len() == 1 || chunk.bytes <= read.bytes_max)?;
    holds("the batches follow each other", found.windows(2).all(|pair| pair[0].end == pair[1].base))?;
    Ok(found)
}

/// Everything between two offsets, in as many reads as it takes; checks each.
///
/// # Errors
/// In words, what of the contract does not hold, or the engine's own error.
pub async fn read_between<E: LogEngine>(
    engine: &E,
    log: LogId,
    range: std::ops::Range<Offset>,
    bytes_max: u64,
    kind: ReadKind,
) -> Result<Vec<Found>, String> {
    let mut all: Vec<Found> = Vec::new();
    let mut from = range.start;
    while from < range.end {
        let read = Read { from, until: range.end, bytes_max, kind };
        let chunk = engine.read(log, read).await.map_err(|error| format!("{read:?}: {error}"))?;
        let found = checked(&read, &chunk)?;
        if found.is_empty() {
            break;
        }
        from = chunk.next;
        all.extend(found);
    }
    Ok(all)
}

/// The whole log up to its placed mark.
///
/// # Errors
/// As [`read_between`].
pub async fn read_all<E: LogEngine>(engine: &E, log: LogId) -> Result<Vec<Found>, String> {
    let marks = engine.marks(log);
    read_between(engine, log, marks.start..marks.placed, 64 << 10, ReadKind::Scan).await
}
