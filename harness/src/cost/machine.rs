//! Facts of the machine and of the directory that may explain a figure.

use std::{collections::BTreeMap, fs, path::Path};

/// The mount that holds a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// `ext4`, `xfs`, `tmpfs`, …
    pub file_system: String,
    /// What is mounted: `/dev/vda`, `tmpfs`, …
    pub source: String,
    /// Options of the mount and of the file system.
    pub options: String,
}

impl Mount {
    /// The mount of `path`, which must exist; `None` if the mount table cannot be read.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let absolute = fs::canonicalize(path).ok()?;
        find_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, &absolute)
    }

    /// The file system keeps its files in memory: nothing measured on it says anything of a disk.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&self.file_system.as_str())
    }
}

/// The longest mount point above the path wins; of several on one point, the last.
fn find_mount(mountinfo: &str, path: &Path) -> Option<Mount> {
    mountinfo.lines().filter_map(parse_mount).filter(|mount| path.starts_with(&mount.point)).fold(
        None,
        |best, mount| match best {
            Some(best) if Mount::depth(&best) > Mount::depth(&mount) => Some(best),
            _ => Some(mount),
        },
    )
}

impl Mount {
    fn depth(&self) -> usize {
        Path::new(&self.point).components().count()
    }
}

/// proc_pid_mountinfo(5): `id parent major:minor root point options [optional…] - type source super-options`.
fn parse_mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let head: Vec<&str> = head.split(' ').collect();
    let mut tail = tail.splitn(3, ' ');
    let (file_system, source, more) = (tail.next()?, tail.next()?, tail.next().unwrap_or(""));
    Some(Mount {
        point: unescape(head.get(4)?),
        file_system: file_system.to_owned(),
        source: unescape(source),
        options: format!("{},{more}", head.get(5)?),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// The file system that is named in words where the mount table is not readable.
#[must_use]
pub fn file_system(path: &Path) -> String {
    Mount::of(path).map_or_else(|| "unknown".to_owned(), |mount| mount.file_system)
}

/// Bytes that an ordinary user can still write below `path`; `None` if it cannot be asked.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Processors that this process may run on.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return vec![0] };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

/// Limit of the control group in processors; `None` without one.
#[must_use]
pub fn cpu_quota() -> Option<f64> {
    let unified = || {
        let group = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = group.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        let below = fs::read_to_string(format!("/sys/fs/cgroup{path}/cpu.max"));
        parse_cpu_max(&below.or_else(|_| fs::read_to_string("/sys/fs/cgroup/cpu.max")).ok()?)
    };
    let legacy = || {
        let read =
            |file: &str| fs::read_to_string(format!("/sys/fs/cgroup/cpu/{file}")).ok()?.trim().parse::<f64>().ok();
        let quota = read("cpu.cfs_quota_us")?;
        (quota > 0.0).then_some(quota / read("cpu.cfs_period_us")?)
    };
    unified().or_else(legacy)
}

/// `<quota|max> <period>` in microseconds.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// Model of the processor.
#[must_use]
pub fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// Release of the kernel.
#[must_use]
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Name of the machine as its kernel has it; used only to tell remembered walls of one machine from another's.
#[must_use]
pub fn machine_id() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = if id.trim().is_empty() { rustix::system::uname().nodename().to_string_lossy().into_owned() } else { id };
    id.trim().to_owned()
}

/// Clock source of the kernel.
#[must_use]
pub fn clock_source() -> Option<String> {
    one_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// Frequency governor of the first processor.
#[must_use]
pub fn governor() -> Option<String> {
    one_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
}

/// Mitigations of processor faults, by name.
#[must_use]
pub fn mitigations() -> BTreeMap<String, String> {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let files = folder.into_iter().flatten().flatten();
    files.filter_map(|file| Some((file.file_name().into_string().ok()?, one_line(file.path())?))).collect()
}

/// Blocks of `2^order` free pages and more are handed back to the host, where the guest's kernel does that; taking them again costs up to two
/// milliseconds a mebibyte. `None`: it does not.
#[must_use]
pub fn page_reporting() -> Option<u32> {
    reporting_order(&one_line(PAGE_REPORTING)?)
}

/// Where the kernel keeps the order.
pub const PAGE_REPORTING: &str = "/sys/module/page_reporting/parameters/page_reporting_order";

/// -1 until a host asks for it (`mm/page_reporting.c`); above the largest block of the kernel, nothing is ever handed back.
fn reporting_order(text: &str) -> Option<u32> {
    text.parse().ok().filter(|order| *order <= PAGE_ORDER_MAX)
}

/// MAX_PAGE_ORDER of kernels with pages of 4 KiB.
pub const PAGE_ORDER_MAX: u32 = 10;

/// The settings that govern write-back, and whether free memory goes back to the host.
#[must_use]
pub fn sysctls() -> BTreeMap<String, String> {
    let names = [
        "dirty_background_bytes",
        "dirty_background_ratio",
        "dirty_bytes",
        "dirty_expire_centisecs",
        "dirty_ratio",
        "dirty_writeback_centisecs",
        "swappiness",
    ];
    let vm = names.iter().filter_map(|name| Some((format!("vm.{name}"), one_line(format!("/proc/sys/vm/{name}"))?)));
    let reporting = one_line(PAGE_REPORTING).map(|order| ("page_reporting_order".to_owned(), order));
    vm.chain(reporting).collect()
}

/// Limits that a run can meet: memory that may be locked, open files, the control group's memory.
#[must_use]
pub fn limits() -> BTreeMap<String, String> {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_ascii_whitespace().next().map(str::to_owned)
    };
    let named = [
        ("memlock_bytes", soft("Max locked memory")),
        ("open_files", soft("Max open files")),
        ("memory_max", one_line("/sys/fs/cgroup/memory.max")),
        ("cpu_quota", cpu_quota().map(|cpus| cpus.to_string())),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn one_line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:27 / /mnt/with\\040space rw shared:1 - tmpfs tmpfs rw,size=4k
31 30 254:16 / /mnt/with\\040space/disk ro - xfs /dev/vdb ro
";

    #[test]
    fn the_deepest_mount_above_a_path_holds_it() {
        let at = |path: &str| find_mount(TABLE, Path::new(path)).unwrap();
        assert_eq!((at("/home/a").file_system.as_str(), at("/home/a").source.as_str()), ("ext4", "/dev/vda"));
        assert!(at("/mnt/with space/x").is_memory());
        assert_eq!(at("/mnt/with space/disk/x").options, "ro,ro");
        assert_eq!(at("/mnt/with space2").file_system, "ext4", "a longer name is another folder");
    }

    #[test]
    fn a_quota_is_a_number_of_processors() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
    }

    #[test]
    fn an_order_that_no_block_has_reports_nothing() {
        assert_eq!(["9", "10", "11", "-1", "4294967295"].map(reporting_order), [Some(9), Some(10), None, None, None]);
    }

    #[test]
    fn this_machine_has_a_processor_and_free_space() {
        assert!(!allowed_cpus().is_empty());
        assert!(free_bytes(Path::new("/")).is_some());
    }
}
