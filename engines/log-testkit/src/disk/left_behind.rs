//! Takes down what a process that was killed has left mounted: its device answers no more, and nobody else will.

use crate::commands::{run, text};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// Folders of disks begin with it, and with the number of the process that made them.
const PREFIX: &str = "highwater-disk-";

/// What this process's folders begin with.
pub(super) fn prefix() -> String {
    format!("{PREFIX}{}-", process::id())
}

/// The process that made a folder of this name, if it is one of a disk.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// Unmounts and removes the disks of processes that are gone from a folder. Says on standard error what does not go.
pub(super) fn take_down(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let gone = |maker: u32| !Path::new("/proc").join(maker.to_string()).exists();
        if entry.file_name().to_str().and_then(maker).is_some_and(gone)
            && let Err(what) = take_down_one(&entry.path())
        {
            eprintln!("left behind by a process that is gone: {}: {what}", entry.path().display());
        }
    }
}

/// From the top: the file system, the loop device below it, the device's own file system.
fn take_down_one(root: &Path) -> Result<(), String> {
    let (mounted, device) = (root.join("mounted"), root.join("device"));
    let loops = loop_devices(&device).map_err(|error| error.to_string())?;
    // Each may have been the first that was not made any more.
    let _ = run(&["umount", "-l", text(&mounted)]);
    for name in loops {
        run(&["losetup", "-d", &format!("/dev/{name}")])?;
    }
    let _ = run(&["umount", "-l", text(&device)]);
    // Folders alone: what is mounted still, or holds a file, stays.
    for path in [mounted.as_path(), &device, root] {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.to_string()),
            _ => {}
        }
    }
    Ok(())
}

/// Loop devices that stand on files of a folder, by the name of the block device.
fn loop_devices(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for block in fs::read_dir("/sys/block")? {
        let block = block?;
        // Only loop devices in use have one.
        let Ok(file) = fs::read_to_string(block.path().join("loop/backing_file")) else { continue };
        if PathBuf::from(file.trim_end()).starts_with(folder) {
            found.extend(block.file_name().into_string());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_folders_of_processes_that_are_gone_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        // Above the largest number that a process can have.
        let gone = format!("{PREFIX}{}-abc", u32::MAX);
        let names = [gone.clone(), format!("{}abc", prefix()), format!("{PREFIX}abc"), "other".to_owned()];
        for name in &names {
            fs::create_dir_all(parent.path().join(name).join("mounted")).unwrap();
        }
        let full = parent.path().join(format!("{PREFIX}{}-full", u32::MAX));
        fs::create_dir_all(full.join("mounted")).unwrap();
        fs::write(full.join("mounted/file"), "kept").unwrap();
        take_down(parent.path());
        let left = names.iter().filter(|name| parent.path().join(name).exists());
        assert!(left.eq(&names[1..]), "the one whose process is gone, and no other");
        assert!(full.join("mounted/file").exists(), "nothing is deleted but empty folders");
    }
}
