//! Scales, ticks and paths: what every picture of the page is drawn with. Coordinates are user units, one to a CSS pixel at
//! the page's full width.

use crate::summary::format;

/// A scale from values to coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    from: (f64, f64),
    to: (f64, f64),
    log: bool,
}

impl Scale {
    /// Linear from the values `from` to the coordinates `to`.
    pub(super) fn linear(from: (f64, f64), to: (f64, f64)) -> Self {
        Self { from, to, log: false }
    }

    /// Logarithmic; both ends of `from` are positive.
    pub(super) fn log(from: (f64, f64), to: (f64, f64)) -> Self {
        assert!(from.0 > 0.0 && from.1 > from.0, "a log scale spans positive values");
        Self { from: (from.0.ln(), from.1.ln()), to, log: true }
    }

    /// The coordinate of a value; on a log scale, values at or below zero lie at its lower end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = match (self.log, value > 0.0) {
            (false, _) => value,
            (true, true) => value.ln(),
            (true, false) => self.from.0,
        };
        let span = self.from.1 - self.from.0;
        let share = if span == 0.0 { 0.0 } else { (value - self.from.0) / span };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// Round values from `low` to `high`, about `wanted` of them: steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let rough = (high - low) / wanted.max(1) as f64;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|n| n as f64 * step).collect()
}

/// The decades that enclose a range of positive values: at least one.
pub(super) fn decades(low: f64, high: f64) -> (f64, f64) {
    let (low, high) = (low.max(1e-12), high.max(1e-12));
    let from = (low.log10() + 1e-9).floor();
    let to = (high.log10() - 1e-9).ceil().max(from + 1.0);
    (10f64.powf(from), 10f64.powf(to))
}

/// The powers of ten of a range of decades; every second or third of many.
pub(super) fn decade_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let (from, to) = (low.log10().round() as i32, high.log10().round() as i32);
    let step = ((to - from) / 6 + 1).max(1);
    (from..=to).step_by(step as usize).map(|power| 10f64.powi(power)).collect()
}

/// A latency on an axis: `1 ms`, not `1.00 ms`.
pub(super) fn latency_tick(ns: f64) -> String {
    needless(&format::latency(ns as u64))
}

/// A count on an axis: `150k`.
pub(super) fn count_tick(n: f64) -> String {
    needless(&format::count(n))
}

/// Bytes on an axis: `1 GB`.
pub(super) fn bytes_tick(n: f64) -> String {
    needless(&format::bytes(n))
}

/// Drops needless zeros behind the point of a number with a unit.
fn needless(text: &str) -> String {
    let digits = text.trim_end_matches(|c: char| c != '.' && !c.is_ascii_digit());
    let unit = &text[digits.len()..];
    if !digits.contains('.') {
        return text.to_owned();
    }
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A path through points; where one is missing the pen is lifted. A lone point becomes a short dash.
pub(super) fn path(points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut run: Vec<(f64, f64)> = Vec::new();
    for point in points.into_iter().chain([None]) {
        match point {
            Some(point) => run.push(point),
            None => {
                for (n, (x, y)) in run.iter().enumerate() {
                    path.push_str(&format!("{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" }));
                }
                if run.len() == 1 {
                    path.push_str("h1.5");
                }
                run.clear();
            }
        }
    }
    path
}

/// Moves label positions apart to at least `gap` within `low..=high`, keeping their order; returns them in the order given.
pub(super) fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = wanted.to_vec();
    let mut floor = low;
    for n in &order {
        placed[*n] = placed[*n].max(floor);
        floor = placed[*n] + gap;
    }
    let mut ceiling = high;
    for n in order.iter().rev() {
        placed[*n] = placed[*n].min(ceiling);
        ceiling = placed[*n] - gap;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 180_000.0, 4), [0.0, 50_000.0, 100_000.0, 150_000.0]);
        assert_eq!(ticks(-5.0, 31.0, 8), [-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(ticks(3.0, 3.0, 5), [3.0]);
    }

    #[test]
    fn decades_enclose() {
        assert_eq!(decades(3.2e6, 8.1e8), (1e6, 1e9));
        assert_eq!(decades(1e6, 1e6), (1e6, 1e7));
        assert_eq!(decade_ticks((1e6, 1e9)), [1e6, 1e7, 1e8, 1e9]);
        assert_eq!([latency_tick(1e6), count_tick(150_000.0), bytes_tick(2.5e9)], ["1 ms", "150k", "2.5 GB"]);
    }

    #[test]
    fn a_missing_point_lifts_the_pen() {
        let points = [Some((0.0, 1.0)), Some((1.0, 1.0)), None, Some((3.0, 2.0))];
        assert_eq!(path(points), "M0.0 1.0L1.0 1.0M3.0 2.0h1.5");
    }

    #[test]
    fn labels_keep_their_order_and_their_distance() {
        assert_eq!(spread(&[10.0, 10.0, 50.0], 12.0, 0.0, 100.0), [10.0, 22.0, 50.0]);
        assert_eq!(spread(&[98.0, 99.0], 12.0, 0.0, 100.0), [88.0, 100.0]);
    }

    #[test]
    fn a_log_scale_puts_decades_at_equal_distances() {
        let scale = Scale::log((1.0, 100.0), (0.0, 10.0));
        assert!((scale.at(10.0) - 5.0).abs() < 1e-9);
        assert_eq!(scale.at(0.0), 0.0);
    }
}
