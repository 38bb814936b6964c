//! Consumers: connections that receive the log's batches byte for byte.
//!
//! A consumer connects to its shard's port, writes one [`Request`] of 16 bytes, and then only reads: whole batches from the one
//! that holds the offset asked for, in order, up to the commit point and on as it moves. There is no framing of ours: the stream is the
//! log. A slow consumer costs one chunk in flight and its socket's buffers; the back-pressure is the socket's.

use crate::{
    send::OnRing,
    shard::{Core, Partition, Phase, Position},
    stages::timed,
};
use futures_lite::future::or;
use log_api::{LogEngine, Offset, Read, ReadError, ReadKind, Stage};
use shard_ring::{Receive, RingSocket, yield_now};
use std::{cell::Cell, net::TcpListener, os::fd::OwnedFd, rc::Rc};

/// Bytes of a request.
pub const REQUEST_BYTES: usize = 16;

/// What a consumer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The partition, one of the shard's; or [all](log_api::LogId::whole) that a group of them shares: then the stream is the shared log, a
    /// frame before each batch.
    pub partition: u32,
    /// [`ReadKind::Hot`] for a tail consumer, [`ReadKind::Scan`] for one that catches up.
    pub kind: ReadKind,
    /// The offset to begin with. One that was trimmed: the log's start. [`Request::LATEST`]: the commit point of the moment.
    pub from: Offset,
}

impl Request {
    /// Only what comes from now on.
    pub const LATEST: Offset = Offset(u64::MAX);

    /// The bytes on the wire, little-endian: partition (4), kind (4; 0 hot, 1 scan), offset (8).
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        bytes[..4].copy_from_slice(&self.partition.to_le_bytes());
        bytes[4..8].copy_from_slice(&u32::from(self.kind == ReadKind::Scan).to_le_bytes());
        bytes[8..].copy_from_slice(&self.from.0.to_le_bytes());
        bytes
    }

    /// Reads a request; `None` for an unknown kind.
    #[must_use]
    pub fn decode(bytes: [u8; REQUEST_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = match word(4) {
            0 => ReadKind::Hot,
            1 => ReadKind::Scan,
            _ => return None,
        };
        let from = u64::from(word(8)) | u64::from(word(12)) << 32;
        Some(Self { partition: word(0), kind, from: Offset(from) })
    }
}

/// Counts of a shard's consumers.
#[derive(Default)]
pub(crate) struct Consumers {
    pub(crate) accepted: Cell<u64>,
    pub(crate) refused: Cell<u64>,
    pub(crate) trimmed: Cell<u64>,
    pub(crate) failed: Cell<u64>,
    /// Consumers that are being read for or sent to now.
    pub(crate) busy: Cell<u32>,
}

/// Counts a consumer among the busy ones while it lives.
struct Busy<'a>(&'a Cell<u32>);

impl<'a> Busy<'a> {
    fn begin(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

fn count(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

/// Takes a reader's place off its partition's list, however the reader ends.
struct Attached<'a>(&'a Partition, Position);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.0.detach(&self.1);
    }
}

impl<E: LogEngine> Core<E> {
    /// Accepts consumers until the shard stops.
    pub(crate) async fn accept(self: Rc<Self>, listener: TcpListener) {
        let listener = Rc::new(listener);
        loop {
            let accepted = async { Some(self.ring.accept(&listener).await) };
            let stopped = async {
                self.until(Phase::Consumers).await;
                None
            };
            match or(stopped, accepted).await {
                None => return,
                Some(Ok(socket)) => self.admit(socket),
                Some(Err(error)) => {
                    // No descriptor left, say: that ends no other connection, and may pass.
                    self.note_failure(format!("accept a consumer: {error}"));
                    or(shard_ring::sleep(std::time::Duration::from_millis(10)), self.until(Phase::Consumers)).await;
                }
            }
        }
    }

