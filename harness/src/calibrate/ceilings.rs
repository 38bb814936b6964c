//! The measured ceilings of one machine and directory, and asking them for sizes that lie between those measured.

use super::case::{Case, Unit};
use serde::{Deserialize, Serialize};

/// Version of [`Ceilings`] in files. It grows when a field changes its meaning, or is measured in another way.
pub const VERSION: u32 = 2;

/// One measurement of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In the case's unit.
    pub per_s: f64,
    /// Median latency of one operation; `None` where more than one is in flight or it was not taken.
    pub p50_ns: Option<u64>,
}

/// A case and what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What.
    #[serde(flatten)]
    pub case: Case,
    /// Of the three rates below.
    pub unit: Unit,
    /// The median of the samples.
    pub median: f64,
    /// The lowest sample.
    pub least: f64,
    /// The highest sample.
    pub most: f64,
    /// How many samples.
    pub samples: u32,
    /// Latency of one operation, nanoseconds: the median of the samples' medians. `None` where more than one is in flight.
    pub p50_ns: Option<u64>,
}

/// The median; of an even number the mean of the two in the middle. `None` without values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

impl Figure {
    /// The figure of some samples; `None` without any.
    #[must_use]
    pub fn of(case: Case, samples: &[Sample]) -> Option<Self> {
        let rates: Vec<f64> = samples.iter().map(|sample| sample.per_s).collect();
        let latencies: Vec<f64> = samples.iter().filter_map(|sample| Some(sample.p50_ns? as f64)).collect();
        Some(Self {
            case,
            unit: case.unit(),
            median: median(&rates)?,
            least: rates.iter().copied().fold(f64::INFINITY, f64::min),
            most: rates.iter().copied().fold(0.0, f64::max),
            samples: samples.len() as u32,
            p50_ns: median(&latencies).map(|ns| ns.round() as u64),
        })
    }

    /// How far the samples lie apart, as a share of their median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { (self.most - self.least) / self.median } else { 0.0 }
    }
}

/// What a machine can do in a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// UTC, RFC 3339.
    pub measured: String,
    /// Seconds that it took.
    pub took_s: f64,
    /// Type of the file system.
    pub file_system: String,
    /// Block device, with its model where the kernel tells.
    pub device: String,
    /// Kernel release.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// `release` or `debug`: a debug build's own loops are slow.
    pub build: String,
    /// The core that was measured, the shard's; `None`: not pinned.
    pub shard_core: Option<usize>,
    /// The core of the other end of connections, the generator's; `None`: not pinned.
    pub peer_core: Option<usize>,
    /// One entry a case.
    pub figures: Vec<Figure>,
}

