//! `--check-fio`: the disk cases both ways, ours and fio's, interleaved. A ceiling may lie above fio's and never below.

use super::{
    Case, Figure, Sample,
    ceilings::median,
    fio,
    lab::{self, Disk},
    place::Place,
};
use crate::run::{interrupt::Interrupts, screen::Screen};
use crate::summary::format;
use anyhow::Context;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// What ours must reach of fio's.
pub const RATIO_MIN: f64 = 0.9;
/// Pairs of each case.
const PAIRS: usize = 3;
/// Pairs of a case that lies below [`RATIO_MIN`] after the first ones: what else the machine does must not decide. All of them are taken
/// before it is judged again: who stops as soon as it passes lets chance pass it.
const PAIRS_MAX: usize = 9;
/// Length of each run.
const WINDOW: Duration = Duration::from_millis(200);

/// One case both ways.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// What was measured, by our own loop.
    pub ours: Figure,
    /// The same by fio.
    pub fio: Figure,
    /// The median of the ratios of the pairs, ours to fio's.
    pub ratio: f64,
    /// At least [`RATIO_MIN`].
    pub passed: bool,
}

/// All disk cases both ways.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// `fio-3.33`.
    pub version: String,
    /// [`RATIO_MIN`].
    pub ratio_min: f64,
    /// No case lies below it.
    pub passed: bool,
    /// In the order of the table.
    pub cases: Vec<Compared>,
}

/// A pair of runs, ours first.
type Pair = (Sample, Sample);

/// The pairs of each case.
type Pairs = Vec<(Case, Vec<Pair>)>;

/// Compares the pairs of a case; `None` without any.
#[must_use]
pub fn compare(case: Case, pairs: &[Pair]) -> Option<Compared> {
    let (ours, fio): (Vec<Sample>, Vec<Sample>) = pairs.iter().copied().unzip();
    let ratio = ratio(pairs)?;
    Some(Compared { ours: Figure::of(case, &ours)?, fio: Figure::of(case, &fio)?, ratio, passed: ratio >= RATIO_MIN })
}

fn ratio(pairs: &[Pair]) -> Option<f64> {
    let ratios: Vec<f64> = pairs.iter().map(|(ours, fio)| ours.per_s / fio.per_s.max(f64::MIN_POSITIVE)).collect();
    median(&ratios)
}

/// fio's own file, which needs a name; removed with this value.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // There is nobody to tell, and `Place` finds nothing else in the way.
        std::fs::remove_file(&self.0).ok();
    }
}

