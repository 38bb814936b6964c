//! The order in which engines run: drawn from the seed, so that no engine always has the fresh disk.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A permutation of `0..count`, the same for the same seed.
#[must_use]
pub fn draw(seed: u64, count: usize) -> Vec<usize> {
    // Another stream than the schedule's: the order says nothing of the arrivals.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x6f72_6465_7200_0000);
    let mut order: Vec<usize> = (0..count).collect();
    // Fisher and Yates.
    for last in (1..count).rev() {
        order.swap(last, random.random_range(0..=last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_that_follows_from_the_seed() {
        for seed in 0..100 {
            let order = draw(seed, 5);
            assert_eq!(order, draw(seed, 5));
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(draw(1, 0).is_empty());
    }

    #[test]
    fn every_engine_comes_first_about_as_often() {
        let mut first = [0; 3];
        for seed in 0..3_000 {
            first[draw(seed, 3)[0]] += 1;
        }
        assert!(first.iter().all(|count| (900..1_100).contains(count)), "{first:?}");
    }
}
