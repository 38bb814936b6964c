//! Turns what was written down into the figures of a summary.

use super::job::Job;
use crate::load::{
    generator::{End, Played},
    recorder::Recorder,
};
use crate::profile::{Resolved, Role};
use crate::summary::{
    Backlog, CoreTaken, Dry, GeneratorLoad, LatencySet, ObjectiveMet, PhaseResult, Series, Throughput, Verdict,
    dry_from, percentile_windows, under_threshold,
};
use hdrhistogram::Histogram;

/// A row whose generator was busier than this at the peak shows the harness.
pub const HARNESS_BOUND: f64 = 0.9;
/// Lateness that a believable run keeps for 99.9 % of its messages, nanoseconds.
const LATENESS_NS_MAX: u64 = 1_000_000;
/// Share of what was offered that must be achieved while no backlog stands.
const ACHIEVED_SHARE_MIN: f64 = 0.995;
/// Standard deviations by which a count of arrivals may miss the curve's integral.
const ARRIVALS_SIGMA_MAX: f64 = 6.0;

const NS_PER_S: f64 = 1e9;

/// A histogram's percentiles, as far as its samples carry them.
#[must_use]
pub fn latencies(histogram: &Histogram<u64>) -> LatencySet {
    LatencySet::from_histogram(histogram.len(), |quantile| histogram.value_at_quantile(quantile), histogram.max())
}

/// The figures of each phase, in order.
#[must_use]
pub fn phases(resolved: &Resolved, recorder: &Recorder, tails: u32) -> Vec<PhaseResult> {
    let one = |(phase, named): (usize, &crate::profile::ResolvedPhase)| {
        let length_s = (named.end_ns - named.start_ns) as f64 / NS_PER_S;
        let offered = recorder.phase_sum(&recorder.sent, phase) + recorder.phase_sum(&recorder.abandoned, phase);
        let parts = &recorder.phases[phase];
        PhaseResult {
            phase: named.name.clone(),
            offered_messages: offered,
            acknowledged_messages: recorder.phase_sum(&recorder.acknowledged, phase),
            offered_per_s: offered as f64 / length_s,
            achieved_per_s: recorder.achieved_in_phase[phase] as f64 / length_s,
            response: latencies(&recorder.phase_merged(&recorder.response, phase)),
            queued: latencies(&parts.queued),
            lateness: latencies(&parts.lateness),
            service: latencies(&parts.service),
            end_to_end: (tails > 0).then(|| latencies(&recorder.phase_merged(&recorder.end_to_end, phase))),
        }
    };
    resolved.phases.iter().enumerate().map(one).collect()
}

/// The same over the whole run.
#[must_use]
pub fn total(resolved: &Resolved, recorder: &Recorder, phases: &[PhaseResult]) -> PhaseResult {
    let length_s = resolved.duration_ns as f64 / NS_PER_S;
    let merged = |of: &dyn Fn(usize) -> Histogram<u64>| {
        let mut sum = crate::load::recorder::histogram();
        for phase in 0..resolved.phases.len() {
            sum.add(of(phase)).expect("all histograms have the same bounds");
        }
        latencies(&sum)
    };
    let offered: u64 = phases.iter().map(|phase| phase.offered_messages).sum();
    let achieved: u64 = recorder.achieved_in_phase.iter().sum();
    PhaseResult {
        phase: "all".to_owned(),
        offered_messages: offered,
        acknowledged_messages: phases.iter().map(|phase| phase.acknowledged_messages).sum(),
        offered_per_s: offered as f64 / length_s,
        achieved_per_s: achieved as f64 / length_s,
        response: merged(&|phase| recorder.phase_merged(&recorder.response, phase)),
        queued: merged(&|phase| recorder.phases[phase].queued.clone()),
        lateness: merged(&|phase| recorder.phases[phase].lateness.clone()),
        service: merged(&|phase| recorder.phases[phase].service.clone()),
        end_to_end: phases
            .iter()
            .any(|phase| phase.end_to_end.is_some())
            .then(|| merged(&|phase| recorder.phase_merged(&recorder.end_to_end, phase))),
    }
}

