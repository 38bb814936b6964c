//! Consumers receive the log byte for byte up to the commit point, whatever other consumers do.

use crate::support::{batch, fill, numbers, publish, read, receive, subscribe};
use broker::{EngineKind, Node, NodeConfig, NodeReport, Producer, Stop, consumer::Request};
use log_api::{Offset, ReadKind};
use log_format::peek;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

fn node(change: impl FnOnce(&mut NodeConfig)) -> (Node, Producer, SocketAddr) {
    let mut config = NodeConfig::new(EngineKind::Memory, "");
    config.segment_bytes = 1 << 20;
    change(&mut config);
    let mut node = Node::start(config).unwrap();
    let handle = &mut node.shards()[0];
    let (producer, address) = (handle.producer.take().unwrap(), handle.address);
    (node, producer, address)
}

/// Whether the other side has ended the connection without a byte.
fn is_closed(stream: &mut TcpStream) -> bool {
    match read(stream, &mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn stop(node: Node) -> NodeReport {
    node.stop(Stop::default()).unwrap()
}

#[test]
fn the_whole_log_arrives_as_it_was_published() {
    let (node, mut producer, address) = node(|_| ());
    let mut tail = subscribe(address, Offset(0), ReadKind::Hot);
    fill(&mut producer, 0..5000, 1000);
    let received = receive(&mut tail, 0, 5000);
    assert_eq!(numbers(&received, 0), (0..5000).collect::<Vec<_>>());
    let mut late = subscribe(address, Offset(0), ReadKind::Scan);
    assert_eq!(receive(&mut late, 0, 5000), received, "a consumer that catches up gets the same bytes");
    fill(&mut producer, 5000..6000, 1000);
    let more = receive(&mut tail, 5000, 6000);
    assert_eq!(numbers(&more, 5000), (5000..6000).collect::<Vec<_>>());
    assert_eq!(receive(&mut late, 5000, 6000), more);
    let report = stop(node);
    assert_eq!(report.shards[0].consumers_accepted, 2);
    assert_eq!(report.shards[0].stats.sent_bytes, 2 * (received.len() + more.len()) as u64);
    assert_eq!(report.shards[0].send_bytes, report.shards[0].stats.sent_bytes);
}

#[test]
fn a_consumer_starts_at_the_batch_that_holds_its_offset() {
    let (node, mut producer, address) = node(|_| ());
    let bytes = batch(0, 10, 100);
    assert!(publish(&mut producer, 0, &bytes, 10) && publish(&mut producer, 0, &bytes, 10));
    producer.flush();
    let mut stream = subscribe(address, Offset(13), ReadKind::Hot);
    assert_eq!(numbers(&receive(&mut stream, 10, 20), 10).len(), 10);
    let mut latest = subscribe(address, Request::LATEST, ReadKind::Hot);
    while node.stats().stats()[0].consumers < 2 {
        std::thread::yield_now();
    }
    stop(node);
    // It may have been accepted before or after its request arrived; in both cases it has nothing to receive.
    assert!(is_closed(&mut latest));
}

#[test]
fn a_stop_gives_every_consumer_the_rest() {
    let (node, mut producer, address) = node(|_| ());
    fill(&mut producer, 0..20_000, 1000);
    let mut stream = subscribe(address, Offset(0), ReadKind::Scan);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });
    while node.stats().stats()[0].sent_bytes == 0 {
        std::thread::yield_now();
    }
    let report = node.stop(Stop { drain: Duration::from_secs(60), close: true }).unwrap();
    let received = reader.join().unwrap();
    assert_eq!(numbers(&received, 0), (0..20_000).collect::<Vec<_>>());
    assert_eq!(report.shards[0].stats.sent_bytes, received.len() as u64);
    assert_eq!(report.shards[0].stats.consumers, 0);
}

#[test]
fn a_consumer_that_goes_in_the_middle_harms_nobody() {
    let (node, mut producer, address) = node(|_| ());
    let mut stays = subscribe(address, Offset(0), ReadKind::Hot);
    let mut goes = subscribe(address, Offset(0), ReadKind::Hot);
    fill(&mut producer, 0..2000, 1000);
    goes.read_exact(&mut [0; 1000]).unwrap();
    drop(goes);
    fill(&mut producer, 2000..10_000, 1000);
    assert_eq!(numbers(&receive(&mut stays, 0, 10_000), 0).len(), 10_000);
    while node.stats().stats()[0].consumers > 1 {
        std::thread::yield_now();
    }
    // One that ends its side politely is let go as well.
    stays.shutdown(Shutdown::Write).unwrap();
    while node.stats().stats()[0].consumers > 0 {
        std::thread::yield_now();
    }
    stop(node);
}

