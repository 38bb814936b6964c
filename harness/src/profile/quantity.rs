//! Numbers as people write them on a command line: `200k`, `1.5M`, `64MiB`.

/// Not such a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct QuantityError {
    /// What was written.
    pub found: String,
    /// What could be.
    pub expected: &'static str,
}

/// Reads a number above zero with an optional `k`, `M` or `G` (powers of a thousand): `200k`, `1.5M`, `0.5`, `1_000`.
///
/// # Errors
/// The text is no number, or is negative, zero, infinite or NaN.
pub fn parse_quantity(text: &str) -> Result<f64, QuantityError> {
    let units = [("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)];
    parse(text, &units).ok_or(QuantityError { found: text.to_owned(), expected: "a number above 0, e.g. 200k or 1.5M" })
}

/// Reads a whole number of bytes above zero: `1048576`, `64MiB`, `1.5GiB`, `10GB`.
///
/// # Errors
/// As [`parse_quantity`], or more than 2^63 bytes.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    let units = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("B", 1.0),
    ];
    let bytes = parse(text, &units).map(f64::round).filter(|bytes| (1.0..9.2e18).contains(bytes));
    let expected = "a number of bytes above 0, e.g. 64MiB or 1.5GiB";
    bytes.map(|bytes| bytes as u64).ok_or(QuantityError { found: text.to_owned(), expected })
}

fn parse(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (digits, factor) = unit.unwrap_or((text, &1.0));
    let digits = digits.trim_end();
    let plain = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = digits.replace('_', "").parse().ok().filter(|_| plain)?;
    let value = number * factor;
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        for (text, value) in [
            ("200k", 2e5),
            ("1.5M", 1.5e6),
            ("1", 1.0),
            ("0.25", 0.25),
            ("1_000", 1e3),
            ("2G", 2e9),
            (" 3 k ", 3e3),
            ("1e5", 1e5),
        ] {
            assert_eq!(parse_quantity(text), Ok(value), "{text}");
        }
        for (text, value) in
            [("64MiB", 64 << 20), ("1.5GiB", 3 << 29), ("10GB", 10_000_000_000), ("512", 512), ("7 B", 7)]
        {
            assert_eq!(parse_bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_above_zero_is_refused() {
        for text in ["", "0", "-1", "-1k", "+1", "nan", "NaN", "inf", "k", "1kk", "1x", "1e999", "0k", "1 2"] {
            let error = parse_quantity(text).expect_err(text).to_string();
            assert_eq!(error, format!("{text:?} is not a number above 0, e.g. 200k or 1.5M"));
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert!(parse_bytes("0.2B").is_err());
    }
}
