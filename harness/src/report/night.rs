//! The picture of the run: three strips on one clock. Offered and achieved; the queue; p99.9 of the response on a log scale.

use super::{
    html::{escape, script_json},
    svg::{Scale, count_tick, decade_ticks, decades, latency_tick, path, spread, ticks},
};
use crate::summary::{Dry, EngineResult, Fluid, Measurement, PhaseRole, Series, Summary, format, under_threshold};
use serde_json::json;

const WIDTH: f64 = 1200.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 1068.0;
/// Top and bottom of each strip.
const RATES: (f64, f64) = (20.0, 128.0);
const QUEUE: (f64, f64) = (156.0, 252.0);
const TAIL: (f64, f64) = (280.0, 384.0);
const HEIGHT: f64 = 424.0;
/// Points of a line beyond which neighbours are put together.
const POINTS_MAX: usize = 1_200;
/// Distance of labels beside the strips.
const LABEL_GAP: f64 = 14.0;

/// The colour class of an engine: the known ones always have the same colour.
pub(super) fn class(name: &str) -> &'static str {
    match name {
        "mmap" => "e-mmap",
        "direct" => "e-direct",
        "pagecache" => "e-pagecache",
        "memory" => "e-memory",
        "null" => "e-null",
        _ => "e-other",
    }
}

/// One engine's lines, thinned to what the picture can show.
struct Line<'a> {
    name: &'a str,
    class: &'static str,
    measured: &'a Measurement,
    t_s: Vec<f64>,
    achieved: Vec<f64>,
    queue: Vec<f64>,
    p999: Vec<Option<u64>>,
    p99: Vec<Option<u64>>,
}

/// The figure with its caption; empty when nothing was measured.
pub(super) fn figure(summary: &Summary) -> String {
    let lines: Vec<Line> = summary.engines.iter().filter_map(|engine| line(engine, summary.clock.interval_s)).collect();
    if lines.is_empty() {
        return "<p class=\"lead\">Nothing was measured, so there is nothing to draw.</p>".to_owned();
    }
    let end_s = lines.iter().filter_map(|line| line.t_s.last()).fold(summary.clock.duration_s, |a, b| a.max(*b));
    let mark_s = summary.clock.mark_s;
    let x = Scale::linear((0.0, end_s.max(summary.clock.interval_s)), (LEFT, RIGHT));
    let mut svg = format!(
        "<svg id=\"night\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Offered and achieved messages a \
         second, queue, and p99.9 of the response over the run\">\n"
    );
    svg.push_str(&plateau_band(summary, &x));
    svg.push_str(&clock(summary, &x, end_s));
    svg.push_str(&rates(summary, &lines, &x));
    svg.push_str(&queue(summary, &lines, &x));
    svg.push_str(&tail(summary, &lines, &x));
    svg.push_str("<path id=\"cursor\"/></svg>\n");
    let data = json!({
        "left": LEFT, "right": RIGHT, "top": RATES.0, "bottom": TAIL.1, "end": end_s, "mark": summary.clock.mark,
        "markAt": mark_s, "speed": summary.run.speed,
        "interval": summary.clock.interval_s, "offered": summary.offered_per_s,
        "engines": lines.iter().map(|line| json!({
            "name": line.name, "class": line.class, "t": line.t_s, "achieved": line.achieved, "queue": line.queue,
            "p999": line.p999, "p99": line.p99,
        })).collect::<Vec<_>>(),
    });
    format!(
        "<figure>{svg}<div id=\"readout\" hidden></div></figure>\n<script type=\"application/json\" id=\"night-data\">{}</script>\n",
        script_json(&data)
    )
}

