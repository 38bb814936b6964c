//! Consumers: loopback connections that receive logs byte for byte, check them, and say when each message arrived.

use super::{
    recorder::Recorder,
    ring::{Completed, Sockets},
    stream::{Findings, Received, Stream, Unreadable},
    whole::Whole,
};
use std::{
    collections::VecDeque,
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Bytes that one turn may check before it looks at anything else: about 50 us of receiving and checksumming. Twice what the same turn
/// sends of 1 KB messages: consumers that catch up after a stall leave the generator most of its rate.
const BYTES_A_TURN: usize = 128 << 10;
/// All receive buffers together, to within the bounds of one.
const BUFFERS_BYTES: usize = 8 << 20;
/// A buffer holds at least this and two batches of the largest size, at most [`BUFFER_BYTES_MAX`] and as many.
const BUFFER_BYTES_MIN: usize = 32 << 10;
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// A receive that brought less than this came early: the next one waits [`GATHER_NS`], so that a busy log is received in pieces that
/// are worth a system call. It adds at most this to the end-to-end time of messages that follow each other as closely.
const GATHER_BYTES: usize = 16 << 10;
const GATHER_NS: u64 = 20_000;

/// What a consumer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The log's end as it moves.
    Tail,
    /// Old data, from the log's start to where the run began, again and again while they are wanted.
    CatchUp,
}

impl Kind {
    /// The word of the request.
    fn word(self) -> u32 {
        match self {
            Self::Tail => 0,
            Self::CatchUp => 1,
        }
    }
}

/// What one consumer reads.
#[derive(Clone, Copy, Debug)]
pub struct Subscription {
    /// Where its shard's consumers connect.
    pub address: SocketAddr,
    /// The partition, or the number under which all is followed that several share.
    pub partition: u32,
    /// See [`Kind`].
    pub kind: Kind,
    /// Offset of the first message wanted.
    pub from: u64,
    /// Sequence that this run's first message will have when it comes; `None`: whatever it has.
    pub sequence: Option<u64>,
    /// A catch-up consumer begins again when it has come this far.
    pub until: u64,
}

/// What a consumer receives.
enum Log {
    /// A partition's batches.
    Partition(Stream),
    /// All that partitions share.
    Whole(Whole),
}

impl Log {
    fn take(&mut self, bytes: &[u8], each: impl FnMut(Received)) -> Result<usize, Unreadable> {
        match self {
            Self::Partition(stream) => stream.take(bytes, each),
            Self::Whole(whole) => whole.take(bytes, each),
        }
    }

    fn next_offset(&self) -> u64 {
        match self {
            Self::Partition(stream) => stream.next_offset(),
            Self::Whole(whole) => whole.next(),
        }
    }

    fn findings(&self) -> Findings {
        match self {
            Self::Partition(stream) => *stream.findings(),
            Self::Whole(whole) => whole.findings(),
        }
    }
}

struct Reader {
    subscription: Subscription,
    log: Log,
    socket: usize,
    /// A receive is in flight, or its connection waits for a turn to start one.
    live: bool,
    /// Findings of connections that have ended.
    earlier: Findings,
    /// Why it ended, when it ended by itself.
    ended: Option<String>,
    passes: u64,
}

/// All consumers of a run.
pub struct Consumers {
    sockets: Sockets,
    readers: Vec<Reader>,
    /// By socket: its reader.
    owner: Vec<usize>,
    /// Readers whose next receive is not yet submitted, and the time before which it is not.
    to_arm: VecDeque<(usize, u64)>,
    buffer_bytes: usize,
    run: u32,
    catching_up: bool,
    tail_received: u64,
    catch_up_bytes: u64,
}

/// What one turn brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Something came.
    pub worked: bool,
    /// Bytes to tail consumers.
    pub tail_bytes: usize,
    /// Bytes to catch-up consumers.
    pub catch_up_bytes: usize,
}

impl Turned {
    /// The share of the turn that a closed loop took, 0 to 1: catch-up consumers use what time is left, so it does not make the
    /// generator busy.
    #[must_use]
    pub fn closed_loop_share(&self) -> f64 {
        let bytes = self.tail_bytes + self.catch_up_bytes;
        if bytes == 0 { 0.0 } else { self.catch_up_bytes as f64 / bytes as f64 }
    }
}

