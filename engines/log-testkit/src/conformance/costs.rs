//! Costs that the contract names: copies and allocations, as counts.

use super::{LOG, SEED, fresh};
use crate::{EngineUnderTest, Needs, Pen, allocations_of, batch, shape, verified};
use log_api::{Level, LogEngine};

/// Bytes that an engine may copy a commit beyond one copy of the payload: the tail block that goes on in a fresh page.
const TAIL_BLOCK_BYTES: u64 = 4096;

/// One copy in: a payload byte is copied once by the engine, and each commit may copy one block more.
pub fn one_copy_in<E: EngineUnderTest>() {
    fresh::<E>(
        "one_copy_in",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            let mut commits = 0;
            for round in 0..200 {
                pen.append(&engine, &[shape(1 + round % 4, 1100)]).await;
                if round % 8 == 7 {
                    pen.commit(&engine, Level::Durable).await;
                    commits += 1;
                }
            }
            let counters = engine.counters().snapshot();
            let allowed = counters.appended_bytes + commits * TAIL_BLOCK_BYTES;
            assert!(counters.copied_bytes <= allowed, "{} bytes copied, {allowed} allowed", counters.copied_bytes);
            let copies = if E::Engine::CAPABILITIES.readable { counters.appended_bytes } else { 0 };
            assert!(counters.copied_bytes >= copies, "{} bytes copied of {copies}: not counted", counters.copied_bytes);
        },
    );
}

/// An append within a segment makes no heap allocation once the engine is warm.
pub fn steady_state_appends_allocate_nothing<E: EngineUnderTest>() {
    fresh::<E>(
        "steady_state_appends_allocate_nothing",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            const WARM: u32 = 64;
            const MEASURED: u32 = 256;
            // 320 batches of less than 1.3 KB: all in the first segment.
            let mut allocations = 0;
            for round in 0..WARM + MEASURED {
                let base = pen.end();
                let bytes = batch(SEED, LOG, base, shape(1, 1200));
                let view = [verified(&bytes)];
                let (appended, made) = allocations_of(|| engine.append(LOG, &view));
                appended.expect("320 batches of 1.3 KB fit what may be in flight");
                allocations += if round < WARM { 0 } else { made };
                remember(&mut pen, bytes);
                if round % 16 == 15 {
                    pen.commit(&engine, Level::Durable).await;
                }
            }
            assert_eq!(engine.counters().rolls.get(), 0, "the test is about appends within one segment");
            assert_eq!(allocations, 0, "heap allocations of {MEASURED} appends");
        },
    );
}

/// Only the pen's idea of the end matters here.
fn remember(pen: &mut Pen, bytes: Vec<u8>) {
    let base = pen.end();
    pen.batches.push(crate::Found { base, end: base.plus(1), epoch: pen.epoch, bytes });
}
