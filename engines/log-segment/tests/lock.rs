//! A directory belongs to one process at a time.

use log_api::{LogId, OpenError};
use log_segment::DataDir;
use std::{env, path::Path, process::Command};

const CHILD: &str = "HIGHWATER_TEST_LOCK_DIR";
const HELD: i32 = 40;
const FREE: i32 = 41;

/// What another process finds.
fn other_process(dir: &Path) -> i32 {
    let status = Command::new(env::current_exe().expect("a running program has a path"))
        .args(["--exact", "one_process_at_a_time", "--nocapture"])
        .env(CHILD, dir)
        .status()
        .expect("the test can be started again");
    status.code().expect("it ends by itself")
}

#[test]
fn one_process_at_a_time() {
    if let Some(dir) = env::var_os(CHILD) {
        let code = match DataDir::open(Path::new(&dir)) {
            Err(OpenError::Held(held)) if held == Path::new(&dir) => HELD,
            Ok(_) => FREE,
            Err(_) => 1,
        };
        std::process::exit(code);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("not/there/yet");
    let data = DataDir::open(&path).unwrap();
    assert_eq!(data.log_dir(LogId(7)), path.join("00007"));
    assert!(matches!(DataDir::open(&path), Err(OpenError::Held(_))), "nor twice in one process");
    assert_eq!(other_process(&path), HELD);
    let clone = data.clone();
    drop(data);
    assert_eq!(other_process(&path), HELD, "the last clone gives it back");
    drop(clone);
    assert_eq!(other_process(&path), FREE);
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = DataDir::open(&file.join("below")).unwrap_err();
    assert!(error.to_string().contains("file/below"), "{error}");
}
