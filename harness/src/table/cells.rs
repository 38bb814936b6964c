//! The cells of a row, and the remarks under it: shared by the terminal's table and the page's.

use super::text::clean;
use crate::summary::{
    CeilingShare, Dry, EngineResult, LatencySet, Measurement, PhaseResult, PhaseRole, Status, Summary, Wall, format,
};

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Title over this and its neighbours of the same group.
    pub group: String,
    /// Name.
    pub name: String,
    /// Characters that are kept free for it, whatever the rows hold.
    pub width_min: usize,
    /// Names to the left, numbers to the right.
    pub align: Align,
}

/// Where a cell's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// Characters of an engine's name in a row.
const NAME_MAX: usize = 9;
/// Characters of a send path.
const SEND_MAX: usize = 8;
/// Characters of a durability over its walls.
const DURABILITY_MAX: usize = 7;
/// What stands for "not measured".
const ABSENT: &str = "-";

/// The columns. Walls are shown at the run's durability and at one to compare with, and only if some are known.
pub fn columns(summary: &Summary) -> Vec<Column> {
    let column = |group: &str, name: &str, width_min| Column {
        group: group.to_owned(),
        name: name.to_owned(),
        width_min,
        align: Align::Right,
    };
    let left = |name: &str, width_min| Column { align: Align::Left, ..column("", name, width_min) };
    let mut columns = vec![left("engine", 9), left("send", 8)];
    for durability in wall_durabilities(summary) {
        columns.push(column("wall msg/s", &short_durability(&durability), 6));
    }
    columns.push(column("calm", "p99", 7));
    columns.push(column("plateau", "p50", 7));
    columns.push(column("plateau", "p99", 7));
    columns.push(column("plateau", "p99.9", 7));
    columns.push(column("queue", "peak", 5));
    columns.push(column("dry", "after", 7));
    columns.push(column("e2e", "p99", 7));
    columns.push(column("CPU-s", "/GB", 5));
    columns.push(column("calls", "/1000", 5));
    columns
}

/// The cells of an engine's row, one a column; `None` when nothing was measured.
pub fn cells(summary: &Summary, engine: &EngineResult) -> Option<Vec<String>> {
    let measured = engine.measurement.as_ref()?;
    let send = if engine.send.is_empty() { ABSENT.to_owned() } else { short(&engine.send, SEND_MAX) };
    let mut cells = vec![name(engine), send];
    for durability in wall_durabilities(summary) {
        cells.push(summary.wall(&engine.name, &durability).map_or_else(|| ABSENT.to_owned(), wall));
    }
    let calm = phase(summary, measured, PhaseRole::Calm).map(|phase| phase.response);
    let plateau = phase(summary, measured, PhaseRole::Plateau).map(|phase| phase.response);
    let told = |set: Option<LatencySet>, percentile: fn(&LatencySet) -> Option<u64>| {
        set.as_ref().and_then(percentile).map_or_else(|| ABSENT.to_owned(), format::latency)
    };
    cells.push(told(calm, |set| set.p99_ns));
    cells.push(told(plateau, |set| set.p50_ns));
    cells.push(told(plateau, |set| set.p99_ns));
    cells.push(told(plateau, |set| set.p999_ns));
    cells.push(format::count(measured.backlog.peak_messages as f64));
    cells.push(match measured.dry {
        Dry::Always => "always".to_owned(),
        Dry::Again { at_s, .. } => after(at_s - summary.clock.mark_s),
        Dry::Not { .. } => "not dry".to_owned(),
    });
    cells.push(told(measured.total.end_to_end, |set| set.p99_ns));
    let number = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), format::ratio);
    cells.push(number(measured.costs.cpu_s_per_gb()));
    cells.push(number(measured.costs.system_calls_per_1000));
    Some(cells)
}

