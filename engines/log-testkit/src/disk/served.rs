//! The device as a file: a FUSE file system with one file for each life of the device, for a loop device to stand on. Direct I/O
//! throughout, so that the kernel keeps nothing of it: what the file system above writes and flushes arrives here as it is.

use super::device::Device;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use std::{
    ffi::OsStr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

/// Nothing is remembered: a new life has a new name.
const REMEMBERED: Duration = Duration::ZERO;

/// Inode of the file of life 0; below it the folder.
const FIRST_FILE: u64 = 2;

pub(super) struct Served(pub(super) Arc<Device>);

/// Name of the device's file in a life.
pub(super) fn name(life: u64) -> String {
    format!("life-{life}")
}

impl Served {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let folder = inode == INodeNo::ROOT;
        let size = if folder { 0 } else { self.0.bytes() };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if folder { FileType::Directory } else { FileType::RegularFile },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

fn life(inode: INodeNo) -> u64 {
    u64::from(inode).wrapping_sub(FIRST_FILE)
}

impl Filesystem for Served {
    fn lookup(&self, _request: &Request, _parent: INodeNo, asked: &OsStr, reply: ReplyEntry) {
        let life = self.0.life();
        if asked == OsStr::new(&name(life)) {
            reply.entry(&REMEMBERED, &self.attributes(INodeNo(FIRST_FILE + life)), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _file: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&REMEMBERED, &self.attributes(inode));
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(life(inode), offset, size as usize, <[u8]>::to_vec) {
            Ok(bytes) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _file: FileHandle,
        offset: u64,
        bytes: &[u8],
        _how: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(life(inode), offset, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    /// A descriptor is closed: nothing to do with the device's cache.
    fn flush(&self, _request: &Request, _inode: INodeNo, _file: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _request: &Request, inode: INodeNo, _file: FileHandle, _data: bool, reply: ReplyEmpty) {
        match self.0.flush(life(inode)) {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}
