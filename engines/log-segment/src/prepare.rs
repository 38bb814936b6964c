//! The next segment, made ready off the shard.

use crate::{DataDir, LogConfig, SparseIndex};
use shard_ring::{Helper, Ring};
use std::{
    io,
    marker::PhantomData,
    path::{Path, PathBuf},
    rc::Rc,
};

/// How an engine opens a segment that it will write. Used on the helper.
pub trait Medium: Clone + Send + 'static {
    /// What it opens: a file, a mapping.
    type Handle: Send + 'static;

    /// Opens the file at `path`, which is `bytes` long, and does whatever would stall the shard later (populating a mapping, say).
    ///
    /// # Errors
    /// Anything: it is reported as [`Preparer::failure`]. `StorageFull` counts as a full disk.
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Self::Handle>;
}

/// A segment that is ready to be written: zeros, durable, its directory entry too.
#[derive(Debug)]
pub struct Prepared<H> {
    /// What [`Medium::open`] returned.
    pub handle: H,
    /// The rest, for [`crate::Segments::roll`] and [`crate::Keeper::adopt`].
    pub file: PreparedFile,
}

/// The file of a prepared segment.
#[derive(Debug)]
pub struct PreparedFile {
    /// `<n>.next`.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    pub(crate) index: SparseIndex,
}

/// Keeps one segment ready. Lives on the shard; clones are the same preparer.
#[derive(Clone)]
pub struct Preparer<M: Medium>(PhantomData<Rc<M>>);
#[allow(unused_variables)]
impl<M: Medium> Preparer<M> {
    /// `next_number` is [`crate::Recovered::next_number`]. Nothing happens before [`Preparer::start`] or [`Preparer::take`].
    #[must_use]
    pub fn new(
        ring: &Ring,
        helper: &Rc<Helper>,
        data: &DataDir,
        config: &LogConfig,
        medium: M,
        next_number: u64,
    ) -> Self {
        todo!()
    }
    /// Begins to prepare a segment, unless one is ready or on its way.
    pub fn start(&self) {
        todo!()
    }
    /// The prepared segment, if there is one, and begins to prepare the next. `None`: answer `Full` if [`Preparer::is_full`], else
    /// `Busy`, and let [`Preparer::room`] end the wait.
    pub fn take(&self) -> Option<Prepared<M::Handle>> {
        todo!()
    }
    /// A segment is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        todo!()
    }
    /// The last attempt found no space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        todo!()
    }
    /// Another error of the last attempt, in words. Preparing is tried again at each `room`.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        todo!()
    }
    /// Waits until a segment is ready; after an attempt that failed, at most 100 ms, so that the caller tries again.
    pub async fn room(&self) {
        todo!()
    }
    /// Bytes of zeros written so far: [`log_api::Counters::prepared_bytes`].
    #[must_use]
    pub fn prepared_bytes(&self) -> u64 {
        todo!()
    }
}
