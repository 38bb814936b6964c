//! A results folder: making it, filling it, pointing to it.

use crate::child::{hlog, play::latency_part};
use crate::config::Usage;
use crate::run::utc::Utc;
use crate::summary::{
    EngineResult, LATENCY_FILE, MANIFEST_FILE, Manifest, REPORT_FILE, SUMMARY_FILE, Status, Summary, store_json,
    store_series,
};
use anyhow::Context;
use serde::Serialize;
use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// One line a run, beside the runs.
const REGISTRY_FILE: &str = "registry.ndjson";
/// Points to the last local run.
const LATEST: &str = "latest";
/// Where engines keep their data during a run, unless `--dir` says otherwise.
const DATA: &str = ".data";

/// The folder of one run.
pub struct Results {
    /// Its path.
    pub path: PathBuf,
    /// Its name: `<utc>-<profile>-<id>`, or the name of `--out`.
    pub name: String,
    /// `results`, in the checkout or the current directory.
    root: PathBuf,
    /// It lies in `results/local`.
    local: bool,
}

impl Results {
    /// Makes the folder of a run that starts now.
    ///
    /// # Errors
    /// [`Usage`] when `out` holds something already; an error when it cannot be made.
    pub fn create(out: Option<&Path>, root: &Path, profile: &str, started: Utc) -> anyhow::Result<Self> {
        if let Some(out) = out {
            let taken = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
            if taken || out.is_file() {
                let text = format!("--out {}: exists and is not empty; name a new folder", out.display());
                return Err(Usage::from_error(text));
            }
            fs::create_dir_all(out).with_context(|| format!("make the results folder {}", out.display()))?;
            let name = out.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
            let path = fs::canonicalize(out).unwrap_or_else(|_| out.to_path_buf());
            return Ok(Self { path, name, root: root.to_path_buf(), local: false });
        }
        let parent = root.join("local");
        fs::create_dir_all(&parent).with_context(|| format!("make the results folder {}", parent.display()))?;
        let stem = format!("{}-{profile}", started.compact());
        // Two runs in one second differ by the process; two of one process do not begin in one second.
        let id = std::process::id() & 0xffff;
        let name = format!("{stem}-{id:04x}");
        let path = parent.join(&name);
        fs::create_dir(&path).with_context(|| format!("make the results folder {}", path.display()))?;
        Ok(Self { path, name, root: root.to_path_buf(), local: true })
    }

    /// Where data lie that are removed after the run.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Removes the folder of a run that came to nothing.
    pub fn discard(self) {
        fs::remove_dir_all(&self.path).ok();
        if self.local {
            // The folders above, if this run made them: others are not empty, and stay.
            fs::remove_dir(self.root.join("local")).and_then(|()| fs::remove_dir(&self.root)).ok();
        }
    }

    /// Writes every file of a run, points `latest` to it and adds its line to the registry. Returns what came to nothing of what is only
    /// made from the files or points to them, in words.
    ///
    /// # Errors
    /// A file with figures cannot be written.
    pub fn store(&self, summary: &Summary, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
        store_json(&self.path, SUMMARY_FILE, summary)?;
        store_json(&self.path, MANIFEST_FILE, manifest)?;
        let at = |file: &str| self.path.join(file);
        let context = |file: &str| format!("write {}", at(file).display());
        self.write_latencies(summary).with_context(|| context(LATENCY_FILE))?;
        store_series(&self.path, summary)?;
        let report = crate::report::render(summary, Some(manifest));
        let report = fs::write(at(REPORT_FILE), report).with_context(|| context(REPORT_FILE));
        let latest = if self.local { self.point_latest() } else { Ok(()) };
        let latest = latest.with_context(|| format!("point {LATEST} to {}", self.name));
        let registered = self.register(summary).with_context(|| format!("add the run to {REGISTRY_FILE}"));
        let outcomes = [report, latest, registered];
        Ok(outcomes.into_iter().filter_map(Result::err).map(|error| format!("could not {error:#}")).collect())
    }

    /// Joins what the children left into one interval log.
    fn write_latencies(&self, summary: &Summary) -> std::io::Result<()> {
        let mut file = BufWriter::new(fs::File::create(self.path.join(LATENCY_FILE))?);
        file.write_all(hlog::header(&self.name).as_bytes())?;
        for engine in &summary.engines {
            let part = latency_part(&self.path, &engine.name);
            let Ok(lines) = fs::read_to_string(&part) else { continue };
            // Each part repeats the header's lines; one header is enough.
            for line in lines.lines().filter(|line| !line.starts_with('#')) {
                writeln!(file, "{line}")?;
            }
            fs::remove_file(part)?;
        }
        file.flush()
    }

