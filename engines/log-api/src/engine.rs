//! The trait. An engine value belongs to one shard and holds many logs; what they share (a ring, registered buffers, the
//! thread that prepares segments) is the engine's own affair, and so is how it is made.

use crate::{
    AppendError, Capabilities, Chunk, CommitError, Counters, Epoch, FlushGroup, Level, LogId, Offset, OpenError,
    ReadError, SendPath, TrimError,
};
use std::{future::Future, path::PathBuf};

/// What every engine is told. `dir` holds one folder a log.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The data directory; made if missing.
    pub dir: PathBuf,
    /// The logs are written for durable acknowledgement. Recorded with each log: it decides how segments are prepared, and
    /// what recovery calls damage.
    pub durable: bool,
    /// Bytes of a segment file. A multiple of 1 MiB.
    pub segment_bytes: u64,
    /// Bytes that may be appended and not yet written, over all logs, and in one log for durable acknowledgement not yet durable: past it,
    /// [`AppendError::Busy`].
    pub inflight_bytes_max: u64,
    /// Bytes of log between two entries of the sparse index.
    pub index_interval_bytes: u64,
    /// Bytes of recently appended log an engine without the page cache keeps in memory for tail readers.
    pub tail_cache_bytes: u64,
    /// Processors for the engine's helper thread; empty: wherever the process may run.
    pub helper_cpus: Vec<usize>,
    /// How the broker will send what is read. Under [`SendPath::Sendfile`] a read returns [`crate::Piece::File`], under
    /// [`SendPath::Copy`] [`crate::Piece::Pin`], wherever the engine can; it may return the other kind where it cannot.
    pub send: SendPath,
    /// What the logs are made of.
    pub framing: Framing,
}

/// What stands in a log, one after the other: its *entries*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Record batches. A batch takes as many offsets as it has records.
    #[default]
    Bare,
    /// Record batches of several partitions, a frame of 32 bytes before each (`log_format::Frame`). An entry takes as many offsets as it has
    /// bytes: an offset is a byte of the log, counted from its beginning. Reads of such a log must start and end between entries.
    Framed,
}

impl EngineConfig {
    /// The defaults for `dir`: durable, segments of 128 MiB, at most 16 MiB in flight, an index entry each 4 KiB (Kafka's
    /// `index.interval.bytes`), 64 MiB of tail cache, sent by copy.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durable: true,
            segment_bytes: 128 << 20,
            inflight_bytes_max: 16 << 20,
            index_interval_bytes: 4096,
            tail_cache_bytes: 64 << 20,
            helper_cpus: Vec::new(),
            send: SendPath::Copy,
            framing: Framing::Bare,
        }
    }
}

/// An entry to append: a whole record batch, format v2, whose length, magic and checksum the caller has verified, and for a framed log the
/// frame before it. The entry's place (bytes 0..8, and 12..16 for the epoch, outside the checksums) is whatever the caller left there:
/// the engine assigns both.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    head: &'a [u8],
    bytes: &'a [u8],
    takes: u32,
}

impl<'a> Batch<'a> {
    /// A batch that `log_format::verify` accepted. `records` is its last offset delta plus one, never 0.
    #[must_use]
    pub fn verified(bytes: &'a [u8], records: u32) -> Self {
        debug_assert!(bytes.len() >= 61 && records > 0, "a batch has a header of 61 bytes and a record");
        Self { head: &[], bytes, takes: records }
    }

    /// An entry of a framed log in two pieces, so that putting the frame before a batch costs no copy of the batch: `head` is the frame and
    /// the batch's first bytes, as `log_format::frame` makes it; `rest` is the rest of the batch.
    ///
    /// # Panics
    /// If the entry has 4 GiB or more.
    #[must_use]
    pub fn framed(head: &'a [u8], rest: &'a [u8]) -> Self {
        let takes = u32::try_from(head.len() + rest.len()).expect("an entry is smaller than 4 GiB");
        Self { head, bytes: rest, takes }
    }

    /// What stands before [`Batch::bytes`] in a framed log; nothing in others.
    #[must_use]
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The bytes after the head: all of the batch, where there is none.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of head and batch together: what the entry takes in a segment.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        (self.head.len() + self.bytes.len()) as u64
    }

    /// Offsets that the entry takes: its records, or in a framed log its bytes.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.takes
    }
}

/// Where an append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// First offset of the segment that holds them.
    pub segment: Offset,
}

