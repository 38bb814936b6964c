//! kill -9: what was acknowledged comes back.
//!
//! The fault model: the process is gone between two instructions, at a place that depends on a seed (the number of
//! acknowledgements that the parent waits for, from none on) and on nothing else that the test controls; the kernel lives on.
//!
//! The parent kills a writer (`writer.rs`), reads what it has said to its end, opens the directory with each reader in turn and checks
//! it. Then the next child goes on in the same directory.

pub use crate::writer::{Reader, is_child, reader};

use crate::{
    EngineUnderTest, Needs, Numbers, applies, directory,
    model::first_seed,
    writer::{Check, Known, Told, Writer, write_until_the_end},
};
use log_api::Level;

/// The most commits that a child keeps in flight.
const COMMITS_MAX: u64 = 4;

/// Acknowledgements that the parent waits for are fewer than this.
const ACKNOWLEDGEMENTS_MAX: u64 = 250;

/// Kills a writer of engine `E` again and again, five times or `HIGHWATER_KILLS`; `test` is the path of the calling test, by which the
/// child is found.
///
/// # Panics
/// If something that was acknowledged is lost, changed, doubled or out of order, with the seed that repeats the run.
pub fn kill_nine<E: EngineUnderTest>(test: &str, readers: &[Reader]) {
    if let Some(told) = Told::heard() {
        return write_until_the_end::<E>(told);
    }
    if !applies::<E>("kill_nine", Needs::Keeping) {
        return;
    }
    let kills = std::env::var("HIGHWATER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5);
    let seed = first_seed();
    let dir = directory();
    let mut numbers = Numbers::new(seed);
    let mut known = [Known::default(); 2];
    let readers: Vec<&Reader> = readers.iter().filter(|reader| (reader.applies)()).collect();
    for kill in 1..=kills {
        // Three in four are durable; killing in the middle of an open is as interesting as in the middle of a write.
        let level = if numbers.below(4) == 0 { Level::Placed } else { Level::Durable };
        let wait_for = if numbers.below(5) == 0 { 0 } else { numbers.below(ACKNOWLEDGEMENTS_MAX) };
        // Killed in full swing, or in silence: nothing that the child does after an acknowledgement may be needed for it.
        let quiet_after = if numbers.below(2) == 0 { wait_for } else { u64::MAX };
        let commits_max = 1 + numbers.below(COMMITS_MAX);
        let dir = dir.path().to_path_buf();
        let told = Told {
            dir: dir.clone(),
            seed,
            turn: numbers.draw(),
            level,
            durable: true,
            commits_max,
            trims: false,
            quiet_after,
            closes_after: u64::MAX,
        };
        run_child(test, &told, wait_for, &mut known);
        let context = || format!("kill {kill} of {kills} after {wait_for} acknowledgements ({level:?}) by {}", E::NAME);
        for reader in &readers {
            let closes = numbers.below(2) == 0;
            known = (reader.check)(Check { dir: dir.clone(), seed, known, closes }).unwrap_or_else(|wrong| {
                panic!(
                    "{}, read by {}: {wrong}\nrepeat with HIGHWATER_SEED={seed} HIGHWATER_KILLS={kills}",
                    context(),
                    reader.name
                )
            });
        }
    }
}

/// Runs a child, kills it after `wait_for` acknowledgements, and takes in all that it has said.
fn run_child(test: &str, told: &Told, wait_for: u64, known: &mut [Known; 2]) {
    let mut writer = Writer::start(test, told);
    let mut acknowledged = 0;
    let all_came = loop {
        if acknowledged == wait_for {
            break true;
        }
        let Some(said) = writer.next() else { break false };
        acknowledged += u64::from(Known::hear(known, said));
    };
    writer.kill();
    while let Some(said) = writer.next() {
        Known::hear(known, said);
    }
    let (status, complaint) = writer.end();
    assert!(all_came, "the child ended by itself ({status}): {complaint}");
}
