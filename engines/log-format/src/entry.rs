//! An entry of a log, bare or framed, as those see it who step from one to the next: where it stands, whose incarnation wrote it, how long it
//! is, what its checksum covers.

use crate::{
    FormatError, HEADER_BYTES, assign, copy, crc32c,
    frame::{FRAME_BYTES, FRAME_HEAD_BYTES, FRAME_MAGIC, FRAMED_HEADER_BYTES, peek_frame},
    header::{CHECKSUMMED_FROM, PLACE_END, peek},
};
use log_api::{Batch, Epoch, Framing, Offset};

/// Bytes that [`peek_entry`] needs to say anything, at most.
pub const ENTRY_HEADER_BYTES_MAX: usize = FRAMED_HEADER_BYTES;

/// The fields of an entry that matter to a log, checked as far as [`peek`] and [`peek_frame`] go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first offset that it takes; `None` where no log has assigned one.
    pub offset: Option<Offset>,
    /// The incarnation of the log that wrote it; `None` where no log has assigned one.
    pub epoch: Option<Epoch>,
    /// Offsets that it takes.
    pub takes: u64,
    /// Bytes that it takes.
    pub bytes: u64,
    /// CRC-32C of the bytes from `checksummed_from` to its end. What lies before is checked by the frame, or not covered by any.
    pub crc: u32,
    /// See `crc`.
    pub checksummed_from: u64,
}

/// Bytes that [`peek_entry`] needs.
#[must_use]
pub fn entry_header_bytes(framing: Framing) -> usize {
    match framing {
        Framing::Bare => HEADER_BYTES,
        Framing::Framed => FRAMED_HEADER_BYTES,
    }
}

/// Byte 16 of every entry, by which a search finds candidates.
#[must_use]
pub fn entry_magic(framing: Framing) -> u8 {
    match framing {
        Framing::Bare => 2,
        Framing::Framed => FRAME_MAGIC,
    }
}

/// The entry at the start of `bytes`, which may end before it does. `None` when none starts here: too few bytes, or a length of zero.
///
/// # Errors
/// As [`peek`] and [`peek_frame`].
#[inline]
pub fn peek_entry(framing: Framing, bytes: &[u8]) -> Result<Option<Entry>, FormatError> {
    let checksummed_from = CHECKSUMMED_FROM as u64;
    Ok(match framing {
        Framing::Bare => peek(bytes)?.map(|header| Entry {
            offset: header.offset(),
            epoch: header.epoch(),
            takes: u64::from(header.records.unsigned_abs()),
            bytes: header.total_bytes(),
            crc: header.crc,
            checksummed_from,
        }),
        Framing::Framed => peek_frame(bytes)?.map(|frame| Entry {
            offset: frame.sequence,
            epoch: frame.epoch,
            takes: frame.total_bytes(),
            bytes: frame.total_bytes(),
            crc: frame.batch.crc,
            checksummed_from: FRAME_BYTES as u64 + checksummed_from,
        }),
    })
}

/// Checks that `bytes` start with a whole entry whose checksums are right. What follows it is not looked at.
///
/// # Errors
/// As [`peek_entry`]; `Truncated`, `Length` or `Checksum`.
pub fn verify_entry(framing: Framing, bytes: &[u8]) -> Result<Entry, FormatError> {
    let available = bytes.len() as u64;
    let header_bytes = entry_header_bytes(framing);
    let entry = match peek_entry(framing, bytes)? {
        Some(entry) => entry,
        None if bytes.len() < header_bytes => {
            return Err(FormatError::Truncated { needed: header_bytes as u64, available });
        }
        None => return Err(FormatError::Length(0)),
    };
    if available < entry.bytes {
        return Err(FormatError::Truncated { needed: entry.bytes, available });
    }
    let within = |at: u64| usize::try_from(at).expect("not more than the slice has");
    let computed = crc32c(&bytes[within(entry.checksummed_from)..within(entry.bytes)]);
    if computed != entry.crc {
        return Err(FormatError::Checksum { stored: entry.crc, computed });
    }
    Ok(entry)
}

/// An entry on its way into a log: its first bytes, with its place in the log, and the others as they were given.
#[derive(Clone, Copy, Debug)]
pub struct PlacedEntry<'a> {
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    rest: &'a [u8],
}

impl<'a> PlacedEntry<'a> {
    /// The first bytes.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_bytes]
    }

    /// The bytes after them.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Copies all of it to `place`, which is as long.
    #[inline]
    pub fn copy_to(&self, place: &mut [u8]) {
        let (head, rest) = place.split_at_mut(self.head_bytes);
        head.copy_from_slice(self.head());
        copy(rest, self.rest);
    }
}

/// Gives an entry its place in a log without copying more of it than its head.
///
/// # Panics
/// As [`assign`].
#[must_use]
#[inline]
pub fn place_entry<'a>(entry: &Batch<'a>, offset: Offset, epoch: Epoch) -> PlacedEntry<'a> {
    let mut head = [0; FRAME_HEAD_BYTES];
    let (first, rest) = match entry.head() {
        [] => entry.bytes().split_at(PLACE_END),
        framed => (framed, entry.bytes()),
    };
    head[..first.len()].copy_from_slice(first);
    assign(&mut head, offset, epoch);
    PlacedEntry { head, head_bytes: first.len(), rest }
}
