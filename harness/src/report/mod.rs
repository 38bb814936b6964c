//! `report.html`.
use crate::summary::{Manifest, Summary};

/// The page of a run: one self-contained file.
pub fn render(summary: &Summary, manifest: Option<&Manifest>) -> String {
    let _ = manifest;
    summary.run.title.clone()
}
