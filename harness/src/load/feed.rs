//! One shard's producers: sends what its part of the schedule has due, and matches acknowledgements to what was sent.
//!
//! A flood that overtops the engine leaves a queue in the schedule, and when there is room again the generator needs time to work
//! through it. That time is the queue's, not lateness: while a backlog stands that began with a full intake, a message is late only by
//! what it took to send it once the one before it was sent, and by what was taken from the generator since there was room last: all that
//! is sent before it has caught up comes so much later. Whatever else keeps a message from being sent is lateness.

use super::{
    clock::now_ns,
    encode::{Content, Encoder},
    recorder::{Recorder, Sent},
};
use crate::schedule::{Arrival, Schedule};
use broker::{Ack, Outcome, Producer};
use std::collections::VecDeque;

/// Batches sent between two looks at anything else. At 1 KB that is about 40 us.
const BATCHES_A_TURN: u32 = 64;
/// Batches whose acknowledgement is written down between two looks at anything else: an engine that stalled acknowledges what it had
/// at once. At 50 ns each that is about 25 us. Their times do not change by waiting: the shard gave them.
const ACKNOWLEDGED_A_TURN: u32 = 512;
/// Batches sent before the shard is told of them: a message waits at most for the encoding of as many.
const BATCHES_A_FLUSH: u32 = 16;

/// A full intake is filled again once this share of it is free: a queue's messages lose nothing by waiting in the schedule instead of
/// the intake, and the generator does not spend its time on one message a turn.
const REFILL_SHARE: u64 = 4;

/// When arrivals are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At their intended time.
    Open,
    /// As soon as there is room, whatever their time: a probe.
    Closed,
}

/// What became of what was sent, in counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages handed over.
    pub sent: u64,
    /// Messages acknowledged as kept.
    pub acknowledged: u64,
    /// Bytes of their batches.
    pub acknowledged_bytes: u64,
    /// Messages refused.
    pub refused: u64,
    /// Messages answered as poisoned.
    pub poisoned: u64,
}

/// One shard's part of the load.
pub struct Feed {
    producer: Producer,
    schedule: Schedule,
    next: Option<Arrival>,
    pace: Pace,
    shards: u32,
    /// By partition of this shard, in order: what waits for its acknowledgement.
    waiting: Vec<VecDeque<Sent>>,
    /// Acknowledgements that have arrived and are not yet written down.
    arrived: VecDeque<Ack>,
    sequences: Vec<u64>,
    /// When there was last a reason at the engine not to send: the intake was full, or a backlog that it had caused was being sent.
    engine_waits_ns: u64,
    /// The intake was full, and the generator has not yet caught up with the schedule.
    behind: bool,
    /// While it is behind: time taken from the generator since the intake was full last. All that it sends is late by it.
    debt_ns: u64,
    /// Bytes in the intake when it was found full; 0 once there is room again.
    full_bytes: u64,
    /// Number of the shard's next batch; it chooses the payload.
    number: u64,
    tally: Tally,
}

/// What one turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Batches were sent; more may be due.
    Sent,
    /// Something is due, and there is no room.
    Blocked,
    /// Nothing is due before this time of CLOCK_MONOTONIC.
    Until(u64),
    /// The schedule is at its end.
    End,
}

impl Feed {
    /// The part of `shard` (of `shards`), with `partitions` over all shards.
    #[must_use]
    pub fn new(producer: Producer, schedule: Schedule, pace: Pace, shard: u32, shards: u32, partitions: u32) -> Self {
        let own = (partitions.saturating_sub(shard)).div_ceil(shards) as usize;
        let mut feed = Self {
            producer,
            schedule,
            next: None,
            pace,
            shards,
            waiting: vec![VecDeque::new(); own],
            arrived: VecDeque::new(),
            sequences: vec![0; own],
            engine_waits_ns: 0,
            behind: false,
            debt_ns: 0,
            full_bytes: 0,
            // Shards draw payloads from different places.
            number: u64::from(shard) << 40,
            tally: Tally::default(),
        };
        feed.next = feed.schedule.next();
        feed
    }

