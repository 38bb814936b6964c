//! The `watermark` file: a lower bound of what is durable. Two slots, written in turn in place, so that writing one allocates no
//! block, renames nothing and waits for no journal; the newer valid slot counts.

use crate::side_file;
use log_api::Offset;

const MAGIC: [u8; 8] = *b"hw-water";

/// Bytes between the slots: a block each, so that a torn write hurts one.
pub(crate) const SLOT_BYTES: u64 = 4096;

/// Bytes used of a slot.
const USED_BYTES: usize = 8 + 4 * 8 + 8;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// Raised with each write; its lowest bit is the slot.
    pub(crate) sequence: u64,
    /// The log's first offset. Written before segments are unlinked.
    pub(crate) start: Offset,
    /// Everything before it is durable.
    pub(crate) durable: Offset,
    /// The incarnation that wrote it.
    pub(crate) epoch: u32,
}

impl Watermark {
    /// Byte of the file at which this one is written.
    pub(crate) fn position(&self) -> u64 {
        (self.sequence & 1) * SLOT_BYTES
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        side_file::encode(MAGIC, [self.sequence, self.start.0, self.durable.0, u64::from(self.epoch)])
    }

    /// A whole file with this in its slot and nothing in the other.
    pub(crate) fn encode_file(&self) -> Vec<u8> {
        let mut file = vec![0; 2 * SLOT_BYTES as usize];
        let at = self.position() as usize;
        file[at..at + USED_BYTES].copy_from_slice(&self.encode());
        file
    }

    /// The newer valid slot of a file.
    pub(crate) fn decode_file(file: &[u8]) -> Option<Self> {
        let slot = |number: u64| {
            let at = (number * SLOT_BYTES) as usize;
            let numbers = side_file::decode(MAGIC, file.get(at..at + USED_BYTES)?)?;
            let &[sequence, start, durable, epoch] = numbers.as_slice() else { return None };
            let watermark =
                Self { sequence, start: Offset(start), durable: Offset(durable), epoch: u32::try_from(epoch).ok()? };
            (watermark.start <= watermark.durable && sequence & 1 == number).then_some(watermark)
        };
        [slot(0), slot(1)].into_iter().flatten().max_by_key(|watermark| watermark.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_valid_slot_counts() {
        let mark = |sequence: u64| Watermark { sequence, start: Offset(3), durable: Offset(10 + sequence), epoch: 2 };
        let mut file = mark(6).encode_file();
        assert_eq!(Watermark::decode_file(&file), Some(mark(6)));
        let at = mark(7).position() as usize;
        file[at..at + USED_BYTES].copy_from_slice(&mark(7).encode());
        assert_eq!(Watermark::decode_file(&file), Some(mark(7)));
        for bit in 0..USED_BYTES * 8 {
            let mut torn = file.clone();
            torn[at + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Watermark::decode_file(&torn), Some(mark(6)), "bit {bit} of the newer slot");
        }
        assert_eq!(Watermark::decode_file(&file[..at]), Some(mark(6)));
        assert_eq!(Watermark::decode_file(&[]), None);
        assert_eq!(Watermark::decode_file(&vec![0; 8192]), None);
    }
}
