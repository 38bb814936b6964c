//! What was measured of one engine.

use super::{CeilingShare, PlateauUse, Verdict};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One engine's row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineResult {
    /// Name as on the command line.
    pub name: String,
    /// Whether the figures below exist and are whole.
    pub status: Status,
    /// Send path that its consumers were served by: `sendfile`, `copy`, or empty for an engine that gives nothing back.
    pub send: String,
    /// Place in the order in which the engines ran, drawn from the seed; the first is 1, 0 if it did not run.
    pub order: u32,
    /// What was measured; `None` when the engine was unavailable or failed before its first interval ended.
    pub measurement: Option<Measurement>,
}

/// How an engine's run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Status {
    /// To the end.
    Ok,
    /// It stopped with an error.
    Failed {
        /// The error.
        why: String,
    },
    /// It cannot run on this machine, in this directory. It was not replaced by another.
    Unavailable {
        /// What is missing, and what to change.
        why: String,
    },
    /// The run was interrupted while this engine ran: figures cover what had been measured.
    Partial {
        /// Where on the run's clock it stopped, in words.
        why: String,
    },
}

/// The figures of one engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Latencies and throughput of each phase, in the profile's order, from merged histograms. A message belongs to the
    /// phase of its intended arrival.
    pub phases: Vec<PhaseResult>,
    /// The same over the whole run; its `phase` is `all`.
    pub total: PhaseResult,
    /// The deepest queue.
    pub backlog: Backlog,
    /// Whether and when the queue was gone.
    pub dry: Dry,
    /// One entry for each of the summary's objectives, in the same order.
    pub objectives: Vec<ObjectiveMet>,
    /// Throughput over the whole run.
    pub throughput: Throughput,
    /// By interval.
    pub series: Series,
    /// What it cost.
    pub costs: Costs,
    /// What the shards did at the peak; `None` if the run ended before it did.
    #[serde(default)]
    pub plateau_use: Option<PlateauUse>,
    /// Shares of the machine's ceilings at the peak, the one that binds first; empty if none are known.
    #[serde(default)]
    pub ceilings: Vec<CeilingShare>,
    /// Proof that the engine that was asked for is the one that ran.
    pub attestation: Vec<Attestation>,
    /// The load generator while this engine ran.
    pub generator: GeneratorLoad,
    /// What the consumers found.
    pub content: Content,
    /// Gates that concern this engine's figures.
    pub validity: Vec<Verdict>,
    /// Sentences about this row.
    pub notes: Vec<String>,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseResult {
    /// Name as in the profile.
    pub phase: String,
    /// Messages whose intended arrival lies in the phase.
    pub offered_messages: u64,
    /// Of these, acknowledged by the end of the run.
    pub acknowledged_messages: u64,
    /// Offered messages over the phase's length.
    pub offered_per_s: f64,
    /// Acknowledgements that fell into the phase, over its length.
    pub achieved_per_s: f64,
    /// Acknowledged minus intended arrival: what a producer sees. The three below add up to it, message by message.
    pub response: LatencySet,
    /// The part in which there was no room at the engine.
    pub queued: LatencySet,
    /// The part in which there was room and the generator had not sent.
    pub lateness: LatencySet,
    /// The part from sending to the acknowledgement.
    pub service: LatencySet,
    /// Received by a tail consumer minus intended arrival; `None` without tail consumers.
    pub end_to_end: Option<LatencySet>,
}

/// Percentiles of one histogram, in nanoseconds. A percentile is `None` when fewer than 10 batches lie beyond it, and
/// p99.99 also below a million batches: the messages of a batch share their times and are one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySet {
    /// Messages.
    pub count: u64,
    /// Median.
    pub p50_ns: Option<u64>,
    /// 90 %.
    pub p90_ns: Option<u64>,
    /// 99 %.
    pub p99_ns: Option<u64>,
    /// 99.9 %.
    pub p999_ns: Option<u64>,
    /// 99.99 %.
    pub p9999_ns: Option<u64>,
    /// The largest; `None` without samples.
    pub max_ns: Option<u64>,
}

/// Samples that must lie beyond a percentile for it to be told.
pub const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// Samples without which no p99.99 is told.
pub const P9999_SAMPLES_MIN: u64 = 1_000_000;