    /// Whether an intake that was found full has been emptied far enough.
    fn has_room(&mut self) -> bool {
        if self.full_bytes > 0 && self.producer.backlog_bytes() > self.full_bytes - self.full_bytes / REFILL_SHARE {
            return false;
        }
        self.full_bytes = 0;
        true
    }

    /// There is no room for a batch that is due.
    fn blocked(&mut self, batches: u32) -> Turn {
        self.engine_waits_ns = now_ns();
        self.behind = true;
        // Without what was taken before, it would have been full as well.
        self.debt_ns = 0;
        if batches > 0 { Turn::Sent } else { Turn::Blocked }
    }

    /// Goes on with another schedule: partitions, sequences and what waits stay.
    pub fn play(&mut self, schedule: Schedule, pace: Pace) {
        self.schedule = schedule;
        self.next = self.schedule.next();
        self.pace = pace;
        self.engine_waits_ns = 0;
        self.caught_up();
    }

    fn caught_up(&mut self) {
        self.behind = false;
        self.debt_ns = 0;
    }

    /// In a turn that ended at `at_ns` the machine took the generator's core for a while: nothing could be sent, whatever room there was.
    pub fn taken(&mut self, taken_ns: u64, at_ns: u64) {
        if self.behind {
            self.debt_ns += taken_ns;
            // The next message is not late by it twice: since the one before it, and as all that follow.
            self.engine_waits_ns = (self.engine_waits_ns + taken_ns).min(at_ns);
        }
    }

    /// Sends what is due, bounded. `start_ns` is the schedule's start on CLOCK_MONOTONIC, `at_ns` the time now, both CLOCK_MONOTONIC.
    pub fn turn(&mut self, start_ns: u64, mut at_ns: u64, encoder: &mut Encoder, recorder: &mut Recorder) -> Turn {
        let mut batches = 0;
        let turn = loop {
            let Some(arrival) = self.next else { break Turn::End };
            let intended_ns = match self.pace {
                Pace::Open => start_ns + arrival.at_ns,
                Pace::Closed => at_ns,
            };
            if intended_ns > at_ns {
                self.caught_up();
                break if batches > 0 { Turn::Sent } else { Turn::Until(intended_ns) };
            }
            if batches == BATCHES_A_TURN {
                break Turn::Sent;
            }
            if !self.has_room() {
                break self.blocked(batches);
            }
            let shape = encoder.shape(arrival.messages, arrival.bytes);
            let bytes = encoder.bytes(shape);
            let Some(place) = self.producer.reserve(bytes) else {
                self.full_bytes = self.producer.backlog_bytes();
                break self.blocked(batches);
            };
            let own = (arrival.partition / self.shards) as usize;
            let content = Content {
                messages: arrival.messages,
                value_bytes: arrival.bytes,
                number: self.number,
                sequence: self.sequences[own],
                intended_ns,
                phase: arrival.phase,
            };
            encoder.encode(shape, place, &content);
            at_ns = now_ns();
            self.producer.publish(arrival.partition, arrival.messages);
            let engine_waits_ns = self.engine_waits_ns.saturating_sub(self.debt_ns);
            let sent = Sent::new(intended_ns, engine_waits_ns, at_ns, arrival.messages, bytes as u32);
            if self.behind {
                self.engine_waits_ns = at_ns;
            }
            recorder.sent(&sent);
            self.waiting[own].push_back(sent);
            self.sequences[own] += u64::from(arrival.messages);
            self.number += 1;
            self.tally.sent += u64::from(arrival.messages);
            self.next = self.schedule.next();
            batches += 1;
            if batches % BATCHES_A_FLUSH == 0 {
                self.producer.flush();
            }
        };
        if batches % BATCHES_A_FLUSH != 0 {
            self.producer.flush();
        }
        turn
    }

