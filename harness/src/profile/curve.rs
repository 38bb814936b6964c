//! Rate curves: shapes with an exact integral and its exact inverse.
//!
//! A curve is a row of pieces. Each shape knows its rate, the integral of its rate from its beginning, and the time at which
//! that integral reaches a value; so a Poisson process of unit rate becomes one that follows the curve by stretching time
//! (time rescaling), and the number of arrivals cannot drift from the integral. The functions come from the `libm` crate and
//! not from the system's library, whose last digit differs between machines: a profile and a seed give the same schedule, to
//! the nanosecond, everywhere.

use serde::Serialize;

/// The form of a rate over a piece, `t` seconds from the piece's beginning. Rates are never negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "curve", rename_all = "snake_case")]
pub enum Shape {
    /// `rate`.
    Constant {
        /// The rate.
        rate: f64,
    },
    /// From `from` to `to` in a straight line over the whole piece.
    Ramp {
        /// Rate at the beginning.
        from: f64,
        /// Rate at the end.
        to: f64,
    },
    /// `floor + above * exp(-t / tau)`.
    Decay {
        /// What it falls to.
        floor: f64,
        /// How much higher it begins.
        above: f64,
        /// Time in which the excess falls to 1/e, in seconds.
        tau_s: f64,
    },
    /// `mean + swing * sin(2 pi t / period)`.
    Sine {
        /// Middle.
        mean: f64,
        /// At most `mean`.
        swing: f64,
        /// Seconds of a full turn.
        period_s: f64,
    },
}

impl Shape {
    /// The rate at `t` seconds of a piece that lasts `duration_s`.
    #[must_use]
    pub fn rate(&self, t: f64, duration_s: f64) -> f64 {
        match *self {
            Self::Constant { rate } => rate,
            Self::Ramp { from, to } => from + (to - from) * (t / duration_s),
            Self::Decay { floor, above, tau_s } => floor + above * libm::exp(-t / tau_s),
            Self::Sine { mean, swing, period_s } => mean + swing * libm::sin(std::f64::consts::TAU * t / period_s),
        }
    }

    /// The integral of the rate from the beginning to `t`.
    #[must_use]
    pub fn integral(&self, t: f64, duration_s: f64) -> f64 {
        match *self {
            Self::Constant { rate } => rate * t,
            Self::Ramp { from, to } => t * (from + 0.5 * (to - from) * (t / duration_s)),
            Self::Decay { floor, above, tau_s } => floor * t - above * tau_s * libm::expm1(-t / tau_s),
            Self::Sine { mean, swing, period_s } => {
                // 1 - cos x = 2 sin^2(x/2) keeps its digits where the cosine is near 1.
                let half = libm::sin(std::f64::consts::PI * t / period_s);
                mean * t + swing * period_s / std::f64::consts::PI * half * half
            }
        }
    }

    /// The highest rate within the piece.
    #[must_use]
    pub fn highest(&self, duration_s: f64) -> f64 {
        let ends = self.rate(0.0, duration_s).max(self.rate(duration_s, duration_s));
        match *self {
            Self::Sine { mean, swing, period_s } if duration_s >= period_s / 4.0 => mean + swing,
            _ => ends,
        }
    }

    /// The same curve with its rates multiplied by `rates` and its clock divided by `speed`.
    #[must_use]
    pub fn scaled(&self, rates: f64, speed: f64) -> Self {
        match *self {
            Self::Constant { rate } => Self::Constant { rate: rate * rates },
            Self::Ramp { from, to } => Self::Ramp { from: from * rates, to: to * rates },
            Self::Decay { floor, above, tau_s } => {
                Self::Decay { floor: floor * rates, above: above * rates, tau_s: tau_s / speed }
            }
            Self::Sine { mean, swing, period_s } => {
                Self::Sine { mean: mean * rates, swing: swing * rates, period_s: period_s / speed }
            }
        }
    }
}

/// A piece of the curve on the run's clock; rates in messages a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Piece {
    /// Beginning, in seconds from the run's.
    pub start_s: f64,
    /// Length in seconds, above zero.
    pub duration_s: f64,
    /// Index of the phase that it belongs to.
    pub phase: u16,
    /// Its form.
    pub shape: Shape,
}