/// How far a log has come: `start <= durable <= placed <= end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The first offset that can be read.
    pub start: Offset,
    /// Everything before it survives a power cut.
    pub durable: Offset,
    /// Everything before it survives a killed process.
    pub placed: Offset,
    /// The next append starts here.
    pub end: Offset,
}

/// What an open found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The marks after recovery: everything kept is durable.
    pub marks: Marks,
    /// The incarnation that starts now.
    pub epoch: Epoch,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
}

/// A torn tail that recovery removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment in which the log now ends.
    pub segment: PathBuf,
    /// Byte of that segment at which it ends.
    pub position: u64,
    /// What stood there instead of the next batch.
    pub what: String,
}

/// What a reader is about to do, so that the engine can choose where to take the bytes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadKind {
    /// Near the end of the log; the bytes are likely in memory.
    Hot,
    /// A long way through old segments: read ahead, and do not push out what tail readers need.
    Scan,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The offset that the first batch must hold.
    pub from: Offset,
    /// No batch that reaches beyond it is returned: the commit point, for a consumer. At most the log's placed mark.
    pub until: Offset,
    /// Stop before more bytes than this, but always return one whole batch if there is one. An engine may stop earlier, at any batch.
    pub bytes_max: u64,
    /// See [`ReadKind`].
    pub kind: ReadKind,
}

/// A log engine. Not `Send`: it never leaves its shard. All methods take `&self`; a call never blocks the shard on the
/// device, and no future borrows the caller's memory across a wait.
///
/// Contract, with one log that holds offsets 0..10 and a batch of 5 records:
///
/// ```text
/// append(log, [batch])     -> base 10, end 15     marks: durable 10  placed 10  end 15   (a mapping: placed 15)
/// commit([group], Placed)  -> Ok                  marks: durable 10  placed 15  end 15
/// commit([group], Durable) -> Ok                  marks: durable 15  placed 15  end 15
/// ```
pub trait LogEngine: Sized + 'static {
    /// Keeps the bytes of a read where they are, and as they are: for as long as a pin or a clone of it lives, `as_ref` shows the same memory,
    /// and the kernel may be given its address.
    type Pin: AsRef<[u8]> + Clone + 'static;

    /// What the engine declares of itself.
    const CAPABILITIES: Capabilities;

    /// Opens or makes a log: finds its end, cuts a torn tail, makes durable what it kept, raises the epoch, and only then
    /// returns. A log is opened once in an engine's life.
    fn open(&self, log: LogId) -> impl Future<Output = Result<Recovery, OpenError>>;

    /// Appends whole batches, all or none, in one copy; assigns their offsets and the epoch. Never waits.
    fn append(&self, log: LogId, batches: &[Batch<'_>]) -> Result<Appended, AppendError>;

    /// Waits until `bytes` can be appended after [`AppendError::Busy`] (or [`AppendError::Full`]: until it is worth trying again,
    /// at the latest after 100 ms). First come, first served.
    fn room(&self, log: LogId, bytes: u64) -> impl Future<Output = ()>;

    /// What a flush of this log makes durable together.
    fn group(&self, log: LogId) -> FlushGroup;

    /// Brings what was appended to these groups before the call to `level`, and moves the marks. The writes of all groups
    /// are submitted together, before the first wait. Several calls may run for one group; each takes what was appended
    /// since the last one's submission, none joins a flush that was submitted before its bytes, and the marks move in order.
    /// Dropping the future abandons the wait, not the write.
    fn commit(&self, groups: &[FlushGroup], level: Level) -> impl Future<Output = Result<(), CommitError>>;

    /// How far the log has come. All zero for a log that is not open.
    fn marks(&self, log: LogId) -> Marks;

    /// Reads whole batches. See [`Read`] and [`Chunk`].
    fn read(&self, log: LogId, read: Read) -> impl Future<Output = Result<Chunk<Self::Pin>, ReadError>>;

    /// Gives up whole segments all of whose records lie before `before`, never the one being written; returns the new start.
    /// In a log that is written for durable acknowledgement the new start is durable then; of another log the disk may follow about a second
    /// later, and a crash may leave an earlier start.
    fn trim(&self, log: LogId, before: Offset) -> impl Future<Output = Result<Offset, TrimError>>;

    /// Counts since the engine was made.
    fn counters(&self) -> &Counters;

    /// Makes everything appended durable (for an engine that can), trims the last segments to their length, writes clean marks and gives the
    /// directory free. An engine that is dropped instead has crashed; what it had on its way (a seal, say) may hold the directory until its
    /// shard ends.
    fn close(self) -> impl Future<Output = Result<(), CommitError>>;
}
