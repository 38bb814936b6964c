//! Sizes of engine and broker: what was asked for, and what follows from the profile, the partitions and the disk.

use crate::child::job::Sizes;

/// Sizes that were asked for; what is `None` follows from the profile and the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AskedSizes {
    /// See [`Sizes::segment_bytes`].
    pub segment: Option<u64>,
    /// See [`Sizes::retention_bytes`].
    pub retention: Option<u64>,
    /// See [`Sizes::inflight_bytes`].
    pub inflight: Option<u64>,
    /// See [`Sizes::index_interval_bytes`].
    pub index_interval: Option<u64>,
    /// See [`Sizes::tail_cache_bytes`].
    pub tail_cache: Option<u64>,
    /// See [`Sizes::intake_bytes`].
    pub intake: Option<u64>,
}

/// Most bytes that an engine keeps when nothing else is said.
const RETENTION_BYTES_DEFAULT: u64 = 8 << 30;
/// Share of the free space that an engine may fill when nothing else is said.
const FREE_SHARE: u64 = 4;
const SEGMENT_BYTES_DEFAULT: u64 = 128 << 20;
/// Segments that a log's share is cut into at least, so that retention can keep its bound.
const SEGMENTS_MIN: u64 = 4;
const INTAKE_BYTES_DEFAULT: u64 = 2 << 20;
/// Largest batches that the intake holds at least.
const INTAKE_BATCHES_MIN: u64 = 8;

impl AskedSizes {
    /// The sizes of a run with so many partitions and batches of at most so many bytes, in a directory with `free` bytes.
    /// `hints` are the profile's own segment and retention sizes.
    #[must_use]
    pub fn resolve(
        &self,
        hints: (Option<u64>, Option<u64>),
        partitions: u32,
        batch_bytes_max: u64,
        free: u64,
    ) -> Sizes {
        let bounded = RETENTION_BYTES_DEFAULT.min(free / FREE_SHARE);
        let retention_bytes = self.retention.or(hints.1).unwrap_or(bounded).max(1 << 20);
        let share = retention_bytes / u64::from(partitions);
        let mebibyte = 1 << 20;
        let whole = |bytes: u64| (bytes / mebibyte).max(1) * mebibyte;
        let largest = self.segment.or(hints.0).unwrap_or(SEGMENT_BYTES_DEFAULT);
        let fitting = whole((share / SEGMENTS_MIN).min(largest)).max(whole(batch_bytes_max.saturating_mul(2)));
        let intake = INTAKE_BYTES_DEFAULT.max((batch_bytes_max * INTAKE_BATCHES_MIN).next_power_of_two());
        Sizes {
            segment_bytes: self.segment.unwrap_or(fitting),
            retention_bytes,
            inflight_bytes: self.inflight.unwrap_or(16 << 20).max(2 * batch_bytes_max),
            index_interval_bytes: self.index_interval.unwrap_or(4096),
            tail_cache_bytes: self.tail_cache.unwrap_or(64 << 20),
            intake_bytes: self.intake.unwrap_or(intake),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_what_the_disk_and_the_partitions_leave() {
        let asked = AskedSizes::default();
        let one = asked.resolve((None, None), 1, 1_100, 100 << 30);
        assert_eq!((one.retention_bytes, one.segment_bytes, one.intake_bytes), (8 << 30, 128 << 20, 2 << 20));
        let small = asked.resolve((None, None), 1, 1_100, 2 << 30);
        assert_eq!((small.retention_bytes, small.segment_bytes), (512 << 20, 128 << 20));
        let many = asked.resolve((None, None), 200, 1_100, 100 << 30);
        assert_eq!(many.segment_bytes, 10 << 20, "a quarter of a log's share");
        let large = asked.resolve((None, None), 1_000, 1 << 20, 4 << 30);
        assert_eq!(large.segment_bytes, 2 << 20, "never smaller than two batches");
        assert_eq!(large.intake_bytes, 8 << 20, "eight of the largest batches");
        let own = AskedSizes { segment: Some(1 << 20), retention: Some(3 << 20), ..asked };
        let own = own.resolve((Some(64 << 20), Some(1 << 30)), 1, 1_100, 100 << 30);
        assert_eq!(
            (own.segment_bytes, own.retention_bytes),
            (1 << 20, 3 << 20),
            "what was asked for stands over the profile"
        );
    }
}
