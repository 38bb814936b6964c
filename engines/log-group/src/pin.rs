//! What a read of a partition gives: pieces of what the shared log gave, with the frames and other partitions' batches left out.

use crate::part::Placed;
use log_api::{Chunk, FileRange, Piece};
use log_format::FRAME_BYTES;
use std::ops::Range;

/// Bytes of batches, held where the inner engine holds them.
#[derive(Clone, Debug)]
pub struct Pin<P> {
    held: P,
    range: Range<usize>,
}

impl<P: AsRef<[u8]>> AsRef<[u8]> for Pin<P> {
    fn as_ref(&self) -> &[u8] {
        &self.held.as_ref()[self.range.clone()]
    }
}

/// What the shared log gave, as it is.
pub(crate) fn whole<P: AsRef<[u8]>>(chunk: Chunk<P>) -> Chunk<Pin<P>> {
    let Chunk { base, next, bytes, pieces } = chunk;
    let pieces = pieces.into_iter().map(|piece| match piece {
        Piece::Pin(held) => {
            let range = 0..held.as_ref().len();
            Piece::Pin(Pin { held, range })
        }
        Piece::File(file) => Piece::File(file),
    });
    Chunk { base, next, bytes, pieces: pieces.collect() }
}

fn piece_bytes<P: AsRef<[u8]>>(piece: &Piece<P>) -> u64 {
    match piece {
        Piece::Pin(pin) => pin.as_ref().len() as u64,
        Piece::File(file) => file.range.end - file.range.start,
    }
}

/// Cuts the batches `run`, without their frames, out of pieces that start at byte `at` of the shared log.
pub(crate) fn cut<P: AsRef<[u8]> + Clone>(
    pieces: Vec<Piece<P>>,
    mut at: u64,
    run: &[Placed],
    out: &mut Vec<Piece<Pin<P>>>,
) {
    for piece in pieces {
        let end = at + piece_bytes(&piece);
        let first = run.partition_point(|placed| placed.end_position() <= at);
        for placed in run[first..].iter().take_while(|placed| placed.position < end) {
            let from = (placed.position + FRAME_BYTES as u64).max(at);
            let to = placed.end_position().min(end);
            if from >= to {
                continue;
            }
            let inside = from - at..to - at;
            out.push(match &piece {
                Piece::Pin(held) => {
                    Piece::Pin(Pin { held: held.clone(), range: inside.start as usize..inside.end as usize })
                }
                Piece::File(file) => {
                    let range = file.range.start + inside.start..file.range.start + inside.end;
                    Piece::File(FileRange { range, ..file.clone() })
                }
            });
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_left_out_wherever_pieces_end() {
        let log: Vec<u8> = (0..=255).collect();
        let placed = |position: u64, bytes: u32| Placed { offset: 0, end: 1, position: 1000 + position, bytes };
        let run = [placed(0, 60), placed(60, 40), placed(100, 156)];
        let expected = [&log[32..60], &log[92..100], &log[132..256]].concat();
        for first in 0..256 {
            for second in first..256 {
                let parts = [&log[..first], &log[first..second], &log[second..]];
                let pieces = parts.iter().map(|part| Piece::Pin(part.to_vec())).collect();
                let mut out = Vec::new();
                cut(pieces, 1000, &run, &mut out);
                let bytes: Vec<u8> = out
                    .iter()
                    .flat_map(|piece| match piece {
                        Piece::Pin(pin) => pin.as_ref().to_vec(),
                        Piece::File(_) => Vec::new(),
                    })
                    .collect();
                assert!(bytes == expected, "pieces end at {first} and {second}");
            }
        }
    }
}
