//! Provided buffers come back, a receive that found none goes on when one does, and a connection that is not read
//! cannot take them all.
#![cfg(not(loom))]

use shard_ring::{ExecutorConfig, RingConfig, RingSocket, block_on, yield_now};
use std::{io::Write, os::unix::net::UnixStream, thread};

fn config(provided_buffers: u16, provided_buffer_bytes: u32) -> ExecutorConfig {
    ExecutorConfig {
        ring: RingConfig { provided_buffers, provided_buffer_bytes, ..Default::default() },
        ..Default::default()
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

async fn receive_all(ring: &shard_ring::Ring, socket: &RingSocket) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut arrivals = ring.receive(socket);
    while let Some(received) = arrivals.next().await.expect("the peer sends and closes") {
        bytes.extend_from_slice(&received);
    }
    bytes
}

#[test]
fn a_stream_far_larger_than_all_buffers_arrives_whole() {
    const BYTES: usize = 4 << 20;
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let sender = thread::spawn(move || peer.write_all(&pattern(BYTES)).unwrap());
    block_on(config(8, 1_000), |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        let bytes = receive_all(&ring, &socket).await;
        assert!(bytes == pattern(BYTES), "the stream has changed on its way");
        assert_eq!(ring.counters().received_bytes.get(), BYTES as u64);
    })
    .unwrap();
    sender.join().unwrap();
}

#[test]
fn a_receive_without_buffers_goes_on_when_one_comes_back() {
    let ((mut greedy_peer, greedy), (mut starved_peer, starved)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    block_on(config(2, 10), move |ring| async move {
        let (greedy, starved) = (ring.adopt_socket(greedy).unwrap(), ring.adopt_socket(starved).unwrap());
        greedy_peer.write_all(&[1; 20]).unwrap();
        let mut arrivals = ring.receive(&greedy);
        let held = [arrivals.next().await.unwrap().unwrap(), arrivals.next().await.unwrap().unwrap()];
        starved_peer.write_all(b"patient").unwrap();
        let mut waiting = ring.receive(&starved);
        while ring.counters().buffer_waits.get() == 0 {
            assert!(futures_lite::future::poll_once(waiting.next()).await.is_none(), "there is no buffer for it");
            yield_now().await;
        }
        assert_eq!(held.map(|received| received.to_vec()), [[1; 10], [1; 10]]);
        assert_eq!(&*waiting.next().await.unwrap().unwrap(), b"patient");
    })
    .unwrap();
}

#[test]
fn a_connection_that_is_not_read_leaves_buffers_to_others() {
    let ((mut ignored_peer, ignored), (mut busy_peer, busy)) =
        (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    block_on(config(64, 100), move |ring| async move {
        let (ignored, busy) = (ring.adopt_socket(ignored).unwrap(), ring.adopt_socket(busy).unwrap());
        ignored_peer.write_all(&[7; 50_000]).unwrap();
        ignored_peer.shutdown(std::net::Shutdown::Write).unwrap();
        let mut unread = ring.receive(&ignored);
        let mut read = ring.receive(&busy);
        for round in 0..1_000_u32 {
            busy_peer.write_all(&round.to_le_bytes()).unwrap();
            assert_eq!(&*read.next().await.unwrap().unwrap(), &round.to_le_bytes());
        }
        assert_eq!(ring.counters().buffer_waits.get(), 0, "the other connection has taken all buffers");
        let mut bytes = 0;
        while let Some(received) = unread.next().await.unwrap() {
            assert!(received.iter().all(|byte| *byte == 7));
            bytes += received.len();
        }
        assert_eq!(bytes, 50_000, "nothing was lost by waiting");
    })
    .unwrap();
}

#[test]
fn a_dropped_receive_gives_its_buffers_back() {
    block_on(config(4, 100), move |ring| async move {
        for _ in 0..100 {
            let (mut peer, socket) = UnixStream::pair().unwrap();
            let socket = ring.adopt_socket(socket).unwrap();
            peer.write_all(&[1; 300]).unwrap();
            let mut arrivals = ring.receive(&socket);
            let first = arrivals.next().await.unwrap().unwrap();
            drop(arrivals);
            assert!(first.len() <= 100);
            ring.close(socket).await;
        }
    })
    .unwrap();
}

#[test]
fn a_socket_has_one_receive_at_a_time() {
    let (mut peer, socket) = UnixStream::pair().unwrap();
    block_on(Default::default(), move |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        let first = ring.receive(&socket);
        assert_eq!(ring.receive(&socket).next().await.unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
        drop(first);
        let mut next = ring.receive(&socket);
        while let Err(error) = {
            peer.write_all(b"x").unwrap();
            next.next().await
        } {
            assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy, "until the kernel has let go of the first");
            yield_now().await;
            next = ring.receive(&socket);
        }
    })
    .unwrap();
}