/// A consumer that failed or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The ring of the generator failed.
    #[error("the generator's ring: {0}")]
    Ring(#[source] io::Error),
    /// A connection was refused or broke while it began.
    #[error("consumer of partition {partition} at {address}: {source}")]
    Connect {
        /// Partition.
        partition: u32,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl Consumers {
    /// No consumers yet. `batch_bytes_max` is the largest batch that can come, `expected` about how many consumers there will be, `run`
    /// the mark of this run's stamps.
    ///
    /// # Errors
    /// The system refuses a ring.
    pub fn new(run: u32, batch_bytes_max: usize, expected: usize) -> Result<Self, ConsumerError> {
        let share = (BUFFERS_BYTES / expected.max(1)).clamp(BUFFER_BYTES_MIN, BUFFER_BYTES_MAX);
        Ok(Self {
            sockets: Sockets::new().map_err(ConsumerError::Ring)?,
            readers: Vec::new(),
            owner: Vec::new(),
            to_arm: VecDeque::new(),
            buffer_bytes: share + 2 * batch_bytes_max,
            run,
            catching_up: false,
            tail_received: 0,
            catch_up_bytes: 0,
        })
    }

    /// Adds a consumer. A tail consumer connects at once, a catch-up consumer when [`Self::catch_up`] says so.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn add(&mut self, subscription: Subscription) -> Result<(), ConsumerError> {
        let log = Log::Partition(Stream::new(self.run, subscription.from, subscription.sequence));
        self.add_reader(subscription, log)
    }

    /// Adds a tail consumer of all of a log that partitions share, from byte `from` on: `number` is what the shard knows it by, and each of the
    /// partitions comes with the offset at which it is met. Connects at once.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn add_whole(
        &mut self,
        (address, number): (SocketAddr, u32),
        from: u64,
        partitions: &[(u32, u64)],
    ) -> Result<(), ConsumerError> {
        let kind = Kind::Tail;
        let subscription = Subscription { address, partition: number, kind, from, sequence: None, until: u64::MAX };
        self.add_reader(subscription, Log::Whole(Whole::new(self.run, from, partitions)))
    }

    fn add_reader(&mut self, subscription: Subscription, log: Log) -> Result<(), ConsumerError> {
        let number = self.readers.len();
        let (socket, live) = match subscription.kind {
            Kind::Tail => (self.sockets.add(connect(&subscription)?, self.buffer_bytes), true),
            Kind::CatchUp => (usize::MAX, false),
        };
        let earlier = Findings::default();
        self.readers.push(Reader { subscription, log, socket, live, earlier, ended: None, passes: 0 });
        if live {
            self.owner.push(number);
            self.to_arm.push_back((number, 0));
        }
        Ok(())
    }

    /// Starts the catch-up consumers, or lets them end with what they have received.
    ///
    /// # Errors
    /// A connection is refused.
    pub fn catch_up(&mut self, wanted: bool) -> Result<(), ConsumerError> {
        if wanted != self.catching_up {
            self.catching_up = wanted;
            for number in 0..self.readers.len() {
                if wanted && self.readers[number].subscription.kind == Kind::CatchUp {
                    self.begin(number)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, number: usize) -> Result<(), ConsumerError> {
        let reader = &mut self.readers[number];
        let stream = connect(&reader.subscription)?;
        reader.earlier.add(&reader.log.findings());
        reader.log = Log::Partition(Stream::new(self.run, reader.subscription.from, None));
        reader.live = true;
        if reader.socket == usize::MAX {
            reader.socket = self.sockets.add(stream, self.buffer_bytes);
            self.owner.push(number);
        } else {
            self.sockets.replace(reader.socket, stream);
        }
        self.to_arm.push_back((number, 0));
        Ok(())
    }

    /// Submits receives, and checks what has come, bounded. Tail messages are recorded. `at_ns` is
    /// the time now.
    ///
    /// # Errors
    /// The ring fails, or a catch-up consumer cannot connect again.
    pub fn turn(&mut self, at_ns: u64, recorder: &mut Recorder) -> Result<Turned, ConsumerError> {
        // A receive brings at most a buffer: so many are started that a turn's bytes come back.
        for _ in 0..(BYTES_A_TURN / self.buffer_bytes).max(1) {
            match self.to_arm.front() {
                Some((number, not_before_ns)) if *not_before_ns <= at_ns => self.arm(*number)?,
                _ => break,
            }
            self.to_arm.pop_front();
        }
        self.sockets.turn().map_err(ConsumerError::Ring)?;
        let mut turned = Turned::default();
        while turned.tail_bytes + turned.catch_up_bytes < BYTES_A_TURN {
            let Some(completed) = self.sockets.next_completed() else { break };
            turned.worked = true;
            let bytes = *completed.result.as_ref().unwrap_or(&0);
            match self.readers[self.owner[completed.socket]].subscription.kind {
                Kind::Tail => turned.tail_bytes += bytes,
                Kind::CatchUp => turned.catch_up_bytes += bytes,
            }
            self.completed(&completed, recorder)?;
        }
        self.catch_up_bytes += turned.catch_up_bytes as u64;
        Ok(turned)
    }

    fn arm(&mut self, number: usize) -> Result<(), ConsumerError> {
        self.sockets.arm(self.readers[number].socket).map_err(ConsumerError::Ring)
    }

    fn completed(&mut self, completed: &Completed, recorder: &mut Recorder) -> Result<(), ConsumerError> {
        let number = self.owner[completed.socket];
        let reader = &mut self.readers[number];
        match &completed.result {
            Ok(0) => return self.end(number, "the shard closed the connection"),
            Err(error) => return self.end(number, &error.to_string()),
            Ok(_) => {}
        }
        let tail = reader.subscription.kind == Kind::Tail;
        let tail_received = &mut self.tail_received;
        let bytes = self.sockets.bytes(completed.socket);
        let before = bytes.len();
        let taken = reader.log.take(bytes, |received| {
            if tail {
                *tail_received += u64::from(received.messages);
                recorder.received(received.stamp.intended_ns, completed.at_ns, received.messages);
            }
        });
        let Ok(taken) = taken else { return self.end(number, "the stream does not go on with a batch") };
        self.sockets.take(completed.socket, taken);
        if before - taken >= self.buffer_bytes {
            return self.end(number, "a batch is larger than any that was sent");
        }
        if !tail && (!self.catching_up || reader.log.next_offset() >= reader.subscription.until) {
            // One that ends with its phase has not come to the end of the history.
            reader.passes += u64::from(reader.log.next_offset() >= reader.subscription.until);
            reader.live = false;
            // What retention took from the history will not come back: the next pass begins after it, or is none.
            let subscription = &mut reader.subscription;
            subscription.from += reader.log.findings().skipped;
            let left = subscription.from < subscription.until;
            return if self.catching_up && left { self.begin(number) } else { Ok(()) };
        }
        let early = *completed.result.as_ref().unwrap_or(&0) < GATHER_BYTES;
        self.to_arm.push_back((number, if early { completed.at_ns + GATHER_NS } else { 0 }));
        Ok(())
    }

    fn end(&mut self, number: usize, why: &str) -> Result<(), ConsumerError> {
        let reader = &mut self.readers[number];
        reader.live = false;
        if reader.ended.is_none() {
            let at = reader.log.next_offset();
            reader.ended = Some(match &reader.log {
                Log::Partition(_) => {
                    format!("consumer of partition {} ended at offset {at}: {why}", reader.subscription.partition)
                }
                Log::Whole(_) => format!("consumer of a shared log ended at byte {at}: {why}"),
            });
        }
        Ok(())
    }

    /// Sleeps until something comes or the time is over.
    ///
    /// # Errors
    /// The ring fails.
    pub fn wait(&mut self, at_most: Duration) -> Result<(), ConsumerError> {
        while let Some((number, _)) = self.to_arm.pop_front() {
            self.arm(number)?;
        }
        self.sockets.wait(at_most).map_err(ConsumerError::Ring)
    }

    /// Messages of this run that every tail consumer of a partition has passed; `None` without tail consumers or when one of
    /// them has ended.
    #[must_use]
    pub fn passed(&self, partition: u32) -> Option<u64> {
        let passed = |reader: &Reader| match &reader.log {
            Log::Partition(stream) => (reader.subscription.partition == partition).then(|| stream.passed()),
            Log::Whole(whole) => whole.passed(partition),
        };
        let tails = self.readers.iter().filter(|reader| reader.subscription.kind == Kind::Tail);
        tails.filter_map(|reader| Some(reader.live.then_some(passed(reader)?))).min().flatten()
    }

    /// Messages received by all tail consumers together, of this run.
    #[must_use]
    pub fn tail_received(&self) -> u64 {
        self.tail_received
    }

    /// How many of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> u32 {
        self.of(kind).count() as u32
    }

    /// The findings of all consumers together, and what was wrong first, in words.
    #[must_use]
    pub fn findings(&self) -> (Findings, Vec<String>) {
        let mut all = Findings::default();
        let mut problems = Vec::new();
        for reader in &self.readers {
            all.add(&reader.earlier);
            all.add(&reader.log.findings());
            problems.extend(match &reader.log {
                Log::Partition(stream) => {
                    let partition = reader.subscription.partition;
                    stream.first_problem().map(|problem| format!("partition {partition}: {problem}"))
                }
                Log::Whole(whole) => whole.first_problem(),
            });
            problems.extend(reader.ended.clone());
        }
        (all, problems)
    }

    /// Bytes that catch-up consumers received, and how often one of them came to the end of the history.
    #[must_use]
    pub fn caught_up(&self) -> (u64, u64) {
        (self.catch_up_bytes, self.of(Kind::CatchUp).map(|reader| reader.passes).sum())
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &Reader> {
        self.readers.iter().filter(move |reader| reader.subscription.kind == kind)
    }
}

/// Connects and sends the request: partition, kind, offset, little-endian.
fn connect(subscription: &Subscription) -> Result<TcpStream, ConsumerError> {
    let request = || {
        let mut stream = TcpStream::connect(subscription.address)?;
        let mut bytes = [0; 16];
        bytes[0..4].copy_from_slice(&subscription.partition.to_le_bytes());
        bytes[4..8].copy_from_slice(&subscription.kind.word().to_le_bytes());
        bytes[8..16].copy_from_slice(&subscription.from.to_le_bytes());
        stream.write_all(&bytes)?;
        Ok(stream)
    };
    request().map_err(|source| ConsumerError::Connect {
        partition: subscription.partition,
        address: subscription.address,
        source,
    })
}
