//! The main job on the engines without files: what a run leaves, what it prints, how it ends.

use crate::place::{Place, err, out};
use harness::summary::{RunState, Status, load_manifest};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use std::{collections::BTreeSet, fs};

#[test]
fn a_run_leaves_every_file_and_every_message_is_accounted_for() {
    let place = Place::new(1.0);
    let output = place.run(&["run", "short.toml", "--engine", "memory,null", "--durability", "none"]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", out(&output), err(&output));
    for file in ["manifest.json", "summary.json", "latency.hlog", "series.csv", "report.html"] {
        assert!(place.latest().join(file).is_file(), "{file}");
    }
    let leftovers: Vec<_> =
        std::fs::read_dir(place.latest()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(leftovers.len(), 5, "nothing else stays: {leftovers:?}");

    let summary = place.summary();
    assert_eq!(summary.run.state, RunState::Completed);
    assert_eq!(summary.engines.iter().map(|engine| engine.name.as_str()).collect::<Vec<_>>(), ["memory", "null"]);
    let orders: BTreeSet<u32> = summary.engines.iter().map(|engine| engine.order).collect();
    assert_eq!(orders, BTreeSet::from([1, 2]));
    for engine in &summary.engines {
        assert_eq!(engine.status, Status::Ok, "{}", engine.name);
        let measured = engine.measurement.as_ref().unwrap();
        let total = &measured.total;
        assert!((2_000..3_000).contains(&total.offered_messages), "{}", total.offered_messages);
        assert_eq!(total.acknowledged_messages, total.offered_messages);
        assert_eq!(total.response.count, total.offered_messages, "every message has a response time");
        assert_eq!(measured.phases.iter().map(|phase| phase.offered_messages).sum::<u64>(), total.offered_messages);
        assert_eq!(measured.series.samples.iter().sum::<u64>(), total.offered_messages);
        assert_eq!(measured.series.backlog.last(), Some(&0));
        let gate = |name: &str| measured.validity.iter().find(|verdict| verdict.gate == name).unwrap();
        assert!(gate("content").passed && gate("arrivals").passed, "{:?}", measured.validity);
        assert!(gate("attestation").passed && gate("achieved").passed, "{:?}", measured.validity);
        assert_eq!(gate("generator").passed, !measured.generator.harness_bound);
        assert!(measured.attestation.iter().all(|proof| proof.holds), "{:?}", measured.attestation);
        let consumers = if engine.name == "memory" { 2 } else { 0 };
        assert_eq!(measured.content.tail_consumers, consumers, "one a partition, where there is something to read");
        if consumers > 0 {
            assert_eq!(measured.content.verified_messages, total.offered_messages);
            assert_eq!(total.end_to_end.unwrap().count, total.offered_messages);
        }
    }
    let offered = |engine: usize| summary.engines[engine].measurement.as_ref().unwrap().total.offered_messages;
    assert_eq!(offered(0), offered(1), "the same schedule for each");

    let manifest = load_manifest(&place.latest()).unwrap();
    assert_eq!(manifest.run, summary.run.id);
    assert_eq!(manifest.effective_engines["memory"], "memory");
    let log = std::fs::read(place.latest().join("latency.hlog")).unwrap();
    let mut tags = BTreeSet::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            tags.insert(interval.tag().unwrap().as_str().to_owned());
        }
    }
    for tag in ["memory.response.before", "memory.end_to_end.flood", "null.service.flood", "memory.lateness.before"] {
        assert!(tags.contains(tag), "{tag} in {tags:?}");
    }
    let registry = std::fs::read_to_string(place.path().join("results/local/registry.ndjson")).unwrap();
    assert_eq!(registry.lines().count(), 1);
    assert!(registry.contains(&summary.run.id));

    let shown = place.run(&["show", "latest"]);
    assert_eq!(shown.status.code(), Some(0));
    let table = |text: String| {
        text.lines().take_while(|line| !line.starts_with("report")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(table(out(&shown)), table(out(&output)));
    assert!(!err(&output).contains('\x1b') && !out(&output).contains('\x1b'), "no control codes without a terminal");
}

#[test]
fn json_is_the_summary_and_out_is_the_folder() {
    let place = Place::new(0.2);
    let output =
        place.run(&["run", "short.toml", "--engine", "memory", "--durability", "none", "--json", "--out", "kept/here"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let printed: harness::summary::Summary = serde_json::from_slice(&output.stdout).unwrap();
    let stored = harness::summary::load_summary(&place.path().join("kept/here")).unwrap();
    assert_eq!(printed, stored);
    assert!(!place.path().join("results").exists(), "nothing is written beside --out");
}

#[test]
fn the_same_seed_offers_the_same_and_another_seed_does_not() {
    let place = Place::new(0.2);
    let offered = |seed: &str| {
        let output = place.run(&["run", "short.toml", "--engine", "null", "--durability", "none", "--seed", seed]);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let measured = place.summary().engines[0].measurement.clone().unwrap();
        // A drain of an interval or two may follow the schedule.
        let offered: Vec<f64> = measured.series.offered_per_s.into_iter().filter(|offered| *offered > 0.0).collect();
        (offered, load_manifest(&place.latest()).unwrap().schedule_sha256)
    };
    let first = offered("3");
    assert_eq!(offered("3"), first);
    assert_ne!(offered("4").1, first.1);
}

#[test]
fn a_configuration_file_has_the_options_and_the_command_line_stands_over_it() {
    let place = Place::new(0.2);
    let text = "engine = [\"memory\", \"null\"]\ndurability = \"none\"\nseed = 11\nspeed = 2\nshards = 1\n";
    std::fs::write(place.path().join("highwater.toml"), text).unwrap();
    let output = place.run(&["run", "short.toml", "--config", "highwater.toml", "--engine", "null", "--seed", "12"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let run = place.summary();
    assert_eq!((run.run.seed, run.run.speed, run.run.durability.as_str()), (12, 2.0, "none"));
    assert_eq!(run.engines.len(), 1);
}

#[test]
fn a_run_that_is_not_valid_ends_with_3_only_when_strict() {
    let place = Place::new(0.2);
    let arguments = ["run", "short.toml", "--engine", "null", "--durability", "none"];
    let strict = [&arguments[..], &["--strict"]].concat();
    assert_eq!(place.run(&arguments).status.code(), Some(0));
    let code = place.run(&strict).status.code();
    let valid = place.summary().is_valid();
    assert_eq!(code, Some(if valid { 0 } else { 3 }));
    assert!(!valid || !cfg!(debug_assertions), "a debug build is not valid");
}

#[test]
fn a_run_whose_gate_must_fail_ends_with_3_when_strict() {
    let place = Place::new(0.2);
    // One core for generator and shard, on any machine.
    let core = harness::cost::machine::allowed_cpus()[0].to_string();
    let arguments = ["run", "short.toml", "--engine", "null", "--durability", "none", "--cpus", &core, "--strict"];
    let output = place.run(&arguments);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let summary = place.summary();
    assert!(summary.failed_gates().any(|(engine, verdict)| engine.is_none() && verdict.gate == "cores"));
}

#[test]
fn the_command_that_repeats_a_run_measures_the_stages_again() {
    let place = Place::new(0.2);
    let output = place.run(&["run", "short.toml", "--engine", "memory", "--durability", "none", "--stages"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(place.summary().run.command.contains(" --stages"), "{}", place.summary().run.command);
    let manifest = load_manifest(&place.latest()).unwrap();
    assert_eq!(manifest.config["stages"], true);
}

#[test]
fn what_was_measured_stays_when_only_its_bookkeeping_fails() {
    let place = Place::new(0.2);
    // A folder stands where the link should, and where the registry should.
    fs::create_dir_all(place.latest()).unwrap();
    fs::write(place.latest().join("mine"), "x").unwrap();
    fs::create_dir_all(place.path().join("results/local/registry.ndjson")).unwrap();
    let output = place.run(&["run", "short.toml", "--engine", "null", "--durability", "none"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for what in ["warning: could not point latest", "warning: could not add the run to registry.ndjson"] {
        assert!(err(&output).contains(what), "{}", err(&output));
    }
    let listed = fs::read_dir(place.path().join("results/local")).unwrap();
    let mut names: Vec<String> = listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("short"))
        .collect();
    let name = names.pop().expect("the run's folder");
    assert!(names.is_empty(), "{names:?}");
    harness::summary::load_summary(&place.path().join("results/local").join(name)).unwrap();
}

#[test]
fn several_shards_share_one_schedule() {
    let place = Place::new(0.5);
    let output = place.run(&["run", "short.toml", "--engine", "memory", "--durability", "none", "--shards", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let measured = place.summary().engines[0].measurement.clone().unwrap();
    assert_eq!(measured.content.verified_messages, measured.total.offered_messages);
    assert_eq!(measured.content.lost + measured.content.doubled + measured.content.reordered, 0);
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let place = Place::new(1.0);
    let output = place.run(&["run", "short.toml", "--engine", "memory", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    for part in ["flood", "2.00k", "memory"] {
        assert!(out(&output).contains(part), "{part} in {}", out(&output));
    }
    assert!(!place.path().join("results").exists());
}