    fn admit(self: &Rc<Self>, socket: OwnedFd) {
        if self.live.consumers.get() >= u64::from(self.config.consumers_max) || !E::CAPABILITIES.readable {
            count(&self.consumers.refused);
            return;
        }
        let socket = match self.ring.adopt_socket(socket) {
            Ok(socket) => socket,
            Err(error) => return self.note_failure(format!("a consumer's socket: {error}")),
        };
        count(&self.consumers.accepted);
        self.live.consumers.add(1);
        let core = self.clone();
        self.start(async move {
            let mut received = core.ring.receive(&socket);
            or(core.converse(&socket, &mut received), core.until(Phase::Kill)).await;
            drop(received);
            core.ring.close(socket).await;
            core.live.consumers.sub(1);
            core.ended.notify_all();
        });
    }

    /// One connection: its request, then the log, until the consumer goes.
    async fn converse(&self, socket: &RingSocket, received: &mut Receive) {
        let Some(request) = self.request(received).await else { return count(&self.consumers.refused) };
        let Some(followed) = self.followed(request.partition) else { return count(&self.consumers.refused) };
        let serve = self.serve(socket, request, followed);
        // A consumer says nothing more: whatever comes, its end of the stream first of all, ends the connection.
        let gone = async {
            let _said = received.next().await;
        };
        or(gone, serve).await;
    }

    /// The first 16 bytes, in as many pieces as they like to come, and not one more.
    async fn request(&self, received: &mut Receive) -> Option<Request> {
        let mut bytes = [0; REQUEST_BYTES];
        let mut filled = 0;
        let stopped = || async {
            self.until(Phase::Consumers).await;
            None
        };
        while filled < REQUEST_BYTES {
            let more = or(async { received.next().await.ok().flatten() }, stopped()).await?;
            bytes.get_mut(filled..filled + more.len())?.copy_from_slice(&more);
            filled += more.len();
        }
        Request::decode(bytes)
    }

    /// The log from `request.from` on, until it is broken off or the shard has stopped and everything is sent.
    async fn serve(&self, socket: &RingSocket, request: Request, partition: &Partition) {
        let mut from = if request.from == Request::LATEST { partition.commit_point() } else { request.from };
        let attached = Attached(partition, partition.attach(from));
        let mut on_ring = OnRing::default();
        loop {
            attached.1.set(from);
            let moved = partition.moved().wait();
            let until = partition.commit_point();
            if from >= until {
                if self.phase.get() >= Phase::Consumers {
                    return;
                }
                or(moved, self.until(Phase::Consumers)).await;
                continue;
            }
            let read = Read { from, until, bytes_max: self.config.read_bytes_max, kind: request.kind };
            let busy = Busy::begin(&self.consumers.busy);
            match timed(self.stages(), Stage::Read, self.engine.read(partition.log, read)).await {
                Ok(chunk) if chunk.pieces.is_empty() => {
                    // `from` lies within a batch that reaches beyond the commit point.
                    drop(busy);
                    if self.phase.get() >= Phase::Consumers {
                        return;
                    }
                    or(moved, self.until(Phase::Consumers)).await;
                }
                Ok(chunk) => {
                    let (next, bytes) = (chunk.next, chunk.bytes);
                    assert!(next > from && next <= until, "a read of {from}..{until} gave up to {next}");
                    let send = self.sends.send(&self.ring, socket, chunk, &mut on_ring);
                    if timed(self.stages(), Stage::Send, send).await.is_err() {
                        return;
                    }
                    self.live.sent_bytes.add(bytes);
                    from = next;
                    drop(busy);
                    yield_now().await;
                }
                Err(ReadError::OutOfRange { start, .. }) if from < start => {
                    count(&self.consumers.trimmed);
                    from = start;
                }
                Err(error) => {
                    count(&self.consumers.failed);
                    self.note_failure(format!("read {} at {from}: {error}", partition.log));
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        for kind in [ReadKind::Hot, ReadKind::Scan] {
            let request = Request { partition: 7, kind, from: Offset(0x0123_4567_89ab_cdef) };
            assert_eq!(Request::decode(request.encode()), Some(request));
        }
        assert_eq!(Request::decode([0xff; REQUEST_BYTES]), None);
    }
}
