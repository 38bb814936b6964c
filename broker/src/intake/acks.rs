//! The way back: a ring of acknowledgements from the shard to the producer. Each is two words, so the ring is made of
//! atomics and needs no `unsafe`.

use super::{
    Ack, Outcome,
    sync::{Arc, AtomicBool, AtomicU64, Ordering, Padded, fence},
};

struct Shared {
    /// Written by the producer.
    head: Padded<AtomicU64>,
    /// Written by the shard.
    tail: Padded<AtomicU64>,
    /// The shard waits for room.
    starved: Padded<AtomicBool>,
    entries: Box<[[AtomicU64; 2]]>,
}

/// The shard's end.
pub(super) struct Writer {
    shared: Arc<Shared>,
    tail: u64,
    head_seen: u64,
}

/// The producer's end.
pub(super) struct Reader {
    shared: Arc<Shared>,
    head: u64,
}

/// A ring of `entries`: a power of two.
pub(super) fn ring(entries: usize) -> (Writer, Reader) {
    assert!(entries.is_power_of_two(), "a ring's size");
    let shared = Arc::new(Shared {
        head: Padded(AtomicU64::new(0)),
        tail: Padded(AtomicU64::new(0)),
        starved: Padded(AtomicBool::new(false)),
        entries: (0..entries).map(|_| [AtomicU64::new(0), AtomicU64::new(0)]).collect(),
    });
    (Writer { shared: shared.clone(), tail: 0, head_seen: 0 }, Reader { shared, head: 0 })
}

/// The outcome takes the two lowest bits of the time.
fn pack(ack: Ack) -> [u64; 2] {
    let outcome = match ack.outcome {
        Outcome::Kept => 0,
        Outcome::Refused => 1,
        Outcome::Poisoned => 2,
    };
    [u64::from(ack.partition) | u64::from(ack.batches) << 32, ack.at_ns << 2 | outcome]
}

fn unpack([who, when]: [u64; 2]) -> Ack {
    let outcome = match when & 3 {
        0 => Outcome::Kept,
        1 => Outcome::Refused,
        _ => Outcome::Poisoned,
    };
    Ack { partition: who as u32, batches: (who >> 32) as u32, at_ns: when >> 2, outcome }
}

impl Writer {
    /// Hands an acknowledgement to the producer; false, and nothing done, when the ring is full.
    pub(super) fn push(&mut self, ack: Ack) -> bool {
        let capacity = self.shared.entries.len() as u64;
        if self.tail - self.head_seen == capacity {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail - self.head_seen == capacity {
                return false;
            }
        }
        let entry = &self.shared.entries[(self.tail & (capacity - 1)) as usize];
        let [who, when] = pack(ack);
        entry[0].store(who, Ordering::Relaxed);
        entry[1].store(when, Ordering::Relaxed);
        self.tail += 1;
        self.shared.tail.0.store(self.tail, Ordering::Release);
        true
    }

    /// Asks the producer to ring once it has made room; false when there is room already. Ask before going to sleep.
    pub(super) fn ask_for_room(&mut self) -> bool {
        self.shared.starved.0.store(true, Ordering::Relaxed);
        // Either the producer sees the wish, or this sees the room that the producer made: both fence between their write and their read.
        fence(Ordering::SeqCst);
        self.head_seen = self.shared.head.0.load(Ordering::Acquire);
        self.tail - self.head_seen == self.shared.entries.len() as u64
    }
}

impl Reader {
    /// Calls `each` for all that has arrived. Returns how many, and whether the shard waits for the room.
    pub(super) fn drain(&mut self, mut each: impl FnMut(Ack)) -> (usize, bool) {
        let tail = self.shared.tail.0.load(Ordering::Acquire);
        let arrived = (tail - self.head) as usize;
        if arrived == 0 {
            return (0, false);
        }
        let mask = self.shared.entries.len() as u64 - 1;
        while self.head != tail {
            let entry = &self.shared.entries[(self.head & mask) as usize];
            each(unpack([entry[0].load(Ordering::Relaxed), entry[1].load(Ordering::Relaxed)]));
            self.head += 1;
        }
        self.shared.head.0.store(self.head, Ordering::Release);
        fence(Ordering::SeqCst);
        let starved = self.shared.starved.0.load(Ordering::Relaxed);
        if starved {
            self.shared.starved.0.store(false, Ordering::Relaxed);
        }
        (arrived, starved)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn ack(n: u32, outcome: Outcome) -> Ack {
        Ack { partition: n, batches: u32::MAX - n, at_ns: (1 << 61) + u64::from(n), outcome }
    }

    #[test]
    fn acknowledgements_arrive_whole_and_in_order_over_many_turns() {
        let (mut writer, mut reader) = ring(4);
        let mut expected = 0;
        for n in 0..1000u32 {
            let outcome = [Outcome::Kept, Outcome::Refused, Outcome::Poisoned][n as usize % 3];
            assert!(writer.push(ack(n, outcome)));
            if n % 3 == 2 {
                let (arrived, _) = reader.drain(|got| {
                    let outcome = [Outcome::Kept, Outcome::Refused, Outcome::Poisoned][expected as usize % 3];
                    assert_eq!(got, ack(expected, outcome));
                    expected += 1;
                });
                assert_eq!(arrived, 3);
            }
        }
    }

    #[test]
    fn a_full_ring_takes_nothing_and_asks_for_room() {
        let (mut writer, mut reader) = ring(2);
        assert!(writer.push(ack(0, Outcome::Kept)) && writer.push(ack(1, Outcome::Kept)));
        assert!(!writer.push(ack(2, Outcome::Kept)));
        assert!(writer.ask_for_room());
        assert_eq!(reader.drain(|_| ()), (2, true));
        assert_eq!(reader.drain(|_| ()), (0, false));
        assert!(!writer.ask_for_room());
        assert!(writer.push(ack(2, Outcome::Kept)));
    }
}
