//! The way in: batches from one producer's thread to one shard, and acknowledgements back, through memory that both
//! share. No locks, no system call but the wake-up of a shard that sleeps.

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
    /// Refused: not a valid batch, larger than a segment, or for a partition that does not live on this shard.
    Refused,
    /// The log is poisoned by a failed write or flush: it is unknown whether this is kept.
    Poisoned,
}

/// The producer's end. One thread at a time.
pub struct Producer {
    _private: (),
}

impl Producer {
    /// Room for one batch of `bytes`, in place: encode it there, then [`Self::publish`]. `None`: the intake is full; what
    /// the shard has not taken stays, nothing is overwritten. A reservation that is not published is forgotten at the next one.
    ///
    /// # Panics
    /// When `bytes` is more than [`Self::frame_bytes_max`].
    pub fn reserve(&mut self, _bytes: usize) -> Option<&mut [u8]> {
        todo!()
    }

    /// Hands over what was reserved last: a batch of `records` records of `partition`. The shard need not see it before the next
    /// [`Self::flush`]; every 64 batches or 256 KiB this happens by itself.
    pub fn publish(&mut self, _partition: u32, _records: u32) {
        todo!()
    }

    /// Makes everything published visible to the shard, and wakes it if it sleeps: one store, at most one system call.
    pub fn flush(&mut self) {
        todo!()
    }

    /// Calls `each` for every acknowledgement that has arrived, in order; returns how many. Never waits.
    pub fn acks(&mut self, _each: impl FnMut(Ack)) -> usize {
        todo!()
    }

    /// The largest batch that can ever be reserved, in bytes.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        todo!()
    }

    /// Bytes published and not yet taken by the shard, with their frames.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        todo!()
    }

    /// Times that the shard was woken by a system call.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        todo!()
    }
}
