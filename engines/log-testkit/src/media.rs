//! File systems to break: ext4 on a loop device whose backing file lies in a tmpfs of its own. Root only; everything is taken down
//! when the value is dropped.
//!
//! The fault model: a device that has no room left for a block that it had promised (thin provisioning, a full hypervisor). Writes
//! into such a block fail below the file system: a buffered write succeeds and its write-back fails, once; after that the page
//! cache calls the page clean. A device that lies about its cache is not modelled, nor is one that returns other bytes.

use crate::commands::{run, text};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// An ext4 of a fixed size, mounted at [`Media::dir`].
#[derive(Debug)]
pub struct Media {
    /// What to take down, in order of making.
    undo: Vec<Vec<String>>,
    loop_device: String,
    root: TempDir,
}

impl Media {
    /// A fresh file system of `bytes` on a device in memory.
    ///
    /// # Errors
    /// In words, why there can be none here: no root, no loop devices, no `mkfs.ext4`.
    pub fn ext4(bytes: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting a loop device needs root".into());
        }
        let root = tempfile::Builder::new().prefix("highwater-media-").tempdir().map_err(|error| error.to_string())?;
        let mut media = Self { undo: Vec::new(), loop_device: String::new(), root };
        let (store, image, dir) = (media.store(), media.image(), media.dir());
        for folder in [&store, &dir] {
            fs::create_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let size = format!("size={}", bytes + (8 << 20));
        run(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", text(&store)])?;
        media.undo.push(vec!["umount".into(), "-l".into(), text(&store).into()]);
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(bytes).map_err(|error| error.to_string())?;
        // Everything that the file system itself needs is written now, so that only data can meet a missing block later.
        let whole = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        // Without the variable mkfs "writes" zeros by punching holes.
        let written = "UNIX_IO_NOZEROOUT=1";
        run(&["env", written, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", whole, text(&image)])?;
        media.loop_device = run(&["losetup", "--find", "--show", text(&image)])?.trim().to_owned();
        media.undo.push(vec!["losetup".into(), "-d".into(), media.loop_device.clone()]);
        run(&["mount", "-o", "nodiscard", &media.loop_device, text(&dir)])?;
        media.undo.push(vec!["umount".into(), text(&dir).into()]);
        Ok(media)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("mounted")
    }

    fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn image(&self) -> PathBuf {
        self.store().join("image")
    }

    /// Takes from the device the blocks that lie under `file` from byte `from` on, which must be zeros: reading them still gives
    /// zeros, writing them needs room again.
    ///
    /// A write that starts in a block that is there and goes on into one that is not is short, and the loop driver calls a short
    /// write a success: a device that lies, which is not modelled. So let `from` be a place where writes start: a multiple of
    /// 4,096 for writes by block, and of a large power of two where the page cache may write whole folios.
    ///
    /// # Errors
    /// In words, what failed.
    pub fn forget(&self, file: &Path, from: u64) -> Result<(), String> {
        run(&["sync", "-f", text(&self.dir())])?;
        let extents = run(&["filefrag", "-b1", "-e", "-s", text(file)])?;
        let image = File::options().write(true).open(self.image()).map_err(|error| error.to_string())?;
        let mut forgotten = 0;
        for (logical, physical, length) in extents.lines().filter_map(extent) {
            let skipped = from.next_multiple_of(4096).saturating_sub(logical).min(length);
            if skipped < length {
                let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(&image, flags, physical + skipped, length - skipped)
                    .map_err(|error| format!("punch a hole into the device: {error}"))?;
                forgotten += length - skipped;
            }
        }
        if forgotten > 0 { Ok(()) } else { Err(format!("no blocks of {} to forget", file.display())) }
    }

    /// Fills the device's store: from now on it has no block to give.
    ///
    /// # Errors
    /// In words, what failed.
    pub fn fill_store(&self) -> Result<(), String> {
        let mut ballast = File::create(self.ballast()).map_err(|error| error.to_string())?;
        let block = vec![1; 1 << 16];
        let mut part = block.as_slice();
        while !part.is_empty() {
            match ballast.write(part) {
                Ok(_) => {}
                // Down to the last page.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => part = &part[..part.len() / 2],
                Err(error) => return Err(format!("fill the store: {error}")),
            }
        }
        Ok(())
    }

    /// Gives the store its room back.
    ///
    /// # Errors
    /// In words, what failed.
    pub fn empty_store(&self) -> Result<(), String> {
        fs::remove_file(self.ballast()).map_err(|error| format!("empty the store: {error}"))
    }

    fn ballast(&self) -> PathBuf {
        self.store().join("ballast")
    }
}

/// What is on the device: a file's bytes read past the page cache.
///
/// # Errors
/// In words, what failed.
pub fn on_device(file: &Path) -> Result<Vec<u8>, String> {
    const BLOCK_BYTES: usize = 4096;
    use rustix::fs::{Mode, OFlags, open};
    let failed = |error: rustix::io::Errno| format!("read {} past the page cache: {error}", file.display());
    let direct = open(file, OFlags::RDONLY | OFlags::DIRECT, Mode::empty()).map_err(failed)?;
    let slab = shard_ring::Slab::new(BLOCK_BYTES, 1).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    loop {
        let block = slab.take().ok_or("one block at a time")?;
        let read = block
            .append_with(BLOCK_BYTES, |place| rustix::io::pread(&direct, place, bytes.len() as u64))
            .map_err(failed)?;
        bytes.extend_from_slice(block.slice(0..read).as_ref());
        if read < BLOCK_BYTES {
            return Ok(bytes);
        }
    }
}

impl Drop for Media {
    fn drop(&mut self) {
        while let Some(command) = self.undo.pop() {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            if let Err(error) = run(&command) {
                // A test that leaves something open must not keep the mount: the lazy form lets it go with the last user.
                let lazily = command[0] == "umount" && run(&["umount", "-l", command[command.len() - 1]]).is_ok();
                if !lazily {
                    let _ = writeln!(io::stderr(), "left behind: {error}");
                }
            }
        }
    }
}

/// `logical..: physical..: length:` of a line of filefrag, in bytes.
fn extent(line: &str) -> Option<(u64, u64, u64)> {
    let mut fields = line.split(':');
    fields.next()?.trim().parse::<u32>().ok()?;
    let first = |range: &str| range.split("..").next()?.trim().parse::<u64>().ok();
    let (logical, physical) = (first(fields.next()?)?, first(fields.next()?)?);
    let length = fields.next()?.trim().parse().ok()?;
    Some((logical, physical, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filefrag_lines_are_read_in_bytes() {
        let line = "   1:    81920..  122879:   34816000..  34856959:   40960:   34800000: last,eof";
        assert_eq!(extent(line), Some((81_920, 34_816_000, 40_960)));
        assert_eq!(extent(" ext:     logical_offset:        physical_offset: length:   expected: flags:"), None);
        assert_eq!(extent("file: 2 extents found"), None);
    }
}
