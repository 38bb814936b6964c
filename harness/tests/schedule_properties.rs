//! What holds for the schedule of any valid profile. proptest prints the seed of a failure.

use harness::profile::{
    ArrivalLaw, Messages, PartitionCount, Partitions, Phase, Piece, Profile, Resolved, Role, Scale, Settings, Shape,
    SizeLaw, Skew,
};
use harness::schedule::{Arrival, Schedule, Split};
use proptest::prelude::*;

fn shape() -> impl Strategy<Value = Shape> {
    let rate = || prop_oneof![4 => 1.0..20_000.0f64, 1 => Just(0.0)];
    prop_oneof![
        rate().prop_map(|rate| Shape::Constant { rate }),
        (rate(), rate()).prop_map(|(from, to)| Shape::Ramp { from, to }),
        (rate(), -1.0..1.0f64, 0.01..3.0f64).prop_map(|(floor, share, tau_s)| Shape::Decay {
            floor,
            above: if share < 0.0 { floor * share } else { 20_000.0 * share },
            tau_s
        }),
        (rate(), 0.0..=1.0f64, 0.05..3.0f64).prop_map(|(mean, share, period_s)| Shape::Sine {
            mean,
            swing: mean * share,
            period_s
        }),
    ]
}

fn law() -> impl Strategy<Value = ArrivalLaw> {
    prop_oneof![
        2 => Just(ArrivalLaw::Deterministic),
        4 => Just(ArrivalLaw::Poisson),
        2 => (1.0..8.0f64, 0.01..0.9f64, 0.001..0.2f64)
            .prop_map(|(burst, share, length_s)| ArrivalLaw::Mmpp { burst: burst.min(1.0 / share), share, length_s }),
        2 => (0.5..0.95f64, 0.05..1.0f64, 1..8u32)
            .prop_map(|(b, window_s, halvings)| ArrivalLaw::BModel { b, window_s, halvings }),
    ]
}

fn messages() -> impl Strategy<Value = Messages> {
    let sizes = prop_oneof![
        (24..5_000u32).prop_map(|bytes| SizeLaw::Fixed { bytes }),
        (50.0..2_000.0f64, 0.1..2.0f64).prop_map(|(median, sigma)| SizeLaw::Lognormal {
            median,
            sigma,
            min: 24,
            max: 9_000
        }),
    ];
    (sizes, 1..12u32).prop_map(|(bytes, batch)| Messages { bytes, entropy: 1.0, batch })
}

prop_compose! {
    /// A profile of one to four phases, the last of which offers something.
    fn profile()(
        shapes in prop::collection::vec((0.05..1.0f64, shape()), 0..4),
        (plateau_s, height) in (0.05..0.5f64, 100.0..20_000.0f64),
        arrivals in law(),
        messages in messages(),
        (count, s) in (1..20u32, 0.0..2.0f64),
        seed in any::<u64>(),
    ) -> Profile {
        let plateau = (plateau_s, Shape::Constant { rate: height });
        let phase = |(index, piece): (usize, (f64, Shape))| Phase {
            name: format!("phase {index}"),
            role: Role::Other,
            duration_s: piece.0,
            pieces: vec![piece],
        };
        let mut phases: Vec<Phase> = shapes.into_iter().chain([plateau]).enumerate().map(phase).collect();
        phases.last_mut().expect("a plateau").role = Role::Plateau;
        let skew = if s < 0.5 { Skew::Uniform } else { Skew::Zipf { s } };
        let base = Profile::load("steady").expect("a shipped profile");
        Profile {
            scale: Scale::Absolute,
            phases,
            arrivals,
            messages,
            partitions: Partitions { count: PartitionCount::InAll(count), skew, layout: broker::Layout::Partition },
            seed,
            ..base
        }
    }
}

/// The profile at speed 1; a random one may be shorter than the shortest run, so its clock is slowed where needed.
fn resolve(profile: &Profile) -> Resolved {
    let length_s: f64 = profile.phases.iter().map(|phase| phase.duration_s).sum();
    let speed = if length_s < 0.1 { length_s / 0.11 } else { 1.0 };
    profile.resolve(&Settings { speed: Some(speed), ..Settings::default() }).expect("settings that fit")
}

