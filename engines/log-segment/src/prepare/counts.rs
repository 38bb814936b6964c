//! How many segments are kept made, in counts, with the plainest engine there could be.

use super::Preparer;
use crate::{Ahead, DataDir, Dead, Haste, Keeper, LogConfig, Medium, Reuse, make::make_together, segment_path};
use log_api::{Framing, LogId, Offset};
use shard_ring::{ExecutorConfig, Helper, Ring, block_on, yield_now};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

const SEGMENT_BYTES: u64 = 64 << 10;

#[derive(Clone)]
struct Plain;

impl Medium for Plain {
    type Handle = File;
    type Kept = ();

    fn open(&self, path: &Path, _bytes: u64) -> io::Result<File> {
        File::open(path)
    }
}

/// The same, with segments whose blocks are written in every log.
#[derive(Clone)]
struct Filled;

impl Medium for Filled {
    type Handle = File;
    type Kept = ();

    const FILLS_ALWAYS: bool = true;

    fn open(&self, path: &Path, _bytes: u64) -> io::Result<File> {
        File::open(path)
    }
}

fn config(data: &DataDir, durable: bool) -> LogConfig {
    LogConfig {
        dir: data.log_dir(LogId(0)),
        durable,
        segment_bytes: SEGMENT_BYTES,
        inflight_bytes_max: SEGMENT_BYTES,
        index_interval_bytes: 4096,
        framing: Framing::Bare,
    }
}

/// A preparer that keeps 24 segments made at most, and its helper.
fn new_preparer<M: Medium>(ring: &Ring, dir: &Path, medium: M, durable: bool) -> (Preparer<M>, Rc<Helper>) {
    let data = DataDir::open(dir).unwrap();
    let config = config(&data, durable);
    fs::create_dir_all(&config.dir).unwrap();
    let helper = Rc::new(Helper::start("next", &[], 0).unwrap());
    let ahead = Ahead::of_at_most(24 * SEGMENT_BYTES);
    (Preparer::new(ring, &helper, &data, &config, medium, 0, Some(&ahead)), helper)
}

/// Waits until all that is wanted is made: how many, ready and blank.
async fn settled<M: Medium>(preparer: &Preparer<M>) -> (usize, usize) {
    let state = &preparer.0.state;
    preparer.start();
    while state.running.get() || state.lulled.get() || state.unlinking.get() {
        yield_now().await;
    }
    (state.ready.borrow().len(), state.blanks.borrow().len())
}

/// Takes what is ready, and waits for the next. Nothing comes from the helper before the wait.
async fn take_all_and_wait<M: Medium>(preparer: &Preparer<M>) -> usize {
    let mut taken = 0;
    while preparer.take().is_some() {
        taken += 1;
    }
    preparer.room().await;
    taken
}

/// Files that there are: of segments that were taken, which nobody renames here, or are kept made.
fn names(dir: &Path) -> usize {
    fs::read_dir(dir.join("00000")).unwrap().count()
}

/// Runs `body` with a preparer, its helper and its directory.
fn with_preparer<M: Medium, F: Future<Output = ()> + 'static>(
    medium: M,
    durable: bool,
    body: impl FnOnce(Ring, Preparer<M>, Rc<Helper>, PathBuf) -> F + Send + 'static,
) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_path_buf();
    let begin = move |ring: Ring| {
        let (preparer, helper) = new_preparer(&ring, &path, medium, durable);
        body(ring, preparer, helper, path)
    };
    block_on(ExecutorConfig::default(), begin).unwrap();
}

#[test]
fn a_roll_that_waits_raises_what_is_kept_to_the_bound_and_quiet_gives_it_up_again() {
    with_preparer(Plain, false, |ring, preparer, helper, path| async move {
        assert_eq!((settled(&preparer).await, preparer.target()), ((4, 0), 4));
        let mut taken = take_all_and_wait(&preparer).await;
        for _ in 0..2 {
            assert_eq!(
                (settled(&preparer).await, preparer.target()),
                ((4, 20), 24),
                "after a wait, and as there were blanks"
            );
            assert_eq!(names(&path), taken + 24);
            taken += take_all_and_wait(&preparer).await;
        }
        assert_eq!((settled(&preparer).await, preparer.target()), ((4, 20), 24));
        // The first ends a period in which rolls waited.
        let mut periods = Vec::new();
        for _ in 0..5 {
            preparer.0.rest();
            periods.push((settled(&preparer).await, preparer.target()));
        }
        assert_eq!(periods, [((4, 20), 24), ((4, 8), 12), ((4, 2), 6), ((4, 0), 4), ((4, 0), 4)]);
        helper.run(&ring, || ()).await;
        assert_eq!(names(&path), taken + 4, "files that were given up are gone");
        preparer.stop().await;
    });
}

