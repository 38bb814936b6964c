//! The gates of an engine's row: what must hold for its figures to be believed. A flood that overtops the wall fails none of them.

use super::{measure::HARNESS_BOUND, play::RECEIVE};
use crate::load::{generator::End, recorder::Recorder, stream::Findings};
use crate::profile::{ArrivalLaw, Resolved};
use crate::summary::{
    Attestation, CoreTaken, GeneratorLoad, PhaseResult, Series, UNDER_QUEUE_MS, Verdict, under_threshold,
};

/// Lateness that a believable run keeps for 99.9 % of its messages, nanoseconds.
const LATENESS_NS_MAX: u64 = 1_000_000;
/// Share of what was due below the wall that must be achieved.
const ACHIEVED_SHARE_MIN: f64 = 0.995;
/// Standard deviations by which a count of arrivals may miss the curve's integral.
const ARRIVALS_SIGMA_MAX: f64 = 6.0;

const NS_PER_S: f64 = 1e9;

fn verdict(gate: &str, passed: bool, detail: String) -> Verdict {
    Verdict { gate: gate.to_owned(), passed, detail }
}

/// The generator kept its schedule. Where it did not, what the machine took from its core stands beside its lateness.
#[must_use]
pub fn lateness(total: &PhaseResult, taken: Option<CoreTaken>) -> Verdict {
    let late = total.lateness.p999_ns.or(total.lateness.max_ns);
    let passed = late.is_none_or(|late| late <= LATENESS_NS_MAX);
    let machine = match taken {
        Some(CoreTaken { share, longest_ns, lateness_p999_ns }) if !passed => format!(
            "; the machine alone makes {:.3} ms: it took the core for {:.2} % of the time, {:.1} ms at the longest",
            lateness_p999_ns as f64 / 1e6,
            share * 100.0,
            longest_ns as f64 / 1e6
        ),
        _ => String::new(),
    };
    let detail = match (total.lateness.p999_ns, late) {
        (Some(late), _) => format!("p99.9 {:.3} ms, at most 1 ms{machine}", late as f64 / 1e6),
        (None, Some(late)) => {
            let count = total.lateness.count;
            format!("largest {:.3} ms of {count} messages, at most 1 ms{machine}", late as f64 / 1e6)
        }
        (None, None) => "no message was acknowledged".to_owned(),
    };
    verdict("lateness", passed, detail)
}

/// The generator had time to spare: else the row shows the harness.
#[must_use]
pub fn generator(load: &GeneratorLoad) -> Verdict {
    let detail = format!(
        "{:.0} % of its core in the busiest second of the plateau, at most {:.0} %",
        load.busy_share_peak * 100.0,
        HARNESS_BOUND * 100.0
    );
    verdict("generator", !load.harness_bound, detail)
}

/// The engine that was asked for is the one that ran.
#[must_use]
pub fn attestation(proofs: &[Attestation]) -> Verdict {
    let missing: Vec<String> = proofs
        .iter()
        .filter(|proof| !proof.holds)
        .map(|proof| format!("{}: not so: {}", proof.claim, proof.evidence))
        .collect();
    let detail = match missing.as_slice() {
        [] => format!("{} claims, each with its evidence", proofs.len()),
        missing => missing.join("; "),
    };
    verdict("attestation", missing.is_empty(), detail)
}

/// What was offered below the wall was achieved. Judged are stretches in which no more than the wall was offered and that began without a
/// backlog: in these an engine may stall and catch up, but what is due at their end is acknowledged, except what arrived in the last
/// 100 ms.
#[must_use]
pub fn achieved(wall: Option<f64>, recorder: &Recorder, series: &Series) -> Verdict {
    let scheduled = series.len().min(recorder.axis().intervals());
    let offered: Vec<u64> = (0..scheduled).map(|i| recorder.offered_in(i)).collect();
    let achieved: Vec<u64> = (0..scheduled).map(|i| recorder.achieved.get(i).copied().unwrap_or(0)).collect();
    achieved_below(wall, &offered, &achieved, series)
}

