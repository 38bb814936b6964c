//! Reading TOML so that every fault has its line, and every number its source.
//!
//! The tree is read by hand and not through serde's derived types: those lose the position of a value inside tagged enums,
//! and could not see to it that no number enters a profile without a source.

use super::error::{ProfileError, from_toml, line_at, one_of};
use super::figure::Figure;
use std::cell::{Cell, RefCell};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file being read: its text, what it cites, and the numbers found so far.
pub(super) struct Document<'i> {
    pub(super) file: &'i str,
    text: &'i str,
    /// Short names and texts of `[sources]`, in the file's order.
    pub(super) sources: RefCell<Vec<(String, String)>>,
    pub(super) figures: RefCell<Vec<Figure>>,
    /// Whether rates are relative, once the first rate has been read.
    pub(super) relative: Cell<Option<bool>>,
}

/// A table of the file. Keys that were asked for are known; [`Table::finish`] refuses all others.
pub(super) struct Table<'d, 'i> {
    pub(super) document: &'d Document<'i>,
    pub(super) path: String,
    line: usize,
    entries: &'d DeTable<'i>,
    known: RefCell<Vec<&'static str>>,
}

/// What a number may be: units with their factors (the empty unit for a plain number), and its range after conversion.
pub(super) struct Kind {
    pub(super) units: &'static [(&'static str, f64)],
    pub(super) holds: fn(f64) -> bool,
    pub(super) expected: &'static str,
}

/// A number as read, in base units.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) unit: String,
    pub(super) source: String,
    pub(super) line: usize,
}

impl<'i> Document<'i> {
    pub(super) fn new(file: &'i str, text: &'i str) -> Self {
        Self { file, text, sources: RefCell::default(), figures: RefCell::default(), relative: Cell::new(None) }
    }

