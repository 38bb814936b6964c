//! The whole life of a log through the shard's side of this crate, with the plainest engine there could be: `pwrite` into the file.

use crate::common::{INDEX_INTERVAL_BYTES, INFLIGHT_BYTES_MAX, SEGMENT_BYTES, batch, in_memory, snapshot};
use log_api::{Epoch, LogId, Marks, Offset, OpenError, Recovery};
use log_segment::{DataDir, Files, Keeper, LogConfig, Medium, Preparer, Segments, index_path, recover, segment_path};
use shard_ring::{ExecutorConfig, Helper, Ring, block_on};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
    rc::Rc,
};

#[derive(Clone)]
struct Plain;

impl Medium for Plain {
    type Kept = ();
    type Handle = File;

    fn open(&self, path: &Path, bytes: u64) -> io::Result<File> {
        let file = File::options().read(true).write(true).open(path)?;
        assert_eq!(file.metadata()?.len(), bytes, "the file has its length when it is opened");
        Ok(file)
    }
}

/// One log of an engine.
struct Log {
    keeper: Keeper,
    preparer: Preparer<Plain>,
    segments: Segments<File>,
    epoch: Epoch,
    helper: Rc<Helper>,
    ring: Ring,
}

impl Log {
    async fn open(ring: &Ring, data: &DataDir, config: &LogConfig) -> Result<(Self, Recovery), OpenError> {
        let helper = Rc::new(Helper::start("test", &[], 0).unwrap());
        let job = config.clone();
        let recovered = helper.run(ring, move || recover(&job, &Files::new())).await?;
        let recovery = recovered.summary();
        let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
        let sealed = recovered.sealed.into_iter().map(|segment| (open(&segment.path), segment));
        let sealed = sealed.map(|(file, segment)| (segment, file)).collect();
        let file = open(&recovered.active.path);
        let log = Self {
            keeper: Keeper::new(ring, &helper, data, config, recovered.marks.start),
            preparer: Preparer::new(ring, &helper, data, config, Plain, recovered.next_number, None),
            segments: Segments::new(config, sealed, (recovered.active, file)),
            epoch: recovered.epoch,
            helper,
            ring: ring.clone(),
        };
        Ok((log, recovery))
    }

    fn marks(&self) -> Marks {
        let end = self.segments.end();
        Marks { start: self.segments.start(), durable: end, placed: end, end }
    }

    async fn append(&mut self, records: u32, value_bytes: usize) {
        let bytes = batch(records, value_bytes, 1, self.segments.end(), self.epoch);
        while self.segments.room() < bytes.len() as u64 {
            match self.preparer.take() {
                Some(prepared) => {
                    self.keeper.adopt(&prepared.file, self.segments.end());
                    self.segments.roll(prepared.file, prepared.handle);
                    let job = self.segments.take_sealable(self.segments.end()).expect("one segment is finished");
                    self.keeper.seal(job, Offset(0)).await.unwrap();
                }
                None => self.preparer.room().await,
            }
        }
        let at = self.segments.append(records, bytes.len() as u64);
        self.segments.active().handle.write_all_at(&bytes, at.position).unwrap();
        self.segments.mark();
    }

    /// Everything that was given to the helper is done.
    async fn settle(&self) {
        self.helper.run(&self.ring, || ()).await;
    }
}

fn config(dir: &Path, data: &DataDir) -> LogConfig {
    assert_eq!(data.path(), dir);
    LogConfig {
        dir: data.log_dir(LogId(3)),
        durable: true,
        segment_bytes: SEGMENT_BYTES,
        inflight_bytes_max: INFLIGHT_BYTES_MAX,
        index_interval_bytes: INDEX_INTERVAL_BYTES,
        framing: log_api::Framing::Bare,
    }
}

fn names(dir: &Path, kind: &str) -> usize {
    snapshot(dir).keys().filter(|path| path.extension().is_some_and(|extension| extension == kind)).count()
}

/// Runs `body` on a shard with a data directory.
fn with_log<F: Future<Output = ()> + 'static>(body: impl FnOnce(Ring, DataDir, LogConfig) -> F + Send + 'static) {
    let temporary = in_memory();
    let dir = temporary.path().to_path_buf();
    block_on(ExecutorConfig::default(), move |ring| {
        let data = DataDir::open(&dir).unwrap();
        let config = config(&dir, &data);
        body(ring, data, config)
    })
    .unwrap();
}