fn line(engine: &EngineResult, interval_s: f64) -> Option<Line<'_>> {
    let measured = engine.measurement.as_ref()?;
    let series: &Series = &measured.series;
    if series.is_empty() {
        return None;
    }
    let middle: Vec<f64> = series.t_s.iter().map(|t| t + interval_s / 2.0).collect();
    let queue: Vec<f64> = series.backlog.iter().map(|messages| *messages as f64).collect();
    // p99 stands in only where an interval has too few samples for p99.9.
    let p99: Vec<Option<u64>> =
        series.p99_ns.iter().zip(&series.p999_ns).map(|(p99, p999)| p999.map_or(*p99, |_| None)).collect();
    Some(Line {
        name: &engine.name,
        class: class(&engine.name),
        measured,
        t_s: thin_mean(&middle),
        achieved: thin_mean(&series.achieved_per_s),
        queue: thin(&queue, |chunk| chunk.iter().copied().fold(0.0, f64::max)),
        p999: thin(&series.p999_ns, |chunk| chunk.iter().flatten().max().copied()),
        p99: thin(&p99, |chunk| chunk.iter().flatten().max().copied()),
    })
}

fn thin<T: Clone>(values: &[T], together: impl Fn(&[T]) -> T) -> Vec<T> {
    let size = values.len().div_ceil(POINTS_MAX).max(1);
    values.chunks(size).map(together).collect()
}

fn thin_mean(values: &[f64]) -> Vec<f64> {
    thin(values, |chunk| (chunk.iter().sum::<f64>() / chunk.len() as f64 * 1e3).round() / 1e3)
}

/// The plateau behind all strips.
fn plateau_band(summary: &Summary, x: &Scale) -> String {
    let (from, to) = (x.at(summary.clock.plateau_start_s), x.at(summary.clock.plateau_end_s));
    let name = summary.phase_named(PhaseRole::Plateau).unwrap_or("plateau");
    format!(
        "<rect class=\"band\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>\n",
        RATES.0,
        (to - from).max(0.5),
        TAIL.1 - RATES.0,
        escape(name)
    )
}

/// The time axis: seconds of the run told from the mark, and beneath them the time they stand for.
fn clock(summary: &Summary, x: &Scale, end_s: f64) -> String {
    let (mark_s, speed) = (summary.clock.mark_s, summary.run.speed);
    let mut svg = String::from("<g class=\"axis\">");
    let bottom = TAIL.1;
    for tick in ticks(-mark_s, end_s - mark_s, 9) {
        let at = x.at(tick + mark_s);
        let sign = if tick < 0.0 { "−" } else { "+" };
        let (run, life) = if tick.abs() < 1e-9 {
            (escape(&summary.clock.mark), String::new())
        } else {
            (format!("{sign}{}", second_tick(tick.abs())), format!("{sign}{}", second_tick(tick.abs() * speed)))
        };
        let line = if tick.abs() < 1e-9 { "mark" } else { "grid" };
        for (top, low) in [RATES, QUEUE, TAIL] {
            svg.push_str(&format!("<path class=\"{line}\" d=\"M{at:.1} {top:.1}V{low:.1}\"/>"));
        }
        svg.push_str(&format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{run}</text>", bottom + 16.0));
        if speed != 1.0 && !life.is_empty() {
            svg.push_str(&format!(
                "<text class=\"faint\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{life}</text>",
                bottom + 31.0
            ));
        }
    }
    svg.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\">run clock</text>", RIGHT + 30.0, bottom + 16.0));
    if speed != 1.0 {
        let text = format!("in life ({}×)", format::factor(speed));
        svg.push_str(&format!(
            "<text class=\"faint\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            RIGHT + 30.0,
            bottom + 31.0
        ));
    }
    svg.push_str("</g>\n");
    svg
}

/// `5 s`, `10 min`, `2.5 h`: no needless digits.
fn second_tick(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 120.0 => (s, "s"),
        s if s < 7_200.0 => (s / 60.0, "min"),
        s => (s / 3_600.0, "h"),
    };
    format!("{} {unit}", format::factor((value * 10.0).round() / 10.0))
}

fn title(text: &str, top: f64) -> String {
    format!("<text class=\"strip\" x=\"{LEFT}\" y=\"{:.1}\">{text}</text>", top - 7.0)
}

