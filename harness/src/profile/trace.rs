//! Recorded rate curves: CSV of counts per interval.
//!
//! ```text
//! # where it comes from
//! minute,requests
//! 0,17613
//! 1,17782
//! ```
//! Lines that begin with `#` are comments. The first other line names the two columns; the first column counts intervals up
//! by one from 0, so that a missing or doubled row is seen; the second is how many arrived in the interval.

use super::error::ProfileError;

/// Rows of the longest trace: ten weeks of minutes, or a day of seconds with room to spare.
pub(super) const TRACE_ROWS_MAX: usize = 100_000;

/// Counts per interval, in order.
pub(super) fn parse(file: &str, text: &str) -> Result<Vec<f64>, ProfileError> {
    let mut columns: Option<(&str, &str)> = None;
    let mut counts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let error = |key: &str, found: String, expected: String| ProfileError {
            file: file.to_owned(),
            line: Some(index + 1),
            key: key.to_owned(),
            found,
            expected,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let &[first, second] = fields.as_slice() else {
            let found = format!("has {} fields", fields.len());
            return Err(error("the row", found, "two: the interval's number and its count".to_owned()));
        };
        let Some((interval, count)) = columns else {
            let is_name = |field: &str| !field.is_empty() && field.parse::<f64>().is_err();
            if !is_name(first) || !is_name(second) {
                let expected = "the names of the two columns, e.g. minute,requests".to_owned();
                return Err(error("the first row", format!("is {line:?}"), expected));
            }
            columns = Some((first, second));
            continue;
        };
        let due = counts.len();
        if first.parse() != Ok(due) {
            let expected = format!("{due}: rows in order, one for each interval from 0, none missing");
            return Err(error(interval, format!("is {first}"), expected));
        }
        match second.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => counts.push(value),
            _ => return Err(error(count, format!("is {second}"), "a count of 0 or more".to_owned())),
        }
        if counts.len() > TRACE_ROWS_MAX {
            return Err(error("the row", "is one too many".to_owned(), format!("at most {TRACE_ROWS_MAX} rows")));
        }
    }
    if counts.is_empty() {
        return Err(ProfileError {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            found: "holds no counts".to_owned(),
            expected: "a row of names and a row for each interval, e.g. minute,requests and 0,17613".to_owned(),
        });
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_in_order() {
        assert_eq!(parse("t.csv", "# a comment\nminute,requests\n0,5\n1, 0\n\n2,7.5\n"), Ok(vec![5.0, 0.0, 7.5]));
    }

    #[test]
    fn a_trace_out_of_order_or_with_a_gap_or_a_negative_count_is_refused_with_its_line() {
        let said = |text: &str| parse("t.csv", text).unwrap_err().to_string();
        let order = "rows in order, one for each interval from 0, none missing";
        assert_eq!(said("minute,requests\n0,5\n2,5\n"), format!("t.csv:3: minute is 2; expected 1: {order}"));
        assert_eq!(said("minute,requests\n0,5\n1,5\n0,5\n"), format!("t.csv:4: minute is 0; expected 2: {order}"));
        assert_eq!(said("minute,requests\nx,5\n"), format!("t.csv:2: minute is x; expected 0: {order}"));
        assert_eq!(said("#\nminute,requests\n0,-5\n"), "t.csv:3: requests is -5; expected a count of 0 or more");
        assert_eq!(said("minute,requests\n0,NaN\n"), "t.csv:2: requests is NaN; expected a count of 0 or more");
        assert_eq!(said("minute,requests\n0,\n"), "t.csv:2: requests is ; expected a count of 0 or more");
        assert_eq!(
            said("minute,requests\n0,1,2\n"),
            "t.csv:2: the row has 3 fields; expected two: the interval's number and its count"
        );
        assert_eq!(
            said("0,5\n1,5\n"),
            "t.csv:1: the first row is \"0,5\"; expected the names of the two columns, e.g. minute,requests"
        );
        assert_eq!(
            said("# nothing\n"),
            "t.csv: holds no counts; expected a row of names and a row for each interval, e.g. minute,requests and 0,17613"
        );
    }
}
