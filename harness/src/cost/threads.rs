//! Processor time and faults by thread: who worked for the engine, who for the load, told apart by the names of threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// For whom a thread of this process works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `shard-<n>`: the engine, the core and the send path.
    Shard,
    /// `hw-<name>`: an engine's helper: preparing, sealing, syncing.
    Helper,
    /// `iou-wrk-<owner>` of a shard or a helper: what the ring could not do without blocking.
    RingWorker,
    /// The generator with its consumers and recorders, its own ring's workers, and everything else of the harness.
    Load,
}

impl Role {
    /// The engine is charged with it.
    #[must_use]
    pub fn is_engine(self) -> bool {
        self != Self::Load
    }
}

/// One thread at one moment. Counts since the thread began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Processor time, nanoseconds.
    pub cpu_ns: u64,
    /// Time in which it could have run and something else had its processor, nanoseconds.
    pub waited_ns: u64,
    /// Page faults that needed no device.
    pub minor_faults: u64,
    /// Page faults that waited for the device.
    pub major_faults: u64,
}

/// The threads of this process at one moment, by thread id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// Live threads.
    pub live: BTreeMap<u32, Thread>,
    /// Processor time of the whole process, threads that have ended included, nanoseconds.
    pub process_cpu_ns: u64,
}

/// What the threads of one role used between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Processor time, nanoseconds.
    pub cpu_ns: u64,
    /// Time in which something else had their processors, nanoseconds.
    pub waited_ns: u64,
    /// Minor page faults.
    pub minor_faults: u64,
    /// Major page faults.
    pub major_faults: u64,
}

/// What each role used between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsedByRole {
    /// See [`Role::Shard`].
    pub shards: Used,
    /// See [`Role::Helper`].
    pub helpers: Used,
    /// See [`Role::RingWorker`], with the time of threads that ended in between: only ring workers come and go.
    pub ring_workers: Used,
    /// See [`Role::Load`].
    pub load: Used,
}

impl UsedByRole {
    /// What the engine is charged with, together.
    #[must_use]
    pub fn engine(&self) -> Used {
        let parts = [self.shards, self.helpers, self.ring_workers];
        Used {
            cpu_ns: parts.iter().map(|p| p.cpu_ns).sum(),
            waited_ns: parts.iter().map(|p| p.waited_ns).sum(),
            minor_faults: parts.iter().map(|p| p.minor_faults).sum(),
            major_faults: parts.iter().map(|p| p.major_faults).sum(),
        }
    }
}

/// The role of a thread by its name. `owner` resolves the owner of a ring worker: workers of the load's own ring are the load's.
fn role(name: &str, owner: &dyn Fn(u32) -> Option<Role>) -> Role {
    if name.starts_with("shard-") {
        Role::Shard
    } else if name.starts_with("hw-") {
        Role::Helper
    } else if let Some(tid) = name.strip_prefix("iou-wrk-") {
        // A thread's name has room for 15 bytes: a long thread id may be cut, and then the worker counts as the engine's.
        match tid.parse().ok().and_then(owner) {
            Some(Role::Load) => Role::Load,
            _ => Role::RingWorker,
        }
    } else {
        Role::Load
    }
}

