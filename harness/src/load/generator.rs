//! The loop: one thread, one core, bounded work a turn.
//!
//! Each turn sends what is due, records the acknowledgements that have arrived, checks a bounded amount of what consumers received, and
//! then spins, or sleeps when nothing can happen for a while. It never waits for the engine: what finds no room stays in the
//! schedule, and its latency grows.

use super::{
    axis::Axis,
    clock::now_ns,
    consumers::{ConsumerError, Consumers},
    encode::Encoder,
    feed::{Feed, Pace, Tally, Turn},
    recorder::Recorder,
    taken::Taken,
};
use crate::profile::Resolved;
use std::time::Duration;

/// Time between two looks at the outside: progress, a wish to stop.
const TICK_NS: u64 = 100_000_000;
/// With nothing on its way and nothing due for this long, the generator sleeps.
const SLEEP_FROM_NS: u64 = 1_000_000;
/// It wakes this long before the next arrival: what a late timer costs here.
const WAKE_EARLY_NS: u64 = 300_000;
/// The longest sleep.
const SLEEP_MAX_NS: u64 = 20_000_000;
/// A probe's tail consumers may be this far behind before the flood waits for them: what a wall sustains, it sustains with them.
const LAG_BYTES_MAX: u64 = 32 << 20;

/// What the load of a run is made of.
pub struct Generator {
    /// One a shard.
    pub feeds: Vec<Feed>,
    /// All consumers.
    pub consumers: Consumers,
    /// Encodes the batches.
    pub encoder: Encoder,
    /// Messages acknowledged before the tail consumers began.
    pub history_messages: u64,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a backlog may drain after the schedule's end.
    pub drain: Duration,
    /// How long consumers may take to receive the rest after the last acknowledgement.
    pub receive: Duration,
}

/// How a schedule ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was acknowledged, and received by the tail consumers.
    Complete,
    /// Everything was acknowledged; tail consumers had not received everything in time.
    NotReceived,
    /// The drain was given up.
    NotDry,
    /// It was told to stop, at this time of the schedule, nanoseconds.
    Stopped(u64),
}

/// What was going on at a tick.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Time on the schedule's clock, nanoseconds.
    pub at_ns: u64,
    /// Counts over all shards.
    pub tally: Tally,
}

/// A played schedule.
pub struct Played {
    /// Latencies and counts.
    pub recorder: Recorder,
    /// Counts over all shards.
    pub tally: Tally,
    /// Time in which the generator did something, by interval of the axis.
    pub busy_ns: Vec<u64>,
    /// Time that the machine took from the generator's core.
    pub taken: Taken,
    /// Messages that were acknowledged and not received by every tail consumer in time, where the drain was given up.
    pub unreceived: u64,
    /// How it ended.
    pub end: End,
}

/// Adds up productive time by interval.
struct Busy {
    start_ns: u64,
    interval_ns: u64,
    by_interval: Vec<u64>,
}

impl Busy {
    fn add(&mut self, from_ns: u64, to_ns: u64) {
        let interval = (from_ns.saturating_sub(self.start_ns) / self.interval_ns) as usize;
        if interval >= self.by_interval.len() {
            self.by_interval.resize(interval + 1, 0);
        }
        self.by_interval[interval] += to_ns - from_ns;
    }
}

