//! sendfile to a peer that reads slowly: every byte arrives, the shard goes on with other work, no call is large.
#![cfg(not(loom))]

use shard_ring::{block_on, spawn_local};
use std::{
    cell::Cell,
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    rc::Rc,
    thread,
};

const BYTES: usize = 8 << 20;

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_slow_reader_gets_every_byte_and_stops_nobody_else() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(BYTES)).unwrap();
    let (mut peer, socket) = UnixStream::pair().unwrap();
    // The reader takes a piece for each time the shard did something else: it can only finish if the shard does.
    let (go, gone) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let _ = gone.recv();
            match peer.read(&mut piece).unwrap() {
                0 => return bytes,
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
    });
    block_on(Default::default(), |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        let done = Rc::new(Cell::new(false));
        let (other, other_done) = (ring.clone(), done.clone());
        spawn_local(async move {
            while !other_done.get() {
                other.nop().await.unwrap();
                let _ = go.send(());
            }
        });
        let sent = ring.sendfile(&socket, &file, 1_000..BYTES as u64).await.unwrap();
        assert_eq!(sent, (BYTES - 1_000) as u64);
        let counters = ring.counters();
        assert_eq!(counters.sendfile_bytes.get(), sent);
        assert!(counters.sendfile_calls.get() >= sent.div_ceil(512 << 10), "a call is at most 512 KiB");
        ring.close(socket).await;
        done.set(true);
    })
    .unwrap();
    assert!(reader.join().unwrap() == pattern(BYTES)[1_000..], "the stream has changed on its way");
}

#[test]
fn a_range_behind_the_file_and_a_second_writer_are_errors() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[5; 1_000]).unwrap();
    let (_peer, socket) = UnixStream::pair().unwrap();
    block_on(Default::default(), move |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        assert_eq!(ring.sendfile(&socket, &file, 10..10).await.unwrap(), 0);
        let error = ring.sendfile(&socket, &file, 500..1_500).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(ring.counters().sendfile_bytes.get(), 500);
        let sending = ring.send(&socket, vec![1; 10]);
        let error = ring.sendfile(&socket, &file, 0..10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        sending.await.unwrap();
        assert_eq!(ring.sendfile(&socket, &file, 0..10).await.unwrap(), 10);
    })
    .unwrap();
}

#[test]
fn a_dropped_sendfile_leaves_the_socket_to_the_next_writer() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(BYTES)).unwrap();
    let (_peer, socket) = UnixStream::pair().unwrap();
    block_on(Default::default(), move |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        {
            let mut sending = std::pin::pin!(ring.sendfile(&socket, &file, 0..BYTES as u64));
            while ring.counters().sendfile_calls.get() < 2 {
                assert!(futures_lite::future::poll_once(sending.as_mut()).await.is_none(), "nobody reads");
                shard_ring::yield_now().await;
            }
        }
        assert!(futures_lite::future::poll_once(ring.writable(&socket)).await.is_none());
        drop(ring.send(&socket, vec![1]));
        ring.close(socket).await;
    })
    .unwrap();
}