/// Steps of one inversion at most: each at least halves the bracket where it does not double the right digits.
const NEWTON_STEPS_MAX: u32 = 64;
/// A hundredth of a nanosecond: well below the grain of the clock that arrivals are rounded to.
const CLOCK_GRAIN_S: f64 = 1e-11;

impl Piece {
    /// Messages of the piece up to `t` seconds from its beginning.
    #[must_use]
    pub fn integral(&self, t: f64) -> f64 {
        self.shape.integral(t, self.duration_s)
    }

    /// Messages of the whole piece.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.integral(self.duration_s)
    }

    /// The time, from the piece's beginning, at which its integral reaches `messages`, which lies within `0..=total()`.
    /// `after` is a time not later than the answer (the previous arrival's, or 0).
    #[must_use]
    pub fn inverse(&self, messages: f64, after: f64) -> f64 {
        let found = match self.shape {
            Shape::Constant { rate } => messages / rate,
            Shape::Ramp { from, to } => {
                // The root of half the slope times t^2 + from * t = messages, in the form that does not cancel.
                let slope = (to - from) / self.duration_s;
                let under_root = (from * from + 2.0 * slope * messages).max(0.0);
                2.0 * messages / (from + under_root.sqrt())
            }
            Shape::Decay { .. } | Shape::Sine { .. } => self.newton(messages, after),
        };
        // 0/0 where nothing has been offered yet (an arrival due at the very beginning).
        if found.is_nan() { after } else { found.clamp(after.min(self.duration_s), self.duration_s) }
    }

    /// Newton's method with the second-order step: the curve is taken for a parabola at `t`. From one arrival to the next that
    /// is right to far below the clock's grain at once, so that an inversion costs one evaluation of the curve.
    fn newton(&self, messages: f64, after: f64) -> f64 {
        let (mut low, mut high) = (after, self.duration_s);
        let mut t = after;
        for _ in 0..NEWTON_STEPS_MAX {
            let local = self.shape.local(t);
            let missing = messages - local.integral;
            if missing > 0.0 {
                low = low.max(t);
            } else {
                high = high.min(t);
            }
            let under_root = (local.rate * local.rate + 2.0 * local.slope * missing).max(0.0);
            let step = 2.0 * missing / (local.rate + under_root.sqrt());
            // What the parabola leaves out is at most curvature * step^3 / 6 messages.
            let off = local.bend * step * step * step.abs() / 6.0;
            if off < CLOCK_GRAIN_S * local.rate {
                return t + step;
            }
            let next = t + step;
            t = if next > low && next < high { next } else { 0.5 * (low + high) };
            if high - low < CLOCK_GRAIN_S {
                return t;
            }
        }
        t
    }
}

/// A curve near an instant: its integral from the piece's beginning, its rate, the rate's derivative, and a bound on the
/// magnitude of the second derivative from here on.
struct Local {
    integral: f64,
    rate: f64,
    slope: f64,
    bend: f64,
}

impl Shape {
    /// Only for the shapes whose inverse has no closed form.
    fn local(&self, t: f64) -> Local {
        match *self {
            Self::Decay { floor, above, tau_s } => {
                let share = libm::exp(-t / tau_s);
                let left = above * share;
                let integral = floor * t + above * tau_s * (1.0 - share);
                // A step may also go back, where the curve bends more: by a factor of e within one tau.
                let bend = left.abs() / (tau_s * tau_s) * std::f64::consts::E;
                Local { integral, rate: floor + left, slope: -left / tau_s, bend }
            }
            Self::Sine { mean, swing, period_s } => {
                let omega = std::f64::consts::TAU / period_s;
                let (sine, cosine) = libm::sincos(omega * t);
                let integral = mean * t + swing / omega * (1.0 - cosine);
                let (slope, bend) = (swing * omega * cosine, swing * omega * omega);
                Local { integral, rate: mean + swing * sine, slope, bend }
            }
            Self::Constant { .. } | Self::Ramp { .. } => unreachable!("inverted in closed form"),
        }
    }
}