/// Horizontal grid with its labels.
fn levels(scale: &Scale, values: &[f64], label: impl Fn(f64) -> String) -> String {
    let mut svg = String::from("<g class=\"axis\">");
    for value in values {
        let y = scale.at(*value);
        svg.push_str(&format!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>"));
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 7.0,
            y + 4.0,
            label(*value)
        ));
    }
    svg.push_str("</g>\n");
    svg
}

/// Labels beside the right edge, each at its line's height, moved apart where lines meet.
fn labels(entries: &[(f64, &str, String)], (top, bottom): (f64, f64)) -> String {
    let wanted: Vec<f64> = entries.iter().map(|(y, _, _)| *y).collect();
    let placed = spread(&wanted, LABEL_GAP, top + 4.0, bottom);
    let mut svg = String::new();
    for ((y, class, text), at) in entries.iter().zip(placed) {
        let from = RIGHT + 2.0;
        svg.push_str(&format!("<path class=\"lead {class}\" d=\"M{from:.1} {y:.1}L{:.1} {at:.1}\"/>", from + 9.0));
        svg.push_str(&format!(
            "<text class=\"label {class}\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            from + 12.0,
            at + 4.0
        ));
    }
    svg
}

fn drawn<'a>(line: &'a Line, x: &'a Scale, y: &'a Scale, values: &'a [f64]) -> String {
    path(line.t_s.iter().zip(values).map(|(t, value)| Some((x.at(*t), y.at(*value)))))
}

fn rates(summary: &Summary, lines: &[Line], x: &Scale) -> String {
    let offered = &summary.offered_per_s;
    let achieved = lines.iter().flat_map(|line| line.achieved.iter());
    let highest = offered.iter().chain(achieved).copied().fold(1.0, f64::max);
    let y = Scale::linear((0.0, highest * 1.04), (RATES.1, RATES.0));
    let mut svg = title("Offered (grey) and achieved, messages a second", RATES.0);
    svg.push_str(&levels(&y, &ticks(0.0, highest, 4), count_tick));
    let size = offered.len().div_ceil(POINTS_MAX).max(1);
    let mut area = format!("M{:.1} {:.1}", x.at(0.0), RATES.1);
    let width_s = summary.clock.interval_s * size as f64;
    for (n, chunk) in offered.chunks(size).enumerate() {
        let rate = y.at(chunk.iter().sum::<f64>() / chunk.len() as f64);
        area.push_str(&format!("L{:.1} {rate:.1}H{:.1}", x.at(n as f64 * width_s), x.at((n + 1) as f64 * width_s)));
    }
    svg.push_str(&format!("<path class=\"offered\" d=\"{area}V{:.1}Z\"/>", RATES.1));
    for line in lines {
        svg.push_str(&format!("<path class=\"line {}\" d=\"{}\"/>", line.class, drawn(line, x, &y, &line.achieved)));
    }
    // Named at the height of the plateau, where they differ; later they all meet the offered rate.
    let entries: Vec<_> = lines
        .iter()
        .map(|line| {
            let rate = line.measured.throughput.plateau_achieved_per_s;
            (y.at(rate), line.class, format!("{} {}", escape(line.name), format::count(rate)))
        })
        .collect();
    svg.push_str(&plain_labels(&entries, RATES));
    svg
}

