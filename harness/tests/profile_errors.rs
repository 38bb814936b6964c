//! What a faulty profile says: file, line, key, what is there and what is expected, word by word.

use harness::profile::{Profile, ProfileError, Settings, SettingsError};

/// A small valid profile; each test spoils one line of it.
const VALID: &str = r#"name = "mine"
title = "A test"
speed = { value = 1, unit = "x", source = "assumed" }
seed = { value = 1, source = "assumed" }

[sources]
paper = "A paper, 2020"

[plateau]
of_wall = { value = 1.5, unit = "x", source = "assumed" }

[[phase]]
name = "quiet"
role = "calm"
duration = { value = 10, unit = "s", source = "paper" }
rate = { curve = "constant", at = { value = 1, unit = "x", source = "paper: table 2" } }

[[phase]]
name = "peak"
role = "plateau"
duration = { value = 10, unit = "s", source = "assumed" }
rate = { curve = "constant", at = { value = 20, unit = "x", source = "assumed" } }

[messages]
bytes = { law = "fixed", size = { value = 1, unit = "KiB", source = "assumed" } }
entropy = { value = 1, source = "assumed" }
batch = { value = 1, unit = "messages", source = "assumed" }

[partitions]
count = { value = 1, unit = "per shard", source = "assumed" }

[consumers]
tail = { value = 1, unit = "per partition", source = "assumed" }
"#;

const TRACE: &str = "# a trace\nminute,requests\n0,60\n1,120\n2,60\n";

fn parse(text: &str) -> Result<Profile, ProfileError> {
    Profile::parse("mine.toml", text, &|path| match path {
        "trace.csv" => (path.to_owned(), Ok(TRACE.to_owned())),
        "gap.csv" => (path.to_owned(), Ok("minute,requests\n0,60\n2,60\n".to_owned())),
        _ => (path.to_owned(), Err(std::io::ErrorKind::NotFound.into())),
    })
}

/// The message after `from` in the valid profile has become `to`.
#[track_caller]
fn said(from: &str, to: &str) -> String {
    assert_eq!(VALID.matches(from).count(), 1, "{from:?} stands once in the valid profile");
    parse(&VALID.replace(from, to)).expect_err("a faulty profile").to_string()
}

