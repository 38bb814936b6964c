//! Arrivals, sizes and partitions follow their laws. Seeds are fixed, so a failure is a change and never bad luck; bounds lie
//! five deviations out.

use harness::profile::{ArrivalLaw, Messages, Plan, Profile, Resolved, Settings, SizeLaw, Skew};
use harness::schedule::{Schedule, Split};

fn double11(peak: f64, seed: u64) -> Resolved {
    let settings = Settings { peak: Some(peak), seed: Some(seed), ..Settings::default() };
    Profile::load("double11").expect("a shipped profile").resolve(&settings).expect("settings that fit")
}

fn constant(rate: f64, seconds: f64, seed: u64) -> Resolved {
    let settings = Settings { seed: Some(seed), ..Settings::default() };
    Profile::load("steady")
        .expect("a shipped profile")
        .resolve_constant(&settings, rate, seconds)
        .expect("settings that fit")
}

/// Pearson's statistic of counts against expectations, in deviations of its own law (mean k, variance 2k).
fn chi_square(counts: &[f64], expected: &[f64]) -> f64 {
    let sum: f64 = counts.iter().zip(expected).map(|(n, e)| (n - e) * (n - e) / e).sum();
    let k = counts.len() as f64;
    (sum - k) / (2.0 * k).sqrt()
}

/// Counts of arrivals in bins of `bin_ns`, and what the curve expects of them.
fn counts(resolved: &Resolved, bin_ns: u64) -> (Vec<f64>, Vec<f64>) {
    let bins = (resolved.duration_ns / bin_ns) as usize;
    let mut counts = vec![0.0; bins];
    for arrival in Schedule::new(resolved, Split::WHOLE) {
        if let Some(count) = counts.get_mut((arrival.at_ns / bin_ns) as usize) {
            *count += 1.0;
        }
    }
    let until = |bin: usize| resolved.messages_until(bin as f64 * bin_ns as f64 / 1e9);
    let batch = f64::from(resolved.messages.batch);
    let expected = (0..bins).map(|bin| (until(bin + 1) - until(bin)) / batch).collect();
    (counts, expected)
}

#[test]
fn the_night_is_a_poisson_process_along_its_curve() {
    for seed in 1..=5 {
        let resolved = double11(20_000.0, seed);
        let (counts, expected) = counts(&resolved, 50_000_000);
        let off = chi_square(&counts, &expected);
        assert!(off.abs() < 5.0, "seed {seed}: {off} deviations");
        let total: f64 = counts.iter().sum();
        let drift = (total - resolved.messages_expected()) / resolved.messages_expected().sqrt();
        assert!(drift.abs() < 5.0, "seed {seed}: the count is {drift} deviations from the integral");
    }
}

#[test]
fn gaps_of_a_constant_rate_are_exponential() {
    let resolved = constant(10_000.0, 20.0, 42);
    let mut last = 0;
    let mut gaps: Vec<f64> = Schedule::new(&resolved, Split::WHOLE)
        .map(|arrival| {
            let gap = (arrival.at_ns - last) as f64 / 1e9;
            last = arrival.at_ns;
            gap
        })
        .collect();
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    // Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded once in a thousand.
    let law = |gap: f64| 1.0 - (-gap * 10_000.0).exp();
    let distance = gaps.iter().enumerate().map(|(i, gap)| (law(*gap) - (i as f64 + 0.5) / n).abs()).fold(0.0, f64::max);
    assert!(distance < 1.95 / n.sqrt(), "distance {distance} over {n} gaps");
}

#[test]
fn a_million_arrivals_do_not_drift() {
    let resolved = constant(100_000.0, 10.0, 7);
    let count = Schedule::new(&resolved, Split::WHOLE).count() as f64;
    assert!((count - 1e6).abs() < 5.0 * 1e3, "{count}");
}

/// Variance over mean of counts: 1 for Poisson.
fn dispersion(law: ArrivalLaw) -> (f64, f64) {
    let resolved = Resolved { arrivals: law, ..constant(10_000.0, 60.0, 3) };
    let (counts, expected) = counts(&resolved, 10_000_000);
    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
    let variance = counts.iter().map(|n| (n - mean) * (n - mean)).sum::<f64>() / counts.len() as f64;
    (variance / mean, mean / expected[0])
}