impl Generator {
    /// Plays the schedule of `resolved`, which the feeds have, from `start_ns` on, until it is acknowledged and received, the limits are
    /// reached or `tick` says no.
    ///
    /// # Errors
    /// The ring fails, or a catch-up consumer cannot connect.
    pub fn play(
        &mut self,
        resolved: &Resolved,
        start_ns: u64,
        limits: Limits,
        mut tick: impl FnMut(&Tick) -> bool,
    ) -> Result<Played, ConsumerError> {
        let axis = Axis::new(resolved.interval_ns(), resolved.phases.iter().map(|phase| phase.end_ns).collect());
        let catch_up = resolved.consumers.catch_up.map(|catch_up| catch_up.phase);
        let catch_up_ns = catch_up.map(|phase| axis.phase_ns(phase));
        let tails = u64::from(resolved.consumers.tail);
        let end_ns = start_ns + axis.duration_ns();
        let mut recorder = Recorder::new(axis.clone(), start_ns);
        let mut busy = Busy { start_ns, interval_ns: axis.interval_ns(), by_interval: Vec::new() };
        let mut next_tick_ns = start_ns;
        let mut give_up_ns = end_ns + limits.drain.as_nanos() as u64;
        let mut everything_acknowledged = false;
        let mut taken = Taken::begin();
        let mut at_ns = now_ns();
        let end = loop {
            let turn_start_ns = at_ns;
            let mut worked = false;
            let mut next_due_ns = u64::MAX;
            if at_ns >= start_ns {
                for feed in &mut self.feeds {
                    match feed.turn(start_ns, at_ns, &mut self.encoder, &mut recorder) {
                        Turn::Sent => worked = true,
                        Turn::Blocked => next_due_ns = 0,
                        Turn::Until(due_ns) => next_due_ns = next_due_ns.min(due_ns),
                        Turn::End => {}
                    }
                }
            } else {
                next_due_ns = start_ns;
            }
            for feed in &mut self.feeds {
                worked |= feed.acknowledgements(&mut recorder) > 0;
            }
            let receive_start_ns = now_ns();
            let received = self.consumers.turn(receive_start_ns, &mut recorder)?;
            at_ns = now_ns();
            let taken_ns = taken.turn(turn_start_ns, at_ns);
            self.feeds.iter_mut().for_each(|feed| feed.taken(taken_ns, at_ns));
            let closed_ns = (at_ns - receive_start_ns) as f64 * received.closed_loop_share();
            if worked || received.tail_bytes > 0 {
                busy.add(turn_start_ns, at_ns - closed_ns as u64);
            }
            worked |= received.worked;
            let ticks = at_ns >= next_tick_ns;
            if ticks {
                next_tick_ns = at_ns + TICK_NS;
                let schedule_ns = at_ns.saturating_sub(start_ns);
                if let Some((from_ns, to_ns)) = catch_up_ns {
                    self.consumers.catch_up((from_ns..to_ns).contains(&schedule_ns))?;
                }
                if !tick(&Tick { at_ns: schedule_ns, tally: self.tally() }) {
                    break End::Stopped(schedule_ns);
                }
            }
            if worked && !ticks {
                continue;
            }
            if self.feeds.iter().all(|feed| feed.is_at_end() && feed.is_idle()) {
                if !everything_acknowledged {
                    everything_acknowledged = true;
                    give_up_ns = at_ns + limits.receive.as_nanos() as u64;
                }
                if at_ns >= end_ns && self.all_received() {
                    break End::Complete;
                }
            }
            if at_ns >= give_up_ns {
                break if everything_acknowledged { End::NotReceived } else { End::NotDry };
            }
            if !worked {
                at_ns = self.rest(at_ns, next_due_ns.min(next_tick_ns), tails, &mut taken)?;
            }
        };
        let unreceived =
            if end == End::NotDry { self.receive(start_ns, limits.receive, &mut recorder, &mut tick)? } else { 0 };
        let until_ns = if let End::Stopped(at) = end { at } else { u64::MAX };
        for feed in &mut self.feeds {
            feed.abandon(until_ns, |at_ns, messages| recorder.abandoned(at_ns, messages));
        }
        Ok(Played { recorder, tally: self.tally(), busy_ns: busy.by_interval, taken, unreceived, end })
    }

    /// The drain was given up: tail consumers still receive what is acknowledged by now. Returns how much of it they had not received when
    /// `at_most` had passed or `tick` said no, in messages over all partitions, by the slowest consumer of each.
    fn receive(
        &mut self,
        start_ns: u64,
        at_most: Duration,
        recorder: &mut Recorder,
        tick: &mut impl FnMut(&Tick) -> bool,
    ) -> Result<u64, ConsumerError> {
        let shards = self.feeds.len();
        let partitions = self.feeds.iter().map(Feed::partitions).sum::<usize>();
        let due: Vec<u64> = (0..partitions as u32).map(|p| self.feeds[p as usize % shards].answered_of(p)).collect();
        let give_up_ns = now_ns() + at_most.as_nanos() as u64;
        let mut next_tick_ns = 0;
        loop {
            let at_ns = now_ns();
            let missing = |(partition, due): (usize, &u64)| {
                self.consumers.passed(partition as u32).map_or(0, |passed| due.saturating_sub(passed))
            };
            let unreceived = due.iter().enumerate().map(missing).sum();
            if unreceived == 0 || at_ns >= give_up_ns {
                return Ok(unreceived);
            }
            if at_ns >= next_tick_ns {
                next_tick_ns = at_ns + TICK_NS;
                if !tick(&Tick { at_ns: at_ns.saturating_sub(start_ns), tally: self.tally() }) {
                    return Ok(unreceived);
                }
            }
            self.consumers.turn(at_ns, recorder)?;
        }
    }

