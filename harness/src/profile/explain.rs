//! `highwater explain`: each number of a profile with its source.

use super::figure::Figure;
use super::model::{Profile, Role};
use broker::Layout;
use std::fmt::Write;

/// Columns of the text.
const WIDTH: usize = 100;

/// The profile for people: what it is, then each number with its source in columns, then the sources in full.
#[must_use]
pub fn explain(profile: &Profile) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&format!("{}: {}", profile.name, profile.title));
    if !profile.about.is_empty() {
        line("");
        for (index, paragraph) in profile.about.split("\n\n").enumerate() {
            if index > 0 {
                line("");
            }
            wrap(paragraph, "", "").iter().for_each(|row| line(row));
        }
    }
    line("");
    line(&phases(profile));
    if profile.partitions.layout != Layout::Partition {
        line(&format!("partitions: several share a log (--layout {})", profile.partitions.layout));
    }
    line("");

    let figures: Vec<[String; 3]> = profile.figures.iter().map(|figure| cells(profile, figure)).collect();
    let width = |column: usize| figures.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (keys, values) = (width(0), width(1));
    let mut group = "";
    for (figure, [key, value, source]) in profile.figures.iter().zip(&figures) {
        let this = figure.key.rsplit_once('.').map_or("", |(group, _)| group.trim_end_matches(".rate"));
        let top = top_group(this);
        if top != group && !group.is_empty() {
            line("");
        }
        group = top;
        let lead = format!("{key:<keys$}  {value:<values$}  ");
        let indent = " ".repeat(lead.chars().count());
        wrap(source, &lead, &indent).iter().for_each(|row| line(row));
    }
    if !profile.sources.is_empty() {
        line("");
        line("sources");
        let names = profile.sources.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, source) in &profile.sources {
            let lead = format!("  {name:<names$}  ");
            wrap(source, &lead, &" ".repeat(lead.chars().count())).iter().for_each(|row| line(row));
        }
    }
    text
}

/// Figures of one phase, or of one table, stand together.
fn top_group(group: &str) -> &str {
    match group.match_indices('.').nth(1) {
        Some((second_dot, _)) if group.starts_with("phase.") => &group[..second_dot],
        _ if group.starts_with("phase.") => group,
        _ => group.split(['.', '[']).next().unwrap_or(group),
    }
}

fn phases(profile: &Profile) -> String {
    let mut text = String::from("phases: ");
    for (index, phase) in profile.phases.iter().enumerate() {
        let role = match phase.role {
            Role::Calm => " (calm)",
            Role::Plateau => " (plateau)",
            Role::Rise | Role::Decay | Role::Other => "",
        };
        let before = if index == 0 { "" } else { ", " };
        write!(text, "{before}{}{role} {} s", phase.name, phase.duration_s).expect("writing to a string cannot fail");
    }
    wrap(&text, "", "        ").join("\n")
}

/// Key, value with unit, source with note.
fn cells(profile: &Profile, figure: &Figure) -> [String; 3] {
    let value = if figure.unit.is_empty() { figure.value.clone() } else { format!("{} {}", figure.value, figure.unit) };
    let named =
        profile.published.iter().enumerate().find(|(index, _)| figure.key == format!("published[{index}].figure"));
    let what = named.map_or("", |(_, published)| published.what.as_str());
    let notes: Vec<&str> = [what, figure.note.as_str()].into_iter().filter(|note| !note.is_empty()).collect();
    let source = match notes.as_slice() {
        [] => figure.source.clone(),
        notes => format!("{}: {}", figure.source, notes.join("; ")),
    };
    [figure.key.clone(), value, source]
}

/// Breaks a text at spaces; the first row begins with `lead`, the others with `indent`.
fn wrap(text: &str, lead: &str, indent: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = lead.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && row.chars().count() + 1 + word.chars().count() > WIDTH {
            rows.push(std::mem::replace(&mut row, indent.to_owned()));
            empty = true;
        }
        if !empty {
            row.push(' ');
        }
        row.push_str(word);
        empty = false;
    }
    rows.push(row);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_breaks_at_spaces_and_keeps_its_indent() {
        let rows = wrap(&"word ".repeat(40), "key  ", "     ");
        assert!(rows.iter().all(|row| row.chars().count() <= WIDTH));
        assert!(rows[0].starts_with("key  word") && rows[1].starts_with("     word"));
        assert_eq!(rows.iter().flat_map(|row| row.split_whitespace()).filter(|word| *word == "word").count(), 40);
    }
}
