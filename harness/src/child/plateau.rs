//! What the shards did between the first and the last tick of the plateau: the figures that are compared with the machine's ceilings.
//! Two looks a run, each at a few numbers in memory and one small file a thread, for the generator's thread takes them.

use crate::cost::threads::{Role, Tasks, parse_schedstat};
use crate::load::generator::Tick;
use crate::profile::{Resolved, Role as PhaseRole};
use crate::summary::PlateauUse;
use broker::{ShardStats, StatsHandle};
use std::{collections::BTreeMap, ops::Range, time::Instant};

/// Looks at the shards when the plateau begins and when it ends.
pub(super) struct PlateauWatch {
    stats: StatsHandle,
    tasks: Tasks,
    /// Processors of the shards.
    shard_cpus: Vec<usize>,
    plateau_ns: Range<u64>,
    begun: Option<Moment>,
    found: Option<PlateauUse>,
}

struct Moment {
    at: Instant,
    stats: Vec<ShardStats>,
    /// Processor time by thread; see [`PlateauWatch::look`].
    threads: BTreeMap<u32, Spent>,
}

/// What a thread of the engine has used.
#[derive(Clone, Copy)]
struct Spent {
    cpu_ns: u64,
    shard: bool,
}

impl PlateauWatch {
    /// Finds the threads of the engine, which run already.
    pub(super) fn new(resolved: &Resolved, stats: StatsHandle, shard_cpus: &[usize]) -> Self {
        let plateau = resolved.phase_with(PhaseRole::Plateau);
        let plateau_ns = plateau.map_or(0..0, |(_, phase)| phase.start_ns..phase.end_ns);
        Self { stats, tasks: Tasks::find(), shard_cpus: shard_cpus.to_vec(), plateau_ns, begun: None, found: None }
    }

    pub(super) fn tick(&mut self, tick: &Tick) {
        if self.begun.is_none() && self.plateau_ns.contains(&tick.at_ns) {
            self.begun = Some(self.look());
        }
        if tick.at_ns >= self.plateau_ns.end {
            self.end();
        }
    }

    /// The plateau has ended, or the run in it.
    fn end(&mut self) {
        if self.found.is_none()
            && let Some(begun) = self.begun.take()
        {
            self.found = Some(between(&begun, &self.look()));
        }
    }

    /// The engine's threads on the shards' cores: the shards, and helpers and the ring's workers that may run nowhere else. Workers come
    /// and go.
    fn look(&mut self) -> Moment {
        self.tasks.look_again();
        let mut threads = BTreeMap::new();
        for (tid, role, path) in self.tasks.engine() {
            let shard = role == Role::Shard;
            if (shard || runs_only_on(tid, &self.shard_cpus))
                && let Some((cpu_ns, _)) = std::fs::read_to_string(path).ok().and_then(|text| parse_schedstat(&text))
            {
                threads.insert(tid, Spent { cpu_ns, shard });
            }
        }
        Moment { at: Instant::now(), stats: self.stats.stats(), threads }
    }

    /// What was found; called when the run has ended, maybe in the plateau. `None` if it ended before.
    pub(super) fn found(mut self) -> Option<PlateauUse> {
        self.end();
        self.found
    }
}

/// Whether a thread may run on no other processors than these.
fn runs_only_on(tid: u32, cpus: &[usize]) -> bool {
    let Some(pid) = i32::try_from(tid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    let Ok(allowed) = rustix::thread::sched_getaffinity(Some(pid)) else { return false };
    allowed.count() as usize == cpus.iter().filter(|cpu| allowed.is_set(**cpu)).count()
}

fn between(begun: &Moment, ended: &Moment) -> PlateauUse {
    let sum = |moment: &Moment, of: fn(&ShardStats) -> u64| moment.stats.iter().map(of).sum::<u64>();
    let counted = |of: fn(&ShardStats) -> u64| sum(ended, of).saturating_sub(sum(begun, of));
    let cpu_s = |shards_only: bool| -> Option<f64> {
        let own = ended.threads.iter().filter(|(_, spent)| spent.shard || !shards_only);
        let used = own.map(|(tid, spent)| {
            // A worker that began in the meantime began with nothing.
            spent.cpu_ns.saturating_sub(begun.threads.get(tid).map_or(0, |before| before.cpu_ns))
        });
        let seen = [begun, ended].iter().all(|moment| moment.threads.values().any(|spent| spent.shard));
        seen.then(|| used.sum::<u64>() as f64 / 1e9)
    };
    PlateauUse {
        time_s: (ended.at - begun.at).as_secs_f64(),
        acknowledged_bytes: counted(|stats| stats.acked_bytes),
        acknowledged_batches: counted(|stats| stats.acked_batches),
        commits: counted(|stats| stats.commits),
        sent_bytes: counted(|stats| stats.sent_bytes),
        shard_cpu_s: cpu_s(true),
        shard_core_cpu_s: cpu_s(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn counts_are_of_the_plateau_alone_and_over_all_shards() {
        let shard = |acked_bytes, commits| ShardStats { acked_bytes, commits, ..ShardStats::default() };
        let start = Instant::now();
        let moment = |at_s, stats: [ShardStats; 2], threads: &[(u32, u64, bool)]| Moment {
            at: start + Duration::from_secs(at_s),
            stats: stats.into(),
            threads: threads
                .iter()
                .map(|(tid, cpu_ns, shard)| (*tid, Spent { cpu_ns: *cpu_ns, shard: *shard }))
                .collect(),
        };
        let begun = moment(1, [shard(100, 1), shard(50, 2)], &[(10, 3, true), (11, 4, true), (12, 5, false)]);
        let helpers = [(12, 100_000_005, false), (13, 50_000_000, false)];
        let shards = [(10, 1_000_000_003, true), (11, 500_000_004, true)];
        let ended = moment(3, [shard(400, 5), shard(150, 4)], &[shards, helpers].concat());
        let found = between(&begun, &ended);
        assert_eq!((found.time_s, found.acknowledged_bytes, found.commits), (2.0, 400, 6));
        assert_eq!((found.shard_cpu_s, found.shard_core_cpu_s), (Some(1.5), Some(1.65)));
        assert_eq!(between(&Moment { threads: BTreeMap::new(), ..begun }, &ended).shard_cpu_s, None);
    }

    #[test]
    fn a_thread_is_on_the_shards_cores_if_it_may_run_nowhere_else() {
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let own = std::process::id();
        assert!(runs_only_on(own, &cpus) && !runs_only_on(own, &cpus[1..]) && !runs_only_on(own, &[]));
    }
}