/// The run by interval, as far as it went.
#[must_use]
pub fn series(recorder: &Recorder, end: &End) -> Series {
    let axis = recorder.axis();
    let interval_ns = axis.interval_ns();
    let stopped = if let End::Stopped(at_ns) = end { Some((at_ns / interval_ns) as usize) } else { None };
    let intervals = stopped.unwrap_or(axis.intervals().max(recorder.achieved.len()));
    let mut series = Series::default();
    let (mut offered_sum, mut achieved_sum) = (0, 0);
    for interval in 0..intervals {
        let within = interval < axis.intervals();
        let start_ns = interval as u64 * interval_ns;
        let length_s = interval_ns as f64 / NS_PER_S;
        // The schedule's last interval may be cut short.
        let offered_s = axis.duration_ns().saturating_sub(start_ns).clamp(1, interval_ns) as f64 / NS_PER_S;
        let offered = if within { recorder.offered_in(interval) } else { 0 };
        let achieved = recorder.achieved.get(interval).copied().unwrap_or(0);
        offered_sum += offered;
        achieved_sum += achieved;
        let samples = if within { recorder.interval_merged(&recorder.response, interval).len() } else { 0 };
        series.t_s.push(start_ns as f64 / NS_PER_S);
        series.offered_per_s.push(offered as f64 / offered_s);
        series.achieved_per_s.push(achieved as f64 / length_s);
        series.backlog.push(offered_sum - achieved_sum.min(offered_sum));
        series.samples.push(samples);
    }
    series.p50_ns = windowed(recorder, &series.samples, 0.5);
    series.p99_ns = windowed(recorder, &series.samples, 0.99);
    series.p999_ns = windowed(recorder, &series.samples, 0.999);
    series
}

/// A percentile of the response by interval; intervals too thin for it are merged with their neighbours and share its value.
fn windowed(recorder: &Recorder, samples: &[u64], quantile: f64) -> Vec<Option<u64>> {
    let mut values = vec![None; samples.len()];
    for window in percentile_windows(samples, quantile) {
        let mut merged = crate::load::recorder::histogram();
        for interval in window.clone().filter(|interval| samples[*interval] > 0) {
            merged
                .add(recorder.interval_merged(&recorder.response, interval))
                .expect("all histograms have the same bounds");
        }
        values[window].fill(Some(merged.value_at_quantile(quantile)));
    }
    values
}

/// The deepest queue.
#[must_use]
pub fn backlog(series: &Series, interval_s: f64) -> Backlog {
    let deepest = series.backlog.iter().enumerate().max_by_key(|(interval, depth)| (**depth, usize::MAX - interval));
    let (interval, depth) = deepest.map_or((0, 0), |(interval, depth)| (interval, *depth));
    Backlog { peak_messages: depth, peak_at_s: (interval + 1) as f64 * interval_s }
}

/// Whether and when the queue was gone.
#[must_use]
pub fn dry(series: &Series, interval_s: f64, played: &Played) -> Dry {
    let left = match played.end {
        End::NotDry | End::Stopped(_) => series.backlog.last().copied().unwrap_or(0),
        End::Complete | End::NotReceived => 0,
    };
    dry_from(series, interval_s, left)
}

/// Throughput over the whole run.
#[must_use]
pub fn throughput(resolved: &Resolved, phases: &[PhaseResult], series: &Series) -> Throughput {
    let plateau = resolved.phase_with(Role::Plateau).map_or(0, |(phase, _)| usize::from(phase));
    let threshold = under_threshold(&series.offered_per_s);
    let under = |interval: usize| series.backlog[interval] as f64 > threshold;
    // Whole intervals under: a queue stood at both of their ends.
    let whole: Vec<f64> =
        (1..series.len()).filter(|i| under(i - 1) && under(*i)).map(|i| series.achieved_per_s[i]).collect();
    Throughput {
        offered_messages: phases.iter().map(|phase| phase.offered_messages).sum(),
        acknowledged_messages: phases.iter().map(|phase| phase.acknowledged_messages).sum(),
        plateau_achieved_per_s: phases[plateau].achieved_per_s,
        sustained_per_s: (!whole.is_empty()).then(|| whole.iter().sum::<f64>() / whole.len() as f64),
    }
}

