//! `report.html`: one self-contained page. The first screen answers who stayed dry, who went under, for how long, at what
//! price, and whether to believe it; the rest is for whoever doubts.
//!
//! What never lives here: requests to any network, figures that are not in summary or manifest, text that is not escaped.
//! The pictures are SVG made here; the script only adds a read-out under the pointer.

mod about;
mod costs;
mod html;
mod night;
mod percentiles;
mod sentence;
mod svg;

pub use sentence::{outcome, verdict};

use crate::{
    summary::{Manifest, REPORT_FILE, ResultError, Status, Summary},
    table::{self, Align},
};
use html::{escape, prose, section};
use std::path::{Path, PathBuf};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Writes the page of a run into its results folder and returns its path.
///
/// # Errors
/// The folder cannot be written.
pub fn store(folder: &Path, summary: &Summary, manifest: Option<&Manifest>) -> Result<PathBuf, ResultError> {
    let path = folder.join(REPORT_FILE);
    match std::fs::write(&path, render(summary, manifest)) {
        Ok(()) => Ok(path),
        Err(error) => Err(ResultError::Io { path, error }),
    }
}

/// The page of a run: one self-contained file.
pub fn render(summary: &Summary, manifest: Option<&Manifest>) -> String {
    let title = table::run_parts(summary).into_iter().take(3).collect::<Vec<_>>().join(" · ");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Highwater: {}</title>\n\
         <style>{STYLE}</style></head>\n<body><main>\n",
        escape(&title)
    );
    page.push_str(&first_screen(summary));
    page.push_str(&percentile_section(summary));
    page.push_str(&section(
        "costs",
        "Costs",
        "Of the engine alone: generator and consumers are never counted. A GB is 10<sup>9</sup> bytes of payload.",
        &format!("{}{}", costs::pictures(summary), costs::counts(summary)),
    ));
    let lead = "What was asked for is what ran: each claim with the count that proves it.";
    page.push_str(&section("attestation", "Attestation", lead, &about::attestation(summary)));
    let lead = "A run that fails one of these says so here, in the table and in its files.";
    page.push_str(&section("validity", "Validity", lead, &about::gates(summary)));
    page.push_str(&section(
        "machine",
        "Machine and manifest",
        "Where these figures hold.",
        &about::machine(summary, manifest),
    ));
    page.push_str(&about::repeat(summary));
    page.push_str(&section("words", "Words", "As this page uses them.", &about::words(summary)));
    page.push_str(&format!("</main>\n<script>{SCRIPT}</script>\n</body></html>\n"));
    page
}

fn first_screen(summary: &Summary) -> String {
    let (valid, verdict) = sentence::verdict(summary);
    let mut html = format!(
        "<header><p class=\"eyebrow\"><b>Highwater</b> {}</p>\n",
        escape(table::run_parts(summary).join(" · "))
    );
    html.push_str(&format!("<h1>{}</h1>\n", escape(sentence::outcome(summary))));
    let class = if valid { "verdict valid" } else { "verdict invalid" };
    html.push_str(&format!("<p class=\"{class}\">{}</p></header>\n", escape(verdict)));
    html.push_str(&night::figure(summary));
    html.push_str(&rows(summary));
    html.push_str(&format!("<p class=\"machine\">{}</p>\n", escape(table::machine_parts(summary).join(" · "))));
    let notes: Vec<String> = table::objectives(summary).into_iter().chain(table::notes(summary)).collect();
    if !notes.is_empty() {
        let items: Vec<String> = notes.iter().map(|note| format!("<li>{}</li>", prose(note))).collect();
        html.push_str(&format!("<ul class=\"notes\">{}</ul>\n", items.concat()));
    }
    html
}

/// The terminal's table again, with the same cells.
fn rows(summary: &Summary) -> String {
    let columns = table::columns(summary);
    let mut html = String::from("<div class=\"wide\"><table id=\"rows\"><thead><tr>");
    let mut n = 0;
    while n < columns.len() {
        let members = columns[n..].iter().take_while(|column| column.group == columns[n].group).count();
        html.push_str(&format!("<th colspan=\"{members}\" scope=\"colgroup\">{}</th>", escape(&columns[n].group)));
        n += members;
    }
    html.push_str("</tr><tr>");
    for column in &columns {
        let class = if column.align == Align::Left { " class=\"left\"" } else { "" };
        html.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(&column.name)));
    }
    html.push_str("</tr></thead><tbody>\n");
    for engine in &summary.engines {
        let class = night::class(&engine.name);
        match table::cells(summary, engine) {
            Some(cells) => {
                html.push_str("<tr>");
                for (n, (cell, column)) in cells.iter().zip(&columns).enumerate() {
                    html.push_str(&match (n, column.align) {
                        (0, _) => format!("<th scope=\"row\" class=\"{class}\">{}</th>", escape(&engine.name)),
                        (_, Align::Left) => format!("<td class=\"left\">{}</td>", escape(cell)),
                        (_, Align::Right) => format!("<td>{}</td>", escape(cell)),
                    });
                }
                html.push_str("</tr>\n");
            }
            None => {
                let why = match &engine.status {
                    Status::Unavailable { why } => format!("unavailable: {why}"),
                    Status::Failed { why } => format!("failed: {why}"),
                    Status::Partial { why } => format!("nothing measured: {why}"),
                    Status::Ok => "nothing measured".to_owned(),
                };
                html.push_str(&format!(
                    "<tr><th scope=\"row\" class=\"{class}\">{}</th><td class=\"left\" colspan=\"{}\">{}</td></tr>\n",
                    escape(&engine.name),
                    columns.len() - 1,
                    prose(&why)
                ));
            }
        }
        for remark in table::remarks(summary, engine) {
            html.push_str(&format!(
                "<tr class=\"remark\"><td></td><td class=\"left\" colspan=\"{}\">{}</td></tr>\n",
                columns.len() - 1,
                prose(&remark)
            ));
        }
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn percentile_section(summary: &Summary) -> String {
    let lead = "Response from the intended arrival. A percentile is told where at least 10 batches lie beyond it, p99.99 \
                from a million batches on; all come from merged histograms.";
    let body = format!("{}{}", percentiles::curves(summary), percentiles::numbers(summary));
    section("percentiles", "Percentiles by phase", lead, &body)
}