#[test]
fn while_segments_are_taken_fast_none_are_made_behind_those_there_are() {
    with_preparer(Plain, false, |_, preparer, _, _| async move {
        assert_eq!(settled(&preparer).await, (4, 0));
        take_all_and_wait(&preparer).await;
        assert_eq!(settled(&preparer).await, (4, 20));
        let state = &preparer.0.state;
        drop(state.blanks.borrow_mut().pop_front());
        state.hurried.set(true);
        preparer.start();
        assert!(!state.running.get(), "the helper is left to those that open");
        assert_eq!(settled(&preparer).await, (4, 20), "after the burst");
        state.blanks.take();
        state.hurried.set(true);
        preparer.start();
        assert!(state.running.get(), "none are left");
        preparer.stop().await;
    });
}

/// A trim that gives up so many segments that were taken, and what becomes of them.
async fn give_up<M: Medium<Kept = ()>>(
    preparer: &Preparer<M>,
    keeper: &Keeper,
    dir: &Path,
    bases: Vec<u64>,
    reuse: fn(()) -> Reuse<()>,
) {
    for base in &bases {
        // Nobody renames here what was taken.
        let taken = File::create(segment_path(&dir.join("00000"), Offset(*base))).unwrap();
        taken.set_len(SEGMENT_BYTES).unwrap();
    }
    let start = Offset(bases.iter().max().unwrap() + 1);
    let segments = bases.into_iter().map(|base| (Offset(base), ())).collect();
    preparer.trim(keeper, Dead { start, segments }, reuse).await.unwrap();
}

#[test]
fn a_log_that_gives_up_a_segment_for_each_that_it_takes_fills_none_with_zeros() {
    with_preparer(Plain, true, |ring, preparer, helper, path| async move {
        let data = preparer.0.data.clone();
        let keeper = Keeper::new(&ring, &helper, &data, &preparer.0.config, Offset(0));
        assert_eq!(settled(&preparer).await, (4, 0));
        let zeroed = || preparer.preparation().zeroed;
        assert_eq!(zeroed(), 4);
        // The first given up comes when one is being made in place of the first taken.
        assert!(preparer.take().is_some());
        give_up(&preparer, &keeper, &path, vec![0], Reuse::AsIs).await;
        assert_eq!((settled(&preparer).await, zeroed()), ((5, 0), 5));
        for base in 1..20 {
            assert!(preparer.take().is_some());
            assert_eq!((settled(&preparer).await, zeroed()), ((4, 0), 5));
            give_up(&preparer, &keeper, &path, vec![base], Reuse::AsIs).await;
            assert_eq!((settled(&preparer).await, zeroed()), ((5, 0), 5));
        }
        // None is given up any more: what is missing is made.
        for made in [5, 6, 7] {
            assert!(preparer.take().is_some());
            assert_eq!((settled(&preparer).await, zeroed()), ((4, 0), made));
        }
        preparer.stop().await;
    });
}

#[test]
fn blocks_that_are_filled_with_zeros_first_do_not_come_back_by_themselves() {
    with_preparer(Plain, true, |ring, preparer, helper, path| async move {
        let data = preparer.0.data.clone();
        let keeper = Keeper::new(&ring, &helper, &data, &preparer.0.config, Offset(0));
        assert_eq!(settled(&preparer).await, (4, 0));
        for base in 0..5 {
            assert!(preparer.take().is_some());
            give_up(&preparer, &keeper, &path, vec![base], |()| Reuse::Blocks).await;
            assert_eq!(settled(&preparer).await, (4, 0));
        }
        assert_eq!(preparer.preparation().recycled, 0);
        preparer.stop().await;
    });
}

