//! The dry run: what a run will offer, how long it takes and what it needs on disk.

use super::model::{Role, SizeLaw};
use super::resolve::Resolved;
use std::fmt;

/// Bytes of a segment when neither profile nor run says.
const SEGMENT_BYTES: u64 = 128 << 20;
/// Segments of a log beside the ones that hold what is kept: the one being written, and the one prepared ahead.
const SEGMENTS_BESIDE: u64 = 2;
/// A log grows to this many times its bound for a consumer that is behind.
const RETENTION_STRETCH: u64 = 2;

/// The arithmetic of a run. Numbers of messages are the integral of the curve: a Poisson schedule holds as many within the
/// square root.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the profile.
    pub profile: String,
    /// How many times faster the curve is played.
    pub speed: f64,
    /// Messages.
    pub messages: f64,
    /// Bytes of their values.
    pub value_bytes: f64,
    /// Bytes of their batches, as they stand in a log.
    pub log_bytes: f64,
    /// Highest rate of the plateau in messages a second.
    pub plateau_per_s: f64,
    /// Highest rate of the whole curve in messages a second.
    pub highest_per_s: f64,
    /// Length of the schedule in seconds; a backlog drains after it.
    pub duration_s: f64,
    /// Bytes that must be free for one engine: the logs to their bound, and the segments beside them.
    pub disk_bytes: u64,
    /// Partitions over all shards.
    pub partitions: u32,
    /// Phase by phase.
    pub phases: Vec<PhasePlan>,
}

/// One phase of a [`Plan`].
#[derive(Clone, Debug, PartialEq)]
pub struct PhasePlan {
    /// Its name.
    pub name: String,
    /// What it is to the table.
    pub role: Role,
    /// Begin in seconds.
    pub start_s: f64,
    /// Length in seconds.
    pub duration_s: f64,
    /// Messages.
    pub messages: f64,
    /// Mean rate in messages a second.
    pub mean_per_s: f64,
    /// Highest rate in messages a second.
    pub highest_per_s: f64,
    /// Bytes in a log.
    pub log_bytes: f64,
}

/// The disk is too small for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} needed for one engine and {} free: lower --peak, --rate or the retention, or give --dir a larger disk", Bytes(*needed as f64), Bytes(*free as f64))]
pub struct DoesNotFit {
    /// Bytes needed.
    pub needed: u64,
    /// Bytes free.
    pub free: u64,
}

impl Plan {
    /// The plan of a run. `segment_bytes` and `retention_bytes` (of all logs together) are the run's own choices; where they are
    /// `None` the profile's hints hold, and without a hint everything is kept.
    #[must_use]
    pub fn new(resolved: &Resolved, segment_bytes: Option<u64>, retention_bytes: Option<u64>) -> Self {
        let batch = f64::from(resolved.messages.batch);
        let value_mean = mean_bytes(resolved.messages.bytes);
        let log_per_message = batch_bytes(resolved.messages.batch, value_mean) / batch;
        let bounds = resolved.phases.iter().map(|phase| phase.end_ns as f64 / 1e9).collect();
        let phases: Vec<PhasePlan> = resolved
            .phases
            .iter()
            .zip(resolved.steps(bounds))
            .enumerate()
            .map(|(index, (phase, (messages, _)))| {
                let duration_s = (phase.end_ns - phase.start_ns) as f64 / 1e9;
                let own = resolved.pieces.iter().filter(|piece| usize::from(piece.phase) == index);
                PhasePlan {
                    name: phase.name.clone(),
                    role: phase.role,
                    start_s: phase.start_ns as f64 / 1e9,
                    duration_s,
                    messages,
                    mean_per_s: messages / duration_s,
                    highest_per_s: own.map(|piece| piece.shape.highest(piece.duration_s)).fold(0.0, f64::max),
                    log_bytes: messages * log_per_message,
                }
            })
            .collect();
        let messages = resolved.messages_expected();
        let log_bytes = messages * log_per_message;
        let segment = segment_bytes.or(resolved.storage.segment_bytes).unwrap_or(SEGMENT_BYTES);
        let logs = u64::from(resolved.logs());
        let history = resolved.consumers.catch_up.map_or(0, |reading| reading.history_bytes);
        let whole = (log_bytes.ceil() as u64).saturating_add(history);
        let kept = match retention_bytes.or(resolved.storage.retention_bytes) {
            None => whole,
            // History is there to be read, whatever the bound.
            Some(bound) => whole.min(RETENTION_STRETCH.saturating_mul(bound).saturating_add(history)),
        };
        Self {
            profile: resolved.profile.clone(),
            speed: resolved.speed,
            messages,
            value_bytes: messages * value_mean,
            log_bytes,
            plateau_per_s: resolved.plateau_per_s,
            highest_per_s: phases.iter().map(|phase| phase.highest_per_s).fold(0.0, f64::max),
            duration_s: resolved.duration_ns as f64 / 1e9,
            disk_bytes: kept.saturating_add((logs * SEGMENTS_BESIDE).saturating_mul(segment)),
            partitions: resolved.partitions,
            phases,
        }
    }

    /// Whether the disk is large enough for one engine at a time.
    ///
    /// # Errors
    /// Fewer bytes are free than [`Plan::disk_bytes`].
    pub fn fits(&self, free_disk_bytes: u64) -> Result<(), DoesNotFit> {
        if self.disk_bytes <= free_disk_bytes {
            return Ok(());
        }
        Err(DoesNotFit { needed: self.disk_bytes, free: free_disk_bytes })
    }
}

