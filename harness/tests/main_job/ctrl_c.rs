//! Ctrl-C, or a terminal that is closed, while an engine runs: partial results, marked; data gone; status 130.

use crate::place::Place;
use harness::run::interrupt::is_ignored;
use harness::summary::{RunState, Status, load_summary};
use rustix::process::Signal;
use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

#[test]
fn an_interrupted_run_keeps_what_it_has_and_says_so() {
    // Tests that run under `nohup` ignore the one, and so do the runs that they start.
    let heard = [Signal::INT, Signal::HUP].into_iter().filter(|signal| !is_ignored(signal.as_raw()));
    for signal in heard {
        let place = Place::new(600.0);
        let mut command = place.command(&["run", "short.toml", "--engine", "memory,null", "--durability", "none"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        // The plateau has begun: there is something to keep.
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the run ended by itself");
            if line.contains("flood") {
                break;
            }
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let mut rest = String::new();
        lines.read_to_string(&mut rest).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{rest}");
        let summary = load_summary(&place.latest()).unwrap();
        assert_eq!(summary.run.state, RunState::Interrupted);
        let partial = |status: &Status| matches!(status, Status::Partial { .. });
        assert!(summary.engines.iter().all(|engine| partial(&engine.status)), "{:?}", summary.engines);
        let measured: Vec<_> = summary.engines.iter().filter_map(|engine| engine.measurement.as_ref()).collect();
        assert_eq!(measured.len(), 1, "one ran, one had not begun");
        assert!(measured[0].total.acknowledged_messages > 0);
        assert!(measured[0].series.is_aligned() && measured[0].series.len() < 6_000);
        assert!(!place.latest().join(".data").exists());
    }
}
