//! The fluid model says what its source says of the night, at any speed.

use harness::profile::{Phase, Profile, Resolved, Role, Scale, Settings, Shape};
use harness::summary::Fluid;

fn interval_s(resolved: &Resolved) -> f64 {
    resolved.interval_ns() as f64 / 1e9
}

/// The model over a profile's own curve.
fn fluid(resolved: &Resolved, capacity: f64) -> Option<Fluid> {
    Fluid::simulate(&resolved.offered_series(), interval_s(resolved), capacity)
}

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
            // A curve played faster at the same rates has a queue and times that are smaller by as much.
            let dry_s = fluid(&day(speed), capacity).unwrap().dry_at_s.unwrap() * speed;
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
    let queue = Fluid::queue(&night.offered_series(), interval_s(&night), 10.0);
    // Under from the first second on: after 3 s of the run 3 x 10 messages are taken.
    let (at_s, messages) = queue[(3.0 / interval_s(&night)) as usize];
    assert!((at_s - 3.0).abs() < 1e-9 && (messages - (night.messages_until(3.0) - 30.0)).abs() < 1e-6);
    let deepest = queue.iter().map(|(_, messages)| *messages).fold(0.0, f64::max);
    assert_eq!(played.peak_messages, deepest);
    assert!((played.delay_s - played.peak_messages / 10.0).abs() < 1e-9);
}

#[test]
fn an_outlet_that_is_wide_enough_stays_dry_and_none_says_nothing() {
    let dry = fluid(&day(60.0), 40.0).unwrap();
    assert_eq!((dry.peak_messages, dry.dry_at_s), (0.0, None));
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
