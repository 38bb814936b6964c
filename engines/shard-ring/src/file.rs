//! Files on the ring.

use crate::{Block, Op, Ring, Slice, core::Core, prepared::Prepared};
use std::{fmt, fs::File, io, ops::Range, rc::Rc};

/// A file on the ring, in the kernel's table of fixed files while that has room. Clones are the same file; the last one
/// to go, after the last operation, closes it.
#[derive(Clone)]
pub struct RingFile(Rc<Fixed>);

struct Fixed {
    file: File,
    place: Option<u32>,
    core: Rc<Core>,
}

impl RingFile {
    /// The file, for calls that do not go through the ring.
    pub fn file(&self) -> &File {
        &self.0.file
    }

    /// Its place in the table of fixed files.
    pub(crate) fn fixed(&self) -> Option<u32> {
        self.0.place
    }

    /// Whether operations find it without looking up a descriptor.
    pub fn is_fixed(&self) -> bool {
        self.0.place.is_some()
    }
}

impl fmt::Debug for RingFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RingFile({:?}, fixed {:?})", self.0.file, self.0.place)
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.core.unfix_file(place);
        }
    }
}

/// Whether a write is durable when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Written; a flush is needed before it is durable.
    None,
    /// RWF_DSYNC: when the write completes, its own bytes, and no others, are on stable storage.
    Dsync,
}

impl Ring {
    /// Takes a file. It is registered while the table of 1,024 fixed files has room, and named by descriptor else.
    pub fn adopt(&self, file: File) -> RingFile {
        let place = self.core().fix_file(&file);
        RingFile(Rc::new(Fixed { file, place, core: self.core().clone() }))
    }

    /// Writes at position `at` (bytes); resolves to the bytes written, which may be fewer than given. From a registered
    /// block without mapping its pages. At most 2^32 - 1 bytes, and no more than 1 MiB is advisable.
    pub fn write(&self, file: &RingFile, from: Slice, at: u64, sync: Sync) -> Op<u32> {
        self.core().start(Prepared::write(file, from, at, sync))
    }

    /// As [`write`](Ring::write), going on after short writes until all is written.
    ///
    /// # Errors
    /// The first error of the system; `WriteZero` if it writes nothing and says so. Some of the bytes may be written
    /// then.
    pub async fn write_all(&self, file: &RingFile, from: Slice, at: u64, sync: Sync) -> io::Result<()> {
        let mut done = 0;
        while done < from.len() {
            match self.write(file, from.slice(done..from.len()), at + done as u64, sync).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => done += written as usize,
            }
        }
        Ok(())
    }

    /// Reads at most `bytes` from position `at` into the block's unfilled part, which counts as filled when the read
    /// completes, even if its future was dropped. Resolves to the bytes read; 0 at the end of the file.
    ///
    /// # Panics
    /// If the block has no room for `bytes`, or is being filled already.
    pub fn read(&self, file: &RingFile, into: Block, bytes: u32, at: u64) -> Op<u32> {
        self.core().start(Prepared::read(file, into, bytes, at))
    }

    /// As [`read`](Ring::read), going on after short reads until `bytes` are there or the file ends. Resolves to the
    /// bytes read.
    ///
    /// # Errors
    /// The first error of the system. The block keeps what was read before it.
    pub async fn read_all(&self, file: &RingFile, into: &Block, bytes: u32, at: u64) -> io::Result<u32> {
        let mut done = 0;
        while done < bytes {
            match self.read(file, into.clone(), bytes - done, at + u64::from(done)).await? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }

    /// fsync(2), or fdatasync(2) if `data_only`. The kernel does it on a worker. Covers what was written before the
    /// call.
    pub fn fsync(&self, file: &RingFile, data_only: bool) -> Op<()> {
        self.core().start(Prepared::fsync(file, data_only))
    }

    /// As [`fsync`](Ring::fsync), for a range alone: what RWF_DSYNC does after its write. Unlike that write it is not queued behind the other
    /// writes of the file, so that several run at once. A range of 4 GiB or more is the whole file.
    pub fn fsync_range(&self, file: &RingFile, range: Range<u64>, data_only: bool) -> Op<()> {
        self.core().start(Prepared::fsync_range(file, range, data_only))
    }

    /// sync_file_range(2) with its flags: starts or awaits write-back, and makes nothing durable. A range of 4 GiB or
    /// more reaches to the end of the file. Its error is a write-back error, and final.
    pub fn sync_file_range(&self, file: &RingFile, range: Range<u64>, flags: u32) -> Op<()> {
        self.core().start(Prepared::sync_file_range(file, range, flags))
    }

    /// fallocate(2) with its mode.
    pub fn fallocate(&self, file: &RingFile, mode: i32, range: Range<u64>) -> Op<()> {
        self.core().start(Prepared::fallocate(file, mode, range))
    }
}
