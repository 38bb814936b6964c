//! Operations before submission: an entry, together with what it points to.
//!
//! This is the one place that writes addresses into entries. The rule: every address is that of memory that `held` owns
//! at an unchanging place, every descriptor that of `target`; both stay in the operation's slot until its completion.

use crate::{
    Block, Buffer, RingFile, RingSocket, Slice, Sync,
    kernel::{self, Pinned},
    receive::Stream,
    table::{Held, Kind, Target},
};
use io_uring::{opcode, squeue, types};
use std::{
    net::TcpListener,
    ops::Range,
    os::fd::{AsRawFd, RawFd},
    rc::Rc,
};

/// The kernel takes this many parts in one call.
const PARTS_MAX: usize = libc::UIO_MAXIOV as usize;

pub(crate) struct Prepared {
    pub(crate) entry: squeue::Entry,
    pub(crate) held: Held,
    pub(crate) target: Target,
    pub(crate) kind: Kind,
}

/// A gathered send: the header that the kernel reads, the list it points to, and what that points to.
pub(crate) struct Message {
    header: libc::msghdr,
    list: Vec<libc::iovec>,
    parts: Vec<Buffer>,
}

impl Message {
    pub(crate) fn empty() -> Self {
        let header = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: std::ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Self { header, list: Vec::new(), parts: Vec::new() }
    }

    /// The parts, for another attempt or to be dropped. The message is empty after this.
    pub(crate) fn take_parts(&mut self) -> Vec<Buffer> {
        self.list.clear();
        (self.header.msg_iov, self.header.msg_iovlen) = (std::ptr::null_mut(), 0);
        std::mem::take(&mut self.parts)
    }

    /// Fills the message, leaving out the first `skip` bytes of the parts.
    fn fill(&mut self, parts: Vec<Buffer>, mut skip: usize) {
        self.parts = parts;
        self.list.clear();
        for part in &self.parts {
            let bytes = part.as_ref();
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            let rest = &bytes[skipped..];
            if !rest.is_empty() && self.list.len() < PARTS_MAX {
                self.list.push(libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() });
            }
        }
        (self.header.msg_iov, self.header.msg_iovlen) = (self.list.as_mut_ptr(), self.list.len());
    }
}

/// Writes an entry for a file: by its place in the fixed table, or by descriptor.
macro_rules! on_file {
    ($file:expr, |$target:ident| $entry:expr) => {
        match $file.fixed() {
            Some(place) => {
                let $target = types::Fixed(place);
                $entry
            }
            None => {
                let $target = types::Fd($file.file().as_raw_fd());
                $entry
            }
        }
    };
}

impl Prepared {
    fn finite(entry: squeue::Entry, file: &RingFile) -> Self {
        Self { entry, held: Held::Nothing, target: Target::File { _file: file.clone() }, kind: Kind::Finite }
    }

    pub(crate) fn nop() -> Self {
        Self { entry: opcode::Nop::new().build(), held: Held::Nothing, target: Target::Nothing, kind: Kind::Finite }
    }

    pub(crate) fn write(file: &RingFile, from: Slice, at: u64, sync: Sync) -> Self {
        let (address, bytes) = (from.as_ref().as_ptr(), from.len() as u32);
        let flags = match sync {
            Sync::None => 0,
            Sync::Dsync => libc::RWF_DSYNC,
        };
        let entry = match from.block().registered() {
            Some(buffer) => on_file!(file, |to| {
                opcode::WriteFixed::new(to, address, bytes, buffer).offset(at).rw_flags(flags).build()
            }),
            None => on_file!(file, |to| opcode::Write::new(to, address, bytes).offset(at).rw_flags(flags).build()),
        };
        Self { held: Held::Slice { _slice: from }, ..Self::finite(entry, file) }
    }

    pub(crate) fn read(file: &RingFile, into: Block, bytes: u32, at: u64) -> Self {
        let address = into.begin_fill(bytes as usize);
        let entry = match into.registered() {
            Some(buffer) => on_file!(file, |of| opcode::ReadFixed::new(of, address, bytes, buffer).offset(at).build()),
            None => on_file!(file, |of| opcode::Read::new(of, address, bytes).offset(at).build()),
        };
        Self { held: Held::Block(into), kind: Kind::Read, ..Self::finite(entry, file) }
    }

