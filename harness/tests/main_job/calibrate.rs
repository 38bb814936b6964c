//! `highwater calibrate` from its command line to what is left behind, and what a run makes of it.

use crate::place::{Place, err, out};
use harness::calibrate::{Case, Ceilings, Figure, Sample, remembered};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::Stdio,
};

/// Expects one message that holds each of `parts`, the status, and a folder as it was.
#[track_caller]
fn refused(place: &Place, arguments: &[&str], status: i32, parts: &[&str]) {
    let files = || fs::read_dir(place.path()).expect("the folder of the test").count();
    let before = files();
    let output = place.run(arguments);
    let message = err(&output);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {message}");
    assert_eq!(message.trim().lines().count(), 1, "{arguments:?}: one message: {message}");
    for part in parts {
        assert!(message.contains(part), "{arguments:?}: {part:?} in {message:?}");
    }
    assert_eq!(files(), before, "{arguments:?}: something was left");
}

#[test]
fn a_directory_that_cannot_be_measured_and_a_file_that_cannot_be_written_are_refused() {
    let place = Place::new(1.0);
    refused(&place, &["calibrate", "--dir", "nowhere"], 2, &["--dir nowhere", "no such directory"]);
    refused(&place, &["calibrate", "--dir", "short.toml"], 2, &["short.toml", "is a file"]);
    refused(&place, &["calibrate", "--cpus", "0,9999"], 2, &["--cpus", "9999"]);
    refused(&place, &["calibrate", "--engines", "--case", "rocks"], 2, &["--case", "rocks", "pagecache: "]);
    refused(
        &place,
        &["calibrate", "--json", "nowhere/table.json"],
        2,
        &["--json nowhere/table.json", "no directory nowhere"],
    );
    refused(&place, &["calibrate", "--engines", "--json", "."], 2, &["--json .", "is a directory"]);
    refused(&place, &["calibrate", "--engines", "--dir", "nowhere"], 2, &["--dir nowhere", "no such directory"]);
    refused(&place, &["calibrate", "--dir", "/proc/self"], 1, &["/proc/self", "no file can be made"]);
    if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
        let dir = folder.path().to_str().unwrap();
        refused(&place, &["calibrate", "--dir", dir], 1, &[dir, "no disk to measure", "--dir"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn without_fio_the_check_says_so_before_anything_is_measured() {
    let place = Place::new(1.0);
    let output = place.command(&["calibrate", "--check-fio"]).env("PATH", place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert_eq!(err(&output).trim().lines().count(), 1, "{}", err(&output));
    assert!(err(&output).contains("fio is not installed"), "{}", err(&output));
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let place = Place::new(1.0);
    let mut child = place.command(&["calibrate"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("round 1") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    assert!(output.stdout.is_empty(), "{}", out(&output));
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["short.toml"]);
}

#[test]
fn ctrl_c_between_engines_leaves_nothing_behind() {
    let place = Place::new(1.0);
    let arguments = ["calibrate", "--engines", "--case", "pagecache none 100"];
    let mut child = place.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("1 of 1") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let left: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["short.toml"]);
}

/// Ceilings of a machine on which everything is counted once a second.
fn ceilings() -> Ceilings {
    let figure = |case: Case| Figure::of(case, &[Sample { per_s: 1e9, p50_ns: None }]);
    Ceilings {
        version: harness::calibrate::ceilings::VERSION,
        measured: "2026-01-01T00:00:00Z".to_owned(),
        took_s: 1.0,
        file_system: "ext4".to_owned(),
        device: "vda".to_owned(),
        kernel: "6".to_owned(),
        cpu: "cpu".to_owned(),
        build: "debug".to_owned(),
        shard_core: None,
        peer_core: None,
        figures: Case::all().into_iter().filter_map(figure).collect(),
    }
}

#[test]
fn a_run_shows_its_share_of_remembered_ceilings_or_how_to_get_some() {
    let place = Place::new(0.5);
    let arguments = ["run", "short.toml", "--engine", "pagecache"];
    let output = place.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(out(&output).contains("ceilings: run highwater calibrate"), "{}", out(&output));
    assert!(place.summary().engines[0].measurement.as_ref().unwrap().ceilings.is_empty());

    let key = remembered::Key::of(place.path());
    remembered::remember(&place.path().join("cache/highwater"), &key, &ceilings()).unwrap();
    let output = place.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(!out(&output).contains("run highwater calibrate"), "{}", out(&output));
    assert!(out(&output).contains("└ ceiling: "), "{}", out(&output));
    let summary = place.summary();
    let measured = summary.engines[0].measurement.as_ref().unwrap();
    let used = measured.plateau_use.unwrap();
    assert!(used.commits > 0 && used.acknowledged_bytes > 0 && used.time_s > 0.0, "{used:?}");
    let shares = &measured.ceilings;
    // Two partitions flush at once: the device's own depth.
    assert!(shares.iter().any(|share| share.ceiling.starts_with("direct DSYNC ×4")), "{shares:?}");
    assert!(shares.iter().any(|share| share.ceiling == "shard's core"), "{shares:?}");
    assert!(shares.windows(2).all(|pair| pair[0].share >= pair[1].share), "{shares:?}");
    let manifest = harness::summary::load_manifest(&place.latest()).unwrap();
    assert_eq!(manifest.ceilings, Some(ceilings()));
    let page = fs::read_to_string(place.latest().join(Path::new("report.html"))).unwrap();
    assert!(page.contains("ceiling: "), "the page shows it as well");
}