impl Threads {
    /// Reads `/proc/self/task`. Threads that end while it is read are left out.
    #[must_use]
    pub fn sample() -> Self {
        let mut live = BTreeMap::new();
        for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(thread) = read_thread(&entry.path()) {
                live.insert(tid, thread);
            }
        }
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self { live, process_cpu_ns: time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64 }
    }

    fn role_of(&self, tid: u32) -> Option<Role> {
        self.live.get(&tid).map(|thread| role(&thread.name, &|_| None))
    }

    /// What was used since `earlier`, by role.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> UsedByRole {
        let mut used = UsedByRole::default();
        let mut seen_ns = 0;
        for (tid, now) in &self.live {
            let before = earlier.live.get(tid).filter(|before| before.name == now.name);
            let sum = match role(&now.name, &|owner| self.role_of(owner)) {
                Role::Shard => &mut used.shards,
                Role::Helper => &mut used.helpers,
                Role::RingWorker => &mut used.ring_workers,
                Role::Load => &mut used.load,
            };
            let cpu_ns = now.cpu_ns.saturating_sub(before.map_or(0, |b| b.cpu_ns));
            sum.cpu_ns += cpu_ns;
            sum.waited_ns += now.waited_ns.saturating_sub(before.map_or(0, |b| b.waited_ns));
            sum.minor_faults += now.minor_faults.saturating_sub(before.map_or(0, |b| b.minor_faults));
            sum.major_faults += now.major_faults.saturating_sub(before.map_or(0, |b| b.major_faults));
            seen_ns += cpu_ns;
        }
        let ended_ns = (self.process_cpu_ns - earlier.process_cpu_ns).saturating_sub(seen_ns);
        // The process's clock and the threads' are read microseconds apart: only a worker's life is worth a line.
        if ended_ns > ENDED_NS_MIN {
            used.ring_workers.cpu_ns += ended_ns;
        }
        used
    }
}

/// The threads of this process by role, for who looks at them again and again and has little time: each is told once.
pub struct Tasks(BTreeMap<u32, (Role, PathBuf)>);

impl Tasks {
    /// The threads that are there now.
    #[must_use]
    pub fn find() -> Self {
        let mut tasks = Self(BTreeMap::new());
        tasks.look_again();
        tasks
    }

    /// Adds threads that have begun since, and forgets those that have ended.
    pub fn look_again(&mut self) {
        let listed = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let tids: BTreeSet<u32> =
            listed.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
        self.0.retain(|tid, _| tids.contains(tid));
        for tid in tids {
            if self.0.contains_key(&tid) {
                continue;
            }
            let task = PathBuf::from(format!("/proc/self/task/{tid}"));
            if let Ok(name) = fs::read_to_string(task.join("comm")) {
                let role = role(name.trim_end(), &|owner| self.0.get(&owner).map(|(role, _)| *role));
                self.0.insert(tid, (role, task.join("schedstat")));
            }
        }
    }

    /// Those that the engine is charged with: thread id, role and `schedstat`.
    pub fn engine(&self) -> impl Iterator<Item = (u32, Role, &Path)> {
        let engine = self.0.iter().filter(|(_, (role, _))| role.is_engine());
        engine.map(|(tid, (role, path))| (*tid, *role, path.as_path()))
    }
}

/// Less than this is the time that passed between reading two clocks.
const ENDED_NS_MIN: u64 = 20_000_000;

fn read_thread(task: &Path) -> Option<Thread> {
    let stat = parse_stat(&fs::read_to_string(task.join("stat")).ok()?)?;
    let precise = fs::read_to_string(task.join("schedstat")).ok().and_then(|text| parse_schedstat(&text));
    Some(Thread {
        name: stat.name,
        cpu_ns: precise
            .map_or(stat.cpu_ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second(), |(cpu, _)| cpu),
        waited_ns: precise.map_or(0, |(_, waited)| waited),
        minor_faults: stat.minor_faults,
        major_faults: stat.major_faults,
    })
}

/// Fields of `/proc/<pid>/stat` (proc_pid_stat(5)).
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) parent: u32,
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    /// utime + stime.
    pub(crate) cpu_ticks: u64,
}

/// The name stands in parentheses and may hold any byte, parentheses too: everything is counted from the last one.
pub(crate) fn parse_stat(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok(); // the first field behind the name is number 3
    Some(Stat {
        name,
        parent: number(4)? as u32,
        minor_faults: number(10)?,
        major_faults: number(12)?,
        cpu_ticks: number(14)? + number(15)?,
    })
}

