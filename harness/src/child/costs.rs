//! What a run cost: samples before and after, and the counts that the node reports.

use crate::cost::{
    device::{Device, DeviceCounts},
    kernel::Others,
    threads::{Threads, UsedByRole},
};
use crate::summary::{Attestation, Costs, StageCost};
use broker::{EngineKind, Layout, NodeReport, ShardReport};
use log_api::{CounterSnapshot, SendPath, Stage};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const NS_PER_S: f64 = 1e9;
/// A gigabyte as the costs count it.
const GB: f64 = 1e9;

/// A share of time that a thread waited for its core and that is worth a sentence.
const WAITED_SHARE_MIN: f64 = 0.001;

/// A share of one core's time that another process used and that is worth its name.
const STRANGER_SHARE_MIN: f64 = 0.005;
/// Others that are named at most.
const STRANGERS_MAX: usize = 3;

/// Everything sampled at one moment.
pub struct Sample {
    at: Instant,
    threads: Threads,
    device: Option<DeviceCounts>,
    others: Others,
}

/// What was used between two samples.
#[derive(Clone, Debug)]
pub struct Spent {
    /// Time between them.
    pub time: Duration,
    /// By role of threads.
    pub used: UsedByRole,
    /// By the device, if there is one that counts.
    pub device: Option<DeviceCounts>,
    /// By the kernel's write-back, if it can be seen.
    pub write_back_ns: Option<u64>,
    /// Other processes and kernel threads that worked meanwhile, the busiest first: name and nanoseconds.
    pub strangers: Vec<(String, u64)>,
}

impl Sample {
    /// Now, with the device under `dir`.
    #[must_use]
    pub fn take(dir: Option<&Path>) -> Self {
        let device = dir.and_then(|dir| Device::of(dir).ok().flatten());
        Self {
            at: Instant::now(),
            device: device.and_then(|device| device.counts()),
            others: Others::sample(),
            threads: Threads::sample(),
        }
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Spent {
        let time = self.at - earlier.at;
        let least_ns = (time.as_nanos() as f64 * STRANGER_SHARE_MIN) as u64;
        Spent {
            time,
            used: self.threads.since(&earlier.threads),
            device: self.device.zip(earlier.device).map(|(now, before)| now.since(before)),
            write_back_ns: self
                .others
                .write_back_ns
                .zip(earlier.others.write_back_ns)
                .map(|(now, before)| now.saturating_sub(before)),
            strangers: self.others.busy_since(&earlier.others, least_ns),
        }
    }
}

/// The shards' counts added up.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    engine: CounterSnapshot,
    messages: u64,
    bytes: u64,
    system_calls: u64,
    send_copied_bytes: u64,
}

fn sum(report: &NodeReport) -> Counts {
    report.shards.iter().fold(Counts::default(), |sum, shard| Counts {
        engine: add(&sum.engine, &shard.engine),
        messages: sum.messages + shard.stats.acked_messages,
        bytes: sum.bytes + shard.stats.acked_bytes,
        system_calls: sum.system_calls + shard.system_calls,
        send_copied_bytes: sum.send_copied_bytes + shard.send_copied_bytes,
    })
}

/// The counts that costs are made of; the others stay at zero.
fn add(a: &CounterSnapshot, b: &CounterSnapshot) -> CounterSnapshot {
    CounterSnapshot {
        copied_bytes: a.copied_bytes + b.copied_bytes,
        written_bytes: a.written_bytes + b.written_bytes,
        prepared_bytes: a.prepared_bytes + b.prepared_bytes,
        flushes: a.flushes + b.flushes,
        rolls: a.rolls + b.rolls,
        rolls_waited: a.rolls_waited + b.rolls_waited,
        ..*a
    }
}