impl LatencySet {
    /// Reads a set from a histogram of `count` messages in batches of `batch` through `value_at(quantile)` and `max`, both in
    /// nanoseconds, applying the rules on sample sizes.
    pub fn from_histogram(count: u64, batch: u32, value_at: impl Fn(f64) -> u64, max: u64) -> Self {
        let samples = count / u64::from(batch.max(1));
        let told = |quantile: f64| Self::is_told(samples, quantile).then(|| value_at(quantile));
        Self {
            count,
            p50_ns: told(0.5),
            p90_ns: told(0.9),
            p99_ns: told(0.99),
            p999_ns: told(0.999),
            p9999_ns: told(0.9999),
            max_ns: (count > 0).then_some(max),
        }
    }

    /// Whether `count` samples, none of which follows from another, carry this quantile.
    pub fn is_told(count: u64, quantile: f64) -> bool {
        // A hair of tolerance: 10,000 samples leave 9.999... beyond 99.9 % in binary arithmetic.
        let beyond = count as f64 * (1.0 - quantile) + 1e-6;
        beyond >= SAMPLES_BEYOND_MIN && (quantile < 0.9999 || count >= P9999_SAMPLES_MIN)
    }
}

/// The deepest queue: messages whose intended arrival had passed and that were not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    /// Messages, at the end of the interval where it was deepest.
    pub peak_messages: u64,
    /// When, on the run's clock.
    pub peak_at_s: f64,
}

/// What the flood did. An engine is *under* while its queue is longer than what arrives in
/// [`UNDER_QUEUE_MS`](super::UNDER_QUEUE_MS) at the plateau.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Dry {
    /// It never went under.
    Always,
    /// It went under, and came up for good.
    Again {
        /// First interval under, on the run's clock.
        under_at_s: f64,
        /// End of the last interval under.
        at_s: f64,
    },
    /// The drain was given up with messages left.
    Not {
        /// First interval under.
        under_at_s: f64,
        /// Messages not acknowledged.
        left_messages: u64,
    },
}

/// How well an objective was met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveMet {
    /// Share of all messages answered in time, 0 to 1.
    pub share: f64,
    /// Begin of the first interval in which fewer than the objective's share were in time; `None` if there was none.
    pub first_violation_s: Option<f64>,
    /// Length of all such intervals.
    pub above_s: f64,
}

/// Throughput over the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Messages intended.
    pub offered_messages: u64,
    /// Messages acknowledged, the drain included.
    pub acknowledged_messages: u64,
    /// Messages acknowledged a second during the plateau.
    pub plateau_achieved_per_s: f64,
    /// Messages acknowledged a second while the engine was under; `None` if it never was.
    pub sustained_per_s: Option<f64>,
}

/// One column a quantity, one value an interval, all of the same length; after the end of the schedule they go on while the
/// backlog drains.
///
/// An interval with too few samples for a percentile is merged with its neighbours, histogram with histogram, as
/// [`percentile_windows`] says; each interval of such a window carries the window's value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Begin of the interval on the run's clock.
    pub t_s: Vec<f64>,
    /// Messages a second intended.
    pub offered_per_s: Vec<f64>,
    /// Messages a second acknowledged.
    pub achieved_per_s: Vec<f64>,
    /// Messages not acknowledged at the interval's end.
    pub backlog: Vec<u64>,
    /// Messages whose intended arrival lies in the interval and that were acknowledged: the samples of the percentiles.
    pub samples: Vec<u64>,
    /// Response time of these, median; `None` when fewer than 10 samples lie beyond, even in the longest window.
    pub p50_ns: Vec<Option<u64>>,
    /// 99 %.
    pub p99_ns: Vec<Option<u64>>,
    /// 99.9 %.
    pub p999_ns: Vec<Option<u64>>,
}

/// Intervals that may be merged for one percentile of a series.
pub const WINDOW_INTERVALS_MAX: usize = 20;

