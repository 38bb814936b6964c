//! The ceilings in the terminal, at most 100 columns wide.

use super::{
    case::{Case, block},
    ceilings::{Ceilings, Figure},
};
use crate::summary::format;
use std::collections::BTreeSet;

/// Columns of a row's label.
const LABEL: usize = 23;
/// Columns of a cell.
const CELL: usize = 12;

/// The table.
#[must_use]
pub fn render(ceilings: &Ceilings) -> String {
    let samples = ceilings.figures.iter().map(|figure| figure.samples).min().unwrap_or(0);
    let mut lines = vec![format!(
        "ceilings: {} on {} · Linux {} · medians of {samples}, ± spread · {:.0} s",
        ceilings.file_system, ceilings.device, ceilings.kernel, ceilings.took_s
    )];
    let core = |core: Option<usize>| core.map_or_else(|| "not pinned".to_owned(), |core| format!("core {core}"));
    lines.push(format!(
        "measured on {}, the other end of connections on {}",
        core(ceilings.shard_core),
        core(ceilings.peer_core)
    ));
    lines.push(String::new());
    lines.extend(matrix(ceilings));
    lines.push(String::new());
    lines.extend(singles(ceilings));
    if ceilings.build == "debug" {
        lines.push("a debug build measures itself: build with --release".to_owned());
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cell(figure: &Figure) -> String {
    format!("{} ±{:.0}%", format::count(figure.median), figure.spread() * 100.0)
}

/// Mechanisms that were measured at several block sizes: a row each, and a second one for latencies.
fn matrix(ceilings: &Ceilings) -> Vec<String> {
    let swept = |case: Case| case.block_bytes().is_some() && !matches!(case, Case::Transfer { .. });
    let figures: Vec<&Figure> = ceilings.figures.iter().filter(|figure| swept(figure.case)).collect();
    let blocks: BTreeSet<u64> = figures.iter().filter_map(|figure| figure.case.block_bytes()).collect();
    let mut lines = vec![row("bytes a second", blocks.iter().map(|bytes| block(*bytes)))];
    let mut shown: Vec<Case> = Vec::new();
    for figure in &figures {
        let kind = figure.case.with_block(0);
        if shown.contains(&kind) {
            continue;
        }
        shown.push(kind);
        let of = |bytes: &u64| figures.iter().find(|other| other.case == kind.with_block(*bytes));
        lines.push(row(
            &kind.mechanism(),
            blocks.iter().map(|bytes| of(bytes).map_or_else(|| "-".to_owned(), |figure| cell(figure))),
        ));
        if figure.p50_ns.is_some() {
            let latency = |bytes: &u64| of(bytes)?.p50_ns.map(format::latency);
            lines.push(row("  p50", blocks.iter().map(|bytes| latency(bytes).unwrap_or_else(|| "-".to_owned()))));
        }
    }
    lines
}

fn row(label: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("{cell:>CELL$}")).collect();
    format!("{label:<LABEL$}{cells}")
}

/// The others, one a line.
fn singles(ceilings: &Ceilings) -> Vec<String> {
    let single = |figure: &&Figure| figure.case.block_bytes().is_none() || matches!(figure.case, Case::Transfer { .. });
    let line = |figure: &Figure| {
        let rate = format!("{}{} ±{:.0}%", format::count(figure.median), figure.unit.short(), figure.spread() * 100.0);
        let p50 = figure.p50_ns.map(|ns| format!("   p50 {}", format::latency(ns))).unwrap_or_default();
        format!("{:<36}{rate:>15}{p50}", figure.case.to_string())
    };
    ceilings.figures.iter().filter(single).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::ceilings::{Sample, tests::ceilings};

    #[test]
    fn every_case_has_its_place_within_100_columns() {
        let all = Case::all();
        let mut measured = ceilings(&[]);
        let sample = |per_s| Sample { per_s, p50_ns: Some(123_456) };
        measured.figures = all
            .iter()
            .filter_map(|case| Figure::of(*case, &[sample(1.234e9), sample(1.235e9), sample(9.99e9)]))
            .collect();
        let text = render(&measured);
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        for case in all {
            assert!(text.contains(&case.mechanism()), "{case} in\n{text}");
        }
        assert_eq!(
            text.matches("1.24G ±709%").count()
                + text.matches("1.24GB/s ±709%").count()
                + text.matches("1.24G/s ±709%").count(),
            Case::all().len()
        );
    }
}
