//! An executor ends in order, whatever is still under way, and says why it did not start.
#![cfg(not(loom))]

use shard_ring::{Event, ExecutorConfig, Helper, RingConfig, Slab, Sync, block_on, sleep, spawn_executor, spawn_local};
use std::{
    cell::RefCell, fs::File, io::ErrorKind, net::TcpListener, os::fd::OwnedFd, os::unix::net::UnixStream, rc::Rc,
    sync::mpsc, time::Duration,
};

#[test]
fn the_thread_has_its_name_and_its_core() {
    let config = ExecutorConfig { name: "shard-7".into(), cpu: Some(0), ..Default::default() };
    let handle = spawn_executor(config, |_| async {
        let set = rustix::thread::sched_getaffinity(None).unwrap();
        (std::thread::current().name().map(str::to_owned), set.count(), set.is_set(0))
    });
    assert_eq!(handle.unwrap().join().unwrap(), (Some("shard-7".into()), 1, true));
}

#[test]
fn what_cannot_start_says_so() {
    let rings = [
        RingConfig { entries: 0, ..Default::default() },
        RingConfig { slots: 0, ..Default::default() },
        RingConfig { provided_buffers: 100, ..Default::default() },
        RingConfig { provided_buffer_bytes: 0, ..Default::default() },
        RingConfig { worker_cpus: vec![1 << 20], ..Default::default() },
    ];
    for ring in rings {
        let error = block_on(ExecutorConfig { ring, ..Default::default() }, |_| async {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    let config = ExecutorConfig { cpu: Some(100_000), ..Default::default() };
    assert!(block_on(config, |_| async {}).is_err(), "no such core");
}

#[test]
fn workers_can_be_placed() {
    let ring = RingConfig { worker_cpus: vec![0], ..Default::default() };
    block_on(ExecutorConfig { ring, ..Default::default() }, |ring| async move { ring.nop().await.unwrap() }).unwrap();
}

#[test]
fn a_panic_of_the_body_or_of_a_task_is_the_executors() {
    let body = spawn_executor(Default::default(), |_| async { panic!("body") }).unwrap().join();
    assert_eq!(body.unwrap_err().downcast_ref::<&str>(), Some(&"body"));
    let task = spawn_executor(Default::default(), |_| async {
        spawn_local(async { panic!("task") });
        sleep(Duration::from_secs(3_600)).await;
    });
    assert_eq!(task.unwrap().join().unwrap_err().downcast_ref::<&str>(), Some(&"task"));
}

/// Notes its drop.
struct Noted(mpsc::Sender<&'static str>, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[test]
fn tasks_are_dropped_and_operations_drained_before_the_end() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    let (peer, socket) = UnixStream::pair().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = file.reopen().unwrap();
    let (notes, noted) = mpsc::channel();
    let body_notes = notes.clone();
    block_on(Default::default(), move |ring| async move {
        let slab = Slab::new(4_096, 2).unwrap();
        let (block, notes) = (slab.take().unwrap(), body_notes);
        block.append(&[8; 4_096]);
        let socket = ring.adopt_socket(socket).unwrap();
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let (task_ring, task_socket, task_notes) = (ring.clone(), socket.clone(), notes.clone());
        spawn_local(async move {
            let _noted = Noted(task_notes, "a task that receives");
            let _ = task_ring.receive(&task_socket).next().await;
        });
        let (task_ring, task_notes) = (ring.clone(), notes.clone());
        spawn_local(async move {
            let _noted = Noted(task_notes, "a task that accepts");
            let _ = task_ring.accept(&listener).await;
        });
        let task_notes = notes.clone();
        spawn_local(async move {
            let _noted = Noted(task_notes, "a task that waits for an event");
            Event::new().wait().await;
        });
        // Nobody reads: what does not fit waits for ever.
        spawn_local(async move {
            let _noted = Noted(notes, "a task that sends");
            let _ = ring.send_all(&socket, vec![1; 64 << 20]).await;
        });
        shard_ring::yield_now().await;
    })
    .unwrap();
    drop((notes, peer, pipe, opened));
    let mut noted: Vec<_> = noted.into_iter().collect();
    noted.sort_unstable();
    let all = ["a task that accepts", "a task that receives", "a task that sends", "a task that waits for an event"];
    assert_eq!(noted, all);
    assert_eq!(file.as_file().metadata().unwrap().len(), 0);
}

#[test]
fn operations_after_the_end_of_the_ring_fail() {
    let kept = block_on(Default::default(), |ring| async move {
        let slab = Slab::new(4_096, 1).unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let reader = ring.adopt(File::from(OwnedFd::from(reader)));
        // A task that goes on to use the ring while it is being dropped.
        struct Late(shard_ring::Ring, shard_ring::RingFile, Slab, Rc<RefCell<usize>>);
        impl Drop for Late {
            fn drop(&mut self) {
                let block = self.2.take().expect("the block is free");
                block.append(b"x");
                drop(self.0.write(&self.1, block.slice(0..1), 0, Sync::None));
                *self.3.borrow_mut() += 1;
            }
        }
        let dropped = Rc::new(RefCell::new(0));
        let late = Late(ring, reader, slab, dropped);
        spawn_local(async move {
            let _late = late;
            sleep(Duration::from_secs(3_600)).await;
        });
        shard_ring::yield_now().await;
        1
    });
    assert_eq!(kept.unwrap(), 1);
}

#[test]
fn helpers_may_outlive_the_tasks_that_await_them() {
    let (go, wait) = mpsc::channel::<()>();
    block_on(Default::default(), |ring| async move {
        let helper = Rc::new(Helper::start("outlive", &[], 0).unwrap());
        let (task_helper, task_ring) = (helper.clone(), ring.clone());
        spawn_local(
            async move { task_helper.run(&task_ring, move || wait.recv().is_ok()).await.then_some(()).unwrap() },
        );
        shard_ring::yield_now().await;
        go.send(()).unwrap();
    })
    .unwrap();
}
