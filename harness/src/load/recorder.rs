//! What the generator writes down: latencies by phase and interval, counts by interval. Histograms are merged at the end, never
//! averaged.

use super::{
    axis::{Axis, Cell, Cursor},
    cells::{Cells, histogram},
};
use hdrhistogram::Histogram;

/// A submission that waits for its acknowledgement. Times are CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it was to arrive by the schedule.
    pub intended_ns: u64,
    /// Until when the engine kept it from being sent: the intake was full, or a backlog that it had caused was being sent. Else the
    /// intended arrival.
    pub room_ns: u64,
    /// When it was encoded and handed over.
    pub sent_ns: u64,
    /// Messages.
    pub messages: u32,
    /// Bytes of the batch.
    pub bytes: u32,
}

/// A response time and its three parts, nanoseconds. The parts add up to the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Acknowledged less intended arrival.
    pub response: u64,
    /// There was no room at the engine, or a backlog stood because there had been none.
    pub queued: u64,
    /// There was room, and the generator had not sent.
    pub lateness: u64,
    /// From sending to the acknowledgement.
    pub service: u64,
}

impl Sent {
    /// A submission. `engine_waits_ns` is the last time at which the engine was the reason not to send, 0 for never.
    #[must_use]
    pub fn new(intended_ns: u64, engine_waits_ns: u64, sent_ns: u64, messages: u32, bytes: u32) -> Self {
        let sent_ns = sent_ns.max(intended_ns);
        Self { intended_ns, room_ns: engine_waits_ns.clamp(intended_ns, sent_ns), sent_ns, messages, bytes }
    }

    /// The parts of its response when it was acknowledged at `done_ns`.
    #[must_use]
    pub fn parts(&self, done_ns: u64) -> Parts {
        let done_ns = done_ns.max(self.sent_ns);
        Parts {
            response: done_ns - self.intended_ns,
            queued: self.room_ns - self.intended_ns,
            lateness: self.sent_ns - self.room_ns,
            service: done_ns - self.sent_ns,
        }
    }
}

/// The parts of the response of one phase.
#[derive(Clone, Debug)]
pub struct PhaseParts {
    /// See [`Parts::queued`].
    pub queued: Histogram<u64>,
    /// See [`Parts::lateness`].
    pub lateness: Histogram<u64>,
    /// See [`Parts::service`].
    pub service: Histogram<u64>,
}

/// Everything written down during a run.
pub struct Recorder {
    axis: Axis,
    /// CLOCK_MONOTONIC at the start of the schedule.
    start_ns: u64,
    /// Response by [`Cell::slot`] of the intended arrival.
    pub response: Cells,
    /// From the intended arrival to a tail consumer, by [`Cell::slot`] of the intended arrival.
    pub end_to_end: Cells,
    /// By phase of the intended arrival.
    pub phases: Vec<PhaseParts>,
    /// Messages sent, by slot of the intended arrival.
    pub sent: Vec<u64>,
    /// Messages never sent, by slot of the intended arrival: the generator queued them to the end.
    pub abandoned: Vec<u64>,
    /// Messages acknowledged, by slot of the intended arrival.
    pub acknowledged: Vec<u64>,
    /// Messages acknowledged, by interval of the acknowledgement; longer than the schedule while a backlog drains.
    pub achieved: Vec<u64>,
    /// Messages acknowledged within the schedule, by phase of the acknowledgement.
    pub achieved_in_phase: Vec<u64>,
    sent_cursor: Cursor,
    acknowledged_cursor: Cursor,
    received_cursor: Cursor,
    done_cursor: Cursor,
}

impl Recorder {
    /// An empty recorder of a schedule that starts at `start_ns` of CLOCK_MONOTONIC.
    #[must_use]
    pub fn new(axis: Axis, start_ns: u64) -> Self {
        let slots = axis.intervals() + axis.phases();
        let parts = || PhaseParts { queued: histogram(), lateness: histogram(), service: histogram() };
        Self {
            start_ns,
            response: Cells::new(slots),
            end_to_end: Cells::new(slots),
            phases: (0..axis.phases()).map(|_| parts()).collect(),
            sent: vec![0; slots],
            abandoned: vec![0; slots],
            acknowledged: vec![0; slots],
            achieved: Vec::with_capacity(axis.intervals() + 400),
            achieved_in_phase: vec![0; axis.phases()],
            done_cursor: Cursor::default(),
            sent_cursor: Cursor::default(),
            acknowledged_cursor: Cursor::default(),
            received_cursor: Cursor::default(),
            axis,
        }
    }

