//! A job from start to end: the node, the generator on its own core, the figures.

use super::{
    cold::Cold,
    costs::Sample,
    hlog,
    job::{Event, Job, Progress, Task},
    outcome::Finished,
    plateau::PlateauWatch,
    tell,
};
use crate::load::{
    clock::now_ns,
    consumers::{Consumers, Kind, Subscription},
    encode::Encoder,
    feed::{Feed, Pace},
    generator::{Generator, Limits, Played, Tick},
    stream::Findings,
};
use crate::profile::{Follow, Profile, Resolved, Settings, SizeLaw};
use crate::schedule::{Schedule, Split};
use crate::summary::PlateauUse;
use anyhow::{Context, bail};
use broker::{
    CHECKPOINT_END_BYTES, EngineKind, GROUP_PARTITIONS_MAX, Layout, Node, Producer, ShardState, StatsHandle, Stop,
    shard::SharedLog,
};
use log_format::FRAME_BYTES;
use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroU64,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Nice value of the generator's thread, which shares its core with whatever else the machine runs.
const GENERATOR_NICE: i32 = -15;

/// From starting the generator to the first intended arrival.
const LEAD_NS: u64 = 50_000_000;
/// How long consumers may take to receive the rest after the last acknowledgement.
pub(super) const RECEIVE: Duration = Duration::from_secs(10);
/// How long acknowledgements of a history or a probe may take after the last batch.
const SETTLE: Duration = Duration::from_secs(30);
/// Ticks between two progress lines.
const TICKS_A_LINE: u32 = 2;
/// Rate of a probe's schedule, messages a second: only its order, sizes and partitions are used.
const FLOOD_PER_S: f64 = 5e7;
/// Arrivals that the mean size of a batch is taken from.
const MEAN_OF: usize = 1_000;

/// What the generator's thread takes over from the node.
struct Shard {
    producer: Producer,
    address: SocketAddr,
    /// Start and end of each of its partitions when the node opened them.
    partitions: Vec<(u32, u64, u64)>,
    /// The logs that they share.
    shared: Vec<SharedLog>,
}

/// What the generator's thread gives back.
pub(super) struct Loaded {
    pub(super) played: Played,
    pub(super) findings: Findings,
    /// What consumers found wrong, in words.
    pub(super) problems: Vec<String>,
    pub(super) tails: u32,
    pub(super) catch_ups: u32,
    /// Bytes of the history that they received, and how often one of them came to its end.
    pub(super) caught_up: (u64, u64),
    /// `None` if the run ended before its plateau did.
    pub(super) plateau_use: Option<PlateauUse>,
    /// Taken by the generator's thread itself: what a thread used cannot be told from others once it has ended.
    after: Sample,
}