#[test]
fn a_log_whose_blanks_are_written_with_zeros_keeps_no_more_of_them() {
    with_preparer(Plain, true, |_, preparer, _, path| async move {
        assert_eq!((settled(&preparer).await, preparer.target()), ((4, 0), 4));
        let mut taken = 0;
        for _ in 0..3 {
            taken += take_all_and_wait(&preparer).await;
            assert_eq!((settled(&preparer).await, preparer.target()), ((4, 0), 4));
        }
        assert_eq!((taken, names(&path)), (12, 16));
        preparer.stop().await;
    });
}

#[test]
fn a_log_that_does_not_flush_trims_when_segments_run_short_and_keeps_what_it_gave_up() {
    with_preparer(Filled, false, |ring, preparer, helper, path| async move {
        let data = preparer.0.data.clone();
        let keeper = Keeper::new(&ring, &helper, &data, &preparer.0.config, Offset(0));
        let log = path.join("00000");
        let named = |base| segment_path(&log, Offset(base)).exists();
        assert_eq!((settled(&preparer).await, preparer.target()), ((4, 0), 4));
        preparer.0.waited();
        assert_eq!((settled(&preparer).await, preparer.target()), ((4, 20), 24), "of zeros too, since there is time");
        preparer.0.state.blanks.take();
        for base in [0, 1] {
            // Each returns, although nothing has been done.
            give_up(&preparer, &keeper, &path, vec![base], Reuse::AsIs).await;
            helper.run(&ring, || ()).await;
        }
        assert!(named(0) && named(1), "while segments stand ready nothing is written for a trim");
        preparer.0.state.hurried.set(true);
        for _ in 0..3 {
            assert!(preparer.0.state.ready.borrow_mut().pop_front().is_some());
        }
        assert!(preparer.take().is_some() && !preparer.is_ready());
        preparer.room().await;
        assert!(!named(0) && !named(1), "they were taken");
        assert_eq!(preparer.preparation().recycled, 2);
        // As many as a burst may use, where only five would be kept otherwise.
        let ready = preparer.0.state.ready.borrow().len();
        give_up(&preparer, &keeper, &path, (10..25).collect(), Reuse::AsIs).await;
        assert_eq!(preparer.0.state.recycling.get(), 15);
        preparer.stop().await;
        helper.run(&ring, || ()).await;
        assert!((10..25).all(|base| !named(base)), "a clean end waits for nothing");
        while preparer.0.state.recycling.get() > 0 {
            yield_now().await;
        }
        assert!(preparer.0.state.ready.borrow().len() >= ready + 15);
    });
}

#[test]
fn a_burst_of_a_log_that_does_not_flush_has_the_device_for_itself() {
    with_preparer(Filled, false, |_, preparer, _, _| async move {
        assert_eq!((settled(&preparer).await, preparer.preparation().zeroed), ((4, 0), 4));
        let state = &preparer.0.state;
        state.hurried.set(true);
        assert!(state.ready.borrow_mut().pop_front().is_some());
        preparer.start();
        assert!(!state.running.get(), "no zeros while segments stand ready");
        assert_eq!(preparer.target(), 24, "the next burst finds more");
        assert_eq!(settled(&preparer).await, (4, 20), "after it");
        preparer.stop().await;
    });
}

#[test]
fn several_are_made_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let config = config(&data, false);
    fs::create_dir_all(&config.dir).unwrap();
    let paths: Vec<PathBuf> = (0..4).map(|number| config.dir.join(format!("{number}.next"))).collect();
    let made = make_together(&config, &Plain, paths.clone(), &Haste::default()).unwrap();
    assert_eq!(made, paths, "in the order of their numbers");
    assert!(paths.iter().all(|path| fs::metadata(path).unwrap().len() == SEGMENT_BYTES));
    paths.iter().for_each(|path| fs::remove_file(path).unwrap());
    fs::create_dir(&paths[2]).unwrap();
    assert!(make_together(&config, &Plain, paths.clone(), &Haste::default()).is_err());
    let left: Vec<PathBuf> = paths.into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}
