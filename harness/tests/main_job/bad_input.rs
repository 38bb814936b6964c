//! What cannot be ends in one clear message and a status, and harms nothing.

use crate::place::{Place, err};

/// Runs it, expects the status, one line on standard error, and in it each of `parts`.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], status: i32, parts: &[&str]) {
    let output = place.run(arguments);
    let message = err(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}");
    assert_eq!(message.trim().lines().count(), 1, "{arguments:?}: one message: {message}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: {part:?} in {message:?}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert!(!place.path().join("results").exists(), "{arguments:?}: nothing was written");
}

#[test]
fn unknown_words_say_what_can_be_written() {
    let place = Place::new(1.0);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["run", "duble11"], &["double11"]),
        (&["run", "short.toml", "--engine", "mmapp"], &["--engine", "mmapp", "did you mean mmap"]),
        (&["run", "short.toml", "--engine", "mmap,mmap"], &["--engine", "each engine once"]),
        (&["run", "short.toml", "--durability", "sometimes"], &["--durability", "interval:<ms>"]),
        (&["run", "short.toml", "--commit", "later"], &["--commit", "linger:<us>"]),
        (&["run", "short.toml", "--layout", "groups"], &["--layout", "group:<n>"]),
        (&["run", "short.toml", "--send", "pigeon"], &["--send", "sendfile or copy"]),
        (&["run", "short.toml", "--cpus", "0,9999"], &["--cpus", "9999"]),
        (&["run", "nowhere/none.toml"], &["nowhere/none.toml", "cannot be read"]),
    ];
    for (arguments, parts) in cases {
        refused(&place, arguments, 2, parts);
    }
}

#[test]
fn numbers_that_cannot_be_are_named() {
    let place = Place::new(1.0);
    for key in ["--rate", "--speed", "--peak"] {
        for value in ["-1", "0", "NaN", "inf", "fast", ""] {
            refused(&place, &["run", "short.toml", key, value], 2, &[key, "above 0"]);
        }
    }
    refused(&place, &["run", "short.toml", "--shards", "0"], 2, &["--shards", "from 1"]);
    refused(&place, &["run", "short.toml", "--seed", "-3"], 2, &["--seed"]);
    refused(&place, &["run", "short.toml", "--segment-bytes", "1000"], 2, &["--segment-bytes", "multiple of 1MiB"]);
    refused(&place, &["run", "short.toml", "--rate", "2", "--peak", "3"], 2, &["--rate", "--peak", "exclude"]);
    refused(&place, &["run", "double11", "--rate", "2"], 2, &["--rate"]);
}

#[test]
fn a_faulty_configuration_names_file_line_and_key() {
    let place = Place::new(1.0);
    let cases = [
        ("sped = 60\n", ["config.toml:1", "sped", "speed"]),
        ("seed = 1\nrate = -2\n", ["config.toml:2", "rate", "above 0"]),
        ("\nengine = \"mmpa\"\n", ["config.toml:2", "engine", "mmap"]),
        ("json = 3\n", ["config.toml:1", "json", "boolean"]),
        ("engine = [\n", ["config.toml", "TOML", "expected"]),
    ];
    for (text, parts) in cases {
        std::fs::write(place.path().join("config.toml"), text).unwrap();
        refused(&place, &["run", "short.toml", "--config", "config.toml"], 2, &parts);
    }
    refused(&place, &["run", "short.toml", "--config", "none.toml"], 2, &["none.toml"]);
}

#[test]
fn a_faulty_profile_names_file_line_and_key() {
    let place = Place::new(1.0);
    let text = crate::place::SHORT.replace("SECONDS", "-4");
    std::fs::write(place.path().join("faulty.toml"), &text).unwrap();
    let line = 1 + text.lines().position(|line| line.contains("-4")).unwrap();
    refused(&place, &["run", "faulty.toml"], 2, &[&format!("faulty.toml:{line}"), "duration"]);
    refused(&place, &["explain", "faulty.toml"], 2, &["faulty.toml"]);
}

#[test]
fn places_that_cannot_hold_data_or_results_are_named() {
    let place = Place::new(1.0);
    std::fs::write(place.path().join("file"), "mine").unwrap();
    refused(&place, &["run", "short.toml", "--engine", "memory", "--dir", "file"], 1, &["file"]);
    refused(&place, &["run", "short.toml", "--engine", "memory", "--out", "file/below"], 1, &["file"]);
    std::fs::create_dir(place.path().join("full")).unwrap();
    std::fs::write(place.path().join("full/mine"), "mine").unwrap();
    refused(&place, &["run", "short.toml", "--engine", "memory", "--out", "full"], 2, &["--out full", "not empty"]);
    refused(&place, &["show", "no-such-run"], 1, &["no-such-run"]);
    refused(&place, &["log", "verify", "full"], 1, &["full", "no logs"]);
    refused(&place, &["engines", "--dir", "nowhere"], 2, &["nowhere"]);
    assert_eq!(std::fs::read_to_string(place.path().join("file")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(place.path().join("full/mine")).unwrap(), "mine");
}

#[test]
fn a_run_that_does_not_fit_is_refused_before_it_begins() {
    let place = Place::new(1.0);
    let arguments = [
        "run",
        "short.toml",
        "--engine",
        "memory",
        "--peak",
        "900M",
        "--speed",
        "0.001",
        "--retention-bytes",
        "900TiB",
    ];
    refused(&place, &arguments, 1, &["memory engine", "--retention-bytes"]);
}

#[test]
fn damage_is_told_with_segment_and_position_and_left_as_it_is() {
    let place = Place::new(1.0);
    let folder = place.path().join("data/00000");
    std::fs::create_dir_all(&folder).unwrap();
    let batch = |offset: u64| {
        let mut builder = log_format::BatchBuilder::new(0);
        builder.push(0, None, Some(b"a message"));
        let mut bytes = builder.finish();
        log_format::assign(&mut bytes, log_api::Offset(offset), log_api::Epoch(1));
        bytes
    };
    let mut first = [batch(0), batch(1)].concat();
    let position = first.len() / 2;
    let last = first.len() - 3;
    first[last] ^= 1;
    let segment = folder.join("00000000000000000000.log");
    std::fs::write(&segment, &first).unwrap();
    std::fs::write(folder.join("00000000000000000002.log"), batch(2)).unwrap();
    for command in ["verify", "dump"] {
        let output = place.run(&["log", command, "data"]);
        let text = crate::place::out(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("00000000000000000000.log") && text.contains(&format!("byte {position}")), "{text}");
    }
    assert_eq!(std::fs::read(segment).unwrap(), first);
}
