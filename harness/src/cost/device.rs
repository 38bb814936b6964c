//! The block device under a directory: its facts, and the bytes that reached it.

use std::{
    fs, io,
    os::linux::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes of a sector in `/sys/block/*/stat`, whatever the device's own sector is (kernel: Documentation/block/stat.rst).
const SECTOR_BYTES: u64 = 512;

/// A block device, by its folder in `/sys/dev/block`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name: `vda`, `nvme0n1p2`.
    pub name: String,
    stat: PathBuf,
    queue: PathBuf,
}

/// What the device did since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Flush requests; 0 on kernels that do not tell.
    pub flushes: u64,
}

impl Device {
    /// The device that holds `path`, which must exist. `None` for a file system without one: tmpfs, overlay, network.
    ///
    /// # Errors
    /// `path` cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let device = fs::metadata(path)?.st_dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        if let Some(found) = Self::from_sys(&format!("{major}:{minor}")) {
            return Ok(Some(found));
        }
        // btrfs and others show an anonymous device number: the mount table names the real one.
        let source =
            super::machine::Mount::of(path).map(|mount| mount.source).filter(|source| source.starts_with("/dev/"));
        let Some(number) = source.and_then(|source| fs::metadata(source).ok()).map(|node| node.st_rdev()) else {
            return Ok(None);
        };
        Ok(Self::from_sys(&format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number))))
    }

    fn from_sys(number: &str) -> Option<Self> {
        let folder = fs::canonicalize(format!("/sys/dev/block/{number}")).ok()?;
        // A partition counts for itself and shares the queue of the whole device, its parent folder.
        let whole = if folder.join("queue").is_dir() { folder.clone() } else { folder.parent()?.to_path_buf() };
        Some(Self {
            name: folder.file_name()?.to_str()?.to_owned(),
            stat: folder.join("stat"),
            queue: whole.join("queue"),
        })
    }

    /// The counts now; `None` if the kernel does not tell.
    #[must_use]
    pub fn counts(&self) -> Option<DeviceCounts> {
        parse_counts(&fs::read_to_string(&self.stat).ok()?)
    }

    /// The I/O scheduler in use.
    #[must_use]
    pub fn scheduler(&self) -> Option<String> {
        chosen(&fs::read_to_string(self.queue.join("scheduler")).ok()?)
    }

    /// `write back` or `write through`, as the kernel believes.
    #[must_use]
    pub fn write_cache(&self) -> Option<String> {
        fs::read_to_string(self.queue.join("write_cache")).ok().map(|text| text.trim().to_owned())
    }

    /// Its name with its model or its bus, where the kernel tells: `vda (virtio)`, `nvme0n1 (Samsung SSD 990)`.
    #[must_use]
    pub fn label(&self) -> String {
        let device = self.queue.parent().map(|whole| whole.join("device"));
        let model = device.as_ref().and_then(|device| fs::read_to_string(device.join("model")).ok());
        let bus = || {
            let link = fs::canonicalize(device?.join("subsystem")).ok()?;
            Some(link.file_name()?.to_str()?.to_owned())
        };
        match model.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).or_else(bus) {
            Some(model) => format!("{} ({model})", self.name),
            None => self.name.clone(),
        }
    }
}

impl DeviceCounts {
    /// What was done since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.saturating_sub(earlier.read_bytes),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
            flushes: self.flushes.saturating_sub(earlier.flushes),
        }
    }
}

/// `/sys/block/<device>/stat`: read I/Os, merges, sectors, ticks, the same for writes, then others; flush I/Os are field 16.
fn parse_counts(text: &str) -> Option<DeviceCounts> {
    let fields: Vec<u64> = text.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    Some(DeviceCounts {
        read_bytes: fields.get(2)? * SECTOR_BYTES,
        written_bytes: fields.get(6)? * SECTOR_BYTES,
        flushes: fields.get(15).copied().unwrap_or(0),
    })
}

/// The bracketed word of `none [mq-deadline] kyber`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_counted_in_sectors_of_512_bytes() {
        let text = "   99644    29107  6818330    44874   224543    30408 61064152   183661        0    34416   230407     8705       32  2807824      774    31804     1097\n";
        let counts = parse_counts(text).unwrap();
        assert_eq!(
            counts,
            DeviceCounts { read_bytes: 6_818_330 * 512, written_bytes: 61_064_152 * 512, flushes: 31_804 }
        );
        assert_eq!(parse_counts("1 2 3 4 5 6 7").map(|c| c.flushes), Some(0), "kernels before 5.5 end early");
        assert_eq!(parse_counts("1 2 3"), None);
        let earlier = DeviceCounts { written_bytes: 61_064_152 * 512 - 4096, ..counts };
        assert_eq!(counts.since(earlier), DeviceCounts { read_bytes: 0, written_bytes: 4096, flushes: 0 });
    }

    #[test]
    fn the_scheduler_in_use_stands_in_brackets() {
        assert_eq!(chosen("none [mq-deadline] kyber bfq\n").as_deref(), Some("mq-deadline"));
        assert_eq!(chosen("none\n"), None);
    }

    #[test]
    fn a_file_system_in_memory_has_no_device() {
        assert_eq!(Device::of(Path::new("/proc")).unwrap(), None);
        assert!(Device::of(Path::new("/no/such/place")).is_err());
    }
}
