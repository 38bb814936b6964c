//! `highwater show <run>`: a stored run's table again.

use crate::summary::{self, ResultError};
use std::path::Path;

/// The table of a stored run. `run` is a results folder, the name of one below `local`, or `latest`; `local` is
/// `results/local`.
///
/// # Errors
/// There is no such run, or its files are unreadable, malformed or of another version.
pub fn show(run: &str, local: &Path) -> Result<String, ResultError> {
    let named = local.join(run);
    let folder = if Path::new(run).is_dir() { Path::new(run) } else { named.as_path() };
    let summary = summary::load_summary(folder)?;
    let report = folder.join(summary::REPORT_FILE);
    Ok(crate::table::render(&summary, report.is_file().then_some(report.as_path())))
}
