//! A node: shards on their processors, started together and stopped in order.

use crate::{
    attest,
    config::{CommitPolicy, Durability, GROUP_PARTITIONS_MAX, Layout},
    engine::EngineKind,
    intake::Producer,
    live::{Live, StatsHandle},
    report::{NodeReport, ShardReport},
    shard::{APPEND_BYTES_MAX, Shard, ShardConfig, SharedLog},
};
use log_api::{Availability, EngineConfig, LogEngine, OpenError, Recovery, SendPath};
use shard_ring::{Bell, ExecutorConfig, ExecutorHandle, Ring, RingConfig, spawn_executor};
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

/// The most shards of a node.
pub const SHARDS_MAX: u32 = 1024;
/// The most partitions of a node: folders are named by five digits.
pub const PARTITIONS_MAX: u32 = 100_000;

/// What a node is told. See [`NodeConfig::new`] for the defaults.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The engine of every shard.
    pub engine: EngineKind,
    /// When messages are acknowledged.
    pub durability: Durability,
    /// How appends are gathered.
    pub commit: CommitPolicy,
    /// Which partitions share a log.
    pub layout: Layout,
    /// How the log reaches a socket; `None`: the engine's natural path.
    pub send: Option<SendPath>,
    /// Where the logs lie: `dir` itself with one shard, `dir/shard-<n>` with several.
    pub dir: PathBuf,
    /// Shards. Partition `p` lives on shard `p % shards`.
    pub shards: u32,
    /// Processors of the shards, one each, from the first on again when there are fewer; empty: wherever the process may run.
    pub cpus: Vec<usize>,
    /// Processors of the engines' helper threads and the ring's workers; empty: wherever the process may run.
    pub helper_cpus: Vec<usize>,
    /// Partitions over all shards.
    pub partitions: u32,
    /// Bytes of a segment file; a multiple of 1 MiB.
    pub segment_bytes: u64,
    /// Bytes on a shard that may be appended and not yet written.
    pub inflight_bytes_max: u64,
    /// Bytes of log between two index entries.
    pub index_interval_bytes: u64,
    /// Bytes of recent log that an engine without the page cache keeps for tail readers, on a shard.
    pub tail_cache_bytes: u64,
    /// Bytes that each log keeps, to within a segment; `None`: everything. A log goes up to twice this for a consumer that is behind.
    pub retention_bytes: Option<u64>,
    /// Bytes between a producer and a shard; a power of two of at least 64 KiB.
    pub intake_bytes: usize,
    /// How long a shard without anything to look after looks at its intake before it sleeps: a wake-up saved for processor time spent.
    pub intake_poll: Duration,
    /// Consumer connections of a shard; more are closed at once.
    pub consumers_max: u32,
    /// Bytes of one read for a consumer, 4 KiB to 1 MiB.
    pub read_bytes_max: u64,
    /// Measure what each stage of an append and of a read costs, on the shards; see [`log_api::Stages`].
    pub stages: bool,
}

