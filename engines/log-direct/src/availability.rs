//! Whether this machine lets this directory be written past the page cache through io_uring, found out by doing it once:
//! a fixed file, a registered buffer, one aligned `RWF_DSYNC` write. What it never does: change anything that stays.

use io_uring::{IoUring, opcode, types};
use log_api::Availability;
use rustix::{
    fs::{AtFlags, Mode, OFlags, StatxFlags},
    io::Errno,
};
use shard_ring::{Block, Slab};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::PAGE_BYTES;

/// `f_type` of tmpfs and ramfs: both accept O_DIRECT since Linux 6.6 and keep the bytes in memory all the same.
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// The smallest slab that makes registered buffers worth the name.
const REGISTERED_BYTES_MIN: usize = 64 << 10;

/// The directory's answer, with what to change when it is no.
pub(crate) fn availability(dir: &Path) -> Availability {
    match attempt(dir) {
        Ok(()) => Availability::Available,
        Err(reason) => Availability::Unavailable(reason),
    }
}

fn attempt(dir: &Path) -> Result<(), String> {
    let place = existing_ancestor(dir);
    let shown = place.display();
    let kind = rustix::fs::statfs(&place).map_err(|error| format!("{shown} cannot be examined: {error}"))?.f_type;
    #[allow(clippy::unnecessary_cast, reason = "the width of f_type differs between architectures")]
    let kind = kind as i64;
    if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
        return Err(format!(
            "{shown} is in memory (tmpfs), where O_DIRECT reaches no device: choose a directory on a disk"
        ));
    }
    let scratch = Scratch::create(&place)?;
    direct_alignment(&scratch.file, &place)?;

    let slab = Slab::new(REGISTERED_BYTES_MIN, 1).map_err(|error| format!("no memory for a buffer: {error}"))?;
    let block = slab.take().expect("a new slab of one block has one free block");
    block.append_with(PAGE_BYTES as usize, |bytes| bytes.fill(0));
    let page = block.slice(0..PAGE_BYTES as usize);
    rustix::io::pwrite(&scratch.file, page.as_ref(), 0).map_err(|error| match error {
        Errno::NOSPC => format!("no space left in {shown}: make room"),
        Errno::INVAL => {
            format!("{shown} refuses aligned O_DIRECT writes: choose a file system that supports them (ext4, xfs)")
        }
        other => format!("an O_DIRECT write in {shown} fails: {other}"),
    })?;
    ring_write(&scratch.file, &block, &place)
}

/// A directory that the engine would make does not exist yet: the one it would be made in answers for it.
fn existing_ancestor(dir: &Path) -> PathBuf {
    let mut place = dir;
    while !place.is_dir() {
        match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => place = parent,
            _ => return PathBuf::from(if place.is_absolute() { "/" } else { "." }),
        }
    }
    place.to_path_buf()
}

