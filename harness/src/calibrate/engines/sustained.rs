//! Without flushes for longer than memory lasts, beside fio by the same mechanism over the same time. Minutes.

use super::{
    Bench, EngineCase, Found, Pair,
    appends::Appends,
    in_process::{self, LOG, Log, Measurement},
    row::Goal,
};
use crate::{
    calibrate::{fio, lab::Lab, place::Place},
    cost::kernel::Memory,
};
use broker::EngineKind;
use log_api::{EngineConfig, Level, LogEngine};
use std::{path::PathBuf, rc::Rc, time::Duration};

/// Length of an engine's window, and of fio's: several times what the kernel lets be dirty takes to write.
const WINDOW: Duration = Duration::from_secs(20);
/// Bytes of a batch, and of fio's block.
const BATCH_BYTES: usize = 256 << 10;
/// What an engine appends between two commits where one is in flight.
const GATHER_BYTES: u64 = 1 << 20;
/// About the bytes that a log keeps: what is given up while it is dirty is never written.
const KEPT_BYTES: u64 = 8 << 30;
/// Bytes of a segment, [`EngineConfig::new`]'s.
const SEGMENT_BYTES: u64 = 128 << 20;

pub(super) fn cases() -> Vec<EngineCase> {
    EngineKind::DISK.map(case).into()
}

fn case(engine: EngineKind) -> EngineCase {
    let mechanism = match engine {
        EngineKind::Mmap => fio::Sustained::Mmap,
        EngineKind::Direct => fio::Sustained::Direct,
        _ => fio::Sustained::Buffered,
    };
    EngineCase {
        name: "none, longer than memory lasts".to_owned(),
        engine,
        unit: "B/s",
        ceiling: format!("fio, {}", mechanism.words()),
        goal: Goal::AtLeast(0.9),
        long: true,
        measure: Box::new(move |bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            fio::version()?;
            let span = span_bytes();
            Place::new(bench.place.dir(), KEPT_BYTES + span)?;
            let file = bench.place.dir().join(format!(".highwater-calibrate-fio-{}", std::process::id()));
            let configure = |config| EngineConfig { durable: false, segment_bytes: SEGMENT_BYTES, ..config };
            in_process::run(bench, engine, configure, Sustained { mechanism, span, file: Named(file) })
        }),
    }
}

/// Bytes of fio's file: all of memory. Over a file of which a good part is dirty at any time fio writes bytes again that were never written to
/// the device (8 GiB by a mapping, of 24 GiB of memory, 20 s: 3.0 GB/s; 24 GiB: 0.72).
fn span_bytes() -> u64 {
    Memory::sample().total_bytes.next_multiple_of(1 << 30).max(KEPT_BYTES)
}

/// fio's file, removed with this value.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // It is not there if fio never ran.
        std::fs::remove_file(&self.0).ok();
    }
}

struct Sustained {
    mechanism: fio::Sustained,
    span: u64,
    file: Named,
}

impl Sustained {
    /// As many commits in flight as fio has writes, each as large where there are several.
    fn appends(&self) -> Appends {
        let (records, value_bytes, level) = (1, BATCH_BYTES, Level::Placed);
        let inflight = self.mechanism.depth();
        let gather_bytes = if inflight > 1 { BATCH_BYTES as u64 } else { GATHER_BYTES };
        Appends { records, value_bytes, level, inflight, gather_bytes, verify: false, burst: false }
    }
}

impl Measurement for Sustained {
    const KEPT_SEGMENTS: usize = (KEPT_BYTES / SEGMENT_BYTES) as usize;

    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, _lab: &mut Lab) -> anyhow::Result<Pair> {
        let appends = self.appends();
        let figure = appends.window_of(log, &Rc::new(appends.encoded()), WINDOW, u64::MAX).await?;
        // What the engine left dirty is not fio's to write.
        log.engine.commit(&[log.engine.group(LOG)], Level::Durable).await?;
        let ceiling = fio::sustained(self.mechanism, &self.file.0, self.span, BATCH_BYTES as u64, WINDOW)?.per_s;
        std::fs::remove_file(&self.file.0)?;
        Ok(Pair { figure, ceiling })
    }
}
