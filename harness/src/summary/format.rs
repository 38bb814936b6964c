//! Numbers for people: units chosen by magnitude, three significant digits, the same in the table and in the report.

/// A latency: `843 µs`, `1.23 ms`, `12.3 s`, `20.5 min`. At most seven characters.
pub fn latency(ns: u64) -> String {
    duration(ns as f64 / 1e9)
}

/// A duration in seconds, as [`latency`].
pub fn duration(seconds: f64) -> String {
    let magnitude = seconds.abs();
    if magnitude == 0.0 {
        return "0 s".to_owned();
    }
    // Each unit ends where three digits of it would round up to the next; minutes and hours come where seconds stop
    // being read at a glance.
    let (value, unit) = match magnitude {
        m if m < 999.5e-9 => (seconds * 1e9, "ns"),
        m if m < 999.5e-6 => (seconds * 1e6, "µs"),
        m if m < 999.5e-3 => (seconds * 1e3, "ms"),
        m if m < 599.5 => (seconds, "s"),
        m if m < 5_997.0 => (seconds / 60.0, "min"),
        m if m < 3.598e6 => (seconds / 3_600.0, "h"),
        _ => return format!("{:.0e} h", seconds / 3_600.0),
    };
    let digits = if unit == "min" { 2 } else { 3 };
    if unit == "ns" { format!("{value:.0} ns") } else { format!("{} {unit}", significant(value, digits)) }
}

/// A count or a rate: `0`, `843`, `1.23k`, `12.3M`, `1.23G`. At most five characters.
pub fn count(n: f64) -> String {
    match n.abs() {
        m if m < 999.5 => format!("{n:.0}"),
        m if m < 999.5e3 => format!("{}k", significant(n / 1e3, 3)),
        m if m < 999.5e6 => format!("{}M", significant(n / 1e6, 3)),
        m if m < 999.5e9 => format!("{}G", significant(n / 1e9, 3)),
        m if m < 999.5e12 => format!("{}T", significant(n / 1e12, 3)),
        _ => format!("{n:.0e}"),
    }
}

/// Bytes in decimal units: `843 B`, `1.23 MB`.
pub fn bytes(n: f64) -> String {
    match n.abs() {
        m if m < 999.5 => format!("{n:.0} B"),
        m if m < 999.5e3 => format!("{} kB", significant(n / 1e3, 3)),
        m if m < 999.5e6 => format!("{} MB", significant(n / 1e6, 3)),
        m if m < 999.5e9 => format!("{} GB", significant(n / 1e9, 3)),
        _ => format!("{} TB", significant(n / 1e12, 3)),
    }
}

/// A plain ratio or cost: three significant digits, `0`, `0.012`, `1.23`, `123`, `1.23k`.
pub fn ratio(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        m if m < 0.0005 => format!("{value:.0e}"),
        m if m < 0.9995 => format!("{value:.3}").trim_end_matches('0').to_owned(),
        m if m < 999.5 => significant(value, 3),
        _ => count(value),
    }
}

/// A share: `99.6 %`, and as many digits near 100 % as tell it from 100 %, up to three: `99.996 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = match 1.0 - share {
        away if away <= 0.0 => 0,
        away if away < 1e-5 => 4,
        away if away < 1e-3 => 3,
        away if away < 1e-2 => 2,
        _ if percent > 0.0 && percent < 0.1 => 2,
        _ => 1,
    };
    // Never round up to "all of them".
    let scale = 10f64.powi(digits);
    let shown = if share < 1.0 { (percent * scale + 1e-6).floor() / scale } else { percent };
    let text = format!("{shown:.*}", digits as usize);
    // At most one needless zero: 99.6 and 50.0, not 99.60.
    let kept = match text.find('.') {
        Some(point) => text.trim_end_matches('0').len().max(point + 2),
        None => text.len(),
    };
    format!("{} %", &text[..kept])
}

/// A whole number with thin groups of three: `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A factor without needless digits: `60`, `1.5`, `0.25`.
pub fn factor(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `value` with `digits` significant digits, at least those before the point. `value` must round to less than 1,000.
fn significant(value: f64, digits: usize) -> String {
    let magnitude = value.abs();
    let before = match digits {
        3 if magnitude < 9.995 => 1,
        3 if magnitude < 99.95 => 2,
        3 => 3,
        _ if magnitude < 9.95 => 1,
        _ => digits,
    };
    format!("{value:.*}", digits.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_follow_the_magnitude() {
        let cases = [
            (0, "0 s"),
            (7, "7 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (842_700, "843 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (999_500_000, "1.00 s"),
            (59_960_000_000, "60.0 s"),
            (599_000_000_000, "599 s"),
            (599_600_000_000, "10 min"),
            (5_990_000_000_000, "100 min"),
            (7_200_000_000_000, "2.00 h"),
            (u64::MAX, "5e6 h"),
        ];
        for (ns, text) in cases {
            assert_eq!(latency(ns), text, "{ns} ns");
        }
    }

    #[test]
    fn counts_never_show_four_digits() {
        let cases = [
            (0.0, "0"),
            (999.4, "999"),
            (999.5, "1.00k"),
            (12_345.0, "12.3k"),
            (99_951.0, "100k"),
            (999_499.0, "999k"),
            (999_500.0, "1.00M"),
            (1.5e9, "1.50G"),
            (u64::MAX as f64, "2e19"),
        ];
        for (n, text) in cases {
            assert_eq!(count(n), text, "{n}");
        }
        assert_eq!(bytes(1_234_567.0), "1.23 MB");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(12), "12");
    }

    #[test]
    fn a_share_below_all_never_reads_as_all() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.99996), "99.996 %");
        assert_eq!(percent(0.999_999_99), "99.9999 %");
        assert_eq!(percent(0.996), "99.6 %");
        assert_eq!(percent(0.5), "50.0 %");
        assert_eq!(percent(0.0), "0.0 %");
        assert_eq!(percent(1.17), "117 %");
    }

    #[test]
    fn ratios_and_factors_drop_needless_digits() {
        assert_eq!(ratio(0.0), "0");
        assert_eq!(ratio(0.0124), "0.012");
        assert_eq!(ratio(1.006), "1.01");
        assert_eq!(ratio(0.9999), "1.00");
        assert_eq!(ratio(12_345.0), "12.3k");
        assert_eq!(factor(60.0), "60");
        assert_eq!(factor(1.5), "1.5");
    }
}
