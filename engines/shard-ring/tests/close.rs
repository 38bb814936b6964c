//! Closing cancels what is armed, awaits it, and only then closes: the peer sees all that was sent, and then the end of
//! the stream.
#![cfg(not(loom))]

use shard_ring::block_on;
use std::{
    io::{ErrorKind, Read},
    net::{TcpListener, TcpStream},
    rc::Rc,
    thread,
    time::Duration,
};

/// A connection: the peer's side, which fails rather than hangs, and ours.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    peer.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    (peer, listener.accept().expect("the connection").0)
}

#[test]
fn the_peer_sees_the_end_of_the_stream_although_a_receive_was_armed() {
    let (mut peer, socket) = connection();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    block_on(Default::default(), move |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        let mut arrivals = ring.receive(&socket);
        ring.send_all(&socket, vec![3; 100_000]).await.unwrap();
        let again = socket.clone();
        ring.close(socket).await;
        assert_eq!(reader.join().unwrap(), [3; 100_000], "although another handle and the receive still live");
        assert_eq!(arrivals.next().await.unwrap_err().raw_os_error(), Some(125), "ECANCELED");
        assert_eq!(ring.send(&again, vec![1]).await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(ring.writable(&again).await.unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(ring.receive(&again).next().await.unwrap_err().kind(), ErrorKind::NotConnected);
    })
    .unwrap();
}

#[test]
fn a_send_to_a_peer_that_does_not_read_is_cancelled_by_the_close() {
    let (peer, socket) = connection();
    block_on(Default::default(), move |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        let bytes: Rc<Vec<u8>> = Rc::new(vec![3; 64 << 20]);
        let sending = ring.send(&socket, shard_ring::Buffer::Shared(bytes.clone(), 0..64 << 20));
        sending.await.unwrap(); // what fits
        let stuck = ring.send(&socket, shard_ring::Buffer::Shared(bytes.clone(), 0..64 << 20));
        let second = ring.send(&socket, vec![1]).await.unwrap_err();
        assert_eq!(second.kind(), ErrorKind::ResourceBusy, "one writer a socket");
        drop(stuck);
        assert_eq!(Rc::strong_count(&bytes), 2, "a dropped send keeps its bytes");
        ring.close(socket).await;
        assert_eq!(Rc::strong_count(&bytes), 1, "until it is over");
        drop(peer);
    })
    .unwrap();
}

#[test]
fn the_last_handle_to_go_closes_too() {
    let (mut peer, socket) = connection();
    block_on(Default::default(), move |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        let arrivals = ring.receive(&socket);
        shard_ring::yield_now().await;
        drop((socket, arrivals));
        while ring.counters().completions.get() < 2 {
            shard_ring::yield_now().await; // the receive and its cancellation
        }
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.is_empty());
    })
    .unwrap();
}
