//! The log's files as anybody else sees them: named by first offset, batch after batch, then zeros or nothing. Where partitions share a
//! log, its files are named by their first byte, and a frame before each batch says whose it is.

use crate::contents::{Found, batches_of};
use log_api::{Epoch, Framing, LogId, Offset};
use log_format::{FRAME_BYTES, FRAME_HEAD_BYTES, assign, frame, peek, peek_entry, peek_frame};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A segment file, read by ordinary means.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Where it is.
    pub path: PathBuf,
    /// The log's first offset in it: what its name says, where the log is its own.
    pub base: Offset,
    /// Whose batches are meant.
    pub log: LogId,
    /// What it is made of.
    pub framing: Framing,
    /// The whole file.
    pub bytes: Vec<u8>,
}

impl SegmentFile {
    /// The segments of a log in offset order; none if it has no folder.
    ///
    /// # Panics
    /// If a file cannot be read.
    #[must_use]
    pub fn all(dir: &Path, log: LogId) -> Vec<Self> {
        let framing = Self::framing_of(dir);
        let folder = dir.join(format!("{:05}", if framing == Framing::Framed { 0 } else { log.0 }));
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut found: Vec<Self> = entries
            .filter_map(|entry| {
                let path = entry.expect("an entry of the log's folder").path();
                let name = path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned();
                let base = Offset(name.parse().ok().filter(|_| name.len() == 20)?);
                let bytes = fs::read(&path).expect("a segment file can be read");
                Some(Self { path, base, bytes, log, framing })
            })
            .collect();
        found.sort_by_key(|segment| segment.base);
        if framing == Framing::Framed {
            for segment in &mut found {
                let first = segment.batches().ok().and_then(|batches| batches.first().map(|batch| batch.base));
                segment.base = first.unwrap_or(segment.base);
            }
        }
        found
    }

    /// What the logs of a directory are made of: one with a `layout` file holds shared ones, all partitions in the first.
    #[must_use]
    pub fn framing_of(dir: &Path) -> Framing {
        if dir.join("layout").exists() { Framing::Framed } else { Framing::Bare }
    }

    /// Bytes that stand before each batch in the logs of a directory.
    #[must_use]
    pub fn frame_bytes(dir: &Path) -> usize {
        if Self::framing_of(dir) == Framing::Framed { FRAME_BYTES } else { 0 }
    }

    /// The same segment with other bytes, as the device has them perhaps.
    #[must_use]
    pub fn with_bytes(&self, bytes: Vec<u8>) -> Self {
        Self { bytes, ..self.clone() }
    }

    /// The batch as an entry that claims to stand at byte `at` of the log, written by incarnation `epoch`. Only a frame says so; the
    /// offset of a bare batch is all that it has.
    #[must_use]
    pub fn entry(&self, batch: &[u8], at: u64, epoch: Epoch) -> Vec<u8> {
        if self.framing == Framing::Bare {
            return batch.to_vec();
        }
        let header = peek(batch).ok().flatten().expect("a batch with a header");
        let base = header.offset().expect("a batch with an offset");
        let mut head = frame(batch, self.log.0, base, header.epoch().expect("a batch with an epoch"));
        assign(&mut head, Offset(at), epoch);
        [&head, &batch[FRAME_HEAD_BYTES - FRAME_BYTES..]].concat()
    }

    /// Byte of the log after its last entry, where offsets count bytes.
    ///
    /// # Panics
    /// If the file has no number for a name.
    #[must_use]
    pub fn end_byte(&self) -> u64 {
        let name = self.path.file_stem().and_then(|name| name.to_str()).expect("a segment has a name");
        name.parse::<u64>().expect("a segment's name is a number") + self.length() as u64
    }

    /// Start and end of each entry, up to the first length of zero or what is no entry.
    fn entries(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let entry = peek_entry(self.framing, &self.bytes[at..]).ok()??;
            let start = at;
            at = usize::try_from(entry.bytes).ok().and_then(|bytes| at.checked_add(bytes))?;
            (at <= self.bytes.len()).then_some((start, at))
        })
    }

    /// The entries of the log itself.
    fn own_entries(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.entries().filter(|&(start, _)| match self.framing {
            Framing::Bare => true,
            Framing::Framed => {
                peek_frame(&self.bytes[start..]).is_ok_and(|frame| frame.is_some_and(|f| f.partition == self.log.0))
            }
        })
    }

    /// Its batches, up to the first length of zero.
    ///
    /// # Errors
    /// In words, what is no batch.
    pub fn batches(&self) -> Result<Vec<Found>, String> {
        let frame_bytes = if self.framing == Framing::Framed { FRAME_BYTES } else { 0 };
        let batches: Vec<u8> =
            self.own_entries().flat_map(|(start, end)| &self.bytes[start + frame_bytes..end]).copied().collect();
        batches_of(&batches)
    }

    /// Bytes that entries take by their length fields.
    #[must_use]
    pub fn length(&self) -> usize {
        self.entries().last().map_or(0, |(_, end)| end)
    }

    /// Byte at which the entry starts that holds the batch with the number `nth`.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn position_of(&self, nth: usize) -> usize {
        let start = self.own_entries().nth(nth).map(|(start, _)| start);
        start.or_else(|| (self.own_entries().count() == nth).then(|| self.length())).expect("so many batches")
    }

    /// Writes `bytes` at `position`, as a stranger with an ordinary file would, down to the device.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn overwrite(&self, position: usize, bytes: &[u8]) {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&self.path).expect("the segment can be written");
        file.write_all_at(bytes, position as u64).expect("written");
        file.sync_all().expect("on the device");
    }
}
