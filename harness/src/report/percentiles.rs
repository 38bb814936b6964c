//! Latency in full: a curve a phase on a 1/(1-p) axis, and the numbers.

use super::{
    html::{escape, table},
    night::class,
    svg::{Scale, decade_ticks, decades, latency_tick, path, spread},
};
use crate::summary::{LatencySet, PhaseResult, Summary, format};

const WIDTH: f64 = 292.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 222.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 206.0;

/// Quantiles of a set with their names.
const QUANTILES: [(&str, f64); 5] = [("50", 0.5), ("90", 0.9), ("99", 0.99), ("99.9", 0.999), ("99.99", 0.9999)];

fn values(set: &LatencySet) -> [Option<u64>; 5] {
    [set.p50_ns, set.p90_ns, set.p99_ns, set.p999_ns, set.p9999_ns]
}

/// Curves of the response time, one picture a phase, all on the same scales.
pub(super) fn curves(summary: &Summary) -> String {
    let mut phases = phases(summary);
    // A phase of some milliseconds has no curve; its numbers stand below all the same.
    phases.retain(|(_, rows)| rows.iter().any(|(_, phase)| phase.response.p90_ns.is_some()));
    let told = |(_, rows): &(String, Vec<(&str, &PhaseResult)>)| {
        rows.iter().flat_map(|(_, phase)| values(&phase.response)).flatten().collect::<Vec<u64>>()
    };
    let all: Vec<u64> = phases.iter().flat_map(told).collect();
    let (Some(low), Some(high)) = (all.iter().min(), all.iter().max()) else { return String::new() };
    let range = decades((*low).max(1) as f64, (*high).max(1) as f64);
    let pictures: Vec<String> = phases.iter().map(|(name, rows)| curve(name, rows, range)).collect();
    format!("<div class=\"panels\">{}</div>\n", pictures.join("\n"))
}

fn curve(name: &str, rows: &[(&str, &PhaseResult)], range: (f64, f64)) -> String {
    let x = Scale::log((2.0, 1e4), (LEFT, RIGHT));
    let y = Scale::log(range, (BOTTOM, TOP));
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Response by \
         percentile, {}\"><g class=\"axis\">",
        escape(name),
        escape(name)
    );
    for (label, quantile) in QUANTILES {
        let at = x.at(1.0 / (1.0 - quantile));
        svg.push_str(&format!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>"));
        svg.push_str(&format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", BOTTOM + 16.0));
    }
    for value in decade_ticks(range) {
        let at = y.at(value);
        svg.push_str(&format!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>"));
        let text = latency_tick(value);
        svg.push_str(&format!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 6.0, at + 4.0));
    }
    let middle = (LEFT + RIGHT) / 2.0;
    svg.push_str(&format!(
        "<text class=\"faint\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">percentile, on 1/(1−p)</text></g>",
        BOTTOM + 33.0
    ));
    let mut ends = Vec::new();
    for (engine, phase) in rows {
        let class = class(engine);
        let points: Vec<Option<(f64, f64)>> = QUANTILES
            .iter()
            .zip(values(&phase.response))
            .map(|((_, quantile), ns)| ns.map(|ns| (x.at(1.0 / (1.0 - quantile)), y.at(ns as f64))))
            .collect();
        svg.push_str(&format!("<path class=\"line {class}\" d=\"{}\"/>", path(points.clone())));
        for (at, height) in points.iter().flatten() {
            svg.push_str(&format!("<circle class=\"dot {class}\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"2.5\"/>"));
        }
        if let Some((at, height)) = points.iter().flatten().next_back() {
            ends.push((*at, *height, class, escape(engine)));
        }
    }
    let wanted: Vec<f64> = ends.iter().map(|(_, height, _, _)| *height).collect();
    for ((at, _, class, name), height) in ends.iter().zip(spread(&wanted, 13.0, TOP + 4.0, BOTTOM)) {
        let (from, to) = (at + 7.0, height + 4.0);
        svg.push_str(&format!("<text class=\"label {class}\" x=\"{from:.1}\" y=\"{to:.1}\">{name}</text>"));
    }
    svg.push_str("</svg></figure>");
    svg
}

/// All numbers of all phases.
pub(super) fn numbers(summary: &Summary) -> String {
    let head = ["", "messages", "p50", "p90", "p99", "p99.9", "p99.99", "max"].map(str::to_owned);
    let mut html = String::new();
    for (name, rows) in phases(summary) {
        let mut lines = Vec::new();
        for (engine, phase) in rows {
            let sets = [
                ("response", Some(phase.response)),
                ("queued", Some(phase.queued)),
                ("lateness", Some(phase.lateness)),
                ("service", Some(phase.service)),
                ("end to end", phase.end_to_end),
            ];
            for (metric, set) in sets {
                let Some(set) = set else { continue };
                let who = format!("<span class=\"{}\">{}</span> {metric}", class(engine), escape(engine));
                let mut cells = vec![who, format::grouped(set.count)];
                let told = values(&set).into_iter().chain([set.max_ns]);
                cells.extend(told.map(|ns| ns.map_or_else(|| "–".to_owned(), format::latency)));
                lines.push(cells);
            }
        }
        let caption = escape(&name);
        html.push_str(&format!("<details><summary>{caption}</summary>{}</details>\n", table("numbers", &head, &lines)));
    }
    html
}

/// Each phase with the engines' figures, the whole run last.
fn phases(summary: &Summary) -> Vec<(String, Vec<(&str, &PhaseResult)>)> {
    let measured = || summary.engines.iter().filter_map(|e| e.measurement.as_ref().map(|m| (e.name.as_str(), m)));
    let mut phases: Vec<(String, Vec<(&str, &PhaseResult)>)> = summary
        .phases
        .iter()
        .map(|phase| {
            let rows = measured()
                .filter_map(|(name, measured)| Some((name, measured.phases.iter().find(|p| p.phase == phase.name)?)));
            (phase.name.clone(), rows.collect())
        })
        .collect();
    phases.push(("the whole run".to_owned(), measured().map(|(name, measured)| (name, &measured.total)).collect()));
    phases.retain(|(_, rows)| !rows.is_empty());
    phases
}
