//! fio on the same cases: how it is asked, and what its JSON says.

use super::{
    case::{Case, Sync},
    ceilings::Sample,
};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// fio's program.
const PROGRAM: &str = "fio";
/// The median's key among fio's percentiles.
const MEDIAN: &str = "50.000000";

/// The version of the fio that is installed.
///
/// # Errors
/// There is none: what to do about it.
pub fn version() -> anyhow::Result<String> {
    let output = match Command::new(PROGRAM).arg("--version").output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!(
                "--check-fio: fio is not installed; install it (https://github.com/axboe/fio), or leave the option out"
            )
        }
        other => other.context("run fio --version")?,
    };
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What fio is asked for a case, on a file of `bytes` that is there; `None` for a case that is not the device's.
#[must_use]
pub fn arguments(case: Case, file: &Path, bytes: u64, window: Duration) -> Option<Vec<String>> {
    let (engine, direct, rw, depth, sync) = match case {
        Case::DirectWrite { depth, sync, .. } => ("io_uring", true, "write", depth, sync),
        Case::DirectRead { depth, .. } => ("io_uring", true, "read", depth, Sync::None),
        Case::BufferedDsync { .. } => ("psync", false, "write", 1, Sync::Dsync),
        _ => return None,
    };
    let mut words = job(file, bytes, case.block_bytes()?, window);
    words.extend([
        format!("--rw={rw}"),
        format!("--ioengine={engine}"),
        format!("--iodepth={depth}"),
        format!("--direct={}", u8::from(direct)),
    ]);
    if engine == "io_uring" {
        words.extend(["--fixedbufs=1".to_owned(), "--registerfiles=1".to_owned()]);
    }
    if sync == Sync::Dsync {
        words.push("--sync=dsync".to_owned());
    }
    Some(words)
}

/// A mechanism that is written by for long, without flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sustained {
    /// A shared mapping.
    Mmap,
    /// The ring with O_DIRECT, 8 in flight.
    Direct,
    /// `pwrite` into the page cache.
    Buffered,
}

impl Sustained {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Mmap => "mapping",
            Self::Direct => "direct ×8",
            Self::Buffered => "pwrite",
        }
    }

    /// Writes in flight.
    #[must_use]
    pub fn depth(self) -> u32 {
        if self == Self::Direct { 8 } else { 1 }
    }

    fn arguments(self, file: &Path, bytes: u64, block: u64, window: Duration) -> Vec<String> {
        let mut words = job(file, bytes, block, window);
        words.extend(["--rw=write".to_owned(), format!("--iodepth={}", self.depth())]);
        let own: &[&str] = match self {
            Self::Mmap => &["--ioengine=mmap"],
            Self::Direct => &["--ioengine=io_uring", "--direct=1", "--fixedbufs=1", "--registerfiles=1"],
            Self::Buffered => &["--ioengine=psync"],
        };
        words.extend(own.iter().map(|word| (*word).to_owned()));
        words
    }
}

/// Runs fio for `window` by a mechanism, in blocks of `block` over a file of `bytes` that it makes by fallocate.
///
/// # Errors
/// It fails: with its own words.
pub fn sustained(by: Sustained, file: &Path, bytes: u64, block: u64, window: Duration) -> anyhow::Result<Sample> {
    answer(&by.arguments(file, bytes, block, window))
}

/// What every job is told.
fn job(file: &Path, bytes: u64, block: u64, window: Duration) -> Vec<String> {
    vec![
        "--name=ceiling".to_owned(),
        format!("--filename={}", file.display()),
        format!("--size={bytes}"),
        format!("--bs={block}"),
        "--thread".to_owned(),
        "--time_based".to_owned(),
        format!("--runtime={}ms", window.as_millis()),
        "--output-format=json".to_owned(),
    ]
}

/// Runs fio once.
///
/// # Errors
/// It fails: with its own words.
pub fn run(case: Case, file: &Path, bytes: u64, window: Duration) -> anyhow::Result<Sample> {
    let arguments = arguments(case, file, bytes, window).with_context(|| format!("fio has no case {case}"))?;
    answer(&arguments)
}

