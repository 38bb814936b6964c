//! The shard's ring inside its executor against a bare loop on a bare ring: the same echo on loopback, requests of
//! 1,100 bytes, answers of 60, one in flight on each of 8 and 64 connections, the same client. The client has core 0,
//! the server core 1.
//!
//! Runs are paired, alternately first, so that what else the machine does falls on both; the answer is the median of
//! the pairs' ratios. `cargo bench -p harness --bench echo -- [pairs] [seconds a run]`, 10 and 2 by default. Wanted:
//! 0.90 or more.

use harness::calibrate::sockets::{ANSWER_BYTES, ANSWERS_MAX, REQUEST_BYTES, ask, serve};
use rustix::thread::{CpuSet, sched_setaffinity};
use shard_ring::{Event, ExecutorConfig, Ring, RingSocket, Slab, Slice, spawn_executor};
use std::{
    cell::Cell,
    net::{TcpListener, TcpStream},
    rc::Rc,
    thread,
    time::Duration,
};

const CLIENT_CORE: usize = 0;
const SERVER_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Server {
    Shard,
    Bare,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<f64>().ok());
    let pairs = numbers.next().unwrap_or(10.0) as usize;
    let measured = Duration::from_secs_f64(numbers.next().unwrap_or(2.0));
    pin(CLIENT_CORE);
    for connections in [8, 64] {
        let mut ratios = Vec::new();
        for pair in 0..pairs {
            let order = if pair % 2 == 0 { [Server::Shard, Server::Bare] } else { [Server::Bare, Server::Shard] };
            let rates = order.map(|server| (server, run(server, connections, measured)));
            let rate = |wanted| rates.iter().find(|(server, _)| *server == wanted).expect("each ran once").1;
            let ratio = rate(Server::Shard) / rate(Server::Bare);
            println!(
                "{connections} connections, pair {}: shard {:.0}/s, bare {:.0}/s, ratio {ratio:.3}",
                pair + 1,
                rate(Server::Shard),
                rate(Server::Bare)
            );
            ratios.push(ratio);
        }
        ratios.sort_by(f64::total_cmp);
        let (low, high) = (ratios[(pairs - 1) / 2], ratios[pairs / 2]);
        println!("{connections} connections: median ratio {:.3} of {pairs} pairs", (low + high) / 2.0);
    }
}

/// Answers a second.
fn run(server: Server, connections: usize, measured: Duration) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (ours, theirs): (Vec<TcpStream>, Vec<TcpStream>) = (0..connections)
        .map(|_| {
            let socket = TcpStream::connect(address).expect("a connection");
            let peer = listener.accept().expect("the connection").0;
            for socket in [&socket, &peer] {
                socket.set_nodelay(true).expect("an option");
            }
            (socket, peer)
        })
        .unzip();
    match server {
        Server::Bare => {
            let serving = thread::spawn(move || {
                pin(SERVER_CORE);
                serve(theirs).expect("the server");
            });
            let rate = ask(ours, WARM_UP, measured).expect("the client").per_s;
            serving.join().expect("the server");
            rate
        }
        Server::Shard => {
            let config = ExecutorConfig { cpu: Some(SERVER_CORE), ..Default::default() };
            let serving = spawn_executor(config, move |ring| serve_on_the_shard(ring, theirs)).expect("an executor");
            let rate = ask(ours, WARM_UP, measured).expect("the client").per_s;
            serving.join().expect("the server");
            rate
        }
    }
}

async fn serve_on_the_shard(ring: Ring, sockets: Vec<TcpStream>) {
    let slab = Slab::new((ANSWERS_MAX * ANSWER_BYTES).next_multiple_of(4_096), 1).expect("memory");
    let block = slab.take().expect("its only block");
    block.append(&[7; ANSWERS_MAX * ANSWER_BYTES]);
    let answers = block.slice(0..ANSWERS_MAX * ANSWER_BYTES);
    let (gone, open) = (Event::new(), Rc::new(Cell::new(sockets.len())));
    for socket in sockets {
        let socket = ring.adopt_socket(socket).expect("a socket");
        let (ring, answers, gone) = (ring.clone(), answers.clone(), gone.clone());
        let open = open.clone();
        shard_ring::spawn_local(async move {
            answer(&ring, &socket, &answers).await;
            ring.close(socket).await;
            open.set(open.get() - 1);
            gone.notify_all();
        });
    }
    loop {
        let one_less = gone.wait();
        if open.get() == 0 {
            break;
        }
        one_less.await;
    }
}

async fn answer(ring: &Ring, socket: &RingSocket, answers: &Slice) {
    let mut arrivals = ring.receive(socket);
    let mut received = 0;
    while let Ok(Some(arrival)) = arrivals.next().await {
        received += arrival.len();
        drop(arrival);
        while received >= REQUEST_BYTES {
            let requests = (received / REQUEST_BYTES).min(ANSWERS_MAX);
            received -= requests * REQUEST_BYTES;
            if ring.send_all(socket, answers.slice(0..requests * ANSWER_BYTES)).await.is_err() {
                return;
            }
        }
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("this core");
}
