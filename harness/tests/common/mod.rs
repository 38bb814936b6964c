//! A made-up night for tests of what is shown: the schedule of `double11` at speed 60 over three engines that are nothing
//! but a fixed capacity, a service time and a little noise. Figures are plausible, and nobody's.

use harness::summary::*;

pub(crate) const INTERVAL_S: f64 = 0.1;
const MARK_S: f64 = 5.0;
const DURATION_S: f64 = 35.0;
const SPEED: f64 = 60.0;
const PLATEAU_PER_S: f64 = 180_000.0;
const MESSAGE_BYTES: f64 = 1_093.0;

struct Made {
    name: &'static str,
    send: &'static str,
    /// Messages a second.
    capacity: f64,
    /// Median response without a queue.
    service_ns: f64,
    walls: [f64; 2],
    cpu: [f64; 3],
    calls: f64,
    kernel_copies: f64,
    amplification: f64,
}

const ENGINES: [Made; 3] = [
    Made {
        name: "mmap",
        send: "sendfile",
        capacity: 212_000.0,
        service_ns: 1.31e6,
        walls: [212_000.0, 1_240_000.0],
        cpu: [0.41, 0.06, 0.0],
        calls: 21.4,
        kernel_copies: 0.0,
        amplification: 1.31,
    },
    Made {
        name: "direct",
        send: "copy",
        capacity: 246_000.0,
        service_ns: 0.92e6,
        walls: [246_000.0, 402_000.0],
        cpu: [0.48, 0.02, 0.01],
        calls: 9.6,
        kernel_copies: 1.0,
        amplification: 1.07,
    },
    Made {
        name: "pagecache",
        send: "sendfile",
        capacity: 120_000.0,
        service_ns: 1.62e6,
        walls: [120_000.0, 931_000.0],
        cpu: [0.62, 0.04, 0.09],
        calls: 33.0,
        kernel_copies: 1.0,
        amplification: 1.12,
    },
];

/// Three engines, durable: mmap and direct stay dry, pagecache goes under.
pub(crate) fn night() -> Summary {
    let offered_per_s: Vec<f64> =
        (0..350).map(|n| (offered((f64::from(n) + 0.5) * INTERVAL_S) / 10.0).round() * 10.0).collect();
    let messages = (offered_per_s.iter().sum::<f64>() * INTERVAL_S) as u64;
    let mut walls = Vec::new();
    for made in &ENGINES {
        for (durability, messages_per_s) in ["durable", "none"].into_iter().zip(made.walls) {
            walls.push(wall(made.name, durability, messages_per_s, false));
        }
    }
    walls.push(wall("null", "none", 1_870_000.0, true));
    let phase = |name: &str, role, start_s, end_s| Phase { name: name.to_owned(), role, start_s, end_s };
    Summary {
        schema_version: SCHEMA_VERSION,
        run: Run {
            id: "20261124T123456Z-double11-7f3a".to_owned(),
            profile: "double11".to_owned(),
            title: "Singles' Day 2019: five minutes before midnight to thirty after".to_owned(),
            speed: SPEED,
            durability: "durable".to_owned(),
            commit: "inflight".to_owned(),
            layout: "partition".to_owned(),
            plateau: Some(Plateau {
                messages_per_s: PLATEAU_PER_S,
                of: Some(PlateauOf {
                    multiple: 1.5,
                    engine: "pagecache".to_owned(),
                    durability: "durable".to_owned(),
                    capped: false,
                    remembered: false,
                }),
            }),
            rate: 1.0,
            seed: 11,
            shards: 1,
            message_bytes_mean: 1_024.0,
            messages,
            payload_bytes: (messages as f64 * MESSAGE_BYTES) as u64,
            command: "highwater run double11 --engine mmap,direct,pagecache --durability durable --commit inflight \
                      --peak 180k --speed 60 --seed 11"
                .to_owned(),
            started: "2026-11-24T12:34:56Z".to_owned(),
            state: RunState::Completed,
            build: "0.1.0 (a1b2c3d)".to_owned(),
        },
        machine: Machine {
            file_system: "ext4".to_owned(),
            device: "vda (virtio)".to_owned(),
            flush_ns: Some(1_100_000),
            kernel: "6.8.0".to_owned(),
            cpu: "Example Processor 2.4 GHz".to_owned(),
            memory_bytes: 25_769_803_776,
            cores: Cores { allowed: vec![0, 1], quota: None, generator: vec![0], shards: vec![1], helpers: vec![0, 1] },
        },
        walls,
        clock: Clock {
            interval_s: INTERVAL_S,
            duration_s: DURATION_S,
            mark: "midnight".to_owned(),
            mark_s: MARK_S,
            plateau_start_s: MARK_S,
            plateau_end_s: MARK_S + 96.0 / SPEED,
        },
        phases: vec![
            phase("lull", PhaseRole::Calm, 0.0, MARK_S),
            phase("flood", PhaseRole::Plateau, MARK_S, MARK_S + 96.0 / SPEED),
            phase("ebb", PhaseRole::Other, MARK_S + 96.0 / SPEED, DURATION_S),
        ],
        objectives: vec![Objective { within_ns: 20_000_000, share: 0.996, source: "assumed".to_owned() }],
        engines: ENGINES.iter().zip([2, 3, 1]).map(|(made, order)| engine(made, order, &offered_per_s)).collect(),
        offered_per_s,
        validity: vec![
            verdict("release build", true, "built with optimisation"),
            verdict("cores", true, "generator and shard have a core each"),
        ],
        notes: Vec::new(),
    }
}