/// How well each objective (a bound in nanoseconds and a share) was met.
#[must_use]
pub fn objectives(wanted: &[(u64, f64)], recorder: &Recorder, series: &Series, interval_s: f64) -> Vec<ObjectiveMet> {
    let within: Vec<Histogram<u64>> = (0..series.len().min(recorder.axis().intervals()))
        .map(|interval| recorder.interval_merged(&recorder.response, interval))
        .collect();
    let offered: Vec<u64> = (0..within.len()).map(|interval| recorder.offered_in(interval)).collect();
    let one = |(within_ns, share): &(u64, f64)| {
        let in_time: Vec<u64> = within.iter().map(|response| response.count_between(0, *within_ns)).collect();
        let missed: Vec<usize> =
            (0..in_time.len()).filter(|i| (in_time[*i] as f64) < share * offered[*i] as f64).collect();
        let all: u64 = offered.iter().sum();
        ObjectiveMet {
            share: if all > 0 { in_time.iter().sum::<u64>() as f64 / all as f64 } else { 1.0 },
            first_violation_s: missed.first().map(|interval| *interval as f64 * interval_s),
            above_s: missed.len() as f64 * interval_s,
        }
    };
    wanted.iter().map(one).collect()
}

/// How busy the generator was in the busiest second of the plateau.
#[must_use]
pub fn generator(resolved: &Resolved, played: &Played) -> GeneratorLoad {
    let interval_ns = resolved.interval_ns();
    let (start, end) = resolved.phase_with(Role::Plateau).map_or((0, u64::MAX), |(_, p)| (p.start_ns, p.end_ns));
    let second = (1_000_000_000 / interval_ns).max(1) as usize;
    let first = (start / interval_ns) as usize;
    let last = (end.div_ceil(interval_ns) as usize).min(played.busy_ns.len());
    let plateau = played.busy_ns.get(first..last).unwrap_or(&[]);
    let window = second.min(plateau.len()).max(1);
    let busiest = plateau.windows(window).map(|window| window.iter().sum::<u64>()).max().unwrap_or(0);
    let busy_share_peak = (busiest as f64 / (window as u64 * interval_ns) as f64).min(1.0);
    let taken = CoreTaken {
        share: played.taken.share(),
        longest_ns: played.taken.longest_ns(),
        lateness_p999_ns: played.taken.lateness_ns(0.001),
    };
    GeneratorLoad { busy_share_peak, harness_bound: busy_share_peak > HARNESS_BOUND, taken: Some(taken) }
}

/// The generator kept its schedule. Where it did not, what the machine took from its core stands beside its lateness.
#[must_use]
pub fn lateness_verdict(total: &PhaseResult, taken: Option<CoreTaken>) -> Verdict {
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
    Verdict {
        gate: "lateness".to_owned(),
        passed,
        detail: match (total.lateness.p999_ns, late) {
            (Some(late), _) => format!("p99.9 {:.3} ms, at most 1 ms{machine}", late as f64 / 1e6),
            (None, Some(late)) => {
                let count = total.lateness.count;
                format!("largest {:.3} ms of {count} messages, at most 1 ms{machine}", late as f64 / 1e6)
            }
            (None, None) => "no message was acknowledged".to_owned(),
        },
    }
}

/// What was offered below the wall, while no backlog stood, was achieved.
#[must_use]
pub fn achieved_verdict(job: &Job, recorder: &Recorder, series: &Series) -> Verdict {
    let gate = "achieved".to_owned();
    let threshold = under_threshold(&series.offered_per_s);
    let wall = job.wall.unwrap_or(f64::INFINITY);
    let calm = |i: &usize| {
        let before = if *i == 0 { 0 } else { series.backlog[i - 1] };
        series.offered_per_s[*i] < wall && before as f64 <= threshold && series.backlog[*i] as f64 <= threshold
    };
    let scheduled = series.len().min(recorder.axis().intervals());
    let counted: Vec<usize> = (0..scheduled).filter(calm).collect();
    let offered: u64 = counted.iter().map(|i| recorder.offered_in(*i)).sum();
    let achieved: u64 = counted.iter().map(|i| recorder.achieved.get(*i).copied().unwrap_or(0)).sum();
    if offered == 0 {
        let detail = "nothing was offered below the wall without a backlog".to_owned();
        return Verdict { gate, passed: true, detail };
    }
    let share = achieved as f64 / offered as f64;
    // In a run of a second or two, what is on its way at the end of the schedule is a share of its own.
    let on_its_way = counted.last().map_or(0, |last| series.backlog[*last]);
    Verdict {
        gate,
        passed: (achieved + on_its_way) as f64 >= ACHIEVED_SHARE_MIN * offered as f64,
        detail: format!(
            "{:.2} % of what was offered in {} intervals without a backlog, at least 99.5 %",
            share * 100.0,
            counted.len()
        ),
    }
}

