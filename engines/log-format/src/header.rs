//! The fixed part of a batch: 61 bytes.

use crate::FormatError;
use log_api::{Epoch, Offset};
use std::fmt;

/// Bytes before the records.
pub const HEADER_BYTES: usize = 61;

/// Bytes before the part that the length field counts: base offset and length itself.
pub(crate) const LENGTH_END: usize = 12;

/// Where the checksummed part begins: at the attributes.
pub(crate) const CHECKSUMMED_FROM: usize = 21;

/// The smallest value of the length field.
const BATCH_LENGTH_MIN: i32 = (HEADER_BYTES - LENGTH_END) as i32;

/// Bits that have a meaning: compression, timestamp type, transactional, control, delete horizon.
const ATTRIBUTES_KNOWN: i16 = 0x7f;

/// How the records of a batch are compressed. The log never looks into compressed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy in Xerial framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// The fields of a header as they stand in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record. Outside the checksum.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Incarnation of the log that wrote the batch. Outside the checksum.
    pub leader_epoch: i32,
    /// 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Compression and flags.
    pub attributes: i16,
    /// Offset of the last record less that of the first.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970.
    pub base_timestamp: i64,
    /// Milliseconds since 1970.
    pub max_timestamp: i64,
    /// -1: none.
    pub producer_id: i64,
    /// -1: none.
    pub producer_epoch: i16,
    /// -1: none.
    pub base_sequence: i32,
    /// Records in the batch.
    pub records: i32,
}

impl Header {
    /// Reads the fields without judging them.
    #[inline]
    pub(crate) fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            batch_length: i32::from_be_bytes(field(bytes, 8)),
            leader_epoch: i32::from_be_bytes(field(bytes, 12)),
            magic: i8::from_be_bytes(field(bytes, 16)),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: i16::from_be_bytes(field(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp: i64::from_be_bytes(field(bytes, 35)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            records: i32::from_be_bytes(field(bytes, 57)),
        }
    }

    /// Writes the fields, the checksum as it stands in `crc`.
    pub(crate) fn write(&self, bytes: &mut [u8; HEADER_BYTES]) {
        bytes[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[16..17].copy_from_slice(&self.magic.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.records.to_be_bytes());
    }

    /// Checks what a header alone can show. Which offset and epoch are right is the log's affair, so base offset and leader
    /// epoch are checked by nobody here.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        if self.batch_length < BATCH_LENGTH_MIN {
            return Err(FormatError::Length(self.batch_length));
        }
        if self.magic != 2 {
            return Err(FormatError::Magic(self.magic));
        }
        if self.attributes & !ATTRIBUTES_KNOWN != 0 || self.attributes & 7 > 4 {
            return Err(FormatError::Attributes(self.attributes));
        }
        if self.records < 1 || self.last_offset_delta != self.records - 1 {
            return Err(FormatError::Records { records: self.records, last_offset_delta: self.last_offset_delta });
        }
        Ok(())
    }

    /// Bytes of the whole batch, header first. A negative length field counts as zero.
    #[must_use]
    #[inline]
    pub fn total_bytes(&self) -> u64 {
        LENGTH_END as u64 + u64::try_from(self.batch_length).unwrap_or(0)
    }

    /// The base offset as an [`Offset`]; negative ones do not exist in a log and become `None`, and so does one whose last record
    /// would lie beyond the largest offset.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> Option<Offset> {
        self.base_offset.checked_add(i64::from(self.records)).and(u64::try_from(self.base_offset).ok()).map(Offset)
    }

    /// The leader epoch as an [`Epoch`]; negative ones (a producer's, before the log has assigned one) become `None`.
    #[must_use]
    #[inline]
    pub fn epoch(&self) -> Option<Epoch> {
        u32::try_from(self.leader_epoch).ok().map(Epoch)
    }

    /// How the records are compressed.
    #[must_use]
    #[inline]
    pub fn compression(&self) -> Compression {
        match self.attributes & 7 {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            _ => Compression::Zstd,
        }
    }
}

#[inline]
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// The header at the start of `bytes`, checked as far as a header goes: length, magic, attributes, record count. Not the
/// checksum, and the bytes may end before the batch does. `None` when no batch starts here: fewer than 61 bytes, or a length of
/// zero, which ends a preallocated segment.
///
/// # Errors
/// [`FormatError::Length`], `Magic`, `Attributes` or `Records`.
#[inline]
pub fn peek(bytes: &[u8]) -> Result<Option<Header>, FormatError> {
    let Some(first) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let header = Header::read(first);
    if header.batch_length == 0 {
        return Ok(None);
    }
    header.check()?;
    Ok(Some(header))
}

/// Bytes in which all lies that a log assigns.
pub(crate) const PLACE_END: usize = 16;

/// Gives a batch its place in the log: base offset and leader epoch, both outside the checksum. The first 16 bytes are enough.
///
/// # Panics
/// If `bytes` is shorter than that. Offsets and epochs beyond what Kafka's signed fields hold are a caller's error too, and asserted.
pub fn assign(bytes: &mut [u8], base: Offset, epoch: Epoch) {
    assert!(bytes.len() >= PLACE_END, "a batch has a header");
    let base = i64::try_from(base.0).expect("offsets are below 2^63");
    let epoch = i32::try_from(epoch.0).expect("epochs are below 2^31");
    bytes[0..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
}
