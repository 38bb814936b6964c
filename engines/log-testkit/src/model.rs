//! Random operations against a model: whatever the order, an engine does what the contract says.
//!
//! The fault model: the process stops between two operations, with commits in flight or not (`Crash`: the engine is dropped; the
//! kernel keeps what it was given). Kills inside an operation are in [`crate::kill`], failing disks in [`mod@crate::conformance`].
//!
//! What lives here: how sequences are drawn and repeated. `operations` says what an operation is; `state` is the
//! model; `run` carries operations out and compares.
//!
//! Each sequence has a seed; a failure is shrunk and printed with the seed that repeats it. Which operations a sequence may contain,
//! and how often, is drawn per sequence too (swarm testing: Groce et al. 2012), so that rare combinations come up.

mod operations;
mod run;
mod state;

pub use operations::{Case, Operation};
pub use run::{Event, Runner, runner};

use crate::skip;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Sequences an engine in the short form.
const CASES_DEFAULT: u64 = 48;

/// Sequences in the short form where several engines carry out each of them.
const CASES_TOGETHER_DEFAULT: u64 = 16;

/// Steps of making a failing sequence smaller; each runs it once.
const SHRINK_STEPS_MAX: u32 = 400;

/// Milliseconds after which a failing sequence is small enough: one that hangs takes minutes a step.
const SHRINK_MS_MAX: u32 = 60_000;

/// The first seed of a run: `HIGHWATER_SEED`, or always the same.
///
/// # Panics
/// If the variable is no number.
#[must_use]
pub fn first_seed() -> u64 {
    let given = std::env::var("HIGHWATER_SEED").ok();
    given.map_or(20_251_111, |seed| seed.parse().expect("HIGHWATER_SEED is a number"))
}

fn cases(default: u64) -> u64 {
    let given = std::env::var("HIGHWATER_CASES").ok();
    given.map_or(default, |cases| cases.parse().expect("HIGHWATER_CASES is a number"))
}

/// Runs `HIGHWATER_CASES` random sequences, each from an empty directory; at every close and crash the next runner takes over the
/// directory, so that with several engines each opens what another one left.
///
/// # Panics
/// If one of them does what the contract forbids, with the shortest sequence found that shows it, and how to repeat it.
pub fn random_operations(runners: &[Runner]) {
    let runners: Vec<Runner> = runners.iter().filter(|runner| runner.applies()).copied().collect();
    if runners.is_empty() {
        return;
    }
    let default = if runners.len() > 1 { CASES_TOGETHER_DEFAULT } else { CASES_DEFAULT };
    each_case(cases(default), SHRINK_STEPS_MAX, |case| run::relay(case, &runners, true).map(|_| ()));
}

/// As [`random_operations`], for tests of the tests: returns the first thing that went wrong, as it was found, or nothing.
#[must_use]
pub fn first_failure(runner: Runner) -> Option<String> {
    let search = || each_case(cases(CASES_DEFAULT), 0, |case| run::relay(case, &[runner], true).map(|_| ()));
    let complaint = std::panic::catch_unwind(search).err()?;
    Some(complaint.downcast_ref::<String>().cloned().unwrap_or_default())
}

/// Runs the same random sequences with every runner by itself, and requires the same offsets, the same bytes and the same marks,
/// as far as the contract fixes them.
///
/// # Panics
/// If two differ, or one of them breaks the contract.
pub fn same_operations_same_log(runners: &[Runner]) {
    let runners: Vec<Runner> = runners.iter().filter(|runner| runner.applies()).copied().collect();
    let [first, others @ ..] = runners.as_slice() else { return };
    if others.is_empty() {
        return skip("same_operations_same_log", &format!("{} has nothing to be compared with", first.name()));
    }
    let all_keep = runners.iter().all(Runner::keeps);
    let compare = |case: &Case| {
        let comparable = case.comparable(all_keep);
        let expected = run::relay(&comparable, std::slice::from_ref(first), all_keep)?;
        for other in others {
            let events = run::relay(&comparable, std::slice::from_ref(other), all_keep)?;
            let differs = expected.iter().zip(&events).position(|(one, two)| one != two);
            if let Some(nth) = differs {
                let (one, two) = (&expected[nth], &events[nth]);
                return Err(format!("{} and {} differ: {one:?}, {two:?}", first.name(), other.name()));
            }
            if expected.len() != events.len() {
                return Err(format!(
                    "{} and {} saw {} and {} events",
                    first.name(),
                    other.name(),
                    expected.len(),
                    events.len()
                ));
            }
        }
        Ok(())
    };
    each_case(cases(CASES_TOGETHER_DEFAULT), SHRINK_STEPS_MAX, compare);
}

/// Each case has a seed of its own, so that one of thousands is repeated by itself.
fn each_case(cases: u64, shrink_steps_max: u32, run: impl Fn(&Case) -> Result<(), String>) {
    let first = first_seed();
    for seed in first..first + cases {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: shrink_steps_max,
            max_shrink_time: SHRINK_MS_MAX,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let result = runner.run(&operations::case(seed), |case| run(&case).map_err(TestCaseError::fail));
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, case)) => {
                panic!("{why}\nshortest sequence found: {case:#?}\nrepeat with HIGHWATER_SEED={seed} HIGHWATER_CASES=1")
            }
            Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
        }
    }
}
