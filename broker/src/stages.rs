//! The time that a future takes on the shard: its polls, not its waits.

use log_api::{Stage, Stages};
use std::{
    future::{Future, poll_fn},
    pin::pin,
};

/// Awaits `work`, and counts the time of its polls for `stage` while stages are measured.
pub(crate) async fn timed<F: Future>(stages: &Stages, stage: Stage, work: F) -> F::Output {
    if !stages.is_on() {
        return work.await;
    }
    let mut work = pin!(work);
    poll_fn(|context| stages.time(stage, || work.as_mut().poll(context))).await
}