/// What must be said of a row, most important first.
pub fn remarks(summary: &Summary, engine: &EngineResult) -> Vec<String> {
    let Some(measured) = engine.measurement.as_ref() else { return Vec::new() };
    let mut remarks = Vec::new();
    match &engine.status {
        Status::Failed { why } => remarks.push(format!("failed: {why}")),
        Status::Partial { why } => remarks.push(format!("partial: {why}")),
        Status::Unavailable { why } => remarks.push(format!("unavailable: {why}")),
        Status::Ok => {}
    }
    if measured.generator.harness_bound {
        let busy = format::percent(measured.generator.busy_share_peak);
        remarks.push(format!("harness-bound: generator's core {busy} busy at the peak; the engine may stand higher"));
    }
    if let Dry::Not { left_messages, .. } = measured.dry {
        remarks.push(format!("not dry, {} left", format::grouped(left_messages)));
    }
    if went_under(engine) {
        remarks.push(overload(summary, engine, measured));
    }
    remarks.extend(ceilings(measured));
    if summary.run.durability == "none"
        && let Some(per_byte) = measured.costs.device_bytes_per_byte()
    {
        let share = format::percent(per_byte);
        remarks.push(format!("device had taken {share} of the payload's bytes when the run ended"));
    }
    remarks.extend(measured.notes.iter().cloned());
    remarks
}

/// The ceiling that binds, and the next one.
fn ceilings(measured: &Measurement) -> Option<String> {
    let [first, rest @ ..] = measured.ceilings.as_slice() else { return None };
    let amount = |share: &CeilingShare| match share.unit.as_str() {
        "cores" => String::new(),
        _ => format!(" ({} of {}/s)", format::bytes(share.used), format::bytes(share.limit)),
    };
    let next = rest.first().map(|next| format!("; next {} {}", next.ceiling, format::percent(next.share)));
    let share = format::percent(first.share);
    Some(format!("ceiling: {share} of {}{}{}", first.ceiling, amount(first), next.unwrap_or_default()))
}

/// How long the engine was under, and the fluid model's value at speed 1 beside it: queue and delay scale with time.
fn overload(summary: &Summary, engine: &EngineResult, measured: &Measurement) -> String {
    let under = match measured.dry {
        Dry::Again { under_at_s, at_s } => format!("under for {}", format::duration(at_s - under_at_s)),
        _ => "under to the end".to_owned(),
    };
    let Some(fluid) = summary.fluid(engine) else { return under };
    if fluid.peak_messages == 0.0 {
        let capacity = format::count(fluid.capacity_per_s);
        return format!("{under}, though the fluid model sees no queue at {capacity} msg/s");
    }
    let speed = summary.run.speed;
    let dry = fluid.dry_at_s.map(|at_s| format!(", dry {}", after((at_s - summary.clock.mark_s) * speed)));
    format!(
        "{under}; fluid model at speed 1: queue {}, delay {}{}",
        format::count(fluid.peak_messages * speed),
        format::duration(fluid.delay_s * speed),
        dry.unwrap_or_default()
    )
}

/// It stood under water at some time.
pub(super) fn went_under(engine: &EngineResult) -> bool {
    engine.measurement.as_ref().is_some_and(|measured| measured.dry != Dry::Always)
}

/// An engine's name as rows show it.
pub(super) fn name(engine: &EngineResult) -> String {
    short(&engine.name, NAME_MAX)
}

/// The figures of the phase with this role.
pub(super) fn phase<'a>(summary: &Summary, measured: &'a Measurement, role: PhaseRole) -> Option<&'a PhaseResult> {
    let name = summary.phase_named(role)?;
    measured.phases.iter().find(|phase| phase.phase == name)
}

/// Durabilities whose walls are shown: the run's, and one to compare with.
fn wall_durabilities(summary: &Summary) -> Vec<String> {
    let chosen = summary.run.durability.as_str();
    let other = if chosen == "none" { "durable" } else { "none" };
    let mut shown = vec![chosen, other];
    // Durable stands left, whichever was chosen.
    shown.sort_by_key(|durability| *durability == "none");
    let known = |durability: &&str| summary.walls.iter().any(|wall| wall.durability == *durability);
    shown.into_iter().filter(known).map(str::to_owned).collect()
}

fn short_durability(durability: &str) -> String {
    if durability.starts_with("interval") { "interv.".to_owned() } else { short(durability, DURABILITY_MAX) }
}

fn wall(wall: &Wall) -> String {
    format!("{}{}", if wall.harness_bound { "≥" } else { "" }, format::count(wall.messages_per_s))
}

/// A time after the mark: `+10.9 s`, `+21 min`.
fn after(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "+" };
    match seconds.abs() {
        near if near < 99.95 => format!("{sign}{near:.1} s"),
        far => format!("{sign}{}", format::duration(far)),
    }
}

fn short(text: &str, max: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= max {
        return text;
    }
    let kept: String = text.chars().take(max - 1).collect();
    format!("{kept}…")
}
