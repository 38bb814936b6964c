//! The file operations that change a log's folder, in one place, so that a test can stop a recovery between any two of them.

use crate::{
    Haste,
    aligned::{Aligned, BLOCK_BYTES},
};
use log_api::OpenError;
use rustix::fs::FallocateFlags;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Bytes of one write of zeros: larger ones gain nothing (`facts`: one operation is capped at 1 MiB).
pub(crate) const ZERO_BYTES: usize = 1 << 20;

/// Performs the operations that change a log's folder. [`Files::new`] just does them.
#[derive(Clone, Debug, Default)]
pub struct Files {
    left: Option<Arc<AtomicU64>>,
    /// Zeros are written in slices, with a rest after each.
    haste: Option<Haste>,
}

/// A file operation that failed: what was done, to which file, and what the system said.
#[derive(Debug)]
pub(crate) struct FileError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl FileError {
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        Self::Io { action: error.action, path: error.path, source: error.source }
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        Self::new(error.source.kind(), format!("{} {}: {}", error.action, error.path.display(), error.source))
    }
}

/// Names an operation's error.
pub(crate) fn naming<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { action, path: path.to_path_buf(), source }
}

type Done<T = ()> = Result<T, FileError>;

impl Files {
    /// The operations as they are.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For tests: does the first `operations` and fails every later one, as a process that dies there. A write of zeros counts
    /// once for each MiB.
    #[must_use]
    pub fn stopping_after(operations: u64) -> Self {
        Self { left: Some(Arc::new(AtomicU64::new(operations))), haste: None }
    }

    /// The operations as they are, but that writing zeros gives way to others.
    pub(crate) fn slowly(haste: &Haste) -> Self {
        Self { left: None, haste: Some(haste.clone()) }
    }

