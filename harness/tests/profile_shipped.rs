//! The profiles that come with the binary: each reads, each number has its source, and each is what its sources say.

use harness::profile::{Plan, Profile, Role, Settings, Shape, explain, shipped};
use toml::Value;

fn all() -> Vec<Profile> {
    shipped().iter().map(|shipped| Profile::load(shipped.name).unwrap_or_else(|error| panic!("{error}"))).collect()
}

/// Settings that fit any profile: a peak where one is needed.
fn settings(profile: &Profile) -> Settings {
    Settings { peak: profile.needs_peak().then_some(1e5), ..Settings::default() }
}

/// Walks a TOML tree: every number must be the `value` of a table that says where it comes from.
fn bare_numbers(key: &str, value: &Value, found: &mut Vec<String>, numbers: &mut usize) {
    match value {
        Value::Integer(_) | Value::Float(_) => found.push(key.to_owned()),
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                bare_numbers(&format!("{key}[{index}]"), value, found, numbers);
            }
        }
        Value::Table(table) => {
            let sourced = table.get("source").and_then(Value::as_str).is_some_and(|source| !source.trim().is_empty());
            for (name, value) in table {
                if name == "value" && sourced && (value.is_integer() || value.is_float()) {
                    *numbers += 1;
                } else {
                    bare_numbers(&format!("{key}.{name}"), value, found, numbers);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_number_of_every_shipped_profile_has_its_source() {
    for shipped in shipped() {
        let tree: toml::Table = toml::from_str(shipped.text).unwrap();
        let (mut bare, mut numbers) = (Vec::new(), 0);
        bare_numbers(shipped.name, &Value::Table(tree), &mut bare, &mut numbers);
        assert!(bare.is_empty(), "{}: numbers without a source: {bare:?}", shipped.file);

        // What the file holds is what `explain` knows: none escapes. A trace's counts stand as one figure more a phase.
        let profile = Profile::load(shipped.name).unwrap();
        let traces = profile.figures.iter().filter(|figure| figure.key.ends_with(".rows")).count();
        assert_eq!(profile.figures.len() - traces, numbers, "{}", shipped.file);
    }
}

#[test]
fn every_source_is_cited_and_no_text_speaks_of_numbers_alone() {
    for profile in all() {
        for (name, text) in &profile.sources {
            let cited = profile.figures.iter().any(|figure| figure.source == *name)
                || profile.figures.iter().any(|figure| figure.note.contains(name.as_str()))
                || profile.sources.iter().any(|(other, text)| other != name && text.contains(&format!("[{name}]")));
            assert!(cited, "{}: [{name}] is never cited", profile.name);
            assert!(text.len() > 20, "{}: [{name}] does not say who published it", profile.name);
        }
    }
}

#[test]
fn names_are_those_of_the_files_and_explain_shows_each_figure() {
    for (shipped, profile) in shipped().iter().zip(all()) {
        assert_eq!(shipped.name, profile.name);
        let text = explain(&profile);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{}: wider than 100 columns", profile.name);
        for figure in &profile.figures {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(figure.key.as_str()));
            let line = line.unwrap_or_else(|| panic!("{}: {} is not explained", profile.name, figure.key));
            assert!(line.contains(&figure.value), "{line:?} lacks {}", figure.value);
        }
    }
}

#[test]
fn every_profile_resolves_and_its_phases_cover_the_run() {
    for profile in all() {
        let resolved = profile.resolve(&Settings { shards: 2, ..settings(&profile) }).expect("settings that fit");
        let mut at = 0;
        for phase in &resolved.phases {
            assert_eq!(phase.start_ns, at, "{}", profile.name);
            assert!(phase.end_ns > phase.start_ns);
            at = phase.end_ns;
        }
        assert_eq!(at, resolved.duration_ns);
        assert!(resolved.phase_with(Role::Plateau).is_some());
        let plan = Plan::new(&resolved, None, None);
        let phases: f64 = plan.phases.iter().map(|phase| phase.messages).sum();
        assert!((phases / plan.messages - 1.0).abs() < 1e-9, "{}", profile.name);
    }
}

#[test]
fn the_night_lasts_35_seconds_and_its_curve_is_the_closed_form() {
    let night = Profile::load("double11").expect("a shipped profile");
    let resolved =
        night.resolve(&Settings { peak: Some(335_000.0), ..Settings::default() }).expect("settings that fit");
    assert_eq!(resolved.speed, 60.0);
    assert_eq!(resolved.duration_ns, 35_000_000_000);
    assert_eq!((resolved.mark.as_str(), resolved.mark_ns), ("midnight", 5_000_000_000));
    // At --peak 335k one multiple of the day's mean is 10,000 messages a second.
    let offered = |after_midnight_s: f64| resolved.offered(5.0 + after_midnight_s / 60.0) / 1e4;
    let closed = |t: f64| if t < 96.0 { 33.5 } else { 5.0 + 31.4 * (-(t - 96.0) / 327.0).exp() };
    assert!((offered(-100.0) - 1.0).abs() < 1e-9);
    for t in [2.0, 50.0, 95.0, 97.0, 300.0, 1_000.0, 1_799.0] {
        assert!((offered(t) - closed(t)).abs() < 1e-6, "{t} s after midnight: {} x", offered(t));
    }
}

/// Whether the numbers in the file are still those of the source: the milestones come out of their integral.
#[test]
fn the_closed_form_meets_the_milestones_of_the_night() {
    let night = Profile::load("double11-midnight").unwrap();
    let numbers: Vec<Shape> = night.phases.iter().map(|phase| phase.pieces[0].1).collect();
    let [_, _, Shape::Constant { rate }, Shape::Decay { floor, above, tau_s }] = numbers[..] else {
        panic!("the night has four phases: {numbers:?}");
    };
    // Shares of the day: 10 bn of 268.4 at 96 s, 100 bn at 01:03:59, 120.7 bn at 01:26:07.
    let share = |t: f64| {
        let decayed = floor * (t - 96.0) + above * tau_s * (1.0 - (-(t - 96.0) / tau_s).exp());
        (rate * 96.0 + decayed) / 86_400.0 * 268.4
    };
    for (t, billions) in [(96.0, 10.0), (3_839.0, 100.0), (5_167.0, 120.7)] {
        assert!((share(t) / billions - 1.0).abs() < 0.01, "{t} s: {} bn, not {billions}", share(t));
    }
}

#[test]
fn the_flash_crowd_plays_in_a_minute_with_all_its_requests() {
    let crowd = Profile::load("worldcup98").unwrap();
    let resolved = crowd.resolve(&Settings::default()).expect("settings that fit");
    assert_eq!(resolved.duration_ns, 60_000_000_000);
    // At unchanged rates, 1/1440 of the requests of the day.
    assert!((resolved.messages_expected() * 1_440.0 / 75_207_657.0 - 1.0).abs() < 1e-9);
    assert!((resolved.plateau_per_s - 215_241.0 / 60.0).abs() < 1e-6);
    let twenty = crowd.resolve(&Settings { rate: Some(20.0), ..Settings::default() }).expect("settings that fit");
    assert!((twenty.messages_expected() / resolved.messages_expected() - 20.0).abs() < 1e-9);
}