/// Plays a job and tells the parent.
///
/// # Errors
/// The node does not start, the generator fails, files cannot be written.
pub fn run(job: &Job, stop: &AtomicBool) -> anyhow::Result<()> {
    let profile = job.profile()?;
    let resolved = resolve(job, &profile)?;
    let engine = job.engine()?;
    let data_dir = EngineKind::DISK.contains(&engine).then(|| job.data_dir.clone());
    let before = Sample::take(data_dir.as_deref());
    let mut node = Node::start(job.node(&resolved)?)?;
    let send = engine.capabilities().readable.then(|| node.send_path());
    tell(&Event::Opened);
    let shards = node.shards().iter_mut().map(|handle| Shard {
        producer: handle.producer.take().expect("nobody took it before"),
        address: handle.address,
        partitions: handle
            .recovered
            .iter()
            .map(|(partition, recovery)| (*partition, recovery.marks.start.0, recovery.marks.end.0))
            .collect(),
        shared: std::mem::take(&mut handle.shared),
    });
    let shards = shards.collect();
    let load = Load {
        job: job.clone(),
        profile,
        resolved: resolved.clone(),
        readable: send.is_some(),
        stats: node.stats(),
        data_dir,
    };
    let loaded = std::thread::scope(|scope| {
        let generator = std::thread::Builder::new().name("generator".to_owned());
        let thread =
            generator.spawn_scoped(scope, || load.run(shards, stop)).context("start the generator's thread")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let spent = loaded.after.since(&before);
    let keep = job.keep;
    let report = node.stop(Stop { drain: Duration::ZERO, close: keep })?;
    let finished = Finished { job, resolved: &resolved, engine, send, loaded: &loaded, report: &report, spent: &spent };
    match job.task {
        Task::Probe { settle_ms, .. } => tell(&Event::Probed(finished.probed(settle_ms)?)),
        Task::Play => {
            if let Some(dir) = &job.out_dir {
                let names: Vec<&str> = resolved.phases.iter().map(|phase| phase.name.as_str()).collect();
                let path = latency_part(dir, &job.engine);
                hlog::write(&path, &job.engine, &names, &loaded.played.recorder)
                    .with_context(|| format!("write {}", path.display()))?;
            }
            tell(&Event::Measured(Box::new(finished.result())));
        }
    }
    Ok(())
}

/// Where a child leaves its lines of the run's interval log.
#[must_use]
pub fn latency_part(out_dir: &std::path::Path, engine: &str) -> PathBuf {
    out_dir.join(format!(".latency-{engine}.part"))
}

/// The schedule of a job.
///
/// # Errors
/// The settings do not fit the profile.
pub fn resolve(job: &Job, profile: &Profile) -> anyhow::Result<Resolved> {
    let mut resolved = match job.task {
        Task::Play => profile.resolve(&job.settings()?)?,
        Task::Probe { total_ms, .. } => {
            let settings = Settings { peak: None, rate: None, speed: None, ..job.settings()? };
            profile.resolve_constant(&settings, FLOOD_PER_S, 2.0 * total_ms as f64 / 1e3)?
        }
    };
    if !job.engine()?.capabilities().readable {
        resolved.consumers.tail = 0;
        resolved.consumers.catch_up = None;
    }
    Ok(resolved)
}

/// What the generator's thread needs.
struct Load {
    job: Job,
    profile: Profile,
    resolved: Resolved,
    readable: bool,
    stats: StatsHandle,
    /// Of an engine with files.
    data_dir: Option<PathBuf>,
}

impl Load {
    fn run(&self, shards: Vec<Shard>, stop: &AtomicBool) -> anyhow::Result<Loaded> {
        self.settle_on_core()?;
        let run = u32::from_le_bytes(*now_ns().to_le_bytes().first_chunk().expect("four of eight bytes"));
        let value_bytes_max = value_bytes_max(&self.resolved);
        let encoder = Encoder::new(self.resolved.seed, self.resolved.messages.entropy, value_bytes_max, run);
        let batch_bytes_max = batch_bytes(self.resolved.messages.batch, value_bytes_max);
        let logs: Vec<(SocketAddr, u32, u64, u64)> = shards
            .iter()
            .flat_map(|shard| {
                shard.partitions.iter().map(|(partition, start, end)| (shard.address, *partition, *start, *end))
            })
            .collect();
        let shared: Vec<(SocketAddr, SharedLog)> = shards
            .iter()
            .flat_map(|shard| shard.shared.iter().map(|log| (shard.address, log.clone())))
            .filter(|_| self.resolved.consumers.follow == Follow::Log)
            .collect();
        // The largest that consumers get: a group's own batch has an entry for each partition, those of earlier runs as well.
        let own_bytes_max = match self.resolved.layout {
            Layout::Group(members) if !shared.is_empty() => {
                batch_bytes(1, CHECKPOINT_END_BYTES * members.unwrap_or(GROUP_PARTITIONS_MAX) as usize)
            }
            _ => 0,
        };
        let entry_bytes_max = FRAME_BYTES + batch_bytes_max.max(own_bytes_max);
        let consumers = self.resolved.consumers;
        let followed = if shared.is_empty() { logs.len() } else { shared.len() };
        let expected = consumers.tail as usize * followed + consumers.catch_up.map_or(0, |c| c.readers as usize);
        let count = shards.len() as u32;
        let pace = if self.job.task == Task::Play { Pace::Open } else { Pace::Closed };
        let mut generator = Generator {
            feeds: shards
                .into_iter()
                .enumerate()
                .map(|(shard, own)| {
                    let schedule = Schedule::new(&self.resolved, Split::new(shard as u32, count));
                    Feed::new(own.producer, schedule, pace, shard as u32, count, self.resolved.partitions)
                })
                .collect(),
            consumers: Consumers::new(run, entry_bytes_max, expected)?,
            encoder,
            history_messages: 0,
        };
        let cold = self.write_history(&mut generator, stop)?;
        self.subscribe(&mut generator, &logs, &shared)?;
        let start_ns = now_ns() + LEAD_NS;
        let mut progress = ProgressLines::new(&self.resolved, generator.tally().acknowledged);
        let mut plateau = PlateauWatch::new(&self.resolved, self.stats.clone(), &self.job.shard_cpus);
        let mut tick = |tick: &Tick| {
            progress.tick(tick);
            plateau.tick(tick);
            let failed = tick.tally.refused + tick.tally.poisoned > 0
                || self.stats.stats().iter().any(|shard| shard.state == ShardState::Stopped);
            !stop.load(Ordering::Relaxed) && !failed
        };
        let played = match self.job.task {
            Task::Play => {
                let limits = Limits { drain: self.job.drain(), receive: RECEIVE };
                generator.play(&self.resolved, start_ns, limits, &mut tick)?
            }
            Task::Probe { total_ms, .. } => {
                generator.flood(&self.resolved, start_ns, |now| tick(now) && now.at_ns < total_ms * 1_000_000)?
            }
        };
        let after = Sample::take(self.data_dir.as_deref());
        drop(cold);
        let (findings, problems) = generator.consumers.findings();
        Ok(Loaded {
            played,
            findings,
            problems,
            tails: generator.consumers.count(Kind::Tail),
            catch_ups: generator.consumers.count(Kind::CatchUp),
            caught_up: generator.consumers.caught_up(),
            plateau_use: plateau.found(),
            after,
        })
    }

    fn settle_on_core(&self) -> anyhow::Result<()> {
        if let Some(cpu) = self.job.generator_cpu {
            let mut set = rustix::thread::CpuSet::new();
            set.set(cpu);
            rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("run the generator on cpu {cpu}"))?;
        }
        // A sleep that ends 50 us late is lateness. Refused only by kernels that have no such setting.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).ok();
        // Others' turns on this core are lateness too: go before them where that is allowed (root). Elsewhere the gate tells.
        rustix::process::setpriority_process(None, GENERATOR_NICE).ok();
        Ok(())
    }

    /// Writes what catch-up consumers will read, the same for every engine, and makes it cold.
    fn write_history(&self, generator: &mut Generator, stop: &AtomicBool) -> anyhow::Result<Option<Cold>> {
        let wanted = self.resolved.consumers.catch_up.map_or(0, |catch_up| catch_up.history_bytes);
        if wanted == 0 || self.job.task != Task::Play || !self.readable {
            return Ok(None);
        }
        let count = generator.feeds.len() as u32;
        let mean = mean_batch_bytes(&self.resolved, &mut generator.encoder);
        let messages = wanted as f64 / mean * f64::from(self.resolved.messages.batch);
        let settings = Settings { peak: None, rate: None, speed: None, ..self.job.settings()? };
        // The rate only fixes how many arrivals there are: a flood does not look at their times.
        let mut history = self.profile.resolve_constant(&settings, messages.max(1.0), 1.0)?;
        history.consumers.tail = 0;
        generator.set_pace(Pace::Closed, |shard| Schedule::new(&history, Split::new(shard as u32, count)));
        let mut ticks = 0;
        let mut played = generator.flood(&history, now_ns(), |tick| {
            ticks += 1;
            if ticks % TICKS_A_LINE == 0 {
                tell(&Event::History { bytes: tick.tally.acknowledged_bytes, of: wanted });
            }
            !stop.load(Ordering::Relaxed) && tick.tally.refused + tick.tally.poisoned == 0
        })?;
        if !generator.settle(&mut played.recorder, SETTLE)? {
            bail!("the history was not acknowledged within {} s", SETTLE.as_secs());
        }
        generator.history_messages = generator.tally().acknowledged;
        generator.set_pace(Pace::Open, |shard| Schedule::new(&self.resolved, Split::new(shard as u32, count)));
        self.data_dir.as_deref().map(Cold::keep).transpose().context("start a thread that cools the history")
    }

    /// Connects the tail consumers and names the catch-up consumers, spread over the partitions.
    fn subscribe(
        &self,
        generator: &mut Generator,
        logs: &[(SocketAddr, u32, u64, u64)],
        shared: &[(SocketAddr, SharedLog)],
    ) -> anyhow::Result<()> {
        let tails = self.resolved.consumers.tail;
        let ends: HashMap<u32, u64> = logs.iter().map(|(_, partition, _, end)| (*partition, *end)).collect();
        for (address, log) in shared {
            let partitions: Vec<(u32, u64)> =
                log.partitions.iter().map(|partition| (*partition, ends[partition])).collect();
            for _ in 0..tails {
                generator.consumers.add_whole((*address, log.number), log.marks.end.0, &partitions)?;
            }
        }
        let shards = generator.feeds.len();
        let written = |partition: u32| generator.feeds[partition as usize % shards].sent_to(partition);
        let mut wanted = Vec::new();
        for (address, partition, _, end) in logs.iter().filter(|_| shared.is_empty()) {
            let (address, partition, sent) = (*address, *partition, written(*partition));
            let from = end + sent;
            let tail =
                Subscription { address, partition, kind: Kind::Tail, from, sequence: Some(sent), until: u64::MAX };
            wanted.extend((0..tails).map(|_| tail));
        }
        let readers = self.resolved.consumers.catch_up.map_or(0, |catch_up| catch_up.readers as usize);
        for (address, partition, start, end) in logs.iter().cycle().take(readers) {
            let until = end + written(*partition);
            let (address, partition, from) = (*address, *partition, *start);
            wanted.push(Subscription { address, partition, kind: Kind::CatchUp, from, sequence: None, until });
        }
        wanted.into_iter().try_for_each(|subscription| generator.consumers.add(subscription))?;
        Ok(())
    }
}

/// Prints a progress line every few ticks.
struct ProgressLines<'a> {
    resolved: &'a Resolved,
    history_messages: u64,
    ticks: u32,
    last: (u64, u64),
}

