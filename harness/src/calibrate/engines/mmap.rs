//! The mmap engine beside copies into a populated mapping, and its reads beside the checksum of the same memory.

use super::{
    Bench, EngineCase, Found, Pair,
    appends::{self, Encoded},
    in_process::{self, Log, Measurement, timed},
    pagecache::hundred,
    row::Goal,
};
use crate::calibrate::{Case, lab::Lab};
use broker::EngineKind;
use log_api::{Chunk, EngineConfig, Level, LogEngine, Piece, ReadKind};
use std::time::Instant;

const ENGINE: EngineKind = EngineKind::Mmap;
/// Bytes of the tail that is read.
const TAIL_BYTES: u64 = 64 << 20;
/// Times that a window reads it.
const PASSES: u32 = 8;

pub(super) fn cases() -> Vec<EngineCase> {
    let verified = hundred(true);
    let copied = Case::MappedWrite { block_bytes: verified.gather_bytes, crc: true };
    let read = EngineCase {
        name: "hot tail read with CRC".to_owned(),
        engine: ENGINE,
        unit: "B/s",
        ceiling: "CRC-32C of the same memory".to_owned(),
        goal: Goal::AtLeast(0.9),
        long: false,
        measure: Box::new(|bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            in_process::run(bench, ENGINE, |config| EngineConfig { durable: false, ..config }, HotRead)
        }),
    };
    vec![appends::case("none, batches of 100 × 1 KB".to_owned(), ENGINE, verified, copied, 0.85), read]
}

struct HotRead;

impl Measurement for HotRead {
    async fn prepare<E: LogEngine>(&mut self, log: &Log<E>) -> anyhow::Result<()> {
        let encoded = Encoded::new(100, 1_000);
        while log.engine.counters().appended_bytes.get() < TAIL_BYTES {
            log.append(encoded.batch(), Level::Placed).await?;
        }
        log.commit(Level::Placed).await
    }

    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, _lab: &mut Lab) -> anyhow::Result<Pair> {
        let mut held = Vec::new();
        let (bytes, _) = timed(log.read_through(ReadKind::Hot, |chunk| held.push(chunk))).await;
        let all: u64 = bytes?;
        let begun = Instant::now();
        for _ in 0..PASSES {
            held.iter().for_each(|chunk| checksum::<E>(chunk));
        }
        let ceiling = (all * u64::from(PASSES)) as f64 / begun.elapsed().as_secs_f64();
        drop(held);
        let (read, took) = timed(async {
            let mut bytes = 0;
            for _ in 0..PASSES {
                bytes += log.read_through(ReadKind::Hot, |chunk| checksum::<E>(&chunk)).await?;
            }
            anyhow::Ok(bytes)
        })
        .await;
        Ok(Pair { figure: read? as f64 / took.as_secs_f64(), ceiling })
    }
}

/// Checksums every byte that a chunk holds in memory.
fn checksum<E: LogEngine>(chunk: &Chunk<E::Pin>) {
    let one = |piece: &Piece<E::Pin>| match piece {
        Piece::Pin(pin) => log_format::crc32c(pin.as_ref()),
        Piece::File(_) => 0,
    };
    std::hint::black_box(chunk.pieces.iter().map(one).fold(0, u32::wrapping_add));
}
