//! The flood as arithmetic: when an engine is under, and what the fluid model says.
//!
//! The fluid model (`facts` of the festival profiles: a reservoir with a fixed outlet): the queue grows by offered minus
//! capacity and never falls below zero. Playing a curve `speed` times faster at the same rates divides queue and delay by
//! `speed`; so what was measured times `speed` is what the same engine would see in real time, as far as its capacity
//! does not change with the length of the flood (caches fill, segments roll).

use super::engine::{Dry, Series};

/// An engine is under while its queue is longer than what arrives in this many milliseconds at the plateau.
pub const UNDER_QUEUE_MS: f64 = 100.0;

/// The queue above which an engine is under, in messages, given the highest offered rate.
pub fn under_threshold(offered_per_s: &[f64]) -> f64 {
    let highest = offered_per_s.iter().copied().fold(0.0, f64::max);
    highest * UNDER_QUEUE_MS / 1e3
}

/// Reads the verdict from a measured series. `left_messages` is what was not acknowledged when the drain was given up, 0
/// after a drain that succeeded.
pub fn dry_from(series: &Series, interval_s: f64, left_messages: u64) -> Dry {
    let threshold = under_threshold(&series.offered_per_s);
    let under = |backlog: &u64| *backlog as f64 > threshold;
    let (Some(first), Some(last)) = (series.backlog.iter().position(under), series.backlog.iter().rposition(under))
    else {
        return match left_messages {
            0 => Dry::Always,
            // Too few to be under, and still never acknowledged: the run's own end says when.
            left_messages => Dry::Not { under_at_s: series.t_s.last().copied().unwrap_or(0.0), left_messages },
        };
    };
    let under_at_s = series.t_s[first];
    match left_messages {
        0 => Dry::Again { under_at_s, at_s: series.t_s[last] + interval_s },
        left_messages => Dry::Not { under_at_s, left_messages },
    }
}

/// What the fluid model says of one schedule and one capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fluid {
    /// Messages a second that the outlet takes.
    pub capacity_per_s: f64,
    /// The deepest queue in messages.
    pub peak_messages: f64,
    /// When, on the run's clock.
    pub peak_at_s: f64,
    /// When the queue was gone for good, on the run's clock; `None` if it never stood.
    pub dry_at_s: Option<f64>,
    /// The longest wait: the deepest queue over the capacity.
    pub delay_s: f64,
}

impl Fluid {
    /// Runs the model over a schedule; after its end nothing arrives. `None` for a capacity that is not a positive number.
    pub fn simulate(offered_per_s: &[f64], interval_s: f64, capacity_per_s: f64) -> Option<Self> {
        if !(capacity_per_s.is_finite() && capacity_per_s > 0.0) {
            return None;
        }
        let mut queue = 0.0f64;
        let mut fluid = Self { capacity_per_s, peak_messages: 0.0, peak_at_s: 0.0, dry_at_s: None, delay_s: 0.0 };
        for (interval, offered) in offered_per_s.iter().enumerate() {
            let start_s = interval as f64 * interval_s;
            let before = queue;
            let change_per_s = offered - capacity_per_s;
            queue = (queue + change_per_s * interval_s).max(0.0);
            if before > 0.0 && queue == 0.0 {
                fluid.dry_at_s = Some(start_s + before / -change_per_s);
            }
            if queue > fluid.peak_messages {
                fluid.peak_messages = queue;
                fluid.peak_at_s = start_s + interval_s;
            }
        }
        if queue > 0.0 {
            fluid.dry_at_s = Some(offered_per_s.len() as f64 * interval_s + queue / capacity_per_s);
        }
        fluid.delay_s = fluid.peak_messages / capacity_per_s;
        Some(fluid)
    }

