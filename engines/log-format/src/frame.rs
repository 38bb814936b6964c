//! The frame that stands before each batch of a log that several partitions share. A batch of format v2 names no partition, and its base
//! offset says nothing of its place in the shared log; the frame says both.
//!
//! The layout, big endian like the batch's. The first 17 bytes are laid out like a batch's, so that the same code assigns an entry's place:
//!
//! ```text
//!  0  sequence     i64   where the frame stands: bytes from the beginning of the log; assigned by the log, outside the checksum
//!  8  length       i32   bytes after this field: the rest of the frame and the batch
//! 12  epoch        i32   incarnation of the shared log; assigned by the log, outside the checksum
//! 16  magic        i8    70 ('F')
//! 17  CRC-32C      u32   of the length, and of everything after this field up to the batch's own checksum, which covers the rest
//! 21  zeros        3
//! 24  partition    u32   whose batch it is
//! 28  zeros        4
//! 32  the batch, with the base offset and the leader epoch that its partition gave it
//! ```
//!
//! The sequence leaves no gaps: the next frame's is this one's plus the bytes of the entry. So the log ends at the first frame that does
//! not carry exactly the expected one.

use crate::{
    FormatError, HEADER_BYTES, Header, assign, crc32c,
    header::{LENGTH_END, PLACE_END, field, peek},
};
use log_api::{Epoch, Offset};

/// Bytes of a frame.
pub const FRAME_BYTES: usize = 32;

/// The partition that a frame names when the batch in it is the group's own: where each of its partitions ends.
pub const CHECKPOINT: u32 = u32::MAX;

/// Bytes of a frame and of the fields of the batch that its partition assigns: what [`frame`] makes.
pub const FRAME_HEAD_BYTES: usize = FRAME_BYTES + PLACE_END;

/// Bytes that must be there to look at a framed batch: frame and batch header.
pub(crate) const FRAMED_HEADER_BYTES: usize = FRAME_BYTES + HEADER_BYTES;

/// Byte 16 of a frame; of a batch it is 2.
pub(crate) const FRAME_MAGIC: u8 = b'F';

/// Where the fields after the checksum begin.
const FIELDS_FROM: usize = 21;

/// How far into the batch the frame's checksum reaches: up to the end of the batch's own.
const COVERED_OF_BATCH: usize = 21;

/// The smallest value of the length field.
const LENGTH_MIN: i32 = (FRAMED_HEADER_BYTES - LENGTH_END) as i32;

/// A frame and the header of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it stands; `None` where no log has assigned it.
    pub sequence: Option<Offset>,
    /// Incarnation of the shared log; `None` where no log has assigned it.
    pub epoch: Option<Epoch>,
    /// Whose batch it is.
    pub partition: u32,
    /// The batch's header, checked as far as a header goes.
    pub batch: Header,
}

impl Frame {
    /// Bytes of the frame and its batch.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        FRAME_BYTES as u64 + self.batch.total_bytes()
    }
}

/// The frame for a batch of `partition`, and the batch's first 16 bytes with its place in the partition. With the batch's bytes from 16 on
/// it is an entry of a framed log; the log assigns sequence and epoch.
///
/// # Panics
/// If `batch` is shorter than a header (a caller frames only what it has verified) or 2 GiB long.
#[must_use]
pub fn frame(batch: &[u8], partition: u32, base: Offset, epoch: Epoch) -> [u8; FRAME_HEAD_BYTES] {
    let header = batch.first_chunk::<HEADER_BYTES>().expect("a batch has a header");
    let length = i32::try_from(FRAME_BYTES - LENGTH_END + batch.len()).expect("entries are smaller than 2 GiB");
    let mut covered = [0; FRAME_BYTES + COVERED_OF_BATCH];
    covered[8..12].copy_from_slice(&length.to_be_bytes());
    covered[16] = FRAME_MAGIC;
    covered[24..28].copy_from_slice(&partition.to_be_bytes());
    let mut assigned = *header;
    assign(&mut assigned, base, epoch);
    covered[FRAME_BYTES..].copy_from_slice(&assigned[..COVERED_OF_BATCH]);
    let crc = checksum(&covered);
    covered[17..FIELDS_FROM].copy_from_slice(&crc.to_be_bytes());
    let mut head = [0; FRAME_HEAD_BYTES];
    head.copy_from_slice(&covered[..FRAME_HEAD_BYTES]);
    head
}

fn checksum(bytes: &[u8; FRAME_BYTES + COVERED_OF_BATCH]) -> u32 {
    let mut covered = [0; 4 + FRAME_BYTES + COVERED_OF_BATCH - FIELDS_FROM];
    covered[..4].copy_from_slice(&bytes[8..12]);
    covered[4..].copy_from_slice(&bytes[FIELDS_FROM..]);
    crc32c(&covered)
}

/// The frame at the start of `bytes` and the header of its batch: checked with the frame's checksum, which covers the header's fields
/// up to the batch's own checksum; the batch itself may end later than the bytes do. `None` when no frame starts here: fewer bytes than frame
/// and header have, or a length of zero, which ends a preallocated segment.
///
/// # Errors
/// [`FormatError::Length`], `Magic`, `Checksum` or `Frame` of the frame; any that [`peek`] has of the batch's header.
pub fn peek_frame(bytes: &[u8]) -> Result<Option<Frame>, FormatError> {
    let Some(first) = bytes.first_chunk::<FRAMED_HEADER_BYTES>() else { return Ok(None) };
    let length = i32::from_be_bytes(field(first, 8));
    if length == 0 {
        return Ok(None);
    }
    if first[16] != FRAME_MAGIC {
        return Err(FormatError::Magic(i8::from_be_bytes([first[16]])));
    }
    if length < LENGTH_MIN {
        return Err(FormatError::Length(length));
    }
    let stored = u32::from_be_bytes(field(first, 17));
    let computed = checksum(first.first_chunk().expect("shorter than both headers"));
    if stored != computed {
        return Err(FormatError::Checksum { stored, computed });
    }
    if first[FIELDS_FROM..24].iter().chain(&first[28..FRAME_BYTES]).any(|&byte| byte != 0) {
        return Err(FormatError::Frame("reserved bytes that are not zero"));
    }
    let Some(batch) = peek(&first[FRAME_BYTES..])? else { return Err(FormatError::Frame("no batch in it")) };
    if batch.total_bytes() + (FRAME_BYTES - LENGTH_END) as u64 != u64::from(length.unsigned_abs()) {
        return Err(FormatError::Frame("a batch of another length in it"));
    }
    if batch.offset().is_none() || batch.epoch().is_none() {
        return Err(FormatError::Frame("a batch without a place in its partition"));
    }
    let sequence = i64::from_be_bytes(field(first, 0));
    let end = sequence.checked_add(i64::from(length)).and_then(|at| at.checked_add(LENGTH_END as i64));
    Ok(Some(Frame {
        sequence: end.and(u64::try_from(sequence).ok()).map(Offset),
        epoch: u32::try_from(i32::from_be_bytes(field(first, 12))).ok().map(Epoch),
        partition: u32::from_be_bytes(field(first, 24)),
        batch,
    }))
}
