//! Walks a segment batch by batch, by what the device holds.

use crate::{Boundary, LogConfig, SparseIndex, aligned::BLOCK_BYTES, device::DeviceReader, epochs::Epochs};
use log_api::{Epoch, Framing, Offset};
use log_format::{Entry, entry_header_bytes, entry_magic, peek_entry, verify_entry};
use std::io;

/// Which epoch a batch must carry.
#[derive(Debug)]
pub(crate) enum Rule {
    /// The one that the `epochs` file gives to its offset.
    Known(Epochs),
    /// The file was lost: none that is smaller than the one before it. What is met is learnt.
    Learn(Epochs),
}

impl Rule {
    /// `Err` says what is wrong with a batch of `epoch` at `base..end`.
    fn check(&self, epoch: Option<Epoch>, base: Offset, end: Offset) -> Result<Epoch, String> {
        let epoch = epoch.ok_or("a batch without a leader epoch")?;
        match self {
            Self::Known(epochs) => match epochs.at(base) {
                None => Err(format!("offset {base} lies before every incarnation of the log")),
                Some((incarnation, _)) if incarnation.epoch != epoch => {
                    Err(format!("a batch of epoch {epoch} where epoch {} wrote", incarnation.epoch))
                }
                Some((_, Some(next))) if end > next => {
                    Err(format!("a batch of epoch {epoch} that reaches beyond offset {next}, where the next one began"))
                }
                Some(_) => Ok(epoch),
            },
            Self::Learn(epochs) => match epochs.last() {
                Some(last) if epoch < last.epoch => {
                    Err(format!("a batch of epoch {epoch} after one of {}", last.epoch))
                }
                _ => Ok(epoch),
            },
        }
    }

    /// A batch of this epoch could have been written by the log's last incarnation.
    pub(crate) fn is_current(&self, epoch: Epoch) -> bool {
        match self {
            Self::Known(epochs) => epochs.last().is_some_and(|last| last.epoch == epoch),
            Self::Learn(epochs) => epochs.last().is_none_or(|last| last.epoch <= epoch),
        }
    }

    pub(crate) fn epochs(&self) -> &Epochs {
        match self {
            Self::Known(epochs) | Self::Learn(epochs) => epochs,
        }
    }
}

/// Why a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// With the file.
    EndOfFile,
    /// At a header of zeros.
    Zeros,
    /// At bytes that are not the next batch.
    Bad(String),
}

impl Stop {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::EndOfFile => "the file ends".to_owned(),
            Self::Zeros => "zeros".to_owned(),
            Self::Bad(what) => what.clone(),
        }
    }
}

/// What a walk found.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// The boundary after the last good batch.
    pub(crate) end: Boundary,
    pub(crate) stop: Stop,
    pub(crate) index: SparseIndex,
}

/// Walks a segment that starts at `base` for as long as each batch is whole, checksummed, carries exactly the next offset and an
/// epoch that the rule allows.
pub(crate) fn scan(
    reader: &mut DeviceReader,
    base: Offset,
    rule: &mut Rule,
    config: &LogConfig,
) -> io::Result<Scanned> {
    let mut index = SparseIndex::new(base, config.index_interval_bytes, reader.bytes().max(config.segment_bytes));
    let mut end = Boundary { offset: base, position: 0 };
    loop {
        match next_entry(reader, config.framing, end, rule)? {
            Ok((entry, epoch)) => {
                if let Rule::Learn(epochs) = rule {
                    epochs.learn(epoch, end.offset, config.durable, config.inflight_bytes_max);
                }
                index.note(end);
                end.offset = end.offset.plus(entry.takes);
                end.position += entry.bytes;
            }
            Err(stop) => return Ok(Scanned { end, stop, index }),
        }
    }
}

/// The entry at a boundary, if it is the next one of the log.
pub(crate) fn next_entry(
    reader: &mut DeviceReader,
    framing: Framing,
    at: Boundary,
    rule: &Rule,
) -> io::Result<Result<(Entry, Epoch), Stop>> {
    let left = reader.bytes() - at.position;
    if left == 0 {
        return Ok(Err(Stop::EndOfFile));
    }
    let header_bytes = entry_header_bytes(framing);
    let first = reader.get(at.position, header_bytes)?;
    if first.iter().all(|&byte| byte == 0) {
        return Ok(Err(Stop::Zeros));
    }
    let bad = |what: String| Ok(Err(Stop::Bad(what)));
    let entry = match peek_entry(framing, first) {
        Ok(Some(entry)) => entry,
        Ok(None) if left < header_bytes as u64 => return bad(format!("{left} bytes at the end of the file")),
        Ok(None) => return bad("a batch length of 0 in a header that is not all zeros".to_owned()),
        Err(error) => return bad(error.to_string()),
    };
    let bytes = entry.bytes;
    if bytes > left {
        return bad(format!("a batch of {bytes} bytes in a file that has {left} more"));
    }
    if entry.offset != Some(at.offset) {
        let found = entry.offset.map_or_else(|| "no offset".to_owned(), |offset| format!("base offset {offset}"));
        return bad(format!("a batch with {found} where {} is next", at.offset));
    }
    let end = at.offset.plus(entry.takes);
    let epoch = match rule.check(entry.epoch, at.offset, end) {
        Ok(epoch) => epoch,
        Err(what) => return bad(what),
    };
    let whole = reader.get(at.position, usize::try_from(bytes).expect("not more than the file has"))?;
    match verify_entry(framing, whole) {
        Ok(_) => Ok(Ok((entry, epoch))),
        Err(error) => bad(error.to_string()),
    }
}