#[test]
fn segments_are_prepared_rolled_sealed_and_closed() {
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        log.preparer.start();
        while log.segments.iter().count() < 4 {
            log.append(3, 1000).await;
        }
        assert!(log.preparer.prepared_bytes() >= 3 * SEGMENT_BYTES, "a durable log's segments are written with zeros");
        log.settle().await;
        assert_eq!((names(&config.dir, "log"), names(&config.dir, "index")), (4, 3));
        let end = log.segments.end();
        log.preparer.room().await;
        assert_eq!(names(&config.dir, "next"), 1);
        let jobs = log.segments.finish();
        assert_eq!(jobs.len(), 1);
        log.keeper.close(jobs, log.marks()).await.unwrap();
        assert_eq!(log.keeper.failure(), None);
        assert_eq!((names(&config.dir, "log"), names(&config.dir, "index"), names(&config.dir, "next")), (4, 4, 0));
        let lengths: u64 = snapshot(&config.dir)
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|e| e == "log"))
            .map(|(_, bytes)| bytes.len() as u64)
            .sum();
        assert_eq!(lengths, log.segments.iter().map(log_segment::Segment::bytes).sum(), "every segment is trimmed");
        drop(log);

        // What was closed is protected by the watermark: a byte less is damage.
        let (log, recovered) = Log::open(&ring, &data, &config).await.unwrap();
        assert_eq!((recovered.marks.end, recovered.cut), (end, None));
        assert_eq!(recovered.epoch, Epoch(2));
        fs::remove_file(segment_path(&config.dir, log.segments.active().base())).unwrap();
        drop(log);
        assert!(matches!(Log::open(&ring, &data, &config).await, Err(OpenError::Damaged(_))));
    });
}

#[test]
fn a_dropped_log_is_found_as_it_was() {
    with_log(|ring, data, config| async move {
        let mut expected = Offset(0);
        for life in 0..4 {
            let (mut log, recovered) = Log::open(&ring, &data, &config).await.unwrap();
            assert_eq!((recovered.marks.end, recovered.cut), (expected, None), "life {life}");
            for _ in 0..30 {
                log.append(2, 1500).await;
            }
            expected = log.segments.end();
            // Jobs that were given are done all the same; one segment is being prepared.
            drop(log);
        }
    });
}

#[test]
fn a_leased_segment_is_unlinked_when_the_lease_ends_and_never_before_an_older_one() {
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        while log.segments.iter().count() < 5 {
            log.append(3, 1000).await;
        }
        let bases: Vec<Offset> = log.segments.iter().map(log_segment::Segment::base).collect();
        let there = |base: Offset| segment_path(&config.dir, base).exists();
        let lease = log.segments.lease(bases[1]).unwrap();
        let dead = log.segments.trim(bases[3].plus(1));
        assert_eq!(dead.start, bases[3], "whole segments only");
        assert_eq!(log.segments.start(), bases[3]);
        log.keeper.trim(dead).await.unwrap();
        assert_eq!([0, 1, 2, 3].map(|place| there(bases[place])), [false, true, true, true]);
        assert!(!index_path(&config.dir, bases[0]).exists());
        drop(lease);
        let dead = log.segments.trim(Offset(u64::MAX));
        assert_eq!(dead.start, bases[4], "never the active one");
        log.keeper.trim(dead).await.unwrap();
        assert_eq!([1, 2, 3, 4].map(|place| there(bases[place])), [false, false, false, true]);
        let end = log.segments.end();
        drop(log);
        let (_, recovered) = Log::open(&ring, &data, &config).await.unwrap();
        assert_eq!((recovered.marks.start, recovered.marks.end), (bases[4], end));
    });
}

/// A crash between the trim and the unlinking: the next open finishes the trim.
#[test]
fn a_trim_is_kept_by_the_watermark() {
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        while log.segments.iter().count() < 4 {
            log.append(3, 1000).await;
        }
        let first = log.segments.iter().next().unwrap().base();
        let second = log.segments.iter().nth(1).unwrap().base();
        let before = snapshot(&config.dir);
        let dead = log.segments.trim(second);
        log.keeper.trim(dead).await.unwrap();
        log.settle().await;
        drop(log);
        // One slot of the watermark file is lost: the other says the same.
        for slot in [0, 4096] {
            let watermark = config.dir.join("watermark");
            let whole = fs::read(&watermark).unwrap();
            let mut spoilt = whole.clone();
            spoilt[slot + 20] ^= 1;
            fs::write(&watermark, spoilt).unwrap();
            let (log, recovered) = Log::open(&ring, &data, &config).await.unwrap();
            assert_eq!(recovered.marks.start, second);
            drop(log);
            fs::write(&watermark, whole).unwrap();
        }
        let path = segment_path(&config.dir, first);
        fs::write(&path, &before[&path]).unwrap();
        let (_, recovered) = Log::open(&ring, &data, &config).await.unwrap();
        assert_eq!(recovered.marks.start, second);
        assert!(!path.exists());
    });
}

