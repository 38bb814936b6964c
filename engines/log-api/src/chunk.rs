//! What a read returns: bytes held in place, or a range of a file to send.

use crate::Offset;
use std::{any::Any, fs::File, ops::Range, rc::Rc};

/// Whole batches in offset order, as pieces that together are their bytes. The first batch holds the offset asked for; a
/// chunk without pieces says that there is nothing (yet) between the offset asked for and the read's `until`.
#[derive(Debug, Clone)]
pub struct Chunk<P> {
    /// Base offset of the first batch; the offset asked for when the chunk is empty.
    pub base: Offset,
    /// The offset after the last record: where the next read starts.
    pub next: Offset,
    /// Bytes of all pieces together.
    pub bytes: u64,
    /// The bytes, in order.
    pub pieces: Vec<Piece<P>>,
}

impl<P> Chunk<P> {
    /// Nothing to read at `from`.
    #[must_use]
    pub fn empty(from: Offset) -> Self {
        Self { base: from, next: from, bytes: 0, pieces: Vec::new() }
    }
}

/// One run of bytes of a [`Chunk`].
#[derive(Debug, Clone)]
pub enum Piece<P> {
    /// Bytes held where they are (a mapping, a tail cache, a read-ahead buffer) for as long as the pin lives.
    Pin(P),
    /// "Send this range of this file."
    File(FileRange),
}

/// A range of a segment file, and what keeps the segment from being unlinked or recycled while it is sent.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The segment, opened for buffered reading.
    pub file: Rc<File>,
    /// Bytes of the file.
    pub range: Range<u64>,
    /// The engine believes the range to be in the page cache: a `sendfile` on the shard will not block on the device.
    pub resident: bool,
    /// Keeps the segment as it is.
    pub lease: Lease,
}

/// Keeps something alive without saying what.
pub type Lease = Rc<dyn Any>;