impl NodeConfig {
    /// One shard and one partition of `engine` in `dir`: durable, `inflight:1`, segments of 128 MiB, everything kept, 8 MiB of intake,
    /// 64 consumers, reads of 1 MiB.
    #[must_use]
    pub fn new(engine: EngineKind, dir: impl Into<PathBuf>) -> Self {
        Self {
            engine,
            durability: Durability::Durable,
            commit: CommitPolicy::Inflight(1),
            layout: Layout::Partition,
            send: None,
            dir: dir.into(),
            shards: 1,
            cpus: Vec::new(),
            helper_cpus: Vec::new(),
            partitions: 1,
            segment_bytes: 128 << 20,
            inflight_bytes_max: 16 << 20,
            index_interval_bytes: 4096,
            tail_cache_bytes: 64 << 20,
            retention_bytes: None,
            intake_bytes: 8 << 20,
            intake_poll: Duration::ZERO,
            consumers_max: 64,
            read_bytes_max: 1 << 20,
            stages: false,
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A value of the configuration that cannot be.
    #[error("{key}: {what}")]
    Config {
        /// The field.
        key: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The engine cannot run here.
    #[error("engine {engine} is unavailable: {why}")]
    Unavailable {
        /// Which.
        engine: EngineKind,
        /// Why, with what to change.
        why: String,
    },
    /// A log could not be opened: in use, damaged, no room, or a failed file operation.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A thread, a ring or a socket could not be made.
    #[error("{action}: {source}")]
    Io {
        /// What was done.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A shard ended by a panic.
    #[error("shard {shard} panicked: {what}")]
    Panicked {
        /// Which.
        shard: u32,
        /// Its message.
        what: String,
    },
}

/// What a user of the node holds of one shard.
pub struct ShardHandle {
    /// Which.
    pub shard: u32,
    /// Where its consumers connect.
    pub address: SocketAddr,
    /// The way in. `None` after it was taken.
    pub producer: Option<Producer>,
    /// Its partitions, and what their opening found.
    pub recovered: Vec<(u32, Recovery)>,
    /// The logs that its partitions share, as their opening found them; none where each has its own.
    pub shared: Vec<SharedLog>,
}

/// How to stop.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// How long consumers have to receive everything up to the commit point before their connections are closed.
    pub drain: Duration,
    /// Close the engines' logs cleanly; otherwise they are left as a crash leaves them.
    pub close: bool,
}

impl Default for Stop {
    /// Five seconds for consumers, logs closed.
    fn default() -> Self {
        Self { drain: Duration::from_secs(5), close: true }
    }
}

/// The order to stop, given from another thread. Not on the data path: a lock will do.
#[derive(Clone, Default)]
struct StopOrder(Arc<Mutex<Option<Stop>>>);

impl StopOrder {
    fn give(&self, how: Stop) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    }

    fn given(&self) -> Option<Stop> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a shard's thread is given.
pub(crate) struct ShardSetup {
    config: ShardConfig,
    intake_bytes: usize,
    listener: TcpListener,
    ready: SyncSender<Ready>,
    order: StopOrder,
}

/// What a shard's thread gives back once its logs are open.
struct Ready {
    producer: Producer,
    bell: Bell,
    live: Arc<Live>,
    recovered: Vec<(u32, Recovery)>,
    shared: Vec<SharedLog>,
}

impl ShardSetup {
    /// Runs a shard on `engine` until it is ordered to stop.
    pub(crate) async fn run<E: LogEngine>(self, ring: &Ring, engine: E) -> Result<ShardReport, OpenError> {
        let Self { config, intake_bytes, listener, ready, order } = self;
        let (bell, mut door) = shard_ring::doorbell();
        let (shard, producer, recovered) = Shard::start(ring, engine, config, intake_bytes, listener).await?;
        let (live, shared) = (shard.live(), shard.shared());
        // Nobody waits any more when another shard has failed; then the order to stop is on its way.
        let _ = ready.send(Ready { producer, bell, live, recovered, shared });
        let how = loop {
            if let Some(how) = order.given() {
                break how;
            }
            if let Err(error) = door.wait(ring).await {
                shard.note_failure(format!("wait for the order to stop: {error}"));
                break Stop { drain: Duration::ZERO, close: true };
            }
        };
        Ok(shard.stop(how).await)
    }
}

/// A shard's thread, seen from outside.
struct Running {
    thread: ExecutorHandle<Result<ShardReport, OpenError>>,
    /// Known once it is ready.
    bell: Option<Bell>,
    dir: PathBuf,
}

/// Running shards. Dropping it stops them without draining and leaves the logs as a crash leaves them.
pub struct Node {
    config: NodeConfig,
    send: SendPath,
    handles: Vec<ShardHandle>,
    running: Vec<Running>,
    order: StopOrder,
    live: StatsHandle,
}

impl Node {
    /// Starts the shards and returns when all their logs are open and their consumers' ports listen.
    ///
    /// # Errors
    /// [`NodeError`]: a value that cannot be, an engine that cannot run here, a log that cannot be opened. Then nothing runs, and
    /// what other shards opened is closed again.
    pub fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let send = config.check()?;
        let dirs = config.prepare_dirs()?;
        let live = StatsHandle(Vec::new().into());
        let (handles, running, order) = (Vec::new(), Vec::new(), StopOrder::default());
        let mut node = Self { config, send, handles, running, order, live };
        match node.start_shards(dirs) {
            Ok(()) => Ok(node),
            Err(error) => {
                // A shard's own error says more than that it did not get ready.
                let ended = node.halt(Stop { drain: Duration::ZERO, close: true });
                Err(error.or(ended.err()).expect("a shard that does not get ready has failed"))
            }
        }
    }

    /// An error without a value: a shard has ended before it was ready, and its thread says why.
    fn start_shards(&mut self, dirs: Vec<PathBuf>) -> Result<(), Option<NodeError>> {
        let mut waiting = Vec::new();
        let mut first_error = None;
        for (shard, dir) in (0..).zip(dirs) {
            match self.spawn(shard, dir) {
                Ok(rest) => waiting.push(rest),
                Err(error) => {
                    first_error = Some(error);
                    break;
                }
            }
        }
        let mut lives = Vec::new();
        let spawned = waiting.len();
        for (shard, (address, is_ready)) in (0..).zip(waiting) {
            // Wait for all of them, failed or not: only a bell can stop a shard.
            let Ok(Ready { producer, bell, live, recovered, shared }) = is_ready.recv() else { continue };
            self.running[shard as usize].bell = Some(bell);
            lives.push(live);
            self.handles.push(ShardHandle { shard, address, producer: Some(producer), recovered, shared });
        }
        if first_error.is_some() || lives.len() < spawned {
            return Err(first_error);
        }
        self.live = StatsHandle(lives.into());
        Ok(())
    }

    fn spawn(&mut self, shard: u32, dir: PathBuf) -> Result<(SocketAddr, Receiver<Ready>), NodeError> {
        let failed = |action| move |source| NodeError::Io { action, source };
        let config = &self.config;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("listen for consumers"))?;
        let address = listener.local_addr().map_err(failed("listen for consumers"))?;
        let (ready, is_ready) = sync_channel(1);
        let engine_config = config.engine_config(dir.clone(), self.send);
        let setup = ShardSetup {
            config: config.shard_config(shard, &dir, self.send),
            intake_bytes: config.intake_bytes,
            listener,
            ready,
            order: self.order.clone(),
        };
        let executor = ExecutorConfig {
            name: format!("shard-{shard}"),
            cpu: config.cpus.get(shard as usize % config.cpus.len().max(1)).copied(),
            // Consumers send 16 bytes each: few and small buffers do.
            ring: RingConfig {
                provided_buffers: 64,
                provided_buffer_bytes: 4096,
                worker_cpus: config.helper_cpus.clone(),
                ..RingConfig::default()
            },
        };
        let (kind, layout, shards) = (config.engine, config.layout, config.shards);
        let run = move |ring: Ring| async move { kind.with_layout(&ring, engine_config, layout, shards, setup).await? };
        let thread = spawn_executor(executor, run);
        let thread = thread.map_err(failed("start a shard"))?;
        self.running.push(Running { thread, bell: None, dir });
        Ok((address, is_ready))
    }

    /// The shards, in order; take the producers out of them.
    pub fn shards(&mut self) -> &mut [ShardHandle] {
        &mut self.handles
    }

    /// The send path that is used.
    #[must_use]
    pub fn send_path(&self) -> SendPath {
        self.send
    }

    /// What the node was told.
    #[must_use]
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// A handle for live numbers.
    #[must_use]
    pub fn stats(&self) -> StatsHandle {
        self.live.clone()
    }

    /// Stops in order: the intake is emptied, commits are awaited, consumers receive the rest, the engines are closed. Call it when
    /// the producers have flushed their last; what they publish later may not be taken. The acknowledgements that are still on
    /// their way stay with the producers.
    ///
    /// # Errors
    /// [`NodeError::Panicked`]. What a shard's engine said while it stopped stands in its report.
    pub fn stop(mut self, how: Stop) -> Result<NodeReport, NodeError> {
        let observed: Vec<_> = self.running.iter().map(|running| attest::observe(&running.dir)).collect();
        let mut shards = self.halt(how)?;
        for (shard, (report, observed)) in (0..).zip(shards.iter_mut().zip(observed)) {
            report.shard = shard;
            report.observed = observed;
            report.attestation = attest::words(self.config.engine, self.config.durability, report);
        }
        Ok(NodeReport { shards })
    }

    /// Orders all shards to stop, and waits until they have; the first failure, if there is one.
    fn halt(&mut self, how: Stop) -> Result<Vec<ShardReport>, NodeError> {
        self.order.give(how);
        for bell in self.running.iter().filter_map(|running| running.bell.as_ref()) {
            bell.ring();
        }
        let ends: Vec<_> = self.running.drain(..).map(|running| running.thread.join()).collect();
        let mut reports = Vec::new();
        for (shard, end) in (0..).zip(ends) {
            match end {
                Ok(report) => reports.push(report?),
                Err(payload) => {
                    let text = payload.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                    return Err(NodeError::Panicked { shard, what: text.unwrap_or("no message").to_owned() });
                }
            }
        }
        Ok(reports)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A panic or an error of a shard has nobody to be told to here.
        let _ = self.halt(Stop { drain: Duration::ZERO, close: false });
    }
}

impl NodeConfig {
    /// Checks the values; returns the send path to use.
    fn check(&self) -> Result<SendPath, NodeError> {
        let wrong = |key, what: String| Err(NodeError::Config { key, what });
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return wrong("shards", format!("{} is not between 1 and {SHARDS_MAX}", self.shards));
        }
        if self.partitions < self.shards || self.partitions > PARTITIONS_MAX {
            let what = format!("{} is not between the {} shards and {PARTITIONS_MAX}", self.partitions, self.shards);
            return wrong("partitions", what);
        }
        let grouped = match self.layout {
            Layout::Partition => 0,
            Layout::Group(size) => {
                let of_a_shard = self.partitions.div_ceil(self.shards);
                size.unwrap_or(of_a_shard).min(of_a_shard)
            }
        };
        if grouped > GROUP_PARTITIONS_MAX {
            let what = format!(
                "{grouped} partitions in one group, {GROUP_PARTITIONS_MAX} at most: write group:<n> for smaller groups"
            );
            return wrong("layout", what);
        }
        if grouped > 0 && self.segment_bytes > log_group::SEGMENT_BYTES_MAX {
            return wrong("segment_bytes", format!("{} is too large for groups: below 4 GiB", self.segment_bytes));
        }
        if self.segment_bytes == 0 || !self.segment_bytes.is_multiple_of(1 << 20) {
            return wrong("segment_bytes", format!("{} is not a multiple of 1 MiB", self.segment_bytes));
        }
        if !self.intake_bytes.is_power_of_two() || !(64 << 10..=1 << 30).contains(&self.intake_bytes) {
            let what = format!("{} is not a power of two between 64 KiB and 1 GiB", self.intake_bytes);
            return wrong("intake_bytes", what);
        }
        // With a frame before each, small batches take up to a third more.
        let append_bytes_max = APPEND_BYTES_MAX as u64 * if grouped > 0 { 2 } else { 1 };
        if self.inflight_bytes_max < append_bytes_max {
            let what = format!("{} is less than one append of {append_bytes_max}", self.inflight_bytes_max);
            return wrong("inflight_bytes_max", what);
        }
        if !(4 << 10..=1 << 20).contains(&self.read_bytes_max) {
            let what = format!("{} is not between 4 KiB and 1 MiB", self.read_bytes_max);
            return wrong("read_bytes_max", what);
        }
        if self.retention_bytes == Some(0) {
            return wrong("retention_bytes", "0 would keep nothing".to_owned());
        }
        let offered = self.engine.capabilities().send_paths;
        match self.send {
            Some(path) if !offered.contains(&path) && !offered.is_empty() => {
                let why = format!("it cannot send by {path}; it can by {}", offered[0]);
                Err(NodeError::Unavailable { engine: self.engine, why })
            }
            Some(path) => Ok(path),
            None => Ok(offered.first().copied().unwrap_or(SendPath::Copy)),
        }
    }