/// What is given up and still leased is not unlinked; that it was given up is durable all the same.
#[test]
fn a_trim_of_leased_segments_is_kept_by_the_watermark() {
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        while log.segments.iter().count() < 4 {
            log.append(3, 1000).await;
        }
        let bases: Vec<Offset> = log.segments.iter().map(log_segment::Segment::base).collect();
        let lease = log.segments.lease(bases[0]).unwrap();
        let dead = log.segments.trim(bases[2]);
        assert_eq!(dead.start, bases[2]);
        log.keeper.trim(dead).await.unwrap();
        log.settle().await;
        drop((log, lease));
        assert!(segment_path(&config.dir, bases[0]).exists());
        let (_, recovered) = Log::open(&ring, &data, &config).await.unwrap();
        assert_eq!(recovered.marks.start, bases[2]);
    });
}

/// A trim that failed is not taken for done by the next one.
#[test]
fn a_trim_that_failed_is_tried_again() {
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        while log.segments.iter().count() < 4 {
            log.append(3, 1000).await;
        }
        log.settle().await;
        let second = log.segments.iter().nth(1).unwrap().base();
        let (watermark, aside) = (config.dir.join("watermark"), config.dir.join("aside"));
        fs::rename(&watermark, &aside).unwrap();
        fs::create_dir(&watermark).unwrap();
        for _ in 0..2 {
            let dead = log.segments.trim(second);
            log.keeper.trim(dead).await.expect_err("a watermark that cannot be written");
        }
        fs::remove_dir(&watermark).unwrap();
        fs::rename(&aside, &watermark).unwrap();
        let dead = log.segments.trim(second);
        log.keeper.trim(dead).await.unwrap();
        drop(log);
        let (_, recovered) = Log::open(&ring, &data, &config).await.unwrap();
        assert_eq!(recovered.marks.start, second);
    });
}

#[test]
fn the_watermark_follows_the_durable_mark_but_not_at_each_flush() {
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        let watermark = || fs::read(config.dir.join("watermark")).unwrap();
        let fresh = watermark();
        log.append(1, 100).await;
        log.keeper.note_durable(log.marks());
        log.settle().await;
        let first = watermark();
        assert_ne!(first, fresh);
        for _ in 0..100 {
            log.append(1, 10).await;
            log.keeper.note_durable(log.marks());
        }
        log.settle().await;
        assert_eq!(watermark(), first, "at most once a second");
    });
}

/// A file system in memory refuses at once to allocate more than it may hold.
#[test]
fn a_full_disk_is_said_and_harmless() {
    if !Path::new("/dev/shm").is_dir() {
        println!("needs a file system in memory at /dev/shm");
        return;
    }
    with_log(|ring, data, config| async move {
        let (mut log, _) = Log::open(&ring, &data, &config).await.unwrap();
        log.append(1, 100).await;
        let end = log.segments.end();
        let huge = LogConfig { segment_bytes: 1 << 50, ..config.clone() };
        let preparer = Preparer::new(&ring, &log.helper, &data, &huge, Plain, 100, None);
        assert!(preparer.take().is_none());
        preparer.room().await;
        assert!(preparer.is_full() && !preparer.is_ready());
        assert_eq!(preparer.failure(), None);
        assert_eq!(names(&config.dir, "next"), 0, "what was begun is unlinked");
        drop((log, preparer));
        match Log::open(&ring, &data, &huge).await {
            Err(OpenError::Full { dir, needed }) => assert_eq!((dir, needed), (config.dir.clone(), 1 << 50)),
            other => panic!("{:?}", other.map(|(_, recovered)| recovered)),
        }
        let (log, recovered) = Log::open(&ring, &data, &config).await.unwrap();
        assert_eq!((recovered.marks.end, recovered.cut), (end, None));
        drop(log);
    });
}