/// Whether everything from `from` to the end of the file is zero.
fn is_zero_from(reader: &mut DeviceReader, from: u64) -> io::Result<bool> {
    let mut at = from;
    while at < reader.bytes() {
        let piece = reader.get(at, PIECE_BYTES)?;
        if piece.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += piece.len() as u64;
    }
    Ok(true)
}

/// Bytes looked at in one piece by the searches.
const PIECE_BYTES: usize = 1 << 18;

/// Where the magic stands in a batch.
const MAGIC_AT: usize = 16;

/// What stands behind the end of a log in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Anything but zeros.
    pub(crate) dirty: bool,
    /// More than what a recycled segment holds from its life before: something was being written when the log's last life ended.
    pub(crate) torn: bool,
    /// Where a valid batch of the last incarnation starts, as far on as was asked for.
    pub(crate) later: Option<u64>,
}

/// What is known of a log when the rest of a file is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// The log's first offset. Batches before it are what a recycled segment holds from its life before.
    pub(crate) start: Offset,
    /// The offset at which the log ends.
    pub(crate) end: Offset,
    pub(crate) rule: &'a Rule,
    pub(crate) framing: Framing,
}

/// Looks at everything from `at` on: what it is, and whether a valid batch of the last incarnation, of a later offset than the end, starts at
/// `from` or later. Nothing is known of boundaries there, so each byte is a candidate; but a valid batch that is met is stepped over whole, so
/// that what its records carry is never taken for batches of the log.
///
/// Bytes that look like headers can be dense on purpose, so the checksums that are computed are bounded; past the bound a candidate of the
/// last incarnation counts: with that much that looks like batches, cutting it off would be the graver mistake.
pub(crate) fn survey(reader: &mut DeviceReader, at: u64, from: u64, known: Known<'_>) -> io::Result<Rest> {
    if is_zero_from(reader, at)? {
        return Ok(Rest::default());
    }
    let (begun, padding) = (begins_the_next_batch(reader, at, known)?, at.next_multiple_of(BLOCK_BYTES as u64) - at);
    // Who goes on in a recycled segment clears the block in which the log ends.
    let block_end = reader.get(at, usize::try_from(padding).expect("less than a block"))?.iter().any(|&byte| byte != 0);
    let mut rest = Rest { dirty: true, torn: begun || block_end, later: None };
    let header_bytes = entry_header_bytes(known.framing);
    let mut stale = false;
    let mut budget = reader.bytes().saturating_mul(4).saturating_add(64 << 20);
    let mut candidates = Vec::new();
    let mut at = at;
    while at + (header_bytes as u64) <= reader.bytes() {
        let piece = reader.get(at, PIECE_BYTES + header_bytes - 1)?;
        candidates.clear();
        let starts = piece.len() + 1 - header_bytes;
        for start in candidate_starts(piece, starts, entry_magic(known.framing)) {
            if let Ok(Some(entry)) = peek_entry(known.framing, &piece[start..])
                && let Some(kind) = known.kind(&entry)
            {
                candidates.push((at + start as u64, entry.bytes, kind));
            }
        }
        let mut stepped_to = at;
        for &(position, bytes, kind) in &candidates {
            if position < stepped_to || bytes > reader.bytes() - position {
                continue;
            }
            let evidence = kind == Kind::Current && position >= from;
            let Some(left) = budget.checked_sub(bytes) else {
                if evidence {
                    return Ok(Rest { torn: true, later: Some(position), ..rest });
                }
                continue;
            };
            budget = left;
            let whole = reader.get(position, usize::try_from(bytes).expect("not more than the file has"))?;
            if verify_entry(known.framing, whole).is_err() {
                continue;
            }
            if evidence {
                return Ok(Rest { torn: true, later: Some(position), ..rest });
            }
            stale |= kind == Kind::Stale;
            rest.torn |= kind == Kind::Current;
            stepped_to = position + bytes;
        }
        at = stepped_to.max(at + starts as u64);
    }
    rest.torn |= !stale;
    Ok(rest)
}

/// Whose a batch behind the end can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From the file's life before it was recycled.
    Stale,
    /// Of the last incarnation, later than the end.
    Current,
}

impl Known<'_> {
    fn kind(&self, entry: &Entry) -> Option<Kind> {
        let offset = entry.offset?;
        let stale = offset.plus(entry.takes) <= self.start;
        let current = || offset > self.end && entry.epoch.is_some_and(|epoch| self.rule.is_current(epoch));
        if stale { Some(Kind::Stale) } else { current().then_some(Kind::Current) }
    }
}

/// A header of exactly the next batch stands there, whatever follows it.
fn begins_the_next_batch(reader: &mut DeviceReader, at: u64, known: Known<'_>) -> io::Result<bool> {
    let header = reader.get(at, entry_header_bytes(known.framing))?;
    let entry = peek_entry(known.framing, header).ok().flatten();
    Ok(entry.is_some_and(|entry| {
        entry.offset == Some(known.end) && entry.epoch.is_some_and(|epoch| known.rule.is_current(epoch))
    }))
}

/// Starts whose magic byte is right, quick over zeros, which are most of what a preallocated segment holds.
fn candidate_starts(piece: &[u8], starts: usize, magic: u8) -> impl Iterator<Item = usize> + '_ {
    piece[MAGIC_AT..MAGIC_AT + starts]
        .chunks(256)
        .enumerate()
        .filter(|(_, chunk)| chunk.iter().any(|&byte| byte != 0))
        .flat_map(move |(number, chunk)| {
            chunk
                .iter()
                .enumerate()
                .filter(move |&(_, &byte)| byte == magic)
                .map(move |(place, _)| number * 256 + place)
        })
}
