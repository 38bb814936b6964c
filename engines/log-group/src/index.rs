//! The index of a finished segment, in a file beside it: dense, an entry a batch, 12 bytes each. JoyQueue's has an entry of 12 bytes
//! (position and length) for each message, those of one batch all pointing at its start; with an entry a batch, found by halving, batches of a
//! hundred messages need a hundredth of that.
//!
//! ```text
//! magic "hw-group" | segment's first byte u64 | byte after it u64 | checkpoint in it u32 | partitions u32 | entries u32
//! for each partition, by number:   number u32 | entries u32 | end before the segment u64 | end after it u64
//! for each batch, partition by partition, by offset:   records u32 | position in the segment u32 | bytes of frame and batch u32
//! CRC-32C of all before it u32
//! ```
//!
//! All numbers little endian. The file is a hint: it is written without a flush, and made again from the segment when it is missing or
//! wrong.

use crate::part::{Part, Placed};
use log_format::crc32c;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const MAGIC: [u8; 8] = *b"hw-group";
const HEAD_BYTES: usize = 36;
const SPAN_BYTES: usize = 24;

/// Bytes of a batch in the file.
pub const ENTRY_BYTES: usize = 12;

/// `<first byte>.entries`, beside `<first byte>.log`.
pub(crate) fn entries_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.entries"))
}

/// What a segment holds of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) partition: u32,
    /// Where it ended before the segment.
    pub(crate) before: u64,
    /// Where it ended after it.
    pub(crate) after: u64,
    first: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: u64,
    position: u32,
    bytes: u32,
}

/// The index of a finished segment, read from its file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// The segment holds a checkpoint.
    pub(crate) checkpoint: bool,
    spans: Vec<Span>,
    entries: Vec<Entry>,
}

/// The file of a part. `partitions` are the numbers of its slots.
pub(crate) fn encode(part: &Part, partitions: &[u32]) -> Vec<u8> {
    let mut slots: Vec<usize> = (0..part.slots()).collect();
    slots.sort_unstable_by_key(|&slot| partitions[slot]);
    let bytes = HEAD_BYTES + slots.len() * SPAN_BYTES + part.len() * ENTRY_BYTES + 4;
    let mut file = Vec::with_capacity(bytes);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&part.base.to_le_bytes());
    file.extend_from_slice(&part.end.to_le_bytes());
    for number in [u32::from(part.checkpoint), slots.len() as u32, part.len() as u32] {
        file.extend_from_slice(&number.to_le_bytes());
    }
    for &slot in &slots {
        let before = part.before(slot).expect("a slot of the part");
        file.extend_from_slice(&partitions[slot].to_le_bytes());
        file.extend_from_slice(&(part.all(slot).count() as u32).to_le_bytes());
        file.extend_from_slice(&before.to_le_bytes());
        file.extend_from_slice(&part.after(slot).unwrap_or(before).to_le_bytes());
    }
    for placed in slots.iter().flat_map(|&slot| part.all(slot)) {
        for number in [(placed.end - placed.offset) as u32, (placed.position - part.base) as u32, placed.bytes] {
            file.extend_from_slice(&number.to_le_bytes());
        }
    }
    let crc = crc32c(&file);
    file.extend_from_slice(&crc.to_le_bytes());
    debug_assert_eq!(file.len(), bytes);
    file
}

/// Puts the file of a part in place, or leaves nothing.
pub(crate) fn write(dir: &Path, part: &Part, partitions: &[u32]) -> io::Result<()> {
    let path = entries_path(dir, part.base);
    let temporary = path.with_extension("entries.tmp");
    let written = fs::write(&temporary, encode(part, partitions)).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // Nobody misses it; the next open removes what cannot be removed now.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Little-endian numbers from the front of a file.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn u64(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }
}

impl Index {
    /// The index in a file of the segment `base..end`; `None` if anything about it is wrong.
    pub(crate) fn decode(file: &[u8], base: u64, end: u64) -> Option<Self> {
        let (body, crc) = file.split_last_chunk::<4>()?;
        if crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut numbers = Numbers(body.strip_prefix(&MAGIC)?);
        if (numbers.u64()?, numbers.u64()?) != (base, end) {
            return None;
        }
        let (checkpoint, partitions, count) = (numbers.u32()? == 1, numbers.u32()?, numbers.u32()?);
        let bytes = u64::from(partitions) * SPAN_BYTES as u64 + u64::from(count) * ENTRY_BYTES as u64;
        if numbers.0.len() as u64 != bytes {
            return None;
        }
        let mut spans: Vec<Span> = Vec::with_capacity(partitions as usize);
        let mut first = 0u32;
        for _ in 0..partitions {
            let (partition, count) = (numbers.u32()?, numbers.u32()?);
            let span = Span { partition, before: numbers.u64()?, after: numbers.u64()?, first, count };
            if spans.last().is_some_and(|last| last.partition >= partition) {
                return None;
            }
            first = first.checked_add(count)?;
            spans.push(span);
        }
        if first != count {
            return None;
        }
        let mut entries = Vec::with_capacity(count as usize);
        for span in &spans {
            let mut offset = span.before;
            for _ in 0..span.count {
                let (records, position, bytes) = (numbers.u32()?, numbers.u32()?, numbers.u32()?);
                if u64::from(position) + u64::from(bytes) > end - base {
                    return None;
                }
                entries.push(Entry { offset, position, bytes });
                offset = offset.checked_add(u64::from(records))?;
            }
            if offset != span.after {
                return None;
            }
        }
        Some(Self { base, end, checkpoint, spans, entries })
    }