fn answer(arguments: &[String]) -> anyhow::Result<Sample> {
    let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().context("run fio")?;
    let answer = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("fio failed: {}", said.lines().chain(answer.lines()).find(|line| !line.is_empty()).unwrap_or("no word"));
    }
    parse(&answer)
}

#[derive(Deserialize)]
struct Answer {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    error: i32,
    read: Direction,
    write: Direction,
}

#[derive(Deserialize)]
struct Direction {
    io_bytes: u64,
    bw_bytes: f64,
    #[serde(default)]
    clat_ns: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    #[serde(default)]
    percentile: std::collections::BTreeMap<String, u64>,
}

/// The rate of a run of one job, from fio's JSON; fio may print lines of its own before it.
///
/// # Errors
/// It is no such JSON, or the job did nothing.
pub fn parse(answer: &str) -> anyhow::Result<Sample> {
    let json = answer.find('{').map_or("", |start| &answer[start..]);
    let answer: Answer = serde_json::from_str(json).context("read fio's JSON")?;
    let [job] = answer.jobs.as_slice() else { bail!("fio ran {} jobs instead of one", answer.jobs.len()) };
    if job.error != 0 {
        bail!("fio failed: {}", io::Error::from_raw_os_error(job.error));
    }
    let direction = if job.read.io_bytes > 0 { &job.read } else { &job.write };
    if direction.io_bytes == 0 {
        bail!("fio moved no byte");
    }
    let p50_ns = direction.clat_ns.as_ref().and_then(|latency| latency.percentile.get(MEDIAN).copied());
    Ok(Sample { per_s: direction.bw_bytes, p50_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded: fio 3.33, 16 KiB direct writes at depth 4, 200 ms; shortened to the fields around those that are read.
    const RECORDED: &str = include_str!("fio_recorded.json");

    #[test]
    fn the_rate_of_a_recorded_run_is_read() {
        let sample = parse(RECORDED).unwrap();
        assert_eq!(sample.per_s, 765_564_815.0);
        assert_eq!(sample.p50_ns, Some(76_288));
        assert_eq!(parse(&format!("fio: a warning of its own\n{RECORDED}")).unwrap(), sample);
    }

    #[test]
    fn what_is_no_result_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse(r#"{"jobs": []}"#).unwrap_err().to_string().contains("0 jobs"));
        let idle = r#"{"jobs":[{"error":0,"read":{"io_bytes":0,"bw_bytes":0},"write":{"io_bytes":0,"bw_bytes":0}}]}"#;
        assert_eq!(parse(idle).unwrap_err().to_string(), "fio moved no byte");
        let full = idle.replace("\"error\":0", "\"error\":28");
        assert!(parse(&full).unwrap_err().to_string().contains("No space left"));
    }

    #[test]
    fn fio_is_asked_for_the_same_mechanism() {
        let words = |case| arguments(case, Path::new("/d/f"), 1 << 28, Duration::from_millis(250)).unwrap().join(" ");
        let write = words(Case::DirectWrite { block_bytes: 65_536, depth: 4, sync: Sync::Dsync });
        for word in [
            "ioengine=io_uring",
            "fixedbufs=1",
            "registerfiles=1",
            "direct=1",
            "sync=dsync",
            "bs=65536",
            "iodepth=4",
            "rw=write",
            "runtime=250ms",
        ] {
            assert!(write.contains(word), "{word} in {write}");
        }
        let read = words(Case::DirectRead { block_bytes: 4_096, depth: 1 });
        assert!(read.contains("rw=read") && !read.contains("sync="), "{read}");
        let buffered = words(Case::BufferedDsync { block_bytes: 4_096 });
        assert!(
            buffered.contains("ioengine=psync") && buffered.contains("direct=0") && !buffered.contains("fixedbufs")
        );
        assert_eq!(arguments(Case::Flush, Path::new("/"), 1, Duration::ZERO), None);
    }
}
