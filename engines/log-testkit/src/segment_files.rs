//! The log's files as anybody else sees them: named by first offset, batch after batch, then zeros or nothing.

use crate::contents::{Found, batches_of};
use log_api::{LogId, Offset};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A segment file, read by ordinary means.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Where it is.
    pub path: PathBuf,
    /// The offset in its name.
    pub base: Offset,
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
        let folder = dir.join(format!("{:05}", log.0));
        let entries = fs::read_dir(&folder).into_iter().flatten();
        let mut found: Vec<Self> = entries
            .filter_map(|entry| {
                let path = entry.expect("an entry of the log's folder").path();
                let name = path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned();
                let base = Offset(name.parse().ok().filter(|_| name.len() == 20)?);
                let bytes = fs::read(&path).expect("a segment file can be read");
                Some(Self { path, base, bytes })
            })
            .collect();
        found.sort_by_key(|segment| segment.base);
        found
    }

    /// Its batches, up to the first length of zero.
    ///
    /// # Errors
    /// In words, what is no batch.
    pub fn batches(&self) -> Result<Vec<Found>, String> {
        batches_of(&self.bytes[..self.length()])
    }

    /// Bytes that batches take by their length fields.
    #[must_use]
    pub fn length(&self) -> usize {
        let mut batches = log_format::iterate(&self.bytes);
        while let Some(Ok(_)) = batches.next() {}
        batches.position()
    }

    /// Byte at which the batch starts that has the number `nth`.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn position_of(&self, nth: usize) -> usize {
        let mut batches = log_format::iterate(&self.bytes);
        for _ in 0..nth {
            batches.next().expect("so many batches").expect("valid so far");
        }
        batches.position()
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
