//! The directory that is measured: whether it can be, and the files in it. A file's name goes as soon as it is open, so that nothing is
//! left behind, however the command ends.

use crate::config::Usage;
use crate::cost::machine::{Mount, free_bytes};
use anyhow::{Context, bail};
use broker::EngineKind;
use log_api::Availability;
use log_segment::Aligned;
use rustix::fs::{FallocateFlags, OFlags};
use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Room that is left to others.
const MARGIN_BYTES: u64 = 64 << 20;
/// Bytes of one write of zeros.
const ZERO_BYTES: usize = 1 << 20;

/// A directory on a disk, with room for what is measured.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// Looks at `dir`, in which `needed` bytes will be written.
    ///
    /// # Errors
    /// One message for a directory that is missing, in memory, read-only, without O_DIRECT, or too full.
    pub fn new(dir: &Path, needed: u64) -> anyhow::Result<Self> {
        let shown = dir.display();
        if !dir.exists() {
            return Err(Usage::from_error(format!(
                "--dir {shown}: no such directory; name one on the disk to measure"
            )));
        }
        if !dir.is_dir() {
            return Err(Usage::from_error(format!("--dir {shown}: is a file where a directory is needed")));
        }
        if Mount::of(dir).is_some_and(|mount| mount.is_memory()) {
            bail!("{shown} is in memory (tmpfs): there is no disk to measure; name a directory on one with --dir");
        }
        // The direct engine's own question answers for much: writable, O_DIRECT, io_uring, locked memory.
        if let Availability::Unavailable(why) = EngineKind::Direct.availability(dir) {
            bail!("{why}");
        }
        let free = free_bytes(dir).unwrap_or(u64::MAX);
        if free < needed + MARGIN_BYTES {
            bail!(
                "{shown} has {} MiB free and {} MiB are needed: make room, or name another directory with --dir",
                free >> 20,
                (needed + MARGIN_BYTES) >> 20
            );
        }
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A new file without a name.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn file(&self, name: &str) -> anyhow::Result<File> {
        let path = self.dir.join(format!(".highwater-calibrate-{name}-{}", std::process::id()));
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = made.with_context(|| format!("make a file in {}", self.dir.display()))?;
        std::fs::remove_file(&path).with_context(|| format!("remove the name {}", path.display()))?;
        Ok(file)
    }

    /// A new file of allocated space, as the page-cache engine's segments are without flushes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn allocated(&self, name: &str, bytes: u64) -> anyhow::Result<File> {
        let file = self.file(name)?;
        allocate(&file, bytes).with_context(|| format!("allocate {} MiB in {}", bytes >> 20, self.dir.display()))?;
        Ok(file)
    }

    /// A new file of zeros on the device, as segments for durable logs are.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn zeroed(&self, name: &str, bytes: u64) -> anyhow::Result<File> {
        let file = self.allocated(name, bytes)?;
        self.zero(&file, bytes)?;
        Ok(file)
    }

    /// The same with a name, for another program; whoever asks removes it. Its bytes.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn named_zeroed(&self, path: &Path, bytes: u64) -> anyhow::Result<u64> {
        let made = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = made.with_context(|| format!("make a file in {}", self.dir.display()))?;
        allocate(&file, bytes).with_context(|| format!("allocate {} MiB in {}", bytes >> 20, self.dir.display()))?;
        self.zero(&file, bytes)?;
        Ok(bytes)
    }

    fn zero(&self, file: &File, bytes: u64) -> anyhow::Result<()> {
        zero(file, bytes).with_context(|| format!("write {} MiB of zeros in {}", bytes >> 20, self.dir.display()))
    }
}

/// Gives a file `bytes` of space, all of it unwritten.
///
/// # Errors
/// There is no space.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(0)?;
    Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)?)
}

/// Writes `from` over and over until `bytes`, a multiple of its length, are in the page cache: the kernel, or the machine's host, may have taken
/// back what lay idle.
///
/// # Errors
/// A write fails.
pub fn bring_in(file: &File, from: &[u8], bytes: u64) -> io::Result<()> {
    (0..bytes).step_by(from.len()).try_for_each(|at| file.write_all_at(from, at))
}

fn zero(file: &File, bytes: u64) -> io::Result<()> {
    let direct = reopen_direct(file)?;
    // As the engines write theirs: a virtual disk may stay slow at what was first written from small pages.
    let zeros = Aligned::new(ZERO_BYTES)?;
    for at in (0..bytes).step_by(ZERO_BYTES) {
        direct.write_all_at(&zeros.bytes()[..ZERO_BYTES.min((bytes - at) as usize)], at)?;
    }
    direct.sync_all()
}

/// A second descriptor of a file, past the page cache.
///
/// # Errors
/// The file system has no O_DIRECT.
pub fn reopen_direct(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A directory on the disk of the build: `/tmp` may be in memory.
    pub(in crate::calibrate) fn on_disk() -> tempfile::TempDir {
        let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("tmp");
        std::fs::create_dir_all(&target).unwrap();
        tempfile::tempdir_in(target).unwrap()
    }

    #[test]
    fn files_have_their_bytes_and_no_name() {
        let dir = on_disk();
        let place = Place::new(dir.path(), 1 << 20).unwrap();
        let allocated = place.allocated("a", 1 << 20).unwrap();
        let zeroed = place.zeroed("b", 3 << 20).unwrap();
        assert_eq!((allocated.metadata().unwrap().len(), zeroed.metadata().unwrap().len()), (1 << 20, 3 << 20));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_place_that_cannot_be_measured_is_refused_in_one_line_and_left_as_it_was() {
        let dir = on_disk();
        let refused = |dir: &Path, needed| format!("{:#}", Place::new(dir, needed).unwrap_err());
        let missing = refused(&dir.path().join("missing"), 0);
        assert!(missing.contains("no such directory"), "{missing}");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(refused(&file, 0).contains("is a file"));
        let full = refused(dir.path(), 1 << 60);
        assert!(full.contains("MiB free and") && full.contains("make room"), "{full}");
        let unwritable = refused(Path::new("/proc/self"), 0);
        assert!(unwritable.contains("/proc/self"), "{unwritable}");
        if Mount::of(Path::new("/dev/shm")).is_some_and(|mount| mount.is_memory()) {
            assert!(refused(Path::new("/dev/shm"), 0).contains("no disk to measure"));
        }
        for message in [missing, full, unwritable] {
            assert!(!message.contains('\n'), "{message}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