/// The count of arrivals fits the curve.
#[must_use]
pub fn arrivals_verdict(resolved: &Resolved, phases: &[PhaseResult], end: &End) -> Verdict {
    let gate = "arrivals".to_owned();
    if let End::Stopped(_) = end {
        return Verdict { gate, passed: true, detail: "not judged: the schedule was not played to its end".to_owned() };
    }
    let batch = f64::from(resolved.messages.batch);
    let expected = resolved.messages_expected();
    let drawn: u64 = phases.iter().map(|phase| phase.offered_messages).sum();
    let miss = (drawn as f64 - expected).abs();
    let (bound, law) = match resolved.arrivals {
        crate::profile::ArrivalLaw::Deterministic => (2.0 * batch, "two batches"),
        crate::profile::ArrivalLaw::Poisson | crate::profile::ArrivalLaw::BModel { .. } => {
            (ARRIVALS_SIGMA_MAX * (expected * batch).sqrt() + batch, "6 standard deviations of a Poisson process")
        }
        crate::profile::ArrivalLaw::Mmpp { burst, length_s, .. } => {
            // The variance of the count of a modulated process grows by its bursts: at most `burst` times the rate for `length_s` each.
            let seconds: f64 = resolved.duration_ns as f64 / NS_PER_S;
            let spread: f64 = expected / seconds * burst * (2.0 * length_s * seconds).sqrt();
            (ARRIVALS_SIGMA_MAX * ((expected * batch).sqrt() + spread) + batch, "6 standard deviations of its bursts")
        }
    };
    Verdict {
        gate,
        passed: miss <= bound,
        detail: format!("{drawn} messages where the curve has {expected:.0}, at most {bound:.0} off ({law})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{axis::Axis, feed::Tally, recorder::Sent, taken::Taken};
    use crate::profile::{Profile, Settings};
    use crate::summary::Dry;

    const MS: u64 = 1_000_000;

    /// `steady` played 35 times faster: phases of 1/7 s and 6/7 s at 20,000 messages a second.
    fn resolved() -> Resolved {
        let settings = Settings { speed: Some(35.0), shards: 1, ..Settings::default() };
        Profile::load("steady").unwrap().resolve(&settings).unwrap()
    }

    /// One message a millisecond, each acknowledged after `delay_ms` of its number; `None`: never.
    fn played(end: End, delay_ms: impl Fn(u64) -> Option<u64>) -> Played {
        let resolved = resolved();
        let ends = resolved.phases.iter().map(|phase| phase.end_ns).collect();
        let mut recorder = Recorder::new(Axis::new(resolved.interval_ns(), ends), 0);
        for number in 0..1_000 {
            let at_ns = number * MS;
            let sent = Sent::new(at_ns, 0, at_ns, 1, 1_100);
            recorder.sent(&sent);
            if let Some(delay_ms) = delay_ms(number) {
                recorder.acknowledged(&sent, at_ns + delay_ms * MS);
            }
        }
        let taken = Taken::begin();
        Played { recorder, tally: Tally::default(), busy_ns: vec![10 * MS; 10], taken, end }
    }

    #[test]
    fn phases_add_up_to_the_whole() {
        let (resolved, played) = (resolved(), played(End::Complete, |_| Some(3)));
        let phases = phases(&resolved, &played.recorder, 1);
        let total = total(&resolved, &played.recorder, &phases);
        assert_eq!(phases.len(), 2);
        assert_eq!(phases.iter().map(|phase| phase.offered_messages).sum::<u64>(), 1_000);
        assert_eq!((total.offered_messages, total.acknowledged_messages, total.response.count), (1_000, 1_000, 1_000));
        assert!(total.response.p50_ns.is_some_and(|p50| p50.abs_diff(3 * MS) < MS / 100));
        assert_eq!(total.lateness.max_ns, Some(0));
        assert_eq!(total.response.p999_ns, None, "a thousand samples leave one beyond p99.9");
        assert_eq!(total.end_to_end.map(|set| set.count), Some(0), "tail consumers that received nothing");
    }

    #[test]
    fn a_series_goes_on_while_a_backlog_drains() {
        // From 0.5 s on, everything is acknowledged at 1.25 s.
        let played = played(End::Complete, |number| Some(if number < 500 { 1 } else { 1_250 - number }));
        let series = series(&played.recorder, &played.end);
        assert_eq!(series.len(), 13);
        assert!(series.is_aligned());
        assert_eq!(series.backlog, [1, 1, 1, 1, 1, 100, 200, 300, 400, 500, 500, 500, 0]);
        assert_eq!((series.offered_per_s[9], series.offered_per_s[10]), (1_000.0, 0.0));
        assert_eq!(series.achieved_per_s[12], 5_000.0);
        assert_eq!(series.samples.iter().sum::<u64>(), 1_000, "a sample belongs to its intended arrival");
        assert_eq!(series.samples[12], 0);
        let deepest = backlog(&series, 0.1);
        assert_eq!(deepest.peak_messages, 500);
        assert!((deepest.peak_at_s - 1.0).abs() < 1e-9, "the end of the first interval where it was deepest");
        assert!(matches!(dry(&series, 0.1, &played), Dry::Again { .. }));
    }

    #[test]
    fn what_is_left_when_the_drain_is_given_up_is_told() {
        let played = played(End::NotDry, |number| (number < 700).then_some(1));
        let series = series(&played.recorder, &played.end);
        assert!(matches!(dry(&series, 0.1, &played), Dry::Not { left_messages: 300, .. }));
        let phases = phases(&resolved(), &played.recorder, 0);
        let throughput = throughput(&resolved(), &phases, &series);
        assert_eq!((throughput.offered_messages, throughput.acknowledged_messages), (1_000, 700));
    }

    #[test]
    fn an_interrupted_series_ends_with_its_last_whole_interval() {
        let played = played(End::Stopped(450 * MS), |number| (number < 440).then_some(1));
        let series = series(&played.recorder, &played.end);
        assert_eq!(series.len(), 4);
    }

    #[test]
    fn objectives_count_what_was_never_acknowledged() {
        // Half a second in time, a quarter too late, a quarter never.
        let played = played(End::NotDry, |number| match number {
            0..500 => Some(2),
            500..750 => Some(40),
            _ => None,
        });
        let series = series(&played.recorder, &played.end);
        let met = objectives(&[(10 * MS, 0.9), (50 * MS, 0.7)], &played.recorder, &series, 0.1);
        assert_eq!((met[0].share, met[1].share), (0.5, 0.75));
        assert!(met[0].first_violation_s.is_some_and(|at_s| (at_s - 0.5).abs() < 1e-9));
        assert!((met[0].above_s - 0.5).abs() < 1e-9);
        assert!(
            met[1].first_violation_s.is_some_and(|at_s| (at_s - 0.7).abs() < 1e-9),
            "half of that interval is in time"
        );
    }

    #[test]
    fn the_generator_is_as_busy_as_in_its_busiest_second_of_the_plateau() {
        let resolved = resolved();
        let mut played = played(End::Complete, |_| Some(1));
        assert!(!generator(&resolved, &played).harness_bound);
        played.busy_ns = vec![95 * MS; 10];
        let load = generator(&resolved, &played);
        assert!(load.harness_bound && (load.busy_share_peak - 0.95).abs() < 1e-9);
        played.busy_ns = vec![100 * MS, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(!generator(&resolved, &played).harness_bound, "the first tenth lies before the plateau");
    }

    #[test]
    fn lateness_is_judged_by_p999_or_by_the_largest_of_few() {
        let with = |p999_ns, max_ns| PhaseResult {
            lateness: LatencySet { count: 10, p999_ns, max_ns, ..LatencySet::default() },
            ..total(&resolved(), &played(End::Complete, |_| None).recorder, &[])
        };
        assert!(lateness_verdict(&with(Some(999_999), Some(80 * MS)), None).passed);
        assert!(!lateness_verdict(&with(Some(1_000_001), Some(80 * MS)), None).passed);
        assert!(!lateness_verdict(&with(None, Some(2 * MS)), None).passed);
        assert!(lateness_verdict(&with(None, None), None).passed);
        let taken = Some(CoreTaken { share: 0.011, longest_ns: 84 * MS, lateness_p999_ns: 2_600_000 });
        let verdict = |late| lateness_verdict(&with(Some(late), None), taken).detail;
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
        assert!(arrivals_verdict(&resolved, &phases(20_100), &End::Complete).passed);
        let missing = arrivals_verdict(&resolved, &phases(18_000), &End::Complete);
        assert!(!missing.passed && missing.detail.contains("18000 messages where the curve has 20000"), "{missing:?}");
        assert!(arrivals_verdict(&resolved, &phases(18_000), &End::Stopped(5)).passed);
    }
}
