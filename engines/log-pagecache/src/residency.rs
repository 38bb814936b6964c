//! Whether a range of a file is in the page cache. The only file of this crate with `unsafe`: `cachestat(2)` has no wrapper yet.

use std::{fs::File, io, ops::Range, os::fd::AsRawFd};

/// The number of `cachestat(2)`, the same on every architecture (Linux 6.5).
const SYS_CACHESTAT: libc::c_long = 451;

#[repr(C)]
struct CacheStatRange {
    offset: u64,
    bytes: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

const PAGE_BYTES: u64 = 4096;

/// All pages of the range are cached, so that a `sendfile` of it will not wait for the device. One system call. `false` where the kernel
/// cannot say (before Linux 6.5): such a range is read through the ring first.
pub(crate) fn resident(file: &File, range: &Range<u64>) -> bool {
    let start = range.start / PAGE_BYTES * PAGE_BYTES;
    let pages = (range.end - start).div_ceil(PAGE_BYTES);
    let asked = CacheStatRange { offset: start, bytes: pages * PAGE_BYTES };
    cachestat(file, &asked).is_ok_and(|answer| answer.cached >= pages)
}

fn cachestat(file: &File, asked: &CacheStatRange) -> io::Result<CacheStat> {
    let mut answer = CacheStat::default();
    // SAFETY: both structures are those of the system call's ABI and live for its duration; the kernel writes only the second.
    let outcome = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const *asked, &raw mut answer, 0) };
    if outcome == 0 { Ok(answer) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_just_written_is_resident_and_a_hole_is_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        file.set_len(1 << 20).unwrap();
        let whole = CacheStatRange { offset: 0, bytes: 1 << 20 };
        if cachestat(&file, &whole).is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS)) {
            println!("skipped: this kernel has no cachestat");
            return;
        }
        assert!(resident(&file, &(100..10_000)));
        assert!(!resident(&file, &(100..1 << 20)));
    }
}
