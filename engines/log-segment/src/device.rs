//! Reads what the device holds, which after a failed flush is not what the page cache shows.

use crate::{
    aligned::{Aligned, BLOCK_BYTES},
    files::open_direct,
};
use rustix::fs::Advice;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// Bytes read at once when nothing larger is asked for.
const WINDOW_BYTES: usize = 1 << 20;

/// Errors of earlier write-backs that are taken off a file before it is read. Linux reports one failure up to twice (the error
/// itself, then EIO).
const OLD_ERRORS_MAX: u32 = 4;

/// A file read from the device, through one window that grows to the largest piece asked for.
#[derive(Debug)]
pub struct DeviceReader {
    file: File,
    bytes: u64,
    window: Aligned,
    window_at: u64,
    window_bytes: usize,
}

impl DeviceReader {
    /// Opens with O_DIRECT where the file system has it.
    ///
    /// Whatever an earlier life left dirty is given its way to the device first, and a failure of that is *dropped*: it belongs to
    /// writes that nobody will acknowledge any more, and what counts is only what is read afterwards, from the device. Without
    /// O_DIRECT the cached pages are dropped for the same reason.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_direct(OpenOptions::new().read(true), path)?;
        let mut errors = 0;
        while let Err(error) = file.sync_data() {
            errors += 1;
            if errors == OLD_ERRORS_MAX {
                return Err(error);
            }
        }
        // Also where O_DIRECT works: pages whose write-back failed are clean and wrong, and whoever reads or writes the file through
        // the cache afterwards must not meet them. A file system that lives in memory (tmpfs) ignores this.
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes, window: Aligned::new(BLOCK_BYTES)?, window_at: 0, window_bytes: 0 })
    }

    /// Length of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes from `at` on: `want` of them, fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system said; `UnexpectedEof` if the file became shorter meanwhile.
    pub fn get(&mut self, at: u64, want: usize) -> io::Result<&[u8]> {
        let want = want.min(usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(&[]);
        }
        let inside = at >= self.window_at && at + want as u64 <= self.window_at + self.window_bytes as u64;
        if !inside {
            self.fill(at, want)?;
        }
        let start = usize::try_from(at - self.window_at).expect("inside the window");
        let end = (start + want).min(self.window_bytes);
        Ok(&self.window.bytes()[start.min(end)..end])
    }

    fn fill(&mut self, at: u64, want: usize) -> io::Result<()> {
        let skipped = usize::try_from(at % BLOCK_BYTES as u64).expect("less than a block");
        let left = usize::try_from(self.bytes - (at - skipped as u64).min(self.bytes)).unwrap_or(usize::MAX);
        let needed = (skipped + want).max(WINDOW_BYTES.min(left)).next_multiple_of(BLOCK_BYTES);
        if self.window.len() < needed {
            self.window = Aligned::new(needed)?;
        }
        self.window_at = at - skipped as u64;
        self.window_bytes = 0;
        let into = &mut self.window.bytes_mut()[..needed];
        while self.window_bytes < needed && self.window_at + (self.window_bytes as u64) < self.bytes {
            match self.file.read_at(&mut into[self.window_bytes..], self.window_at + self.window_bytes as u64) {
                Ok(0) => break,
                Ok(read) => self.window_bytes += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.window_bytes < skipped + want {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_of_a_file_of_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [0usize, 1, 4095, 4096, 4097, 3_000_000] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let mut reader = DeviceReader::open(&path).unwrap();
            assert_eq!(reader.bytes(), length as u64);
            for at in [0, 1, 100, 4095, 4096, 5000, 1 << 20, 2_999_999, 2_999_000, 0] {
                for want in [0, 1, 61, 5000, 1_500_000, 4_000_000] {
                    let end = (at + want).min(length);
                    let expected = &bytes[at.min(end)..end];
                    assert!(reader.get(at as u64, want).unwrap() == expected, "{want} bytes at {at} of {length}");
                }
            }
        }
    }
}