#[test]
fn a_slow_consumer_costs_a_bounded_amount_and_nobody_else() {
    let (node, mut producer, address) = node(|_| ());
    let _slow = subscribe(address, Offset(0), ReadKind::Hot);
    let mut fast = subscribe(address, Offset(0), ReadKind::Hot);
    let bytes = 64 << 20;
    let reader = std::thread::spawn(move || receive(&mut fast, 0, bytes / 8000).len());
    fill(&mut producer, 0..bytes / 8000, 8000);
    let received = reader.join().unwrap() as u64;
    // The chunk that the slow one is being sent is counted when it has left.
    let to_the_slow_one = node.stats().stats()[0].sent_bytes - received;
    assert!(to_the_slow_one < bytes / 2, "{to_the_slow_one} bytes left for a consumer that reads nothing");
    let report = node.stop(Stop { drain: Duration::ZERO, close: true }).unwrap();
    assert_eq!(report.shards[0].stats.consumers, 0, "it is closed when the time is over");
}

#[test]
fn a_place_that_was_trimmed_is_the_start_of_the_log() {
    let (node, mut producer, address) = node(|config| config.retention_bytes = Some(2 << 20));
    fill(&mut producer, 0..10_000, 1000);
    let mut stream = subscribe(address, Offset(0), ReadKind::Scan);
    let mut header = [0; 61];
    stream.read_exact(&mut header).unwrap();
    let base = peek(&header).unwrap().unwrap().base_offset;
    assert!(base > 0);
    drop(stream);
    let report = stop(node);
    assert_eq!(report.shards[0].consumers_trimmed, 1);
    assert!(report.shards[0].stats.trimmed_messages >= base as u64);
}

#[test]
fn a_wrong_request_is_closed() {
    let (node, _producer, address) = node(|_| ());
    let good = Request { partition: 0, kind: ReadKind::Hot, from: Offset(0) }.encode();
    let unknown_kind = {
        let mut bytes = good;
        bytes[4] = 9;
        bytes
    };
    let other_partition = Request { partition: 7, kind: ReadKind::Hot, from: Offset(0) }.encode();
    let too_much = [good.as_slice(), &[0]].concat();
    let cut_off = &good[..15];
    for wrong in [unknown_kind.as_slice(), &other_partition, &too_much, cut_off] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(wrong).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(is_closed(&mut stream), "{wrong:?}");
    }
    // One byte too many may also come when the request has been answered: that ends the connection, and is no request.
    let report = stop(node);
    assert!((3..=4).contains(&report.shards[0].consumers_refused));
}

#[test]
fn one_consumer_too_many_is_closed_and_a_place_becomes_free() {
    let (node, mut producer, address) = node(|config| config.consumers_max = 2);
    fill(&mut producer, 0..1, 100);
    let mut first = subscribe(address, Offset(0), ReadKind::Hot);
    let mut second = subscribe(address, Offset(0), ReadKind::Hot);
    receive(&mut first, 0, 1);
    receive(&mut second, 0, 1);
    let mut third = subscribe(address, Offset(0), ReadKind::Hot);
    assert!(is_closed(&mut third));
    drop(first);
    while node.stats().stats()[0].consumers > 1 {
        std::thread::yield_now();
    }
    let mut fourth = subscribe(address, Offset(0), ReadKind::Hot);
    receive(&mut fourth, 0, 1);
    assert_eq!(stop(node).shards[0].consumers_refused, 1);
}

#[test]
fn the_null_engine_has_no_consumers() {
    let (node, mut producer, address) = node(|config| config.engine = EngineKind::Null);
    fill(&mut producer, 0..1000, 100);
    let mut stream = TcpStream::connect(address).unwrap();
    assert!(is_closed(&mut stream));
    let report = stop(node);
    assert_eq!((report.shards[0].stats.acked_messages, report.shards[0].consumers_refused), (1000, 1));
}
