//! Where each partition of a group ends, written into the shared log itself: a batch of the group's own, one in each segment. It tells of
//! partitions whose batches have all been given up, so that segments can go without any other file being written.

use log_format::{BatchBuilder, records};

/// Bytes of a partition's end: its number and the offset.
pub const END_BYTES: usize = 12;

/// Bytes that a batch with one record has at most beside the record's value.
const AROUND_BYTES_MAX: usize = 96;

/// Bytes of a batch with so many ends, at most.
pub(crate) fn bytes_max(ends: usize) -> usize {
    AROUND_BYTES_MAX + ends * END_BYTES
}

/// The batch that holds these ends.
pub(crate) fn encode(ends: impl Iterator<Item = (u32, u64)>) -> Vec<u8> {
    let mut value = Vec::with_capacity(ends.size_hint().0 * END_BYTES);
    for (partition, end) in ends {
        value.extend_from_slice(&partition.to_be_bytes());
        value.extend_from_slice(&end.to_be_bytes());
    }
    let mut batch = BatchBuilder::new(0);
    batch.push(0, None, Some(&value));
    batch.finish()
}

/// The ends in a batch; `None` if it is no checkpoint.
pub(crate) fn decode(batch: &[u8]) -> Option<Vec<(u32, u64)>> {
    let batch = log_format::verify(batch).ok()?;
    let record = records(&batch).ok()?.next()?.ok()?;
    let (ends, left) = record.value?.as_chunks::<END_BYTES>();
    let end = |bytes: &[u8; END_BYTES]| {
        let (partition, offset) = bytes.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*partition), u64::from_be_bytes(offset.try_into().ok()?)))
    };
    if left.is_empty() { ends.iter().map(end).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_back() {
        for count in [0, 1, 200, crate::PARTITIONS_MAX as u64] {
            let ends: Vec<(u32, u64)> = (0..count).map(|n| (n as u32, n * n)).collect();
            let batch = encode(ends.iter().copied());
            assert!(batch.len() < 200 << 10, "a checkpoint of {} bytes", batch.len());
            assert!(batch.len() <= bytes_max(ends.len()), "{} bytes for {count} ends", batch.len());
            assert_eq!(decode(&batch), Some(ends));
        }
        assert_eq!(decode(&[]), None);
    }
}
