//! One engine in one fresh process: reads a [`Job`], plays it, tells what happened line by line.
//!
//! What lives here: the life of a child ([`main`]), its job and its events ([`job`]), turning records into figures ([`measure`],
//! [`costs`], [`hlog`]) and judging them ([`verdicts`]). What never does: a choice. Everything was decided by the parent.

pub mod cold;
pub mod costs;
pub mod hlog;
pub mod job;
pub mod measure;
mod outcome;
mod plateau;
pub mod play;
pub mod verdicts;

use job::{Event, Job};
use std::{
    io::{BufRead, Read, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tells the parent. A parent that is gone has closed its end; then the child's input has ended too and it stops.
pub(crate) fn tell(event: &Event) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}").and_then(|()| out.flush()).ok();
}

/// The life of a child: one job from standard input; the end of the input is the wish to stop early.
#[must_use]
pub fn main() -> ExitCode {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let job = match read.map(|_| serde_json::from_str::<Job>(&line)) {
        Ok(Ok(job)) => job,
        Ok(Err(error)) => return failed(&format!("not a job: {error}"), false),
        Err(error) => return failed(&format!("no job: {error}"), false),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let watch = move || {
        // Nothing more is ever written: this ends when the parent closes its end, or dies.
        std::io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        told.store(true, Ordering::Relaxed);
    };
    if let Err(error) = std::thread::Builder::new().name("wish-to-stop".to_owned()).spawn(watch) {
        return failed(&format!("start a thread: {error}"), false);
    }
    match play::run(&job, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref() {
            Some(broker::NodeError::Unavailable { why, .. }) => failed(why, true),
            _ => failed(&format!("{error:#}"), false),
        },
    }
}

fn failed(why: &str, unavailable: bool) -> ExitCode {
    tell(&Event::Failed { why: why.to_owned(), unavailable });
    ExitCode::FAILURE
}
