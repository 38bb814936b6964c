//! What can be measured: one value a ceiling, its name in words, its unit.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One ceiling. In JSON a `case` with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "case", rename_all = "snake_case")]
pub enum Case {
    /// Copying blocks that are in the processor's cache to memory that is not.
    MemoryCopy {
        /// Bytes of one copy.
        block_bytes: u64,
    },
    /// CRC-32C, by the library of the engines, of a block that is in the cache.
    Crc32c {
        /// Bytes of one checksum.
        block_bytes: u64,
    },
    /// Copying into a shared mapping whose pages were populated for writing.
    MappedWrite {
        /// Bytes of one copy.
        block_bytes: u64,
        /// The block is checksummed before it is copied.
        crc: bool,
    },
    /// `pwrite` into a segment prepared as the page-cache engine prepares it (fallocated).
    BufferedWrite {
        /// Bytes of one write.
        block_bytes: u64,
        /// Whether the pages are in the page cache already.
        pages: Pages,
    },
    /// `pwritev2` with RWF_DSYNC, in order, into a zero-filled segment.
    BufferedDsync {
        /// Bytes of one write.
        block_bytes: u64,
    },
    /// O_DIRECT write by a bare ring, in order, over a zero-filled file.
    DirectWrite {
        /// Bytes of one write.
        block_bytes: u64,
        /// Writes in flight.
        depth: u32,
        /// Whether a completion means stable storage.
        sync: Sync,
    },
    /// O_DIRECT read by a bare ring, in order.
    DirectRead {
        /// Bytes of one read.
        block_bytes: u64,
        /// Reads in flight.
        depth: u32,
    },
    /// A 4 KiB overwrite and fdatasync.
    Flush,
    /// Requests of 1,100 bytes and answers of 60 on loopback, one in flight a connection, a bare ring at both ends.
    Echo {
        /// Connections.
        connections: u32,
    },
    /// Bytes over one loopback connection to a receiver that copies them out with a bare ring.
    Transfer {
        /// Bytes of one send.
        block_bytes: u64,
        /// How they are sent.
        path: Path,
    },
}

/// Where the pages of a buffered write are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pages {
    /// Not in the page cache: each is allocated by the write.
    Fresh,
    /// In the page cache, dirty.
    Hot,
}

/// What a write's completion means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// Handed to the device.
    None,
    /// RWF_DSYNC: on stable storage.
    Dsync,
}

/// How bytes get into a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// Ring SEND from memory.
    Send,
    /// Ring SEND_ZC from a registered buffer.
    SendZc,
    /// `sendfile(2)` from a file in the page cache.
    Sendfile,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Bytes a second.
    #[serde(rename = "bytes/s")]
    BytesPerS,
    /// Operations a second: flushes, answers.
    #[serde(rename = "operations/s")]
    OperationsPerS,
}

impl Unit {
    /// Behind a number in a table: `B/s`, `/s`.
    #[must_use]
    pub fn short(self) -> &'static str {
        match self {
            Self::BytesPerS => "B/s",
            Self::OperationsPerS => "/s",
        }
    }
}