/// Which intervals of a series to merge for a quantile, given each interval's messages, in batches of `batch`: consecutive windows, each
/// as short as carries the quantile and at most [`WINDOW_INTERVALS_MAX`] long. Intervals in no window have no value.
pub fn percentile_windows(samples: &[u64], batch: u32, quantile: f64) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut from = 0;
    while from < samples.len() {
        // An interval in which nothing arrived begins no window.
        if samples[from] == 0 {
            from += 1;
            continue;
        }
        let longest = (from + WINDOW_INTERVALS_MAX).min(samples.len());
        let mut sum = 0;
        let enough = (from..longest).find(|n| {
            sum += samples[*n];
            LatencySet::is_told(sum / u64::from(batch.max(1)), quantile)
        });
        match enough {
            Some(last) => {
                windows.push(from..last + 1);
                from = last + 1;
            }
            // Nothing that begins here carries it.
            None => from += 1,
        }
    }
    windows
}

impl Series {
    /// Intervals.
    pub fn len(&self) -> usize {
        self.t_s.len()
    }

    /// Nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.t_s.is_empty()
    }

    /// All columns have the same length.
    pub fn is_aligned(&self) -> bool {
        let lengths = [
            self.offered_per_s.len(),
            self.achieved_per_s.len(),
            self.backlog.len(),
            self.samples.len(),
            self.p50_ns.len(),
            self.p99_ns.len(),
            self.p999_ns.len(),
        ];
        lengths.iter().all(|length| *length == self.len())
    }
}

/// What the run cost, from opening the logs to the end of the drain: with the history that catch-up consumers read, which counts as
/// payload too. GB are 10^9 bytes of payload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Payload bytes acknowledged: whole record batches.
    pub payload_bytes: u64,
    /// Bytes handed to the kernel or the mapping: payload, padding, rewritten tail blocks.
    pub written_bytes: Option<u64>,
    /// Bytes that reached the device.
    pub device_bytes: Option<u64>,
    /// Bytes written ahead to prepare segments (zero-filling); part of `device_bytes`, not of `written_bytes`.
    pub prepared_bytes: Option<u64>,
    /// CPU seconds a GB: the shards' threads.
    pub cpu_shard_s_per_gb: Option<f64>,
    /// CPU seconds a GB: the engine's helper threads.
    pub cpu_helpers_s_per_gb: Option<f64>,
    /// CPU seconds a GB: the ring's kernel workers.
    pub cpu_kernel_workers_s_per_gb: Option<f64>,
    /// CPU seconds a GB: the kernel's write-back, apart, because it belongs to the whole machine.
    pub cpu_write_back_s_per_gb: Option<f64>,
    /// System calls of the shards' threads for 1,000 messages: the ring's and the engine's.
    pub system_calls_per_1000: Option<f64>,
    /// Page faults without I/O.
    pub minor_faults: Option<u64>,
    /// Page faults with I/O.
    pub major_faults: Option<u64>,
    /// Copies of a payload byte in our code, counted.
    pub copies_own_per_byte: Option<f64>,
    /// Copies of a payload byte in the kernel, by design of the path, not counted.
    pub copies_kernel_per_byte: Option<f64>,
    /// Flushes.
    pub flushes: u64,
    /// Messages a flush; `None` without flushes.
    pub messages_per_flush: Option<f64>,
    /// What the stages of a message's way cost on the shards, in order; empty if they were not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageCost>,
}

/// What one stage cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    /// Its name; see `log_api::Stage`. `other` is what the shards' threads did beside all stages.
    pub stage: String,
    /// Nanoseconds for each message acknowledged.
    pub ns_per_message: f64,
}

impl Costs {
    /// CPU seconds a GB that the engine answers for: shards, helpers and the ring's workers. `None` without the shards'.
    pub fn cpu_s_per_gb(&self) -> Option<f64> {
        let apart = self.cpu_helpers_s_per_gb.unwrap_or(0.0) + self.cpu_kernel_workers_s_per_gb.unwrap_or(0.0);
        self.cpu_shard_s_per_gb.map(|shard| shard + apart)
    }

    /// Device bytes for a payload byte.
    pub fn device_bytes_per_byte(&self) -> Option<f64> {
        let device = self.device_bytes?;
        (self.payload_bytes > 0).then(|| device as f64 / self.payload_bytes as f64)
    }
}

/// One thing that the engine claims, and the count that proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// `O_DIRECT honoured`, `bytes through sendfile`, …
    pub claim: String,
    /// What was seen, with its number.
    pub evidence: String,
    /// The evidence supports the claim.
    pub holds: bool,
}

