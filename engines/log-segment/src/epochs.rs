//! The `epochs` file: which incarnation of the log wrote which offsets, and how. It is durable before an incarnation's first
//! append.

use crate::side_file;
use log_api::{Epoch, Offset};

const MAGIC: [u8; 8] = *b"hw-epoch";

/// One incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pub(crate) epoch: Epoch,
    /// Offsets from here on (up to the next incarnation's) carry this epoch. Everything before was durable when it began.
    pub(crate) first: Offset,
    /// It wrote for durable acknowledgement.
    pub(crate) durable: bool,
    /// Its bound on bytes that were appended and not durable.
    pub(crate) inflight_bytes_max: u64,
}

/// The incarnations whose offsets the log still holds, oldest first: epochs rise strictly, first offsets too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<Incarnation>);

impl Epochs {
    /// The incarnation that wrote `offset`, and the first offset of the one after it.
    pub(crate) fn at(&self, offset: Offset) -> Option<(Incarnation, Option<Offset>)> {
        let after = self.0.partition_point(|incarnation| incarnation.first <= offset);
        let incarnation = *self.0.get(after.checked_sub(1)?)?;
        Some((incarnation, self.0.get(after).map(|next| next.first)))
    }

    /// The last incarnation.
    pub(crate) fn last(&self) -> Option<Incarnation> {
        self.0.last().copied()
    }

    /// The incarnations of a log that begins at `start` and has been cut to `next.first`, where `next` begins: those that have
    /// no offset left are forgotten.
    pub(crate) fn with(&self, next: Incarnation, start: Offset) -> Self {
        assert!(self.last().is_none_or(|last| last.epoch < next.epoch), "epochs rise");
        let mut kept: Vec<Incarnation> =
            self.0.iter().filter(|incarnation| incarnation.first < next.first).copied().collect();
        kept.push(next);
        let gone = kept.partition_point(|incarnation| incarnation.first <= start).saturating_sub(1);
        kept.drain(..gone);
        Self(kept)
    }

    /// Notes that `offset` carries `epoch`, in a log whose file was lost: the offsets are given in rising order.
    pub(crate) fn learn(&mut self, epoch: Epoch, offset: Offset, durable: bool, inflight_bytes_max: u64) {
        if self.last().is_none_or(|last| last.epoch < epoch) {
            self.0.push(Incarnation { epoch, first: offset, durable, inflight_bytes_max });
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|incarnation| {
            let Incarnation { epoch, first, durable, inflight_bytes_max } = *incarnation;
            [u64::from(epoch.0), first.0, u64::from(durable), inflight_bytes_max]
        });
        side_file::encode(MAGIC, numbers)
    }

    /// `None` if anything is wrong with the file.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let numbers = side_file::decode(MAGIC, bytes)?;
        let (entries, left) = numbers.as_chunks::<4>();
        let incarnations = entries
            .iter()
            .map(|&[epoch, first, durable, inflight_bytes_max]| {
                let epoch = Epoch(u32::try_from(epoch).ok()?);
                let durable = match durable {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Some(Incarnation { epoch, first: Offset(first), durable, inflight_bytes_max })
            })
            .collect::<Option<Vec<_>>>()?;
        let rises = incarnations.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].first < pair[1].first);
        (left.is_empty() && rises && !incarnations.is_empty()).then_some(Self(incarnations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incarnation(epoch: u32, first: u64) -> Incarnation {
        Incarnation {
            epoch: Epoch(epoch),
            first: Offset(first),
            durable: epoch.is_multiple_of(2),
            inflight_bytes_max: 1 << 20,
        }
    }

    fn history(entries: &[(u32, u64)]) -> Epochs {
        Epochs(entries.iter().map(|&(epoch, first)| incarnation(epoch, first)).collect())
    }

    #[test]
    fn each_offset_has_one_incarnation() {
        let epochs = history(&[(1, 10), (2, 20), (5, 25)]);
        for (offset, epoch, next) in [(10, 1, Some(20)), (19, 1, Some(20)), (20, 2, Some(25)), (1000, 5, None)] {
            let (found, after) = epochs.at(Offset(offset)).expect("inside");
            assert_eq!((found.epoch, after), (Epoch(epoch), next.map(Offset)), "offset {offset}");
        }
        assert_eq!(epochs.at(Offset(9)), None);
    }

    #[test]
    fn a_cut_and_a_trim_forget_incarnations_without_offsets() {
        let epochs = history(&[(1, 0), (2, 100), (3, 150)]);
        assert_eq!(epochs.with(incarnation(4, 120), Offset(0)), history(&[(1, 0), (2, 100), (4, 120)]));
        assert_eq!(epochs.with(incarnation(4, 100), Offset(0)), history(&[(1, 0), (4, 100)]));
        assert_eq!(epochs.with(incarnation(4, 200), Offset(100)), history(&[(2, 100), (3, 150), (4, 200)]));
        assert_eq!(epochs.with(incarnation(4, 0), Offset(0)), history(&[(4, 0)]));
    }

    #[test]
    fn the_file_comes_back_and_a_flipped_bit_is_noticed() {
        let epochs = history(&[(1, 0), (2, 100), (3, 150)]);
        let good = epochs.encode();
        assert_eq!(Epochs::decode(&good), Some(epochs));
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Epochs::decode(&bytes), None, "bit {bit}");
        }
        assert_eq!(Epochs::decode(&Epochs::default().encode()), None, "a log has an incarnation");
        assert_eq!(Epochs::decode(&history(&[(2, 0), (1, 5)]).encode()), None, "epochs rise");
    }
}
