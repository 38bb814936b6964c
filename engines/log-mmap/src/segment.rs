//! A segment as this engine holds it: its file on the ring, and its mapping as long as it is young.

use crate::mapping::{Mapping, Populate};
use log_segment::{Medium, SegmentFile};
use shard_ring::Ring;
use std::{fs::File, io, path::Path, rc::Rc};

/// Opens prepared segments on the helper: maps and populates them there, so that no append pays for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    pub(crate) populate: Populate,
}

impl Medium for Mapped {
    type Handle = (File, Mapping);

    fn open(&self, path: &Path, bytes: u64) -> io::Result<Self::Handle> {
        map(path, bytes, 0, Some(self.populate))
    }
}

/// Opens and maps a segment file of `bytes` bytes, of which `filled` are log.
pub(crate) fn map(path: &Path, bytes: u64, filled: u64, populate: Option<Populate>) -> io::Result<(File, Mapping)> {
    let file = File::options().read(true).write(true).open(path)?;
    let size = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
    let mapping = Mapping::new(&file, size(bytes)?, size(filled)?)?;
    if let Some(how) = populate {
        mapping.populate(how)?;
    }
    Ok((file, mapping))
}

/// The shard's hold on a segment.
pub(crate) struct Live {
    pub(crate) file: SegmentFile,
    /// `None` for a segment that is old: it was unmapped on purpose, and is read through the ring.
    pub(crate) mapping: Option<Rc<Mapping>>,
}

impl Live {
    pub(crate) fn new(ring: &Ring, file: File, mapping: Option<Mapping>) -> Self {
        Self { file: SegmentFile::new(ring, file), mapping: mapping.map(Rc::new) }
    }
}
