//! A child process: given its job, heard line by line, told to stop by the end of its input.

use crate::child::job::{Event, Job};
use anyhow::Context;
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

/// The hidden command that a child is started with.
pub const CHILD_COMMAND: &str = "__child";
/// Lines of a child's standard error that are kept for the message when it dies.
const LAST_WORDS_MAX: usize = 20;

/// A running child.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<Event>,
    errors: Option<JoinHandle<VecDeque<String>>>,
}

/// What a child said, or that it said nothing.
pub enum Heard {
    /// A line.
    Event(Event),
    /// Nothing within the time.
    Silence,
    /// It has closed its output: it is ending.
    End,
}

impl Running {
    /// Starts this program again, in a process group of its own so that a terminal's Ctrl-C reaches only the parent, and gives it
    /// the job.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(job: &Job) -> anyhow::Result<Self> {
        // The running program itself, also when its file has been replaced meanwhile.
        let mut child = Command::new("/proc/self/exe")
            .arg0("highwater")
            .arg(CHILD_COMMAND)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start a child process")?;
        let mut input = child.stdin.take().expect("piped above");
        let output = child.stdout.take().expect("piped above");
        let errors = child.stderr.take().expect("piped above");
        let (sender, events) = channel();
        let name = |what: &str| std::thread::Builder::new().name(format!("child-{what}"));
        name("events").spawn(move || forward(output, &sender)).context("start a thread")?;
        let errors = name("errors").spawn(move || last_words(errors)).context("start a thread")?;
        let line = serde_json::to_string(job).context("write the job")?;
        // A child that is already gone says why by its end.
        writeln!(input, "{line}").ok();
        Ok(Self { child, input: Some(input), events, errors: Some(errors) })
    }

    /// The next event, for at most so long.
    #[must_use]
    pub fn next(&self, at_most: Duration) -> Heard {
        match self.events.recv_timeout(at_most) {
            Ok(event) => Heard::Event(event),
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Tells the child to stop early.
    pub fn stop(&mut self) {
        self.input = None;
    }

    /// Ends the child at once.
    pub fn kill(&mut self) {
        // An error means that it has ended by itself.
        self.child.kill().ok();
    }

    /// Waits for the end of a child that has closed its output: its status and its last words on standard error.
    ///
    /// # Errors
    /// The system does not say.
    pub fn wait(mut self) -> anyhow::Result<(ExitStatus, String)> {
        self.input = None;
        let status = self.child.wait().context("wait for a child process")?;
        let words = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Ok((status, words.into_iter().collect::<Vec<_>>().join("\n")))
    }
}

impl Drop for Running {
    /// A child never outlives the parent's interest in it: its data are about to be removed.
    fn drop(&mut self) {
        self.input = None;
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn forward(output: impl Read, events: &Sender<Event>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { return };
        // A line that is no event can only be a library's print: nothing to act on.
        if let Ok(event) = line.parse()
            && events.send(event).is_err()
        {
            return;
        }
    }
}

fn last_words(errors: impl Read) -> VecDeque<String> {
    let mut words = VecDeque::new();
    for line in BufReader::new(errors).lines() {
        let Ok(line) = line else { break };
        if words.len() == LAST_WORDS_MAX {
            words.pop_front();
        }
        words.push_back(line);
    }
    words
}
