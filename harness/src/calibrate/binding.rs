//! Which ceiling binds a row: arithmetic on the run's own numbers. A ceiling's share is what the row used at the peak over what the
//! machine can do at the same sizes; the largest share binds.

use super::{
    Case, Ceilings,
    case::{DEPTHS, Pages, Path, Sync},
};
use crate::summary::{CeilingShare, Costs, EngineResult, PlateauUse, format};
use broker::{CommitPolicy, Durability, EngineKind};

/// Depth at which the device is compared where nothing limits an engine's writes in flight.
const DEPTH_OPEN: u32 = 8;

/// How a row was run, as far as its ceilings depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// When it acknowledged.
    pub durability: Durability,
    /// How it gathered.
    pub commit: CommitPolicy,
    /// Logs of a shard, each with flushes of its own.
    pub logs_a_shard: u32,
    /// Shards.
    pub shards: u32,
}

/// The shares of a row, the one that binds first; empty if its plateau was not measured to the end.
#[must_use]
pub fn shares(ceilings: &Ceilings, choices: &Choices, engine: &EngineResult) -> Vec<CeilingShare> {
    let Some(measured) = &engine.measurement else { return Vec::new() };
    let Some(used) = measured.plateau_use.filter(|used| used.time_s > 0.0 && used.acknowledged_bytes > 0) else {
        return Vec::new();
    };
    let mut shares: Vec<CeilingShare> = Vec::new();
    let shards = f64::from(choices.shards);
    if let Some(cpu_s) = used.shard_core_cpu_s.or(used.shard_cpu_s) {
        shares.push(share("shard's core".to_owned(), "cores", cpu_s / used.time_s, shards));
    }
    let generator = &measured.generator;
    let busy = generator.busy_share_plateau.unwrap_or(generator.busy_share_peak);
    shares.push(share("generator's core".to_owned(), "cores", busy, 1.0));
    let kind = EngineKind::ALL.into_iter().find(|kind| kind.name() == engine.name);
    if let Some(case) = kind.and_then(|kind| mechanism(kind, choices, &used, &measured.costs)) {
        let written = rate(used.acknowledged_bytes, &used) * amplification(&measured.costs);
        shares.extend(of_case(ceilings, case, written, shards));
    }
    if let Some(path) = path(&engine.send) {
        // Chunks of up to a mebibyte; what is sent in smaller ones costs the core, which is counted above.
        let transfer = Case::Transfer { block_bytes: 1 << 20, path };
        shares.extend(of_case(ceilings, transfer, rate(used.sent_bytes, &used), shards));
    }
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

fn share(ceiling: String, unit: &str, used: f64, limit: f64) -> CeilingShare {
    CeilingShare { ceiling, unit: unit.to_owned(), used, limit, share: used / limit }
}

/// What a core did is measured on one: each shard has its own. The device is one for all of them.
fn of_case(ceilings: &Ceilings, case: Case, used: f64, shards: f64) -> Option<CeilingShare> {
    let of_the_device = matches!(case, Case::DirectWrite { .. } | Case::BufferedDsync { .. });
    let cores = if of_the_device { 1.0 } else { shards };
    let limit = ceilings.at(case).filter(|limit| *limit > 0.0)? * cores;
    let size = case.block_bytes().map(|bytes| format!(", {}", format::bytes(bytes as f64))).unwrap_or_default();
    let whose = if cores > 1.0 { format!(", {cores} cores") } else { String::new() };
    Some(share(format!("{}{size}{whose}", case.mechanism()), "bytes/s", used, limit))
}

fn rate(bytes: u64, used: &PlateauUse) -> f64 {
    bytes as f64 / used.time_s
}

/// Bytes written for a payload byte: padding and rewritten tail blocks take the device's time as well.
fn amplification(costs: &Costs) -> f64 {
    match costs.written_bytes {
        Some(written) if costs.payload_bytes > 0 => (written as f64 / costs.payload_bytes as f64).max(1.0),
        _ => 1.0,
    }
}

/// How the engine's bytes get to the kernel or the device, at the mean size of the peak.
fn mechanism(kind: EngineKind, choices: &Choices, used: &PlateauUse, costs: &Costs) -> Option<Case> {
    let mean = |of: u64| (used.acknowledged_bytes as f64 / of.max(1) as f64).round().max(1.0);
    let commit_bytes = (mean(used.commits) * amplification(costs)).round() as u64;
    let batch_bytes = mean(used.acknowledged_batches) as u64;
    let durable = choices.durability == Durability::Durable;
    let logs = choices.logs_a_shard.saturating_mul(choices.shards);
    let depth = measured_depth(inflight(choices.commit).saturating_mul(logs));
    match kind {
        EngineKind::Direct if durable => {
            Some(Case::DirectWrite { block_bytes: commit_bytes, depth, sync: Sync::Dsync })
        }
        EngineKind::Direct => {
            Some(Case::DirectWrite { block_bytes: commit_bytes, depth: DEPTH_OPEN, sync: Sync::None })
        }
        // Flushes of several files run together: then it is the device that binds, not one file's.
        EngineKind::PageCache | EngineKind::Mmap if durable && depth > 1 => {
            Some(Case::DirectWrite { block_bytes: commit_bytes, depth, sync: Sync::Dsync })
        }
        EngineKind::PageCache | EngineKind::Mmap if durable => Some(Case::BufferedDsync { block_bytes: commit_bytes }),
        EngineKind::PageCache => Some(Case::BufferedWrite { block_bytes: commit_bytes, pages: Pages::Fresh }),
        EngineKind::Mmap => Some(Case::MappedWrite { block_bytes: batch_bytes, crc: true }),
        EngineKind::Memory => Some(Case::MemoryCopy { block_bytes: batch_bytes }),
        EngineKind::Null => None,
    }
}

/// Flushes of one log that may be in flight.
fn inflight(commit: CommitPolicy) -> u32 {
    match commit {
        CommitPolicy::Inflight(commits) => commits,
        CommitPolicy::Each | CommitPolicy::Linger(_) => 1,
    }
}

/// The next depth that is measured, so that the ceiling is never too low by it.
fn measured_depth(wanted: u32) -> u32 {
    DEPTHS.into_iter().find(|depth| *depth >= wanted).unwrap_or(DEPTH_OPEN)
}

fn path(send: &str) -> Option<Path> {
    match send {
        "sendfile" => Some(Path::Sendfile),
        "copy" => Some(Path::Send),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::ceilings::tests::ceilings;
    use crate::summary::{
        Backlog, Content, Dry, GeneratorLoad, LatencySet, Measurement, PhaseResult, Series, Status, Throughput,
    };

    /// A row that acknowledged 100 MB in 1,000 commits of 10 batches each second, on 40 % of its core.
    fn row(name: &str, send: &str) -> EngineResult {
        let none = LatencySet::default();
        let total = PhaseResult {
            phase: "all".to_owned(),
            offered_messages: 0,
            acknowledged_messages: 0,
            offered_per_s: 0.0,
            achieved_per_s: 0.0,
            response: none,
            queued: none,
            lateness: none,
            service: none,
            end_to_end: None,
        };
        let measurement = Measurement {
            phases: Vec::new(),
            total,
            backlog: Backlog { peak_messages: 0, peak_at_s: 0.0 },
            dry: Dry::Always,
            objectives: Vec::new(),
            throughput: Throughput {
                offered_messages: 0,
                acknowledged_messages: 0,
                plateau_achieved_per_s: 0.0,
                sustained_per_s: None,
            },
            series: Series::default(),
            costs: Costs { payload_bytes: 1_000, written_bytes: Some(1_100), ..Costs::default() },
            plateau_use: Some(PlateauUse {
                time_s: 2.0,
                acknowledged_bytes: 200_000_000,
                acknowledged_batches: 20_000,
                commits: 2_000,
                sent_bytes: 200_000_000,
                shard_cpu_s: Some(0.8),
                shard_core_cpu_s: None,
            }),
            ceilings: Vec::new(),
            attestation: Vec::new(),
            generator: GeneratorLoad {
                busy_share_peak: 0.3,
                busy_share_plateau: None,
                harness_bound: false,
                taken: None,
            },
            content: Content::default(),
            validity: Vec::new(),
            notes: Vec::new(),
        };
        EngineResult {
            name: name.to_owned(),
            status: Status::Ok,
            send: send.to_owned(),
            order: 1,
            measurement: Some(measurement),
        }
    }

    fn choices(durability: Durability, commit: CommitPolicy, logs_a_shard: u32) -> Choices {
        Choices { durability, commit, logs_a_shard, shards: 1 }
    }

    /// Each write takes 100 us and 1 ns a byte, whatever writes.
    fn machine() -> Ceilings {
        let rate = |case: Case| (case, case.block_bytes().map_or(1e4, |b| b as f64 / (1e-4 + b as f64 * 1e-9)));
        ceilings(&Case::all().into_iter().map(rate).collect::<Vec<_>>())
    }

    #[test]
    fn durable_writes_are_held_to_raw_dsync_at_their_mean_size() {
        let alone = choices(Durability::Durable, CommitPolicy::Inflight(1), 1);
        let shares = shares(&machine(), &alone, &row("direct", "copy"));
        // 110 MB/s written in commits of 110,000 bytes: 210 us each, of which 1,000 a second.
        let binds = shares.iter().find(|share| share.ceiling == "direct DSYNC ×1, 110 kB").unwrap();
        assert!((binds.share - 0.21).abs() < 0.01 && (binds.used - 1.1e8).abs() < 1.0, "{shares:?}");
    }

    #[test]
    fn the_largest_share_binds() {
        let alone = choices(Durability::Durable, CommitPolicy::Inflight(1), 1);
        let mut busy = row("direct", "copy");
        let found = shares(&machine(), &alone, &busy);
        let names: Vec<&str> = found.iter().map(|share| share.ceiling.as_str()).collect();
        assert_eq!(names[..2], ["shard's core", "generator's core"]);
        assert!(found.windows(2).all(|pair| pair[0].share >= pair[1].share));
        let core = found.iter().find(|share| share.ceiling == "shard's core").unwrap();
        assert_eq!((core.used, core.limit, core.unit.as_str()), (0.4, 1.0, "cores"));
        busy.measurement.as_mut().unwrap().plateau_use.as_mut().unwrap().shard_cpu_s = Some(1.9);
        let found = shares(&machine(), &alone, &busy);
        assert_eq!((found[0].ceiling.as_str(), found[0].share), ("shard's core", 0.95));
        let two = Choices { shards: 2, ..alone };
        assert_eq!(shares(&machine(), &two, &busy).iter().find(|s| s.ceiling == "shard's core").unwrap().share, 0.475);
    }

    #[test]
    fn helpers_on_the_shards_core_count_and_the_generator_is_seen_over_the_same_time() {
        let alone = choices(Durability::Durable, CommitPolicy::Inflight(1), 1);
        let mut busy = row("direct", "copy");
        let measured = busy.measurement.as_mut().unwrap();
        measured.plateau_use.as_mut().unwrap().shard_core_cpu_s = Some(1.2);
        measured.generator.busy_share_plateau = Some(0.2);
        let found = shares(&machine(), &alone, &busy);
        let of = |ceiling: &str| found.iter().find(|share| share.ceiling == ceiling).unwrap().share;
        assert_eq!((of("shard's core"), of("generator's core")), (0.6, 0.2));
    }

    #[test]
    fn each_shard_has_a_core_and_flushes_of_its_own_and_all_have_one_device() {
        let durable = choices(Durability::Durable, CommitPolicy::Inflight(1), 1);
        let none = choices(Durability::None, CommitPolicy::Inflight(1), 1);
        let find = |choices: &Choices, shards, engine: &str, ceiling: &str| {
            let found = shares(&machine(), &Choices { shards, ..*choices }, &row(engine, "copy"));
            found.iter().find(|share| share.ceiling == ceiling).unwrap_or_else(|| panic!("{found:?}")).limit
        };
        find(&durable, 4, "direct", "direct DSYNC ×4, 110 kB");
        find(&durable, 4, "pagecache", "direct DSYNC ×4, 110 kB");
        find(&durable, 1, "pagecache", "buffered DSYNC, 110 kB");
        let alone = find(&none, 1, "pagecache", "buffered, fresh pages, 110 kB");
        assert_eq!(find(&none, 4, "pagecache", "buffered, fresh pages, 110 kB, 4 cores"), 4.0 * alone);
        let alone = find(&none, 1, "mmap", "mapped write + CRC, 10.0 kB");
        assert_eq!(find(&none, 2, "mmap", "mapped write + CRC, 10.0 kB, 2 cores"), 2.0 * alone);
        assert_eq!(
            find(&none, 4, "direct", "direct write ×8, 110 kB"),
            find(&none, 1, "direct", "direct write ×8, 110 kB")
        );
    }

    #[test]
    fn each_engine_is_held_to_its_own_mechanism() {
        let name = |engine: &str, choices: &Choices| {
            let kind = EngineKind::ALL.into_iter().find(|kind| kind.name() == engine).unwrap();
            let row = row(engine, "copy");
            let measured = row.measurement.unwrap();
            mechanism(kind, choices, &measured.plateau_use.unwrap(), &measured.costs).map(|case| case.to_string())
        };
        let none = choices(Durability::None, CommitPolicy::Inflight(1), 1);
        let durable = choices(Durability::Durable, CommitPolicy::Inflight(1), 1);
        let three = choices(Durability::Durable, CommitPolicy::Inflight(3), 1);
        let many = choices(Durability::Durable, CommitPolicy::Each, 200);
        let is = |engine, choices: &Choices, wanted: &str| assert_eq!(name(engine, choices).as_deref(), Some(wanted));
        is("direct", &none, "direct write ×8, 110 kB");
        is("direct", &three, "direct DSYNC ×4, 110 kB");
        is("direct", &many, "direct DSYNC ×8, 110 kB");
        is("pagecache", &none, "buffered, fresh pages, 110 kB");
        is("pagecache", &durable, "buffered DSYNC, 110 kB");
        is("pagecache", &many, "direct DSYNC ×8, 110 kB");
        is("mmap", &none, "mapped write + CRC, 10.0 kB");
        is("mmap", &durable, "buffered DSYNC, 110 kB");
        assert_eq!(name("null", &none), None);
    }

    #[test]
    fn a_row_whose_plateau_was_not_seen_to_its_end_has_no_share() {
        let alone = choices(Durability::Durable, CommitPolicy::Inflight(1), 1);
        let mut cut = row("direct", "copy");
        cut.measurement.as_mut().unwrap().plateau_use = None;
        assert_eq!(shares(&machine(), &alone, &cut), []);
        // What was not calibrated is left out, and the cores remain.
        let shares = shares(&ceilings(&[]), &alone, &row("pagecache", "sendfile"));
        assert_eq!(shares.len(), 2);
    }
}
