//! What it cost: CPU, the way of the bytes, walls, and every count in a table.

use super::{
    html::{escape, table},
    night::class,
    svg::{Scale, bytes_tick, count_tick, ticks},
};
use crate::summary::{Costs, Summary, format};

const WIDTH: f64 = 590.0;
const LEFT: f64 = 120.0;
const RIGHT: f64 = 466.0;
const ROW: f64 = 22.0;

/// One bar: its label, its colour class, its parts (name, value), and whether it follows a gap.
struct Bar<'a> {
    label: String,
    class: &'static str,
    parts: Vec<(&'a str, f64)>,
    first: bool,
    text: String,
    /// Shade of the first part: 0 is full, 2 the lightest.
    shade: usize,
}

/// A horizontal bar chart; `reference` is a value to draw a line at, with its name.
fn bars(title: &str, bars: &[Bar<'_>], number: fn(f64) -> String, reference: Option<(f64, &str)>) -> String {
    let total = |bar: &Bar<'_>| bar.parts.iter().map(|(_, value)| value).sum::<f64>();
    let highest = bars.iter().map(total).chain(reference.map(|(value, _)| value)).fold(1e-9, f64::max);
    let x = Scale::linear((0.0, highest), (LEFT, RIGHT));
    let gaps = bars.iter().skip(1).filter(|bar| bar.first).count() as f64;
    let bottom = 8.0 + bars.len() as f64 * ROW + gaps * 8.0;
    let mut svg = format!(
        "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{title}\"><g class=\"axis\">",
        bottom + 24.0
    );
    for tick in ticks(0.0, highest, 5) {
        let at = x.at(tick);
        svg.push_str(&format!("<path class=\"grid\" d=\"M{at:.1} 4V{bottom:.1}\"/>"));
        let text = if tick == 0.0 { "0".to_owned() } else { number(tick) };
        svg.push_str(&format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", bottom + 16.0));
    }
    svg.push_str("</g>");
    let mut y = 6.0;
    for (n, bar) in bars.iter().enumerate() {
        y += if bar.first && n > 0 { 8.0 } else { 0.0 };
        svg.push_str(&format!(
            "<text class=\"label {}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            bar.class,
            LEFT - 8.0,
            y + 14.0,
            bar.label
        ));
        let mut from = 0.0;
        for (part, (name, value)) in (bar.shade..).zip(&bar.parts) {
            let (start, end) = (x.at(from), x.at(from + value));
            svg.push_str(&format!(
                "<rect class=\"bar p{part} {}\" x=\"{start:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{name} {}</title></rect>",
                bar.class,
                y + 3.0,
                (end - start).max(0.0),
                ROW - 6.0,
                number(*value)
            ));
            from += value;
        }
        let (end, middle, text) = (x.at(from) + 6.0, y + 14.0, &bar.text);
        svg.push_str(&format!("<text class=\"value\" x=\"{end:.1}\" y=\"{middle:.1}\">{text}</text>"));
        y += ROW;
    }
    if let Some((value, name)) = reference {
        let at = x.at(value);
        svg.push_str(&format!("<path class=\"objective\" d=\"M{at:.1} 2V{bottom:.1}\"><title>{name}</title></path>"));
    }
    svg.push_str("</svg></figure>");
    svg
}

fn measured(summary: &Summary) -> impl Iterator<Item = (&str, &Costs)> {
    summary.engines.iter().filter_map(|engine| Some((engine.name.as_str(), &engine.measurement.as_ref()?.costs)))
}

/// The pictures: walls against the plateau, CPU, the waterfall of bytes.
pub(super) fn pictures(summary: &Summary) -> String {
    let mut html = String::from("<div class=\"pair\">");
    if !summary.walls.is_empty() {
        html.push_str(&walls(summary));
    }
    html.push_str(&cpu(summary));
    html.push_str(&bytes(summary));
    html.push_str(&stages(summary));
    html.push_str("</div>\n");
    html
}

fn walls(summary: &Summary) -> String {
    let mut last = "";
    let mut rows = Vec::new();
    for wall in &summary.walls {
        let bound = if wall.harness_bound { "≥ " } else { "" };
        rows.push(Bar {
            label: format!("{} {}", escape(&wall.engine), escape(&wall.durability)),
            class: class(&wall.engine),
            parts: vec![("wall", wall.messages_per_s)],
            first: wall.engine != last,
            text: format!("{bound}{}", format::count(wall.messages_per_s)),
            shade: usize::from(wall.durability != "durable"),
        });
        last = &wall.engine;
    }
    let plateau = summary.run.plateau.as_ref().map(|plateau| (plateau.messages_per_s, "plateau of this run"));
    let title = match plateau {
        Some(_) => "Walls, messages a second (dashed: the plateau of this run)",
        None => "Walls, messages a second",
    };
    bars(title, &rows, count_tick, plateau)
}

fn cpu(summary: &Summary) -> String {
    let rows: Vec<Bar<'_>> = measured(summary)
        .filter_map(|(name, costs)| {
            Some(Bar {
                label: escape(name),
                class: class(name),
                parts: vec![
                    ("shards", costs.cpu_shard_s_per_gb?),
                    ("helpers", costs.cpu_helpers_s_per_gb.unwrap_or(0.0)),
                    ("ring's kernel workers", costs.cpu_kernel_workers_s_per_gb.unwrap_or(0.0)),
                ],
                first: true,
                text: format::ratio(costs.cpu_s_per_gb()?),
                shade: 0,
            })
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    bars("CPU, seconds a GB: shards, helpers (lighter), ring's kernel workers (lightest)", &rows, format::ratio, None)
}

fn bytes(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for (name, costs) in measured(summary) {
        let payload = costs.payload_bytes as f64;
        let steps =
            [("payload", Some(costs.payload_bytes)), ("written", costs.written_bytes), ("device", costs.device_bytes)];
        for (shade, (step, value)) in [2, 1, 0].into_iter().zip(steps) {
            let Some(value) = value.map(|value| value as f64) else { continue };
            let times = if payload > 0.0 { format!(" ({}×)", format::ratio(value / payload)) } else { String::new() };
            rows.push(Bar {
                label: if step == "payload" { format!("{} {step}", escape(name)) } else { step.to_owned() },
                class: class(name),
                parts: vec![(step, value)],
                first: step == "payload",
                text: format!("{}{times}", format::bytes(value)),
                shade,
            });
        }
    }
    bars("The way of the bytes: payload → written → device", &rows, bytes_tick, None)
}

/// Where the shards' time goes, a bar an engine; nothing unless the run measured it.
fn stages(summary: &Summary) -> String {
    let rows: Vec<Bar<'_>> = measured(summary)
        .filter(|(_, costs)| !costs.stages.is_empty())
        .map(|(name, costs)| Bar {
            label: escape(name),
            class: class(name),
            parts: costs.stages.iter().map(|cost| (cost.stage.as_str(), cost.ns_per_message)).collect(),
            first: true,
            text: format!("{} ns", format::count(costs.stages.iter().map(|cost| cost.ns_per_message).sum())),
            shade: 0,
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    bars("Where the shards' time goes, ns a message (the table below names the parts)", &rows, count_tick, None)
}

/// Every count, one column an engine.
pub(super) fn counts(summary: &Summary) -> String {
    let mut head = vec![String::new()];
    head.extend(measured(summary).map(|(name, _)| format!("<span class=\"{}\">{}</span>", class(name), escape(name))));
    type Read = fn(&Costs) -> Option<String>;
    let rows: [(&str, Read); 17] = [
        ("payload acknowledged", |c| Some(format::bytes(c.payload_bytes as f64))),
        ("bytes written", |c| c.written_bytes.map(|n| format::bytes(n as f64))),
        ("bytes that reached the device", |c| c.device_bytes.map(|n| format::bytes(n as f64))),
        ("of these, preparing segments", |c| c.prepared_bytes.map(|n| format::bytes(n as f64))),
        ("device bytes for a payload byte", |c| c.device_bytes_per_byte().map(format::ratio)),
        ("CPU-s/GB, shards", |c| c.cpu_shard_s_per_gb.map(format::ratio)),
        ("CPU-s/GB, helpers", |c| c.cpu_helpers_s_per_gb.map(format::ratio)),
        ("CPU-s/GB, ring's kernel workers", |c| c.cpu_kernel_workers_s_per_gb.map(format::ratio)),
        ("CPU-s/GB, kernel's write-back (the whole machine's)", |c| c.cpu_write_back_s_per_gb.map(format::ratio)),
        ("system calls for 1,000 messages", |c| c.system_calls_per_1000.map(format::ratio)),
        ("page faults without I/O", |c| c.minor_faults.map(format::grouped)),
        ("page faults with I/O", |c| c.major_faults.map(format::grouped)),
        ("copies of a byte, ours (counted)", |c| c.copies_own_per_byte.map(format::ratio)),
        ("copies of a byte, the kernel's (by design)", |c| c.copies_kernel_per_byte.map(format::ratio)),
        ("copies of a byte, together", |c| Some(format::ratio(c.copies_own_per_byte? + c.copies_kernel_per_byte?))),
        ("flushes", |c| Some(format::grouped(c.flushes))),
        ("messages a flush", |c| c.messages_per_flush.map(format::ratio)),
    ];
    let mut lines: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, read)| {
            let mut line = vec![(*name).to_owned()];
            line.extend(measured(summary).map(|(_, costs)| read(costs).unwrap_or_else(|| "absent".to_owned())));
            line
        })
        .collect();
    let names = measured(summary).map(|(_, costs)| &costs.stages).max_by_key(|stages| stages.len());
    for cost in names.into_iter().flatten() {
        let of = |costs: &Costs| costs.stages.iter().find(|own| own.stage == cost.stage).map(|own| own.ns_per_message);
        let mut line = vec![format!("ns a message: {}", escape(&cost.stage))];
        line.extend(measured(summary).map(|(_, costs)| of(costs).map_or("absent".to_owned(), format::ratio)));
        lines.push(line);
    }
    table("numbers", &head, &lines)
}
