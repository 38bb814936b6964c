//! What can be wrong with bytes that should be a batch.

/// Why bytes are not what they should be. Two errors of the same bytes are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the batch does.
    #[error("a batch of {needed} bytes ends after {available}")]
    Truncated {
        /// Bytes that the batch has by its own length field, or those of a header.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// The length field is negative or smaller than the rest of a header.
    #[error("a batch length of {0}")]
    Length(i32),
    /// There are bytes after the batch where exactly one batch was expected.
    #[error("{0} bytes after the batch")]
    Trailing(u64),
    /// Neither a batch of format v2 nor, where one is expected, a frame.
    #[error("magic {0} where another belongs")]
    Magic(i8),
    /// A frame whose checksum is right and whose fields do not add up.
    #[error("a frame with {0}")]
    Frame(&'static str),
    /// Attribute bits without a meaning, or a compression type that does not exist.
    #[error("attributes {0:#06x}")]
    Attributes(i16),
    /// The record count is less than one, or not the last offset delta plus one.
    #[error("{records} records with a last offset delta of {last_offset_delta}")]
    Records {
        /// The count.
        records: i32,
        /// The delta.
        last_offset_delta: i32,
    },
    /// The bytes are not those that were checksummed.
    #[error("checksum {stored:08x} is stored, the bytes have {computed:08x}")]
    Checksum {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// The records are compressed: they cannot be looked into here.
    #[error("the records are compressed ({0})")]
    Compressed(crate::Compression),
    /// A record whose fields do not add up; the number is its place in the batch.
    #[error("record {record} of the batch: {what}")]
    Record {
        /// Place in the batch, from zero.
        record: u32,
        /// What does not add up.
        what: &'static str,
    },
}
