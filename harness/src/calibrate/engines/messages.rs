//! Small messages in process: what one system call a gather buys, beside the engine that makes none.

use super::{
    Bench, EngineCase, Found, Pair,
    appends::{Appends, WINDOW},
    in_process::{self, Log, Measurement, sample_for},
    row::Goal,
};
use crate::calibrate::{
    BLOCK_BYTES_MAX, Case,
    case::{Pages, Sync},
    ceilings::median,
    lab::Lab,
    memory::warm,
};
use broker::EngineKind;
use log_api::{Level, LogEngine};
use std::{rc::Rc, time::Duration};

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

/// About as long as the engine's window.
const RAW_WINDOW: Duration = Duration::from_millis(130);

pub(super) fn cases() -> Vec<EngineCase> {
    let hot = Case::BufferedWrite { block_bytes: BLOCK_BYTES_MAX as u64, pages: Pages::Hot };
    let device = Case::DirectWrite { block_bytes: BLOCK_BYTES_MAX as u64, depth: MESSAGES.inflight, sync: Sync::None };
    vec![case(EngineKind::PageCache, hot), case(EngineKind::Direct, device)]
}

/// Held to mmap's rate; a row that misses it tells what a raw write of the same bytes would carry.
fn case(engine: EngineKind, raw: Case) -> EngineCase {
    EngineCase {
        name: "none, 1 KB messages, batch 1".to_owned(),
        engine,
        unit: "msg/s",
        ceiling: "mmap's rate".to_owned(),
        goal: Goal::AtLeast(0.7),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| -> anyhow::Result<Found> {
            let rounds = std::mem::replace(&mut bench.rounds, 1);
            let found = alternately(bench, engine, raw, rounds);
            bench.rounds = rounds;
            found
        }),
    }
}

/// A fresh engine of each kind for each sample.
fn alternately(bench: &mut Bench<'_>, engine: EngineKind, raw: Case, rounds: u32) -> anyhow::Result<Found> {
    let (mut both, mut shares) = (Found::default(), Vec::new());
    for round in 0..rounds {
        let mut rate = |kind| {
            let raw = (kind == engine).then_some(raw);
            let found = in_process::run(bench, kind, |config| MESSAGES.configure(config), Alone(raw))?;
            anyhow::Ok((found.pairs.first().map(|pair| (pair.figure, pair.ceiling)), found.binds))
        };
        // Who comes first finds another machine than who comes second.
        let ((ceiling, _), (figure, binds)) = if round % 2 == 0 {
            (rate(EngineKind::Mmap)?, rate(engine)?)
        } else {
            let own = rate(engine)?;
            (rate(EngineKind::Mmap)?, own)
        };
        let (Some((ceiling, _)), Some((figure, raw))) = (ceiling, figure) else { return Ok(Found::default()) };
        both.pairs.push(Pair { figure, ceiling });
        both.binds = binds;
        shares.push(figure / raw);
    }
    if let Some(share) = median(&shares) {
        both.binds.insert(0, format!("{share:.2} of its own raw write, {raw}"));
    }
    Ok(both)
}

/// The rate, beside what a raw write of the same bytes would carry.
struct Alone(Option<Case>);

impl Alone {
    async fn raw<E: LogEngine>(&self, log: &Log<E>, lab: &mut Lab) -> anyhow::Result<f64> {
        let Some(raw) = self.0 else { return Ok(f64::NAN) };
        MESSAGES.calm(log).await?;
        sample_for(lab, raw, RAW_WINDOW)
    }
}

impl Measurement for Alone {
    async fn prepare<E: LogEngine>(&mut self, log: &Log<E>) -> anyhow::Result<()> {
        MESSAGES.fill(log).await
    }

    async fn pair<E: LogEngine>(&mut self, log: &Log<E>, lab: &mut Lab) -> anyhow::Result<Pair> {
        let encoded = Rc::new(MESSAGES.encoded());
        let message_bytes = encoded.bytes().len() as f64;
        let before = self.raw(log, lab).await?;
        MESSAGES.calm(log).await?;
        warm(BYTES_MAX as usize);
        let figure = MESSAGES.window_of(log, &encoded, WINDOW, BYTES_MAX).await? / message_bytes;
        let after = self.raw(log, lab).await?;
        Ok(Pair { figure, ceiling: (before + after) / 2.0 / message_bytes })
    }
}
