//! I/O errors: the n-th write, flush or read of the device fails, and nothing that was acknowledged is lost.
//!
//! The fault model is that of [`crate::disk`]: `EIO` from the device, once or from then on, at any operation from the engine's start to its
//! close: in a recovery, a commit, a roll, the preparing of a segment, in ext4's journal. n goes over the whole range in the long
//! form, and over points drawn from a seed in the short one.
//!
//! A child writes until something fails, and checks in its own process what must hold from then on: the log is poisoned and says so, no
//! commit succeeds any more, what was acknowledged can still be read or is refused, but never wrong. Then the parent opens the
//! logs twice, in the same mount if ext4 lives on, and after a power cut that takes what that open had not made durable.

use crate::{
    EngineUnderTest, Needs, Numbers, applies,
    contents::read_between,
    disk::{Disk, Fault, Operation, Survivors},
    drawn_batch, in_shard,
    model::first_seed,
    payload::assigned,
    skip, verified,
    writer::{Check, Known, LOGS, Reader, Said, Told, Writer, engine_config, pipe_to_parent, say},
};
use log_api::{AppendError, CommitError, Level, LogEngine, LogId, Offset, OpenError, ReadKind};
use std::{fs::File, io::Write};

/// Bytes of the file system.
const DISK_BYTES: u64 = 64 << 20;

/// Errors after which a fresh file system is made, so that many need no more room than a few.
const ERRORS_A_DISK: usize = 16;

/// Errors of the short form, over all operations.
const ERRORS: u64 = 18;

/// Appends and commits of a child: enough for a roll.
const STEPS: u32 = 50;

/// Waits for room after which a child does without: preparing a segment may fail for as long as the device does.
const ROOM_WAITS_MAX: u32 = 3;

/// The operations of a child are fewer than this, of each kind.
const OPERATIONS_MAX: u64 = 10_000;

/// The writes of a child among which the short form draws: about as many as there are.
const WRITES: u64 = 120;

/// And the flushes, or the reads.
const FLUSHES_OR_READS: u64 = 60;

/// Lets operations of the device under engine `E` fail: 18 drawn ones, or every single one if `HIGHWATER_ERRORS` is `all`; `test` is the
/// path of the calling test, by which the child is found.
///
/// # Panics
/// If something that was acknowledged is lost or changed, or something is acknowledged above a failure; with what repeats the run.
pub fn errors_at_operations<E: EngineUnderTest>(test: &str, readers: &[Reader]) {
    let all = std::env::var("HIGHWATER_ERRORS").is_ok_and(|errors| errors == "all");
    let mut numbers = Numbers::new(first_seed());
    let mut met = 0;
    for operation in [Operation::Write, Operation::Flush, Operation::Read] {
        let operations = if operation == Operation::Write { WRITES } else { FLUSHES_OR_READS };
        for once in [true, false] {
            let points: Vec<u64> = match all {
                true => (0..OPERATIONS_MAX).collect(),
                false => (0..ERRORS / 6).map(|_| numbers.below(operations)).collect(),
            };
            let faults: Vec<Fault> = points.into_iter().map(|after| Fault { operation, after, once }).collect();
            match errors::<E>(test, readers, &faults, all) {
                Some(failed) => met += failed,
                None => return,
            }
        }
    }
    assert!(met >= ERRORS / 3, "only {met} errors were met");
}