    pub(crate) fn fsync(file: &RingFile, data_only: bool) -> Self {
        let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
        Self::finite(on_file!(file, |of| opcode::Fsync::new(of).flags(flags).build()), file)
    }

    pub(crate) fn fsync_range(file: &RingFile, range: Range<u64>, data_only: bool) -> Self {
        let flags = if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
        // Two zeros mean the whole file.
        let (start, bytes) = u32::try_from(range.end - range.start).map_or((0, 0), |bytes| (range.start, bytes.max(1)));
        let entry = on_file!(file, |of| opcode::Fsync::new(of).offset(start).len(bytes).flags(flags).build());
        Self::finite(entry, file)
    }

    pub(crate) fn sync_file_range(file: &RingFile, range: Range<u64>, flags: u32) -> Self {
        // A length that the entry cannot hold becomes 0, which means: to the end of the file.
        let bytes = u32::try_from(range.end - range.start).unwrap_or(0);
        let entry = on_file!(file, |of| opcode::SyncFileRange::new(of, bytes).offset(range.start).flags(flags).build());
        Self::finite(entry, file)
    }

    pub(crate) fn fallocate(file: &RingFile, mode: i32, range: Range<u64>) -> Self {
        let bytes = range.end - range.start;
        let entry = on_file!(file, |of| opcode::Fallocate::new(of, bytes).offset(range.start).mode(mode).build());
        Self::finite(entry, file)
    }

    /// The descriptor is the caller's: if it is closed before the next turn, the answer is that for a closed
    /// descriptor.
    pub(crate) fn poll(descriptor: RawFd, events: u32) -> Self {
        let entry = opcode::PollAdd::new(types::Fd(descriptor), events).build();
        Self { entry, held: Held::Nothing, target: Target::Nothing, kind: Kind::Endless }
    }

    pub(crate) fn writable(socket: &RingSocket) -> Self {
        let target = Target::Socket(socket.clone());
        Self { target, ..Self::poll(socket.raw(), libc::POLLOUT as u32) }
    }

    pub(crate) fn timeout(time: Pinned<types::Timespec>) -> Self {
        let entry = opcode::Timeout::new(time.pointer()).build();
        Self { entry, held: Held::Time(time), target: Target::Nothing, kind: Kind::Endless }
    }

    pub(crate) fn accept(listener: &Rc<TcpListener>) -> Self {
        let descriptor = types::Fd(listener.as_raw_fd());
        let entry = opcode::Accept::new(descriptor, std::ptr::null_mut(), std::ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
            .build();
        Self {
            entry,
            held: Held::Nothing,
            target: Target::Listener { _listener: listener.clone() },
            kind: Kind::Accept,
        }
    }

    /// `bytes_max`: the receive ends after so many bytes; 0: it goes on.
    pub(crate) fn receive(stream: &Rc<Stream>, group: u16, bytes_max: u32) -> Self {
        let socket = stream.socket();
        let mut entry = opcode::RecvMulti::new(types::Fd(socket.raw()), group).build();
        kernel::limit_receive(&mut entry, bytes_max);
        let target = Target::Socket(socket.clone());
        Self { entry, held: Held::Nothing, target, kind: Kind::Receive(stream.clone()) }
    }

    /// Sends the bytes from `skip` on. `all`: the kernel itself goes on after a short send.
    pub(crate) fn send(socket: &RingSocket, bytes: Buffer, skip: usize, all: bool) -> Self {
        let rest = &bytes.as_ref()[skip..];
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(socket.raw()), rest.as_ptr(), length).flags(send_flags(all)).build();
        Self { entry, held: Held::Buffer(bytes), target: Target::Socket(socket.clone()), kind: Kind::Send }
    }

    pub(crate) fn send_vectored(
        socket: &RingSocket,
        mut message: Pinned<Message>,
        parts: Vec<Buffer>,
        skip: usize,
        all: bool,
    ) -> Self {
        message.with(|message| message.fill(parts, skip));
        // The header stands first in no particular place of the message: take its own address.
        let header = message.with(|message| &raw const message.header);
        let entry = opcode::SendMsg::new(types::Fd(socket.raw()), header).flags(send_flags(all) as u32).build();
        Self { entry, held: Held::Message(message), target: Target::Socket(socket.clone()), kind: Kind::Send }
    }
}

fn send_flags(all: bool) -> i32 {
    libc::MSG_NOSIGNAL | if all { libc::MSG_WAITALL } else { 0 }
}