/// The costs of a run. `tails` consumers received every byte.
#[must_use]
pub fn costs(engine: EngineKind, send: Option<SendPath>, tails: u32, report: &NodeReport, spent: &Spent) -> Costs {
    let counts = sum(report);
    let disk = EngineKind::DISK.contains(&engine);
    let gigabytes = counts.bytes as f64 / GB;
    let per_gb = |ns: u64| (gigabytes > 0.0).then(|| ns as f64 / NS_PER_S / gigabytes);
    let per_byte = |bytes: u64| (counts.bytes > 0).then(|| bytes as f64 / counts.bytes as f64);
    let faults = spent.used.engine();
    // The kernel copies what is sent from memory into the socket, once for each consumer; sendfile hands over pages.
    let copies_out = if send == Some(SendPath::Copy) { f64::from(tails) } else { 0.0 };
    Costs {
        payload_bytes: counts.bytes,
        written_bytes: disk.then_some(counts.engine.written_bytes),
        device_bytes: if disk { spent.device.map(|device| device.written_bytes) } else { None },
        prepared_bytes: disk.then_some(counts.engine.prepared_bytes),
        cpu_shard_s_per_gb: per_gb(spent.used.shards.cpu_ns),
        cpu_helpers_s_per_gb: per_gb(spent.used.helpers.cpu_ns),
        cpu_kernel_workers_s_per_gb: per_gb(spent.used.ring_workers.cpu_ns),
        cpu_write_back_s_per_gb: if disk { spent.write_back_ns.and_then(per_gb) } else { None },
        system_calls_per_1000: (counts.messages > 0)
            .then(|| counts.system_calls as f64 * 1_000.0 / counts.messages as f64),
        minor_faults: Some(faults.minor_faults),
        major_faults: Some(faults.major_faults),
        copies_own_per_byte: per_byte(counts.engine.copied_bytes + counts.send_copied_bytes),
        copies_kernel_per_byte: Some(f64::from(engine.capabilities().kernel_copies_in) + copies_out),
        flushes: counts.engine.flushes,
        messages_per_flush: (counts.engine.flushes > 0).then(|| counts.messages as f64 / counts.engine.flushes as f64),
        stages: stages(report, spent.used.shards.cpu_ns, counts.messages),
    }
}

/// What each stage cost a message, and what is left of the shards' time.
fn stages(report: &NodeReport, shard_ns: u64, messages: u64) -> Vec<StageCost> {
    if messages == 0 || report.shards.iter().all(|shard| shard.stages.is_empty()) {
        return Vec::new();
    }
    let spent = |stage: Stage| -> u64 {
        let own = report.shards.iter().flat_map(|shard| &shard.stages);
        own.filter(|(name, _)| *name == stage.name()).map(|(_, ns)| ns).sum()
    };
    let cost = |stage: String, ns: u64| StageCost { stage, ns_per_message: ns as f64 / messages as f64 };
    let whole: u64 = Stage::ALL.into_iter().map(spent).sum();
    Stage::ALL
        .into_iter()
        .map(|stage| cost(stage.name().to_owned(), spent(stage)))
        .chain([cost("other".to_owned(), shard_ns.saturating_sub(whole))])
        .collect()
}

/// What proves the engine and the send path that were really used.
#[must_use]
pub fn attestation(
    engine: EngineKind,
    send: Option<SendPath>,
    consumers: u32,
    layout: Layout,
    report: &NodeReport,
) -> Vec<Attestation> {
    let mut proofs: Vec<Attestation> = Vec::new();
    let all = |of: fn(&ShardReport) -> u64| report.shards.iter().map(of).sum::<u64>();
    let (direct, buffered) = (all(|s| s.observed.direct_descriptors), all(|s| s.observed.buffered_descriptors));
    let (mappings, mapped_bytes) = (all(|s| s.observed.mappings), all(|s| s.observed.mapped_bytes));
    let mut prove = |claim: &str, evidence: String, holds: bool| {
        proofs.push(Attestation { claim: claim.to_owned(), evidence, holds });
    };
    match engine {
        EngineKind::Direct => {
            prove("O_DIRECT honoured", format!("{direct} segment files held with O_DIRECT"), direct > 0)
        }
        EngineKind::Mmap => prove(
            "segments are mapped",
            format!("{mappings} mappings of segments, {} MiB", mapped_bytes >> 20),
            mappings > 0,
        ),
        EngineKind::PageCache => prove(
            "written through the page cache",
            format!("{buffered} segment files held without O_DIRECT, {mappings} mapped"),
            buffered > 0 && mappings == 0,
        ),
        EngineKind::Memory | EngineKind::Null => {
            prove("no files", format!("{} segment files held", direct + buffered), direct + buffered + mappings == 0);
        }
    }
    if engine == EngineKind::Direct {
        let entries: u64 =
            report.shards.iter().flat_map(|s| &s.ring).filter(|(name, _)| *name == "entries").map(|(_, n)| n).sum();
        prove("io_uring operations issued", format!("{entries} entries"), entries > 0);
    }
    if layout != Layout::Partition && engine.capabilities().readable {
        let (logs, partitions) = (all(|s| s.engine.shared_logs), all(|s| s.engine.shared_log_partitions));
        prove("partitions share logs", format!("{partitions} partitions in {logs} shared logs"), logs > 0);
    }
    if consumers > 0 {
        let (by_sendfile, calls, by_send) =
            (all(|s| s.sendfile_bytes), all(|s| s.sendfile_calls), all(|s| s.send_bytes));
        let evidence = format!("{by_sendfile} bytes by sendfile in {calls} calls, {by_send} bytes by send");
        match send {
            Some(SendPath::Sendfile) => prove("bytes through sendfile", evidence, by_sendfile > 0),
            Some(SendPath::Copy) => prove("bytes through send", evidence, by_send > 0 && by_sendfile == 0),
            None => {}
        }
    }
    for shard in &report.shards {
        for words in &shard.attestation {
            proofs.push(Attestation { claim: format!("shard {}", shard.shard), evidence: words.clone(), holds: true });
        }
    }
    proofs
}

