//! Writes latencies as an HdrHistogram V2 interval log: `response` and `end_to_end` by phase in lines of a second or more, the parts of the
//! response by phase. Tags are `<engine>.<metric>.<phase>`, values nanoseconds, times seconds on the run's clock.

use crate::load::{
    cells::{Cells, histogram},
    recorder::Recorder,
};
use hdrhistogram::{
    Counter, Histogram,
    serialization::{
        Serializer, V2DeflateSerializer,
        interval_log::{IntervalLogWriter, IntervalLogWriterBuilder, IntervalLogWriterError, Tag},
    },
};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

/// Values are nanoseconds; the largest of each line is also written in milliseconds, as the format's tools do.
const NS_PER_MS: f64 = 1e6;

/// Intervals of a phase are added up until a line covers this much: ten times as many lines would say what `series.csv` says.
const LINE_NS_MIN: u64 = 1_000_000_000;

/// The lines before the first engine's: what the values and times are.
#[must_use]
pub fn header(run: &str) -> String {
    format!(
        "#Highwater {run}: latencies in nanoseconds, times in seconds on the run's clock\n\
         #[StartTime: 0.000 (seconds since epoch)]\n\
         #[BaseTime: 0.000 (seconds since epoch)]\n\
         #[MaxValueDivisor: {NS_PER_MS:.3}]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
    )
}

/// Writes one engine's lines to a file, without a header.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, engine: &str, phases: &[&str], recorder: &Recorder) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut serializer = V2DeflateSerializer::new();
    {
        let mut builder = IntervalLogWriterBuilder::new();
        let mut log = builder.with_max_value_divisor(NS_PER_MS).begin_log_with(&mut file, &mut serializer)?;
        write_cells(&mut log, engine, "response", phases, recorder, &recorder.response)?;
        write_cells(&mut log, engine, "end_to_end", phases, recorder, &recorder.end_to_end)?;
        for (phase, name) in phases.iter().enumerate() {
            let span = recorder.axis().phase_ns(phase);
            let parts = &recorder.phases[phase];
            let named = [("queued", &parts.queued), ("lateness", &parts.lateness), ("service", &parts.service)];
            for (metric, histogram) in named {
                write_line(&mut log, &format!("{engine}.{metric}.{name}"), span, histogram)?;
            }
        }
    }
    file.flush()
}

fn write_cells<W: Write, S: Serializer>(
    log: &mut IntervalLogWriter<'_, '_, W, S>,
    engine: &str,
    metric: &str,
    phases: &[&str],
    recorder: &Recorder,
    cells: &Cells,
) -> io::Result<()> {
    let axis = recorder.axis();
    let mut line: Option<(usize, (u64, u64), Histogram<u64>)> = None;
    for cell in axis.cells() {
        let (start, end) = axis.cell_ns(cell);
        if let Some((phase, span, sum)) =
            line.take_if(|(phase, span, _)| *phase != cell.phase || span.1 - span.0 >= LINE_NS_MIN)
        {
            write_line(log, &format!("{engine}.{metric}.{}", phases[phase]), span, &sum)?;
        }
        let (_, span, sum) = line.get_or_insert_with(|| (cell.phase, (start, end), histogram()));
        span.1 = end;
        cells.add_to(cell.slot(), sum);
    }
    match line {
        Some((phase, span, sum)) => write_line(log, &format!("{engine}.{metric}.{}", phases[phase]), span, &sum),
        None => Ok(()),
    }
}

fn write_line<W: Write, S: Serializer, T: Counter>(
    log: &mut IntervalLogWriter<'_, '_, W, S>,
    tag: &str,
    (start_ns, end_ns): (u64, u64),
    histogram: &Histogram<T>,
) -> io::Result<()> {
    if histogram.is_empty() {
        return Ok(());
    }
    let (start, length) = (Duration::from_nanos(start_ns), Duration::from_nanos(end_ns - start_ns));
    let tag = Tag::new(tag).ok_or_else(|| io::Error::other(format!("{tag:?} cannot be a tag of an interval log")))?;
    log.write_histogram(histogram, start, length, Some(tag)).map_err(|error| match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(_) => io::Error::other("a histogram could not be encoded"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{axis::Axis, recorder::Sent};
    use hdrhistogram::serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    };

    #[test]
    fn the_log_reads_back_with_its_tags_and_every_sample() {
        const MS: u64 = 1_000_000;
        let axis = Axis::new(100 * MS, vec![150 * MS, 300 * MS]);
        let mut recorder = Recorder::new(axis, 0);
        for i in 0..300 {
            let sent = Sent::new(i * MS, 0, i * MS + 10, 2, 100);
            recorder.acknowledged(&sent, i * MS + 1_000 * (i + 1));
        }
        let path = std::env::temp_dir().join(format!("highwater-hlog-{}", std::process::id()));
        write(&path, "memory", &["calm", "plateau"], &recorder).unwrap();
        let text = [header("test").into_bytes(), std::fs::read(&path).unwrap()].concat();
        std::fs::remove_file(&path).unwrap();
        let mut samples = std::collections::BTreeMap::new();
        for entry in IntervalLogIterator::new(&text) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = base64_decode(interval.encoded_histogram());
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                *samples.entry(interval.tag().unwrap().as_str().to_owned()).or_insert(0) += histogram.len();
            }
        }
        let of = |tag: &str| samples.get(tag).copied();
        assert_eq!((of("memory.response.calm"), of("memory.response.plateau")), (Some(300), Some(300)));
        assert_eq!((of("memory.service.calm"), of("memory.lateness.plateau")), (Some(300), Some(300)));
        assert_eq!(of("memory.end_to_end.calm"), None, "nothing was received");
    }

    fn base64_decode(text: &str) -> Vec<u8> {
        let value = |byte: u8| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            _ => 0,
        };
        let mut bytes = Vec::new();
        for four in text.as_bytes().chunks(4) {
            let bits = four.iter().fold(0, |bits, byte| bits << 6 | value(*byte));
            let padding = four.iter().filter(|byte| **byte == b'=').count();
            bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
        }
        bytes
    }
}
