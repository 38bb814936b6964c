//! `highwater calibrate --engines`: each engine beside the ceiling of its mechanism, in the same run, alternately.
//!
//! What lives here: the list of cases ([`cases`]), one file a mechanism or a question; driving an engine on a shard's executor
//! ([`in_process`]), or through a broker's shard where the case says so ([`through_shard`]); the rows and their table. What never does: a ceiling
//! of an engine's own making: they come from [`super::lab`].
//!
//! A new case is an entry in one of the files, or a file with a function in [`cases`].

pub mod appends;
pub mod direct;
pub mod hot_tail;
pub mod in_process;
pub mod messages;
pub mod mmap;
pub mod pagecache;
pub mod partitions;
pub mod producers;
pub mod roll;
pub mod row;
pub mod sustained;
pub mod through_shard;

use super::lab::Lab;
use super::place::Place;
use crate::config::{Placement, Usage};
use crate::run::{interrupt::Interrupts, screen::Screen};
use anyhow::Context;
use broker::EngineKind;
use row::{Goal, Row, Table};

/// Samples of each case.
const ROUNDS: u32 = 5;
/// Bytes of log that a case may hold on the disk, beside the instruments.
pub const LOG_BYTES: u64 = 4 << 30;

/// What a case is measured with.
pub struct Bench<'a> {
    /// Where.
    pub place: &'a Place,
    /// On which cores.
    pub placement: &'a Placement,
    /// The ceilings' instruments; taken by whoever measures on another thread, who puts them back.
    pub lab: Option<Lab>,
    /// Samples.
    pub rounds: u32,
    /// The user may want to stop.
    pub interrupts: &'a Interrupts,
}

/// A sample of the engine and one of its ceiling, taken right beside each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The engine's.
    pub figure: f64,
    /// The ceiling's.
    pub ceiling: f64,
}

/// What a case found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// One a sample.
    pub pairs: Vec<Pair>,
    /// What binds the engine where it misses its goal, most likely first.
    pub binds: Vec<String>,
}

/// How a case is measured; an empty list of pairs means that it was interrupted.
pub type Measure = Box<dyn Fn(&mut Bench<'_>) -> anyhow::Result<Found>>;

/// One line of the table.
pub struct EngineCase {
    /// What is done.
    pub name: String,
    /// By which engine.
    pub engine: EngineKind,
    /// Of figure and ceiling: `B/s`, `msg/s`, `ns`.
    pub unit: &'static str,
    /// The ceiling in words.
    pub ceiling: String,
    /// What the ratio must be.
    pub goal: Goal,
    /// Takes minutes: only with `--long`.
    pub long: bool,
    /// How.
    pub measure: Measure,
}

/// All cases, in the order of the table.
#[must_use]
pub fn cases() -> Vec<EngineCase> {
    let files = [
        direct::cases(),
        pagecache::cases(),
        mmap::cases(),
        messages::cases(),
        hot_tail::cases(),
        roll::cases(),
        producers::cases(),
        partitions::cases(),
        sustained::cases(),
    ];
    files.into_iter().flatten().collect()
}

/// The cases whose engine or name contains each word of `wanted`; without it, all but the long ones, unless `long`.
///
/// # Errors
/// [`Usage`] if no case fits: with the names there are.
pub fn chosen(all: Vec<EngineCase>, wanted: Option<&str>, long: bool) -> anyhow::Result<Vec<EngineCase>> {
    let names: Vec<String> = all.iter().map(EngineCase::title).collect();
    let fits = |case: &EngineCase| {
        let title = case.title();
        wanted.is_none_or(|wanted| wanted.split_whitespace().all(|word| title.contains(word))) && (long || !case.long)
    };
    let chosen: Vec<EngineCase> = all.into_iter().filter(fits).collect();
    if chosen.is_empty() {
        let wanted = wanted.unwrap_or_default();
        return Err(Usage::from_error(format!("--case {wanted:?} fits none of: {}", names.join("; "))));
    }
    Ok(chosen)
}

impl EngineCase {
    /// Engine and name.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}: {}", self.engine, self.name)
    }
}

/// Measures the cases, one after the other. `None`: interrupted.
///
/// # Errors
/// The instruments cannot be made. A case that fails has a row that says why.
pub fn measure(
    cases: &[EngineCase],
    place: &Place,
    placement: &Placement,
    screen: &mut Screen,
    interrupts: &Interrupts,
) -> anyhow::Result<Option<Table>> {
    screen.moving("files", "making files to measure with");
    super::loopback::pin(placement.shards.first().copied()).context("run on the shard's core")?;
    let lab = Some(Lab::new(place, placement)?);
    let mut bench = Bench { place, placement, lab, rounds: ROUNDS, interrupts };
    let mut rows = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let title = case.title();
        screen.moving(&title, &format!("{} of {}: {title}", number + 1, cases.len()));
        if bench.lab.is_none() {
            // A case that failed on another thread has taken them with it.
            bench.lab = Some(Lab::new(place, placement)?);
        }
        let found = (case.measure)(&mut bench);
        if interrupts.any() {
            return Ok(None);
        }
        let row = Row::of(case, found);
        screen.line(&row.line());
        rows.push(row);
    }
    screen.clear();
    Ok(Some(Table::of(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_case_has_a_title_of_its_own_that_fits_the_table() {
        let all = cases();
        let titles: HashSet<String> = all.iter().map(EngineCase::title).collect();
        assert_eq!(titles.len(), all.len());
        for case in &all {
            assert!(case.name.chars().count() <= row::NAME, "{}", case.name);
            assert!(!case.ceiling.is_empty(), "{}", case.title());
        }
    }

    #[test]
    fn cases_are_chosen_by_words_and_long_ones_only_when_asked_for() {
        let titles = |wanted, long| -> Vec<String> {
            chosen(cases(), wanted, long).unwrap().iter().map(EngineCase::title).collect()
        };
        assert!(titles(Some("direct durable"), false).iter().all(|t| t.contains("direct") && t.contains("durable")));
        assert!(titles(None, true).len() > titles(None, false).len());
        let error = chosen(cases(), Some("rocks"), false).err().unwrap();
        assert!(error.downcast_ref::<Usage>().is_some());
        assert!(error.to_string().contains("rocks") && error.to_string().contains("pagecache"), "{error}");
    }
}
