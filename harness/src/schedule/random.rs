//! Random numbers that stay the same: one generator with a published algorithm, explicit seeds, functions from `libm`.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A stream of uniform numbers and what is drawn from them.
#[derive(Clone, Debug)]
pub(super) struct Stream(Xoshiro256PlusPlus);

/// Four streams of one seed, 2^128 draws apart.
pub(super) fn streams(seed: u64) -> [Stream; 4] {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    std::array::from_fn(|_| {
        let stream = Stream(generator.clone());
        generator.jump();
        stream
    })
}

impl Stream {
    /// Uniform in `[0, 1)`, 53 bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Exponential with mean 1, by inversion.
    pub(super) fn exponential(&mut self) -> f64 {
        -libm::log(1.0 - self.unit())
    }

    /// Uniform below `bound` (multiply and shift: biased by less than 2^-32, as `bound` has 32 bits).
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// Two independent normal numbers with mean 0 and deviation 1 (Marsaglia's polar method).
    pub(super) fn normal_pair(&mut self) -> (f64, f64) {
        // Each try succeeds with probability pi/4.
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * libm::log(square) / square).sqrt();
                return (x * factor, y * factor);
            }
        }
    }
}
