//! What an engine says of its segments to those who prepare them: how one is opened, and what one that was given up is good for.

use crate::Haste;
use std::{io, path::Path};

/// How an engine opens a segment that it will write. Used on the helper.
pub trait Medium: Clone + Send + 'static {
    /// What it opens: a file, a mapping.
    type Handle: Send + 'static;

    /// What is kept of a segment that was given up, beside its file, for the one that it becomes.
    type Kept: Send + 'static;

    /// In a log for durable acknowledgement a segment's blocks are written before it is opened. `false`: with zeros, past the page cache.
    /// `true`: by [`Medium::furnish`].
    const WRITES_BLOCKS: bool = false;

    /// The same in every other log: a write into blocks that were only allocated would cost too much.
    const FILLS_ALWAYS: bool = false;

    /// Whether new segments of such a log have their blocks written.
    fn fills(durable: bool) -> bool {
        durable || Self::FILLS_ALWAYS
    }

    /// Does to the new file at `path`, which is `bytes` long, what may be done long before it is opened.
    ///
    /// # Errors
    /// As [`Medium::open`].
    fn furnish(&self, _path: &Path, _bytes: u64, _haste: &Haste) -> io::Result<()> {
        Ok(())
    }

    /// Opens the file at `path`, which is `bytes` long, and does whatever would stall the shard later (populating a mapping, say).
    ///
    /// # Errors
    /// Anything: it is reported as [`crate::Preparer::failure`]. `StorageFull` counts as a full disk.
    fn open(&self, path: &Path, bytes: u64) -> io::Result<Self::Handle>;

    /// The same in slices, with a rest after each.
    ///
    /// # Errors
    /// As [`Medium::open`].
    fn open_slowly(&self, path: &Path, bytes: u64, _haste: &Haste) -> io::Result<Self::Handle> {
        self.open(path, bytes)
    }

    /// Opens a segment that was given up and will be overwritten as it is.
    ///
    /// # Errors
    /// As [`Medium::open`].
    fn renew(&self, path: &Path, bytes: u64, _kept: Self::Kept) -> io::Result<Self::Handle> {
        self.open(path, bytes)
    }

    /// Opens the file of a recovered segment, of whose `bytes` bytes the first `filled` are log.
    ///
    /// # Errors
    /// What the system said.
    fn resume(&self, path: &Path, bytes: u64, _filled: u64) -> io::Result<Self::Handle> {
        self.open(path, bytes)
    }
}

/// What a segment that was given up is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse<K> {
    /// To be overwritten as it is: nobody can see its bytes any more.
    AsIs(K),
    /// Its blocks, once they have been filled with zeros as those of a new one are.
    Blocks,
    /// Nothing.
    Not,
}
