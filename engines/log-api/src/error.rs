//! One small error enum an operation. No engine retries a failed flush: after one, a log is poisoned until it is opened again.

use crate::{LogId, Offset};
use std::{io, path::PathBuf};

/// Bytes that are not what was written: refused, never cut, never skipped.
#[derive(Debug, thiserror::Error)]
#[error("damage in {} at byte {position}: {what}", segment.display())]
pub struct Damage {
    /// The segment file.
    pub segment: PathBuf,
    /// Byte of the segment at which the bad batch starts.
    pub position: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// See [`Damage`]. Nothing on disk was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Another process has the directory.
    #[error("{} is in use by another process", .0.display())]
    Held(PathBuf),
    /// The directory was made with another layout. Nothing was changed.
    #[error("{} was made with --layout {made_with}, not with --layout {asked}", dir.display())]
    Layout {
        /// The data directory.
        dir: PathBuf,
        /// Its layout, in the words of the command line.
        made_with: String,
        /// The layout that was asked for.
        asked: String,
    },
    /// No room for the files of an open log. Nothing that was there is harmed.
    #[error("no space left in {}: an open log needs {needed} bytes", dir.display())]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// Bytes of the segments that the log wanted to prepare.
        needed: u64,
    },
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was done: "open", "read", …
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why nothing was appended. Nothing was written, no offset was used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The engine's buffers are full of bytes on their way: await [`crate::LogEngine::room`].
    #[error("the engine has no room until bytes in flight have been written")]
    Busy,
    /// The disk is full. Reads go on; appends resume when there is room.
    #[error("no space left for the next segment")]
    Full,
    /// A write or a flush failed: the log acknowledges nothing more until it is opened again.
    #[error("the log is poisoned by a failed write: open it again")]
    Poisoned,
    /// Larger than a segment, or than what may be in flight.
    #[error("{bytes} bytes in one append: at most {bytes_max} fit")]
    TooLarge {
        /// Bytes of the batches together.
        bytes: u64,
        /// Bytes that an append may have: the smaller of a segment and of what may be in flight.
        bytes_max: u64,
    },
    /// The log was never opened.
    #[error("{0} is not open")]
    NotOpen(LogId),
}

/// Why a commit failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A write, write-back or flush failed, now or earlier; `what` is the first failure.
    #[error("the log is poisoned: {what}")]
    Poisoned {
        /// The first failure, in words.
        what: String,
    },
    /// The log was never opened.
    #[error("a group that is not open")]
    NotOpen,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset lies before the log's start (trimmed) or after its end.
    #[error("offset {asked} is outside {start}..{end}")]
    OutOfRange {
        /// The offset asked for.
        asked: Offset,
        /// The log's first offset.
        start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// See [`Damage`].
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The device failed.
    #[error("read: {0}")]
    Io(#[from] io::Error),
    /// The log was never opened.
    #[error("{0} is not open")]
    NotOpen(LogId),
    /// The engine keeps nothing.
    #[error("this engine keeps nothing to read")]
    Unreadable,
}

/// Why a trim failed.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// The directory could not be changed.
    #[error("trim: {0}")]
    Io(#[from] io::Error),
    /// The log was never opened.
    #[error("{0} is not open")]
    NotOpen(LogId),
}