/// Mean bytes of a value. The log-normal's is exact for its cut form, but for rounding to whole bytes.
pub(super) fn mean_bytes(law: SizeLaw) -> f64 {
    match law {
        SizeLaw::Fixed { bytes } => f64::from(bytes),
        SizeLaw::Lognormal { median, sigma, min, max } => {
            let normal = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
            let log_median = libm::log(median);
            let at = |bytes: u32| (libm::log(f64::from(bytes)) - log_median) / sigma;
            let (low, high) = (at(min), at(max));
            let middle = normal(high - sigma) - normal(low - sigma);
            f64::from(min) * normal(low)
                + f64::from(max) * (1.0 - normal(high))
                + median * libm::exp(0.5 * sigma * sigma) * middle
        }
    }
}

/// Bytes of a record batch, format v2, of `records` values without keys and headers.
fn batch_bytes(records: u32, value: f64) -> f64 {
    let varint = |zigzag: f64| {
        (2..).find(|n| zigzag < libm::exp2(7.0 * f64::from(n - 1))).map_or(9.0, |n: i32| f64::from(n - 1))
    };
    let record = |delta: u32| {
        // Attributes, timestamp delta, offset delta, no key, length of the value, the value, no headers.
        let body = 1.0 + 1.0 + varint(2.0 * f64::from(delta)) + 1.0 + varint(2.0 * value) + value + 1.0;
        varint(2.0 * body) + body
    };
    log_format::HEADER_BYTES as f64 + (0..records).map(record).sum::<f64>()
}

/// Bytes for people: three digits and a binary unit.
struct Bytes(f64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let step = (0..units.len() - 1).find(|step| self.0 < 1024f64.powi(*step as i32 + 1)).unwrap_or(units.len() - 1);
        let value = self.0 / 1024f64.powi(step as i32);
        let digits = if step == 0 || value >= 100.0 { 0 } else { 1 };
        write!(f, "{value:.digits$} {}", units[step])
    }
}

/// A count for people: three digits and k, M or G.
struct Count(f64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            n if n >= 999.5e6 => (n / 1e9, "G"),
            n if n >= 999.5e3 => (n / 1e6, "M"),
            n if n >= 999.5 => (n / 1e3, "k"),
            n => (n, ""),
        };
        let digits = match value {
            v if v >= 99.95 || (unit.is_empty() && v.fract() == 0.0) => 0,
            v if v >= 9.995 => 1,
            _ => 2,
        };
        write!(f, "{value:.digits$}{unit}")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} at speed {}: {} messages, {} of values, {} of log in {:.1} s",
            self.profile,
            self.speed,
            Count(self.messages),
            Bytes(self.value_bytes),
            Bytes(self.log_bytes),
            self.duration_s
        )?;
        let plural = if self.partitions == 1 { "" } else { "s" };
        writeln!(
            f,
            "plateau {}/s, highest {}/s; {} partition{plural}; {} of disk for one engine at a time",
            Count(self.plateau_per_s),
            Count(self.highest_per_s),
            self.partitions,
            Bytes(self.disk_bytes as f64)
        )?;
        let width = self.phases.iter().map(|phase| phase.name.chars().count()).fold(5, usize::max);
        writeln!(
            f,
            "\n{:<width$}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}  {:>9}",
            "phase", "from s", "length s", "mean/s", "highest/s", "messages", "log"
        )?;
        for phase in &self.phases {
            writeln!(
                f,
                "{:<width$}  {:>9.2}  {:>9.2}  {:>9}  {:>9}  {:>9}  {:>9}",
                phase.name,
                phase.start_s,
                phase.duration_s,
                Count(phase.mean_per_s).to_string(),
                Count(phase.highest_per_s).to_string(),
                Count(phase.messages).to_string(),
                Bytes(phase.log_bytes).to_string()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_long_as_its_encoding() {
        for (records, value) in [(1, 24), (1, 100), (1, 1024), (100, 100), (100, 1024), (70, 60), (3, 8_000)] {
            let mut batch = log_format::BatchBuilder::new(0);
            for _ in 0..records {
                batch.push(0, None, Some(&vec![7; value]));
            }
            let bytes = batch.finish().len();
            assert_eq!(batch_bytes(records, value as f64), bytes as f64, "{records} x {value}");
        }
    }

    #[test]
    fn a_cut_log_normal_has_the_mean_of_its_parts() {
        // Hardly cut: median times e^(sigma^2/2), the 1.1 kB that workloads/README.md quotes.
        let mean = mean_bytes(SizeLaw::Lognormal { median: 600.0, sigma: 1.1, min: 1, max: 100_000_000 });
        assert!((mean - 600.0 * (0.605f64).exp()).abs() < 0.1, "{mean}");
        // All cut away: the bounds.
        assert!((mean_bytes(SizeLaw::Lognormal { median: 10.0, sigma: 0.1, min: 500, max: 600 }) - 500.0).abs() < 1e-6);
        assert!((mean_bytes(SizeLaw::Lognormal { median: 1e6, sigma: 0.1, min: 500, max: 600 }) - 600.0).abs() < 1e-6);
    }

    #[test]
    fn numbers_for_people_have_three_digits() {
        let shown: Vec<String> = [0.0, 7.0, 0.5, 999.4, 999.6, 1_234.0, 33_500.0, 199_999.0, 1.5e6, 2e9]
            .iter()
            .map(|n| Count(*n).to_string())
            .collect();
        assert_eq!(shown, ["0", "7", "0.50", "999", "1.00k", "1.23k", "33.5k", "200k", "1.50M", "2.00G"]);
        assert_eq!(Bytes(1024.0 * 1024.0 * 1.5).to_string(), "1.5 MiB");
        assert_eq!(Bytes(512.0).to_string(), "512 B");
    }
}
