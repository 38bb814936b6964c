//! The rate of a phase: one curve, or pieces that follow each other.

use super::curve::Shape;
use super::document::{Kind, Number, Table};
use super::error::ProfileError;
use super::trace;

/// A length of time above zero, in seconds.
pub(super) const TIME: Kind = Kind {
    units: &[("ms", 0.001), ("s", 1.0), ("min", 60.0), ("h", 3600.0)],
    holds: |v| v > 0.0,
    expected: "a time above 0",
};
const INSTANT: Kind = Kind { holds: |v| v >= 0.0, expected: "a time of 0 or more", ..TIME };
const RATE: Kind =
    Kind { units: &[("x", 1.0), ("/s", 1.0)], holds: |v| (0.0..=1e12).contains(&v), expected: "a rate of 0 or more" };
const EXCESS: Kind = Kind { holds: |v| v.abs() <= 1e12, expected: "what to add to the floor at the beginning", ..RATE };

const CURVES: [&str; 7] = ["constant", "step", "ramp", "decay", "sine", "pieces", "trace"];

/// Pieces of one curve and how long each lasts.
type Pieces = Vec<(f64, Shape)>;

/// Reads `duration` and `rate` of a phase.
pub(super) fn pieces(
    phase: &Table<'_, '_>,
    text: &dyn Fn(&str) -> (String, std::io::Result<String>),
) -> Result<Pieces, ProfileError> {
    let rate = phase.table("rate", "a table with curve = \"constant\" or another")?;
    let pieces = match rate.word("curve", &CURVES)? {
        "pieces" => row(&rate)?,
        "trace" => {
            let duration = phase.number("duration", &TIME)?;
            recorded(&rate, &duration, text)?
        }
        curve => {
            let duration_s = phase.number("duration", &TIME)?.value;
            closed_form(&rate, curve, duration_s)?
        }
    };
    rate.finish()?;
    Ok(pieces)
}

/// Pieces within a phase: each has its own duration and closed form.
fn row(rate: &Table<'_, '_>) -> Result<Pieces, ProfileError> {
    let mut row = Vec::new();
    let tables = rate.tables("pieces")?;
    if tables.is_empty() {
        return Err(rate.error("pieces", "is missing", "a list of pieces, each with duration and curve"));
    }
    for piece in tables {
        let curve = piece.word("curve", &CURVES[..5])?;
        let duration_s = piece.number("duration", &TIME)?.value;
        row.extend(closed_form(&piece, curve, duration_s)?);
        piece.finish()?;
    }
    Ok(row)
}

/// A rate; all rates of a profile are relative, or all are messages a second.
fn rate(table: &Table<'_, '_>, key: &'static str, kind: &Kind) -> Result<f64, ProfileError> {
    let number = table.number(key, kind)?;
    same_scale(table, key, number.unit == "x", &number.unit)?;
    Ok(number.value)
}

fn same_scale(table: &Table<'_, '_>, key: &str, relative: bool, unit: &str) -> Result<(), ProfileError> {
    let before = table.document.relative.replace(Some(relative));
    if before.is_some_and(|before| before != relative) {
        let expected = "one unit throughout: x (relative, --peak sets the height) or /s (messages a second)";
        return Err(table.error(key, format!("is in {unit:?} after rates in the other unit"), expected));
    }
    Ok(())
}

fn closed_form(table: &Table<'_, '_>, curve: &str, duration_s: f64) -> Result<Pieces, ProfileError> {
    let rate_of = |key| rate(table, key, &RATE);
    let shape = match curve {
        "constant" => Shape::Constant { rate: rate_of("at")? },
        "step" => {
            let (from, to) = (rate_of("from")?, rate_of("to")?);
            let after_s = table.number("after", &TIME)?.value;
            if after_s >= duration_s {
                let found = format!("is {after_s} s");
                return Err(table.error("after", found, format!("a time before the end, which is at {duration_s} s")));
            }
            let step =
                [(after_s, Shape::Constant { rate: from }), (duration_s - after_s, Shape::Constant { rate: to })];
            return Ok(step.to_vec());
        }
        "ramp" => Shape::Ramp { from: rate_of("from")?, to: rate_of("to")? },
        "decay" => {
            let floor = rate_of("floor")?;
            let above = rate(table, "above", &EXCESS)?;
            if floor + above < 0.0 {
                let found = format!("makes the rate begin at {}", floor + above);
                return Err(table.error("above", found, "floor + above of 0 or more: no rate is negative"));
            }
            Shape::Decay { floor, above, tau_s: table.number("tau", &TIME)?.value }
        }
        _ => {
            let (mean, swing) = (rate_of("mean")?, rate_of("swing")?);
            if swing > mean {
                let found = format!("makes the rate fall to {}", mean - swing);
                return Err(table.error("swing", found, "at most mean: no rate is negative"));
            }
            Shape::Sine { mean, swing, period_s: table.number("period", &TIME)?.value }
        }
    };
    Ok(vec![(duration_s, shape)])
}

/// Rows of a trace from `from` on, for as long as the phase lasts.
fn recorded(
    rate: &Table<'_, '_>,
    duration: &Number,
    text: &dyn Fn(&str) -> (String, std::io::Result<String>),
) -> Result<Pieces, ProfileError> {
    let file = rate.string("file", "the path of a CSV file, relative to the profile")?;
    let (named, read) = text(file);
    let read = read.map_err(|error| {
        rate.error(
            "file",
            format!("is {file:?}, which cannot be read ({error})"),
            "the path of a CSV file, relative to the profile",
        )
    })?;
    let counts = trace::parse(&named, &read)?;
    let unit = rate.word("unit", &["messages", "x"])?;
    same_scale(rate, "unit", unit == "x", unit)?;
    let interval_s = rate.number("interval", &TIME)?.value;
    let from_s = rate.number_or_none("from", &INSTANT)?.map_or(0.0, |from| from.value);
    let rows = |seconds: f64| {
        let rows = seconds / interval_s;
        ((rows - rows.round()).abs() < 1e-9).then_some(rows.round() as usize)
    };
    let Some(first) = rows(from_s) else {
        return Err(rate.error("from", format!("is {from_s} s"), format!("whole intervals of {interval_s} s")));
    };
    let count = rows(duration.value).filter(|count| *count > 0);
    let last = count.and_then(|count| first.checked_add(count)).filter(|last| *last <= counts.len());
    let Some(last) = last else {
        let found = format!("is {} s from {from_s} s on", duration.value);
        let expected = format!(
            "whole intervals of {interval_s} s within the trace, which ends at {} s",
            counts.len() as f64 * interval_s
        );
        let key = format!("{}.duration", rate.path.trim_end_matches(".rate"));
        return Err(rate.document.error(duration.line, &key, found, expected));
    };
    let part = &counts[first..last];
    let rows = format!("{unit} in {} rows", part.len());
    rate.cite("rows", part.iter().sum::<f64>().to_string(), &rows)?;
    // Counts of an interval are messages; relative heights are already rates.
    let per_interval = if unit == "messages" { interval_s } else { 1.0 };
    Ok(part.iter().map(|count| (interval_s, Shape::Constant { rate: count / per_interval })).collect())
}