    /// Bytes that the latencies of a run may take: `messages` in so many intervals, each received as well.
    #[must_use]
    pub fn bytes_max(intervals: u64, messages: u64) -> u64 {
        Cells::bytes_max(intervals, messages).saturating_mul(2)
    }

    /// The axis.
    #[must_use]
    pub fn axis(&self) -> &Axis {
        &self.axis
    }

    /// CLOCK_MONOTONIC at the start of the schedule.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// A submission was handed over.
    pub fn sent(&mut self, sent: &Sent) {
        let cell = self.sent_cursor.find(&self.axis, sent.intended_ns.saturating_sub(self.start_ns));
        self.sent[slot(&self.axis, cell)] += u64::from(sent.messages);
    }

    /// Messages that were due at `at_ns` of the schedule and were never sent.
    pub fn abandoned(&mut self, at_ns: u64, messages: u32) {
        let slot = slot(&self.axis, self.axis.cell(at_ns));
        self.abandoned[slot] += u64::from(messages);
    }

    /// Messages whose intended arrival lies in an interval.
    #[must_use]
    pub fn offered_in(&self, interval: usize) -> u64 {
        self.axis.cells_in(interval).map(|cell| self.sent[cell.slot()] + self.abandoned[cell.slot()]).sum()
    }

    /// Messages whose intended arrival lies in an interval and that were acknowledged.
    #[must_use]
    pub fn acknowledged_of(&self, interval: usize) -> u64 {
        self.axis.cells_in(interval).map(|cell| self.acknowledged[cell.slot()]).sum()
    }

    /// A submission was acknowledged as kept.
    pub fn acknowledged(&mut self, sent: &Sent, done_ns: u64) {
        let cell = self.acknowledged_cursor.find(&self.axis, sent.intended_ns.saturating_sub(self.start_ns));
        let slot = slot(&self.axis, cell);
        let parts = sent.parts(done_ns);
        let n = sent.messages;
        self.response.record(slot, parts.response, n);
        let phase = &mut self.phases[cell.phase];
        phase.queued.saturating_record_n(parts.queued, u64::from(n));
        phase.lateness.saturating_record_n(parts.lateness, u64::from(n));
        phase.service.saturating_record_n(parts.service, u64::from(n));
        self.acknowledged[slot] += u64::from(n);
        self.achieved(done_ns, n);
    }

    fn achieved(&mut self, done_ns: u64, messages: u32) {
        let at_ns = done_ns.saturating_sub(self.start_ns);
        let cell = self.done_cursor.find(&self.axis, at_ns);
        if cell.interval >= self.achieved.len() {
            self.achieved.resize(cell.interval + 1, 0);
        }
        self.achieved[cell.interval] += u64::from(messages);
        if at_ns < self.axis.duration_ns() {
            self.achieved_in_phase[cell.phase] += u64::from(messages);
        }
    }

    /// A tail consumer received messages at `at_ns`.
    pub fn received(&mut self, intended_ns: u64, at_ns: u64, messages: u32) {
        let cell = self.received_cursor.find(&self.axis, intended_ns.saturating_sub(self.start_ns));
        let slot = slot(&self.axis, cell);
        let latency = at_ns.saturating_sub(intended_ns);
        self.end_to_end.record(slot, latency, messages);
    }

    /// The messages of all slots of a phase.
    #[must_use]
    pub fn phase_sum(&self, by_slot: &[u64], phase: usize) -> u64 {
        self.axis.cells_of(phase).map(|cell| by_slot[cell.slot()]).sum()
    }

    /// The merged histogram of a phase.
    #[must_use]
    pub fn phase_merged(&self, cells: &Cells, phase: usize) -> Histogram<u64> {
        let mut sum = histogram();
        self.axis.cells_of(phase).for_each(|cell| cells.add_to(cell.slot(), &mut sum));
        sum
    }

    /// Adds the samples of an interval to a sum.
    pub fn add_interval(&self, cells: &Cells, interval: usize, sum: &mut Histogram<u64>) {
        self.axis.cells_in(interval).for_each(|cell| cells.add_to(cell.slot(), sum));
    }
}

