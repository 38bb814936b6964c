//! A helper does its jobs in order, whatever becomes of the futures, and finishes them before it goes.
#![cfg(not(loom))]

use shard_ring::{Helper, block_on};
use std::sync::{Arc, Mutex, mpsc};

#[test]
fn jobs_run_in_the_order_in_which_they_were_given() {
    block_on(Default::default(), |ring| async move {
        let helper = Helper::start("order", &[], 0).unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let jobs: Vec<_> = (0..1_000)
            .map(|number| {
                let done = done.clone();
                helper.run(&ring, move || done.lock().unwrap().push(number))
            })
            .collect();
        // Awaited from the last to the first: the order is that of `run`.
        for job in jobs.into_iter().rev() {
            job.await;
        }
        assert_eq!(*done.lock().unwrap(), (0..1_000).collect::<Vec<_>>());
        let name = helper.run(&ring, || std::thread::current().name().map(str::to_owned)).await;
        assert_eq!(name.as_deref(), Some("hw-order"));
    })
    .unwrap();
}

#[test]
fn a_dropped_future_takes_no_job_back_and_a_dropped_helper_finishes_all() {
    block_on(Default::default(), |ring| async move {
        let helper = Helper::start("drop", &[], 0).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let done = Arc::new(Mutex::new(0));
        drop(helper.run(&ring, move || wait.recv().is_ok()));
        for _ in 0..10 {
            let done = done.clone();
            drop(helper.run(&ring, move || *done.lock().unwrap() += 1));
        }
        assert_eq!(*done.lock().unwrap(), 0, "the first job holds them up");
        go.send(()).unwrap();
        drop(helper);
        assert_eq!(*done.lock().unwrap(), 10);
    })
    .unwrap();
}

#[test]
fn several_helpers_of_one_ring_deliver_to_the_right_futures() {
    block_on(Default::default(), |ring| async move {
        let helpers: Vec<Helper> = (0..3).map(|number| Helper::start(&format!("h{number}"), &[], 0).unwrap()).collect();
        for round in 0..200 {
            let jobs: Vec<_> =
                helpers.iter().enumerate().map(|(number, helper)| helper.run(&ring, move || (round, number))).collect();
            for (number, job) in jobs.into_iter().enumerate() {
                assert_eq!(job.await, (round, number));
            }
        }
    })
    .unwrap();
}

#[test]
fn a_job_that_panics_panics_where_it_is_awaited_and_spares_the_next() {
    block_on(Default::default(), |ring| async move {
        let helper = Helper::start("panic", &[], 0).unwrap();
        let job = helper.run(&ring, || panic!("on purpose"));
        let next = helper.run(&ring, || 7);
        let payload = futures_lite::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(job)).await.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"on purpose"));
        assert_eq!(next.await, 7);
    })
    .unwrap();
}

#[test]
fn a_helper_is_as_nice_as_asked_and_stays_on_its_cores() {
    block_on(Default::default(), |ring| async move {
        let helper = Helper::start("nice", &[0], 5).unwrap();
        let (nice, cores) = helper
            .run(&ring, || {
                let set = rustix::thread::sched_getaffinity(None).unwrap();
                (rustix::process::getpriority_process(None).unwrap(), (set.is_set(0), set.count()))
            })
            .await;
        assert_eq!((nice, cores), (5, (true, 1)));
        assert!(Helper::start("nowhere", &[1_023], 0).is_err(), "a core that does not exist");
        assert_eq!(Helper::start("nowhere", &[5_000], 0).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    })
    .unwrap();
}
