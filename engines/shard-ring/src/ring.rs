//! The ring (signatures first).
use crate::{*, file::Sync};
use std::{io, ops::Range, os::fd::{AsFd, OwnedFd}, rc::Rc, time::Duration, net::TcpListener};
/// A ring.
#[derive(Clone)]
pub struct Ring(Rc<()>);
/// What a ring is made of.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Entries of the submission queue: pushed between two enters.
    pub entries: u32,
    /// Operations in flight at most; more wait in line.
    pub slots: u32,
    /// Provided buffers for receives, a power of two.
    pub provided_buffers: u16,
    /// Bytes of one provided buffer.
    pub provided_buffer_bytes: u32,
    /// Cores of the ring's kernel workers; empty: not set.
    pub worker_cpus: Vec<usize>,
    /// How often the heartbeat ticks while anything is in flight.
    pub heartbeat: Duration,
}
impl Default for RingConfig { fn default() -> Self { Self { entries: 256, slots: 1024, provided_buffers: 256, provided_buffer_bytes: 16 << 10, worker_cpus: Vec::new(), heartbeat: Duration::from_millis(10) } } }
#[allow(unused_variables)]
impl Ring {
    /// Takes a file.
    pub fn adopt(&self, file: std::fs::File) -> RingFile { todo!() }
    /// Takes a socket (connected; made non-blocking, no delay).
    pub fn adopt_socket(&self, socket: OwnedFd) -> io::Result<RingSocket> { todo!() }
    /// Registers blocks: how many.
    pub fn register_slab(&self, slab: &Slab) -> usize { todo!() }
    /// Counts.
    pub fn counters(&self) -> &RingCounters { todo!() }
    /// Writes.
    pub fn write(&self, file: &RingFile, from: Slice, at: u64, sync: Sync) -> Op<u32> { todo!() }
    /// Writes all of it.
    pub async fn write_all(&self, file: &RingFile, from: Slice, at: u64, sync: Sync) -> io::Result<()> { todo!() }
    /// Reads at most `bytes` into the block's unfilled part.
    pub fn read(&self, file: &RingFile, into: Block, bytes: u32, at: u64) -> Op<u32> { todo!() }
    /// Reads until `bytes` are there or the file ends; how many.
    pub async fn read_all(&self, file: &RingFile, into: &Block, bytes: u32, at: u64) -> io::Result<u32> { todo!() }
    /// fsync or fdatasync.
    pub fn fsync(&self, file: &RingFile, data_only: bool) -> Op<()> { todo!() }
    /// sync_file_range(2).
    pub fn sync_file_range(&self, file: &RingFile, range: Range<u64>, flags: u32) -> Op<()> { todo!() }
    /// fallocate(2).
    pub fn fallocate(&self, file: &RingFile, mode: i32, range: Range<u64>) -> Op<()> { todo!() }
    /// Readiness.
    pub fn poll(&self, fd: &impl AsFd, events: u32) -> Op<u32> { todo!() }
    /// Nothing.
    pub fn nop(&self) -> Op<()> { todo!() }
    /// Accepts.
    pub fn accept(&self, listener: &Rc<TcpListener>) -> Op<OwnedFd> { todo!() }
    /// Receives.
    pub fn receive(&self, socket: &RingSocket) -> Receive { todo!() }
    /// Sends.
    pub fn send(&self, socket: &RingSocket, bytes: impl Into<Buffer>) -> Op<u32> { todo!(); }
    /// Sends all.
    pub async fn send_all(&self, socket: &RingSocket, bytes: impl Into<Buffer>) -> io::Result<()> { todo!(); }
    /// Sends several.
    pub fn send_vectored(&self, socket: &RingSocket, parts: Vec<Buffer>) -> Op<u32> { todo!(); }
    /// Sends all of several.
    pub async fn send_all_vectored(&self, socket: &RingSocket, parts: Vec<Buffer>) -> io::Result<()> { todo!(); }
    /// POLLOUT.
    pub async fn writable(&self, socket: &RingSocket) -> io::Result<()> { todo!() }
    /// sendfile(2); how many bytes were sent: the whole range.
    pub async fn sendfile(&self, socket: &RingSocket, file: &std::fs::File, range: Range<u64>) -> io::Result<u64> { todo!() }
    /// Cancel, drain, close.
    pub async fn close(&self, socket: RingSocket) { todo!() }
}