    /// Floods the shards as fast as they take it, until everything is acknowledged or `tick` says no: for a probe, or to write history. Tail consumers may lag by a
    /// bounded amount.
    ///
    /// # Errors
    /// The ring fails.
    pub fn flood(
        &mut self,
        resolved: &Resolved,
        start_ns: u64,
        mut tick: impl FnMut(&Tick) -> bool,
    ) -> Result<Played, ConsumerError> {
        let axis = Axis::new(resolved.interval_ns(), resolved.phases.iter().map(|phase| phase.end_ns).collect());
        let mut recorder = Recorder::new(axis.clone(), start_ns);
        let mut busy = Busy { start_ns, interval_ns: axis.interval_ns(), by_interval: Vec::new() };
        let tails = u64::from(resolved.consumers.tail);
        let mut next_tick_ns = start_ns;
        let mut taken = Taken::begin();
        let mut at_ns = now_ns();
        loop {
            let turn_start_ns = at_ns;
            let mut worked = false;
            if !self.lags(tails) {
                for feed in &mut self.feeds {
                    worked |= feed.turn(start_ns, at_ns, &mut self.encoder, &mut recorder) == Turn::Sent;
                }
            }
            for feed in &mut self.feeds {
                worked |= feed.acknowledgements(&mut recorder) > 0;
            }
            worked |= self.consumers.turn(at_ns, &mut recorder)?.worked;
            at_ns = now_ns();
            taken.turn(turn_start_ns, at_ns);
            if worked {
                busy.add(turn_start_ns, at_ns);
            }
            if at_ns >= next_tick_ns {
                next_tick_ns = at_ns + TICK_NS;
                let schedule_ns = at_ns.saturating_sub(start_ns);
                let goes_on = tick(&Tick { at_ns: schedule_ns, tally: self.tally() });
                let at_end = self.feeds.iter().all(|feed| feed.is_at_end() && feed.is_idle());
                if !goes_on || at_end {
                    let end = if goes_on { End::Complete } else { End::Stopped(schedule_ns) };
                    let busy_ns = busy.by_interval;
                    return Ok(Played { recorder, tally: self.tally(), busy_ns, taken, unreceived: 0, end });
                }
            }
        }
    }

    /// Waits until everything sent is acknowledged, or `at_most` has passed; returns whether it is.
    ///
    /// # Errors
    /// The ring fails.
    pub fn settle(&mut self, recorder: &mut Recorder, at_most: Duration) -> Result<bool, ConsumerError> {
        let give_up_ns = now_ns() + at_most.as_nanos() as u64;
        while !self.feeds.iter().all(Feed::is_idle) {
            if now_ns() > give_up_ns {
                return Ok(false);
            }
            for feed in &mut self.feeds {
                feed.acknowledgements(recorder);
            }
            self.consumers.turn(now_ns(), recorder)?;
        }
        Ok(true)
    }

    /// Gives every feed a new schedule.
    pub fn set_pace(&mut self, pace: Pace, mut schedule: impl FnMut(usize) -> crate::schedule::Schedule) {
        for (shard, feed) in self.feeds.iter_mut().enumerate() {
            feed.play(schedule(shard), pace);
        }
    }

    /// Counts over all shards.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.feeds.iter().fold(Tally::default(), |sum, feed| sum.plus(feed.tally()))
    }

    /// Messages that the tail consumers, taken together, have still to receive: each message once for each of them.
    fn to_receive(&self, tails: u64) -> u64 {
        let acknowledged = self.tally().acknowledged - self.history_messages;
        (acknowledged * tails).saturating_sub(self.consumers.tail_received())
    }

    fn lags(&self, tails: u64) -> bool {
        let Tally { acknowledged, acknowledged_bytes, .. } = self.tally();
        let bytes_each = acknowledged_bytes / acknowledged.max(1);
        tails > 0 && self.to_receive(tails) / tails * bytes_each > LAG_BYTES_MAX
    }

    /// Every tail consumer that still lives has passed everything that was sent.
    fn all_received(&self) -> bool {
        let shards = self.feeds.len();
        let partitions = self.feeds.iter().map(Feed::partitions).sum::<usize>();
        (0..partitions).all(|partition| {
            let sent = self.feeds[partition % shards].sent_to(partition as u32);
            self.consumers.passed(partition as u32).is_none_or(|passed| passed >= sent)
        })
    }

    /// Nothing was there to do: spins once, or sleeps when nothing can happen before `next_ns`.
    fn rest(&mut self, at_ns: u64, next_ns: u64, tails: u64, taken: &mut Taken) -> Result<u64, ConsumerError> {
        let idle_ns = next_ns.saturating_sub(at_ns);
        if idle_ns < SLEEP_FROM_NS || !self.feeds.iter().all(Feed::is_idle) || self.to_receive(tails) > 0 {
            std::hint::spin_loop();
            return Ok(now_ns());
        }
        self.consumers.wait(Duration::from_nanos((idle_ns - WAKE_EARLY_NS).min(SLEEP_MAX_NS)))?;
        let awake_ns = now_ns();
        taken.slept(at_ns, awake_ns);
        Ok(awake_ns)
    }
}
