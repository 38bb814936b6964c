//! Commits: an fdatasync of each segment that holds bytes not yet durable, through the ring, in kernel workers.

use crate::log::Log;
use log_api::{CommitError, Counters, Level, Offset};
use shard_ring::{Op, spawn_local};
use std::rc::Rc;

/// Brings what was appended to `logs` to `level`. All flushes are submitted before the first wait; they run on when the future is
/// dropped.
pub(crate) async fn commit(logs: &[Rc<Log>], level: Level) -> Result<(), CommitError> {
    let mut waits = Vec::new();
    for log in logs {
        log.poison.check()?;
        // What has been copied into the mapping is placed: a killed process does not lose it.
        if level == Level::Durable
            && let Some(target) = submit(log)
        {
            waits.push((log, target));
        }
    }
    for (log, target) in waits {
        durable(log, target).await?;
    }
    Ok(())
}

/// Submits the flushes that cover everything appended so far; `None` when everything is durable already.
pub(crate) fn submit(log: &Rc<Log>) -> Option<Offset> {
    let mut segments = log.segments.borrow_mut();
    let target = segments.mark().offset;
    let durable = log.durable.get();
    if target == durable {
        return None;
    }
    let ring = &log.shared.ring;
    // Each flush starts over from the durable mark: the error of a page that failed under an earlier flush of the same file is reported
    // once, so the mark passes a flush only after all earlier ones came back well.
    let flushes: Vec<Op<()>> = segments
        .iter()
        .rev()
        .take_while(|segment| segment.end() > durable)
        .map(|segment| ring.fsync(segment.handle.file.ring(), true))
        .collect();
    Counters::add(&log.shared.counters.flushes, flushes.len() as u64);
    let number = log.flights.borrow_mut().begin(target);
    spawn_local(land(log.clone(), number, flushes));
    Some(target)
}

/// Waits for the flushes of one commit and moves the mark, in order of submission.
async fn land(log: Rc<Log>, number: u64, flushes: Vec<Op<()>>) {
    let mut failure = None;
    for flush in flushes {
        if let Err(error) = flush.await {
            failure.get_or_insert(error);
        }
    }
    if let Some(error) = failure {
        log.poison.set(format!("flushing: {error}"), &log.progress);
    }
    // A flight that failed has landed too: nothing waits for it, and the poison keeps the mark where it is.
    let reached = log.flights.borrow_mut().land(number);
    if let Some(reached) = reached.filter(|_| !log.poison.is_set()) {
        log.durable.set(log.durable.get().max(reached));
        log.keeper.note_durable(log.marks());
    }
    log.progress.notify_all();
}

async fn durable(log: &Log, target: Offset) -> Result<(), CommitError> {
    loop {
        let progress = log.progress.wait();
        log.poison.check()?;
        if log.durable.get() >= target {
            return Ok(());
        }
        progress.await;
    }
}
