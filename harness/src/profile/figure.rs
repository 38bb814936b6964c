//! A number of a profile and where it comes from.

use serde::Serialize;

/// One number of a profile, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// Where it stands, e.g. `phase[2].duration`.
    pub key: String,
    /// As written.
    pub value: String,
    /// Unit as written; empty for a plain number.
    pub unit: String,
    /// A name from `[sources]`, or `assumed`.
    pub source: String,
    /// What the number's own line adds to it; may be empty.
    pub note: String,
    /// Line in the file, from 1.
    pub line: usize,
}
