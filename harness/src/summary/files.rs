//! A results folder: its file names, and reading and writing the two JSON files.

use super::{Manifest, SCHEMA_VERSION, Summary};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What may explain a figure: [`Manifest`].
pub const MANIFEST_FILE: &str = "manifest.json";
/// The figures: [`Summary`].
pub const SUMMARY_FILE: &str = "summary.json";
/// HdrHistogram V2 interval log, tags `<engine>.<metric>.<phase>`.
pub const LATENCY_FILE: &str = "latency.hlog";
/// One line an engine and interval.
pub const SERIES_FILE: &str = "series.csv";
/// The page.
pub const REPORT_FILE: &str = "report.html";

/// Why a result could not be read or written.
#[derive(Debug, Error)]
pub enum ResultError {
    /// There is no such run.
    #[error("{0}: no such run; a run is a results folder that holds {SUMMARY_FILE}, or `latest`")]
    Missing(PathBuf),
    /// The file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// File.
        path: PathBuf,
        /// The system's answer.
        #[source]
        error: io::Error,
    },
    /// It is not what the schema says.
    #[error("{path}: not a result of schema version {SCHEMA_VERSION}: {error}")]
    Malformed {
        /// File.
        path: PathBuf,
        /// Where and what.
        #[source]
        error: serde_json::Error,
    },
    /// Its columns have different lengths.
    #[error("{path}: the columns of {engine}'s series differ in length")]
    Ragged {
        /// File.
        path: PathBuf,
        /// Engine.
        engine: String,
    },
    /// Another version wrote it.
    #[error("{path}: schema version {found}, this build reads {SCHEMA_VERSION}; use the build named in the file")]
    Version {
        /// File.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
}

/// Reads `summary.json` of a results folder.
///
/// # Errors
/// Missing, unreadable, of another version, or not of the schema.
pub fn load_summary(folder: &Path) -> Result<Summary, ResultError> {
    let path = folder.join(SUMMARY_FILE);
    let summary: Summary = load(&path)?;
    for engine in &summary.engines {
        if engine.measurement.as_ref().is_some_and(|measured| !measured.series.is_aligned()) {
            return Err(ResultError::Ragged { path, engine: engine.name.clone() });
        }
    }
    Ok(summary)
}

/// Reads `manifest.json` of a results folder.
///
/// # Errors
/// As [`load_summary`].
pub fn load_manifest(folder: &Path) -> Result<Manifest, ResultError> {
    load(&folder.join(MANIFEST_FILE))
}

/// Writes a value as JSON for people (indented), whole or not at all: a neighbour is written and renamed.
///
/// # Errors
/// The folder cannot be written.
pub fn store_json(folder: &Path, file: &str, value: &impl Serialize) -> Result<(), ResultError> {
    let path = folder.join(file);
    let malformed = |error| ResultError::Malformed { path: path.clone(), error };
    let mut text = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut text, ShortArrays::default());
    value.serialize(&mut writer).map_err(malformed)?;
    text.push(b'\n');
    let neighbour = folder.join(format!(".{file}.new"));
    std::fs::write(&neighbour, text)
        .and_then(|()| std::fs::rename(&neighbour, &path))
        .map_err(|error| ResultError::Io { path: path.clone(), error })
}

/// Columns of [`SERIES_FILE`]; an empty field is "not told".
pub const SERIES_COLUMNS: [&str; 9] =
    ["engine", "t_s", "offered_per_s", "achieved_per_s", "backlog", "samples", "p50_ns", "p99_ns", "p999_ns"];

/// Writes [`SERIES_FILE`]: the series of all engines, one line an engine and interval.
///
/// # Errors
/// The folder cannot be written.
pub fn store_series(folder: &Path, summary: &Summary) -> Result<(), ResultError> {
    let path = folder.join(SERIES_FILE);
    let failed = |error: csv::Error| ResultError::Io { path: path.clone(), error: error.into() };
    let mut file = csv::Writer::from_path(&path).map_err(failed)?;
    file.write_record(SERIES_COLUMNS).map_err(failed)?;
    for engine in &summary.engines {
        let Some(series) = engine.measurement.as_ref().map(|measured| &measured.series) else { continue };
        let told = |values: &[Option<u64>], n: usize| values[n].map(|ns| ns.to_string()).unwrap_or_default();
        for n in 0..series.len() {
            file.write_record([
                engine.name.clone(),
                decimal(series.t_s[n]),
                decimal(series.offered_per_s[n]),
                decimal(series.achieved_per_s[n]),
                series.backlog[n].to_string(),
                series.samples[n].to_string(),
                told(&series.p50_ns, n),
                told(&series.p99_ns, n),
                told(&series.p999_ns, n),
            ])
            .map_err(failed)?;
        }
    }
    file.flush().map_err(|error| ResultError::Io { path: path.clone(), error })
}

/// At most three decimals: a millisecond, or a thousandth of a message.
fn decimal(value: f64) -> String {
    super::format::factor(value)
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ResultError> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ResultError::Missing(path.parent().unwrap_or(path).to_path_buf()),
        _ => ResultError::Io { path: path.to_path_buf(), error },
    })?;
    let malformed = |error| ResultError::Malformed { path: path.to_path_buf(), error };
    // The version first: a file of another version deserves that message, not one about a field.
    let value: serde_json::Value = serde_json::from_str(&text).map_err(malformed)?;
    match value.get("schema_version").and_then(serde_json::Value::as_u64) {
        Some(version) if version != u64::from(SCHEMA_VERSION) => {
            Err(ResultError::Version { path: path.to_path_buf(), found: version })
        }
        _ => serde_json::from_str(&text).map_err(malformed),
    }
}

/// JSON indented by two spaces, but an array of plain values on one line: a series of 350 intervals stays one line.
#[derive(Default)]
struct ShortArrays {
    open: Vec<Open>,
}

/// A container that is being written.
#[derive(PartialEq, Eq)]
enum Open {
    Object,
    /// `broken`: an object in it began a line of its own.
    Array {
        broken: bool,
    },
}

impl ShortArrays {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.open.len()).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl serde_json::ser::Formatter for ShortArrays {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.push(Open::Array { broken: false });
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.open.pop() == Some(Open::Array { broken: true }) {
            self.line(writer)?;
        }
        writer.write_all(b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b"," })
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if let Some(Open::Array { broken }) = self.open.last_mut() {
            *broken = true;
            self.line(writer)?;
        }
        self.open.push(Open::Object);
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.pop();
        self.line(writer)?;
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b"," })?;
        self.line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
