//! Kafka record batch, format v2 (magic 2): encode, verify, iterate. What lies on disk is what goes over the wire.
//!
//! What lives here: the batch header, the checksum, records and their varints, the builder, the template that load
//! generators stamp, and the frame that stands before a batch in a log that several partitions share. What never does: I/O, allocation whose size a stranger's bytes choose, compression (a compressed
//! batch is verified and carried, but its records are opaque).
//!
//! Every function is total on arbitrary bytes: no panic, bounds before trust.
//!
//! The layout, big endian, from <https://kafka.apache.org/documentation/#recordbatch>:
//!
//! ```text
//!  0  base offset        i64   assigned by the log, outside the checksum
//!  8  batch length       i32   bytes after this field
//! 12  leader epoch       i32   assigned by the log, outside the checksum
//! 16  magic              i8    2
//! 17  CRC-32C            u32   of everything after this field
//! 21  attributes         i16   bits 0-2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//! 23  last offset delta  i32   records - 1
//! 27  base timestamp     i64   milliseconds
//! 35  max timestamp      i64   milliseconds
//! 43  producer id        i64   -1: none
//! 51  producer epoch     i16   -1: none
//! 53  base sequence      i32   -1: none
//! 57  records            i32
//! 61  the records
//! ```

#![forbid(unsafe_code)]

mod build;
mod checksum;
mod copy;
mod entry;
mod error;
mod frame;
mod header;
mod iterate;
mod records;
mod template;
mod varint;
mod verify;

pub use build::BatchBuilder;
pub use checksum::crc32c;
pub use copy::{SLOW_DISTANCES, copy, is_slow};
pub use entry::{
    ENTRY_HEADER_BYTES_MAX, Entry, PlacedEntry, entry_header_bytes, entry_magic, peek_entry, place_entry, verify_entry,
};
pub use error::FormatError;
pub use frame::{CHECKPOINT, FRAME_BYTES, FRAME_HEAD_BYTES, Frame, frame, peek_frame};
pub use header::{Compression, HEADER_BYTES, Header, assign, peek};
pub use iterate::{Batches, iterate};
pub use records::{Record, RecordHeaders, Records, records};
pub use template::Template;
pub use verify::{Batch, verify};