    /// Writes down acknowledgements that have arrived, bounded; returns how many batches they were for.
    pub fn acknowledgements(&mut self, recorder: &mut Recorder) -> u32 {
        let Self { producer, waiting, arrived, tally, shards, .. } = self;
        producer.acks(|ack| arrived.push_back(ack));
        let mut left = ACKNOWLEDGED_A_TURN;
        while let Some(ack) = arrived.front_mut() {
            let batches = ack.batches.min(left);
            let own = &mut waiting[(ack.partition / *shards) as usize];
            for sent in own.drain(..batches as usize) {
                let messages = u64::from(sent.messages);
                match ack.outcome {
                    Outcome::Kept => {
                        recorder.acknowledged(&sent, ack.at_ns);
                        tally.acknowledged += messages;
                        tally.acknowledged_bytes += u64::from(sent.bytes);
                    }
                    Outcome::Refused => tally.refused += messages,
                    Outcome::Poisoned => tally.poisoned += messages,
                }
            }
            left -= batches;
            ack.batches -= batches;
            if ack.batches > 0 {
                break;
            }
            arrived.pop_front();
        }
        ACKNOWLEDGED_A_TURN - left
    }

    /// Counts so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Nothing waits for an acknowledgement.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let Tally { sent, acknowledged, refused, poisoned, .. } = self.tally;
        sent == acknowledged + refused + poisoned
    }

    /// Every arrival was sent.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.next.is_none()
    }

    /// Partitions of this shard.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.sequences.len()
    }

    /// Messages sent to a partition of this shard in this run.
    #[must_use]
    pub fn sent_to(&self, partition: u32) -> u64 {
        self.sequences[(partition / self.shards) as usize]
    }

    /// Messages of a partition of this shard that were sent in this run and answered.
    #[must_use]
    pub fn answered_of(&self, partition: u32) -> u64 {
        let own = (partition / self.shards) as usize;
        self.sequences[own] - self.waiting[own].iter().map(|sent| u64::from(sent.messages)).sum::<u64>()
    }

    /// Gives up the arrivals before `until_ns` (of the schedule) that were never sent, telling each to `each`: time and messages.
    pub fn abandon(&mut self, until_ns: u64, mut each: impl FnMut(u64, u32)) {
        while let Some(arrival) = self.next.take_if(|arrival| arrival.at_ns < until_ns) {
            each(arrival.at_ns, arrival.messages);
            self.next = self.schedule.next();
        }
        self.next = None;
    }
}

impl Tally {
    /// Adds another shard's.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            acknowledged: self.acknowledged + other.acknowledged,
            acknowledged_bytes: self.acknowledged_bytes + other.acknowledged_bytes,
            refused: self.refused + other.refused,
            poisoned: self.poisoned + other.poisoned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::axis::Axis;
    use crate::profile::{Profile, Resolved, Settings};
    use crate::schedule::Split;
    use broker::{
        Ack,
        intake::{AckSender, Intake, channel},
    };

    const INTAKE_BYTES: usize = 64 << 10;

    struct Rig {
        feed: Feed,
        intake: Intake,
        acks: AckSender,
        encoder: Encoder,
        recorder: Recorder,
        start_ns: u64,
    }

    fn schedule() -> (Resolved, Schedule) {
        let settings = Settings { shards: 1, ..Settings::default() };
        let resolved = Profile::load("steady").unwrap().resolve(&settings).unwrap();
        let schedule = Schedule::new(&resolved, Split::WHOLE);
        (resolved, schedule)
    }

    /// A feed whose schedule began a minute ago: everything is due.
    fn rig() -> Rig {
        let (resolved, schedule) = schedule();
        let (producer, intake, acks) = channel(INTAKE_BYTES);
        let start_ns = now_ns() - 60_000_000_000;
        let ends = resolved.phases.iter().map(|phase| phase.end_ns).collect();
        Rig {
            feed: Feed::new(producer, schedule, Pace::Open, 0, 1, 1),
            intake,
            acks,
            encoder: Encoder::new(1, 1.0, 1_024, 1),
            recorder: Recorder::new(Axis::new(100_000_000, ends), start_ns),
            start_ns,
        }
    }