impl Ceilings {
    /// The figure of exactly this case.
    #[must_use]
    pub fn figure(&self, case: Case) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.case == case)
    }

    /// The ceiling of a case at its block size, which need not be one of those measured: the time of one operation is taken to grow
    /// linearly from one measured size to the next. Above the largest the rate, below the smallest the time stays as it is there.
    #[must_use]
    pub fn at(&self, case: Case) -> Option<f64> {
        let Some(bytes) = case.block_bytes() else { return Some(self.figure(case)?.median) };
        let of = |figure: &&Figure| figure.case.with_block(bytes) == case && figure.median > 0.0;
        let mut measured: Vec<(f64, f64)> = self
            .figures
            .iter()
            .filter(of)
            .filter_map(|figure| Some((figure.case.block_bytes()? as f64, figure.median)))
            .collect();
        measured.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ((smallest, its_rate), (largest, top_rate)) = (*measured.first()?, *measured.last()?);
        let bytes = bytes as f64;
        if bytes >= largest {
            return Some(top_rate);
        }
        if bytes <= smallest {
            return Some(bytes / (smallest / its_rate));
        }
        let above = measured.iter().position(|(size, _)| *size >= bytes)?;
        let ((low, low_rate), (high, high_rate)) = (measured[above - 1], measured[above]);
        let (low_s, high_s) = (low / low_rate, high / high_rate);
        let operation_s = low_s + (bytes - low) / (high - low) * (high_s - low_s);
        Some(bytes / operation_s)
    }

    /// The highest of a mechanism at any block size and depth: what the device or the path does at its best.
    #[must_use]
    pub fn best(&self, fits: impl Fn(Case) -> bool) -> Option<&Figure> {
        self.figures.iter().filter(|figure| fits(figure.case)).max_by(|a, b| a.median.total_cmp(&b.median))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::calibrate::case::Sync;

    /// Ceilings of a machine of the imagination.
    pub(crate) fn ceilings(figures: &[(Case, f64)]) -> Ceilings {
        let figure =
            |(case, per_s): &(Case, f64)| Figure::of(*case, &[Sample { per_s: *per_s, p50_ns: None }]).unwrap();
        Ceilings {
            version: VERSION,
            measured: "2026-01-01T00:00:00Z".to_owned(),
            took_s: 30.0,
            file_system: "ext4".to_owned(),
            device: "vda (virtio)".to_owned(),
            kernel: "6.18".to_owned(),
            cpu: "cpu".to_owned(),
            build: "release".to_owned(),
            shard_core: Some(1),
            peer_core: Some(0),
            figures: figures.iter().map(figure).collect(),
        }
    }

    fn dsync(block_bytes: u64) -> Case {
        Case::DirectWrite { block_bytes, depth: 1, sync: Sync::Dsync }
    }

    #[test]
    fn a_figure_is_the_median_with_its_extremes() {
        let sample = |per_s, p50_ns| Sample { per_s, p50_ns };
        let figure = Figure::of(Case::Flush, &[sample(9.0, Some(30)), sample(10.0, Some(10)), sample(12.0, Some(20))]);
        let figure = figure.unwrap();
        assert_eq!((figure.median, figure.least, figure.most, figure.samples), (10.0, 9.0, 12.0, 3));
        assert_eq!((figure.p50_ns, figure.spread()), (Some(20), 0.3));
        assert_eq!(Figure::of(Case::Flush, &[]), None);
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn between_two_sizes_the_time_of_an_operation_is_interpolated() {
        // 4 KiB take 100 us, 16 KiB 160 us: 10 KiB take 130 us.
        let at_rate = |bytes: u64, us: f64| (dsync(bytes), bytes as f64 / us * 1e6);
        let ceilings = ceilings(&[at_rate(16_384, 160.0), at_rate(4_096, 100.0), (Case::Flush, 7_000.0)]);
        let us = |bytes: u64| bytes as f64 / ceilings.at(dsync(bytes)).unwrap() * 1e6;
        assert!((us(10_240) - 130.0).abs() < 1e-6);
        assert!((us(4_096) - 100.0).abs() < 1e-6 && (us(16_384) - 160.0).abs() < 1e-6);
        assert!((us(1_024) - 100.0).abs() < 1e-6, "a smaller write takes as long as the smallest");
        assert!((us(163_840) - 1_600.0).abs() < 1e-6, "a larger one goes at the rate of the largest");
        assert_eq!(ceilings.at(Case::Flush), Some(7_000.0));
        assert_eq!(ceilings.at(Case::DirectRead { block_bytes: 4_096, depth: 1 }), None);
        assert_eq!(ceilings.at(Case::DirectWrite { block_bytes: 4_096, depth: 4, sync: Sync::Dsync }), None);
    }

    #[test]
    fn a_file_gives_back_what_was_put_in() {
        let ceilings =
            ceilings(&[(dsync(4_096), 1.0 / 3.0), (Case::Flush, 7_123.456), (Case::Echo { connections: 8 }, 2e5)]);
        let text = serde_json::to_string(&ceilings).unwrap();
        assert!(
            text.contains(r#""case":"direct_write","block_bytes":4096,"depth":1,"sync":"dsync","unit":"bytes/s""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Ceilings>(&text).unwrap(), ceilings);
    }
}
