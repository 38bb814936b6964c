//! A segment's file as engines that use the page cache hold it, and reading a range of it through the ring.

use log_api::{FileRange, Lease};
use shard_ring::{Ring, RingFile, Slab, Slice};
use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io,
    ops::Range,
    rc::Rc,
};

/// A segment's file: on the ring, and for `sendfile`.
#[derive(Debug)]
pub struct SegmentFile {
    file: RingFile,
    /// Made when a range is first sent.
    sendable: OnceCell<Rc<File>>,
    /// A life before this one may have sent ranges of it.
    inherited: Cell<bool>,
}

impl SegmentFile {
    /// Takes an open segment.
    #[must_use]
    pub fn new(ring: &Ring, file: File) -> Self {
        Self { file: ring.adopt(file), sendable: OnceCell::new(), inherited: Cell::new(false) }
    }

    /// The segment was found at opening.
    pub(crate) fn inherit(&self) {
        self.inherited.set(true);
    }

    /// Whether pages of it may be on their way to a receiver, for which nobody can wait: they must not change.
    #[must_use]
    pub fn may_be_sent(&self) -> bool {
        self.inherited.get() || self.sendable.get().is_some()
    }

    /// The file on the ring.
    #[must_use]
    pub fn ring(&self) -> &RingFile {
        &self.file
    }

    /// A range of it to send by reference.
    ///
    /// # Errors
    /// If no further descriptor can be had.
    pub fn range(&self, range: Range<u64>, resident: bool, lease: Lease) -> io::Result<FileRange> {
        let file = match self.sendable.get() {
            Some(file) => file.clone(),
            None => {
                let file = Rc::new(self.file.file().try_clone()?);
                self.sendable.get_or_init(|| file).clone()
            }
        };
        Ok(FileRange { file, range, resident, lease })
    }
}

/// Reads ranges of files into blocks through the ring: what is not in the page cache is waited for in a kernel worker, not on the
/// shard. Bounded: more reads than blocks wait.
#[derive(Debug)]
pub struct Loader {
    ring: Ring,
    blocks: Slab,
}

/// Bytes that a [`Loader`] read.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// In a block.
    Block(Slice),
    /// A batch larger than a block, copied together.
    Assembled(Rc<Vec<u8>>),
}

impl AsRef<[u8]> for Loaded {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Block(slice) => slice.as_ref(),
            Self::Assembled(bytes) => bytes,
        }
    }
}

impl Loader {
    /// A loader with `blocks` blocks of `block_bytes`.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn new(ring: &Ring, block_bytes: usize, blocks: usize) -> io::Result<Self> {
        Ok(Self { ring: ring.clone(), blocks: Slab::new(block_bytes, blocks)? })
    }

    /// Bytes that come in one block, without a copy.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        self.blocks.block_bytes()
    }

    /// Reads a range of a file.
    ///
    /// # Errors
    /// What the system said; `UnexpectedEof` if the file ends before the range does.
    pub async fn load(&self, file: &RingFile, range: Range<u64>) -> io::Result<Loaded> {
        let bytes = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let block_bytes = self.block_bytes();
        if bytes <= block_bytes {
            return Ok(Loaded::Block(self.load_block(file, range.start, bytes).await?));
        }
        let mut assembled = Vec::with_capacity(bytes);
        while assembled.len() < bytes {
            let part = block_bytes.min(bytes - assembled.len());
            assembled
                .extend_from_slice(self.load_block(file, range.start + assembled.len() as u64, part).await?.as_ref());
        }
        Ok(Loaded::Assembled(Rc::new(assembled)))
    }

    async fn load_block(&self, file: &RingFile, at: u64, bytes: usize) -> io::Result<Slice> {
        let block = loop {
            let freed = self.blocks.freed().wait();
            match self.blocks.take() {
                Some(block) => break block,
                None => freed.await,
            }
        };
        let wanted = u32::try_from(bytes).map_err(io::Error::other)?;
        let got = self.ring.read_all(file, &block, wanted, at).await?;
        if got < wanted {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ends {} bytes early", wanted - got),
            ));
        }
        Ok(block.slice(0..bytes))
    }
}
