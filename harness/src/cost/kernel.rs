//! What the kernel does on behalf of everybody: write-back threads, dirty memory.

use super::threads::{parse_schedstat, parse_stat};
use std::{collections::BTreeMap, fs};

/// Processor time of everything on this machine that is not this process.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Of the kernel's own threads that carry written data to the device: workers (`kworker`), the journal (`jbd2`, `xfsaild`), reclaim
    /// (`kswapd`). Nanoseconds since the machine started; `None` where they cannot be seen, as in a container with its own process
    /// table. It belongs to the whole machine, so it is shown apart and charged to no engine.
    pub write_back_ns: Option<u64>,
    /// Of everybody else, by process: its name and its nanoseconds.
    strangers: BTreeMap<u32, (String, u64)>,
}

impl Others {
    /// Reads `/proc`.
    #[must_use]
    pub fn sample() -> Self {
        let mut others = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let path = entry.path();
            let Some(stat) = fs::read_to_string(path.join("stat")).ok().and_then(|text| parse_stat(&text)) else {
                continue;
            };
            if pid == std::process::id() {
                continue;
            }
            // A process's `schedstat` is its first thread's alone: precise for the kernel's threads, which are alone.
            let of_kernel = stat.parent == KTHREADD;
            let precise = fs::read_to_string(path.join("schedstat")).ok().filter(|_| of_kernel);
            let by_ticks = stat.cpu_ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second();
            let cpu_ns = precise.and_then(|text| parse_schedstat(&text)).map_or(by_ticks, |(cpu_ns, _)| cpu_ns);
            if of_kernel && carries_data(&stat.name) {
                others.write_back_ns = Some(others.write_back_ns.unwrap_or(0) + cpu_ns);
            } else {
                others.strangers.insert(pid, (stat.name, cpu_ns));
            }
        }
        others
    }

    /// Who of the strangers has worked for at least `least_ns` since `earlier`, the busiest first. What began and ended in between is not
    /// seen.
    #[must_use]
    pub fn busy_since(&self, earlier: &Self, least_ns: u64) -> Vec<(String, u64)> {
        let mut busy: Vec<(String, u64)> = self
            .strangers
            .iter()
            .map(|(pid, (name, now_ns))| {
                let before = earlier.strangers.get(pid).filter(|(before, _)| before == name);
                (name.clone(), now_ns.saturating_sub(before.map_or(0, |(_, ns)| *ns)))
            })
            .filter(|(_, ns)| *ns >= least_ns)
            .collect();
        busy.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
        busy
    }
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
    fn strangers_are_named_by_what_they_did_since() {
        let of = |list: &[(u32, &str, u64)]| Others {
            write_back_ns: None,
            strangers: list.iter().map(|(pid, name, ns)| (*pid, ((*name).to_owned(), *ns))).collect(),
        };
        let earlier = of(&[(1, "init", 500), (2, "scan", 100), (3, "gone", 9), (4, "old name", 700)]);
        let now = of(&[(1, "init", 500), (2, "scan", 160), (4, "new name", 800), (5, "new", 50)]);
        let busy = |least| now.busy_since(&earlier, least).into_iter().map(|(name, ns)| format!("{name} {ns}"));
        assert_eq!(busy(50).collect::<Vec<_>>(), ["new name 800", "scan 60", "new 50"]);
        assert_eq!(busy(100).collect::<Vec<_>>(), ["new name 800"]);
    }

    #[test]
    fn this_process_is_no_stranger() {
        let others = Others::sample();
        assert!(!others.strangers.contains_key(&std::process::id()));
    }

    #[test]
    fn threads_that_carry_data_are_known_by_name() {
        assert!(carries_data("kworker/u8:1-flush-254:0") && carries_data("jbd2/vda-8") && carries_data("kswapd0"));
        assert!(!carries_data("ksoftirqd/0") && !carries_data("migration/1"));
    }
}
