//! Processor time of a node that does nothing, as a share of one core: without connections, and with 64 that wait at the end of
//! the log.
//!
//! `cargo bench -p broker --bench idle [-- <seconds>]`

use broker::{EngineKind, Node, NodeConfig, Stop, consumer::Request};
use log_api::{Offset, ReadKind};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::Duration,
};

/// Until a node has come to rest.
const SETTLE: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 64;

/// Processor time of this process so far, on all threads.
fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Share of a core, in per cent, that a wait of `over` costs.
fn idle(over: Duration) -> f64 {
    sleep(SETTLE);
    let before = spent();
    sleep(over);
    (spent() - before).as_secs_f64() / over.as_secs_f64() * 100.0
}

fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    let request = Request { partition: 0, kind: ReadKind::Hot, from: Offset(0) };
    stream.write_all(&request.encode()).expect("a new connection takes sixteen bytes");
    stream
}

fn main() {
    let seconds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(10);
    println!("engine     no connection  {CONNECTIONS} connections   (% of one core over {seconds} s)");
    for engine in EngineKind::DISK {
        let dir = tempfile::Builder::new().prefix("idle-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut node = Node::start(NodeConfig::new(engine, dir.path())).expect("an engine in a fresh directory");
        let address = node.shards()[0].address;
        let alone = idle(Duration::from_secs(seconds));
        let connections: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(address)).collect();
        let connected = idle(Duration::from_secs(seconds));
        drop(connections);
        node.stop(Stop::default()).expect("a clean end");
        println!("{:<10} {alone:>12.4}  {connected:>14.4}", engine.to_string());
    }
}
