//! Counting what happens in a window of time.

use std::{
    io,
    time::{Duration, Instant},
};

/// Calls between two looks at the clock: a call of 30 ns must not measure the clock.
const CALLS_A_LOOK: u64 = 16;

/// Calls `once` for `window`, and says what `each` a call makes a second.
pub(super) fn rate(window: Duration, each: u64, mut once: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut calls = 0;
    loop {
        (0..CALLS_A_LOOK).for_each(|_| once());
        calls += CALLS_A_LOOK;
        let took = begun.elapsed();
        if took >= window {
            return (calls * each) as f64 / took.as_secs_f64();
        }
    }
}

/// Operations that may fail, one after the other: how many a second, and the median of their latencies.
pub(super) fn operations(window: Duration, mut once: impl FnMut() -> io::Result<()>) -> io::Result<(f64, u64)> {
    let mut latencies = Latencies::default();
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < window {
        once()?;
        let now = Instant::now();
        latencies.record(now - last);
        last = now;
    }
    Ok((latencies.0.len() as f64 / (last - begun).as_secs_f64(), latencies.median_ns().unwrap_or(0)))
}

/// Latencies of single operations.
#[derive(Default)]
pub(super) struct Latencies(Vec<u64>);

impl Latencies {
    pub(super) fn record(&mut self, took: Duration) {
        self.0.push(took.as_nanos() as u64);
    }

    pub(super) fn median_ns(&mut self) -> Option<u64> {
        let middle = self.0.len() / 2;
        (!self.0.is_empty()).then(|| *self.0.select_nth_unstable(middle).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_single_operations() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.median_ns(), None);
        [30, 10, 20].into_iter().for_each(|ns| latencies.record(Duration::from_nanos(ns)));
        assert_eq!(latencies.median_ns(), Some(20));
    }

    #[test]
    fn an_operation_that_fails_ends_the_window() {
        let failed = operations(Duration::from_secs(1_000), || Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
