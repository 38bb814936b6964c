//! `show` prints a stored run again, and says clearly why it cannot.

mod common;

use common::night;
use harness::{
    show::show,
    summary::{ResultError, SERIES_COLUMNS, SERIES_FILE, SUMMARY_FILE, load_summary, store_json, store_series},
    table,
};
use std::path::{Path, PathBuf};

/// A folder like `results/local` with one run in it.
fn local() -> (tempfile::TempDir, PathBuf) {
    let local = tempfile::tempdir().expect("a temporary folder");
    let run = local.path().join(night().run.id);
    std::fs::create_dir(&run).expect("a folder in it");
    store_json(&run, SUMMARY_FILE, &night()).expect("a writable folder");
    std::os::unix::fs::symlink(night().run.id, local.path().join("latest")).expect("a link");
    (local, run)
}

#[test]
fn a_run_is_found_by_latest_by_name_and_by_path() {
    let (local, run) = local();
    let expected = table::render(&night(), None);
    assert_eq!(show("latest", local.path()).expect("latest"), expected);
    assert_eq!(show(&night().run.id, local.path()).expect("by name"), expected);
    assert_eq!(show(run.to_str().expect("a temporary path is text"), Path::new("nowhere")).expect("by path"), expected);
}

#[test]
fn the_report_is_the_last_line_only_if_it_is_there() {
    let (local, run) = local();
    assert!(!show("latest", local.path()).expect("latest").contains("report:"));
    let page = harness::report::store(&run, &night(), None).expect("a writable folder");
    let text = show(run.to_str().expect("a temporary path is text"), local.path()).expect("by path");
    assert_eq!(text.lines().last(), page.to_str());
}

#[test]
fn a_missing_run_is_named() {
    let (local, _) = local();
    let error = show("yesterday", local.path()).expect_err("there is no such run");
    assert!(matches!(error, ResultError::Missing(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("yesterday: no such run") && text.contains("`latest`"), "{text}");
}

#[test]
fn a_folder_without_a_summary_is_no_run() {
    let (local, run) = local();
    std::fs::remove_file(run.join(SUMMARY_FILE)).expect("it was stored");
    assert!(matches!(show("latest", local.path()), Err(ResultError::Missing(_))));
}

#[test]
fn other_versions_damage_and_ragged_columns_are_refused_with_file_and_reason() {
    let (local, run) = local();
    let path = run.join(SUMMARY_FILE);
    let stored = std::fs::read_to_string(&path).expect("it was stored");
    let shown = |text: &str| {
        std::fs::write(&path, text).expect("a writable file");
        let text = show("latest", local.path()).expect_err("it is not a summary of this schema").to_string();
        assert!(text.contains(SUMMARY_FILE), "{text}");
        text
    };
    assert!(shown(&stored.replace("\"schema_version\": 1", "\"schema_version\": 99")).contains("schema version 99"));
    assert!(shown(&stored[..stored.len() / 2]).contains("line "));
    assert!(shown(&stored.replacen("\"seed\": 11", "\"seed\": \"eleven\"", 1)).contains("line "));
    let mut ragged = night();
    ragged.engines[1].measurement.as_mut().expect("measured").series.p99_ns.pop();
    store_json(&run, SUMMARY_FILE, &ragged).expect("a writable folder");
    let text = show("latest", local.path()).expect_err("the columns differ").to_string();
    assert!(text.contains("direct's series differ"), "{text}");
}

#[test]
fn a_summary_survives_its_file_and_keeps_series_on_one_line() {
    let (_local, run) = local();
    assert!(load_summary(&run).expect("what was written is of the schema") == night(), "figures changed on their way");
    let text = std::fs::read_to_string(run.join(SUMMARY_FILE)).expect("it was stored");
    assert!(text.starts_with("{\n  \"schema_version\": 1,\n  \"run\": {\n    \"id\": "), "{}", &text[..80]);
    let series: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("\"p999_ns\": [")).collect();
    assert_eq!(series.len(), 3, "one line a series");
    assert!(series.iter().all(|line| line.trim_end_matches(',').ends_with(']')));
    assert!(!run.join(format!(".{SUMMARY_FILE}.new")).exists());
}

#[test]
fn the_series_file_has_a_line_an_engine_and_interval() {
    let (_local, run) = local();
    store_series(&run, &night()).expect("a writable folder");
    let text = std::fs::read_to_string(run.join(SERIES_FILE)).expect("it was stored");
    let intervals: usize = night().engines.iter().map(|e| e.measurement.as_ref().expect("measured").series.len()).sum();
    assert_eq!(text.lines().count(), 1 + intervals);
    assert_eq!(text.lines().next(), Some(SERIES_COLUMNS.join(",").as_str()));
    assert!(text.lines().all(|line| line.split(',').count() == SERIES_COLUMNS.len()));
}
