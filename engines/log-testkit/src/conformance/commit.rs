//! Commits: what each level means, what a commit covers, in which order marks move.

use super::{LOG, fresh};
use crate::{EngineUnderTest, Needs, shape};
use futures_lite::future::poll_once;
use log_api::{CommitError, Level, LogEngine, Marks, Offset};
use std::{future::Future, pin::Pin};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), CommitError>> + 'a>>;

/// A commit of the log, begun: polled once, so that what it covers is decided.
async fn begin<E: LogEngine>(engine: &E, level: Level) -> (Running<'_>, Option<Result<(), CommitError>>) {
    let groups = [engine.group(LOG)];
    let mut commit: Running<'_> = Box::pin(async move { engine.commit(&groups, level).await });
    let done = poll_once(&mut commit).await;
    (commit, done)
}

fn in_order(marks: &Marks) -> bool {
    marks.start <= marks.durable && marks.durable <= marks.placed && marks.placed <= marks.end
}

/// The example of the trait's documentation, level by level.
pub fn commit_levels<E: EngineUnderTest>() {
    fresh::<E>(
        "commit_levels",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            pen.append(&engine, &[shape(10, 100)]).await;
            let before = engine.marks(LOG);
            assert!(in_order(&before) && before.durable == Offset(0), "nothing is durable before a commit: {before:?}");
            pen.commit(&engine, Level::Durable).await;
            assert_eq!(
                engine.marks(LOG),
                Marks { start: Offset(0), durable: Offset(10), placed: Offset(10), end: Offset(10) }
            );
            pen.append(&engine, &[shape(5, 100)]).await;
            let appended = engine.marks(LOG);
            assert!(
                appended.durable == Offset(10) && in_order(&appended),
                "an append makes nothing durable: {appended:?}"
            );
            pen.commit(&engine, Level::Placed).await;
            let placed = engine.marks(LOG);
            assert!(placed.placed == Offset(15) && in_order(&placed), "{placed:?}");
            pen.commit(&engine, Level::Durable).await;
            assert_eq!(
                engine.marks(LOG),
                Marks { start: Offset(0), durable: Offset(15), placed: Offset(15), end: Offset(15) }
            );
            for level in [Level::Placed, Level::Durable] {
                pen.commit(&engine, level).await;
                assert_eq!(engine.marks(LOG).durable, Offset(15), "a commit of nothing changes nothing");
            }
        },
    );
}

/// A commit covers what was appended before it, and nothing that came later: that waits for a flush of its own.
pub fn a_later_append_does_not_join<E: EngineUnderTest>() {
    fresh::<E>(
        "a_later_append_does_not_join",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            for round in 0..20 {
                pen.append(&engine, &[shape(1 + round % 3, 300)]).await;
                let covered = pen.end();
                let (commit, done) = begin(&engine, Level::Durable).await;
                pen.append(&engine, &[shape(2, 500)]).await;
                let result = match done {
                    Some(result) => result,
                    None => commit.await,
                };
                assert_eq!(result, Ok(()), "commit");
                let marks = engine.marks(LOG);
                assert_eq!(
                    marks.durable, covered,
                    "durable after a commit that began before the last append: {marks:?}"
                );
            }
            pen.commit(&engine, Level::Durable).await;
            assert_eq!(engine.marks(LOG).durable, pen.end());
        },
    );
}

/// Many commits run at once; each covers its own appends, and the marks only ever move forward, from the end of one batch to the
/// end of another, in order.
pub fn many_commits_in_flight_move_marks_in_order<E: EngineUnderTest>() {
    fresh::<E>(
        "many_commits_in_flight_move_marks_in_order",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            let mut running: Vec<(Option<Running<'_>>, Offset)> = Vec::new();
            let mut seen = engine.marks(LOG);
            let mut watch = |what: &str, ends: &[Offset]| {
                let now = engine.marks(LOG);
                assert!(in_order(&now), "{what}: {now:?}");
                assert!(
                    now.durable >= seen.durable && now.placed >= seen.placed,
                    "{what}: back from {seen:?} to {now:?}"
                );
                assert!(
                    now.durable == Offset(0) || ends.contains(&now.durable),
                    "{what}: durable inside a batch: {now:?}"
                );
                seen = now;
                now
            };
            let mut ends = Vec::new();
            for round in 0..32 {
                // Sizes that start and end anywhere in a 4 KiB block, some in the same one as the commit before.
                pen.append(&engine, &[shape(1 + round % 3, 37 * round * (round % 4))]).await;
                ends.push(pen.end());
                let (commit, done) = begin(&engine, Level::Durable).await;
                assert!(done.as_ref().is_none_or(Result::is_ok), "a commit fails at once: {done:?}");
                let now = watch("begun", &ends);
                assert!(done.is_none() || now.durable >= pen.end(), "done and not durable: {now:?}");
                running.push((done.is_none().then_some(commit), pen.end()));
            }
            while running.iter().any(|(commit, _)| commit.is_some()) {
                // From the last to the first: whichever is asked first, the order of the marks is the log's.
                for (slot, end) in running.iter_mut().rev() {
                    let Some(commit) = slot else { continue };
                    if let Some(result) = poll_once(commit).await {
                        assert_eq!(result, Ok(()), "a commit in flight");
                        *slot = None;
                        let now = watch("done", &ends);
                        assert!(now.durable >= *end, "a commit of {end} is done and durable is {}", now.durable);
                    }
                }
                shard_ring::yield_now().await;
            }
            assert_eq!(engine.marks(LOG).durable, pen.end());
            if E::Engine::CAPABILITIES.readable {
                pen.check(&engine).await;
            }
        },
    );
}

/// A commit whose future is dropped goes on without its caller: the next one still covers everything, and nothing is lost.
pub fn a_dropped_commit_abandons_only_the_wait<E: EngineUnderTest>() {
    fresh::<E>(
        "a_dropped_commit_abandons_only_the_wait",
        Needs::Running,
        |_| (),
        async |engine, mut pen| {
            for round in 0..16 {
                pen.append(&engine, &[shape(2, 100 * round)]).await;
                let (commit, _) = begin(&engine, if round % 2 == 0 { Level::Durable } else { Level::Placed }).await;
                drop(commit);
            }
            pen.commit(&engine, Level::Durable).await;
            assert_eq!(engine.marks(LOG).durable, pen.end());
            if E::Engine::CAPABILITIES.readable {
                pen.check(&engine).await;
            }
            assert_eq!(engine.close().await, Ok(()), "close");
        },
    );
}
