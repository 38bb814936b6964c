//! The fluid model says what its source says of the night, at any speed.

use harness::profile::{Phase, Profile, Resolved, Role, Scale, Settings, Shape};
use harness::schedule::fluid;

/// The whole day of the closed form, one message a second being the day's mean.
fn day(speed: f64) -> Resolved {
    let phase = |name: &str, role, duration_s, shape| Phase {
        name: name.to_owned(),
        role,
        duration_s,
        pieces: vec![(duration_s, shape)],
    };
    let phases = vec![
        phase("plateau", Role::Plateau, 96.0, Shape::Constant { rate: 33.5 }),
        phase("decay", Role::Decay, 5_071.0, Shape::Decay { floor: 5.0, above: 31.4, tau_s: 327.0 }),
        phase("day", Role::Other, 54_293.0, Shape::Constant { rate: 0.555 }),
        phase("evening", Role::Other, 26_940.0, Shape::Constant { rate: 0.66 }),
    ];
    let base = Profile::load("steady").expect("a shipped profile");
    let profile = Profile { phases, scale: Scale::Absolute, ..base };
    profile.resolve(&Settings { speed: Some(speed), ..Settings::default() }).expect("settings that fit")
}

#[test]
fn the_curve_of_the_night_integrates_to_a_day() {
    assert!((day(1.0).messages_expected() / 86_400.0 - 1.004).abs() < 0.001);
}

#[test]
fn the_night_drains_when_its_sources_say_at_any_speed() {
    let sources = [(6.0, 110.0), (8.0, 72.0), (10.0, 43.0), (15.0, 21.0), (20.0, 13.0), (30.0, 5.0)];
    for (capacity, minutes) in sources {
        for speed in [1.0, 60.0] {
            let played = fluid(&day(speed), capacity).unwrap();
            let dry_s = played.at_speed_1(speed).dry_at_s.unwrap();
            assert!(
                (dry_s / 60.0 - minutes).abs() < 1.0,
                "{capacity}x at speed {speed}: dry after {:.1} min",
                dry_s / 60.0
            );
        }
    }
}

#[test]
fn a_backlog_is_what_was_offered_less_what_was_taken() {
    let night = day(60.0);
    let played = fluid(&night, 10.0).unwrap();
    assert_eq!(played.backlog.len(), night.intervals());
    // Under from the first second on: after 3 s of the run 3 x 10 messages are taken.
    let interval_s = night.interval_ns() as f64 / 1e9;
    let at = (3.0 / interval_s) as usize - 1;
    assert!((played.backlog[at] - (night.messages_until(3.0) - 30.0)).abs() < 1e-6);
    assert_eq!(played.under_at_s, Some(0.0));
    let deepest = played.backlog.iter().copied().fold(0.0, f64::max);
    assert!(played.peak_messages >= deepest && played.peak_messages < deepest * 1.01);
    assert!((played.delay_s - played.peak_messages / 10.0).abs() < 1e-9);
}

#[test]
fn an_outlet_that_is_wide_enough_stays_dry_and_none_says_nothing() {
    let dry = fluid(&day(60.0), 40.0).unwrap();
    assert_eq!((dry.peak_messages, dry.under_at_s, dry.dry_at_s), (0.0, None, None));
    for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(fluid(&day(60.0), nothing), None);
    }
}

#[test]
fn a_backlog_at_the_end_drains_after_it() {
    let steady = Profile::load("steady").expect("a shipped profile");
    let flood = steady.resolve_constant(&Settings::default(), 300.0, 10.0).expect("settings that fit");
    assert!((fluid(&flood, 200.0).unwrap().dry_at_s.unwrap() - 15.0).abs() < 1e-9);
}
