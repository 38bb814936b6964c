//! Writes a results folder that no engine made: `cargo run --example synthetic -- <folder>`. For working on the table, the page
//! and the notebooks without a run. Its figures mean nothing.

#[path = "../tests/common/mod.rs"]
mod common;

use harness::{
    report,
    summary::{LATENCY_FILE, SUMMARY_FILE, Summary, store_json, store_series},
    table,
};
use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag},
    },
};
use std::{error::Error, fs::File, io::Write, path::Path, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: synthetic <folder>")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let summary = common::night();
    store_json(folder, SUMMARY_FILE, &summary)?;
    store_series(folder, &summary)?;
    write_latencies(folder, &summary)?;
    let page = report::store(folder, &summary, None)?;
    print!("{}", table::render(&summary, Some(&page)));
    Ok(())
}

/// One histogram an interval, spread between the interval's percentiles.
fn write_latencies(folder: &Path, summary: &Summary) -> Result<(), Box<dyn Error>> {
    let mut file = File::create(folder.join(LATENCY_FILE))?;
    writeln!(file, "#[StartTime: 0.000 (seconds since epoch)]\n#[BaseTime: 0.000 (seconds since epoch)]")?;
    writeln!(file, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    let mut log = builder.with_max_value_divisor(1e6).begin_log_with(&mut file, &mut serializer)?;
    for engine in &summary.engines {
        let Some(series) = engine.measurement.as_ref().map(|measured| &measured.series) else { continue };
        for n in 0..series.len() {
            let (Some(p50), Some(p99)) = (series.p50_ns[n], series.p99_ns[n]) else { continue };
            let mut histogram = Histogram::<u64>::new_with_bounds(100, 3_600_000_000_000, 3)?;
            for sample in 1..=series.samples[n] {
                let quantile = sample as f64 / (series.samples[n] + 1) as f64;
                let spread = p99.saturating_sub(p50) as f64 / 100f64.log2() * -(1.0 - quantile).log2();
                histogram.record(p50 / 2 + spread as u64)?;
            }
            let start_s = series.t_s[n];
            let phase = summary.phases.iter().rfind(|phase| phase.start_s <= start_s + 1e-9).map_or("", |p| &p.name);
            let name = format!("{}.response.{phase}", engine.name);
            let tag = Tag::new(&name).ok_or("a tag holds no comma and no space")?;
            let (start, length) = (Duration::from_secs_f64(start_s), Duration::from_secs_f64(common::INTERVAL_S));
            log.write_histogram(&histogram, start, length, Some(tag)).map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error.to_string(),
                IntervalLogWriterError::SerializeError(_) => "a histogram could not be encoded".to_owned(),
            })?;
        }
    }
    Ok(())
}