/// The generator's core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeneratorLoad {
    /// Share of its core that the generator used in the busiest second of the plateau, 0 to 1.
    pub busy_share_peak: f64,
    /// The same over the whole plateau, to stand beside what others used in it. Absent in results of builds that did not tell.
    #[serde(default)]
    pub busy_share_plateau: Option<f64>,
    /// Over 90 % in the busiest second: the row shows the harness, not the engine.
    pub harness_bound: bool,
    /// What the machine took from it. Absent in results of builds that did not look.
    #[serde(default)]
    pub taken: Option<CoreTaken>,
}

/// Time in which a spinning thread's core ran something else, or nothing because a host ran another guest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoreTaken {
    /// Share of the time, 0 to 1.
    pub share: f64,
    /// The longest time at a stretch, nanoseconds.
    pub longest_ns: u64,
    /// The lateness p99.9 that follows from this alone, for a generator whose own work takes no time, nanoseconds.
    pub lateness_p999_ns: u64,
}

/// What the consumers found, all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Tail consumers.
    pub tail_consumers: u32,
    /// Catch-up consumers.
    pub catch_up_consumers: u32,
    /// Messages received and verified.
    pub verified_messages: u64,
    /// Acknowledged and never received.
    pub lost: u64,
    /// Received more than once.
    pub doubled: u64,
    /// Received out of order.
    pub reordered: u64,
    /// Received with a wrong checksum or wrong bytes.
    pub damaged: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_wants_ten_samples_beyond_it() {
        let set = |count| LatencySet::from_histogram(count, 1, |quantile| (quantile * 1e4) as u64, 10_000);
        let told = |count| {
            let set = set(count);
            [set.p50_ns, set.p90_ns, set.p99_ns, set.p999_ns, set.p9999_ns].iter().filter(|p| p.is_some()).count()
        };
        let cases = [(0, 0), (19, 0), (20, 1), (99, 1), (100, 2), (999, 2), (1_000, 3), (9_999, 3), (10_000, 4)];
        for (count, percentiles) in cases {
            assert_eq!(told(count), percentiles, "{count} samples");
        }
        assert_eq!((told(999_999), told(1_000_000)), (4, 5), "p99.99 wants a million");
        assert_eq!((set(0).max_ns, set(1).max_ns), (None, Some(10_000)));
    }

    #[test]
    fn the_messages_of_a_batch_are_one_sample() {
        let set = |count| LatencySet::from_histogram(count, 50, |quantile| (quantile * 1e4) as u64, 10_000);
        assert_eq!((set(49_999).p99_ns, set(50_000).p99_ns), (None, Some(9_900)), "a thousand batches");
        assert_eq!(set(49_999).count, 49_999);
        assert_eq!(percentile_windows(&[20_000, 20_000, 9_999, 1, 50_000], 50, 0.99), [0..4, 4..5]);
    }

    #[test]
    fn thin_intervals_are_merged_until_they_carry_the_percentile() {
        // p99 wants 1,000 samples.
        assert_eq!(percentile_windows(&[2_000, 400, 400, 400, 1_000, 3], 1, 0.99), [0..1, 1..4, 4..5]);
        assert_eq!(percentile_windows(&[10; 200], 1, 0.99), []);
        let after_silence = percentile_windows(&[0, 0, 1_000], 1, 0.99);
        assert_eq!(after_silence.first(), Some(&(2..3)));
        // What lies too far apart is not merged, and what follows is not lost.
        let mut samples = [1; 40];
        samples[39] = 999;
        let windows = percentile_windows(&samples, 1, 0.99);
        assert_eq!((windows.len(), windows.first()), (1, Some(&(20..40))));
        samples[39] = 1_000;
        assert_eq!(percentile_windows(&samples, 1, 0.99).len(), 1);
    }

    #[test]
    fn what_an_engine_answers_for_leaves_write_back_apart() {
        let costs = Costs {
            payload_bytes: 1_000,
            device_bytes: Some(1_300),
            cpu_shard_s_per_gb: Some(0.5),
            cpu_helpers_s_per_gb: Some(0.25),
            cpu_kernel_workers_s_per_gb: None,
            cpu_write_back_s_per_gb: Some(9.0),
            ..Costs::default()
        };
        assert_eq!(costs.cpu_s_per_gb(), Some(0.75));
        assert_eq!(costs.device_bytes_per_byte(), Some(1.3));
        assert_eq!(Costs::default().cpu_s_per_gb(), None);
    }
}
