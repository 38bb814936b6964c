//! Small requests and answers on one connection, each waiting for the one before: the pattern that a lost wake-up
//! stalls for ever. 100,000 round trips by default, a million with `HIGHWATER_LONG=1`.
#![cfg(not(loom))]

use shard_ring::block_on;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    rc::Rc,
    thread,
    time::Duration,
};

const MESSAGE_BYTES: usize = 16;

#[test]
fn no_round_trip_stalls() {
    let round_trips: u64 = if std::env::var_os("HIGHWATER_LONG").is_some() { 1_000_000 } else { 100_000 };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        // Only a stall takes that long; it then fails instead of hanging.
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = [0; MESSAGE_BYTES];
        for number in 0..round_trips {
            let mut request = [0; MESSAGE_BYTES];
            request[..8].copy_from_slice(&number.to_le_bytes());
            socket.write_all(&request).unwrap();
            socket.read_exact(&mut answer).unwrap_or_else(|error| panic!("round trip {number}: {error}"));
            assert_eq!(answer, request);
        }
    });
    let served = block_on(Default::default(), |ring| async move {
        let socket = ring.accept(&Rc::new(listener)).await.unwrap();
        let socket = ring.adopt_socket(socket).unwrap();
        let mut arrivals = ring.receive(&socket);
        let (mut partial, mut served) = (Vec::new(), 0);
        while let Some(received) = arrivals.next().await.unwrap() {
            partial.extend_from_slice(&received);
            drop(received);
            let whole = partial.len() / MESSAGE_BYTES * MESSAGE_BYTES;
            if whole > 0 {
                let rest = partial.split_off(whole);
                served += (whole / MESSAGE_BYTES) as u64;
                ring.send_all(&socket, std::mem::replace(&mut partial, rest)).await.unwrap();
            }
        }
        drop(arrivals);
        ring.close(socket).await;
        served
    })
    .unwrap();
    client.join().unwrap();
    assert_eq!(served, round_trips);
}
