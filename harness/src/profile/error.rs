//! What is wrong with a file, where, and what to write instead.

use std::fmt;

/// One fault of a profile, trace or configuration file. Nothing was run and nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; `None` when the fault is the file's own.
    pub line: Option<usize>,
    /// The key, e.g. `phase.plateau.duration.value`; empty when the fault has none.
    pub key: String,
    /// What is there: `is -5`, `is missing`, `is not a key here`.
    pub found: String,
    /// What could be.
    pub expected: String,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        write!(f, "{}; expected {}", self.found, self.expected)
    }
}

impl std::error::Error for ProfileError {}

/// The candidate that was probably meant, if one is near: at most a third of the letters differ.
#[must_use]
pub fn did_you_mean<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = written.chars().count();
    let near = |candidate: &&str| letters > 0 && distance(written, candidate) <= letters.max(3) / 3;
    candidates.into_iter().filter(near).min_by_key(|candidate| distance(written, candidate))
}

/// Single letters to insert, drop, change or swap with their neighbour to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = table[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
                let swapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                let swap = if swapped { table[i - 2][j - 2] + 1 } else { usize::MAX };
                change.min(swap).min(table[i - 1][j] + 1).min(table[i][j - 1] + 1)
            };
        }
    }
    table[one.len()][other.len()]
}

/// "one of a, b, c", and which of them was probably meant.
pub(super) fn one_of(written: &str, known: &[&str]) -> String {
    let list = match known {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        several => format!("one of {}", several.join(", ")),
    };
    match did_you_mean(written, known.iter().copied()) {
        Some(near) => format!("{list} (did you mean {near}?)"),
        None => list,
    }
}

/// The line of a byte of a text, from 1.
pub(super) fn line_at(text: &str, byte: usize) -> usize {
    1 + text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

/// Says a TOML error (of the syntax, or of serde types with `deny_unknown_fields`) the way all files' errors are said.
#[must_use]
pub fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> ProfileError {
    let message = error.message().trim();
    let line = error.span().map(|span| line_at(text, span.start));
    let key = line.and_then(|line| text.lines().nth(line - 1)).and_then(|line| line.split_once('='));
    let key = key.map_or(String::new(), |(key, _)| key.trim().to_owned());
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (key, found, expected) = match (message, quoted.as_slice()) {
        (m, [field, known @ ..]) if m.starts_with("unknown field") => {
            ((*field).to_owned(), "is not a key here".to_owned(), one_of(field, known))
        }
        (m, [variant, known @ ..]) if m.starts_with("unknown variant") => {
            (key, format!("is {variant:?}"), one_of(variant, known))
        }
        (m, [field]) if m.starts_with("missing field") => {
            ((*field).to_owned(), "is missing".to_owned(), "this key".to_owned())
        }
        (m, _) => match m.strip_prefix("invalid type: ").or(m.strip_prefix("invalid value: ")) {
            Some(rest) => {
                let (found, expected) = rest.rsplit_once(", expected ").unwrap_or((rest, "another type"));
                (key, format!("is {found}"), expected.to_owned())
            }
            None => (String::new(), m.replace('\n', ", "), "valid TOML".to_owned()),
        },
    };
    ProfileError { file: file.to_owned(), line, key, found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(did_you_mean("duble11", ["double11", "618", "steady"]), Some("double11"));
        assert_eq!(did_you_mean("durration", ["duration", "rate"]), Some("duration"));
        assert_eq!(did_you_mean("clam", ["rise", "calm"]), Some("calm"));
        assert_eq!(did_you_mean("", ["s"]), None);
        assert_eq!(did_you_mean("kafka", ["double11", "618", "steady"]), None);
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        speed: Option<f64>,
        engine: Option<String>,
    }

    fn said(text: &str) -> String {
        from_toml("highwater.toml", text, &toml::from_str::<Config>(text).unwrap_err()).to_string()
    }

    #[test]
    fn an_error_of_serde_types_names_line_key_and_what_is_expected() {
        let fine: Config = toml::from_str("speed = 60\nengine = \"mmap\"").unwrap();
        assert_eq!((fine.speed, fine.engine.as_deref()), (Some(60.0), Some("mmap")));
        assert_eq!(
            said("engine = \"mmap\"\nsped = 60"),
            "highwater.toml:2: sped is not a key here; expected one of speed, engine (did you mean speed?)"
        );
        assert_eq!(said("\nspeed = \"fast\""), "highwater.toml:2: speed is string \"fast\"; expected f64");
        assert_eq!(
            said("speed = "),
            "highwater.toml:1: string values must be quoted, expected literal string; expected valid TOML"
        );
    }
}