#[test]
fn bursty_laws_are_bursty_and_keep_the_mean() {
    let (poisson, _) = dispersion(ArrivalLaw::Poisson);
    assert!((poisson - 1.0).abs() < 0.1, "{poisson}");
    let (even, _) = dispersion(ArrivalLaw::Deterministic);
    assert!(even < 0.01, "{even}");
    let (mmpp, mean) = dispersion(ArrivalLaw::Mmpp { burst: 4.0, share: 0.2, length_s: 0.02 });
    assert!(mmpp > 5.0 && (mean - 1.0).abs() < 0.1, "dispersion {mmpp}, mean {mean}");
    let (biased, mean) = dispersion(ArrivalLaw::BModel { b: 0.7, window_s: 1.0, halvings: 8 });
    assert!(biased > 5.0 && (mean - 1.0).abs() < 0.02, "dispersion {biased}, mean {mean}");
    let (unbiased, _) = dispersion(ArrivalLaw::BModel { b: 0.5, window_s: 1.0, halvings: 8 });
    assert!((unbiased - 1.0).abs() < 0.1, "b = 0.5 is Poisson: {unbiased}");
}

#[test]
fn partitions_follow_zipf() {
    let resolved = Resolved { partitions: 50, skew: Skew::Zipf { s: 1.0 }, ..constant(50_000.0, 10.0, 5) };
    let mut counts = vec![0.0; 50];
    for arrival in Schedule::new(&resolved, Split::WHOLE) {
        counts[arrival.partition as usize] += 1.0;
    }
    let total: f64 = counts.iter().sum();
    let harmonic: f64 = (1..=50).map(|rank| 1.0 / f64::from(rank)).sum();
    let expected: Vec<f64> = (1..=50).map(|rank| total / f64::from(rank) / harmonic).collect();
    let off = chi_square(&counts, &expected);
    assert!(off.abs() < 5.0, "{off} deviations");
}

#[test]
fn sizes_have_the_mean_that_the_plan_reckons_with() {
    let bytes = SizeLaw::Lognormal { median: 600.0, sigma: 1.1, min: 64, max: 20_000 };
    let steady = constant(50_000.0, 10.0, 9);
    let resolved = Resolved { messages: Messages { bytes, ..steady.messages }, ..steady };
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for arrival in Schedule::new(&resolved, Split::WHOLE) {
        let bytes = f64::from(arrival.bytes);
        (sum, squares, count) = (sum + bytes, squares + bytes * bytes, count + 1.0);
    }
    let mean = sum / count;
    let deviation = (squares / count - mean * mean).sqrt() / f64::sqrt(count);
    let plan = Plan::new(&resolved, None, None);
    let reckoned = plan.value_bytes / plan.messages;
    assert!((mean - reckoned).abs() < 5.0 * deviation, "{mean} drawn, {reckoned} reckoned");
}

#[test]
fn changing_one_law_leaves_the_draws_of_the_others() {
    let steady = constant(10_000.0, 1.0, 13);
    let spread = Resolved { partitions: 9, ..steady.clone() };
    let times =
        |resolved: &Resolved| Schedule::new(resolved, Split::WHOLE).map(|arrival| arrival.at_ns).collect::<Vec<_>>();
    assert_eq!(times(&steady), times(&spread));
}

/// The times are those of an independent computation (xoshiro256++ after SplitMix64, -ln(1 - u) summed over the rate). The
/// streams are part of what a hash in a committed manifest means: they must not change with a dependency.
#[test]
fn the_first_arrivals_of_a_seed_stay_what_they_are() {
    let resolved = Resolved { partitions: 9, ..constant(10_000.0, 1.0, 2019) };
    let first: Vec<(u64, u32)> =
        Schedule::new(&resolved, Split::WHOLE).take(5).map(|arrival| (arrival.at_ns, arrival.partition)).collect();
    assert_eq!(first, [(13_355, 3), (194_938, 2), (540_981, 6), (720_865, 4), (731_167, 1)]);
}