    /// All partitions that were known when the segment was finished.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// What it holds of a partition.
    pub(crate) fn span(&self, partition: u32) -> Option<&Span> {
        let place = self.spans.binary_search_by_key(&partition, |span| span.partition).ok()?;
        self.spans.get(place)
    }

    fn entries(&self, span: &Span) -> &[Entry] {
        &self.entries[span.first as usize..(span.first + span.count) as usize]
    }

    /// The batches of a partition from the one that holds `offset` on; none if no batch here does.
    pub(crate) fn from(&self, partition: u32, offset: u64) -> impl Iterator<Item = Placed> + '_ {
        let span = self.span(partition).filter(|span| span.before <= offset && offset < span.after);
        let entries = span.map_or(&[][..], |span| self.entries(span));
        let after = entries.partition_point(|entry| entry.offset <= offset);
        let entries = &entries[after.saturating_sub(1)..];
        let ends = entries.iter().skip(1).map(|entry| entry.offset).chain(span.map(|span| span.after));
        entries.iter().zip(ends).map(|(entry, end)| self.placed(entry, end))
    }

    fn placed(&self, entry: &Entry, end: u64) -> Placed {
        let position = self.base + u64::from(entry.position);
        Placed { offset: entry.offset, end, position, bytes: entry.bytes }
    }

    /// The first and the last batch by their place in the segment, with their partitions: what is compared with the log when it is opened.
    pub(crate) fn outermost(&self) -> Vec<(u32, Placed)> {
        let by_place = |entry: &(usize, &Entry)| entry.1.position;
        let numbered = || self.entries.iter().enumerate();
        [numbered().min_by_key(by_place), numbered().max_by_key(by_place)]
            .into_iter()
            .flatten()
            .filter_map(|(number, entry)| {
                let after = self.spans.partition_point(|span| span.first as usize <= number);
                let span = self.spans[..after].iter().rfind(|span| span.count > 0)?;
                let inside = (span.first + span.count) as usize > number + 1;
                let end = if inside { self.entries[number + 1].offset } else { span.after };
                Some((span.partition, self.placed(entry, end)))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    const PARTITIONS: [u32; 4] = [40, 7, 9999, 8];

    fn part(batches: &[(usize, u32, u32)]) -> Part {
        let before = [5, 0, 1 << 33, 12];
        let mut ends = before;
        let mut part = Part::new(1 << 35, before.into_iter());
        for &(slot, records, bytes) in batches {
            let end = ends[slot] + u64::from(records);
            part.push(slot, records, Placed { offset: ends[slot], end, position: part.end, bytes });
            ends[slot] = end;
        }
        part
    }

    proptest! {
        #[test]
        fn the_file_answers_as_the_part_did(batches in vec((0..4usize, 1..u32::MAX, 93..300u32), 0..60), bit in any::<prop::sample::Index>()) {
            let part = part(&batches);
            let file = encode(&part, &PARTITIONS);
            prop_assert_eq!(file.len(), 40 + 4 * 24 + batches.len() * ENTRY_BYTES);
            let index = Index::decode(&file, part.base, part.end).expect("just encoded");
            for (slot, partition) in PARTITIONS.into_iter().enumerate() {
                let span = index.span(partition).expect("all are there");
                prop_assert_eq!((Some(span.before), span.after), (part.before(slot), part.after(slot).unwrap_or(span.before)));
                for placed in part.all(slot) {
                    let expected: Vec<_> = part.from(slot, placed.offset).collect();
                    prop_assert_eq!(&index.from(partition, placed.offset).collect::<Vec<_>>(), &expected);
                    prop_assert_eq!(&index.from(partition, placed.end - 1).collect::<Vec<_>>(), &expected);
                }
                prop_assert_eq!(index.from(partition, span.after).next(), None);
            }
            prop_assert_eq!(index.from(41, 0).next(), None);
            let outermost = index.outermost();
            prop_assert_eq!(outermost.len(), if batches.is_empty() { 0 } else { 2 });
            if let [first, last] = outermost[..] {
                prop_assert_eq!((first.0, first.1.position), (PARTITIONS[batches[0].0], part.base));
                let (slot, ..) = batches[batches.len() - 1];
                prop_assert_eq!((last.0, last.1.end_position()), (PARTITIONS[slot], part.end));
                prop_assert_eq!(Some(last.1.end), part.after(slot));
            }

            prop_assert_eq!(Index::decode(&file, part.base + 1, part.end), None);
            prop_assert_eq!(Index::decode(&file[..file.len() - 1], part.base, part.end), None);
            let mut changed = file;
            let bit = bit.index(changed.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Index::decode(&changed, part.base, part.end), None);
        }
    }
}
