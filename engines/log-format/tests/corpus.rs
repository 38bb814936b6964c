//! The fuzz targets' checks on their corpus, so that what the fuzzer once found stays found without a fuzzer.

use std::{fs, path::Path};

#[path = "../fuzz/checks/frame.rs"]
mod frame;
#[path = "../fuzz/checks/iterate.rs"]
mod iterate;
#[path = "../fuzz/checks/records.rs"]
mod records;
#[path = "../fuzz/checks/verify.rs"]
mod verify;

/// Each input, each beginning of it, and each with one byte changed.
fn run(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        inputs += 1;
        for length in 0..=bytes.len() {
            check(&bytes[..length]);
        }
        for place in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                check(&changed);
            }
        }
    }
    assert!(inputs >= 5, "{target} has {inputs} inputs");
}

#[test]
fn verify_holds() {
    run("verify", verify::check);
}

#[test]
fn iterate_holds() {
    run("iterate", iterate::check);
}

#[test]
fn records_holds() {
    run("records", records::check);
}

#[test]
fn frame_holds() {
    run("frame", frame::check);
}
