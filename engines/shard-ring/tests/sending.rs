//! Sends: short ones go on, several buffers go as one, errors are the system's.
#![cfg(not(loom))]

use shard_ring::{Buffer, Slab, block_on};
use std::{io::Read, os::unix::net::UnixStream, rc::Rc, thread};

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

#[test]
fn send_all_goes_on_until_a_slow_reader_has_taken_everything() {
    const BYTES: usize = 8 << 20;
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        let (mut bytes, mut piece) = (Vec::new(), [0; 1_000]);
        loop {
            match peer.read(&mut piece).unwrap() {
                0 => return bytes,
                read => bytes.extend_from_slice(&piece[..read]),
            }
        }
    });
    block_on(Default::default(), |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        ring.send_all(&socket, pattern(BYTES)).await.unwrap();
        ring.close(socket).await;
        assert_eq!(ring.counters().send_bytes.get(), BYTES as u64);
    })
    .unwrap();
    assert!(reader.join().unwrap() == pattern(BYTES), "the stream has changed on its way");
}

#[test]
fn several_buffers_of_all_kinds_arrive_as_one_stream() {
    // More parts than the kernel takes in one call, empty ones among them.
    const PARTS: usize = 3_000;
    let (mut peer, socket) = UnixStream::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let expected = block_on(Default::default(), |ring| async move {
        let slab = Slab::new(64 << 10, 1).unwrap();
        let block = slab.take().unwrap();
        block.append(&pattern(60_000));
        let shared: Rc<Vec<u8>> = Rc::new(pattern(1_000));
        let parts: Vec<Buffer> = (0..PARTS)
            .map(|part| match part % 4 {
                0 => block.slice(part * 10..part * 10 + 500).into(),
                1 => vec![part as u8; part % 700].into(),
                2 => Buffer::Shared(shared.clone(), part % 1_000..1_000),
                _ => Vec::new().into(),
            })
            .collect();
        let expected: Vec<u8> = parts.iter().flat_map(|part| part.as_ref().to_vec()).collect();
        let socket = ring.adopt_socket(socket).unwrap();
        ring.send_all_vectored(&socket, parts).await.unwrap();
        assert_eq!(ring.send_vectored(&socket, vec![vec![9].into(), vec![8].into()]).await.unwrap(), 2);
        drop(block);
        assert_eq!((slab.free_blocks(), Rc::strong_count(&shared)), (1, 1), "what was sent is let go");
        ring.close(socket).await;
        expected
    })
    .unwrap();
    let received = reader.join().unwrap();
    assert_eq!(received.len(), expected.len() + 2);
    assert!(received[..expected.len()] == expected && received[expected.len()..] == [9, 8], "the stream has changed");
}

#[test]
fn a_peer_that_has_gone_is_an_error_and_no_signal() {
    let (peer, socket) = UnixStream::pair().unwrap();
    drop(peer);
    block_on(Default::default(), |ring| async move {
        let socket = ring.adopt_socket(socket).unwrap();
        assert_eq!(ring.send_all(&socket, vec![1]).await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert_eq!(ring.send(&socket, vec![1]).await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert!(ring.receive(&socket).next().await.unwrap().is_none(), "the end of its stream");
    })
    .unwrap();
}