/// Lets these faults happen under engine `E`, one after the other; with `until_none`, until one has met no operation. Returns how
/// many have met one, or nothing if this is a child or there can be no test.
///
/// # Panics
/// As [`errors_at_operations`].
pub fn errors<E: EngineUnderTest>(test: &str, readers: &[Reader], faults: &[Fault], until_none: bool) -> Option<u64> {
    if let Some(told) = Told::heard() {
        write_until_it_fails::<E>(told);
        return None;
    }
    if !applies::<E>("errors_at_operations", Needs::Keeping) {
        return None;
    }
    let seed = first_seed();
    let mut numbers = Numbers::new(seed);
    let readers: Vec<&Reader> = readers.iter().filter(|reader| (reader.applies)()).collect();
    let mut met = 0;
    for faults in faults.chunks(ERRORS_A_DISK) {
        let disk = match Disk::ext4(DISK_BYTES) {
            Ok(disk) => disk,
            Err(why) => {
                skip(&format!("errors_at_operations of {}", E::NAME), &why);
                return None;
            }
        };
        let mut disk = FailingDisk { test, disk, seed, known: [Known::default(); 2] };
        for fault in faults {
            let outcome = disk.play(*fault, &readers, &mut numbers).unwrap_or_else(|wrong| {
                panic!("{fault:?} under {}: {wrong}\nrepeat with HIGHWATER_SEED={seed}", E::NAME)
            });
            println!("{fault:?} under {}: {outcome:?}", E::NAME);
            if outcome.failed == 0 && until_none {
                return Some(met);
            }
            met += u64::from(outcome.failed > 0);
        }
    }
    Some(met)
}

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    /// Operations of the device that failed.
    failed: u64,
    /// The child met a poisoned log.
    poisoned: bool,
    /// ext4 lived on.
    same_mount: bool,
}

struct FailingDisk<'a> {
    test: &'a str,
    disk: Disk,
    seed: u64,
    known: [Known; 2],
}

impl FailingDisk<'_> {
    fn play(&mut self, fault: Fault, readers: &[&Reader], numbers: &mut Numbers) -> Result<Outcome, String> {
        let told = Told {
            dir: self.disk.dir(),
            seed: self.seed,
            turn: numbers.draw(),
            level: Level::Durable,
            durable: true,
            commits_max: 1,
            trims: true,
            quiet_after: u64::MAX,
            closes_after: u64::MAX,
        };
        // What a read meets is on the device, not in the page cache of the last round.
        self.disk.power_cycle(Survivors::None, 0)?;
        self.disk.fail(Some(fault));
        let mut writer = Writer::start(self.test, &told);
        let mut poisoned = false;
        while let Some(said) = writer.next() {
            Known::hear(&mut self.known, said);
            poisoned |= said == Said::Poisoned;
        }
        let failed = self.disk.fail(None);
        let (status, complaint) = writer.end();
        if !status.success() {
            return Err(format!("after {failed} errors ({status}): {complaint}"));
        }
        let same_mount = self.lives();
        if !same_mount {
            self.disk.power_cycle(Survivors::All, 0)?;
        }
        self.check(readers)?;
        self.disk.power_cycle(Survivors::None, 0)?;
        self.check(readers)?;
        Ok(Outcome { failed, poisoned, same_mount })
    }

    /// Whether ext4 still takes writes: an error in its journal ends that until the next mount.
    fn lives(&self) -> bool {
        let path = self.disk.dir().join("lives");
        File::create(&path).and_then(|mut file| file.write_all(b"yes").and_then(|()| file.sync_all())).is_ok()
    }

    fn check(&mut self, readers: &[&Reader]) -> Result<(), String> {
        for reader in readers {
            let check = Check { dir: self.disk.dir(), seed: self.seed, known: self.known, closes: false };
            self.known = (reader.check)(check).map_err(|wrong| format!("read by {}: {wrong}", reader.name))?;
        }
        Ok(())
    }
}