    fn step(&self) -> io::Result<()> {
        let Some(left) = &self.left else { return Ok(()) };
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::other("stopped here by a test")),
        }
    }

    /// Makes a folder and the folders above it; its entry is durable after the return.
    pub(crate) fn create_dir(&self, path: &Path) -> Done {
        self.step().and_then(|()| std::fs::create_dir_all(path)).map_err(naming("create directory", path))?;
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    /// Makes an empty file, or empties it.
    pub(crate) fn create(&self, path: &Path) -> Done<File> {
        self.step()
            .and_then(|()| OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path))
            .map_err(naming("create", path))
    }

    /// Gives a file `bytes` of allocated space, all that is new reading as zeros.
    pub(crate) fn allocate(&self, file: &File, path: &Path, bytes: u64) -> Done {
        self.step()
            .and_then(|()| Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)?))
            .map_err(naming("allocate", path))
    }

    /// Writes zeros from `from` to `to`, past the page cache where the file system allows it. `tail` is what stands between the start of
    /// `from`'s 4 KiB block and `from`; `to` is a multiple of 4 KiB. Not durable before a sync. Returns the bytes written.
    pub(crate) fn zero(&self, path: &Path, tail: &[u8], from: u64, to: u64) -> Done<u64> {
        let writer = open_direct(OpenOptions::new().write(true), path).map_err(naming("open", path))?;
        self.zero_by(writer, true, path, tail, from, to)
    }

    /// The same from the beginning of a file, but nothing if the file system does not allow it past the page cache: what is in there stays.
    fn zero_past_cache(&self, path: &Path, to: u64) -> Done<u64> {
        let writer = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(path);
        self.zero_by(writer.map_err(naming("open past the page cache", path))?, false, path, &[], 0, to)
    }

    /// `through_cache`: it may be done through the page cache where the writer's way is refused.
    fn zero_by(
        &self,
        mut writer: File,
        through_cache: bool,
        path: &Path,
        tail: &[u8],
        from: u64,
        to: u64,
    ) -> Done<u64> {
        let block = BLOCK_BYTES as u64;
        assert!(to.is_multiple_of(block) && from % block == tail.len() as u64, "whole blocks are written");
        let memory = |bytes| Aligned::new(bytes).map_err(naming("get memory to fill", path));
        let zeros = memory(ZERO_BYTES.min(usize::try_from(to.saturating_sub(from)).unwrap_or(ZERO_BYTES)))?;
        let mut at = from - tail.len() as u64;
        let started = at;
        if !tail.is_empty() {
            let mut first = memory(BLOCK_BYTES)?;
            first.bytes_mut()[..tail.len()].copy_from_slice(tail);
            self.write_blocks(&mut writer, through_cache, path, &first.bytes()[..BLOCK_BYTES], at)?;
            at += block;
        }
        while at < to {
            let begun = Instant::now();
            let bytes = ZERO_BYTES.min(usize::try_from(to - at).unwrap_or(ZERO_BYTES));
            self.write_blocks(&mut writer, through_cache, path, &zeros.bytes()[..bytes], at)?;
            at += bytes as u64;
            if let Some(haste) = &self.haste {
                haste.rest(begun);
            }
        }
        Ok(at - started)
    }

    fn write_blocks(&self, writer: &mut File, through_cache: bool, path: &Path, bytes: &[u8], at: u64) -> Done {
        let written = self.step().and_then(|()| writer.write_all_at(bytes, at)).or_else(|error| {
            if error.raw_os_error() != Some(libc::EINVAL) || !through_cache {
                return Err(error);
            }
            // A file system that opens with O_DIRECT and then refuses to write.
            *writer = OpenOptions::new().write(true).open(path)?;
            writer.write_all_at(bytes, at)
        });
        written.map_err(naming("write", path))
    }

    pub(crate) fn write_at(&self, file: &File, path: &Path, bytes: &[u8], at: u64) -> Done {
        self.step().and_then(|()| file.write_all_at(bytes, at)).map_err(naming("write", path))
    }

    pub(crate) fn set_len(&self, file: &File, path: &Path, bytes: u64) -> Done {
        self.step().and_then(|()| file.set_len(bytes)).map_err(naming("set the length of", path))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Done {
        self.step().and_then(|()| std::fs::rename(from, to)).map_err(naming("rename", from))
    }

    /// Unlinks a file; one that is not there is fine.
    pub(crate) fn unlink(&self, path: &Path) -> Done {
        match self.step().and_then(|()| std::fs::remove_file(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(naming("unlink", path)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn sync(&self, file: &File, path: &Path) -> Done {
        self.step().and_then(|()| file.sync_all()).map_err(naming("sync", path))
    }

    pub(crate) fn sync_data(&self, file: &File, path: &Path) -> Done {
        self.step().and_then(|()| file.sync_data()).map_err(naming("sync", path))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Done {
        self.step().and_then(|()| File::open(path)?.sync_all()).map_err(naming("sync directory", path))
    }

    /// Puts `bytes` in place of a small file, or leaves it as it was: a temporary file, synced, then renamed. The caller syncs the
    /// directory.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Done {
        let temporary = temporary_path(path);
        let file = self.create(&temporary)?;
        self.write_at(&file, &temporary, bytes, 0)?;
        self.sync(&file, &temporary)?;
        self.rename(&temporary, path)
    }

    /// Makes a segment file of zeros, durable but for its directory entry. `zeroed` writes them (a log that is written for durable
    /// acknowledgement: overwriting is then a plain write to the device), else the space is only allocated. Returns the bytes of
    /// zeros written. What a failure leaves behind is unlinked.
    pub(crate) fn make_segment(&self, path: &Path, bytes: u64, zeroed: bool) -> Done<u64> {
        let file = self.create(path)?;
        self.or_unlink(path, || {
            self.allocate(&file, path, bytes)?;
            let written = if zeroed { self.zero(path, &[], 0, bytes)? } else { 0 };
            self.sync(&file, path)?;
            Ok(written)
        })
    }

    /// Makes a segment file whose space is only allocated, and not durable yet.
    pub(crate) fn allocate_segment(&self, path: &Path, bytes: u64) -> Done<File> {
        let file = self.create(path)?;
        self.allocate(&file, path, bytes)?;
        Ok(file)
    }

    /// Makes a segment of zeros of one that was given up, and is called `path` by now. `zeroed` writes them, past the page cache: pages of it
    /// that are on their way to a receiver stay what they are; where that is not allowed it fails. Else the caller does. Returns the bytes of
    /// zeros written; otherwise as [`Files::make_segment`].
    pub(crate) fn remake_segment(&self, path: &Path, bytes: u64, zeroed: bool) -> Done<u64> {
        self.or_unlink(path, || {
            let file = OpenOptions::new().read(true).write(true).open(path).map_err(naming("open", path))?;
            self.allocate(&file, path, bytes)?;
            let written = if zeroed { self.zero_past_cache(path, bytes)? } else { 0 };
            self.sync(&file, path)?;
            Ok(written)
        })
    }

    /// Makes a segment that was given up, and is called `path` by now, as long as a new one, with zeros behind what it holds; durable but
    /// for its directory entry. The batches that it holds stay where they are. Returns the bytes of zeros written.
    pub(crate) fn refit_segment(&self, path: &Path, bytes: u64) -> Done<u64> {
        self.or_unlink(path, || {
            let file = OpenOptions::new().read(true).write(true).open(path).map_err(naming("open", path))?;
            let held = file.metadata().map_err(naming("look at", path))?.len().min(bytes);
            self.allocate(&file, path, bytes)?;
            // Stale bytes need no care: the last block that they reach into is cleared with the rest.
            let written = self.zero(path, &[], held - held % BLOCK_BYTES as u64, bytes)?;
            self.sync(&file, path)?;
            Ok(written)
        })
    }

    /// Does something to a file that is worth nothing if it fails.
    pub(crate) fn or_unlink<T>(&self, path: &Path, work: impl FnOnce() -> Done<T>) -> Done<T> {
        work().inspect_err(|_| {
            // The space goes back; if even this fails, the next open unlinks the file.
            let _ = self.unlink(path);
        })
    }
}

/// Where a side file is written before it is renamed.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}

pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Opens with O_DIRECT, or without where the file system refuses it (tmpfs).
pub(crate) fn open_direct(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match options.clone().custom_flags(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => options.open(path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_written_after_the_tail_and_nothing_before_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 3 * 4096]).unwrap();
        let written = Files::default().zero(&path, &[7; 100], 4096 + 100, 8 * 4096).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(written, 7 * 4096);
        assert_eq!(bytes.len(), 8 * 4096);
        assert!(bytes[..4196].iter().all(|&byte| byte == 7) && bytes[4196..].iter().all(|&byte| byte == 0));
    }

    /// A device without O_DIRECT stands for a file system without it.
    #[test]
    fn what_must_not_go_through_the_page_cache_does_not() {
        let null = Path::new("/dev/null");
        assert_eq!(Files::default().zero(null, &[], 0, 4096).unwrap(), 4096);
        let refused = Files::default().zero_past_cache(null, 4096).unwrap_err();
        assert_eq!(refused.source.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn stops_where_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for operations in 0..5 {
            let done = Files::stopping_after(operations).replace(&path, b"new");
            assert_eq!(done.is_ok(), operations >= 4, "{operations} operations");
            assert_eq!(path.exists(), operations >= 4);
        }
    }
}
