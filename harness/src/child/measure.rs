//! Turns what was written down into the figures of a summary.

use crate::load::{
    cells::histogram,
    generator::{End, Played},
    recorder::Recorder,
};
use crate::profile::{Resolved, Role};
use crate::summary::{
    Backlog, CoreTaken, Dry, GeneratorLoad, LatencySet, ObjectiveMet, PhaseResult, Series, Throughput, dry_from,
    percentile_windows, under_threshold,
};
use hdrhistogram::Histogram;

/// A row whose generator was busier than this at the peak shows the harness.
pub const HARNESS_BOUND: f64 = 0.9;

const NS_PER_S: f64 = 1e9;

/// A histogram's percentiles, as far as its samples carry them: the messages of a batch share their times and are one.
#[must_use]
pub fn latencies(histogram: &Histogram<u64>, batch: u32) -> LatencySet {
    let value_at = |quantile| histogram.value_at_quantile(quantile);
    LatencySet::from_histogram(histogram.len(), batch, value_at, histogram.max())
}

/// The figures of each phase, in order.
#[must_use]
pub fn phases(resolved: &Resolved, recorder: &Recorder, tails: u32) -> Vec<PhaseResult> {
    let one = |(phase, named): (usize, &crate::profile::ResolvedPhase)| {
        let length_s = (named.end_ns - named.start_ns) as f64 / NS_PER_S;
        let offered = recorder.phase_sum(&recorder.sent, phase) + recorder.phase_sum(&recorder.abandoned, phase);
        let parts = &recorder.phases[phase];
        let latencies = |histogram: &Histogram<u64>| latencies(histogram, resolved.messages.batch);
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
        let mut sum = histogram();
        for phase in 0..resolved.phases.len() {
            sum.add(of(phase)).expect("all histograms have the same bounds");
        }
        latencies(&sum, resolved.messages.batch)
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

/// The run by interval, as far as it went. Messages come in batches of `batch`.
#[must_use]
pub fn series(recorder: &Recorder, end: &End, batch: u32) -> Series {
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
        let samples = if within { recorder.acknowledged_of(interval) } else { 0 };
        series.t_s.push(start_ns as f64 / NS_PER_S);
        series.offered_per_s.push(offered as f64 / offered_s);
        series.achieved_per_s.push(achieved as f64 / length_s);
        series.backlog.push(offered_sum - achieved_sum.min(offered_sum));
        series.samples.push(samples);
    }
    series.p50_ns = windowed(recorder, &series.samples, batch, 0.5);
    series.p99_ns = windowed(recorder, &series.samples, batch, 0.99);
    series.p999_ns = windowed(recorder, &series.samples, batch, 0.999);
    series
}

/// A percentile of the response by interval; intervals too thin for it are merged with their neighbours and share its value.
fn windowed(recorder: &Recorder, samples: &[u64], batch: u32, quantile: f64) -> Vec<Option<u64>> {
    let mut values = vec![None; samples.len()];
    let mut merged = histogram();
    for window in percentile_windows(samples, batch, quantile) {
        merged.reset();
        for interval in window.clone().filter(|interval| samples[*interval] > 0) {
            recorder.add_interval(&recorder.response, interval, &mut merged);
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
    let intervals = series.len().min(recorder.axis().intervals());
    let offered: Vec<u64> = (0..intervals).map(|interval| recorder.offered_in(interval)).collect();
    // A bucket that holds the bound is in time.
    let bounds = histogram();
    let in_time = |interval: usize, within_ns: u64| {
        let mut sum = 0;
        for cell in recorder.axis().cells_in(interval) {
            recorder.response.each(cell.slot(), |latency_ns, count| {
                sum += if bounds.lowest_equivalent(latency_ns) <= within_ns { count } else { 0 };
            });
        }
        sum
    };
    let one = |(within_ns, share): &(u64, f64)| {
        let in_time: Vec<u64> = (0..intervals).map(|interval| in_time(interval, *within_ns)).collect();
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

/// How busy the generator was in the plateau, and in its busiest second.
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
    let share = |busy_ns: u64, intervals: usize| (busy_ns as f64 / (intervals as u64 * interval_ns) as f64).min(1.0);
    let busy_share_peak = share(busiest, window);
    let busy_share_plateau = (!plateau.is_empty()).then(|| share(plateau.iter().sum(), plateau.len()));
    let taken = CoreTaken {
        share: played.taken.share(),
        longest_ns: played.taken.longest_ns(),
        lateness_p999_ns: played.taken.lateness_ns(0.001),
    };
    GeneratorLoad {
        busy_share_peak,
        busy_share_plateau,
        harness_bound: busy_share_peak > HARNESS_BOUND,
        taken: Some(taken),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::{axis::Axis, feed::Tally, recorder::Sent, taken::Taken};
    use crate::profile::{Profile, Settings};
    use crate::summary::Dry;

    const MS: u64 = 1_000_000;

    /// `steady` played 35 times faster: phases of 1/7 s and 6/7 s at 20,000 messages a second.
    pub(in crate::child) fn resolved() -> Resolved {
        let settings = Settings { speed: Some(35.0), shards: 1, ..Settings::default() };
        Profile::load("steady").unwrap().resolve(&settings).unwrap()
    }

    /// One message a millisecond, each acknowledged after `delay_ms` of its number; `None`: never.
    pub(in crate::child) fn played(end: End, delay_ms: impl Fn(u64) -> Option<u64>) -> Played {
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
        Played { recorder, tally: Tally::default(), busy_ns: vec![10 * MS; 10], taken, unreceived: 0, end }
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
        let series = series(&played.recorder, &played.end, 1);
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
        let series = series(&played.recorder, &played.end, 1);
        assert!(matches!(dry(&series, 0.1, &played), Dry::Not { left_messages: 300, .. }));
        let phases = phases(&resolved(), &played.recorder, 0);
        let throughput = throughput(&resolved(), &phases, &series);
        assert_eq!((throughput.offered_messages, throughput.acknowledged_messages), (1_000, 700));
    }

    #[test]
    fn an_interrupted_series_ends_with_its_last_whole_interval() {
        let played = played(End::Stopped(450 * MS), |number| (number < 440).then_some(1));
        let series = series(&played.recorder, &played.end, 1);
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
        let series = series(&played.recorder, &played.end, 1);
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
        assert!(load.busy_share_plateau.is_some_and(|share| (share - 0.95).abs() < 1e-9));
        played.busy_ns = vec![50 * MS, 100 * MS, 0, 50 * MS, 50 * MS, 50 * MS, 50 * MS, 50 * MS, 50 * MS, 50 * MS];
        let load = generator(&resolved, &played);
        assert!(load.busy_share_plateau.is_some_and(|share| (share - 0.5).abs() < 1e-9), "{load:?}");
        played.busy_ns = vec![100 * MS, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(!generator(&resolved, &played).harness_bound, "the first tenth lies before the plateau");
    }
}