/// Messages offered and achieved by interval of the schedule.
fn achieved_below(wall: Option<f64>, offered: &[u64], achieved: &[u64], series: &Series) -> Verdict {
    let gate = "achieved";
    let Some(wall) = wall else {
        return verdict(gate, true, "not judged: this engine's wall is not known".to_owned());
    };
    let threshold = under_threshold(&series.offered_per_s);
    let scheduled = offered.len();
    let offered_per_s = &series.offered_per_s[..scheduled];
    // An interval before one above the wall may have a part above it.
    let below = |i: usize| offered_per_s[i] < wall && offered_per_s.get(i + 1).is_none_or(|next| *next < wall);
    let backlog_before = |i: usize| if i == 0 { 0 } else { series.backlog[i - 1] };
    let (mut due, mut done, mut on_its_way, mut intervals) = (0, 0, 0.0, 0);
    let mut from = 0;
    while from < scheduled {
        if !below(from) || backlog_before(from) as f64 > threshold {
            from += 1;
            continue;
        }
        let to = (from..scheduled).find(|i| !below(*i)).unwrap_or(scheduled);
        due += backlog_before(from) + offered[from..to].iter().sum::<u64>();
        done += achieved[from..to].iter().sum::<u64>();
        on_its_way += (series.backlog[to - 1] as f64).min(offered_per_s[to - 1] * UNDER_QUEUE_MS / 1e3);
        intervals += to - from;
        from = to;
    }
    if due == 0 {
        return verdict(gate, true, "nothing was offered below the wall without a backlog".to_owned());
    }
    let share = (done as f64 + on_its_way) / due as f64;
    let detail = format!(
        "{:.2} % of what was due in {intervals} intervals below the wall that began without a backlog, at least 99.5 %",
        share * 100.0
    );
    verdict(gate, share >= ACHIEVED_SHARE_MIN, detail)
}

/// The count of arrivals fits the curve.
#[must_use]
pub fn arrivals(resolved: &Resolved, phases: &[PhaseResult], end: &End) -> Verdict {
    let gate = "arrivals";
    if let End::Stopped(_) = end {
        return verdict(gate, true, "not judged: the schedule was not played to its end".to_owned());
    }
    let batch = f64::from(resolved.messages.batch);
    let expected = resolved.messages_expected();
    let drawn: u64 = phases.iter().map(|phase| phase.offered_messages).sum();
    let miss = (drawn as f64 - expected).abs();
    // Of a Poisson process of batches.
    let variance = expected * batch;
    let (bound, law) = match resolved.arrivals {
        ArrivalLaw::Deterministic => (2.0 * batch, "two batches"),
        ArrivalLaw::Poisson | ArrivalLaw::BModel { .. } => {
            (ARRIVALS_SIGMA_MAX * variance.sqrt() + batch, "6 standard deviations of a Poisson process")
        }
        ArrivalLaw::Mmpp { burst, share, length_s } => {
            let spread = mmpp_variance(resolved, burst, share, length_s);
            (ARRIVALS_SIGMA_MAX * (variance + spread).sqrt() + batch, "6 standard deviations of its bursts")
        }
    };
    let detail = format!("{drawn} messages where the curve has {expected:.0}, at most {bound:.0} off ({law})");
    verdict(gate, miss <= bound, detail)
}

/// What the two states of a modulated process add to the variance of a count. The state is an indicator with variance `p (1 - p)` whose
/// covariance decays as `exp(-t / tau)`, 1/tau being the sum of the rates of leaving either state, so tau = `L (1 - p)`; the rate jumps by
/// `r (b - l)`. The integral of the rate then has a variance of at most `(b - l)^2 p (1 - p) 2 tau` times the integral of `r^2`.
fn mmpp_variance(resolved: &Resolved, burst: f64, share: f64, length_s: f64) -> f64 {
    let lull = ((1.0 - share * burst) / (1.0 - share)).max(0.0);
    let correlated_s = 2.0 * length_s * (1.0 - share);
    let interval_s = resolved.interval_ns() as f64 / NS_PER_S;
    let squares: f64 = resolved.offered_series().iter().map(|rate| rate * rate * interval_s).sum();
    (burst - lull).powi(2) * share * (1.0 - share) * correlated_s * squares
}

/// What consumers were to receive, and what they did.
pub struct Received<'a> {
    /// How the schedule ended.
    pub end: &'a End,
    /// All consumers.
    pub consumers: u32,
    /// What they found together.
    pub findings: &'a Findings,
    /// What was wrong, in words.
    pub problems: &'a [String],
    /// Messages that retention gave up, each once for each consumer that may have missed it.
    pub given_up: u64,
    /// Messages that were acknowledged and that not every tail consumer had received, where the drain was given up.
    pub unreceived: u64,
    /// Messages that were not acknowledged.
    pub left: u64,
}