/// A file of this attempt alone, removed with it.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn create(place: &Path) -> Result<Self, String> {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        let attempt = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!(".highwater-direct-{}-{attempt}", process::id()));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { path, file: File::from(file) }),
            Err(Errno::INVAL) => {
                // The file system makes the file before it refuses the flag.
                let _ = std::fs::remove_file(&path);
                Err(format!(
                    "the file system of {} does not support O_DIRECT: choose a directory on ext4 or xfs",
                    place.display()
                ))
            }
            Err(error) => {
                Err(format!("no file can be made in {}: {error}: check that it can be written", place.display()))
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may be gone already when the directory was removed meanwhile; there is nobody to tell.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What `statx` says of direct I/O on an open file: alignment of memory and of offsets in bytes; None on kernels and file systems that
/// do not say.
pub(crate) fn dio_alignment(file: impl AsFd) -> Option<(u32, u32)> {
    let answer = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    (answer.stx_mask & StatxFlags::DIOALIGN.bits() != 0)
        .then_some((answer.stx_dio_mem_align, answer.stx_dio_offset_align))
}

fn direct_alignment(file: &File, place: &Path) -> Result<(), String> {
    match dio_alignment(file) {
        Some((0, _) | (_, 0)) => {
            Err(format!("{} does not do direct I/O (statx says so): choose another file system", place.display()))
        }
        Some((memory, offset)) if u64::from(memory.max(offset)) > PAGE_BYTES => Err(format!(
            "direct I/O in {} needs an alignment of {} bytes, and this engine writes pages of {PAGE_BYTES}",
            place.display(),
            memory.max(offset)
        )),
        _ => Ok(()),
    }
}

/// The mechanism once, whole: ring, fixed file, registered buffer, synchronous direct write.
fn ring_write(file: &File, block: &Block, place: &Path) -> Result<(), String> {
    let mut ring: IoUring =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(4).map_err(|e| setup_refusal(&e))?;
    let page = block.slice(0..PAGE_BYTES as usize);
    let bytes: &[u8] = page.as_ref();
    let registered = [libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
    // SAFETY: the iovec names the block's bytes, which `page` keeps alive until after the ring is dropped below; the kernel only reads them.
    unsafe { ring.submitter().register_buffers(&registered) }.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOMEM) => format!(
            "locked memory is limited to {}, too little for a registered buffer: raise RLIMIT_MEMLOCK (ulimit -l) to 8 MiB",
            memlock_limit()
        ),
        _ => format!("io_uring refuses to register a buffer: {error}"),
    })?;
    ring.submitter()
        .register_files(&[file.as_raw_fd()])
        .map_err(|error| format!("io_uring refuses to register a file: {error}"))?;
    let entry = opcode::WriteFixed::new(types::Fixed(0), bytes.as_ptr(), PAGE_BYTES as u32, 0)
        .rw_flags(libc::RWF_DSYNC)
        .build();
    // SAFETY: the buffer outlives the operation: its completion is awaited before anything here is dropped.
    unsafe { ring.submission().push(&entry) }.expect("an empty ring of four entries takes one");
    ring.submit_and_wait(1).map_err(|error| format!("io_uring does not run an operation: {error}"))?;
    let answer = ring.completion().next().map(|completion| completion.result());
    drop(ring);
    match answer {
        Some(count) if count == PAGE_BYTES as i32 => Ok(()),
        Some(code) if code < 0 => Err(format!(
            "a synchronous direct write through io_uring in {} fails: {}",
            place.display(),
            io::Error::from_raw_os_error(-code)
        )),
        other => {
            Err(format!("a direct write through io_uring in {} came back short ({other:?} bytes)", place.display()))
        }
    }
}

fn setup_refusal(error: &io::Error) -> String {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match (error.raw_os_error(), setting.trim()) {
        (Some(libc::EPERM), "2") => "io_uring is disabled on this machine: sysctl kernel.io_uring_disabled=0".to_owned(),
        (Some(libc::EPERM), "1") => {
            "io_uring is kept to a group here: sysctl kernel.io_uring_disabled=0, or join the group of kernel.io_uring_group".to_owned()
        }
        (Some(libc::EPERM), _) => "io_uring_setup is refused, probably by a seccomp profile: allow the io_uring system calls".to_owned(),
        (Some(libc::ENOSYS), _) => "this kernel has no io_uring, or a seccomp profile hides it: Linux 6.1 or newer is needed".to_owned(),
        (Some(libc::EINVAL), _) => "this kernel's io_uring lacks deferred task running: Linux 6.1 or newer is needed".to_owned(),
        (Some(libc::ENOMEM), _) => format!(
            "locked memory is limited to {}, too little for a ring: raise RLIMIT_MEMLOCK (ulimit -l) to 8 MiB",
            memlock_limit()
        ),
        _ => format!("io_uring cannot be set up: {error}"),
    }
}

fn memlock_limit() -> String {
    match rustix::process::getrlimit(rustix::process::Resource::Memlock).current {
        Some(bytes) => format!("{} KiB", bytes >> 10),
        None => "nothing by RLIMIT_MEMLOCK".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused_with_what_to_change() {
        let Ok(dir) = tempfile::Builder::new().tempdir_in("/dev/shm") else { return };
        match availability(dir.path()) {
            Availability::Unavailable(reason) => assert!(reason.contains("choose a directory on a disk"), "{reason}"),
            Availability::Available => panic!("tmpfs has no device"),
        }
    }

    #[test]
    fn nothing_stays_behind_and_a_missing_directory_is_answered_by_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let there = availability(dir.path());
        let missing = availability(&dir.path().join("a/b"));
        assert_eq!(there, missing);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        match availability(Path::new("/proc/self")) {
            Availability::Unavailable(reason) => assert!(reason.contains("/proc/self"), "{reason}"),
            Availability::Available => panic!("/proc takes no files"),
        }
    }
}
