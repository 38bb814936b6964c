//! No line of the table is wider than 100 columns, whatever the summary holds.

mod common;

use common::night;
use harness::{
    summary::{Dry, LatencySet, Measurement, Plateau, PlateauOf, RunState, Status, Summary, Verdict},
    table,
};
use proptest::prelude::*;

fn latencies() -> impl Strategy<Value = LatencySet> {
    let percentile = || proptest::option::of(prop_oneof![0u64..1_000_000_000, any::<u64>()]);
    (any::<u64>(), [percentile(), percentile(), percentile(), percentile(), percentile(), percentile()]).prop_map(
        |(count, [p50_ns, p90_ns, p99_ns, p999_ns, p9999_ns, max_ns])| LatencySet {
            count,
            p50_ns,
            p90_ns,
            p99_ns,
            p999_ns,
            p9999_ns,
            max_ns,
        },
    )
}

/// Seconds on the clock, short and long.
fn moment() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..100.0, 0.0..1e7]
}

fn dry() -> impl Strategy<Value = Dry> {
    prop_oneof![
        Just(Dry::Always),
        (moment(), moment()).prop_map(|(under_at_s, for_s)| Dry::Again { under_at_s, at_s: under_at_s + for_s }),
        (moment(), any::<u64>()).prop_map(|(under_at_s, left_messages)| Dry::Not { under_at_s, left_messages }),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    let why = || "\\PC{0,300}";
    prop_oneof![
        Just(Status::Ok),
        why().prop_map(|why| Status::Failed { why }),
        why().prop_map(|why| Status::Unavailable { why }),
        why().prop_map(|why| Status::Partial { why }),
    ]
}

/// A night in which everything that reaches the table is arbitrary.
fn summaries() -> impl Strategy<Value = Summary> {
    let engine = || {
        (
            "[ -~é×]{0,30}",
            status(),
            "[ -~]{0,20}",
            any::<bool>(),
            (latencies(), dry(), any::<u64>(), proptest::option::of(0.0..1e12), any::<bool>(), 0.0..2.0),
        )
    };
    let run = ("[ -~]{0,60}", "[a-z:0-9]{0,40}", 0.001..1e6, any::<bool>(), any::<u64>(), 0.0..1e15);
    let words = proptest::collection::vec("[!-~]{1,80}", 1..30).prop_map(|words| words.join(" "));
    (run, [engine(), engine(), engine()], words, "[ -~\n]{0,400}").prop_map(
        |(run, engines, command, prose): (_, _, _, String)| {
            let mut summary = night();
            let (profile, durability, speed, plateau, number, rate) = run;
            for (result, (name, status, send, is_measured, figures)) in summary.engines.iter_mut().zip(engines) {
                for wall in summary.walls.iter_mut().filter(|wall| wall.engine == result.name) {
                    wall.engine = name.clone();
                    wall.durability =
                        if wall.durability == "none" { wall.durability.clone() } else { durability.clone() };
                    wall.messages_per_s = rate;
                    wall.harness_bound = figures.4;
                }
                if let Some(measured) = result.measurement.as_mut() {
                    fill(measured, &figures, &prose);
                }
                (result.name, result.status, result.send) = (name, status, send);
                result.measurement = result.measurement.take().filter(|_| is_measured);
            }
            summary.run.plateau = plateau.then(|| Plateau {
                messages_per_s: rate,
                of: Some(PlateauOf {
                    multiple: speed,
                    engine: profile.clone(),
                    durability: durability.clone(),
                    capped: number % 2 == 0,
                    remembered: number % 3 == 0,
                }),
            });
            summary.run.state = if number % 5 == 0 { RunState::Interrupted } else { RunState::Completed };
            summary.machine.device = prose.chars().take(120).collect();
            summary.clock.mark = profile.chars().take(12).collect();
            (summary.run.profile, summary.run.durability, summary.run.speed) = (profile, durability, speed);
            (summary.run.seed, summary.run.command) = (number, command);
            summary.notes.push(prose.clone());
            summary.validity.push(Verdict { gate: prose.clone(), passed: number % 2 == 0, detail: prose });
            summary
        },
    )
}

type Figures = (LatencySet, Dry, u64, Option<f64>, bool, f64);

fn fill(measured: &mut Measurement, (latency, dry, count, cost, harness_bound, share): &Figures, prose: &str) {
    for phase in measured.phases.iter_mut().chain([&mut measured.total]) {
        (phase.response, phase.end_to_end) = (*latency, Some(*latency));
    }
    (measured.dry, measured.backlog.peak_messages) = (*dry, *count);
    (measured.costs.cpu_shard_s_per_gb, measured.costs.system_calls_per_1000) = (*cost, *cost);
    (measured.costs.device_bytes, measured.throughput.sustained_per_s) = (Some(*count), cost.map(|cost| cost + 1.0));
    (measured.generator.harness_bound, measured.generator.busy_share_peak) = (*harness_bound, *share);
    measured.objectives[0].share = *share;
    measured.notes.push(prose.to_owned());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_line_is_wider_than_the_limit(summary in summaries()) {
        let text = table::render(&summary, None);
        for line in text.lines() {
            prop_assert!(line.chars().count() <= table::WIDTH_MAX, "{} characters: {line}", line.chars().count());
        }
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
