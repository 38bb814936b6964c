//! A copy that keeps clear of the distances at which processors copy slowly.
//!
//! Most large copies on x86-64, the kernel's and the C library's, are a `rep movsb`. Where the low twelve bits of the target's
//! address lie 1 to 31 above the source's, each load looks as if it wanted what was stored just before, and AMD's Zen 3 goes at 2.9 GB/s where
//! all other distances go at 27 to 60 (measured here for 512 bytes to 128 KiB; the same on other machines:
//! <https://xuanwo.io/2023/04-rust-std-fs-slower-than-python/>). One distance in 128 is such a one, but a log keeps its distance for a long time: whole
//! megabytes go that way, or none. Other processors are not told apart: the detour costs them little.

/// Bits of an address that the processor compares.
const COMPARED: usize = 4096;

/// A source that moves by so much is at a fast distance from then on.
pub const SLOW_DISTANCES: usize = 32;

/// Below the length from which the C library takes `rep movsb` (glibc: 2,112 bytes where the processor says that short ones are fast); a loop
/// of vectors copies such a piece at 14 to 40 GB/s at the slow distances, from memory and from the cache.
const PIECE_BYTES: usize = 2048;

/// Whether copies from `from` to `to` are slow: addresses, or positions in a file, whose pages the kernel copies to.
#[inline]
#[must_use]
pub const fn is_slow(to: usize, from: usize) -> bool {
    let distance = to.wrapping_sub(from) % COMPARED;
    cfg!(target_arch = "x86_64") && distance > 0 && distance < SLOW_DISTANCES
}

/// Copies `from` to `to`, which is as long, at whatever distance.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn copy(to: &mut [u8], from: &[u8]) {
    assert_eq!(to.len(), from.len(), "a copy of {} bytes to {}", from.len(), to.len());
    if from.len() > PIECE_BYTES && is_slow(to.as_ptr().addr(), from.as_ptr().addr()) {
        to.chunks_mut(PIECE_BYTES).zip(from.chunks(PIECE_BYTES)).for_each(|(to, from)| to.copy_from_slice(from));
    } else {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn copies_are_equal_at_any_distance_and_nothing_beside_them_changes(
            length in 0_usize..10_000, to in 0_usize..80, from in 0_usize..80,
        ) {
            let source: Vec<u8> = (0..10_100).map(|at| (at % 251) as u8 | 1).collect();
            let mut target = vec![0; 10_100];
            copy(&mut target[to..to + length], &source[from..from + length]);
            prop_assert_eq!(&target[to..to + length], &source[from..from + length]);
            prop_assert!(target[..to].iter().chain(&target[to + length..]).all(|byte| *byte == 0));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_slow_distances_are_those_just_above_a_page_and_a_step_leaves_them() {
        let slow: Vec<usize> = (0..2 * COMPARED).filter(|to| is_slow(*to, 0)).collect();
        assert_eq!(slow, (1..32).chain(4097..4128).collect::<Vec<_>>());
        assert!(is_slow(10, 4_090) && !is_slow(4_090, 10));
        assert!(slow.iter().all(|to| !is_slow(*to, SLOW_DISTANCES)));
    }
}
