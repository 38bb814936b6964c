//! The invariants of `engines/ARCHITECTURE.md` that a machine can hold: which way dependencies point, who names the
//! runtime, where `unsafe` may stand.

use cargo_metadata::{DependencyKind, MetadataCommand, Package};
use std::path::{Path, PathBuf};

/// Each package and what it may depend on, from the bottom up. Development dependencies are free: tests may look upward.
const MAY_DEPEND_ON: [(&str, &[&str]); 13] = [
    ("log-api", &[]),
    ("log-format", &["log-api"]),
    ("shard-ring", &[]),
    ("log-segment", &["log-api", "log-format", "shard-ring"]),
    ("log-memory", &["log-api", "log-format", "shard-ring"]),
    ("log-mmap", &["log-api", "log-format", "log-segment", "shard-ring"]),
    ("log-direct", &["log-api", "log-format", "log-segment", "shard-ring"]),
    ("log-pagecache", &["log-api", "log-format", "log-segment", "shard-ring"]),
    ("log-group", &["log-api", "log-format", "log-segment", "shard-ring"]),
    ("log-testkit", &["log-api", "log-format", "shard-ring"]),
    (
        "broker",
        &[
            "log-api",
            "log-direct",
            "log-format",
            "log-group",
            "log-memory",
            "log-mmap",
            "log-pagecache",
            "log-segment",
            "shard-ring",
        ],
    ),
    ("harness", &["broker", "log-api", "log-format", "log-segment", "shard-ring"]),
    ("xtask", &[]),
];

/// External packages that the crates without I/O may use: none of them opens a file, a socket or a thread.
const PURE: [(&str, &[&str]); 2] = [("log-api", &["thiserror"]), ("log-format", &["crc-fast", "thiserror"])];

/// The only packages that may name the runtime.
const NAME_GLOMMIO: [&str; 1] = ["shard-ring"];

fn packages() -> Vec<Package> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata runs in a checkout");
    metadata.packages
}

fn normal_dependencies(package: &Package) -> Vec<&str> {
    package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.as_str()).collect()
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    assert_eq!(packages.len(), MAY_DEPEND_ON.len(), "a package was added or removed: give it its place in this table");
    for package in &packages {
        let name = package.name.as_str();
        let (_, allowed) = MAY_DEPEND_ON
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("{name} has no place in the table"));
        for dependency in normal_dependencies(package) {
            let internal = MAY_DEPEND_ON.iter().any(|(known, _)| *known == dependency);
            assert!(!internal || allowed.contains(&dependency), "{name} may not depend on {dependency}");
        }
    }
}

#[test]
fn the_crates_without_io_depend_on_nothing_that_has_it() {
    for package in packages() {
        if let Some((name, allowed)) = PURE.iter().find(|(name, _)| *name == package.name.as_str()) {
            for dependency in normal_dependencies(&package) {
                let internal = MAY_DEPEND_ON.iter().any(|(known, _)| *known == dependency);
                assert!(
                    internal || allowed.contains(&dependency),
                    "{name} does no I/O: what does it need {dependency} for"
                );
            }
        }
    }
}

#[test]
fn the_runtime_is_named_in_one_place() {
    for package in packages() {
        let names = package.dependencies.iter().any(|d| d.name == "glommio-ng");
        assert!(!names || NAME_GLOMMIO.contains(&package.name.as_str()), "{} may not name glommio", package.name);
    }
}

/// Files in which the hardware is touched. Everything else is safe Rust; a new line here wants a reason in review.
const UNSAFE_FILES: &[&str] = &[
    "broker/src/intake/frames.rs",
    "broker/src/send.rs",
    "engines/log-direct/src/availability.rs",
    "engines/log-mmap/src/mapping.rs",
    "engines/log-pagecache/src/residency.rs",
    "engines/log-testkit/src/allocations.rs",
    "engines/shard-ring/src/buffer.rs",
    "engines/shard-ring/src/kernel.rs",
    "engines/shard-ring/src/provided.rs",
    "engines/shard-ring/src/slab.rs",
    "harness/src/calibrate/disk_ring.rs",
    "harness/src/calibrate/mapped.rs",
    "harness/src/calibrate/sockets.rs",
    "harness/src/load/ring.rs",
];

#[test]
fn unsafe_stands_in_named_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the root").to_path_buf();
    let mut found: Vec<String> = Vec::new();
    for folder in ["engines", "broker", "harness", "xtask"] {
        sources(&root.join(folder), &mut |path, text| {
            let code = text.lines().map(|line| line.split("//").next().unwrap_or(""));
            if code
                .filter(|line| !line.contains("unsafe_"))
                .any(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe"))
            {
                found.push(path.strip_prefix(&root).expect("below the root").display().to_string());
            }
        });
    }
    found.retain(|path| path != "xtask/tests/house_rules.rs");
    found.sort();
    let mut named: Vec<String> = UNSAFE_FILES.iter().map(|path| (*path).to_owned()).collect();
    named.sort();
    assert_eq!(found, named, "left: files with unsafe; right: the named ones");
}

/// Calls `visit` with each Rust file of a folder that is part of the products: sources, not tests, benches or fuzz targets.
fn sources(folder: &Path, visit: &mut impl FnMut(&Path, &str)) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder of the checkout")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if path.is_dir() {
            if !["tests", "benches", "fuzz", "target", "examples"].contains(&name) {
                sources(&path, visit);
            }
        } else if name.ends_with(".rs") {
            visit(&path, &std::fs::read_to_string(&path).expect("a source file is text"));
        }
    }
}