/// Each message came once, in order, whole.
#[must_use]
pub fn content(received: &Received<'_>) -> Verdict {
    let Received { end, consumers, findings, problems, given_up, unreceived, left } = *received;
    let gate = "content";
    // A run that is stopped cuts its consumers' connections: that alone is no problem.
    let stopped = matches!(end, End::Stopped(_));
    if let Some(problem) = problems.first().filter(|_| !findings.is_clean() || !stopped) {
        return verdict(gate, false, problem.clone());
    }
    if findings.skipped > given_up {
        let detail = format!(
            "{} messages are missing together with their offsets, and retention gave up {given_up}",
            findings.skipped
        );
        return verdict(gate, false, detail);
    }
    let whose = if consumers == 1 { String::new() } else { format!(" by {consumers} consumers") };
    let count = findings.verified + findings.older;
    let whole = format!("{count} messages received{whose}: none lost, doubled, reordered or damaged");
    match end {
        _ if consumers == 0 => verdict(gate, true, "nothing to read back: this engine keeps nothing".to_owned()),
        End::NotReceived => {
            let seconds = RECEIVE.as_secs();
            let detail = format!("consumers had not received everything {seconds} s after the last acknowledgement");
            verdict(gate, false, detail)
        }
        End::NotDry if unreceived > 0 => {
            let seconds = RECEIVE.as_secs();
            let detail = format!(
                "{unreceived} acknowledged messages had not been received {seconds} s after the drain was given up"
            );
            verdict(gate, false, detail)
        }
        End::NotDry => {
            verdict(gate, true, format!("{whole} of those acknowledged; {left} were not when the drain was given up"))
        }
        End::Complete | End::Stopped(_) => verdict(gate, true, whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::measure::{
        phases, series,
        tests::{played, resolved},
        total,
    };
    use crate::summary::LatencySet;

    const MS: u64 = 1_000_000;

    #[test]
    fn lateness_is_judged_by_p999_or_by_the_largest_of_few() {
        let with = |p999_ns, max_ns| PhaseResult {
            lateness: LatencySet { count: 10, p999_ns, max_ns, ..LatencySet::default() },
            ..total(&resolved(), &played(End::Complete, |_| None).recorder, &[])
        };
        assert!(lateness(&with(Some(999_999), Some(80 * MS)), None).passed);
        assert!(!lateness(&with(Some(1_000_001), Some(80 * MS)), None).passed);
        assert!(!lateness(&with(None, Some(2 * MS)), None).passed);
        assert!(lateness(&with(None, None), None).passed);
        let taken = Some(CoreTaken { share: 0.011, longest_ns: 84 * MS, lateness_p999_ns: 2_600_000 });
        let verdict = |late| lateness(&with(Some(late), None), taken).detail;
        assert_eq!(
            verdict(3_820_000),
            "p99.9 3.820 ms, at most 1 ms; the machine alone makes 2.600 ms: it took the core for 1.10 % of the time, 84.0 ms at \
             the longest"
        );
        assert_eq!(verdict(820_000), "p99.9 0.820 ms, at most 1 ms");
    }

    #[test]
    fn arrivals_that_miss_the_curve_are_told() {
        let resolved = resolved();
        let phases = |messages| {
            let mut phases = phases(&resolved, &played(End::Complete, |_| None).recorder, 0);
            phases[0].offered_messages = 0;
            phases[1].offered_messages = messages;
            phases
        };
        assert!(arrivals(&resolved, &phases(20_100), &End::Complete).passed);
        let missing = arrivals(&resolved, &phases(18_000), &End::Complete);
        assert!(!missing.passed && missing.detail.contains("18000 messages where the curve has 20000"), "{missing:?}");
        assert!(arrivals(&resolved, &phases(18_000), &End::Stopped(5)).passed);
    }

    #[test]
    fn arrivals_in_bursts_may_miss_by_what_their_bursts_make_of_it() {
        let bursts = ArrivalLaw::Mmpp { burst: 4.0, share: 0.2, length_s: 0.001 };
        let resolved = Resolved { arrivals: bursts, ..resolved() };
        // Lulls have a quarter of the rate: a variance of (3.75 x 20,000)^2 x 0.16 x 1.6 ms x 1 s, and 20,000 of the process itself.
        let variance = mmpp_variance(&resolved, 4.0, 0.2, 0.001);
        assert!((variance - 1.44e6).abs() < 1.0, "{variance}");
        let judged = |messages| {
            let mut phases = phases(&resolved, &played(End::Complete, |_| None).recorder, 0);
            (phases[0].offered_messages, phases[1].offered_messages) = (0, messages);
            arrivals(&resolved, &phases, &End::Complete)
        };
        assert!(judged(14_000).passed && judged(26_000).passed, "{:?}", judged(14_000));
        assert!(!judged(12_000).passed && !judged(28_000).passed, "{:?}", judged(12_000));
    }

    /// One message a millisecond, of which each takes so many milliseconds; a wall of 5,000 a second.
    fn achieved_with(delay_ms: impl Fn(u64) -> u64) -> Verdict {
        let played = played(End::Complete, |number| Some(delay_ms(number)));
        achieved(Some(5_000.0), &played.recorder, &series(&played.recorder, &played.end, 1))
    }

    #[test]
    fn an_engine_that_takes_half_of_what_lies_below_its_wall_is_told() {
        let half = achieved_with(|number| number + 1);
        assert!(!half.passed && half.detail.starts_with("60.00 % of what was due in 10 intervals"), "{half:?}");
        assert!(!achieved_with(|number| if number < 700 { 1 } else { number - 600 }).passed);
    }

    #[test]
    fn an_engine_that_stalls_and_catches_up_has_achieved_what_was_due() {
        let stalled = achieved_with(|number| if (300..650).contains(&number) { 650 - number } else { 1 });
        assert!(stalled.passed && stalled.detail.starts_with("100.00 %"), "{stalled:?}");
        let slow = achieved_with(|_| 60);
        assert!(slow.passed && slow.detail.starts_with("100.00 %"), "on its way at the end: {slow:?}");
    }

    #[test]
    fn above_the_wall_or_without_one_nothing_is_judged() {
        let played = played(End::Complete, |number| Some(number + 1));
        let series = series(&played.recorder, &played.end, 1);
        let above = achieved(Some(900.0), &played.recorder, &series);
        assert!(above.passed && above.detail.starts_with("nothing was offered below the wall"), "{above:?}");
        let unknown = achieved(None, &played.recorder, &series);
        assert!(unknown.passed && unknown.detail.starts_with("not judged"), "{unknown:?}");
    }

    /// Floods with stalls, backlogs and ebbs close to the wall: none of them fails by these.
    #[test]
    fn the_nights_that_are_kept_have_achieved_what_was_due() {
        let results = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../results");
        let folders = std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path());
        let mut judged = 0;
        for night in folders.filter_map(|folder| crate::summary::load_summary(&folder).ok()) {
            for engine in &night.engines {
                let wall = night.wall(&engine.name, &night.run.durability).map(|wall| wall.messages_per_s);
                let Some(measured) = &engine.measurement else { continue };
                let series = &measured.series;
                let scheduled = series.len().min(night.offered_per_s.len());
                let counts = |rates: &[f64]| -> Vec<u64> {
                    rates[..scheduled].iter().map(|rate| (rate * night.clock.interval_s).round() as u64).collect()
                };
                let verdict =
                    achieved_below(wall, &counts(&series.offered_per_s), &counts(&series.achieved_per_s), series);
                assert!(verdict.passed, "{} {}: {verdict:?}", night.run.id, engine.name);
                judged += usize::from(wall.is_some());
            }
        }
        assert!(judged >= 9, "three nights of three engines: {judged}");
    }

    #[test]
    fn a_busy_generator_and_an_engine_that_is_not_the_one_asked_for_fail() {
        let load = |busy_share_peak: f64| GeneratorLoad {
            busy_share_peak,
            busy_share_plateau: None,
            harness_bound: busy_share_peak > HARNESS_BOUND,
            taken: None,
        };
        assert!(generator(&load(0.9)).passed);
        let busy = generator(&load(0.967));
        assert!(!busy.passed && busy.detail.starts_with("97 % of its core"), "{busy:?}");
        let proof = |claim: &str, holds| Attestation { claim: claim.to_owned(), evidence: "0 files".to_owned(), holds };
        assert!(attestation(&[proof("io_uring operations issued", true)]).passed);
        let failed = attestation(&[proof("io_uring operations issued", true), proof("O_DIRECT honoured", false)]);
        assert_eq!((failed.passed, failed.detail.as_str()), (false, "O_DIRECT honoured: not so: 0 files"));
    }

    #[test]
    fn messages_that_are_missing_with_their_offsets_are_lost_unless_retention_gave_them_up() {
        let findings = Findings { verified: 100, skipped: 5, ..Findings::default() };
        let judged = |end: &End, given_up, unreceived| {
            content(&Received { end, consumers: 2, findings: &findings, problems: &[], given_up, unreceived, left: 7 })
        };
        assert!(judged(&End::Complete, 5, 0).passed);
        let lost = judged(&End::Complete, 4, 0);
        assert!(
            !lost.passed && lost.detail.starts_with("5 messages are missing together with their offsets"),
            "{lost:?}"
        );
        let given_up = judged(&End::NotDry, 5, 0);
        assert!(given_up.passed && given_up.detail.contains("7 were not when the drain was given up"), "{given_up:?}");
        let unreceived = judged(&End::NotDry, 5, 3);
        assert!(!unreceived.passed && unreceived.detail.starts_with("3 acknowledged messages"), "{unreceived:?}");
    }
}
