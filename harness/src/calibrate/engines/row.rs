//! A row of the table of engines, the arithmetic of its goal, and how it is printed.

use super::{EngineCase, Found};
use crate::calibrate::ceilings::median;
use crate::summary::format;
use serde::Serialize;

/// Columns of a case's name.
pub(super) const NAME: usize = 36;

/// What a ratio must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The figure comes this near to its ceiling, or higher.
    AtLeast(f64),
    /// The figure exceeds what it is compared with by no more than this factor.
    AtMost(f64),
}

impl Goal {
    /// Whether a ratio meets it.
    #[must_use]
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥{}", format::factor(least)),
            Self::AtMost(most) => format!("≤{}", format::factor(most)),
        }
    }
}

/// The median of some samples and their extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

impl Spread {
    /// Of samples; `None` without any.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { median: median(values)?, least, most })
    }
}

/// What was measured of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The engine's figure.
    pub figure: Spread,
    /// The ceiling's, in the same run.
    pub ceiling: Spread,
    /// The ratios of the pairs.
    pub ratio: Spread,
    /// Pairs.
    pub samples: usize,
    /// The median ratio meets the goal.
    pub met: bool,
}

/// One case and one engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// By which engine.
    pub engine: String,
    /// Of figure and ceiling.
    pub unit: String,
    /// The ceiling in words.
    pub against: String,
    /// What the ratio must be.
    pub goal: Goal,
    /// `None` if the case failed.
    pub measured: Option<Measured>,
    /// Where the goal is missed: what binds, most likely first.
    pub binds: Vec<String>,
    /// Why the case failed.
    pub failed: Option<String>,
}

/// All rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// In the order of the cases.
    pub rows: Vec<Row>,
    /// Rows whose goal is met.
    pub met: usize,
}

impl Row {
    /// The row of what a case found.
    #[must_use]
    pub fn of(case: &EngineCase, found: anyhow::Result<Found>) -> Self {
        let (found, failed) = match found {
            Ok(found) => (found, None),
            Err(error) => (Found::default(), Some(format!("{error:#}"))),
        };
        let measured = measured(&found, case.goal);
        let failed = failed.or_else(|| measured.is_none().then(|| "nothing was measured".to_owned()));
        let missed = measured.as_ref().is_some_and(|measured| !measured.met);
        Self {
            case: case.name.clone(),
            engine: case.engine.name().to_owned(),
            unit: case.unit.to_owned(),
            against: case.ceiling.clone(),
            goal: case.goal,
            measured,
            binds: if missed { found.binds } else { Vec::new() },
            failed,
        }
    }

    /// The line of the table, at most 100 columns.
    #[must_use]
    pub fn line(&self) -> String {
        let head = format!("{:<NAME$} {:<9}", self.case, self.engine);
        let Some(measured) = &self.measured else {
            return format!("{head} failed");
        };
        let verdict = if measured.met { "met" } else { "MISSED" };
        let value = |value: f64| match self.unit.as_str() {
            "ns" => format::duration(value / 1e9),
            unit => format!("{}{unit}", format::count(value)),
        };
        let Spread { median, least, most } = measured.ratio;
        let (figure, ceiling) = (value(measured.figure.median), value(measured.ceiling.median));
        format!(
            "{head}{figure:>11}{ceiling:>11}{:>7} {:<13}{:>6} {verdict}",
            format::ratio(median),
            format!("{}-{}", format::ratio(least), format::ratio(most)),
            self.goal.text()
        )
    }
}

fn measured(found: &Found, goal: Goal) -> Option<Measured> {
    let of = |value: fn(&super::Pair) -> f64| Spread::of(&found.pairs.iter().map(value).collect::<Vec<_>>());
    let ratio = of(|pair| pair.figure / pair.ceiling)?;
    Some(Measured {
        figure: of(|pair| pair.figure)?,
        ceiling: of(|pair| pair.ceiling)?,
        ratio,
        samples: found.pairs.len(),
        met: goal.is_met(ratio.median),
    })
}

impl Table {
    /// Counts the rows that meet their goals.
    #[must_use]
    pub fn of(rows: Vec<Row>) -> Self {
        let met = rows.iter().filter(|row| row.measured.as_ref().is_some_and(|measured| measured.met)).count();
        Self { rows, met }
    }

    /// The table, at most 100 columns wide.
    #[must_use]
    pub fn render(&self) -> String {
        let head = ("case", "engine", "figure", "ceiling", "ratio", "spread", "goal");
        let mut lines = vec![format!(
            "{:<NAME$} {:<9}{:>11}{:>11}{:>7} {:<13}{:>6}",
            head.0, head.1, head.2, head.3, head.4, head.5, head.6
        )];
        for row in &self.rows {
            lines.push(row.line());
            let why = row.failed.iter().chain(row.binds.iter().take(2));
            lines.extend(why.map(|why| format!("  └ {}", cut(why, 96))));
        }
        lines.push(format!("{} of {} goals met", self.met, self.rows.len()));
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

fn cut(text: &str, columns: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= columns { line } else { line.chars().take(columns - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::engines::Pair;
    use broker::EngineKind;

    fn case(goal: Goal, unit: &'static str) -> EngineCase {
        EngineCase {
            name: "x".repeat(NAME),
            engine: EngineKind::PageCache,
            unit,
            ceiling: "raw".to_owned(),
            goal,
            long: false,
            measure: Box::new(|_| Ok(Found::default())),
        }
    }

    fn found(pairs: &[(f64, f64)]) -> anyhow::Result<Found> {
        let pairs = pairs.iter().map(|(figure, ceiling)| Pair { figure: *figure, ceiling: *ceiling }).collect();
        Ok(Found { pairs, binds: vec!["the shard's core".to_owned(), "y".repeat(300)] })
    }

    #[test]
    fn the_ratio_is_the_median_of_the_pairs_own() {
        // The machine was slow in the second pair, for both.
        let row = Row::of(&case(Goal::AtLeast(0.9), "B/s"), found(&[(95.0, 100.0), (19.0, 20.0), (80.0, 100.0)]));
        let measured = row.measured.clone().unwrap();
        assert_eq!((measured.ratio.median, measured.ratio.least, measured.met), (0.95, 0.8, true));
        assert!(row.binds.is_empty() && row.failed.is_none());
        let missed = Row::of(&case(Goal::AtLeast(0.96), "B/s"), found(&[(95.0, 100.0)]));
        assert_eq!((missed.measured.unwrap().met, missed.binds.len()), (false, 2));
        let most = Row::of(&case(Goal::AtMost(2.0), "ns"), found(&[(190.0, 100.0)]));
        assert!(most.measured.unwrap().met);
    }

    #[test]
    fn a_case_that_fails_says_why_and_counts_as_missed() {
        let failed = Row::of(&case(Goal::AtLeast(0.9), "B/s"), Err(anyhow::anyhow!("no space left")));
        assert_eq!(failed.failed.as_deref(), Some("no space left"));
        let empty = Row::of(&case(Goal::AtLeast(0.9), "B/s"), Ok(Found::default()));
        assert!(empty.failed.is_some());
        let table = Table::of(vec![failed, empty]);
        assert_eq!(table.met, 0);
        assert!(table.render().contains("no space left") && table.render().contains("0 of 2 goals met"));
    }

    #[test]
    fn no_line_is_wider_than_100_columns() {
        let rows = ["B/s", "msg/s", "ns"].map(|unit| {
            Row::of(&case(Goal::AtLeast(28.25), unit), found(&[(1.234e10, 9.99e-3), (1.234e12, 123.4), (1.0, 1e9)]))
        });
        for line in Table::of(rows.into()).render().lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}
