//! The ceilings: what the mechanism does when nothing else is done. Same files, same memory, same core as the engines' runs.

use memmap2::{Advice, MmapMut, MmapOptions};
use rustix::{
    fs::FallocateFlags,
    io::{ReadWriteFlags, pwritev2},
};
use std::{
    fs::File,
    hint::black_box,
    io::IoSlice,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How a segment's space is made ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// fallocate: unwritten extents.
    Allocated,
    /// Zeros on the device, past the page cache.
    Zeroed,
}

/// A segment of `bytes` as `log-segment` makes it, durable.
pub(crate) fn segment(path: &Path, bytes: u64, space: Space) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("a fresh file");
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).expect("space");
    if space == Space::Zeroed {
        let direct = File::options().write(true).custom_flags(libc::O_DIRECT).open(path).expect("O_DIRECT");
        let zeros = MmapOptions::new().len(1 << 20).map_anon().expect("memory");
        for at in (0..bytes).step_by(1 << 20) {
            direct.write_all_at(&zeros, at).expect("zeros");
        }
    }
    file.sync_all().expect("a sync");
    file
}

/// Touches as much free memory as a run will take. A host that takes free memory back from a virtual machine (free page reporting of its
/// balloon) gives it again at a tenth of the speed, and that would be measured instead.
pub(crate) fn warm() {
    const WARM_BYTES: usize = 2 << 30;
    if let Ok(map) = MmapOptions::new().len(WARM_BYTES).map_anon() {
        map.advise(Advice::PopulateWrite).expect("memory");
    }
}

/// A mapping of the file in which no write faults.
pub(crate) fn populated(file: &File) -> MmapMut {
    // SAFETY: the file is a fresh one of this process, and nobody truncates it.
    let map = unsafe { MmapOptions::new().map_mut(file).expect("a mapping") };
    // Large pages where the file system has them: a ceiling takes what it can get.
    let _ = map.advise(Advice::HugePage);
    map.advise(Advice::PopulateWrite).expect("populated pages");
    map
}

/// Checks and copies batches into mappings until they are full.
pub(crate) fn copy_and_crc(batches: &[Vec<u8>], maps: &mut [MmapMut]) -> (u64, Duration) {
    let mut copied = 0;
    let started = Instant::now();
    for map in maps {
        let mut at = 0;
        for batch in batches.iter().cycle() {
            if batch.len() > map.len() - at {
                break;
            }
            log_format::verify(batch).expect("a batch");
            map[at..at + batch.len()].copy_from_slice(batch);
            at += batch.len();
        }
        copied += at as u64;
    }
    (copied, started.elapsed())
}

/// One checksum over memory that holds a log's tail, in pieces of a read's size.
pub(crate) fn crc(map: &[u8], piece: usize) -> (u64, Duration) {
    let started = Instant::now();
    for part in map.chunks(piece) {
        black_box(log_format::crc32c(part));
    }
    (map.len() as u64, started.elapsed())
}

/// Buffered writes of `piece` bytes, one behind the other, over all files.
pub(crate) fn buffered(batch: &[u8], files: &[File], bytes: u64) -> (u64, Duration) {
    let started = Instant::now();
    let mut written = 0;
    for file in files {
        let mut at = 0;
        while at + batch.len() as u64 <= bytes {
            at += put(file, batch, at, ReadWriteFlags::empty());
        }
        written += at;
    }
    (written, started.elapsed())
}

/// `count` buffered writes with RWF_DSYNC, `depth` at a time.
pub(crate) fn buffered_durable(batch: &[u8], file: &File, depth: u64, count: u64) -> (u64, Duration) {
    let started = Instant::now();
    thread::scope(|scope| {
        for lane in 0..depth {
            scope.spawn(move || {
                for place in (lane..count).step_by(usize::try_from(depth).expect("small")) {
                    put(file, batch, place * batch.len() as u64, ReadWriteFlags::DSYNC);
                }
            });
        }
    });
    (count * batch.len() as u64, started.elapsed())
}

/// `count` copies into a mapping whose pages are present, each followed by a flush of the file.
pub(crate) fn copy_and_sync(batch: &[u8], file: &File, count: u64) -> (u64, Duration) {
    // SAFETY: as in `populated`.
    let mut map = unsafe { MmapOptions::new().map_mut(file).expect("a mapping") };
    map.advise(Advice::PopulateRead).expect("populated pages");
    let started = Instant::now();
    for place in map.chunks_exact_mut(batch.len()).take(usize::try_from(count).expect("memory")) {
        place.copy_from_slice(batch);
        file.sync_data().expect("a flush");
    }
    (count * batch.len() as u64, started.elapsed())
}

fn put(file: &File, batch: &[u8], at: u64, flags: ReadWriteFlags) -> u64 {
    let written = pwritev2(file, &[IoSlice::new(batch)], at, flags).expect("a write");
    assert_eq!(written, batch.len(), "a short write");
    written as u64
}
