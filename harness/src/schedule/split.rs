//! Which partition an arrival goes to, and which producer or shard owns it.

use super::random::Stream;
use crate::profile::Skew;

/// A part of a schedule: the arrivals of the partitions `p` with `p % of == index`. Partition `p` lives on shard
/// `p % shards`, so a split by the number of shards is what each shard receives; and the order within a partition stays with
/// one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    index: u32,
    of: u32,
}

impl Split {
    /// All arrivals.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Part `index` of `of`.
    ///
    /// # Panics
    /// `index` is not below `of`.
    #[must_use]
    pub fn new(index: u32, of: u32) -> Self {
        assert!(index < of, "part {index} of {of} does not exist");
        Self { index, of }
    }

    /// Whether the arrivals of a partition belong to this part.
    #[must_use]
    pub fn holds(&self, partition: u32) -> bool {
        partition % self.of == self.index
    }
}

/// Draws partitions: Zipf by Walker's alias method (a table of two entries a partition, one draw each).
#[derive(Clone, Debug)]
pub(super) struct Partitioner {
    count: u32,
    /// Share of a column that is its own, and whose the rest is; empty when uniform.
    alias: Vec<(f64, u32)>,
    stream: Stream,
}

impl Partitioner {
    pub(super) fn new(count: u32, skew: Skew, stream: Stream) -> Self {
        assert!(count > 0, "a schedule has a partition");
        let alias = match skew {
            Skew::Uniform => Vec::new(),
            Skew::Zipf { s } => alias_table(&zipf(count, s)),
        };
        Self { count, alias, stream }
    }

    pub(super) fn draw(&mut self) -> u32 {
        if self.count == 1 {
            return 0;
        }
        let column = self.stream.below(self.count);
        match self.alias.get(column as usize) {
            None => column,
            Some((own, other)) => {
                if self.stream.unit() < *own {
                    column
                } else {
                    *other
                }
            }
        }
    }
}

/// Shares of partitions under Zipf's law; they add up to 1.
fn zipf(count: u32, s: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=count).map(|rank| libm::pow(f64::from(rank), -s)).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Walker's alias table (Vose's construction, linear in the number of shares).
fn alias_table(shares: &[f64]) -> Vec<(f64, u32)> {
    let mut scaled: Vec<f64> = shares.iter().map(|share| share * shares.len() as f64).collect();
    let mut table: Vec<(f64, u32)> = (0..shares.len()).map(|column| (1.0, column as u32)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..shares.len()).partition(|&column| scaled[column] < 1.0);
    while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
        small.pop();
        table[poor] = (scaled[poor], rich as u32);
        scaled[rich] -= 1.0 - scaled[poor];
        if scaled[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_table_gives_back_the_shares_it_was_made_from() {
        for (count, s) in [(1, 1.0), (2, 0.0), (7, 0.5), (200, 1.0), (1_000, 1.3)] {
            let shares = zipf(count, s);
            let mut back = vec![0.0; shares.len()];
            for (column, (own, other)) in alias_table(&shares).into_iter().enumerate() {
                back[column] += own / f64::from(count);
                back[other as usize] += (1.0 - own) / f64::from(count);
            }
            for (share, back) in shares.iter().zip(&back) {
                assert!((share - back).abs() < 1e-12, "{count} partitions, s = {s}: {share} became {back}");
            }
        }
    }

    #[test]
    fn zipf_shares_follow_the_rank() {
        let shares = zipf(4, 1.0);
        assert!((shares[0] / shares[3] - 4.0).abs() < 1e-12);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}
