//! Which partitions share a log, and the file that says so.

use log_api::{EngineConfig, LogId, OpenError};
use log_segment::LAYOUT_FILE;
use std::{fmt, fs, io, path::Path};

/// Partitions of one group at most: their ends must fit a checkpoint, and that the smallest segment.
pub const PARTITIONS_MAX: usize = 16_384;

/// Which partitions share a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Partitions of a group; `None`: all of an engine.
    pub partitions: Option<u32>,
    /// An engine holds every `stride`-th partition: the number of shards.
    pub stride: u32,
}

impl Grouping {
    /// All partitions of an engine in one group.
    #[must_use]
    pub fn all() -> Self {
        Self { partitions: None, stride: 1 }
    }

    /// The shared log in which a partition lies.
    #[must_use]
    pub fn log_of(&self, partition: LogId) -> LogId {
        LogId(self.partitions.map_or(0, |partitions| partition.0 / self.stride.max(1) / partitions.max(1)))
    }
}

impl fmt::Display for Grouping {
    /// The words of the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partitions {
            None => f.write_str("group"),
            Some(partitions) => write!(f, "group:{partitions}"),
        }
    }
}

/// Requires that the directory was made with this grouping, or is new: then it is recorded. Whoever calls has the directory's lock.
pub(crate) fn check(config: &EngineConfig, grouping: Grouping) -> Result<(), OpenError> {
    let dir = &config.dir;
    let path = dir.join(LAYOUT_FILE);
    let asked = grouping.to_string();
    let other = |made_with: String| OpenError::Layout { dir: dir.clone(), made_with, asked: asked.clone() };
    let io = |action| {
        let path = path.clone();
        move |source| OpenError::Io { action, path, source }
    };
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == asked => Ok(()),
        Ok(found) => Err(other(found.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_logs(dir).map_err(io("look beside"))? {
                return Err(other("partition".to_owned()));
            }
            write(dir, &path, &asked).map_err(io("write"))
        }
        Err(error) => Err(io("read")(error)),
    }
}

/// Folders of logs are named by five digits.
fn has_logs(dir: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| name.len() == 5 && name.bytes().all(|byte| byte.is_ascii_digit())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Durable before the first log is made.
fn write(dir: &Path, path: &Path, words: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, format!("{words}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_grouped_by_their_place_on_the_shard() {
        let groups = |partitions, stride, of: &[u32]| -> Vec<u32> {
            let grouping = Grouping { partitions, stride };
            of.iter().map(|&partition| grouping.log_of(LogId(partition)).0).collect()
        };
        assert_eq!(groups(None, 1, &[0, 1, 9999]), [0, 0, 0]);
        assert_eq!(groups(Some(2), 1, &[0, 1, 2, 3, 4]), [0, 0, 1, 1, 2]);
        assert_eq!(groups(Some(2), 3, &[1, 4, 7, 10]), [0, 0, 1, 1], "every third partition lives on shard 1 of 3");
    }
}
