//! Power cuts: what was acknowledged as durable comes back, and a log is a gap-free prefix of what was appended.
//!
//! The fault model is that of [`crate::disk`]: at the n-th write or flush of the device the power goes, and with it the page cache
//! and whatever the device had not flushed, or some of it. In that moment the writing process is killed. n is drawn from a seed.
//!
//! Each round is one of four scenes, after which the disk is mounted again and each reader opens and checks the logs:
//!
//! | scene | what the cut meets |
//! |---|---|
//! | cut | a writer (`writer.rs`) at work: appends, commits, rolls, trims, and the open before them |
//! | cut in recovery | as before, then twice in a row the recovery of what that left |
//! | closed | an engine that was closed cleanly a moment ago |
//! | killed and read | a recovery that has seen, in the page cache, what a killed writer had not flushed: what it served must stay |

use crate::{
    EngineUnderTest, Needs, Numbers, applies,
    disk::{Disk, Survivors},
    model::first_seed,
    skip,
    writer::{Check, Known, Reader, Said, Told, Writer, write_until_the_end},
};
use log_api::Level;

/// Bytes of the file system: segments of 1 MiB, a handful a log.
const DISK_BYTES: u64 = 64 << 20;

/// Rounds after which a fresh file system is made, so that many rounds need no more room than a few.
const ROUNDS_A_DISK: u64 = 16;

/// Rounds of the short form.
const ROUNDS: u64 = 6;

/// The most commits that a child keeps in flight.
const COMMITS_MAX: u64 = 4;

/// A cut comes before so many writes and flushes of the device.
const OPERATIONS_MAX: u64 = 1500;

/// A cut that is to meet a recovery, which takes a few dozen.
const RECOVERY_OPERATIONS_MAX: u64 = 40;

/// A child that closes or is killed has heard fewer acknowledgements than this.
const ACKNOWLEDGEMENTS_MAX: u64 = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    Cut,
    CutInRecovery,
    Closed,
    KilledAndRead,
}

/// Cuts the power of a writer of engine `E` again and again, six times or `HIGHWATER_CUTS`; `test` is the path of the calling test,
/// by which the child is found.
///
/// # Panics
/// If something that was acknowledged as durable is lost, changed, doubled or out of order, or a log has a gap; with the seed that
/// repeats the run.
pub fn power_cuts<E: EngineUnderTest>(test: &str, readers: &[Reader]) {
    let rounds = std::env::var("HIGHWATER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(ROUNDS);
    cut_rounds::<E>(test, readers, rounds);
}

/// As [`power_cuts`], so many times.
///
/// # Panics
/// As [`power_cuts`].
pub fn cut_rounds<E: EngineUnderTest>(test: &str, readers: &[Reader], rounds: u64) {
    if let Some(told) = Told::heard() {
        return write_until_the_end::<E>(told);
    }
    if !applies::<E>("power_cuts", Needs::Keeping) {
        return;
    }
    let seed = first_seed();
    let readers: Vec<&Reader> = readers.iter().filter(|reader| (reader.applies)()).collect();
    let mut numbers = Numbers::new(seed);
    let mut round = 1;
    while round <= rounds {
        let disk = match Disk::ext4(DISK_BYTES) {
            Ok(disk) => disk,
            Err(why) => return skip(&format!("power_cuts of {}", E::NAME), &why),
        };
        let mut outage = Outage { test, disk, seed, known: [Known::default(); 2] };
        let rounds_left = rounds + 1 - round;
        for _ in 0..rounds_left.min(ROUNDS_A_DISK) {
            let scene = match numbers.below(8) {
                0..4 => Scene::Cut,
                4..6 => Scene::CutInRecovery,
                6 => Scene::Closed,
                _ => Scene::KilledAndRead,
            };
            let happened = outage.play(scene, &readers, &mut numbers).unwrap_or_else(|wrong| {
                panic!(
                    "round {round} of {rounds} by {}, {scene:?}: {wrong}\n\
                     repeat with HIGHWATER_SEED={seed} HIGHWATER_CUTS={rounds}",
                    E::NAME
                )
            });
            println!("round {round} of {}: {scene:?}: {happened}", E::NAME);
            round += 1;
        }
    }
}

/// One disk, and what must be on it.
struct Outage<'a> {
    test: &'a str,
    disk: Disk,
    seed: u64,
    known: [Known; 2],
}

