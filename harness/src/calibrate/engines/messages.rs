//! Small messages in process: what one system call a gather buys, beside the engine that makes none.

use super::{
    Bench, EngineCase, Found, Pair,
    appends::Appends,
    in_process::{self, Log, Measurement},
    row::Goal,
};
use crate::calibrate::lab::Lab;
use broker::EngineKind;
use log_api::{Level, LogEngine};
use std::rc::Rc;

/// Messages of 1 KB in batches of one; at most 1 MiB goes in one write.
const MESSAGES: Appends = Appends {
    records: 1,
    value_bytes: 1_000,
    level: Level::Placed,
    inflight: 2,
    gather_bytes: 1_000_000,
    verify: false,
    burst: false,
};

/// A window ends with so much, in the third of the four segments that stand ready: how fast new ones are made is another case's business.
const BYTES_MAX: u64 = 384 << 20;

pub(super) fn cases() -> Vec<EngineCase> {
    [EngineKind::PageCache, EngineKind::Direct].map(case).into()
}

fn case(engine: EngineKind) -> EngineCase {
    EngineCase {
        name: "none, 1 KB messages, batch 1".to_owned(),
        engine,
        unit: "msg/s",
        ceiling: "mmap's rate".to_owned(),
        goal: Goal::AtLeast(0.7),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            let rounds = std::mem::replace(&mut bench.rounds, 1);
            let found = alternately(bench, engine, rounds);
            bench.rounds = rounds;
            found
        }),
    }
}

/// A fresh engine of each kind for each sample.
fn alternately(bench: &mut Bench<'_>, engine: EngineKind, rounds: u32) -> anyhow::Result<Found> {
    let mut both = Found::default();
    for round in 0..rounds {
        let mut rate = |kind| {
            let found = in_process::run(bench, kind, |config| MESSAGES.configure(config), Alone)?;
            anyhow::Ok((found.pairs.first().map(|pair| pair.figure), found.binds))
        };
        // Who comes first finds another machine than who comes second.
        let ((ceiling, _), (figure, binds)) = if round % 2 == 0 {
            (rate(EngineKind::Mmap)?, rate(engine)?)
        } else {
            let own = rate(engine)?;
            (rate(EngineKind::Mmap)?, own)
        };
        let (Some(ceiling), Some(figure)) = (ceiling, figure) else { return Ok(Found::default()) };
        both.pairs.push(Pair { figure, ceiling });
        both.binds = binds;
    }
    Ok(both)
}

struct Alone;

impl Measurement for Alone {
    async fn prepare<E: LogEngine>(&mut self, log: &Log<E>) -> anyhow::Result<()> {
        MESSAGES.fill(log).await
    }

    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, _lab: &mut Lab) -> anyhow::Result<Pair> {
        let encoded = Rc::new(MESSAGES.encoded());
        MESSAGES.calm(log).await?;
        let bytes_per_s = MESSAGES.window_of(log, &encoded, BYTES_MAX).await?;
        Ok(Pair { figure: bytes_per_s / encoded.bytes().len() as f64, ceiling: 1.0 })
    }
}