impl<'a> ProgressLines<'a> {
    fn new(resolved: &'a Resolved, history_messages: u64) -> Self {
        Self { resolved, history_messages, ticks: 0, last: (0, 0) }
    }

    fn tick(&mut self, tick: &Tick) {
        self.ticks += 1;
        if self.ticks % TICKS_A_LINE != 1 {
            return;
        }
        let acknowledged = tick.tally.acknowledged - self.history_messages;
        let (last_ns, last_acknowledged) = self.last;
        let seconds = tick.at_ns.saturating_sub(last_ns) as f64 / 1e9;
        let at_s = tick.at_ns as f64 / 1e9;
        let drains = tick.at_ns >= self.resolved.duration_ns;
        let phase = usize::from(self.resolved.phase_at(tick.at_ns));
        tell(&Event::Progress(Progress {
            at_s,
            phase: if drains { "drain".to_owned() } else { self.resolved.phases[phase].name.clone() },
            offered_per_s: self.resolved.offered(at_s),
            achieved_per_s: if seconds > 0.0 { (acknowledged - last_acknowledged) as f64 / seconds } else { 0.0 },
            backlog: (self.resolved.messages_until(at_s) as u64).saturating_sub(acknowledged),
        }));
        self.last = (tick.at_ns, acknowledged);
    }
}

fn value_bytes_max(resolved: &Resolved) -> usize {
    match resolved.messages.bytes {
        SizeLaw::Fixed { bytes } => bytes as usize,
        SizeLaw::Lognormal { max, .. } => max as usize,
    }
}

/// Bytes of the largest batch.
#[must_use]
pub fn batch_bytes(messages: u32, value_bytes: usize) -> usize {
    log_format::Template::new(messages, value_bytes).bytes()
}

fn mean_batch_bytes(resolved: &Resolved, encoder: &mut Encoder) -> f64 {
    let sizes: Vec<usize> = Schedule::new(resolved, Split::WHOLE)
        .take(MEAN_OF)
        .map(|arrival| {
            let shape = encoder.shape(arrival.messages, arrival.bytes);
            encoder.bytes(shape)
        })
        .collect();
    sizes.iter().sum::<usize>() as f64 / sizes.len().max(1) as f64
}
