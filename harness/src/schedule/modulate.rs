//! Bursts: factors on the rate that hold for a while, with mean 1.

use super::random::Stream;
use crate::profile::ArrivalLaw;

/// The factor on the curve's rate, and until when it holds on the run's clock.
#[derive(Clone, Debug)]
pub(super) struct Modulator {
    pub(super) factor: f64,
    pub(super) until_s: f64,
    kind: Kind,
    stream: Stream,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Factor 1 for ever.
    None,
    /// Factor and mean length of the burst and of the lull between bursts, and which of them it is.
    Mmpp { states: [(f64, f64); 2], state: usize },
    /// Factors of a window's cells, and how many of them are over.
    BModel { b: f64, cell_s: f64, cells: Vec<f64>, done: u64 },
}

impl Modulator {
    pub(super) fn new(law: ArrivalLaw, stream: Stream) -> Self {
        let unmodulated = Self { factor: 1.0, until_s: f64::INFINITY, kind: Kind::None, stream };
        match law {
            ArrivalLaw::Deterministic | ArrivalLaw::Poisson => unmodulated,
            ArrivalLaw::Mmpp { burst, share, length_s } => {
                let lull = ((1.0 - share * burst) / (1.0 - share)).max(0.0);
                let states = [(burst, length_s), (lull, length_s * (1.0 - share) / share)];
                let mut modulator = unmodulated;
                // Begins in its long-run mixture, so that the first second is like any other. Exponential lengths have no
                // memory: what is left of a state is as long as a new one.
                let state = usize::from(modulator.stream.unit() >= share);
                modulator.kind = Kind::Mmpp { states, state: 1 - state };
                modulator.until_s = 0.0;
                modulator.advance();
                modulator
            }
            ArrivalLaw::BModel { b, window_s, halvings } => {
                let cells = vec![1.0; 1 << halvings];
                let cell_s = window_s / cells.len() as f64;
                let mut modulator = unmodulated;
                modulator.kind = Kind::BModel { b, cell_s, cells, done: 0 };
                modulator.advance();
                modulator
            }
        }
    }

    /// Goes over to the next factor.
    pub(super) fn advance(&mut self) {
        match &mut self.kind {
            Kind::None => {}
            Kind::Mmpp { states, state } => {
                *state = 1 - *state;
                let (factor, mean_s) = states[*state];
                self.factor = factor;
                self.until_s += mean_s * self.stream.exponential();
            }
            Kind::BModel { b, cell_s, cells, done } => {
                let cell = *done as usize % cells.len();
                if cell == 0 {
                    fill_window(cells, *b, &mut self.stream);
                }
                *done += 1;
                self.factor = cells[cell];
                self.until_s = *done as f64 * *cell_s;
            }
        }
    }
}

/// The b-model's cascade: each half takes `b` or `1 - b` of what its whole has, a coin says which. Factors have mean 1.
fn fill_window(cells: &mut [f64], b: f64, stream: &mut Stream) {
    cells[0] = 1.0;
    let mut filled = 1;
    while filled < cells.len() {
        // From behind, so that a whole is read before its two halves take its place.
        for whole in (0..filled).rev() {
            let factor = cells[whole];
            let first = if stream.unit() < 0.5 { b } else { 1.0 - b };
            cells[2 * whole] = factor * 2.0 * first;
            cells[2 * whole + 1] = factor * 2.0 * (1.0 - first);
        }
        filled *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::streams;
    use super::*;

    #[test]
    fn a_window_of_the_b_model_keeps_its_sum_and_its_bias() {
        let [mut stream, ..] = streams(7);
        let mut cells = vec![0.0; 256];
        fill_window(&mut cells, 0.7, &mut stream);
        assert!((cells.iter().sum::<f64>() - 256.0).abs() < 1e-9);
        let highest = cells.iter().copied().fold(0.0, f64::max);
        assert!(
            (highest - 1.4f64.powi(8)).abs() < 1e-9,
            "the highest cell took the larger half eight times: {highest}"
        );
        fill_window(&mut cells, 0.5, &mut stream);
        assert!(cells.iter().all(|cell| (cell - 1.0).abs() < 1e-12));
    }

    #[test]
    fn bursts_have_mean_one_in_the_long_run() {
        let [stream, ..] = streams(11);
        let mut modulator = Modulator::new(ArrivalLaw::Mmpp { burst: 4.0, share: 0.2, length_s: 0.01 }, stream);
        let (mut at, mut sum) = (0.0, 0.0);
        while at < 1_000.0 {
            sum += modulator.factor * (modulator.until_s - at);
            at = modulator.until_s;
            modulator.advance();
        }
        // 20,000 cycles: the mean's deviation is about 1 %.
        assert!((sum / at - 1.0).abs() < 0.03, "mean factor {}", sum / at);
    }
}
