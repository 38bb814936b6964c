//! Taking batches in: verify, append, and remember who waits for an answer. A turn takes a bounded run of frames and then lets
//! the shard's other tasks run; the room of a frame is given back as soon as the engine has its copy.

use super::{Core, Phase, partition::Taken};
use crate::{
    CommitPolicy, Outcome, ShardState,
    intake::{Frame, Intake},
};
use futures_lite::future::or;
use log_api::{AppendError, Batch, LogEngine, Stage};
use shard_ring::yield_now;
use std::{rc::Rc, time::Instant};

/// Frames of one turn.
const TURN_FRAMES_MAX: usize = 512;
/// Bytes of one turn: about 100 us of checksum and copy.
const TURN_BYTES_MAX: usize = 1 << 20;
/// Batches of one append.
const APPEND_BATCHES_MAX: usize = 64;
/// Bytes of one append, unless a single batch is larger: small against a segment and against what an engine may have in flight.
pub(crate) const APPEND_BYTES_MAX: usize = 256 << 10;
/// How a turn ended.
enum Turn {
    /// There may be more.
    Again,
    /// An append of this partition needs room for these bytes.
    Room { partition: usize, bytes: u64, full: bool },
    /// A commit of this group must end first.
    Commit { group: usize },
}

/// Consecutive batches of one partition on their way into one append.
struct Run<'a> {
    batches: [Batch<'a>; APPEND_BATCHES_MAX],
    len: usize,
    partition: usize,
    taken: Taken,
}

/// Fills the places of a [`Run`] that hold no batch.
const NO_BATCH: [u8; 61] = [0; 61];

impl<'a> Run<'a> {
    fn new() -> Self {
        let none = Batch::verified(&NO_BATCH, 1);
        Self { batches: [none; APPEND_BATCHES_MAX], len: 0, partition: 0, taken: Taken::default() }
    }

    fn takes(&self, partition: usize, bytes: usize, batches_max: usize) -> bool {
        self.partition == partition && self.len < batches_max && self.taken.bytes as usize + bytes <= APPEND_BYTES_MAX
    }

    fn push(&mut self, partition: usize, batch: Batch<'a>) {
        self.partition = partition;
        self.batches[self.len] = batch;
        self.len += 1;
        self.taken.add(one(batch.records(), batch.bytes().len()));
    }

    fn clear(&mut self) {
        self.len = 0;
        self.taken = Taken::default();
    }
}

fn one(records: u32, bytes: usize) -> Taken {
    Taken { batches: 1, messages: u64::from(records), bytes: bytes as u64 }
}

impl<E: LogEngine> Core<E> {
    /// Takes in until the shard stops.
    pub(super) async fn take(self: Rc<Self>, mut intake: Intake) {
        let this = &*self;
        // What stands before this position and is taken again has been verified.
        let mut verified = 0;
        while this.phase.get() < Phase::Consumers {
            if !this.acks.borrow_mut().clear() {
                this.counts.ack_waits.set(this.counts.ack_waits.get() + 1);
                let cleared = || this.acks.borrow_mut().clear() || this.patience_is_over();
                // A producer that takes no acknowledgements rings no bell either: the time to stop comes by itself.
                let waited = or(intake.wait_for(&this.ring, cleared), async {
                    this.out_of_patience().await;
                    Ok(())
                });
                if let Err(error) = waited.await {
                    this.fail(format!("wait for the producer: {error}"));
                    break;
                }
                if this.patience_is_over() {
                    break;
                }
                continue;
            }
            if !intake.look() {
                if this.phase.get() >= Phase::Intake {
                    break;
                }
                if this.found_soon(&mut intake).await {
                    continue;
                }
                let called = || this.phase.get() >= Phase::Intake || this.acks.borrow().has_waiting();
                let gathers = async {
                    this.gathers.wait().await;
                    Ok(())
                };
                if let Err(error) = or(intake.wait(&this.ring, called), gathers).await {
                    this.fail(format!("wait for the producer: {error}"));
                    break;
                }
                continue;
            }
            let (position, turn) = this.turn(&intake, &mut verified);
            intake.advance(position);
            match turn {
                Turn::Again => yield_now().await,
                Turn::Commit { group } => {
                    let ended = this.groups[group].ended().wait();
                    if !this.groups[group].is_clean() {
                        ended.await;
                    }
                }
                Turn::Room { partition, bytes, full } => {
                    if !this.room(partition, bytes, full).await {
                        break;
                    }
                }
            }
        }
        let left = if intake.look() { intake.frames().count() as u64 } else { 0 };
        this.counts.left_batches.set(left);
        this.intake_ended.set(true);
        this.ended.notify_all();
        // What commits still answer is on its way as soon as there is room.
        let forward = intake.wait_for(&this.ring, || {
            if this.acks.borrow_mut().clear() {
                this.ended.notify_all();
            }
            false
        });
        let forwarded = or(forward, async {
            this.until(Phase::Consumers).await;
            Ok(())
        });
        if let Err(error) = forwarded.await {
            this.fail(format!("wait for the producer: {error}"));
        }
    }

    /// Looks for frames a little longer before the shard goes to sleep: a wake-up costs both sides more. Only where nothing else
    /// has to be looked after meanwhile.
    async fn found_soon(&self, intake: &mut Intake) -> bool {
        // What the last turn woke runs first.
        yield_now().await;
        if intake.look() || self.gathering.get() > 0 {
            return true;
        }
        let quiet = self.consumers.busy.get() == 0 && self.groups.iter().all(super::commit::Group::is_clean);
        if self.config.intake_poll.is_zero() || !quiet {
            return false;
        }
        let start = Instant::now();
        while start.elapsed() < self.config.intake_poll {
            std::hint::spin_loop();
            if intake.look() {
                return true;
            }
        }
        false
    }

