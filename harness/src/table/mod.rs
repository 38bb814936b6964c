//! The terminal table: a head, a row an engine, what to make of it, and where to read on.
//!
//! What never lives here: colour or cursor codes (the same text goes to terminals, files and tests), and figures that are
//! not in the summary.

mod cells;
mod text;

pub use cells::{Align, Column, cells, columns, remarks};

use crate::summary::{RunState, Status, Summary, format};
use broker::Layout;
use std::path::Path;
use text::{clean, command_lines, join_wrapped, wrap};

/// Characters of the widest line, except that a path or a single word of a command is never broken.
pub const WIDTH_MAX: usize = 100;

/// Where remarks under a row start.
const REMARK_INDENT: usize = 10;

/// The table of a run, at most [`WIDTH_MAX`] columns wide, with a newline after each line. `report` is the path of its
/// page, printed last.
pub fn render(summary: &Summary, report: Option<&Path>) -> String {
    let mut lines = head(summary);
    lines.push(String::new());
    lines.extend(rows(summary));
    lines.push(String::new());
    lines.extend(foot(summary));
    lines.push(String::new());
    lines.push("repeat:".to_owned());
    lines.extend(command_lines(&clean(&summary.run.command), WIDTH_MAX, 2));
    if let Some(path) = report {
        lines.push("report:".to_owned());
        lines.push(path.display().to_string());
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What was run, and where. Also the head of the page.
pub fn head(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    if summary.run.state == RunState::Interrupted {
        lines.push("INTERRUPTED: partial results".to_owned());
    }
    lines.extend(join_wrapped(&run_parts(summary), " · ", WIDTH_MAX));
    lines.extend(join_wrapped(&machine_parts(summary), " · ", WIDTH_MAX));
    lines
}

/// The parts of the head line: profile, speed, durability, commit, layout, plateau, message size, seed.
pub fn run_parts(summary: &Summary) -> Vec<String> {
    let run = &summary.run;
    let mut parts = vec![
        clean(&run.profile),
        format!("{}× speed", format::factor(run.speed)),
        clean(&run.durability),
        format!("commit {}", clean(&run.commit)),
    ];
    if run.layout != Layout::Partition.to_string() {
        parts.push(format!("layout {}", clean(&run.layout)));
    }
    parts.push(match &run.plateau {
        Some(plateau) => {
            let rate = format!("plateau {} msg/s", format::count(plateau.messages_per_s));
            match &plateau.of {
                Some(of) => {
                    let remembered = if of.remembered { ", remembered" } else { "" };
                    let capped = if of.capped { ", capped at 80 % of null's" } else { "" };
                    let (multiple, engine) = (format::factor(of.multiple), clean(&of.engine));
                    format!("{rate} = {multiple} × {engine}'s {} wall{capped}{remembered}", clean(&of.durability))
                }
                None => format!("{rate} as given"),
            }
        }
        None if run.rate == 1.0 => "the profile's own rates".to_owned(),
        None => format!("{} × the profile's own rates", format::factor(run.rate)),
    });
    parts.push(format!("messages of {}", format::bytes(run.message_bytes_mean)));
    if run.shards != 1 {
        parts.push(format!("{} shards", run.shards));
    }
    parts.push(format!("seed {}", run.seed));
    parts
}

/// The parts of the machine line.
pub fn machine_parts(summary: &Summary) -> Vec<String> {
    let machine = &summary.machine;
    let cores = &machine.cores;
    let shards = if cores.shards.len() == 1 { "shard" } else { "shards" };
    let mut who = vec![format!("{} generator", list(&cores.generator)), format!("{} {shards}", list(&cores.shards))];
    if !cores.helpers.is_empty() && cores.helpers != cores.allowed {
        who.push(format!("{} helpers", list(&cores.helpers)));
    }
    let mut parts = vec![
        format!("{} on {}", clean(&machine.file_system), clean(&machine.device)),
        match machine.flush_ns {
            Some(ns) => format!("bare flush {}", format::latency(ns)),
            None => "bare flush not measured".to_owned(),
        },
        format!("{} cores: {}", cores.allowed.len(), who.join("; ")),
    ];
    if let Some(quota) = cores.quota {
        parts.push(format!("quota of {} cores", format::factor(quota)));
    }
    parts.push("one run each, no verdict".to_owned());
    parts
}

fn list(cores: &[usize]) -> String {
    let names: Vec<String> = cores.iter().map(usize::to_string).collect();
    if names.is_empty() { "anywhere".to_owned() } else { names.join(",") }
}

fn rows(summary: &Summary) -> Vec<String> {
    let columns = columns(summary);
    let table: Vec<Option<Vec<String>>> = summary.engines.iter().map(|engine| cells(summary, engine)).collect();
    let width = |n: usize| {
        let below = table.iter().flatten().map(|cells| cells[n].chars().count()).max().unwrap_or(0);
        columns[n].width_min.max(columns[n].name.chars().count()).max(below)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut lines = vec![groups(&columns, &widths)];
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    lines.push(row(&columns, &widths, &names));
    for (engine, cells) in summary.engines.iter().zip(&table) {
        match cells {
            Some(cells) => lines.push(row(&columns, &widths, cells)),
            None => {
                let name = cells::name(engine);
                let why = match &engine.status {
                    Status::Unavailable { why } => format!("unavailable: {}", clean(why)),
                    Status::Failed { why } => format!("failed: {}", clean(why)),
                    Status::Partial { why } => format!("nothing measured: {}", clean(why)),
                    Status::Ok => "nothing measured".to_owned(),
                };
                let indent = name.chars().count().max(REMARK_INDENT - 1) + 1;
                let mut wrapped = wrap(&why, WIDTH_MAX - indent).into_iter();
                lines.push(format!("{name:<indent$}{}", wrapped.next().unwrap_or_default()));
                lines.extend(wrapped.map(|line| format!("{:indent$}{line}", "")));
            }
        }
        for remark in remarks(summary, engine) {
            let indent = REMARK_INDENT + 2;
            for (n, line) in wrap(&clean(&remark), WIDTH_MAX - indent).into_iter().enumerate() {
                let lead = if n == 0 { "└ " } else { "  " };
                lines.push(format!("{:REMARK_INDENT$}{lead}{line}", ""));
            }
        }
    }
    lines
}

fn row(columns: &[Column], widths: &[usize], cells: &[String]) -> String {
    let mut parts = Vec::new();
    for ((column, width), cell) in columns.iter().zip(widths).zip(cells) {
        parts.push(match column.align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
    }
    parts.join(" ")
}

/// The line above the column names: each group's title right-aligned over its columns.
fn groups(columns: &[Column], widths: &[usize]) -> String {
    let mut parts = Vec::new();
    let mut n = 0;
    while n < columns.len() {
        let members = columns[n..].iter().take_while(|column| column.group == columns[n].group).count();
        let width = widths[n..n + members].iter().sum::<usize>() + members - 1;
        let title = &columns[n].group;
        // A group of several columns gets a rule, so that it is seen where it starts and ends.
        parts.push(if members > 1 && !title.is_empty() {
            format!("{:─^width$}", format!(" {title} "))
        } else {
            format!("{title:>width$}")
        });
        n += members;
    }
    parts.join(" ")
}

/// What to make of the rows: validity, objectives, notes.
fn foot(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let failed: Vec<_> = summary.failed_gates().collect();
    if failed.is_empty() {
        lines.push(believable(summary));
    } else {
        lines.push(format!("NOT VALID: {} failed", gates(failed.len())));
        for (engine, verdict) in failed {
            let of = engine.map(|engine| format!(" ({})", clean(engine))).unwrap_or_default();
            lines.extend(item(&format!("{}{of}: {}", clean(&verdict.gate), clean(&verdict.detail))));
        }
    }
    for line in objectives(summary) {
        lines.extend(item(&line));
    }
    for note in notes(summary) {
        lines.extend(item(&clean(&note)));
    }
    lines
}

/// "valid: all N gates passed", or that nothing was measured.
fn believable(summary: &Summary) -> String {
    let measured = summary.engines.iter().filter_map(|engine| engine.measurement.as_ref());
    let count = summary.validity.len() + measured.map(|measured| measured.validity.len()).sum::<usize>();
    match count {
        0 => "validity: no gate was reached".to_owned(),
        count => format!("valid: {} passed", gates(count)),
    }
}

fn gates(n: usize) -> String {
    if n == 1 { "1 gate".to_owned() } else { format!("{n} gates") }
}

/// One line an objective: who met it.
pub fn objectives(summary: &Summary) -> Vec<String> {
    let line = |(n, objective): (usize, &crate::summary::Objective)| {
        let met: Vec<String> = summary
            .engines
            .iter()
            .filter_map(|engine| {
                let met = engine.measurement.as_ref()?.objectives.get(n)?;
                let missed = if met.share < objective.share { " (missed)" } else { "" };
                Some(format!("{} {}{missed}", clean(&engine.name), format::percent(met.share)))
            })
            .collect();
        let goal = format!("{} within {}", format::percent(objective.share), format::latency(objective.within_ns));
        (!met.is_empty()).then(|| format!("objective {goal}: {}", met.join(", ")))
    };
    summary.objectives.iter().enumerate().filter_map(line).collect()
}

/// The run's own notes and those that follow from its rows.
pub fn notes(summary: &Summary) -> Vec<String> {
    let mut notes = summary.notes.clone();
    let mut paths: Vec<&str> = summary
        .engines
        .iter()
        .filter(|engine| engine.measurement.is_some() && !engine.send.is_empty())
        .map(|engine| engine.send.as_str())
        .collect();
    paths.sort_unstable();
    paths.dedup();
    if paths.len() > 1 && !notes.iter().any(|note| note.contains("--send copy")) {
        notes.push("each engine sends by its natural path; `--send copy` holds it equal".to_owned());
    }
    if summary.engines.iter().any(cells::went_under) {
        let mark = &summary.clock.mark;
        notes.push(format!(
            "under: a queue of over {:.0} ms of the peak's arrivals; dry: the end of that, after {mark}",
            crate::summary::UNDER_QUEUE_MS,
        ));
    }
    notes
}

fn item(text: &str) -> Vec<String> {
    let lines = wrap(text, WIDTH_MAX - 2).into_iter().enumerate();
    lines.map(|(n, line)| format!("{}{line}", if n == 0 { "- " } else { "  " })).collect()
}