/// The calm's rate (line 16) has become `rate`.
#[track_caller]
fn said_of_rate(rate: &str) -> String {
    said(r#"rate = { curve = "constant", at = { value = 1, unit = "x", source = "paper: table 2" } }"#, rate)
}

const CALM: &str = r#"duration = { value = 10, unit = "s", source = "paper" }"#;

#[test]
fn the_valid_profile_is_valid() {
    let profile = parse(VALID).unwrap();
    assert_eq!(profile.phases.len(), 2);
    assert_eq!(profile.figures.iter().filter(|figure| figure.source == "paper").count(), 2);
    assert_eq!(profile.figures.iter().find(|figure| figure.note == "table 2").unwrap().key, "phase.quiet.rate.at");
    assert_eq!(profile.figures.iter().find(|figure| figure.note == "table 2").unwrap().line, 16);
}

#[test]
fn an_impossible_length_names_file_line_and_key() {
    for (value, found) in
        [("-5", "-5"), ("0", "0"), ("nan", "nan"), ("inf", "inf"), ("\"long\"", "\"long\""), ("true", "true")]
    {
        assert_eq!(
            said(CALM, &format!(r#"duration = {{ value = {value}, unit = "s", source = "paper" }}"#)),
            format!("mine.toml:15: phase.quiet.duration.value is {found}; expected a time above 0")
        );
    }
}

#[test]
fn a_number_without_unit_or_source_is_refused() {
    assert_eq!(
        said(CALM, "duration = 10"),
        "mine.toml:15: phase.quiet.duration is 10; expected a time above 0, with its source: \
         { value, unit = \"ms\" | \"s\" | \"min\" | \"h\", source }"
    );
    assert_eq!(
        said(CALM, r#"duration = { value = 10, unit = "s" }"#),
        "mine.toml:15: phase.quiet.duration.source is missing; expected where the number comes from: assumed, or a name from [sources]"
    );
    assert_eq!(
        said(CALM, r#"duration = { value = 10, unit = "s", source = "papper" }"#),
        "mine.toml:15: phase.quiet.duration.source is \"papper\"; expected assumed or a name from [sources]: one of assumed, paper (did you mean paper?)"
    );
    assert_eq!(
        said(CALM, r#"duration = { value = 10, source = "paper" }"#),
        "mine.toml:15: phase.quiet.duration.unit is missing; expected one of ms, s, min, h"
    );
    assert_eq!(
        said(CALM, r#"duration = { value = 10, unit = "sec", source = "paper" }"#),
        "mine.toml:15: phase.quiet.duration.unit is \"sec\"; expected one of ms, s, min, h"
    );
    assert_eq!(
        said("entropy = { value = 1, source", r#"entropy = { value = 1, unit = "s", source"#),
        "mine.toml:26: messages.entropy.unit is \"s\"; expected no unit: a plain number"
    );
}

#[test]
fn an_unknown_layout_says_which_there_are() {
    assert_eq!(
        said("[partitions]", "[partitions]\nlayout = \"groups\""),
        "mine.toml:30: partitions.layout is \"groups\"; expected partition, group, or group:<n> with 1 to 16384 partitions in each group"
    );
}

#[test]
fn catch_up_beside_consumers_of_whole_logs_is_refused() {
    let tail = r#"tail = { value = 1, unit = "per partition", source = "assumed" }"#;
    let reading = r#"catch_up = { readers = { value = 1, unit = "in all", source = "assumed" }, history = { value = 1, unit = "GiB", source = "assumed" }, during = "quiet" }"#;
    let by_log = format!("{}\n{reading}", tail.replace("per partition", "per log"));
    assert_eq!(said(tail, &by_log), "mine.toml:33: consumers.tail is per log beside catch_up; expected per partition");
}

#[test]
fn an_unknown_key_is_refused_and_the_near_one_offered() {
    assert_eq!(
        said("role = \"calm\"", "role = \"calm\"\ndurration = 5"),
        "mine.toml:15: phase.quiet.durration is not a key here; expected one of name, role, rate, duration (did you mean duration?)"
    );
    assert_eq!(
        said(CALM, r#"duration = { value = 10, unit = "s", source = "paper", sorce = "x" }"#),
        "mine.toml:15: phase.quiet.duration.sorce is not a key here; expected one of value, unit, source (did you mean source?)"
    );
    let unknown = said("title =", "zzz = 1\ntitle =");
    assert!(
        unknown.starts_with("mine.toml:2: zzz is not a key here; expected one of sources, name, title, "),
        "{unknown}"
    );
}

#[test]
fn a_missing_key_names_its_table() {
    assert_eq!(
        said(CALM, ""),
        "mine.toml:12: phase.quiet.duration is missing; expected a time above 0, with its source"
    );
    assert_eq!(
        said("title = \"A test\"", ""),
        "mine.toml:1: title is missing; expected one line that says what is replayed"
    );
    assert_eq!(
        said("[consumers]\ntail = { value = 1, unit = \"per partition\", source = \"assumed\" }\n", ""),
        "mine.toml:1: consumers is missing; expected a table with tail (one per partition is usual)"
    );
}

#[test]
fn a_wrong_type_says_what_is_there() {
    assert_eq!(said("title = \"A test\"", "title = 5"), "mine.toml:2: title is 5; expected a text in quotes");
    assert_eq!(said_of_rate("rate = 5"), "mine.toml:16: phase.quiet.rate is 5; expected a table");
    assert_eq!(
        said("title = \"A test\"", "title = \"A test\"\nobjective = 5"),
        "mine.toml:3: objective is 5; expected a list of tables, each under [[objective]]"
    );
    assert_eq!(
        said("seed = { value = 1,", "seed = { value = 1.5,"),
        "mine.toml:4: seed.value is 1.5; expected a whole number from 0 to 9e15"
    );
    assert_eq!(
        said("name = \"mine\"", "name = \"My profile\""),
        "mine.toml:1: name is \"My profile\"; expected lower-case letters, digits and dashes"
    );
}

#[test]
fn broken_toml_names_its_line() {
    let error = said("title = \"A test\"", "title = \"A test");
    assert!(error.starts_with("mine.toml:2: ") && error.ends_with("; expected valid TOML"), "{error}");
}

#[test]
fn an_impossible_curve_is_refused() {
    let at = |value: &str| format!(r#"{{ value = {value}, unit = "x", source = "assumed" }}"#);
    let s = |value: &str| format!(r#"{{ value = {value}, unit = "s", source = "assumed" }}"#);
    assert_eq!(
        said_of_rate(&format!(r#"rate = {{ curve = "constant", at = {} }}"#, at("-1"))),
        "mine.toml:16: phase.quiet.rate.at.value is -1; expected a rate of 0 or more"
    );
    assert_eq!(
        said_of_rate(&format!(r#"rate = {{ curve = "constnt", at = {} }}"#, at("1"))),
        "mine.toml:16: phase.quiet.rate.curve is \"constnt\"; expected one of constant, step, ramp, decay, sine, pieces, trace (did you mean constant?)"
    );
    assert_eq!(
        said_of_rate(&format!(
            r#"rate = {{ curve = "sine", mean = {}, swing = {}, period = {} }}"#,
            at("1"),
            at("1.5"),
            s("4")
        )),
        "mine.toml:16: phase.quiet.rate.swing makes the rate fall to -0.5; expected at most mean: no rate is negative"
    );
    assert_eq!(
        said_of_rate(&format!(
            r#"rate = {{ curve = "decay", floor = {}, above = {}, tau = {} }}"#,
            at("1"),
            at("-2"),
            s("4")
        )),
        "mine.toml:16: phase.quiet.rate.above makes the rate begin at -1; expected floor + above of 0 or more: no rate is negative"
    );
    assert_eq!(
        said_of_rate(&format!(
            r#"rate = {{ curve = "decay", floor = {}, above = {}, tau = {} }}"#,
            at("1"),
            at("2"),
            s("0")
        )),
        "mine.toml:16: phase.quiet.rate.tau.value is 0; expected a time above 0"
    );
    assert_eq!(
        said_of_rate(&format!(
            r#"rate = {{ curve = "step", from = {}, to = {}, after = {} }}"#,
            at("1"),
            at("2"),
            s("10")
        )),
        "mine.toml:16: phase.quiet.rate.after is 10 s; expected a time before the end, which is at 10 s"
    );
    assert_eq!(
        said_of_rate(r#"rate = { curve = "pieces", pieces = [] }"#),
        "mine.toml:16: phase.quiet.rate.pieces is missing; expected a list of pieces, each with duration and curve"
    );
    assert_eq!(
        said_of_rate(r#"rate = { curve = "constant", at = { value = 1, unit = "/s", source = "assumed" } }"#),
        "mine.toml:22: phase.peak.rate.at is in \"x\" after rates in the other unit; expected one unit throughout: x (relative, --peak sets the height) or /s (messages a second)"
    );
    assert_eq!(
        said("at = { value = 20,", "at = { value = 0,"),
        "mine.toml:22: phase.peak.rate is 0 throughout; expected a rate above 0 in the plateau: it is what --peak sets"
    );
}

#[test]
fn phases_have_names_and_one_plateau() {
    assert_eq!(
        said("role = \"plateau\"", "role = \"other\""),
        "mine.toml:12: phase has no plateau; expected one phase with role = \"plateau\": the height that --peak sets"
    );
    assert_eq!(
        said("role = \"calm\"", "role = \"plateau\""),
        "mine.toml:20: phase.peak.role is \"plateau\" again; expected at most one calm phase and one plateau: the table has a column for each"
    );
    assert_eq!(
        said("role = \"calm\"", "role = \"clam\""),
        "mine.toml:14: phase.quiet.role is \"clam\"; expected one of calm, rise, plateau, decay, other (did you mean calm?)"
    );
    assert_eq!(
        said("name = \"peak\"", "name = \"quiet\""),
        "mine.toml:19: phase[1].name is \"quiet\" again; expected another name for each phase"
    );
    assert_eq!(
        said("[messages]", "[mark]\nname = \"noon\"\nphase = \"peek\"\n\n[messages]"),
        "mine.toml:26: mark.phase is \"peek\"; expected one of quiet, peak (did you mean peak?)"
    );
}

#[test]
fn laws_stay_within_their_bounds() {
    let mmpp = |burst: &str, share: &str| {
        let number = |value: &str, unit: &str| format!(r#"{{ value = {value}{unit}, source = "assumed" }}"#);
        let (burst, share) = (number(burst, ", unit = \"x\""), number(share, ""));
        let length = number("5", ", unit = \"ms\"");
        said(
            "[messages]",
            &format!("[arrivals]\nlaw = \"mmpp\"\nburst = {burst}\nshare = {share}\nlength = {length}\n\n[messages]"),
        )
    };
    assert_eq!(
        mmpp("4", "0.5"),
        "mine.toml:26: arrivals.burst makes bursts carry 2.000 of all messages; expected burst times share of at most 1"
    );
    assert_eq!(
        mmpp("0.5", "0.5"),
        "mine.toml:26: arrivals.burst.value is 0.5; expected a rate in bursts of 1 x or more"
    );
    assert_eq!(mmpp("2", "1"), "mine.toml:27: arrivals.share.value is 1; expected a share between 0 and 1");
    assert_eq!(
        said("size = { value = 1, unit = \"KiB\"", "size = { value = 8, unit = \"B\""),
        "mine.toml:25: messages.bytes.size.value is 8; expected whole bytes from 24 B (the generator's stamp) to 1 MiB"
    );
    assert_eq!(
        said("batch = { value = 1,", "batch = { value = 2000,"),
        "mine.toml:27: messages.batch makes batches of 2048000 bytes; expected at most 1048576 bytes a batch (1 MiB)"
    );
    assert_eq!(
        said("entropy = { value = 1,", "entropy = { value = 1.1,"),
        "mine.toml:26: messages.entropy.value is 1.1; expected a share of random bytes from 0 to 1"
    );
    assert_eq!(
        said("count = { value = 1,", "count = { value = 0,"),
        "mine.toml:30: partitions.count.value is 0; expected a whole number of partitions from 1 to 10000"
    );
}

#[test]
fn the_plateau_table_belongs_to_relative_rates() {
    assert_eq!(
        said("[plateau]\nof_wall = { value = 1.5, unit = \"x\", source = \"assumed\" }\n", ""),
        "mine.toml:1: plateau is missing; expected [plateau] with of_wall: rates in x need a height when no --peak is given"
    );
    let absolute = VALID
        .replace("value = 1, unit = \"x\", source = \"paper", "value = 1, unit = \"/s\", source = \"paper")
        .replace("value = 20, unit = \"x\"", "value = 20, unit = \"/s\"");
    assert_eq!(
        parse(&absolute).unwrap_err().to_string(),
        "mine.toml:9: plateau is given; expected no [plateau]: the rates are messages a second and have their own height"
    );
}

fn traced(file: &str, duration: &str, from: &str) -> Result<Profile, ProfileError> {
    let text = VALID
        .replace("[plateau]\nof_wall = { value = 1.5, unit = \"x\", source = \"assumed\" }\n", "")
        .replace("value = 20, unit = \"x\"", "value = 20, unit = \"/s\"")
        .replace(CALM, &format!("duration = {{ value = {duration}, unit = \"min\", source = \"paper\" }}"))
        .replace(
            r#"rate = { curve = "constant", at = { value = 1, unit = "x", source = "paper: table 2" } }"#,
            &format!(
                r#"rate = {{ curve = "trace", file = "{file}", unit = "messages", source = "paper", interval = {{ value = 1, unit = "min", source = "paper" }}, from = {{ value = {from}, unit = "min", source = "assumed" }} }}"#
            ),
        );
    parse(&text)
}

#[test]
fn a_trace_is_cut_where_its_phase_says() {
    let profile = traced("trace.csv", "2", "1").unwrap();
    let rates: Vec<f64> = profile.phases[0].pieces.iter().map(|(_, shape)| shape.rate(0.0, 60.0)).collect();
    assert_eq!(rates, [2.0, 1.0]);
}

#[test]
fn a_faulty_trace_names_its_own_file_and_line() {
    let said = |file, duration, from| traced(file, duration, from).unwrap_err().to_string();
    assert_eq!(
        said("gap.csv", "2", "0"),
        "gap.csv:3: minute is 2; expected 1: rows in order, one for each interval from 0, none missing"
    );
    let missing = said("none.csv", "2", "0");
    assert!(
        missing.starts_with("mine.toml:14: phase.quiet.rate.file is \"none.csv\", which cannot be read ("),
        "{missing}"
    );
    assert_eq!(
        said("trace.csv", "3", "1"),
        "mine.toml:13: phase.quiet.duration is 180 s from 60 s on; expected whole intervals of 60 s within the trace, which ends at 180 s"
    );
    assert_eq!(
        said("trace.csv", "1", "0.5"),
        "mine.toml:14: phase.quiet.rate.from is 30 s; expected whole intervals of 60 s"
    );
}

#[test]
fn an_unknown_profile_offers_the_near_name() {
    assert_eq!(
        Profile::load("duble11").unwrap_err().to_string(),
        "duble11: is no profile; expected one of double11, double11-midnight, 618, online-service, streaming, many-partitions, steady, catch-up, worldcup98 (did you mean double11?), or the path of a .toml file"
    );
    let error = Profile::load("no/such.toml").unwrap_err().to_string();
    assert!(
        error.starts_with("no/such.toml: cannot be read (") && error.ends_with("; expected a profile in TOML"),
        "{error}"
    );
}

#[test]
fn a_profile_and_its_trace_are_found_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../workloads/worldcup98.toml");
    std::fs::write(folder.path().join("mine.toml"), text).unwrap();
    std::fs::create_dir(folder.path().join("traces")).unwrap();
    let trace = include_str!("../../workloads/traces/worldcup98-1998-06-30.csv");
    std::fs::write(folder.path().join("traces/worldcup98-1998-06-30.csv"), trace).unwrap();
    let own = Profile::load(folder.path().join("mine.toml").to_str().unwrap()).unwrap();
    assert_eq!(own, Profile::load("worldcup98").unwrap());
}

#[test]
fn a_setting_that_is_no_positive_number_is_refused() {
    let profile = parse(VALID).unwrap();
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        for (key, settings) in [
            ("peak", Settings { peak: Some(bad), ..Settings::default() }),
            ("rate", Settings { rate: Some(bad), ..Settings::default() }),
            ("speed", Settings { peak: Some(1.0), speed: Some(bad), ..Settings::default() }),
        ] {
            let error = profile.resolve(&settings).unwrap_err();
            assert!(matches!(&error, SettingsError::Number { key: named, .. } if *named == key), "{error}");
            assert!(error.to_string().starts_with(&format!("--{key} is {bad}; expected ")), "{error}");
        }
    }
}

#[test]
fn settings_that_do_not_fit_the_profile_are_refused() {
    let said = |profile: &Profile, settings: Settings| profile.resolve(&settings).unwrap_err().to_string();
    let shape = parse(VALID).unwrap();
    let both = Settings { peak: Some(1.0), rate: Some(1.0), ..Settings::default() };
    assert_eq!(
        said(&shape, Settings::default()),
        "mine gives a shape without a height: set the plateau with --peak <messages a second>, or let it be probed"
    );
    assert_eq!(
        said(&shape, Settings { rate: Some(2.0), ..Settings::default() }),
        "--rate multiplies a profile's own rates and mine has none: set its plateau with --peak <messages a second>"
    );
    assert_eq!(
        said(&shape, both),
        "--rate and --peak exclude each other: one multiplies the profile's rates, the other sets its plateau"
    );
    assert_eq!(
        said(&shape, Settings { peak: Some(1e10), ..Settings::default() }),
        "--peak is 10000000000; expected a rate of at most 1e9 messages a second at the curve's highest point"
    );
    assert_eq!(
        said(&shape, Settings { peak: Some(1.0), speed: Some(1e3), ..Settings::default() }),
        "--speed is 1000; expected between 0.000 and 200, so that the 20 s of the curve take between 0.1 s and a week"
    );
}

#[test]
fn the_profile_of_the_readme_is_valid() {
    let readme = include_str!("../../workloads/README.md");
    let start = readme.find("name = \"my-flood\"").unwrap();
    let text = &readme[start..start + readme[start..].find("```").unwrap()];
    let flood = parse(text).unwrap();
    let resolved = flood.resolve(&Settings { peak: Some(8_000.0), ..Settings::default() }).expect("settings that fit");
    assert_eq!(resolved.messages_expected(), 90_000.0);
}
