//! The way in: batches from one producer's thread to one shard, and acknowledgements back, through memory that both
//! share. No locks, and no system call but the wake-up of a shard that sleeps.
//!
//! The producer encodes each batch in place ([`Producer::reserve`], [`Producer::publish`]); one [`Producer::flush`] then makes
//! any number of them visible with one store, and rings the shard's doorbell, which costs a system call only while the shard
//! sleeps. The shard walks over what it sees ([`Intake::frames`]) and gives the room back ([`Intake::advance`]) once the
//! engine has copied it. Back-pressure is the ring being full: [`Producer::reserve`] says so and nothing is lost.

mod acks;
mod frames;
mod sync;
mod wake;

pub use frames::{Frame, Frames, Gauge};

use std::collections::VecDeque;
pub(crate) use wake::Bell;
use wake::Doorbell;

/// What makes published batches visible by itself, without a [`Producer::flush`].
const HIDDEN_FRAMES_MAX: u32 = 64;
/// See [`HIDDEN_FRAMES_MAX`].
const HIDDEN_BYTES_MAX: u64 = 256 << 10;
/// Acknowledgements that can be on their way back; more wait at the shard, which takes no new batches then.
const ACKS_MAX: usize = if cfg!(loom) { 2 } else { 8192 };

/// An acknowledgement: the next `batches` submissions of `partition`, in the order in which they were published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The partition.
    pub partition: u32,
    /// How many of its submissions, oldest first.
    pub batches: u32,
    /// When the shard acknowledged them: CLOCK_MONOTONIC, nanoseconds.
    pub at_ns: u64,
    /// What became of them.
    pub outcome: Outcome,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Kept, as the durability promises.
    Kept,
    /// Refused: not a valid batch, not the records that the producer counted, larger than a segment, or for a partition that
    /// does not live on this shard.
    Refused,
    /// The log is poisoned by a failed write or flush: it is unknown whether this is kept.
    Poisoned,
}

/// Makes an intake of `bytes`.
///
/// # Panics
/// When `bytes` is not a power of two from 1 KiB to 1 GiB.
#[must_use]
pub fn channel(bytes: usize) -> (Producer, Intake, AckSender) {
    let (bell, doorbell) = wake::doorbell();
    let (writer, reader, gauge) = frames::ring(bytes);
    let (ack_writer, ack_reader) = acks::ring(ACKS_MAX);
    let producer = Producer {
        frames: writer,
        acks: ack_reader,
        bell: bell.clone(),
        gauge: gauge.clone(),
        hidden_frames: 0,
        wakes: 0,
    };
    let acks = AckSender { ring: ack_writer, waiting: VecDeque::new(), bell: bell.clone(), sent: 0 };
    (producer, Intake { frames: reader, doorbell, bell, gauge }, acks)
}

/// The producer's end. One thread at a time.
pub struct Producer {
    frames: frames::Writer,
    acks: acks::Reader,
    bell: Bell,
    gauge: Gauge,
    hidden_frames: u32,
    wakes: u64,
}

impl Producer {
    /// Room for one batch of `bytes`, in place: encode it there, then [`Self::publish`]. `None`: the intake is full (and
    /// everything published is visible); nothing is overwritten. A reservation that is not published is forgotten at the
    /// next one. The bytes hold whatever lay there before.
    ///
    /// # Panics
    /// When `bytes` is more than [`Self::frame_bytes_max`].
    #[inline]
    pub fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if !self.frames.fits(bytes) {
            self.flush();
            return None;
        }
        Some(self.frames.reserve(bytes))
    }

    /// Hands over what was reserved last: a batch of `records` records of `partition`. The shard need not see it before the
    /// next [`Self::flush`]; every 64 batches or 256 KiB this happens by itself.
    ///
    /// # Panics
    /// When nothing is reserved.
    #[inline]
    pub fn publish(&mut self, partition: u32, records: u32) {
        self.frames.commit(partition, records);
        self.hidden_frames += 1;
        if self.hidden_frames >= HIDDEN_FRAMES_MAX || self.frames.hidden_bytes() >= HIDDEN_BYTES_MAX {
            self.flush();
        }
    }

    /// Makes everything published visible to the shard, and wakes it if it sleeps: one store, at most one system call.
    #[inline]
    pub fn flush(&mut self) {
        self.hidden_frames = 0;
        if self.frames.show() {
            self.wakes += u64::from(self.bell.ring());
        }
    }

    /// Calls `each` for every acknowledgement that has arrived, in order; returns how many. Never waits. Each carries the
    /// time at which the shard gave it, so a producer may look as seldom as it likes, as long as it looks: a shard that has
    /// 8,192 acknowledgements on their way takes nothing new.
    pub fn acks(&mut self, each: impl FnMut(Ack)) -> usize {
        let (arrived, shard_waits) = self.acks.drain(each);
        if shard_waits {
            self.wakes += u64::from(self.bell.ring());
        }
        arrived
    }

    /// The largest batch that can ever be reserved, in bytes.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.frames.frame_bytes_max()
    }

    /// Bytes visible to the shard that it has not taken, with their frames.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.gauge.backlog_bytes()
    }

    /// Times that the shard slept and was woken by a system call.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.wakes
    }
}