    fn point_latest(&self) -> std::io::Result<()> {
        let parent = self.root.join("local");
        let new = parent.join(format!(".{LATEST}-{}", std::process::id()));
        std::os::unix::fs::symlink(&self.name, &new)?;
        fs::rename(&new, parent.join(LATEST)).inspect_err(|_| {
            fs::remove_file(&new).ok();
        })
    }

    fn register(&self, summary: &Summary) -> std::io::Result<()> {
        let folder = if self.local { self.root.join("local") } else { self.root.clone() };
        let kept_elsewhere = fs::canonicalize(&self.root).is_ok_and(|root| !self.path.starts_with(root));
        if !folder.is_dir() || (!self.local && kept_elsewhere) {
            return Ok(());
        }
        let line = serde_json::to_string(&Registered::new(summary, &self.name))?;
        let mut file = fs::OpenOptions::new().create(true).append(true).open(folder.join(REGISTRY_FILE))?;
        // One write: lines of two runs do not mix.
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// A run in one line.
#[derive(Serialize)]
struct Registered<'a> {
    run: &'a str,
    started: &'a str,
    profile: &'a str,
    speed: f64,
    durability: &'a str,
    commit: &'a str,
    layout: &'a str,
    plateau_per_s: Option<f64>,
    seed: u64,
    shards: u32,
    state: crate::summary::RunState,
    valid: bool,
    build: &'a str,
    engines: Vec<RegisteredEngine<'a>>,
}

#[derive(Serialize)]
struct RegisteredEngine<'a> {
    name: &'a str,
    status: &'static str,
    plateau_achieved_per_s: Option<f64>,
    p99_ns: Option<u64>,
}

impl<'a> Registered<'a> {
    fn new(summary: &'a Summary, name: &'a str) -> Self {
        let engine = |engine: &'a EngineResult| RegisteredEngine {
            name: &engine.name,
            status: match engine.status {
                Status::Ok => "ok",
                Status::Failed { .. } => "failed",
                Status::Unavailable { .. } => "unavailable",
                Status::Partial { .. } => "partial",
            },
            plateau_achieved_per_s: engine.measurement.as_ref().map(|m| m.throughput.plateau_achieved_per_s),
            p99_ns: engine.measurement.as_ref().and_then(|m| m.total.response.p99_ns),
        };
        let run = &summary.run;
        Self {
            run: name,
            started: &run.started,
            profile: &run.profile,
            speed: run.speed,
            durability: &run.durability,
            commit: &run.commit,
            layout: &run.layout,
            plateau_per_s: run.plateau.as_ref().map(|plateau| plateau.messages_per_s),
            seed: run.seed,
            shards: run.shards,
            state: run.state,
            valid: summary.is_valid(),
            build: &run.build,
            engines: summary.engines.iter().map(engine).collect(),
        }
    }
}

/// A folder that is removed when its keeper is done, however that comes about.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a fresh, empty folder.
    ///
    /// # Errors
    /// It cannot be made, or something of that name is there and cannot be removed.
    pub fn fresh(path: PathBuf) -> anyhow::Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("empty {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("make the data directory {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
        // The folder that was made to hold it, when it was the last one there.
        if let Some(parent) = self.0.parent().filter(|parent| parent.ends_with(DATA)) {
            fs::remove_dir(parent).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("highwater-results-{name}-{}", std::process::id()));
        fs::remove_dir_all(&root).ok();
        fs::create_dir_all(&root).unwrap();
        root
    }

    #[test]
    fn a_local_run_has_a_folder_of_its_own_and_latest_points_to_it() {
        let root = root("local");
        let results = Results::create(None, &root, "steady", Utc::from_unix(0)).unwrap();
        assert!(results.name.starts_with("19700101T000000Z-steady-"));
        results.point_latest().unwrap();
        results.point_latest().unwrap();
        assert_eq!(fs::read_link(root.join("local/latest")).unwrap(), Path::new(&results.name));
        let scratch = Scratch::fresh(results.data().join("mmap")).unwrap();
        fs::write(scratch.path().join("x"), "x").unwrap();
        drop(scratch);
        assert!(!results.data().exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_out_folder_with_something_in_it_is_left_alone() {
        let root = root("out");
        let out = root.join("kept");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("mine"), "x").unwrap();
        let refused = Results::create(Some(&out), &root, "steady", Utc::from_unix(0)).err().unwrap();
        assert!(refused.to_string().contains("is not empty"), "{refused}");
        let made = Results::create(Some(&root.join("a/b")), &root, "steady", Utc::from_unix(0)).unwrap();
        assert_eq!(made.name, "b");
        fs::remove_dir_all(root).unwrap();
    }
}
