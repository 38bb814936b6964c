//! The hot tail to a consumer on loopback: the broker's send path beside the bare path that it uses.

use super::{
    Bench, EngineCase, Found, Pair,
    appends::{Appends, Encoded},
    in_process::sample,
    row::Goal,
};
use crate::calibrate::{
    BLOCK_BYTES_MAX, Case, case::Path, lab::Lab, loopback::pin, memory::noise_in_large_pages, sockets::receive_bytes,
};
use crate::run::results::Scratch;
use anyhow::{Context, ensure};
use broker::{Durability, EngineKind, Node, NodeConfig, Outcome, Producer, Stop, consumer::Request};
use log_api::{Offset, ReadKind};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

/// Bytes of log that a consumer receives, all of it in memory.
const TAIL_BYTES: u64 = 512 << 20;
/// Bytes of a batch.
const BATCH_BYTES: usize = 64 << 10;
/// What a send path of references is held to.
const SENDFILE: Case = Case::Transfer { block_bytes: 1 << 20, path: Path::Sendfile };

pub(super) fn cases() -> Vec<EngineCase> {
    EngineKind::DISK.map(case).into()
}

/// Whether the send path copies. Then it is held to a copy from memory of the same kind over the same span, of which nothing is in the
/// processor's cache; else to references to pages, which nobody touches.
fn copies(engine: EngineKind) -> bool {
    engine == EngineKind::Direct
}

fn case(engine: EngineKind) -> EngineCase {
    let ceiling = if copies(engine) {
        format!("loopback send of chunks through {} MiB", TAIL_BYTES >> 20)
    } else {
        SENDFILE.to_string()
    };
    EngineCase {
        name: "hot tail by the send path, 1 MiB".to_owned(),
        engine,
        unit: "B/s",
        ceiling,
        goal: Goal::AtLeast(0.9),
        long: false,
        measure: Box::new(move |bench: &mut Bench<'_>| measure(bench, engine)),
    }
}

fn measure(bench: &mut Bench<'_>, engine: EngineKind) -> anyhow::Result<Found> {
    let name = format!(".highwater-calibrate-node-{}", std::process::id());
    let folder = Scratch::fresh(bench.place.dir().join(name))?;
    let peer = bench.placement.generator;
    let config = NodeConfig {
        durability: Durability::None,
        cpus: bench.placement.shards.clone(),
        helper_cpus: peer.into_iter().collect(),
        tail_cache_bytes: TAIL_BYTES + (64 << 20),
        ..NodeConfig::new(engine, folder.path())
    };
    let mut node = Node::start(config).context("start a shard")?;
    let handle = &mut node.shards()[0];
    let address = handle.address;
    let mut producer = handle.producer.take().context("a node's producer is there to be taken")?;
    let bytes = fill(&mut producer)?;
    // As much as the engine sends, in large pages, as its slab asks for, in whole batches: a chunk of a log ends within a page, and the kernel's
    // copy is fast or slow by where in their pages both its ends lie (`log_format::copy`). Blocks of whole pages would always have luck.
    let batch_bytes = usize::try_from(Appends::batch_bytes(1, BATCH_BYTES)).context("a batch in memory")?;
    let chunk_bytes = BLOCK_BYTES_MAX / batch_bytes * batch_bytes;
    let memory =
        copies(engine).then(|| noise_in_large_pages(TAIL_BYTES as usize)).transpose().context("memory to send")?;
    let ceiling = |lab: &mut Lab| match &memory {
        Some(memory) => lab.send_through(memory.bytes(), chunk_bytes),
        None => sample(lab, SENDFILE),
    };
    let mut found = Found::default();
    for _ in 0..bench.rounds {
        if bench.interrupts.any() {
            return Ok(Found::default());
        }
        let lab = bench.lab.as_mut().context("the instruments were lost by a case that failed")?;
        let before = ceiling(lab)?;
        let figure = consume(address, bytes, peer)?;
        let after = ceiling(lab)?;
        found.pairs.push(Pair { figure, ceiling: (before + after) / 2.0 });
    }
    let report = node.stop(Stop { drain: Duration::ZERO, close: false }).context("stop the shard")?;
    let sum = |of: fn(&broker::ShardReport) -> u64| report.shards.iter().map(of).sum::<u64>();
    let chunk = (sum(|shard| shard.sendfile_bytes) + sum(|shard| shard.send_bytes)) / sum(|shard| shard.chunks).max(1);
    let (sendfile, send) = (sum(|shard| shard.sendfile_bytes) >> 20, sum(|shard| shard.send_bytes) >> 20);
    found.binds.push(format!("chunks of {} KiB; {sendfile} MiB by sendfile, {send} MiB by send", chunk >> 10));
    Ok(found)
}

/// Writes the tail; its bytes.
fn fill(producer: &mut Producer) -> anyhow::Result<u64> {
    let encoded = Encoded::new(1, BATCH_BYTES);
    let (mut bytes, mut under_way, mut refused) = (0, 0, 0);
    while bytes < TAIL_BYTES || under_way > 0 {
        if bytes < TAIL_BYTES
            && let Some(place) = producer.reserve(encoded.bytes().len())
        {
            place.copy_from_slice(encoded.bytes());
            producer.publish(0, 1);
            bytes += encoded.bytes().len() as u64;
            under_way += 1;
        }
        producer.flush();
        producer.acks(|ack| {
            under_way -= u64::from(ack.batches);
            refused += u64::from(ack.outcome != Outcome::Kept);
        });
        ensure!(refused == 0, "a batch was not kept");
        thread::yield_now();
    }
    Ok(bytes)
}

/// Receives the log once from its start: bytes a second.
fn consume(address: SocketAddr, bytes: u64, peer: Option<usize>) -> anyhow::Result<f64> {
    thread::scope(|scope| {
        let received = scope.spawn(|| {
            pin(peer)?;
            let mut stream = TcpStream::connect(address)?;
            let request = Request { partition: 0, kind: ReadKind::Hot, from: Offset(0) };
            stream.write_all(&request.encode())?;
            receive_bytes(stream, bytes)
        });
        received.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).context("receive the log")
    })
}