/// Nothing is intended after the schedule's end; should a stamp claim so, it counts for the last cell.
fn slot(axis: &Axis, cell: Cell) -> usize {
    cell.slot().min(axis.intervals() + axis.phases() - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_three_parts_add_up_to_the_response() {
        // Intended at 100, the intake full until 150, sent at 170, done at 300.
        let sent = Sent::new(100, 150, 170, 1, 1_100);
        assert_eq!(sent.parts(300), Parts { response: 200, queued: 50, lateness: 20, service: 130 });
        // The intake was last full before it arrived: no queue.
        assert_eq!(
            Sent::new(100, 60, 170, 1, 1).parts(300),
            Parts { response: 200, queued: 0, lateness: 70, service: 130 }
        );
        // Never full.
        assert_eq!(Sent::new(100, 0, 100, 1, 1).parts(101), Parts { response: 1, queued: 0, lateness: 0, service: 1 });
        for (room, at, done) in [(0, 90, 80), (500, 120, 110), (110, 120, 119), (115, 130, 131)] {
            let parts = Sent::new(100, room, at, 1, 1).parts(done);
            assert_eq!(parts.queued + parts.lateness + parts.service, parts.response, "{room} {at} {done}");
        }
    }

    fn recorder() -> Recorder {
        Recorder::new(Axis::new(100 * MS, vec![150 * MS, 400 * MS]), 1_000 * MS)
    }

    #[test]
    fn a_message_counts_where_it_was_intended_and_an_acknowledgement_where_it_came() {
        let mut recorder = recorder();
        // Intended in the first phase, sent and acknowledged much later.
        let late = Sent::new(1_120 * MS, 1_300 * MS, 1_301 * MS, 3, 300);
        recorder.sent(&late);
        recorder.acknowledged(&late, 1_650 * MS);
        let prompt = Sent::new(1_160 * MS, 0, 1_160 * MS, 1, 100);
        recorder.sent(&prompt);
        recorder.acknowledged(&prompt, 1_161 * MS);
        assert_eq!(recorder.phase_sum(&recorder.acknowledged, 0), 3);
        assert_eq!(recorder.phase_sum(&recorder.sent, 1), 1);
        assert_eq!(recorder.achieved, [0, 1, 0, 0, 0, 0, 3], "two intervals after the schedule's end");
        let first = recorder.phase_merged(&recorder.response, 0);
        assert_eq!(first.len(), 3);
        assert!(first.equivalent(first.max(), 530 * MS));
        assert_eq!(recorder.phases[0].queued.len(), 3);
        assert!(recorder.phases[0].queued.equivalent(recorder.phases[0].queued.max(), 180 * MS));
        let mut interval = histogram();
        recorder.add_interval(&recorder.response, 1, &mut interval);
        assert_eq!((interval.len(), recorder.acknowledged_of(1)), (4, 4), "one interval, both its phases");
    }

    #[test]
    fn the_latencies_of_a_long_run_fit_the_memory_of_a_small_machine() {
        // double11 in life: 35 minutes; a day of a message a millisecond.
        assert!(Recorder::bytes_max(35 * 60, 600_000_000) < 64 << 20);
        assert!(Recorder::bytes_max(86_400, 86_400_000) < 1 << 30);
    }

    #[test]
    fn merging_keeps_every_sample() {
        let mut recorder = recorder();
        for i in 0..400 {
            let sent = Sent::new((1_000 + i) * MS, 0, (1_000 + i) * MS, 1, 1);
            recorder.acknowledged(&sent, (1_000 + i) * MS + 50_000 + i * 1_000);
        }
        let mut all = histogram();
        for phase in 0..2 {
            let merged = recorder.phase_merged(&recorder.response, phase);
            all.add(&merged).unwrap();
        }
        assert_eq!(all.len(), 400);
        let median = all.value_at_quantile(0.5) as f64;
        assert!((median - 249_000.0).abs() / 249_000.0 < 0.002, "{median}");
    }

    #[test]
    fn an_end_to_end_time_counts_from_the_intended_arrival() {
        let mut recorder = recorder();
        recorder.received(1_050 * MS, 1_057 * MS, 2);
        let merged = recorder.phase_merged(&recorder.end_to_end, 0);
        assert_eq!((merged.len(), merged.equivalent(merged.max(), 7 * MS)), (2, true));
    }
}