/// Sentences about what a reader should know of this row. `helpers_share`: helpers run on the shards' cores.
#[must_use]
pub fn notes(report: &NodeReport, spent: &Spent, helpers_share: bool) -> Vec<String> {
    let all = |of: fn(&ShardReport) -> u64| report.shards.iter().map(of).sum::<u64>();
    let mut notes = Vec::new();
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            notes.push(format!("{count} {text}"));
        }
    };
    note(sum(report).engine.rolls_waited, "rolls had to wait for the next segment");
    note(all(|s| s.consumers_trimmed), "times a consumer's place had been trimmed by retention");
    note(all(|s| s.full_waits), "times the disk was full");
    note(all(|s| s.consumers_refused), "consumers were refused");
    note(all(|s| s.consumers_failed), "consumers ended because the engine could not read");
    notes.extend(report.shards.iter().filter_map(|shard| shard.failure.clone()));
    notes.extend(waited(report.shards.len(), spent, helpers_share));
    if !spent.strangers.is_empty() {
        let named = spent.strangers.iter().take(STRANGERS_MAX);
        let named: Vec<String> = named.map(|(name, ns)| format!("{name} {:.2} s", *ns as f64 / NS_PER_S)).collect();
        let time_s = spent.time.as_secs_f64();
        notes.push(format!("others at work on this machine in these {time_s:.0} s: {}", named.join(", ")));
    }
    notes
}