fn whole(resolved: &Resolved) -> Vec<Arrival> {
    Schedule::new(resolved, Split::WHOLE).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arrivals_are_ordered_and_within_bounds(profile in profile()) {
        let resolved = resolve(&profile);
        let sizes = match resolved.messages.bytes {
            SizeLaw::Fixed { bytes } => bytes..=bytes,
            SizeLaw::Lognormal { min, max, .. } => min..=max,
        };
        let mut last_ns = 0;
        for arrival in Schedule::new(&resolved, Split::WHOLE) {
            prop_assert!(arrival.at_ns >= last_ns, "{arrival:?} after {last_ns}");
            prop_assert!(arrival.at_ns < resolved.duration_ns);
            prop_assert_eq!(arrival.phase, resolved.phase_at(arrival.at_ns));
            prop_assert!(arrival.partition < resolved.partitions);
            prop_assert!(sizes.contains(&arrival.bytes));
            prop_assert_eq!(arrival.messages, resolved.messages.batch);
            last_ns = arrival.at_ns;
        }
    }

    #[test]
    fn a_schedule_is_a_function_of_profile_and_seed(profile in profile()) {
        let resolved = resolve(&profile);
        let once = whole(&resolved);
        prop_assert_eq!(&once, &whole(&resolved.clone()));
        prop_assert_eq!(harness::schedule::hash(&resolved), harness::schedule::hash(&resolved));
        let other = Resolved { seed: resolved.seed ^ 1, ..resolved.clone() };
        prop_assert_ne!(harness::schedule::hash(&resolved), harness::schedule::hash(&other));
        if once.len() > 20 && resolved.arrivals == ArrivalLaw::Poisson {
            prop_assert_ne!(once, whole(&other));
        }
    }

    #[test]
    fn parts_add_up_to_the_whole(profile in profile(), of in 1..5u32) {
        let resolved = resolve(&profile);
        let all = whole(&resolved);
        let mut sum = 0;
        for index in 0..of {
            let part: Vec<Arrival> = Schedule::new(&resolved, Split::new(index, of)).collect();
            let own: Vec<Arrival> = all.iter().copied().filter(|arrival| arrival.partition % of == index).collect();
            sum += part.len();
            prop_assert_eq!(part, own);
        }
        prop_assert_eq!(sum, all.len());
    }

    #[test]
    fn even_arrivals_never_drift_from_the_integral(profile in profile()) {
        let resolved = Resolved { arrivals: ArrivalLaw::Deterministic, ..resolve(&profile) };
        let batch = f64::from(resolved.messages.batch);
        for (index, arrival) in whole(&resolved).iter().enumerate() {
            let due = (index as f64 + 0.5) * batch;
            // The clock's grain, at this rate or the next piece's, is what may be between them.
            let at_s = arrival.at_ns as f64 / 1e9;
            let (before, after) = (resolved.messages_until(at_s - 2e-9), resolved.messages_until(at_s + 2e-9));
            prop_assert!(before - 1e-6 <= due && due <= after + 1e-6, "arrival {index}: {before} .. {after}, due {due}");
        }
        let expected = resolved.messages_expected() / batch;
        prop_assert!((whole(&resolved).len() as f64 - expected).abs() <= 0.5 + 1e-6);
    }

    #[test]
    fn playing_faster_keeps_rates_and_divides_time(profile in profile(), speed in 0.25..4.0f64) {
        let slow = resolve(&profile);
        let settings = Settings { speed: Some(slow.speed * speed), ..Settings::default() };
        let Ok(fast) = profile.resolve(&settings) else { return Ok(()) };
        let length = slow.duration_ns as f64 / speed;
        // Both are rounded to a nanosecond.
        prop_assert!((fast.duration_ns as f64 - length).abs() <= 0.5 + 0.5 / speed + 1e-3);
        for share in [0.01, 0.2, 0.37, 0.5, 0.77, 0.99] {
            let at_s = share * slow.duration_ns as f64 / 1e9;
            let (slowly, fastly) = (slow.offered(at_s), fast.offered(at_s / speed));
            prop_assert!((slowly - fastly).abs() <= 1e-6 * slowly.max(1.0), "{slowly} and {fastly} at {share}");
        }
        prop_assert!((fast.messages_expected() * speed - slow.messages_expected()).abs() <= 1e-6 * slow.messages_expected());
        prop_assert_eq!(fast.plateau_per_s, slow.plateau_per_s);
    }

    #[test]
    fn the_inverse_of_the_integral_is_its_inverse(shape in shape(), duration_s in 0.01..100.0f64, share in 0.0..=1.0f64) {
        let piece = Piece { start_s: 0.0, duration_s, phase: 0, shape };
        let messages = share * piece.total();
        let t = piece.inverse(messages, 0.0);
        prop_assert!((0.0..=duration_s).contains(&t));
        let back = piece.integral(t);
        prop_assert!((back - messages).abs() <= 1e-9 * piece.total().max(1.0) + 1e-10 * 40_000.0, "{messages} became {back}");
    }

    #[test]
    fn the_offered_series_holds_every_message(profile in profile()) {
        let resolved = resolve(&profile);
        let interval_s = resolved.interval_ns() as f64 / 1e9;
        let end_s = resolved.duration_ns as f64 / 1e9;
        let series = resolved.offered_series();
        let length = |n: usize| (end_s - n as f64 * interval_s).min(interval_s);
        let sum: f64 = series.iter().enumerate().map(|(n, rate)| rate * length(n)).sum();
        prop_assert!((sum - resolved.messages_expected()).abs() <= 1e-6 * sum.max(1.0));
    }
}
