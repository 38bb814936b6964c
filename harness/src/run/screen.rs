//! What a person sees while a run goes on, on standard error: lines that stay, and on a terminal one line that is written over.
//! Where there is no terminal nothing is written over, no control code is sent, and the moving line becomes a line now and then.

use crate::child::job::Progress;
use crate::summary::format;
use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Without a terminal, a moving line is printed this often, and when its topic changes.
const QUIET: Duration = Duration::from_secs(5);
/// Columns of the moving line: it must not wrap.
const COLUMNS: usize = 99;

/// Standard error, with or without a terminal.
pub struct Screen {
    terminal: bool,
    shown: bool,
    last: Option<(Instant, String)>,
}

/// Who watches may be gone, with the terminal: the run still ends in order, and nothing is told.
fn say(text: std::fmt::Arguments<'_>) {
    let mut screen = std::io::stderr().lock();
    screen.write_fmt(text).and_then(|()| screen.flush()).ok();
}

impl Default for Screen {
    fn default() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: false, last: None }
    }
}

impl Screen {
    /// A line that stays.
    pub fn line(&mut self, text: &str) {
        self.clear();
        say(format_args!("{text}\n"));
    }

    /// The moving line. `topic` is what it is about: a change is worth a line even where nothing moves.
    pub fn moving(&mut self, topic: &str, text: &str) {
        if self.terminal {
            let cut: String = text.chars().take(COLUMNS).collect();
            say(format_args!("\r\x1b[2K{cut}"));
            self.shown = true;
            return;
        }
        let due = self.last.as_ref().is_none_or(|(at, about)| about != topic || at.elapsed() >= QUIET);
        if due {
            say(format_args!("{text}\n"));
            self.last = Some((Instant::now(), topic.to_owned()));
        }
    }

    /// Takes the moving line away.
    pub fn clear(&mut self) {
        if self.shown {
            say(format_args!("\r\x1b[2K"));
            self.shown = false;
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A running load in one line.
#[must_use]
pub fn progress(engine: &str, duration_s: f64, progress: &Progress) -> String {
    let Progress { at_s, phase, offered_per_s, achieved_per_s, backlog } = progress;
    let delay = if *backlog > 0 && *achieved_per_s > 0.0 {
        format!(" ({:.1} s)", *backlog as f64 / achieved_per_s)
    } else {
        String::new()
    };
    format!(
        "{engine:<9} {at_s:>6.1} of {duration_s:.1} s  {phase:<10} offered {:>6}/s  achieved {:>6}/s  queue {}{delay}",
        format::count(*offered_per_s),
        format::count(*achieved_per_s),
        format::count(*backlog as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_load_fits_one_line() {
        let now = Progress {
            at_s: 12.34,
            phase: "plateau".to_owned(),
            offered_per_s: 190_000.0,
            achieved_per_s: 123_456.0,
            backlog: 1_234_567,
        };
        let line = progress("pagecache", 35.0, &now);
        assert!(line.chars().count() <= COLUMNS, "{line}");
        for part in ["12.3 of 35.0 s", "190k/s", "123k/s", "1.23M (10.0 s)"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
