//! The send path: a chunk of a log goes to a socket, byte for byte, by `sendfile` from the page cache or by `send` from memory.
//! It knows no request and no response: whatever stands before the log's bytes on a connection is its caller's affair.
//!
//! It never blocks the shard. A file range that the engine does not believe to be in the page cache is read through the ring first,
//! where the kernel's workers wait for the device, and only then handed to `sendfile`, which would wait on the shard itself.

use log_api::{Chunk, FileRange, Piece, SendPath};
use shard_ring::{Block, Buffer, Ring, RingFile, RingSocket, Slab, StableBytes};
use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io,
    rc::Rc,
};

/// Bytes read through the ring at once. Two blocks let two connections go on side by side.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks of a shard: past them, a connection waits for another's block.
const BLOCKS_MAX: usize = 4;

/// The send path of a shard and what went through it. What the ring did by `sendfile` and `send` is counted there.
pub struct Sender {
    path: SendPath,
    pub(crate) chunks: Cell<u64>,
    pub(crate) cold_bytes: Cell<u64>,
    pub(crate) copied_bytes: Cell<u64>,
    /// Made when the first range has to be read.
    blocks: OnceCell<Slab>,
}

/// The file that a connection last read through the ring; one for each connection.
#[derive(Default)]
pub struct OnRing(Option<(Rc<File>, RingFile)>);

impl OnRing {
    fn file(&mut self, ring: &Ring, file: &Rc<File>) -> io::Result<RingFile> {
        match &self.0 {
            Some((known, on_ring)) if Rc::ptr_eq(known, file) => Ok(on_ring.clone()),
            _ => {
                let on_ring = ring.adopt(file.try_clone()?);
                self.0 = Some((file.clone(), on_ring.clone()));
                Ok(on_ring)
            }
        }
    }
}

/// A pin of a chunk.
struct Pinned<P>(P);

// SAFETY: `LogEngine::Pin` and `Chunk` promise that the bytes of a read stay where they are, and as they are, for as long as a pin of them
// lives; the conformance suite holds every engine to it (`a_chunk_keeps_its_bytes`).
unsafe impl<P: AsRef<[u8]> + 'static> StableBytes for Pinned<P> {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

fn add(count: &Cell<u64>, more: u64) {
    count.set(count.get() + more);
}

impl Sender {
    /// Sends by `path`.
    #[must_use]
    pub fn new(path: SendPath) -> Self {
        Self {
            path,
            chunks: Cell::new(0),
            cold_bytes: Cell::new(0),
            copied_bytes: Cell::new(0),
            blocks: OnceCell::new(),
        }
    }

    /// Sends a chunk, all of it; the chunk's pins and leases are held until then. Nothing else may write to the socket meanwhile.
    ///
    /// # Errors
    /// What the file or the socket answers. The stream may be left in the middle of a batch: close the connection.
    pub async fn send<P: AsRef<[u8]> + Clone + 'static>(
        &self,
        ring: &Ring,
        socket: &RingSocket,
        chunk: Chunk<P>,
        on_ring: &mut OnRing,
    ) -> io::Result<()> {
        add(&self.chunks, 1);
        let mut pins = Vec::new();
        for piece in chunk.pieces {
            match piece {
                Piece::Pin(pin) => {
                    let bytes = pin.as_ref().len();
                    pins.push(Buffer::Shared(Rc::new(Pinned(pin)), 0..bytes));
                }
                Piece::File(range) => {
                    send_pins(ring, socket, &mut pins).await?;
                    match self.path {
                        SendPath::Sendfile => self.sendfile(ring, socket, &range, on_ring).await?,
                        SendPath::Copy => self.copy(ring, socket, &range, on_ring).await?,
                    }
                }
            }
        }
        send_pins(ring, socket, &mut pins).await
    }

    async fn sendfile(
        &self,
        ring: &Ring,
        socket: &RingSocket,
        part: &FileRange,
        on_ring: &mut OnRing,
    ) -> io::Result<()> {
        if part.resident {
            ring.sendfile(socket, &part.file, part.range.clone()).await?;
            return Ok(());
        }
        let file = on_ring.file(ring, &part.file)?;
        let mut at = part.range.start;
        while at < part.range.end {
            let block = self.read(ring, &file, at, part.range.end).await?;
            let end = at + block.filled() as u64;
            add(&self.cold_bytes, end - at);
            // Only the page cache was wanted.
            drop(block);
            ring.sendfile(socket, &part.file, at..end).await?;
            at = end;
        }
        Ok(())
    }

    async fn copy(&self, ring: &Ring, socket: &RingSocket, part: &FileRange, on_ring: &mut OnRing) -> io::Result<()> {
        let file = on_ring.file(ring, &part.file)?;
        let mut at = part.range.start;
        while at < part.range.end {
            let block = self.read(ring, &file, at, part.range.end).await?;
            let bytes = block.filled();
            add(&self.copied_bytes, bytes as u64);
            if !part.resident {
                add(&self.cold_bytes, bytes as u64);
            }
            ring.send_all(socket, block.slice(0..bytes)).await?;
            at += bytes as u64;
        }
        Ok(())
    }

    /// Reads from `at` on, at most to `end`, into a block of its own.
    async fn read(&self, ring: &Ring, file: &RingFile, at: u64, end: u64) -> io::Result<Block> {
        let block = self.block().await?;
        let bytes = (end - at).min(BLOCK_BYTES as u64) as u32;
        if ring.read_all(file, &block, bytes, at).await? < bytes {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a segment ends before the log does"));
        }
        Ok(block)
    }

    async fn block(&self) -> io::Result<Block> {
        let slab = match self.blocks.get() {
            Some(slab) => slab,
            None => {
                let slab = Slab::new(BLOCK_BYTES, BLOCKS_MAX)?;
                self.blocks.get_or_init(|| slab)
            }
        };
        loop {
            let freed = slab.freed().wait();
            match slab.take() {
                Some(block) => return Ok(block),
                None => freed.await,
            }
        }
    }
}

async fn send_pins(ring: &Ring, socket: &RingSocket, pins: &mut Vec<Buffer>) -> io::Result<()> {
    match pins.len() {
        0 => Ok(()),
        1 => ring.send_all(socket, pins.remove(0)).await,
        _ => ring.send_all_vectored(socket, std::mem::take(pins)).await,
    }
}