    impl Rig {
        fn turn(&mut self) -> Turn {
            self.feed.turn(self.start_ns, now_ns(), &mut self.encoder, &mut self.recorder)
        }

        /// Sends until there is no more room.
        fn fill(&mut self) -> u64 {
            while self.turn() == Turn::Sent {}
            self.feed.tally().sent
        }

        /// Takes everything out of the intake and acknowledges it; returns how many batches.
        fn take(&mut self) -> u32 {
            self.intake.look();
            let mut frames = self.intake.frames();
            let mut batches = 0;
            for frame in frames.by_ref() {
                assert!(log_format::verify(frame.bytes).is_ok());
                batches += 1;
            }
            let position = frames.position();
            self.intake.advance(position);
            let ack = Ack { partition: 0, batches, at_ns: now_ns(), outcome: Outcome::Kept };
            self.acks.send(ack);
            self.feed.acknowledgements(&mut self.recorder);
            batches
        }
    }

    #[test]
    fn nothing_is_sent_before_it_is_due() {
        let mut rig = rig();
        rig.start_ns = now_ns() + 3_600_000_000_000;
        let (_, mut schedule) = schedule();
        let first = schedule.next().unwrap();
        assert_eq!(rig.turn(), Turn::Until(rig.start_ns + first.at_ns));
        assert_eq!(rig.feed.tally(), Tally::default());
    }

    #[test]
    fn what_finds_no_room_waits_in_the_schedule_and_nothing_is_skipped() {
        let mut rig = rig();
        let sent = rig.fill();
        assert!((40..64).contains(&sent), "64 KiB hold {sent} batches of 1.1 KB");
        assert_eq!(rig.turn(), Turn::Blocked);
        assert!(!rig.feed.is_idle());
        assert_eq!(u64::from(rig.take()), sent);
        assert!(rig.feed.is_idle());
        let more = rig.fill() - sent;
        assert_eq!(more, sent, "the next ones, as many");
        let (_, schedule) = schedule();
        let due: Vec<u64> = schedule.take((sent + more) as usize).map(|arrival| rig.start_ns + arrival.at_ns).collect();
        let waiting: Vec<u64> = rig.feed.waiting[0].iter().map(|sent| sent.intended_ns).collect();
        assert_eq!(waiting, due[sent as usize..]);
    }

    #[test]
    fn a_backlog_that_the_engine_caused_is_a_queue_and_not_lateness() {
        let mut rig = rig();
        rig.fill();
        let late: Vec<Sent> = rig.feed.waiting[0].iter().copied().collect();
        assert!(late.iter().all(|sent| sent.room_ns == sent.intended_ns), "there was room, so the generator was late");
        let full_at_ns = rig.feed.engine_waits_ns;
        rig.take();
        rig.fill();
        let queued: Vec<Sent> = rig.feed.waiting[0].iter().copied().collect();
        for (before, sent) in queued.iter().zip(&queued[1..]) {
            assert!(
                sent.room_ns >= full_at_ns && sent.room_ns >= before.sent_ns,
                "queued until the one before was sent"
            );
            let parts = sent.parts(sent.sent_ns + 5);
            assert_eq!(parts.queued + parts.lateness + parts.service, parts.response);
        }
    }

    #[test]
    fn what_is_taken_from_the_generator_in_a_flood_makes_all_that_follows_late_until_the_intake_is_full_again() {
        const TAKEN_NS: u64 = 10_000_000;
        let mut rig = rig();
        rig.fill();
        rig.take();
        rig.feed.taken(TAKEN_NS, now_ns());
        rig.fill();
        let lateness = |rig: &Rig| -> Vec<u64> {
            rig.feed.waiting[0].iter().map(|sent| sent.parts(sent.sent_ns).lateness).collect()
        };
        let late = lateness(&rig);
        assert!(late.len() > 30 && late.iter().all(|late| *late >= TAKEN_NS), "{late:?}");
        // Everything is a minute late, and the rest is the queue's.
        assert!(rig.feed.waiting[0].iter().all(|sent| sent.room_ns > sent.intended_ns));
        rig.take();
        assert_eq!(rig.feed.debt_ns, 0, "the engine was full: it would have been so without the pause");
        // Caught up, it owes nothing.
        rig.feed.taken(TAKEN_NS, now_ns());
        rig.start_ns = now_ns() + 3_600_000_000_000;
        assert!(matches!(rig.turn(), Turn::Until(_)));
        assert_eq!(rig.feed.debt_ns, 0);
        rig.feed.taken(TAKEN_NS, now_ns());
        assert_eq!(rig.feed.debt_ns, 0, "nothing is due: nothing is late");
    }

