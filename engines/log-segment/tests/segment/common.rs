//! A log on disk and what it should hold, for the tests of recovery. Batches are written into segment files by plain writes, as the
//! bytes that some engine left behind; the side files are encoded here a second time, from their description.

use log_api::{Damage, Epoch, Offset, OpenError};
use log_format::{BatchBuilder, assign, crc32c};
use log_segment::{Boundary, Files, LogConfig, Recovered, index_path, prepared_path, recover, segment_path};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
pub(crate) const INFLIGHT_BYTES_MAX: u64 = 16 << 10;
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 1024;

/// One batch as it should stand in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) segment: Offset,
    pub(crate) position: u64,
    pub(crate) base: Offset,
    pub(crate) records: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A log's folder and the batches that were written to it.
pub(crate) struct Log {
    // Kept for its drop.
    _temporary: TempDir,
    pub(crate) config: LogConfig,
    pub(crate) batches: Vec<Written>,
    pub(crate) epoch: Epoch,
    segment: Offset,
    position: u64,
}

/// A folder in memory for the tests that recover thousands of times; the others use the disk and thereby O_DIRECT.
pub(crate) fn in_memory() -> TempDir {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() { tempfile::tempdir_in(shared_memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn batch(records: u32, value_bytes: usize, seed: u64, base: Offset, epoch: Epoch) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1_700_000_000_000);
    for record in 0..records {
        let value: Vec<u8> = (0..value_bytes as u64).map(|at| (at * 31 + seed * 7 + u64::from(record)) as u8).collect();
        builder.push(0, None, Some(&value));
    }
    let mut bytes = builder.finish();
    assign(&mut bytes, base, epoch);
    bytes
}

impl Log {
    /// A new log, recovered once: epoch 1.
    pub(crate) fn new(temporary: TempDir, durable: bool) -> Self {
        let config = LogConfig {
            dir: temporary.path().join("00000"),
            durable,
            segment_bytes: SEGMENT_BYTES,
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
            index_interval_bytes: INDEX_INTERVAL_BYTES,
            framing: log_api::Framing::Bare,
        };
        let mut log = Self {
            _temporary: temporary,
            config,
            batches: Vec::new(),
            epoch: Epoch(0),
            segment: Offset(0),
            position: 0,
        };
        log.reopen();
        log
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.config.dir
    }

    pub(crate) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |last| last.base.plus(u64::from(last.records)))
    }

    pub(crate) fn last(&self) -> &Written {
        self.batches.last().unwrap()
    }

    /// Where the next batch goes.
    pub(crate) fn tail(&self) -> (PathBuf, u64) {
        (segment_path(self.dir(), self.segment), self.position)
    }

    pub(crate) fn recover(&self) -> Result<Recovered, OpenError> {
        recover(&self.config, &Files::new())
    }

    /// Recovers, checks that everything written came back, and goes on in the new incarnation.
    pub(crate) fn reopen(&mut self) -> Recovered {
        let recovered = self.recover().unwrap();
        self.expect(&recovered);
        self.go_on(&recovered);
        recovered
    }

    /// Goes on where a recovery said, forgetting what it cut.
    pub(crate) fn go_on(&mut self, recovered: &Recovered) {
        self.batches.retain(|batch| batch.base < recovered.marks.end);
        self.epoch = recovered.epoch;
        self.segment = recovered.active.base;
        self.position = recovered.active.bytes;
    }

    /// The batch that comes next.
    pub(crate) fn next(&self, records: u32, value_bytes: usize) -> Vec<u8> {
        batch(records, value_bytes, self.batches.len() as u64, self.end(), self.epoch)
    }

    /// Appends as an engine does, rolling to a new preallocated segment where the batch does not fit.
    pub(crate) fn append(&mut self, records: u32, value_bytes: usize) {
        let bytes = self.next(records, value_bytes);
        if self.position + bytes.len() as u64 > SEGMENT_BYTES {
            self.roll();
        }
        let (path, _) = self.tail();
        self.note(&path, bytes);
    }

    /// Writes the next batch into the segment, which lies at `path`.
    pub(crate) fn note(&mut self, path: &Path, bytes: Vec<u8>) {
        let position = self.position;
        write_at(path, position, &bytes);
        let records = log_format::verify(&bytes).unwrap().records();
        self.position += bytes.len() as u64;
        self.batches.push(Written { segment: self.segment, position, base: self.end(), records, bytes });
    }

    /// Goes on in a new segment.
    pub(crate) fn roll(&mut self) {
        self.segment = self.end();
        self.position = 0;
        let file = File::create_new(segment_path(self.dir(), self.segment)).unwrap();
        file.set_len(SEGMENT_BYTES).unwrap();
    }

    /// Gives the oldest segment up and makes it a prepared one, as a trim that recycles does. Returns where it lies.
    pub(crate) fn recycle_oldest(&mut self, number: u64) -> PathBuf {
        let segments = self.segments();
        self.set_watermark(segments[1], self.end());
        let path = prepared_path(self.dir(), number);
        fs::rename(segment_path(self.dir(), segments[0]), &path).unwrap();
        let _ = fs::remove_file(index_path(self.dir(), segments[0]));
        File::options().write(true).open(&path).unwrap().set_len(SEGMENT_BYTES).unwrap();
        self.batches.retain(|batch| batch.segment != segments[0]);
        path
    }

    /// Goes on in a prepared segment as it is, under its own name or, `renamed`, under the segment's.
    pub(crate) fn roll_into(&mut self, prepared: &Path, renamed: bool) -> PathBuf {
        (self.segment, self.position) = (self.end(), 0);
        let path = segment_path(self.dir(), self.segment);
        if !renamed {
            return prepared.to_path_buf();
        }
        fs::rename(prepared, &path).unwrap();
        path
    }

    /// Appends until `count` segments have been begun.
    pub(crate) fn fill_segments(&mut self, count: usize) {
        while self.segments().len() < count || self.position < SEGMENT_BYTES / 4 {
            self.append(3, 300);
        }
    }

    /// First offsets of the segment files.
    pub(crate) fn segments(&self) -> Vec<Offset> {
        let mut segments: Vec<Offset> = self.batches.iter().map(|batch| batch.segment).collect();
        segments.dedup();
        segments
    }

    /// Checks all that a recovery promises about what it kept, which must be exactly the batches written.
    pub(crate) fn expect(&self, recovered: &Recovered) {
        self.expect_first(recovered, self.batches.len());
    }

    /// The same, when only the first `count` batches should be left.
    pub(crate) fn expect_first(&self, recovered: &Recovered, count: usize) {
        let kept = &self.batches[..count];
        let end = kept.last().map_or(Offset(0), |last| last.base.plus(u64::from(last.records)));
        let marks = recovered.marks;
        assert_eq!((marks.durable, marks.placed, marks.end), (end, end, end), "everything kept is durable");
        assert!(recovered.epoch > self.epoch, "the epoch rises");

        let mut found = Vec::new();
        let mut next = marks.start;
        for segment in &recovered.sealed {
            let bytes = fs::read(&segment.path).unwrap();
            assert_eq!(segment.base, next);
            assert_eq!(bytes.len() as u64, segment.bytes, "a sealed segment is trimmed");
            assert!(index_path(self.dir(), segment.base).exists(), "a sealed segment has its index");
            boundaries_are_real(segment.index.entries(), kept, segment.base);
            found.push((segment.base, bytes));
            next = segment.end;
        }
        let active = &recovered.active;
        assert_eq!((active.base, active.end), (next, end));
        assert_eq!(active.path, segment_path(self.dir(), active.base));
        let bytes = fs::read(&active.path).unwrap();
        assert_eq!(bytes.len() as u64, active.capacity);
        assert!(active.capacity >= SEGMENT_BYTES && active.capacity.is_multiple_of(4096));
        let (log, rest) = bytes.split_at(active.bytes as usize);
        assert!(rest.iter().all(|&byte| byte == 0), "zeros after the end");
        let tail = log.len() - log.len() % 4096;
        assert_eq!(active.tail, log[tail..]);
        boundaries_are_real(active.index.entries(), kept, active.base);
        found.push((active.base, log.to_vec()));

        let kept: Vec<&Written> = kept.iter().filter(|batch| batch.base >= marks.start).collect();
        let mut expected: BTreeMap<Offset, Vec<u8>> = BTreeMap::from([(active.base, Vec::new())]);
        for batch in kept {
            expected.entry(batch.segment).or_default().extend(&batch.bytes);
        }
        assert!(expected.into_iter().collect::<Vec<_>>() == found, "the batches are not those that were written");

        let mut names: Vec<PathBuf> =
            recovered.sealed.iter().flat_map(|s| [s.path.clone(), index_path(self.dir(), s.base)]).collect();
        names.extend([active.path.clone(), self.dir().join("epochs"), self.dir().join("watermark")]);
        names.sort();
        let present: Vec<PathBuf> =
            snapshot(self.dir()).into_keys().filter(|path| !path.ends_with("foreign")).collect();
        assert_eq!(present, names, "nothing else is left in the folder");
    }

    /// Recovers a log that must be refused, checks what the refusal names and that nothing on disk has changed.
    #[track_caller]
    pub(crate) fn expect_damage(&self, segment: Offset, position: u64) -> String {
        let before = snapshot(self.dir());
        match self.recover() {
            Err(OpenError::Damaged(Damage { segment: found, position: at, what })) => {
                assert_eq!((found, at), (segment_path(self.dir(), segment), position), "{what}");
                assert!(snapshot(self.dir()) == before, "a refused log is left as it is");
                what
            }
            Err(other) => panic!("{other}"),
            Ok(recovered) => panic!("accepted: {:?} {:?}", recovered.marks, recovered.cut),
        }
    }

    pub(crate) fn set_watermark(&self, start: Offset, durable: Offset) {
        let slot = side_file(b"hw-water", &[1000, start.0, durable.0, u64::from(self.epoch.0)]);
        let mut file = vec![0; 8192];
        file[..slot.len()].copy_from_slice(&slot);
        fs::write(self.dir().join("watermark"), file).unwrap();
    }

    /// (epoch, first offset, durable, inflight_bytes_max) each.
    pub(crate) fn set_epochs(&self, entries: &[(u32, u64, bool, u64)]) {
        let numbers: Vec<u64> = entries
            .iter()
            .flat_map(|&(epoch, first, durable, max)| [epoch.into(), first, durable.into(), max])
            .collect();
        fs::write(self.dir().join("epochs"), side_file(b"hw-epoch", &numbers)).unwrap();
    }

    pub(crate) fn prepared(&self, number: u64, bytes: &[u8]) -> PathBuf {
        let path = prepared_path(self.dir(), number);
        let mut file = bytes.to_vec();
        file.resize(SEGMENT_BYTES as usize, 0);
        fs::write(&path, file).unwrap();
        path
    }

    pub(crate) fn flip(&self, batch: usize, byte: usize) {
        let batch = &self.batches[batch];
        let path = segment_path(self.dir(), batch.segment);
        let at = batch.position + byte as u64;
        write_at(&path, at, &[batch.bytes[byte] ^ 0x10]);
    }

    pub(crate) fn boundary_after(&self, batch: usize) -> Boundary {
        let batch = &self.batches[batch];
        Boundary {
            offset: batch.base.plus(u64::from(batch.records)),
            position: batch.position + batch.bytes.len() as u64,
        }
    }
}

fn boundaries_are_real(entries: &[Boundary], batches: &[Written], segment: Offset) {
    assert_eq!(entries[0], Boundary { offset: segment, position: 0 });
    let known = |entry: &Boundary| {
        batches.iter().any(|b| b.segment == segment && b.base == entry.offset && b.position == entry.position)
    };
    assert!(entries[1..].iter().all(known), "an index entry that is no boundary");
    let bytes: u64 = batches.iter().filter(|b| b.segment == segment).map(|b| b.bytes.len() as u64).sum();
    assert!(entries.len() as u64 >= bytes / (INDEX_INTERVAL_BYTES + 8192), "entries are dense enough");
}

/// Magic, little-endian numbers, checksum.
pub(crate) fn side_file(magic: &[u8; 8], numbers: &[u64]) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    let crc = u64::from(crc32c(&bytes));
    bytes.extend(crc.to_le_bytes());
    bytes
}

pub(crate) fn write_at(path: &Path, position: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, position).unwrap();
}

/// Every file of a folder.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeMap::new() };
    entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// Puts a folder back as a snapshot says.
pub(crate) fn restore(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).unwrap();
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}
