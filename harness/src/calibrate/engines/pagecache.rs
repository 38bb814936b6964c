//! The page-cache engine beside plain writes into the same kind of segment.

use super::{
    EngineCase,
    appends::{self, Appends},
    direct::grouped,
};
use crate::calibrate::{
    Case,
    case::{Pages, block},
};
use broker::EngineKind;
use log_api::Level;

const ENGINE: EngineKind = EngineKind::PageCache;
/// Sizes of a group commit.
const COMMITS: [u64; 3] = [16 << 10, 64 << 10, 256 << 10];

pub(super) fn cases() -> Vec<EngineCase> {
    let hundred = hundred(false);
    let written = Case::BufferedWrite { block_bytes: hundred.gather_bytes, pages: Pages::Fresh };
    let mut cases = vec![appends::case("none, batches of 100 × 1 KB".to_owned(), ENGINE, hundred, written, 0.85)];
    for bytes in COMMITS {
        let ceiling = Case::BufferedDsync { block_bytes: bytes };
        cases.push(appends::overwriting(
            format!("durable, commits of {}", block(bytes)),
            ENGINE,
            grouped(bytes, 1),
            ceiling,
            0.9,
        ));
    }
    cases
}

/// Batches of 100 messages of 1 KB, each committed by itself and never flushed.
pub(super) fn hundred(verify: bool) -> Appends {
    let (records, value_bytes) = (100, 1_000);
    let gather_bytes = Appends::batch_bytes(records, value_bytes);
    Appends { records, value_bytes, level: Level::Placed, inflight: 1, gather_bytes, verify, burst: true }
}