    pub(super) fn tree(&self) -> Result<Spanned<DeTable<'i>>, ProfileError> {
        DeTable::parse(self.text).map_err(|error| from_toml(self.file, self.text, &error))
    }

    pub(super) fn root<'d>(&'d self, tree: &'d Spanned<DeTable<'i>>) -> Table<'d, 'i> {
        self.at(String::new(), 1, tree.get_ref())
    }

    fn at<'d>(&'d self, path: String, line: usize, entries: &'d DeTable<'i>) -> Table<'d, 'i> {
        Table { document: self, path, line, entries, known: RefCell::default() }
    }

    fn line(&self, value: &Spanned<DeValue<'_>>) -> usize {
        line_at(self.text, value.span().start)
    }

    pub(super) fn error(
        &self,
        line: usize,
        key: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> ProfileError {
        ProfileError {
            file: self.file.to_owned(),
            line: Some(line),
            key: key.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Reads a `source`: `assumed` or a name from `[sources]`, maybe with `: a note`. Returns name and note.
    fn source(&self, line: usize, key: &str, written: &str) -> Result<(String, String), ProfileError> {
        let (name, note) = written.split_once(':').unwrap_or((written, ""));
        let (name, note) = (name.trim(), note.trim());
        let sources = self.sources.borrow();
        if name != "assumed" && !sources.iter().any(|(known, _)| known == name) {
            let mut known = vec!["assumed"];
            known.extend(sources.iter().map(|(known, _)| known.as_str()));
            let expected = format!("assumed or a name from [sources]: {}", one_of(name, &known));
            return Err(self.error(line, key, format!("is {written:?}"), expected));
        }
        Ok((name.to_owned(), note.to_owned()))
    }
}

/// A value as a person sees it in the file.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(datetime) => datetime.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn float(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

impl<'d, 'i> Table<'d, 'i> {
    fn get(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'i>>> {
        self.known.borrow_mut().push(key);
        self.entries.get(key)
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The line of a key's value, or the table's own.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.entries.get(key).map_or(self.line, |value| self.document.line(value))
    }

    pub(super) fn error(&self, key: &str, found: impl Into<String>, expected: impl Into<String>) -> ProfileError {
        self.document.error(self.line_of(key), &self.key(key), found, expected)
    }

    fn missing(&self, key: &str, expected: &str) -> ProfileError {
        self.error(key, "is missing", expected)
    }

    pub(super) fn string_or_none(&self, key: &'static str) -> Result<Option<&'d str>, ProfileError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_str() {
                Some(text) if !text.trim().is_empty() => Ok(Some(text)),
                _ => Err(self.error(key, format!("is {}", shown(value.get_ref())), "a text in quotes")),
            },
        }
    }

    pub(super) fn string(&self, key: &'static str, expected: &str) -> Result<&'d str, ProfileError> {
        self.string_or_none(key)?.ok_or_else(|| self.missing(key, expected))
    }

    /// A word out of a few.
    pub(super) fn word(&self, key: &'static str, words: &[&str]) -> Result<&'d str, ProfileError> {
        let word = self.string(key, &one_of("", words))?;
        if words.contains(&word) { Ok(word) } else { Err(self.error(key, format!("is {word:?}"), one_of(word, words))) }
    }

    /// A list of words out of a few, at least one.
    pub(super) fn words(&self, key: &'static str, words: &[&str]) -> Result<Vec<&'d str>, ProfileError> {
        let expected = || format!("a list of {}", words.join(", "));
        let value = self.get(key).ok_or_else(|| self.missing(key, &expected()))?;
        let list: Option<Vec<&str>> =
            value.get_ref().as_array().and_then(|array| array.iter().map(|word| word.get_ref().as_str()).collect());
        match list {
            Some(list) if !list.is_empty() && list.iter().all(|word| words.contains(word)) => Ok(list),
            Some(list) => Err(self.error(key, format!("is {list:?}"), expected())),
            None => Err(self.error(key, format!("is {}", shown(value.get_ref())), expected())),
        }
    }

    pub(super) fn table_or_none(&self, key: &'static str) -> Result<Option<Table<'d, 'i>>, ProfileError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref().as_table() {
            Some(entries) => Ok(Some(self.document.at(self.key(key), self.document.line(value), entries))),
            None => Err(self.error(key, format!("is {}", shown(value.get_ref())), "a table")),
        }
    }

    pub(super) fn table(&self, key: &'static str, expected: &str) -> Result<Table<'d, 'i>, ProfileError> {
        self.table_or_none(key)?.ok_or_else(|| self.missing(key, expected))
    }

    /// The tables of a list; none when the key is missing.
    pub(super) fn tables(&self, key: &'static str) -> Result<Vec<Table<'d, 'i>>, ProfileError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = |value: &Spanned<DeValue<'_>>| {
            let expected = format!("a list of tables, each under [[{}]]", self.key(key));
            self.document.error(
                self.document.line(value),
                &self.key(key),
                format!("is {}", shown(value.get_ref())),
                expected,
            )
        };
        let array = value.get_ref().as_array().ok_or_else(|| wrong(value))?;
        let table = |(index, value): (usize, &'d Spanned<DeValue<'i>>)| match value.get_ref().as_table() {
            Some(entries) => {
                Ok(self.document.at(format!("{}[{index}]", self.key(key)), self.document.line(value), entries))
            }
            None => Err(wrong(value)),
        };
        array.iter().enumerate().map(table).collect()
    }

    /// `[sources]`: names and texts, in the file's order.
    pub(super) fn read_sources(&self) -> Result<(), ProfileError> {
        let Some(table) = self.table_or_none("sources")? else { return Ok(()) };
        let mut entries: Vec<_> = table.entries.iter().collect();
        entries.sort_by_key(|(_, value)| value.span().start);
        for (name, value) in entries {
            let text = value.get_ref().as_str().map(str::trim).filter(|text| !text.is_empty());
            let Some(text) = text else {
                let found = format!("is {}", shown(value.get_ref()));
                return Err(table.error(name.get_ref(), found, "a text: who published it, where and when"));
            };
            self.document.sources.borrow_mut().push((name.get_ref().to_string(), text.to_owned()));
        }
        Ok(())
    }

    /// A number with its source, noted among the document's figures.
    pub(super) fn number_or_none(&self, key: &'static str, kind: &Kind) -> Result<Option<Number>, ProfileError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let units: Vec<&str> = kind.units.iter().map(|(unit, _)| *unit).filter(|unit| !unit.is_empty()).collect();
        let form = if units.is_empty() {
            "{ value, source }".to_owned()
        } else {
            format!(
                "{{ value, unit = {}, source }}",
                units.iter().map(|unit| format!("{unit:?}")).collect::<Vec<_>>().join(" | ")
            )
        };
        let DeValue::Table(entries) = value.get_ref() else {
            let expected = format!("{}, with its source: {form}", kind.expected);
            return Err(self.error(key, format!("is {}", shown(value.get_ref())), expected));
        };
        let table = self.document.at(self.key(key), self.document.line(value), entries);
        let raw = table.get("value").ok_or_else(|| table.missing("value", kind.expected))?;
        let unit = table.string_or_none("unit")?.unwrap_or("");
        let known = kind.units.iter().find(|(known, _)| *known == unit);
        let free = kind.units.is_empty() && !unit.is_empty();
        let factor = match known {
            Some((_, factor)) => *factor,
            None if kind.units.is_empty() => 1.0,
            None => {
                let found = if unit.is_empty() { "is missing".to_owned() } else { format!("is {unit:?}") };
                let expected =
                    if units.is_empty() { "no unit: a plain number".to_owned() } else { one_of(unit, &units) };
                return Err(table.error("unit", found, expected));
            }
        };
        let wrong = || table.error("value", format!("is {}", shown(raw.get_ref())), kind.expected);
        let converted = float(raw.get_ref()).ok_or_else(wrong)? * factor;
        if !(converted.is_finite() && (kind.holds)(converted)) {
            return Err(wrong());
        }
        let written = table.string("source", "where the number comes from: assumed, or a name from [sources]")?;
        let (source, note) = self.document.source(table.line_of("source"), &table.key("source"), written)?;
        table.finish()?;
        let line = table.line_of("value");
        let figure = Figure {
            key: self.key(key),
            value: shown(raw.get_ref()),
            unit: if free || !unit.is_empty() { unit.to_owned() } else { String::new() },
            source: source.clone(),
            note,
            line,
        };
        self.document.figures.borrow_mut().push(figure);
        Ok(Some(Number { value: converted, unit: unit.to_owned(), source, line }))
    }

    pub(super) fn number(&self, key: &'static str, kind: &Kind) -> Result<Number, ProfileError> {
        self.number_or_none(key, kind)?.ok_or_else(|| self.missing(key, &format!("{}, with its source", kind.expected)))
    }

    /// A `source` that stands for many numbers at once (a trace), noted among the figures with a description of them.
    pub(super) fn cite(&self, key: &str, value: String, unit: &str) -> Result<(), ProfileError> {
        let written = self.string("source", "where the trace comes from: assumed, or a name from [sources]")?;
        let (source, note) = self.document.source(self.line_of("source"), &self.key("source"), written)?;
        let line = self.line_of("source");
        let figure = Figure { key: self.key(key), value, unit: unit.to_owned(), source, note, line };
        self.document.figures.borrow_mut().push(figure);
        Ok(())
    }

    /// Refuses a key that was not asked for.
    pub(super) fn finish(&self) -> Result<(), ProfileError> {
        let known = self.known.borrow();
        let unknown = self.entries.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        // The tree is sorted by name; a person reads from the top.
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(()),
            Some(key) => {
                let line = line_at(self.document.text, key.span().start);
                let expected = one_of(key.get_ref(), &known);
                Err(self.document.error(line, &self.key(key.get_ref()), "is not a key here", expected))
            }
        }
    }
}
