//! What the kernel does on behalf of everybody: write-back threads, dirty memory.

use super::threads::{parse_schedstat, parse_stat};
use std::fs;

/// Processor time of the kernel's own threads that carry written data to the device: workers (`kworker`), the journal
/// (`jbd2`, `xfsaild`), reclaim (`kswapd`). Nanoseconds since the machine started; `None` where they cannot be seen, as in a container
/// with its own process table. It belongs to the whole machine, so it is shown apart and charged to no engine.
#[must_use]
pub fn write_back_cpu_ns() -> Option<u64> {
    let mut sum_ns = 0;
    let mut seen = false;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let Some(stat) = fs::read_to_string(path.join("stat")).ok().and_then(|text| parse_stat(&text)) else {
            continue;
        };
        if stat.parent == KTHREADD && carries_data(&stat.name) {
            let precise = fs::read_to_string(path.join("schedstat")).ok().and_then(|text| parse_schedstat(&text));
            let by_ticks = stat.cpu_ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
            sum_ns += precise.map_or(by_ticks, |(cpu_ns, _)| cpu_ns);
            seen = true;
        }
    }
    seen.then_some(sum_ns)
}

/// The parent of all kernel threads.
const KTHREADD: u32 = 2;

fn carries_data(name: &str) -> bool {
    ["kworker/", "jbd2/", "xfsaild", "kswapd", "btrfs-"].iter().any(|prefix| name.starts_with(prefix))
}

/// Memory that is on its way to a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Changed and not yet being written, bytes.
    pub dirty_bytes: u64,
    /// Being written, bytes.
    pub writeback_bytes: u64,
    /// All memory, bytes.
    pub total_bytes: u64,
    /// What could be had without swapping, bytes.
    pub available_bytes: u64,
}

impl Memory {
    /// Reads `/proc/meminfo`; zeros where it does not tell.
    #[must_use]
    pub fn sample() -> Self {
        parse_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    /// Dirty and under write-back together.
    #[must_use]
    pub fn unsettled_bytes(self) -> u64 {
        self.dirty_bytes + self.writeback_bytes
    }
}

fn parse_meminfo(text: &str) -> Memory {
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    Memory {
        dirty_bytes: value("Dirty"),
        writeback_bytes: value("Writeback"),
        total_bytes: value("MemTotal"),
        available_bytes: value("MemAvailable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes_and_keys_match_whole() {
        let text = "MemTotal:       24684096 kB\nMemAvailable:   24286828 kB\nDirty:               216 kB\nWritebackTmp: 9 kB\nWriteback:         4 kB\n";
        let memory = parse_meminfo(text);
        assert_eq!((memory.dirty_bytes, memory.writeback_bytes), (216 * 1024, 4 * 1024));
        assert_eq!((memory.total_bytes, memory.unsettled_bytes()), (24_684_096 * 1024, 220 * 1024));
        assert_eq!(parse_meminfo(""), Memory::default());
    }

    #[test]
    fn threads_that_carry_data_are_known_by_name() {
        assert!(carries_data("kworker/u8:1-flush-254:0") && carries_data("jbd2/vda-8") && carries_data("kswapd0"));
        assert!(!carries_data("ksoftirqd/0") && !carries_data("migration/1"));
    }
}
