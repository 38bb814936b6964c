//! The fluid model: a reservoir that fills at the offered rate and drains at a capacity.
//!
//! It says what an engine of constant capacity would do with a schedule, exactly but for the randomness of arrivals; the
//! report sets the measured backlog beside it. The integral of the curve is used, not samples of its rate.

use crate::profile::Resolved;

/// What the model says of one schedule and one capacity, on the run's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Fluid {
    /// Messages a second that the outlet takes.
    pub capacity_per_s: f64,
    /// Messages that stand at the end of each interval ([`Resolved::interval_ns`]) of the schedule.
    pub backlog: Vec<f64>,
    /// The deepest backlog in messages.
    pub peak_messages: f64,
    /// When it stood, in seconds.
    pub peak_at_s: f64,
    /// When the first message had to wait, in seconds; `None` if none did.
    pub under_at_s: Option<f64>,
    /// When the backlog was gone for good, in seconds, maybe after the schedule's end; `None` if it never stood.
    pub dry_at_s: Option<f64>,
    /// The longest wait in seconds.
    pub delay_s: f64,
}

/// Steps of the model in an interval of the series.
const STEPS: usize = 10;

/// Runs the model; `None` for a capacity that is not a positive number.
#[must_use]
pub fn fluid(resolved: &Resolved, capacity_per_s: f64) -> Option<Fluid> {
    if !(capacity_per_s.is_finite() && capacity_per_s > 0.0) {
        return None;
    }
    let end_s = resolved.duration_ns as f64 / 1e9;
    let step_s = resolved.interval_ns() as f64 / 1e9 / STEPS as f64;
    let count = resolved.intervals() * STEPS;
    let bounds: Vec<f64> = (1..=count).map(|n| (n as f64 * step_s).min(end_s)).collect();
    let mut fluid = Fluid {
        capacity_per_s,
        backlog: Vec::with_capacity(resolved.intervals()),
        peak_messages: 0.0,
        peak_at_s: 0.0,
        under_at_s: None,
        dry_at_s: None,
        delay_s: 0.0,
    };
    let (mut queue, mut from_s) = (0.0f64, 0.0);
    for (n, (messages, length_s)) in resolved.steps(bounds).into_iter().enumerate() {
        let change = messages - capacity_per_s * length_s;
        let before = queue;
        queue = (queue + change).max(0.0);
        if before > 0.0 && queue == 0.0 {
            fluid.dry_at_s = Some(from_s + length_s * (before / -change));
        }
        if queue > 0.0 && fluid.under_at_s.is_none() {
            fluid.under_at_s = Some(from_s);
        }
        from_s += length_s;
        if queue > fluid.peak_messages {
            fluid.peak_messages = queue;
            fluid.peak_at_s = from_s;
        }
        if (n + 1) % STEPS == 0 {
            fluid.backlog.push(queue);
        }
    }
    if queue > 0.0 {
        fluid.dry_at_s = Some(end_s + queue / capacity_per_s);
    }
    fluid.delay_s = fluid.peak_messages / capacity_per_s;
    Some(fluid)
}

impl Fluid {
    /// The same flood at the curve's own pace: a curve played `speed` times faster at the same rates has a backlog, a delay
    /// and times that are `speed` times smaller.
    #[must_use]
    pub fn at_speed_1(&self, speed: f64) -> Self {
        Self {
            capacity_per_s: self.capacity_per_s,
            backlog: self.backlog.iter().map(|messages| messages * speed).collect(),
            peak_messages: self.peak_messages * speed,
            peak_at_s: self.peak_at_s * speed,
            under_at_s: self.under_at_s.map(|at| at * speed),
            dry_at_s: self.dry_at_s.map(|at| at * speed),
            delay_s: self.delay_s * speed,
        }
    }
}