/// Block sizes of the device and of buffered writes.
pub const BLOCKS: [u64; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Operations in flight on the device.
pub const DEPTHS: [u32; 3] = [1, 4, 8];
/// Block sizes of what only the processor does.
const MEMORY_BLOCKS: [u64; 3] = [1 << 10, 64 << 10, 1 << 20];
/// Connections of the echo.
const CONNECTIONS: [u32; 3] = [1, 8, 64];

impl Case {
    /// All that `highwater calibrate` measures, in the order of its table.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        all.extend(MEMORY_BLOCKS.map(|block_bytes| Self::MemoryCopy { block_bytes }));
        all.extend(MEMORY_BLOCKS.map(|block_bytes| Self::Crc32c { block_bytes }));
        for crc in [false, true] {
            all.extend(MEMORY_BLOCKS.map(|block_bytes| Self::MappedWrite { block_bytes, crc }));
        }
        for pages in [Pages::Fresh, Pages::Hot] {
            let sizes = std::iter::once(1 << 10).chain(BLOCKS);
            all.extend(sizes.map(|block_bytes| Self::BufferedWrite { block_bytes, pages }));
        }
        all.extend(Self::of_the_device());
        all.push(Self::Flush);
        all.extend(CONNECTIONS.map(|connections| Self::Echo { connections }));
        all.extend(
            [Path::Send, Path::SendZc, Path::Sendfile].map(|path| Self::Transfer { block_bytes: 1 << 20, path }),
        );
        all
    }

    /// Those that wait for the device at each operation, which fio can measure as well.
    #[must_use]
    pub fn of_the_device() -> Vec<Self> {
        let mut all: Vec<Self> = BLOCKS.map(|block_bytes| Self::BufferedDsync { block_bytes }).into();
        for sync in [Sync::None, Sync::Dsync] {
            for depth in DEPTHS {
                all.extend(BLOCKS.map(|block_bytes| Self::DirectWrite { block_bytes, depth, sync }));
            }
        }
        for depth in DEPTHS {
            all.extend(BLOCKS.map(|block_bytes| Self::DirectRead { block_bytes, depth }));
        }
        all
    }

    /// Bytes of one operation, where that is a choice.
    #[must_use]
    pub fn block_bytes(self) -> Option<u64> {
        match self {
            Self::MemoryCopy { block_bytes }
            | Self::Crc32c { block_bytes }
            | Self::MappedWrite { block_bytes, .. }
            | Self::BufferedWrite { block_bytes, .. }
            | Self::BufferedDsync { block_bytes }
            | Self::DirectWrite { block_bytes, .. }
            | Self::DirectRead { block_bytes, .. }
            | Self::Transfer { block_bytes, .. } => Some(block_bytes),
            Self::Flush | Self::Echo { .. } => None,
        }
    }

    /// The same mechanism with another block size; itself where there is none.
    #[must_use]
    pub fn with_block(self, block_bytes: u64) -> Self {
        match self {
            Self::MemoryCopy { .. } => Self::MemoryCopy { block_bytes },
            Self::Crc32c { .. } => Self::Crc32c { block_bytes },
            Self::MappedWrite { crc, .. } => Self::MappedWrite { block_bytes, crc },
            Self::BufferedWrite { pages, .. } => Self::BufferedWrite { block_bytes, pages },
            Self::BufferedDsync { .. } => Self::BufferedDsync { block_bytes },
            Self::DirectWrite { depth, sync, .. } => Self::DirectWrite { block_bytes, depth, sync },
            Self::DirectRead { depth, .. } => Self::DirectRead { block_bytes, depth },
            Self::Transfer { path, .. } => Self::Transfer { block_bytes, path },
            Self::Flush | Self::Echo { .. } => self,
        }
    }

    /// What its figure counts.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Flush | Self::Echo { .. } => Unit::OperationsPerS,
            _ => Unit::BytesPerS,
        }
    }

    /// The mechanism without the block size: the label of a row of the table.
    #[must_use]
    pub fn mechanism(self) -> String {
        match self {
            Self::MemoryCopy { .. } => "memory copy".to_owned(),
            Self::Crc32c { .. } => "CRC-32C".to_owned(),
            Self::MappedWrite { crc: false, .. } => "mapped write".to_owned(),
            Self::MappedWrite { crc: true, .. } => "mapped write + CRC".to_owned(),
            Self::BufferedWrite { pages: Pages::Fresh, .. } => "buffered, fresh pages".to_owned(),
            Self::BufferedWrite { pages: Pages::Hot, .. } => "buffered, hot pages".to_owned(),
            Self::BufferedDsync { .. } => "buffered DSYNC".to_owned(),
            Self::DirectWrite { depth, sync: Sync::None, .. } => format!("direct write ×{depth}"),
            Self::DirectWrite { depth, sync: Sync::Dsync, .. } => format!("direct DSYNC ×{depth}"),
            Self::DirectRead { depth, .. } => format!("direct read ×{depth}"),
            Self::Flush => "bare flush, 4 KiB".to_owned(),
            Self::Echo { connections: 1 } => "loopback echo, 1 connection".to_owned(),
            Self::Echo { connections } => format!("loopback echo, {connections} connections"),
            Self::Transfer { path: Path::Send, .. } => "loopback send".to_owned(),
            Self::Transfer { path: Path::SendZc, .. } => "loopback SEND_ZC, registered".to_owned(),
            Self::Transfer { path: Path::Sendfile, .. } => "loopback sendfile, hot".to_owned(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block_bytes() {
            Some(bytes) => write!(f, "{}, {}", self.mechanism(), block(bytes)),
            None => f.write_str(&self.mechanism()),
        }
    }
}

/// A block size as people name it: `4 KiB`, `1 MiB`.
#[must_use]
pub fn block(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => crate::summary::format::bytes(bytes as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_case_is_measured_once_and_has_a_name_of_its_own() {
        let all = Case::all();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(all.iter().map(Case::to_string).collect::<HashSet<_>>().len(), all.len());
        assert!(Case::of_the_device().iter().all(|case| all.contains(case)));
    }

    #[test]
    fn only_the_block_changes_with_the_block() {
        for case in Case::all() {
            let other = case.with_block(12_345);
            assert_eq!(case.mechanism(), other.mechanism());
            assert_eq!(other.with_block(case.block_bytes().unwrap_or(0)), case);
        }
    }
}