fn queue(summary: &Summary, lines: &[Line], x: &Scale) -> String {
    let highest = lines.iter().flat_map(|line| line.queue.iter()).copied().fold(1.0, f64::max);
    let y = Scale::linear((0.0, highest * 1.06), (QUEUE.1, QUEUE.0));
    let flooded = lines.iter().any(|line| line.measured.dry != Dry::Always);
    let model = if flooded { " (dotted: fluid model)" } else { "" };
    let mut svg = title(&format!("Queue: due and not acknowledged, messages{model}"), QUEUE.0);
    svg.push_str(&levels(&y, &ticks(0.0, highest, 4), count_tick));
    let mut entries = Vec::new();
    for line in lines {
        let engine = summary.engines.iter().find(|engine| engine.name == line.name);
        let fluid = engine.and_then(|engine| summary.fluid(engine));
        if let (Some(fluid), true) = (fluid, line.measured.dry != Dry::Always) {
            let model = Fluid::queue(&summary.offered_per_s, summary.clock.interval_s, fluid.capacity_per_s);
            let points = model.iter().map(|(t, queue)| Some((x.at(*t), y.at(*queue))));
            svg.push_str(&format!("<path class=\"line model {}\" d=\"{}\"/>", line.class, path(points)));
        }
        svg.push_str(&format!("<path class=\"line {}\" d=\"{}\"/>", line.class, drawn(line, x, &y, &line.queue)));
        let deepest = format::count(line.measured.backlog.peak_messages as f64);
        entries.push((
            y.at(line.measured.backlog.peak_messages as f64),
            line.class,
            format!("{} {deepest}", escape(line.name)),
        ));
        if let Dry::Again { at_s, .. } = line.measured.dry {
            svg.push_str(&format!(
                "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/><text class=\"label {}\" x=\"{:.1}\" y=\"{:.1}\">dry {} after {}</text>",
                line.class, x.at(at_s), y.at(under_threshold(&summary.offered_per_s)), line.class, x.at(at_s) + 7.0, QUEUE.1 - 8.0,
                format::duration(at_s - summary.clock.mark_s), escape(&summary.clock.mark)
            ));
        }
    }
    svg.push_str(&plain_labels(&entries, QUEUE));
    svg
}

/// Labels in the right margin at the heights of what they tell, which lies elsewhere on the clock.
fn plain_labels(entries: &[(f64, &'static str, String)], (top, bottom): (f64, f64)) -> String {
    let wanted: Vec<f64> = entries.iter().map(|(y, _, _)| *y).collect();
    let placed = spread(&wanted, LABEL_GAP, top + 4.0, bottom);
    let mut svg = String::new();
    for ((_, class, text), at) in entries.iter().zip(placed) {
        svg.push_str(&format!(
            "<text class=\"label {class}\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
            RIGHT + 14.0,
            at + 4.0
        ));
    }
    svg
}

fn tail(summary: &Summary, lines: &[Line], x: &Scale) -> String {
    let values: Vec<f64> =
        lines.iter().flat_map(|line| line.p999.iter().chain(&line.p99)).flatten().map(|ns| *ns as f64).collect();
    let partly = lines.iter().any(|line| line.p99.iter().any(Option::is_some));
    let name = if partly {
        "p99.9 of the response (thin: p99, where too few messages arrive for p99.9), log scale"
    } else {
        "p99.9 of the response, log scale"
    };
    let mut svg = title(name, TAIL.0);
    let Some(low) = values.iter().copied().reduce(f64::min) else {
        svg.push_str(&format!(
            "<text class=\"faint\" x=\"{LEFT}\" y=\"{:.1}\">no interval has enough messages</text>",
            TAIL.0 + 20.0
        ));
        return svg;
    };
    let range = decades(low.max(1.0), values.iter().copied().fold(low, f64::max).max(1.0));
    let y = Scale::log(range, (TAIL.1, TAIL.0));
    svg.push_str(&levels(&y, &decade_ticks(range), latency_tick));
    let mut entries = Vec::new();
    for objective in &summary.objectives {
        let ns = objective.within_ns as f64;
        if (range.0..=range.1).contains(&ns) {
            let at = y.at(ns);
            svg.push_str(&format!("<path class=\"objective\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>"));
            entries.push((at, "faint", format!("objective {}", latency_tick(ns))));
        }
    }
    for line in lines {
        for (class, values) in [("line thin", &line.p99), ("line", &line.p999)] {
            let points = line.t_s.iter().zip(values).map(|(t, ns)| ns.map(|ns| (x.at(*t), y.at(ns as f64))));
            svg.push_str(&format!("<path class=\"{class} {}\" d=\"{}\"/>", line.class, path(points)));
        }
        let last = line.p999.iter().zip(&line.p99).rev().find_map(|(p999, p99)| p999.or(*p99));
        if let Some(ns) = last {
            entries.push((y.at(ns as f64), line.class, escape(line.name)));
        }
    }
    svg.push_str(&labels(&entries, (TAIL.0, TAIL.1 - 10.0)));
    svg
}