/// What kept the generator and the shards from their cores. On the shards' it may be the engine itself.
fn waited(shards: usize, spent: &Spent, helpers_share: bool) -> Vec<String> {
    let share = |ns: u64, threads: usize| ns as f64 / NS_PER_S / threads as f64 / spent.time.as_secs_f64();
    let used = &spent.used;
    let waits = [("generator's", share(used.load.waited_ns, 1)), ("shards'", share(used.shards.waited_ns, shards))];
    let own = if helpers_share { share(used.helpers.cpu_ns + used.ring_workers.cpu_ns, shards) } else { 0.0 };
    let noted = waits.into_iter().filter(|(_, waited)| *waited >= WAITED_SHARE_MIN);
    let sentence = |(whose, waited): (&str, f64)| {
        let waited = waited * 100.0;
        if whose == "shards'" && own >= WAITED_SHARE_MIN {
            let own = own * 100.0;
            return format!(
                "the shards waited for their core for {waited:.1} % of the time; the engine's helpers ran there for {own:.1} %"
            );
        }
        format!("something else had the {whose} core for {waited:.1} % of the time")
    };
    noted.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::threads::Used;

    fn report() -> NodeReport {
        let mut shard =
            ShardReport { system_calls: 50, sendfile_bytes: 10, sendfile_calls: 1, ..ShardReport::default() };
        shard.stats.acked_messages = 10_000;
        shard.stats.acked_bytes = 2_000_000_000;
        shard.engine.copied_bytes = 2_000_000_000;
        shard.engine.flushes = 100;
        let other = ShardReport { shard: 1, ..shard.clone() };
        NodeReport { shards: vec![shard, other] }
    }

    #[test]
    fn costs_are_per_byte_and_message_of_all_shards_together() {
        let cpu = |s: u64| Used { cpu_ns: s * 1_000_000_000, waited_ns: 0, minor_faults: 3, major_faults: 1 };
        let spent = Spent {
            time: Duration::from_secs(20),
            used: UsedByRole { shards: cpu(8), helpers: cpu(2), ring_workers: cpu(1), load: cpu(99) },
            device: Some(DeviceCounts { read_bytes: 0, written_bytes: 6_000_000_000, flushes: 9 }),
            write_back_ns: Some(4_000_000_000),
            strangers: Vec::new(),
        };
        let costs = costs(EngineKind::PageCache, Some(SendPath::Copy), 2, &report(), &spent);
        assert_eq!(costs.cpu_shard_s_per_gb, Some(2.0));
        assert_eq!(costs.cpu_s_per_gb(), Some(2.75));
        assert_eq!(costs.cpu_write_back_s_per_gb, Some(1.0));
        assert_eq!(costs.device_bytes_per_byte(), Some(1.5));
        assert_eq!(costs.system_calls_per_1000, Some(5.0));
        assert_eq!(costs.copies_own_per_byte, Some(1.0));
        let copies_in = f64::from(EngineKind::PageCache.capabilities().kernel_copies_in);
        assert_eq!(costs.copies_kernel_per_byte, Some(copies_in + 2.0), "out to each of two consumers");
        assert_eq!(costs.messages_per_flush, Some(100.0));
        assert_eq!((costs.minor_faults, costs.major_faults), (Some(9), Some(3)));
    }

    #[test]
    fn an_engine_without_files_has_no_device_bytes() {
        let used = UsedByRole::default();
        let spent = Spent {
            time: Duration::ZERO,
            used,
            device: Some(DeviceCounts::default()),
            write_back_ns: Some(1),
            strangers: Vec::new(),
        };
        let costs = costs(EngineKind::Memory, None, 0, &report(), &spent);
        assert_eq!((costs.device_bytes, costs.written_bytes, costs.cpu_write_back_s_per_gb), (None, None, None));
    }

    #[test]
    fn the_busiest_of_the_others_are_named() {
        let earlier = Sample::take(None);
        let mut spent = Sample::take(None).since(&earlier);
        spent.time = Duration::from_secs(10);
        spent.strangers = ["a", "b", "c", "d"].map(|name| (name.to_owned(), 1_500_000_000)).to_vec();
        let notes = notes(&report(), &spent, false);
        let named = "others at work on this machine in these 10 s: a 1.50 s, b 1.50 s, c 1.50 s";
        assert!(notes.iter().any(|note| note == named), "{notes:?}");
    }

    #[test]
    fn what_the_engines_own_helpers_took_of_the_shards_core_is_not_blamed_on_the_machine() {
        let used = |cpu_ms: u64, waited_ms: u64| Used {
            cpu_ns: cpu_ms * 1_000_000,
            waited_ns: waited_ms * 1_000_000,
            ..Used::default()
        };
        let spent = Spent {
            time: Duration::from_secs(10),
            used: UsedByRole {
                shards: used(4_000, 2_000),
                helpers: used(700, 0),
                ring_workers: used(100, 0),
                load: used(9_000, 0),
            },
            device: None,
            write_back_ns: None,
            strangers: Vec::new(),
        };
        assert_eq!(
            waited(1, &spent, true),
            ["the shards waited for their core for 20.0 % of the time; the engine's helpers ran there for 8.0 %"]
        );
        assert_eq!(waited(2, &spent, false), ["something else had the shards' core for 10.0 % of the time"]);
    }

    #[test]
    fn an_engine_that_was_not_what_it_claims_is_told() {
        let proofs = attestation(EngineKind::Direct, Some(SendPath::Copy), 1, Layout::Group(None), &report());
        let of = |claim: &str| proofs.iter().find(|proof| proof.claim == claim).unwrap().holds;
        assert!(!of("O_DIRECT honoured") && !of("io_uring operations issued") && !of("bytes through send"));
        assert!(!of("partitions share logs"));
        let proofs = attestation(EngineKind::Memory, Some(SendPath::Sendfile), 1, Layout::Partition, &report());
        assert!(proofs.iter().all(|proof| proof.holds), "{proofs:?}");
    }
}