/// The first two numbers of `schedstat`: nanoseconds on a processor, and waiting for one.
pub(crate) fn parse_schedstat(text: &str) -> Option<(u64, u64)> {
    let mut fields = text.split_ascii_whitespace().map_while(|field| field.parse().ok());
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(name: &str, cpu_ms: u64, minor: u64) -> Thread {
        let cpu_ns = cpu_ms * 1_000_000;
        Thread { name: name.to_owned(), cpu_ns, waited_ns: cpu_ns / 10, minor_faults: minor, major_faults: 1 }
    }

    #[test]
    fn stat_counts_fields_from_the_last_parenthesis() {
        let text = "77 (odd) name (x) R 11 77 6876 0 -1 4194304 98 0 7 0 250 50 0 0 20 0 1 0 162829 3133440 390";
        let stat = parse_stat(text).unwrap();
        assert_eq!(
            (stat.name.as_str(), stat.parent, stat.minor_faults, stat.major_faults, stat.cpu_ticks),
            ("odd) name (x", 11, 98, 7, 300)
        );
        assert!(parse_stat("77 (cut) R 11").is_none());
        assert_eq!(parse_schedstat("65708348 42779076 169\n"), Some((65_708_348, 42_779_076)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn the_engine_is_charged_with_shards_helpers_and_their_ring_workers_only() {
        let before = Threads {
            live: [
                (10, thread("generator", 100, 5)),
                (11, thread("shard-0", 50, 10)),
                (12, thread("hw-prepare", 5, 0)),
            ]
            .into(),
            process_cpu_ns: 155_000_000,
        };
        let after = Threads {
            live: [
                (10, thread("generator", 1_100, 9)),
                (11, thread("shard-0", 550, 17)),
                (12, thread("hw-prepare", 25, 3)),
                (13, thread("iou-wrk-11", 40, 0)),
                (14, thread("iou-wrk-10", 70, 0)),
                (15, thread("highwater", 3, 0)),
            ]
            .into(),
            // 1,633 ms by live threads, and a worker of 100 ms that has ended.
            process_cpu_ns: (155 + 1_633 + 100) * 1_000_000,
        };
        let used = after.since(&before);
        assert_eq!(used.shards, Used { cpu_ns: 500_000_000, waited_ns: 50_000_000, minor_faults: 7, major_faults: 0 });
        assert_eq!(used.helpers.cpu_ns, 20_000_000);
        assert_eq!(used.ring_workers.cpu_ns, 140_000_000);
        assert_eq!(used.load.cpu_ns, (1_000 + 70 + 3) * 1_000_000);
        assert_eq!(used.engine().cpu_ns, 660_000_000);
        assert_eq!(used.engine().minor_faults, 10);
    }

    #[test]
    fn a_thread_id_that_was_used_again_does_not_subtract_the_old_thread() {
        let before = Threads { live: [(20, thread("iou-wrk-11", 900, 0))].into(), process_cpu_ns: 900_000_000 };
        let after = Threads { live: [(20, thread("hw-seal", 30, 0))].into(), process_cpu_ns: 930_000_000 };
        assert_eq!(after.since(&before).helpers.cpu_ns, 30_000_000);
    }

    #[test]
    fn this_process_finds_its_own_thread() {
        let name = "shard-7";
        let sampled = std::thread::Builder::new().name(name.to_owned()).spawn(Threads::sample).unwrap().join().unwrap();
        assert!(sampled.live.values().any(|thread| thread.name == name));
        assert!(sampled.process_cpu_ns > 0);
    }

    #[test]
    fn threads_that_begin_and_end_are_seen_when_they_are_looked_for_again() {
        let shards = |tasks: &Tasks| {
            let named = tasks.engine().filter(|(_, role, path)| {
                let comm = fs::read_to_string(path.with_file_name("comm")).unwrap_or_default();
                *role == Role::Shard && comm.trim_end() == "shard-9"
            });
            named.count()
        };
        let mut tasks = Tasks::find();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = std::sync::mpsc::channel();
        let body = move || {
            begin.send(()).unwrap();
            ended.recv().ok();
        };
        let thread = std::thread::Builder::new().name("shard-9".to_owned()).spawn(body).unwrap();
        begun.recv().unwrap();
        tasks.look_again();
        assert_eq!(shards(&tasks), 1);
        drop(end);
        thread.join().unwrap();
        tasks.look_again();
        assert_eq!(shards(&tasks), 0);
    }
}