/// Runs the comparison. `None`: interrupted.
///
/// # Errors
/// fio or one of our loops fails.
pub fn check(
    version: String,
    place: &Place,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<Check>> {
    screen.moving("fio files", "making files to compare on");
    let mut disk = Disk::new(place)?;
    let named = Named(place.dir().join(format!(".highwater-calibrate-fio-{}", std::process::id())));
    let bytes = place.named_zeroed(&named.0, lab::DEVICE_BYTES)?;
    let both = |case: Case, number: usize| -> anyhow::Result<Pair> {
        let mut ours = || disk.measure(case, WINDOW);
        let theirs = || fio::run(case, &named.0, bytes, WINDOW);
        let pair = if number.is_multiple_of(2) {
            let ours = ours()?;
            (ours, theirs()?)
        } else {
            let theirs = theirs()?;
            (ours()?, theirs)
        };
        Ok(pair)
    };
    let Some(pairs) = pairs(&Case::of_the_device(), both, screen, interrupts)? else { return Ok(None) };
    let cases: Vec<Compared> = pairs.iter().filter_map(|(case, pairs)| compare(*case, pairs)).collect();
    Ok(Some(Check { version, ratio_min: RATIO_MIN, passed: cases.iter().all(|case| case.passed), cases }))
}

/// Pairs of each case: [`PAIRS`], and of one that lies below the goal [`PAIRS_MAX`], all of which count.
fn pairs(
    cases: &[Case],
    mut both: impl FnMut(Case, usize) -> anyhow::Result<Pair>,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<Pairs>> {
    let mut pairs: Pairs = cases.iter().map(|case| (*case, Vec::new())).collect();
    for number in 0..PAIRS_MAX {
        for (case, found) in &mut pairs {
            let passed = number == PAIRS && ratio(found).is_some_and(|ratio| ratio >= RATIO_MIN);
            if passed || found.len() < number {
                continue;
            }
            if interrupts.any() {
                return Ok(None);
            }
            let pair = both(*case, number).with_context(|| format!("measure {case}"))?;
            found.push(pair);
            let topic = format!("with fio, pair {}", number + 1);
            let [ours, fio] = [pair.0, pair.1].map(|sample| format::count(sample.per_s));
            screen.moving(&topic, &format!("{topic}: {case}: ours {ours}B/s, fio {fio}B/s"));
        }
    }
    screen.clear();
    Ok(Some(pairs))
}

impl Check {
    /// The table, within 100 columns.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![format!(
            "{} on the same cases, interleaved; medians, ± spread, ratio of pairs: at least {}",
            self.version, self.ratio_min
        )];
        lines.push(format!("{:<30}{:>14}{:>14}{:>8}{:>7}", "bytes a second", "ours", "fio", "ratio", "pairs"));
        let cell = |figure: &Figure| format!("{} ±{:.0}%", format::count(figure.median), figure.spread() * 100.0);
        for case in &self.cases {
            let verdict = if case.passed { "" } else { "  below fio" };
            lines.push(format!(
                "{:<30}{:>14}{:>14}{:>8.2}{:>7}{verdict}",
                case.ours.case.to_string(),
                cell(&case.ours),
                cell(&case.fio),
                case.ratio,
                case.ours.samples
            ));
        }
        let below = self.cases.iter().filter(|case| !case.passed).count();
        lines.push(match below {
            0 => "no ceiling lies more than 10 % under fio's".to_owned(),
            below => format!("{below} of {} ceilings lie more than 10 % under fio's", self.cases.len()),
        });
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(ours: f64, fio: f64) -> Pair {
        let sample = |per_s| Sample { per_s, p50_ns: None };
        (sample(ours), sample(fio))
    }

    const CASE: Case = Case::BufferedDsync { block_bytes: 4_096 };

    #[test]
    fn the_ratio_is_of_pairs_so_that_a_slow_minute_falls_on_both() {
        let compared = compare(CASE, &[pair(100.0, 100.0), pair(10.0, 11.0), pair(95.0, 100.0)]).unwrap();
        assert_eq!((compared.ratio, compared.passed), (0.95, true));
        assert_eq!((compared.ours.median, compared.fio.median), (95.0, 100.0));
        assert!(!compare(CASE, &[pair(89.0, 100.0)]).unwrap().passed);
        assert!(compare(CASE, &[pair(200.0, 100.0)]).unwrap().passed, "higher is better");
        assert_eq!(compare(CASE, &[]), None);
    }

    fn counted(outcome: impl Fn(usize) -> Pair) -> usize {
        let both = |_, number| Ok(outcome(number));
        let found = pairs(&[CASE], both, &mut Screen::default(), &Interrupts::default()).unwrap().unwrap();
        found[0].1.len()
    }

    #[test]
    fn a_case_below_is_measured_again_and_no_pair_is_forgotten() {
        assert_eq!(counted(|_| pair(1.0, 1.0)), PAIRS);
        assert_eq!(counted(|_| pair(0.5, 1.0)), PAIRS_MAX);
        // Two slow pairs of three. Two good ones would turn the median, and all nine are taken.
        assert_eq!(counted(|number| pair(if (1..3).contains(&number) { 0.5 } else { 1.0 }, 1.0)), PAIRS_MAX);
        assert_eq!(counted(|number| pair(if number < PAIRS { 1.0 } else { 0.5 }, 1.0)), PAIRS, "judged once");
    }

    #[test]
    fn the_table_names_what_lies_below() {
        let cases: Vec<Compared> =
            Case::of_the_device().iter().map(|case| compare(*case, &[pair(0.5e9, 1e9)]).unwrap()).collect();
        let check = Check { version: "fio-3.33".to_owned(), ratio_min: RATIO_MIN, passed: false, cases };
        let table = check.table();
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        assert_eq!(table.matches("below fio").count(), Case::of_the_device().len());
        assert!(table.contains("50 of 50 ceilings lie more than 10 % under fio's"), "{table}");
    }
}
