//! What the system says of the files of a directory that this process holds: which were opened with O_DIRECT, and which are
//! mapped. An engine may claim a mechanism; this looks.

use crate::{Durability, EngineKind, ShardReport};
use std::{fs, path::Path};

/// Files below a directory, as `/proc/self` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Descriptors of segment files with O_DIRECT.
    pub direct_descriptors: u64,
    /// Descriptors of segment files without.
    pub buffered_descriptors: u64,
    /// Mappings of segment files.
    pub mappings: u64,
    /// Their bytes.
    pub mapped_bytes: u64,
}

/// Looks at this process's files whose path lies below `dir` and that are segments, finished, current or prepared.
pub(crate) fn observe(dir: &Path) -> Observed {
    let mut observed = Observed::default();
    let Ok(dir) = dir.canonicalize() else { return observed };
    let is_segment = |path: &Path| {
        let name = path.extension().and_then(|extension| extension.to_str());
        path.starts_with(&dir) && matches!(name, Some("log" | "next"))
    };
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let held = fs::read_link(entry.path());
        if !held.is_ok_and(|path| is_segment(&path)) {
            continue;
        }
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(entry.file_name())).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        match flags {
            Some(flags) if flags & rustix::fs::OFlags::DIRECT.bits() != 0 => observed.direct_descriptors += 1,
            Some(_) => observed.buffered_descriptors += 1,
            None => {}
        }
    }
    for line in fs::read_to_string("/proc/self/maps").unwrap_or_default().lines() {
        // from-to permissions offset device inode path
        let mut fields = line.split_ascii_whitespace();
        let range = fields.next().and_then(|range| range.split_once('-'));
        let path = line.find('/').map(|at| Path::new(&line[at..]));
        if let (Some((from, to)), Some(path)) = (range, path)
            && is_segment(path)
            && let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16))
        {
            observed.mappings += 1;
            observed.mapped_bytes += to - from;
        }
    }
    observed
}

/// What a shard's engine really did, in words, one proof a line.
pub(crate) fn words(engine: EngineKind, durability: Durability, report: &ShardReport) -> Vec<String> {
    let Observed { direct_descriptors, buffered_descriptors, mappings, mapped_bytes } = report.observed;
    let counts = &report.engine;
    let ring = |name: &str| report.ring.iter().find(|count| count.0 == name).map_or(0, |count| count.1);
    let mut words = Vec::new();
    if engine.is_on_disk() {
        words.push(format!(
            "segments: {direct_descriptors} descriptors with O_DIRECT, {buffered_descriptors} without, {mappings} \
             mappings of {} MiB",
            mapped_bytes >> 20
        ));
    } else if durability == Durability::Durable {
        words.push("durable is a word here: this engine keeps nothing on storage".to_owned());
    }
    words.push(format!(
        "engine: {} writes of {} bytes, {} flushes, {} system calls of its own",
        counts.writes, counts.written_bytes, counts.flushes, counts.system_calls
    ));
    if counts.shared_logs > 0 {
        words.push(format!(
            "layout: {} partitions in {} shared logs, {} indexes made again from them",
            counts.shared_log_partitions, counts.shared_logs, counts.shared_log_indexes_rebuilt
        ));
    }
    words.push(format!("ring: {} operations in {} enters", ring("entries"), ring("enters")));
    words.push(format!(
        "sent: {} bytes by {} calls of sendfile, {} bytes by send",
        report.sendfile_bytes, report.sendfile_calls, report.send_bytes
    ));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_segments_are_seen_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(observe(dir.path()), Observed::default());
        let _segment = fs::File::create(dir.path().join("00000000000000000000.log")).unwrap();
        let _index = fs::File::create(dir.path().join("00000000000000000000.index")).unwrap();
        assert_eq!(observe(dir.path()), Observed { buffered_descriptors: 1, ..Observed::default() });
        assert_eq!(observe(&dir.path().join("elsewhere")), Observed::default());
    }
}
