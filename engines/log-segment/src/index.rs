//! The sparse index: some batch boundaries of a segment, about one each few KiB.

use crate::side_file;
use log_api::Offset;

/// A place between two batches (or before the first, or after the last).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boundary {
    /// Base offset of the batch that starts here.
    pub offset: Offset,
    /// Byte of the segment.
    pub position: u64,
}

/// Batch boundaries of one segment, the first always its start. Entries rise strictly in both offset and position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseIndex {
    interval_bytes: u64,
    entries: Vec<Boundary>,
}

const MAGIC: [u8; 8] = *b"hw-index";

impl SparseIndex {
    /// The index of an empty segment, with memory for all the entries that `segment_bytes` can need, so that appends allocate
    /// nothing.
    #[must_use]
    pub fn new(base: Offset, interval_bytes: u64, segment_bytes: u64) -> Self {
        let interval_bytes = interval_bytes.max(1);
        let entries_max = usize::try_from(segment_bytes / interval_bytes + 1).unwrap_or(usize::MAX);
        let mut entries = Vec::with_capacity(entries_max.min(ENTRIES_RESERVED_MAX));
        entries.push(Boundary { offset: base, position: 0 });
        Self { interval_bytes, entries }
    }

    /// Gives an index that holds nothing but a segment's start a new start.
    pub(crate) fn rebase(&mut self, base: Offset) {
        assert_eq!(self.entries.len(), 1, "only an empty index is rebased");
        self.entries[0].offset = base;
    }

    /// A batch starts at `at`: keeps it if the last entry lies an interval or more before it.
    pub fn note(&mut self, at: Boundary) {
        let last = self.last();
        if at.position >= last.position + self.interval_bytes {
            assert!(at.offset > last.offset, "boundaries rise");
            self.entries.push(at);
        }
    }

    /// The last entry at or before `offset`; the segment's start if `offset` lies before it.
    #[must_use]
    pub fn at_or_before_offset(&self, offset: Offset) -> Boundary {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries[after.saturating_sub(1)]
    }

    /// The last entry at or before `position`.
    #[must_use]
    pub fn at_or_before_position(&self, position: u64) -> Boundary {
        let after = self.entries.partition_point(|entry| entry.position <= position);
        self.entries[after.saturating_sub(1)]
    }

    /// The first entry after `offset`.
    #[must_use]
    pub fn after_offset(&self, offset: Offset) -> Option<Boundary> {
        self.entries.get(self.entries.partition_point(|entry| entry.offset <= offset)).copied()
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[Boundary] {
        &self.entries
    }

    pub(crate) fn interval_bytes(&self) -> u64 {
        self.interval_bytes
    }

    fn last(&self) -> Boundary {
        *self.entries.last().expect("the first entry is the segment's start")
    }

    /// The file beside a sealed segment: what it says of the segment, then the entries.
    pub(crate) fn encode(&self, end: Boundary) -> Vec<u8> {
        let words = [end.offset.0, end.position, self.interval_bytes, self.entries.len() as u64];
        let entries = self.entries.iter().flat_map(|entry| [entry.offset.0, entry.position]);
        side_file::encode(MAGIC, words.into_iter().chain(entries))
    }

    /// Reads the file back: the index and the segment's end. `None` if anything about it is wrong, for it is only a hint.
    pub(crate) fn decode(bytes: &[u8], base: Offset) -> Option<(Self, Boundary)> {
        let words = side_file::decode(MAGIC, bytes)?;
        let ([end, position, interval_bytes, count], rest) = words.split_first_chunk::<4>()?;
        let end = Boundary { offset: Offset(*end), position: *position };
        let (pairs, left) = rest.as_chunks::<2>();
        let entries: Vec<Boundary> =
            pairs.iter().map(|&[offset, position]| Boundary { offset: Offset(offset), position }).collect();
        let starts_right = entries.first() == Some(&Boundary { offset: base, position: 0 });
        let rises =
            entries.windows(2).all(|pair| pair[0].offset < pair[1].offset && pair[0].position < pair[1].position);
        let inside = entries.last().is_some_and(|last| {
            last.offset < end.offset && last.position < end.position || end == Boundary { offset: base, position: 0 }
        });
        let whole = left.is_empty() && *count == entries.len() as u64 && *interval_bytes > 0;
        (starts_right && rises && inside && whole).then_some((Self { interval_bytes: *interval_bytes, entries }, end))
    }
}

/// Entries for which memory is taken in advance at most: 4 MiB of them.
const ENTRIES_RESERVED_MAX: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn at(offset: u64, position: u64) -> Boundary {
        Boundary { offset: Offset(offset), position }
    }

    fn build(batches: &[(u64, u64)]) -> (SparseIndex, Vec<Boundary>) {
        let mut index = SparseIndex::new(Offset(100), 50, 1000);
        let mut next = at(100, 0);
        let mut all = Vec::new();
        for (records, bytes) in batches {
            index.note(next);
            all.push(next);
            next = at(next.offset.0 + records, next.position + bytes);
        }
        all.push(next);
        (index, all)
    }

    proptest! {
        #[test]
        fn entries_are_boundaries_and_dense_enough(batches in vec((1..10u64, 10..120u64), 1..100)) {
            let (index, all) = build(&batches);
            for entry in index.entries() {
                prop_assert!(all.contains(entry));
            }
            let largest = batches.iter().map(|(_, bytes)| bytes).max().expect("one at least");
            for pair in index.entries().windows(2) {
                prop_assert!(pair[1].position - pair[0].position < 50 + largest);
            }
            for offset in 90..all.last().expect("one").offset.0 + 5 {
                let expected = index.entries().iter().rfind(|e| e.offset.0 <= offset).unwrap_or(&index.entries()[0]);
                prop_assert_eq!(index.at_or_before_offset(Offset(offset)), *expected);
                let after = index.entries().iter().find(|e| e.offset.0 > offset);
                prop_assert_eq!(index.after_offset(Offset(offset)), after.copied());
            }
            for position in 0..all.last().expect("one").position + 5 {
                let expected = index.entries().iter().rfind(|e| e.position <= position).expect("the start");
                prop_assert_eq!(index.at_or_before_position(position), *expected);
            }
        }

        #[test]
        fn the_file_comes_back_and_nothing_else_is_believed(batches in vec((1..10u64, 10..120u64), 1..30), bit in any::<prop::sample::Index>()) {
            let (index, all) = build(&batches);
            let end = *all.last().expect("one");
            let mut bytes = index.encode(end);
            prop_assert_eq!(SparseIndex::decode(&bytes, Offset(100)), Some((index, end)));
            prop_assert_eq!(SparseIndex::decode(&bytes, Offset(101)), None);
            prop_assert_eq!(SparseIndex::decode(&bytes[..bytes.len() - 1], Offset(100)), None);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SparseIndex::decode(&bytes, Offset(100)), None);
        }
    }
}
