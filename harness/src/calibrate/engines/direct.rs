//! The direct engine beside a bare ring.

use super::{
    Bench, EngineCase, Found, Pair,
    appends::{self, Appends},
    in_process::{self, Log, Measurement, sample, timed},
    row::Goal,
};
use crate::calibrate::{
    Case,
    case::{Sync, block},
    lab::Lab,
};
use broker::EngineKind;
use log_api::{EngineConfig, Level, LogEngine, ReadKind};

const ENGINE: EngineKind = EngineKind::Direct;
/// Batches of one record and their depth, without flushes.
const NONE: [(u64, u32); 2] = [(64 << 10, 8), (1 << 20, 4)];
/// Sizes of a group commit.
const COMMITS: [u64; 3] = [16 << 10, 64 << 10, 256 << 10];
/// Commits in flight.
const INFLIGHT: [u32; 2] = [1, 4];
/// Bytes of the log that is read cold.
const COLD_BYTES: u64 = 512 << 20;
/// What the read is held to: where the device's rate does not grow any more.
const COLD_CEILING: Case = Case::DirectRead { block_bytes: 256 << 10, depth: 8 };

pub(super) fn cases() -> Vec<EngineCase> {
    let mut cases = Vec::new();
    for (bytes, depth) in NONE {
        let appends = Appends {
            records: 1,
            value_bytes: bytes as usize,
            level: Level::Placed,
            inflight: depth,
            gather_bytes: bytes,
            verify: false,
            burst: false,
        };
        let ceiling = Case::DirectWrite { block_bytes: bytes, depth, sync: Sync::None };
        cases.push(appends::overwriting(
            format!("none, batches of {}, ×{depth}", block(bytes)),
            ENGINE,
            appends,
            ceiling,
            0.9,
        ));
    }
    for inflight in INFLIGHT {
        for bytes in COMMITS {
            let ceiling = Case::DirectWrite { block_bytes: bytes, depth: inflight, sync: Sync::Dsync };
            let name = format!("durable, commits of {}, ×{inflight}", block(bytes));
            cases.push(appends::overwriting(name, ENGINE, grouped(bytes, inflight), ceiling, 0.9));
        }
    }
    cases.push(EngineCase {
        name: "cold sequential read".to_owned(),
        engine: ENGINE,
        unit: "B/s",
        ceiling: COLD_CEILING.to_string(),
        goal: Goal::AtLeast(0.9),
        long: false,
        measure: Box::new(|bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            let configure = |config| EngineConfig { tail_cache_bytes: 1 << 20, ..config };
            in_process::run(bench, ENGINE, configure, ColdRead)
        }),
    });
    cases
}

/// Messages of 1 KB in batches of one, committed durably when `bytes` of them are there.
pub(super) fn grouped(bytes: u64, inflight: u32) -> Appends {
    let (records, value_bytes) = (1, 1 << 10);
    // The last batch would begin below the size and end beyond it.
    let gather_bytes = bytes - Appends::batch_bytes(records, value_bytes) / 2;
    Appends { records, value_bytes, level: Level::Durable, inflight, gather_bytes, verify: false, burst: false }
}

struct ColdRead;

impl Measurement for ColdRead {
    /// More than it fills.
    const KEPT_SEGMENTS: usize = usize::MAX;

    async fn prepare<E: LogEngine>(&mut self, log: &Log<E>) -> anyhow::Result<()> {
        let encoded = appends::Encoded::new(1, 64 << 10);
        while log.engine.counters().appended_bytes.get() < COLD_BYTES {
            log.append(encoded.batch(), Level::Durable).await?;
        }
        log.commit(Level::Durable).await
    }

    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, lab: &mut Lab) -> anyhow::Result<Pair> {
        let before = sample(lab, COLD_CEILING)?;
        let (read, took) = timed(log.read_through(ReadKind::Scan, drop)).await;
        let after = sample(lab, COLD_CEILING)?;
        Ok(Pair { figure: read? as f64 / took.as_secs_f64(), ceiling: (before + after) / 2.0 })
    }
}