/// The shard's end of the way in.
pub struct Intake {
    frames: frames::Reader,
    doorbell: Doorbell,
    bell: Bell,
    gauge: Gauge,
}

impl Intake {
    /// Looks whether there are frames. What was seen stays until [`Self::advance`].
    #[inline]
    pub fn look(&mut self) -> bool {
        self.frames.look()
    }

    /// The frames that [`Self::look`] saw, oldest first.
    #[must_use]
    pub fn frames(&self) -> Frames<'_> {
        self.frames.frames()
    }

    /// Gives back the room of all frames before `to`, a position of [`Frames::position`].
    ///
    /// # Panics
    /// When `to` lies outside what was seen.
    pub fn advance(&mut self, to: u64) {
        self.frames.advance(to);
    }

    /// Waits until there are frames or `also` is true. It is looked at again each time the bell rings: see [`Self::bell`].
    #[cfg(not(loom))]
    pub async fn wait(&mut self, ring: &shard_ring::Ring, mut also: impl FnMut() -> bool) -> std::io::Result<()> {
        while !self.frames.look() && !also() {
            self.doorbell.wait(ring).await?;
        }
        Ok(())
    }

    /// Waits until `found` is true, whatever there may be to take.
    #[cfg(not(loom))]
    pub async fn wait_for(&mut self, ring: &shard_ring::Ring, mut found: impl FnMut() -> bool) -> std::io::Result<()> {
        while !found() {
            self.doorbell.wait(ring).await?;
        }
        Ok(())
    }

    /// [`Self::wait`] of the model: the thread sleeps.
    #[cfg(loom)]
    pub fn wait(&mut self, mut also: impl FnMut() -> bool) {
        while !self.frames.look() && !also() {
            self.doorbell.wait();
        }
    }

    /// [`Self::wait_for`] of the model.
    #[cfg(loom)]
    pub fn wait_for(&mut self, mut found: impl FnMut() -> bool) {
        while !found() {
            self.doorbell.wait();
        }
    }

    /// Another hand on this shard's bell.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// How full the intake is, from any thread.
    #[must_use]
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }
}

/// The shard's end of the way back. What finds no room waits here, in order.
pub struct AckSender {
    ring: acks::Writer,
    waiting: VecDeque<Ack>,
    bell: Bell,
    sent: u64,
}

impl AckSender {
    /// Sends an acknowledgement, or keeps it until there is room. The first that is kept rings the bell: whoever [clears](Self::clear) may be
    /// waiting for frames, and none may come before these acknowledgements have arrived.
    pub fn send(&mut self, ack: Ack) {
        self.sent += 1;
        if self.waiting.is_empty() {
            if self.ring.push(ack) {
                return;
            }
            self.bell.ring();
        }
        self.waiting.push_back(ack);
    }

    /// Some found no room and wait.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what waits, as far as there is room. While this is false nothing new should be taken in: the bell rings when the
    /// producer has made room.
    pub fn clear(&mut self) -> bool {
        loop {
            while let Some(&ack) = self.waiting.front() {
                if !self.ring.push(ack) {
                    break;
                }
                self.waiting.pop_front();
            }
            if self.waiting.is_empty() {
                return true;
            }
            if self.ring.ask_for_room() {
                return false;
            }
        }
    }

    /// Acknowledgements sent or waiting, since the intake was made.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}