    /// Makes the directories, one for each shard, and asks whether the engine can run there.
    fn prepare_dirs(&self) -> Result<Vec<PathBuf>, NodeError> {
        if !self.engine.is_on_disk() {
            return Ok(vec![self.dir.clone(); self.shards as usize]);
        }
        let failed = |source| NodeError::Io { action: "make the data directory", source };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        if let Some(other) = self.made_with(&self.dir).filter(|shards| *shards != self.shards) {
            let what = format!("{} was made with {other} shards, not with {}", self.dir.display(), self.shards);
            return Err(NodeError::Config { key: "shards", what });
        }
        let dirs: Vec<PathBuf> = match self.shards {
            1 => vec![self.dir.clone()],
            several => (0..several).map(|shard| self.dir.join(format!("shard-{shard}"))).collect(),
        };
        for dir in &dirs {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        match self.engine.availability(&dirs[0]) {
            Availability::Available => Ok(dirs),
            Availability::Unavailable(why) => Err(NodeError::Unavailable { engine: self.engine, why }),
        }
    }

    /// With how many shards a directory was made, as its folders show; `None` for an empty one.
    fn made_with(&self, dir: &Path) -> Option<u32> {
        let names =
            fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let (mut shards, mut logs) = (0, false);
        for name in names {
            if name.strip_prefix("shard-").is_some_and(|number| number.parse::<u32>().is_ok()) {
                shards += 1;
            }
            logs |= name.len() == 5 && name.bytes().all(|byte| byte.is_ascii_digit());
        }
        if shards > 0 { Some(shards) } else { logs.then_some(1) }
    }

    fn engine_config(&self, dir: PathBuf, send: SendPath) -> EngineConfig {
        EngineConfig {
            durable: self.durability == Durability::Durable,
            segment_bytes: self.segment_bytes,
            inflight_bytes_max: self.inflight_bytes_max,
            index_interval_bytes: self.index_interval_bytes,
            tail_cache_bytes: self.tail_cache_bytes,
            helper_cpus: self.helper_cpus.clone(),
            send,
            ..EngineConfig::new(dir)
        }
    }

    fn shard_config(&self, shard: u32, dir: &Path, send: SendPath) -> ShardConfig {
        let partitions = (shard..self.partitions).step_by(self.shards as usize).collect();
        ShardConfig {
            durability: self.durability,
            commit: self.commit,
            layout: self.layout,
            send,
            retention_bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
            dir: self.engine.is_on_disk().then(|| dir.to_path_buf()),
            intake_poll: self.intake_poll,
            consumers_max: self.consumers_max,
            read_bytes_max: self.read_bytes_max,
            stages: self.stages,
            ..ShardConfig::new(partitions)
        }
    }
}
