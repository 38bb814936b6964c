//! What is not in the page cache is read through the ring before `sendfile` meets it: `sendfile` of a cold page would wait for the
//! device on the shard.

use crate::support::{fill, numbers, receive, subscribe};
use broker::{EngineKind, Node, NodeConfig, ShardReport, Stop};
use log_api::{Availability, Offset, ReadKind};
use rustix::{
    fs::{Advice, fadvise},
    mm::{MapFlags, ProtFlags, madvise, mmap, munmap},
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

const MESSAGES: u64 = 700;
/// Times that the kernel is asked to give a file's pages up: it may refuse pages that it has not yet put on its lists.
const DROPS_MAX: u32 = 1000;

/// The segment that a log of [`MESSAGES`] begins and does not fill.
fn segment(dir: &Path) -> PathBuf {
    let entries = fs::read_dir(dir.join("00000")).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "log")).unwrap()
}

/// Pages of the first `bytes` of a file that are in the page cache. Asks `mincore`: a read that must not wait would begin to read ahead.
fn cached_pages(file: &File, bytes: usize) -> usize {
    let mut pages = vec![0_u8; bytes.div_ceil(4096)];
    // SAFETY: a new mapping of the file, which is at least that long; it is only asked about, and unmapped again.
    unsafe {
        let mapping = mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, file, 0).unwrap();
        assert_eq!(libc::mincore(mapping, bytes, pages.as_mut_ptr()), 0);
        munmap(mapping, bytes).unwrap();
    }
    pages.iter().filter(|&page| page & 1 == 1).count()
}

/// Takes the first `bytes` of a file out of the page cache. A page that is mapped stays where it is, whatever `posix_fadvise` is told:
/// from mappings of this process, in which the engine runs too, it is paged out first.
fn drop_from_page_cache(path: &Path, bytes: usize) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    assert!(cached_pages(&file, bytes) > 0, "nothing to drop");
    for _ in 0..DROPS_MAX {
        for (start, length) in mappings(path) {
            let start = std::ptr::with_exposed_provenance_mut(start);
            // SAFETY: the range is one mapping of this process. Paging it out changes no byte of it: what is touched again comes back from
            // the file. The file stays as long as it is.
            unsafe { madvise(start, length, rustix::mm::Advice::LinuxPageOut) }.unwrap();
        }
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if cached_pages(&file, bytes) == 0 {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the page cache keeps {}", path.display());
}

/// Start and length of each mapping of a file.
fn mappings(path: &Path) -> Vec<(usize, usize)> {
    let path = path.canonicalize().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.find('/').is_some_and(|at| Path::new(&line[at..]) == path));
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let range =
        |line: &str| line.split(' ').next().unwrap().split_once('-').map(|(from, to)| (number(from), number(to)));
    lines.map(|line| range(line).unwrap()).map(|(from, to)| (from, to - from)).collect()
}

/// One consumer from the start, the page cache dropped before it comes or not: what it received, and the shard's report.
fn sent(engine: EngineKind, dir: &Path, cold: bool) -> (Vec<u8>, ShardReport) {
    let config = NodeConfig { segment_bytes: 1 << 20, ..NodeConfig::new(engine, dir) };
    let mut node = Node::start(config).unwrap();
    let handle = &mut node.shards()[0];
    let (mut producer, address) = (handle.producer.take().unwrap(), handle.address);
    fill(&mut producer, 0..MESSAGES, 1000);
    if cold {
        drop_from_page_cache(&segment(dir), MESSAGES as usize * 1000);
    }
    let mut consumer = subscribe(address, Offset(0), ReadKind::Scan);
    let received = receive(&mut consumer, 0, MESSAGES);
    assert_eq!(numbers(&received, 0), (0..MESSAGES).collect::<Vec<_>>());
    let report = node.stop(Stop::default()).unwrap().shards.remove(0);
    assert_eq!(report.sendfile_bytes, received.len() as u64, "{engine}: all of it leaves by sendfile");
    (received, report)
}

#[test]
fn a_cold_range_is_read_by_the_ring_before_it_is_sent() {
    for engine in [EngineKind::Mmap, EngineKind::PageCache] {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        // A file system in memory has nothing but its page cache.
        if let Availability::Unavailable(why) = EngineKind::Direct.availability(dirs[0].path()) {
            let _ = writeln!(std::io::stderr(), "skipped: {engine} with a cold page cache: {why}");
            continue;
        }
        let (hot_bytes, hot) = sent(engine, dirs[0].path(), false);
        let (cold_bytes, cold) = sent(engine, dirs[1].path(), true);
        assert_eq!(
            (hot.cold_bytes, hot.engine.read_misses),
            (0, 0),
            "{engine}: what is in the page cache is sent as it is"
        );
        assert!(cold.cold_bytes > 0 && cold.engine.read_misses > 0, "{engine}: {} bytes by the ring", cold.cold_bytes);
        assert!(cold_bytes == hot_bytes, "{engine}: the same bytes by either way");
        println!("{engine}: {} of {} bytes were read by the ring", cold.cold_bytes, cold_bytes.len());
    }
}
