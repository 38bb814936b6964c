//! What lies in a log's folder.

use crate::files::{FileError, TEMPORARY_SUFFIX, naming};
use log_api::Offset;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The files of a log by their names. Files with other names are not ours and are never touched.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// First offset and length of each segment, oldest first.
    pub(crate) segments: Vec<(Offset, u64)>,
    /// First offset of each index.
    pub(crate) indexes: Vec<Offset>,
    /// Number and length of each prepared segment, lowest first.
    pub(crate) prepared: Vec<(u64, u64)>,
    /// Left behind by a crash before a rename.
    pub(crate) temporary: Vec<PathBuf>,
    /// The folder is there.
    pub(crate) exists: bool,
}

impl Listing {
    /// Reads a folder; a missing one is an empty log.
    pub(crate) fn read(dir: &Path) -> Result<Self, FileError> {
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(naming("list", dir)(error)),
        };
        let mut listing = Self { exists: true, ..Self::default() };
        for entry in entries {
            let entry = entry.map_err(naming("list", dir))?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let bytes = || entry.metadata().map(|metadata| metadata.len()).map_err(naming("look at", &entry.path()));
            match name.rsplit_once('.').and_then(|(stem, kind)| Some((numbered(stem)?, kind))) {
                Some((number, "log")) => listing.segments.push((Offset(number), bytes()?)),
                Some((number, "index")) => listing.indexes.push(Offset(number)),
                Some((number, "next")) => listing.prepared.push((number, bytes()?)),
                _ => {
                    let of = name.strip_suffix(TEMPORARY_SUFFIX).unwrap_or("");
                    let index = of.strip_suffix(".index").and_then(numbered);
                    if index.is_some() || of == "epochs" || of == "watermark" {
                        listing.temporary.push(entry.path());
                    }
                }
            }
        }
        listing.segments.sort_unstable();
        listing.indexes.sort_unstable();
        listing.prepared.sort_unstable();
        Ok(listing)
    }
}

/// A name of twenty digits, within what an offset can be.
fn numbered(stem: &str) -> Option<u64> {
    let digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| stem.parse::<u64>().ok()).flatten().filter(|&number| i64::try_from(number).is_ok())
}