    /// Waits until the engine has room; false when the shard stops and there is none.
    async fn room(&self, partition: usize, bytes: u64, full: bool) -> bool {
        let count = if full { &self.counts.full_waits } else { &self.counts.busy_waits };
        count.set(count.get() + 1);
        if full {
            self.set_state(ShardState::Full);
        }
        self.groups.iter().for_each(super::commit::Group::hurry);
        let room = async { self.engine.room(self.partitions[partition].log, bytes).await };
        or(room, self.out_of_patience()).await;
        // An engine that sees room where its append sees none must not keep the shard from everything else.
        yield_now().await;
        !self.patience_is_over()
    }

    /// One turn: up to which position frames were taken, and what to wait for.
    fn turn(&self, intake: &Intake, verified: &mut u64) -> (u64, Turn) {
        let each = self.config.commit == CommitPolicy::Each;
        let batches_max = if each { 1 } else { APPEND_BATCHES_MAX };
        let mut frames = intake.frames();
        let mut run = Run::new();
        // Everything before `done` has been appended or refused; `run` holds what lies between it and the iterator.
        let mut done = frames.position();
        let (mut count, mut bytes) = (0, 0);
        let stages = self.stages();
        loop {
            let at = frames.position();
            let next = if count < TURN_FRAMES_MAX && bytes < TURN_BYTES_MAX { frames.next() } else { None };
            let checked = next.map(|frame| {
                let checked = stages.time(Stage::Verify, || self.check(&frame, at < *verified));
                (frame, checked)
            });
            // Not past a frame that was refused: the run before it may have to wait, and then the frame is looked at again.
            if matches!(checked, Some((_, Some(_)))) {
                *verified = (*verified).max(frames.position());
            }
            let goes_on = matches!(checked, Some((frame, Some((partition, _))))
                if run.takes(partition, frame.bytes.len(), batches_max));
            if run.len > 0 && !goes_on {
                if let Err(turn) = self.append(&mut run, each) {
                    return (done, turn);
                }
                done = at;
            }
            let Some((frame, checked)) = next.zip(checked.map(|(_, checked)| checked)) else {
                return (done, Turn::Again);
            };
            count += 1;
            bytes += frame.bytes.len();
            match checked {
                Some((partition, batch)) => run.push(partition, batch),
                None => {
                    self.refuse(&frame);
                    done = frames.position();
                }
            }
        }
    }

    /// Whether a frame is what its producer says, and for which partition of this shard.
    #[inline]
    fn check<'a>(&self, frame: &Frame<'a>, verified: bool) -> Option<(usize, Batch<'a>)> {
        let partition = self.index(frame.partition)?;
        if verified {
            return Some((partition, Batch::verified(frame.bytes, frame.records)));
        }
        let batch = log_format::verify(frame.bytes).ok()?;
        (batch.records() == frame.records).then(|| (partition, batch.for_append()))
    }

    /// Answers a frame that is not what it should be, in its place among its partition's.
    #[cold]
    fn refuse(&self, frame: &Frame<'_>) {
        self.counts.refused_batches.set(self.counts.refused_batches.get() + 1);
        let taken = one(frame.records, frame.bytes.len());
        match self.index(frame.partition) {
            Some(partition) => {
                self.partitions[partition].wait(taken, Outcome::Refused);
                self.settle(&self.partitions[partition]);
            }
            None => self.acknowledge(frame.partition, taken, Outcome::Refused, super::now_ns()),
        }
    }

    /// Appends a run; an error says what to wait for before the same run is tried again.
    fn append(&self, run: &mut Run<'_>, each: bool) -> Result<(), Turn> {
        let partition = &self.partitions[run.partition];
        if each && !self.groups[partition.group].is_clean() {
            return Err(Turn::Commit { group: partition.group });
        }
        let taken = run.taken;
        let batches = &run.batches[..run.len];
        match self.stages().time(Stage::Append, || self.engine.append(partition.log, batches)) {
            Ok(appended) => {
                assert_eq!(appended.base, partition.end.get(), "{} skipped or repeated an offset", partition.log);
                assert_eq!(appended.end, appended.base.plus(taken.messages), "{} miscounted", partition.log);
                partition.end.set(appended.end);
                partition.wait(taken, Outcome::Kept);
                self.live.appended_messages.add(taken.messages);
                self.live.appended_bytes.add(taken.bytes);
                self.has_room();
                self.dirtied(run.partition, taken.messages);
                self.retention_appended(run.partition, taken.bytes);
            }
            Err(error @ (AppendError::Busy | AppendError::Full)) => {
                let full = error == AppendError::Full;
                return Err(Turn::Room { partition: run.partition, bytes: taken.bytes, full });
            }
            Err(AppendError::Poisoned) => {
                partition.wait(taken, Outcome::Poisoned);
                self.append_poisoned(run.partition);
                self.settle(&self.partitions[run.partition]);
            }
            Err(AppendError::TooLarge { .. } | AppendError::NotOpen(_)) => {
                let refused = &self.counts.refused_batches;
                refused.set(refused.get() + u64::from(taken.batches));
                partition.wait(taken, Outcome::Refused);
                self.settle(&self.partitions[run.partition]);
            }
        }
        run.clear();
        Ok(())
    }
}