impl Outage<'_> {
    /// Returns what happened, in words.
    fn play(&mut self, scene: Scene, readers: &[&Reader], numbers: &mut Numbers) -> Result<String, String> {
        let mut happened = Vec::new();
        match scene {
            Scene::Cut => happened.push(self.write_and_cut(OPERATIONS_MAX, numbers)?),
            Scene::CutInRecovery => {
                happened.push(self.write_and_cut(OPERATIONS_MAX, numbers)?);
                for _ in 0..2 {
                    self.power_cycle(numbers)?;
                    happened.push(self.write_and_cut(RECOVERY_OPERATIONS_MAX, numbers)?);
                }
            }
            Scene::Closed => {
                let told = Told { closes_after: numbers.below(ACKNOWLEDGEMENTS_MAX), ..self.told(numbers) };
                let heard = self.run(&told, |_| false)?;
                happened.push(format!("{heard:?}"));
            }
            Scene::KilledAndRead => {
                let acknowledgements = numbers.below(ACKNOWLEDGEMENTS_MAX);
                // What it acknowledges is in the page cache: nothing of it need stay, but for what a reader has found.
                let told = Told { level: Level::Placed, durable: true, ..self.told(numbers) };
                let heard = self.run(&told, |heard| heard.acknowledged == acknowledgements)?;
                happened.push(format!("{heard:?}"));
                self.check(readers, numbers)?;
            }
        }
        self.power_cycle(numbers)?;
        self.check(readers, numbers)?;
        let kept = self.known.map(|known| format!("{}..{}", known.start, known.end));
        Ok(format!("{}; kept {}", happened.join("; "), kept.join(" and ")))
    }

    fn told(&self, numbers: &mut Numbers) -> Told {
        // Most are durable: without, a cut may take what was acknowledged, but leaves no gap either.
        let (level, durable) = match numbers.below(8) {
            0 => (Level::Placed, true),
            1 => (Level::Placed, false),
            _ => (Level::Durable, true),
        };
        Told {
            dir: self.disk.dir(),
            seed: self.seed,
            turn: numbers.draw(),
            level,
            durable,
            commits_max: 1 + numbers.below(COMMITS_MAX),
            trims: true,
            quiet_after: u64::MAX,
            closes_after: u64::MAX,
        }
    }

    fn write_and_cut(&mut self, operations_max: u64, numbers: &mut Numbers) -> Result<String, String> {
        let told = self.told(numbers);
        let (operations, survivors) = (numbers.below(operations_max), Survivors::drawn(numbers));
        let mut writer = Writer::start(self.test, &told);
        let process = writer.process();
        self.disk.cut_after(operations, survivors, numbers.draw(), move || {
            // It cannot be gone: nobody has waited for it.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        });
        let heard = self.listen(&mut writer, &told, |_| false);
        // Before the child is waited for: afterwards its number may be another's.
        let cut = self.disk.spare();
        let (status, complaint) = writer.end();
        if !cut && !heard.closed {
            return Err(format!("the child ended by itself ({status}): {complaint}"));
        }
        Ok(format!("cut after {operations} operations, {survivors:?} survive, {heard:?}"))
    }

    /// Runs a child until it has closed, or `ends` says that it is to be killed.
    fn run(&mut self, told: &Told, ends: impl Fn(&Heard) -> bool) -> Result<Heard, String> {
        let mut writer = Writer::start(self.test, told);
        let heard = self.listen(&mut writer, told, ends);
        let (status, complaint) = writer.end();
        if heard.closed || heard.killed {
            Ok(heard)
        } else {
            Err(format!("the child ended by itself ({status}): {complaint}"))
        }
    }

    /// Takes in what a child says until its end; kills it when `ends` says so.
    fn listen(&mut self, writer: &mut Writer, told: &Told, ends: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        let mut known = self.known;
        loop {
            if !heard.killed && ends(&heard) {
                writer.kill();
                heard.killed = true;
            }
            let Some(said) = writer.next() else { break };
            heard.acknowledged += u64::from(Known::hear(&mut known, said));
            heard.closed |= said == Said::Closed;
        }
        for (now, heard_of) in self.known.iter_mut().zip(known) {
            (now.start, now.trimmed) = (heard_of.start, heard_of.trimmed);
            if told.level == Level::Durable || heard.closed {
                now.end = heard_of.end;
            }
        }
        heard
    }

    fn power_cycle(&mut self, numbers: &mut Numbers) -> Result<(), String> {
        let survivors = Survivors::drawn(numbers);
        self.disk.power_cycle(survivors, numbers.draw())
    }

    fn check(&mut self, readers: &[&Reader], numbers: &mut Numbers) -> Result<(), String> {
        for reader in readers {
            let closes = numbers.below(4) == 0;
            let check = Check { dir: self.disk.dir(), seed: self.seed, known: self.known, closes };
            self.known = (reader.check)(check).map_err(|wrong| format!("read by {}: {wrong}", reader.name))?;
        }
        Ok(())
    }
}

/// What came of a child.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    acknowledged: u64,
    closed: bool,
    killed: bool,
}
