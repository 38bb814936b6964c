//! Connections on loopback between two cores: the shard's end is what is measured, the other end is the generator's.

use super::{
    case::Path,
    ceilings::Sample,
    memory::noise,
    place::{Place, bring_in},
    sockets::{ask, receive, receive_bytes, send, serve},
};
use crate::config::Placement;
use anyhow::Context;
use memmap2::MmapMut;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    thread::{CpuSet, sched_setaffinity},
};
use std::{
    fs::File,
    io,
    net::{TcpListener, TcpStream},
    time::Duration,
};

/// Bytes of the file that sendfile sends from, in the page cache.
pub const FILE_BYTES: u64 = 64 << 20;
/// Not counted at the start of each window: connections open their windows.
const WARM_UP: Duration = Duration::from_millis(40);

/// The two cores, and what is sent.
pub struct Loopback {
    shard: Option<usize>,
    peer: Option<usize>,
    memory: MmapMut,
    file: File,
}

impl Loopback {
    /// Makes the file.
    ///
    /// # Errors
    /// No space, no memory.
    pub fn new(place: &Place, placement: &Placement) -> anyhow::Result<Self> {
        let mut memory = MmapMut::map_anon(super::BLOCK_BYTES_MAX)?;
        noise(&mut memory);
        let file = place.allocated("sendfile", FILE_BYTES)?;
        Ok(Self { shard: placement.shards.first().copied(), peer: placement.generator, memory, file })
    }

    /// The echo over so many connections.
    ///
    /// # Errors
    /// A connection or a ring fails.
    pub fn echo(&self, connections: u32, window: Duration) -> anyhow::Result<Sample> {
        let (ours, theirs): (Vec<TcpStream>, Vec<TcpStream>) = (0..connections)
            .map(|_| pair())
            .collect::<io::Result<Vec<_>>>()
            .context("connect on loopback")?
            .into_iter()
            .unzip();
        self.between(move || serve(theirs), move || ask(ours, WARM_UP, window))
    }

    /// Sends 1 MiB at a time over one connection.
    ///
    /// # Errors
    /// A connection or a ring fails.
    pub fn transfer(&self, path: Path, window: Duration) -> anyhow::Result<Sample> {
        if path == Path::Sendfile {
            // Hot, as a log's tail is.
            bring_in(&self.file, &self.memory, FILE_BYTES).context("write the file to send")?;
        }
        let (ours, theirs) = pair().context("connect on loopback")?;
        let shard = || match path {
            Path::Send => send(&theirs, &self.memory, super::BLOCK_BYTES_MAX, false),
            Path::SendZc => send(&theirs, &self.memory, super::BLOCK_BYTES_MAX, true),
            Path::Sendfile => self.sendfile(&theirs),
        };
        let per_s = self.between(shard, move || receive(ours, WARM_UP, window))?;
        Ok(Sample { per_s, p50_ns: None })
    }

    /// Sends all of `memory` once, `block_bytes` at a time, over one connection: bytes a second.
    ///
    /// # Errors
    /// A connection or a ring fails.
    pub fn send_through(&self, memory: &[u8], block_bytes: usize) -> anyhow::Result<f64> {
        let (ours, theirs) = pair().context("connect on loopback")?;
        let bytes = memory.len() as u64;
        self.between(move || send(&theirs, memory, block_bytes, false), move || receive_bytes(ours, bytes))
    }

    /// Runs the shard's end on its core and the peer's on its own; what the peer found.
    fn between<T: Send>(
        &self,
        shard: impl FnOnce() -> io::Result<()> + Send,
        peer: impl FnOnce() -> io::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let shard = scope.spawn(|| {
                pin(self.shard)?;
                shard()
            });
            let peer = scope.spawn(|| {
                pin(self.peer)?;
                peer()
            });
            let found = peer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let served = shard.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // The peer's error may only be the end of a shard that failed.
            served.context("the shard's end of a loopback connection")?;
            found.context("the peer's end of a loopback connection")
        })
    }

    /// `sendfile(2)` of the whole file, 1 MiB a call, over and over until the peer has gone. The socket does not block: a call that sleeps
    /// inside the kernel for room moves little more than half as much here.
    fn sendfile(&self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        loop {
            let mut at = 0;
            while at < FILE_BYTES {
                match rustix::fs::sendfile(socket, &self.file, Some(&mut at), super::BLOCK_BYTES_MAX) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => match poll(&mut [PollFd::new(socket, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    },
                    Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// Keeps this thread on a core, if one is named.
pub(super) fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Two ends of a connection.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let theirs = listener.accept()?.0;
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::place::tests::on_disk;

    #[test]
    fn every_path_carries_bytes_and_every_end_comes_to_an_end() {
        let dir = on_disk();
        let place = Place::new(dir.path(), FILE_BYTES).unwrap();
        let loopback = Loopback::new(&place, &Placement::default()).unwrap();
        let window = Duration::from_millis(20);
        for path in [Path::Send, Path::SendZc, Path::Sendfile] {
            assert!(loopback.transfer(path, window).unwrap().per_s > 0.0, "{path:?}");
        }
        let lone = loopback.echo(1, window).unwrap();
        assert!(lone.per_s > 0.0 && lone.p50_ns.is_some());
        assert_eq!(loopback.echo(8, window).unwrap().p50_ns, None);
    }
}
