//! A disk whose power can be cut and whose operations can fail: ext4 on a loop device on a `device` of our own, which a thread of
//! this process serves by FUSE. Everything that an engine does, through mappings, io_uring or sendfile, arrives there as writes and
//! flushes below the file system.
//!
//! Root only, and only where `/dev/fuse`, loop devices and `mkfs.ext4` are; everything is taken down when the value is dropped.

mod device;
mod served;

pub use device::{Fault, Operation, Survivors};

use crate::commands::{run, text};
use device::Device;
use served::Served;
use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};
use tempfile::TempDir;

/// An ext4, mounted at [`Disk::dir`].
pub struct Disk {
    device: Arc<Device>,
    loop_device: Option<String>,
    served: Option<fuser::BackgroundSession>,
    root: TempDir,
}

impl Disk {
    /// A fresh file system of `bytes`.
    ///
    /// # Errors
    /// In words, why there can be none here: no root, no FUSE, no loop devices, no `mkfs.ext4`.
    pub fn ext4(bytes: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting a loop device needs root".into());
        }
        let root = tempfile::Builder::new().prefix("highwater-disk-").tempdir().map_err(|error| error.to_string())?;
        let image = root.path().join("image");
        File::create(&image).and_then(|file| file.set_len(bytes)).map_err(|error| error.to_string())?;
        run(&[
            "mkfs.ext4",
            "-q",
            "-F",
            "-b",
            "4096",
            "-m",
            "0",
            "-E",
            "lazy_itable_init=0,lazy_journal_init=0",
            text(&image),
        ])?;
        let content = fs::read(&image).map_err(|error| error.to_string())?;
        fs::remove_file(&image).map_err(|error| error.to_string())?;
        let device = Arc::new(Device::new(content));
        let mut disk = Self { device: Arc::clone(&device), loop_device: None, served: None, root };
        for folder in [disk.device_dir(), disk.dir()] {
            fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let served = fuser::spawn_mount(Served(device), disk.device_dir(), &fuser::Config::default());
        disk.served = Some(served.map_err(|error| format!("FUSE: {error}"))?);
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("mounted")
    }

    fn device_dir(&self) -> PathBuf {
        self.root.path().join("device")
    }

    fn mount(&mut self) -> Result<(), String> {
        let file = self.device_dir().join(served::name(self.device.life()));
        let loop_device = run(&["losetup", "--find", "--show", text(&file)])?.trim().to_owned();
        self.loop_device = Some(loop_device.clone());
        run(&["mount", "-t", "ext4", "-o", "nodiscard,noatime", &loop_device, text(&self.dir())]).map(|_| ())
    }

    /// Cuts the power after so many writes and flushes of the device, and calls `hook` in that moment, on the device's thread.
    /// `seed` decides which of the survivors survive.
    pub fn cut_after(&self, operations: u64, survivors: Survivors, seed: u64, hook: impl FnOnce() + Send + 'static) {
        self.device.cut_after(operations, survivors, seed, Box::new(hook));
    }

    /// Takes the last [`Disk::cut_after`] back; whether the power was cut before.
    #[must_use]
    pub fn spare(&self) -> bool {
        self.device.spare()
    }

    /// Cuts the power now, if it is not cut, and boots: mounts again what is on the medium.
    ///
    /// What an earlier life has open, be it a process that is still ending, gets nothing but errors from the device, and cannot
    /// harm it.
    ///
    /// # Errors
    /// In words, what failed.
    pub fn power_cycle(&mut self, survivors: Survivors, seed: u64) -> Result<(), String> {
        self.device.cut(survivors, seed);
        self.unmount();
        self.device.power_on();
        self.mount()
    }

    /// Lets an operation of the device fail; says how many have failed since the last call.
    pub fn fail(&self, fault: Option<Fault>) -> u64 {
        self.device.fail(fault)
    }

    /// Lazily: a process that was killed a moment ago may still be letting go.
    fn unmount(&mut self) {
        let Some(loop_device) = self.loop_device.take() else { return };
        for command in [["umount", "-l", text(&self.dir())].as_slice(), &["losetup", "-d", &loop_device]] {
            if let Err(error) = run(command) {
                let _ = writeln!(io::stderr(), "left behind: {error}");
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Nothing of it needs writing any more.
        self.device.cut(Survivors::None, 0);
        self.unmount();
        // Unmounted lazily too, and then its thread ends by itself: with the last loop device that stands on it.
        let _ = run(&["umount", "-l", text(&self.device_dir())]);
        drop(self.served.take());
    }
}