    #[test]
    fn what_was_answered_is_told_by_partition() {
        let mut rig = rig();
        let sent = rig.fill();
        assert_eq!(rig.feed.answered_of(0), 0);
        rig.acks.send(Ack { partition: 0, batches: 3, at_ns: now_ns(), outcome: Outcome::Kept });
        rig.feed.acknowledgements(&mut rig.recorder);
        assert_eq!((rig.feed.answered_of(0), rig.feed.sent_to(0)), (3, sent));
    }

    #[test]
    fn once_caught_up_a_late_generator_is_late_again() {
        let mut rig = rig();
        rig.fill();
        rig.take();
        assert!(rig.feed.behind);
        rig.start_ns = now_ns() + 3_600_000_000_000;
        assert!(matches!(rig.turn(), Turn::Until(_)));
        assert!(!rig.feed.behind);
    }

    #[test]
    fn refused_and_poisoned_messages_are_counted_and_have_no_latency() {
        let mut rig = rig();
        let sent = rig.fill();
        for (batches, outcome) in [(3, Outcome::Kept), (2, Outcome::Refused), (1, Outcome::Poisoned)] {
            rig.acks.send(Ack { partition: 0, batches, at_ns: now_ns(), outcome });
        }
        assert_eq!(rig.feed.acknowledgements(&mut rig.recorder), 6);
        let tally = rig.feed.tally();
        assert_eq!((tally.acknowledged, tally.refused, tally.poisoned), (3, 2, 1));
        let recorded: u64 = (0..2).map(|phase| rig.recorder.phase_merged(&rig.recorder.response, phase).len()).sum();
        assert_eq!(recorded, 3);
        assert_eq!(rig.feed.waiting[0].len() as u64, sent - 6);
    }

    #[test]
    fn a_turn_writes_down_a_bounded_number_of_acknowledgements_in_order() {
        let mut rig = rig();
        let sent = rig.fill();
        while rig.feed.waiting[0].len() < 2 * ACKNOWLEDGED_A_TURN as usize {
            let more = rig.feed.waiting[0][0];
            rig.feed.waiting[0].push_back(more);
        }
        let given = [(ACKNOWLEDGED_A_TURN + 7, Outcome::Kept), (5, Outcome::Refused)];
        for (batches, outcome) in given {
            rig.acks.send(Ack { partition: 0, batches, at_ns: now_ns(), outcome });
        }
        let mut turn = || rig.feed.acknowledgements(&mut rig.recorder);
        assert_eq!((turn(), turn(), turn()), (ACKNOWLEDGED_A_TURN, 12, 0), "{sent} were sent");
        let tally = rig.feed.tally();
        assert_eq!((tally.acknowledged, tally.refused), (u64::from(ACKNOWLEDGED_A_TURN) + 7, 5));
        assert_eq!(rig.feed.waiting[0].len(), ACKNOWLEDGED_A_TURN as usize - 12);
    }

    #[test]
    fn abandoned_arrivals_are_told_up_to_the_time_given() {
        let mut rig = rig();
        let sent = rig.fill();
        let (_, schedule) = schedule();
        let until_ns = 2_000_000_000;
        let due = schedule.take_while(|arrival| arrival.at_ns < until_ns).count() as u64;
        let mut told = 0;
        rig.feed.abandon(until_ns, |at_ns, messages| {
            assert!(at_ns < until_ns);
            told += u64::from(messages);
        });
        assert_eq!(told, due - sent);
        assert!(rig.feed.is_at_end());
    }
}