    /// The model's queue as points (seconds, messages): one at each interval's end, and the end of the last drain.
    pub fn queue(offered_per_s: &[f64], interval_s: f64, capacity_per_s: f64) -> Vec<(f64, f64)> {
        let mut queue = 0.0f64;
        let mut points = vec![(0.0, 0.0)];
        for (interval, offered) in offered_per_s.iter().enumerate() {
            queue = (queue + (offered - capacity_per_s) * interval_s).max(0.0);
            points.push(((interval + 1) as f64 * interval_s, queue));
        }
        if queue > 0.0 && capacity_per_s > 0.0 {
            points.push((offered_per_s.len() as f64 * interval_s + queue / capacity_per_s, 0.0));
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_fills_and_drains_the_reservoir() {
        // 10 s at 100/s, 10 s at 300/s, 30 s at 100/s against an outlet of 200/s.
        let offered: Vec<f64> = (0..50).map(|t| if (10..20).contains(&t) { 300.0 } else { 100.0 }).collect();
        let fluid = Fluid::simulate(&offered, 1.0, 200.0).expect("a positive capacity");
        assert_eq!(fluid.peak_messages, 1_000.0);
        assert_eq!(fluid.peak_at_s, 20.0);
        assert_eq!(fluid.dry_at_s, Some(30.0));
        assert_eq!(fluid.delay_s, 5.0);
    }

    #[test]
    fn a_queue_at_the_end_of_the_schedule_drains_at_full_capacity() {
        let fluid = Fluid::simulate(&[300.0; 10], 1.0, 200.0).expect("a positive capacity");
        assert_eq!(fluid.dry_at_s, Some(15.0));
    }

    #[test]
    fn enough_capacity_never_queues_and_no_capacity_says_nothing() {
        let fluid = Fluid::simulate(&[100.0; 10], 1.0, 100.0).expect("a positive capacity");
        assert_eq!((fluid.peak_messages, fluid.dry_at_s), (0.0, None));
        assert_eq!(Fluid::simulate(&[100.0], 1.0, 0.0), None);
        assert_eq!(Fluid::simulate(&[100.0], 1.0, f64::NAN), None);
    }

    /// The closed form of the night and the drain times that `workloads/README.md` quotes for it.
    #[test]
    fn the_night_drains_when_its_sources_say() {
        let night = |t: f64| match t {
            t if t < 96.0 => 33.5,
            t if t < 5_167.0 => 5.0 + 31.4 * (-(t - 96.0) / 327.0).exp(),
            t if t < 59_460.0 => 0.555,
            _ => 0.66,
        };
        let offered: Vec<f64> = (0..86_400).map(|t| night(f64::from(t) + 0.5)).collect();
        for (capacity, minutes) in [(6.0, 110.0), (8.0, 72.0), (10.0, 43.0), (15.0, 21.0), (20.0, 13.0), (30.0, 5.0)] {
            let dry_s = Fluid::simulate(&offered, 1.0, capacity).and_then(|fluid| fluid.dry_at_s).expect("it drains");
            assert!((dry_s / 60.0 - minutes).abs() < 1.0, "{capacity}x drains after {:.1} min", dry_s / 60.0);
        }
    }

    fn series(backlog: &[u64]) -> Series {
        Series {
            t_s: (0..backlog.len()).map(|t| t as f64).collect(),
            offered_per_s: vec![1_000.0; backlog.len()],
            backlog: backlog.to_vec(),
            ..Series::default()
        }
    }

    #[test]
    fn under_is_more_than_a_tenth_of_a_second_of_the_plateau() {
        assert_eq!(dry_from(&series(&[100, 100, 0]), 1.0, 0), Dry::Always);
        assert_eq!(dry_from(&series(&[0, 101, 50, 200, 3]), 1.0, 0), Dry::Again { under_at_s: 1.0, at_s: 4.0 });
        assert_eq!(dry_from(&series(&[0, 300, 900]), 1.0, 900), Dry::Not { under_at_s: 1.0, left_messages: 900 });
        assert_eq!(dry_from(&series(&[0, 7]), 1.0, 7), Dry::Not { under_at_s: 1.0, left_messages: 7 });
    }
}
