//! What the shards did between the first and the last tick of the plateau: the figures that are compared with the machine's ceilings.
//! Two looks a run, each at a few numbers in memory and one small file a shard, for the generator's thread takes them.

use crate::cost::threads::{Threads, parse_schedstat};
use crate::load::generator::Tick;
use crate::profile::{Resolved, Role};
use crate::summary::PlateauUse;
use broker::{ShardStats, StatsHandle};
use std::{ops::Range, path::PathBuf, time::Instant};

/// Looks at the shards when the plateau begins and when it ends.
pub(super) struct PlateauWatch {
    stats: StatsHandle,
    /// `schedstat` of each shard's thread.
    threads: Vec<PathBuf>,
    plateau_ns: Range<u64>,
    begun: Option<Moment>,
    found: Option<PlateauUse>,
}

struct Moment {
    at: Instant,
    stats: Vec<ShardStats>,
    cpu_ns: Option<u64>,
}

impl PlateauWatch {
    /// Finds the threads of the shards, which run already.
    pub(super) fn new(resolved: &Resolved, stats: StatsHandle) -> Self {
        let plateau_ns = resolved.phase_with(Role::Plateau).map_or(0..0, |(_, phase)| phase.start_ns..phase.end_ns);
        let threads = Threads::sample().live.into_iter().filter(|(_, thread)| thread.name.starts_with("shard-"));
        let threads = threads.map(|(tid, _)| PathBuf::from(format!("/proc/self/task/{tid}/schedstat"))).collect();
        Self { stats, threads, plateau_ns, begun: None, found: None }
    }

    pub(super) fn tick(&mut self, tick: &Tick) {
        if self.begun.is_none() && self.plateau_ns.contains(&tick.at_ns) {
            self.begun = Some(self.look());
        }
        if let Some(begun) = self.begun.as_ref().filter(|_| self.found.is_none() && tick.at_ns >= self.plateau_ns.end) {
            self.found = Some(between(begun, &self.look()));
        }
    }

    fn look(&self) -> Moment {
        let cpu_ns = |path: &PathBuf| parse_schedstat(&std::fs::read_to_string(path).ok()?).map(|(cpu_ns, _)| cpu_ns);
        Moment { at: Instant::now(), stats: self.stats.stats(), cpu_ns: self.threads.iter().map(cpu_ns).sum() }
    }

    /// What was found; called when the run has ended, maybe in the plateau. `None` if it ended before.
    pub(super) fn found(self) -> Option<PlateauUse> {
        self.found.or_else(|| Some(between(self.begun.as_ref()?, &self.look())))
    }
}

fn between(begun: &Moment, ended: &Moment) -> PlateauUse {
    let sum = |moment: &Moment, of: fn(&ShardStats) -> u64| moment.stats.iter().map(of).sum::<u64>();
    let counted = |of: fn(&ShardStats) -> u64| sum(ended, of).saturating_sub(sum(begun, of));
    let cpu_ns = begun.cpu_ns.zip(ended.cpu_ns).map(|(before, after)| after.saturating_sub(before));
    PlateauUse {
        time_s: (ended.at - begun.at).as_secs_f64(),
        acknowledged_bytes: counted(|stats| stats.acked_bytes),
        acknowledged_batches: counted(|stats| stats.acked_batches),
        commits: counted(|stats| stats.commits),
        sent_bytes: counted(|stats| stats.sent_bytes),
        shard_cpu_s: cpu_ns.map(|ns| ns as f64 / 1e9),
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
        let moment = |at_s, stats: [ShardStats; 2], cpu_ns| Moment {
            at: start + Duration::from_secs(at_s),
            stats: stats.into(),
            cpu_ns,
        };
        let begun = moment(1, [shard(100, 1), shard(50, 2)], Some(7));
        let ended = moment(3, [shard(400, 5), shard(150, 4)], Some(1_500_000_007));
        let found = between(&begun, &ended);
        assert_eq!((found.time_s, found.acknowledged_bytes, found.commits), (2.0, 400, 6));
        assert_eq!(found.shard_cpu_s, Some(1.5));
        assert_eq!(between(&Moment { cpu_ns: None, ..begun }, &ended).shard_cpu_s, None);
    }
}