/// The child's life.
fn write_until_it_fails<E: EngineUnderTest>(told: Told) {
    in_shard(move |ring| async move {
        let pipe = pipe_to_parent();
        let engine = match E::start(&ring, engine_config(&told.dir, told.durable)).await {
            Ok(engine) => engine,
            Err(error) => return refused(&error),
        };
        for log in LOGS {
            if let Err(error) = engine.open(log).await {
                return refused(&error);
            }
        }
        let mut numbers = Numbers::new(told.turn);
        for step in 0..STEPS {
            let log = LOGS[numbers.below(2) as usize];
            let mut appended = Ok(());
            for _ in 0..1 + numbers.below(4) {
                appended = appended.and(append::<E>(&engine, told.seed, log).await);
            }
            let end = engine.marks(log).end;
            let committed = match appended {
                Ok(()) => engine.commit(&[engine.group(log)], Level::Durable).await,
                Err(poisoned) => Err(poisoned),
            };
            match committed {
                Ok(()) => {
                    let marks = engine.marks(log);
                    assert!(marks.durable >= end, "{marks:?} after a commit of {end}");
                    say(&pipe, Said::Acknowledged(log, end));
                }
                Err(CommitError::Poisoned { what }) => {
                    assert!(!what.is_empty(), "a failure is said in words");
                    stays_poisoned::<E>(&engine, told.seed, log).await;
                    say(&pipe, Said::Poisoned);
                    assert!(engine.close().await.is_err(), "the close of a poisoned log is no success");
                    return;
                }
                Err(error) => panic!("a device that fails: {error}"),
            }
            if step % 8 == 7 {
                right_or_refused::<E>(&engine, told.seed, log).await;
            }
            if step == STEPS / 2 {
                // Its failure gives up nothing but what was asked for.
                let before = Offset(engine.marks(log).durable.0.saturating_sub(1000));
                say(&pipe, Said::Trims(log, before));
                let _ = engine.trim(log, before).await;
            }
        }
        let ends = LOGS.map(|log| Said::Acknowledged(log, engine.marks(log).end));
        if engine.close().await.is_ok() {
            for said in ends.into_iter().chain([Said::Closed]) {
                say(&pipe, said);
            }
        }
    });
}

/// An engine may refuse to start or open on a device that fails, but a failing device is no damage.
fn refused(error: &OpenError) {
    assert!(matches!(error, OpenError::Io { .. }), "an open on a device that fails: {error}");
}

/// Appends one batch; without success, but harmlessly, when there is no room for long.
async fn append<E: EngineUnderTest>(engine: &E::Engine, seed: u64, log: LogId) -> Result<(), CommitError> {
    let (bytes, _) = drawn_batch(seed, log, engine.marks(log).end);
    for _ in 0..ROOM_WAITS_MAX {
        match engine.append(log, &[verified(&bytes)]) {
            Ok(_) => return Ok(()),
            Err(AppendError::Busy) => {
                engine.commit(&[engine.group(log)], Level::Placed).await?;
                engine.room(log, bytes.len() as u64).await;
            }
            Err(AppendError::Poisoned) => {
                let commit = engine.commit(&[engine.group(log)], Level::Placed).await;
                assert!(commit.is_err(), "an append says that the log is poisoned, a commit does not");
                return commit;
            }
            Err(error) => panic!("an append on a device that fails: {error}"),
        }
    }
    Ok(())
}

/// The first failure is for good.
async fn stays_poisoned<E: EngineUnderTest>(engine: &E::Engine, seed: u64, log: LogId) {
    let marks = engine.marks(log);
    let (bytes, _) = drawn_batch(seed, log, marks.end);
    for level in [Level::Durable, Level::Placed, Level::Durable] {
        let again = engine.commit(&[engine.group(log)], level).await;
        assert!(matches!(again, Err(CommitError::Poisoned { .. })), "a commit after a failure: {again:?}");
        let again = engine.append(log, &[verified(&bytes)]);
        assert_eq!(again, Err(AppendError::Poisoned), "an append after a failure");
        assert_eq!(engine.marks(log).durable, marks.durable, "nothing becomes durable after a failure");
    }
    right_or_refused::<E>(engine, seed, log).await;
}

/// What is durable reads as it was written; a device that fails may make a read fail, but not wrong.
async fn right_or_refused<E: EngineUnderTest>(engine: &E::Engine, seed: u64, log: LogId) {
    let marks = engine.marks(log);
    match read_between(engine, log, marks.start..marks.durable, 64 << 10, ReadKind::Scan).await {
        Ok(found) => {
            for batch in &found {
                let (bytes, _) = drawn_batch(seed, log, batch.base);
                assert!(
                    batch.bytes == assigned(bytes, batch.base, batch.epoch),
                    "the batch at {} is wrong",
                    batch.base
                );
            }
            let end = found.last().map_or(marks.start, |batch| batch.end);
            assert_eq!(end, marks.durable, "what is durable can be read to its end");
        }
        Err(error) => assert!(error.contains("os error 5"), "{error}"),
    }
}