fn offered(run_s: f64) -> f64 {
    let life_s = (run_s - MARK_S) * SPEED;
    let multiple = match life_s {
        before if before < 0.0 => 2.0,
        flood if flood < 96.0 => 33.5,
        ebb => 5.0 + 31.4 * (-(ebb - 96.0) / 327.0).exp(),
    };
    multiple / 33.5 * PLATEAU_PER_S
}

fn wall(engine: &str, durability: &str, messages_per_s: f64, harness_bound: bool) -> Wall {
    Wall { engine: engine.to_owned(), durability: durability.to_owned(), messages_per_s, harness_bound }
}

fn verdict(gate: &str, passed: bool, detail: &str) -> Verdict {
    Verdict { gate: gate.to_owned(), passed, detail: detail.to_owned() }
}

/// Noise between -1 and 1 that is the same on every machine.
fn noise(n: usize, salt: usize) -> f64 {
    let mut x =
        (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (salt as u64 + 1).wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 32;
    (x % 20_001) as f64 / 10_000.0 - 1.0
}

fn engine(made: &Made, order: u32, offered_per_s: &[f64]) -> EngineResult {
    let mut series = Series::default();
    let mut queue = 0.0f64;
    let mut n = 0;
    while n < offered_per_s.len() || queue > 1.0 {
        let offered = offered_per_s.get(n).copied().unwrap_or(0.0);
        let capacity = made.capacity * (1.0 + 0.03 * noise(n, order as usize));
        let achieved = capacity.min(offered + queue / INTERVAL_S);
        queue = (queue + (offered - achieved) * INTERVAL_S).max(0.0);
        let load = (offered / made.capacity).min(1.0);
        let p50 = made.service_ns * (0.8 + 0.5 * load + 0.1 * noise(n, 7)) + queue / made.capacity * 1e9;
        let samples = (offered * INTERVAL_S) as u64;
        let ns = |factor: f64| (samples > 0).then_some((p50 + made.service_ns * factor) as u64);
        let rare = if n % 47 == order as usize { 14.0 } else { 0.0 };
        series.t_s.push((n as f64 * INTERVAL_S * 10.0).round() / 10.0);
        series.offered_per_s.push(offered);
        series.achieved_per_s.push((achieved / 10.0).round() * 10.0);
        series.backlog.push((queue + offered * p50.min(5e6) / 1e9) as u64);
        series.samples.push(samples);
        series.p50_ns.push(ns(0.0));
        series.p99_ns.push(ns(1.4 + 0.6 * noise(n, 3)));
        series.p999_ns.push(ns(3.0 + 2.0 * noise(n, 5) + rare));
        n += 1;
    }
    merge(&mut series.p50_ns, &series.samples, 0.5);
    merge(&mut series.p99_ns, &series.samples, 0.99);
    merge(&mut series.p999_ns, &series.samples, 0.999);
    let messages = (offered_per_s.iter().sum::<f64>() * INTERVAL_S) as u64;
    let peak = (0..series.len()).max_by_key(|n| (series.backlog[*n], usize::MAX - n)).expect("a series has intervals");
    let dry = dry_from(&series, INTERVAL_S, 0);
    let under: Vec<usize> = match dry {
        Dry::Again { under_at_s, at_s } => {
            (0..series.len()).filter(|n| (under_at_s..at_s - 1e-9).contains(&series.t_s[*n])).collect()
        }
        _ => Vec::new(),
    };
    let sustained = under.iter().map(|n| series.achieved_per_s[*n]).sum::<f64>() / under.len() as f64;
    let phases = [("lull", 0, 50), ("flood", 50, 66), ("ebb", 66, 350)];
    let phases: Vec<PhaseResult> =
        phases.iter().map(|(name, from, to)| phase(name, *from, *to, &series, made)).collect();
    let share = if under.is_empty() { 0.999_3 } else { 0.312 };
    let payload_bytes = (messages as f64 * MESSAGE_BYTES) as u64;
    let costs = Costs {
        payload_bytes,
        written_bytes: Some((payload_bytes as f64 * 1.04) as u64),
        device_bytes: Some((payload_bytes as f64 * made.amplification) as u64),
        prepared_bytes: Some(268_435_456),
        cpu_shard_s_per_gb: Some(made.cpu[0]),
        cpu_helpers_s_per_gb: Some(made.cpu[1]),
        cpu_kernel_workers_s_per_gb: Some(made.cpu[2]),
        cpu_write_back_s_per_gb: None,
        system_calls_per_1000: Some(made.calls),
        minor_faults: Some(4_211),
        major_faults: Some(0),
        copies_own_per_byte: Some(1.0),
        copies_kernel_per_byte: Some(made.kernel_copies),
        flushes: 18_233,
        messages_per_flush: Some(messages as f64 / 18_233.0),
        stages: Vec::new(),
    };
    let measurement = Measurement {
        total: phase("all", 0, series.len(), &series, made),
        phases,
        backlog: Backlog { peak_messages: series.backlog[peak], peak_at_s: series.t_s[peak] + INTERVAL_S },
        dry,
        objectives: vec![ObjectiveMet {
            share,
            first_violation_s: under.first().map(|n| series.t_s[*n]),
            above_s: under.len() as f64 * INTERVAL_S,
        }],
        throughput: Throughput {
            offered_messages: messages,
            acknowledged_messages: messages,
            plateau_achieved_per_s: PLATEAU_PER_S.min(made.capacity),
            sustained_per_s: (!under.is_empty()).then_some(sustained),
        },
        series,
        costs,
        plateau_use: None,
        ceilings: Vec::new(),
        attestation: vec![
            attested("appends by its mechanism", "1,234,567 batches"),
            attested("content came back", "every message once, in order"),
        ],
        generator: GeneratorLoad { busy_share_peak: 0.62, busy_share_plateau: None, harness_bound: false, taken: None },
        content: Content { tail_consumers: 1, verified_messages: messages, ..Content::default() },
        validity: vec![
            verdict("lateness", true, "p99.9 214 µs, bound 1 ms"),
            verdict("content", true, "every message once, in order, checksummed"),
            verdict("offered", true, "arrivals fit their law"),
        ],
        notes: Vec::new(),
    };
    EngineResult {
        name: made.name.to_owned(),
        status: Status::Ok,
        send: made.send.to_owned(),
        order,
        measurement: Some(measurement),
    }
}

/// Gives each window the largest of its values, standing in for the merged histogram.
fn merge(values: &mut [Option<u64>], samples: &[u64], quantile: f64) {
    let mut merged = vec![None; values.len()];
    for window in percentile_windows(samples, 1, quantile) {
        let largest = values[window.clone()].iter().max().copied().flatten();
        merged[window].fill(largest);
    }
    values.copy_from_slice(&merged);
}

fn attested(claim: &str, evidence: &str) -> Attestation {
    Attestation { claim: claim.to_owned(), evidence: evidence.to_owned(), holds: true }
}

/// A phase's percentiles, as if each interval were one sample of its p50: good enough to look at.
fn phase(name: &str, from: usize, to: usize, series: &Series, made: &Made) -> PhaseResult {
    let mut p50s: Vec<u64> = (from..to).filter_map(|n| series.p50_ns[n]).collect();
    p50s.sort_unstable();
    let count: u64 = series.samples[from..to].iter().sum();
    let at = |q: f64| {
        let place = ((p50s.len() - 1) as f64 * q) as usize;
        (p50s[place] as f64 + made.service_ns * (0.3 * -(1.0 - q).max(1e-6).ln())) as u64
    };
    let set = |scale: f64| {
        LatencySet::from_histogram(count, 1, |q| (at(q) as f64 * scale) as u64, (at(1.0) as f64 * scale * 1.2) as u64)
    };
    let seconds = (to - from) as f64 * INTERVAL_S;
    PhaseResult {
        phase: name.to_owned(),
        offered_messages: count,
        acknowledged_messages: count,
        offered_per_s: count as f64 / seconds,
        achieved_per_s: series.achieved_per_s[from..to].iter().sum::<f64>() * INTERVAL_S / seconds,
        response: set(1.0),
        queued: set(0.4),
        lateness: set(0.01),
        service: set(0.5),
        end_to_end: Some(set(1.15)),
    }
}
