//! A block device in memory, and what can go wrong with it.
//!
//! The fault model: a device with a volatile cache.
//!
//! - A write is in the cache when it is answered, and on the medium when a flush that came after it is answered.
//! - **Power cut**: of the writes that no flush has covered, any may have reached the medium and any may not, whole or torn at 512
//!   bytes ([`Survivors`]). Nothing is answered any more until the power is back.
//! - **Error**: the n-th write, flush or read fails with `EIO`, once or from then on. A failed write leaves the medium as it was; a
//!   failed flush leaves everything in the cache.
//!
//! Not modelled: a device that answers a flush and has not flushed (one that lies), and one that returns other bytes.

use crate::Numbers;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The smallest piece that a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What of the writes that no flush has covered is on the medium after a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// None: the cache was never written back.
    None,
    /// All: the cache is not volatile, and only the page cache is lost.
    All,
    /// Some of the writes, each whole.
    Writes,
    /// Some sectors of some of the writes.
    Sectors,
}

impl Survivors {
    /// One of the four.
    #[must_use]
    pub fn drawn(numbers: &mut Numbers) -> Self {
        [Self::None, Self::All, Self::Writes, Self::Sectors][numbers.below(4) as usize]
    }
}

/// An operation of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes into the cache.
    Write,
    /// The cache onto the medium.
    Flush,
    /// Bytes of the cache or the medium.
    Read,
}

/// An error to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// How many of these succeed before.
    pub after: u64,
    /// Only one fails; else every one from there on.
    pub once: bool,
}

/// The device does not answer, or fails as it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;

type Hook = Box<dyn FnOnce() + Send>;

/// A power cut to come.
struct Cut {
    /// Writes and flushes that are still answered.
    after: u64,
    survivors: Survivors,
    seed: u64,
    hook: Hook,
}

/// The device. Each time the power comes back it is a new one to the kernel: what was opened before gets nothing but errors.
pub(super) struct Device(Mutex<State>);

struct State {
    medium: Vec<u8>,
    /// The medium with the cache over it: what a read gives.
    current: Vec<u8>,
    /// Writes that no flush has covered, in their order.
    unflushed: Vec<(usize, Vec<u8>)>,
    life: u64,
    on: bool,
    cut: Option<Cut>,
    fault: Option<Fault>,
    faults: u64,
}

impl Device {
    pub(super) fn new(content: Vec<u8>) -> Self {
        Self(Mutex::new(State {
            current: content.clone(),
            medium: content,
            unflushed: Vec::new(),
            life: 0,
            on: true,
            cut: None,
            fault: None,
            faults: 0,
        }))
    }

    /// Nobody panics with the lock, and a server that did would leave the kernel waiting.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state().medium.len() as u64
    }

    /// The life of the device: the number of power cuts that it has had.
    pub(super) fn life(&self) -> u64 {
        self.state().life
    }

    /// Cuts the power after so many writes and flushes, and calls `hook` in that moment.
    pub(super) fn cut_after(&self, operations: u64, survivors: Survivors, seed: u64, hook: Hook) {
        self.state().cut = Some(Cut { after: operations, survivors, seed, hook });
    }

    /// Takes the last [`Device::cut_after`] back; whether the power was cut before.
    pub(super) fn spare(&self) -> bool {
        let mut state = self.state();
        state.cut = None;
        !state.on
    }

    /// Cuts the power now, unless it is cut.
    pub(super) fn cut(&self, survivors: Survivors, seed: u64) {
        self.state().power_off(survivors, seed);
    }

    /// Gives the power back: a new life.
    pub(super) fn power_on(&self) {
        let mut state = self.state();
        state.life += 1;
        state.on = true;
        (state.cut, state.fault) = (None, None);
    }

    /// Lets an operation fail, from now on or never again; says how many have failed since the last call.
    pub(super) fn fail(&self, fault: Option<Fault>) -> u64 {
        let mut state = self.state();
        state.fault = fault;
        std::mem::take(&mut state.faults)
    }

    pub(super) fn read<T>(&self, life: u64, at: u64, bytes: usize, give: impl FnOnce(&[u8]) -> T) -> Result<T, Failed> {
        let mut state = self.state();
        state.answers(life, Operation::Read)?;
        let start = (at as usize).min(state.current.len());
        let end = (start + bytes).min(state.current.len());
        Ok(give(&state.current[start..end]))
    }

    pub(super) fn write(&self, life: u64, at: u64, bytes: &[u8]) -> Result<(), Failed> {
        let mut state = self.state();
        state.answers(life, Operation::Write)?;
        let at = at as usize;
        state.current.get_mut(at..at + bytes.len()).ok_or(Failed)?.copy_from_slice(bytes);
        state.unflushed.push((at, bytes.to_vec()));
        // The write in which the power goes may be on the medium, though nobody is told.
        state.step()
    }

    pub(super) fn flush(&self, life: u64) -> Result<(), Failed> {
        let mut state = self.state();
        state.answers(life, Operation::Flush)?;
        state.step()?;
        let State { medium, unflushed, .. } = &mut *state;
        for (at, bytes) in unflushed.drain(..) {
            medium[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        Ok(())
    }
}

impl State {
    fn answers(&mut self, life: u64, operation: Operation) -> Result<(), Failed> {
        if !self.on || life != self.life {
            return Err(Failed);
        }
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.operation == operation) else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        if fault.once {
            self.fault = None;
        }
        self.faults += 1;
        Err(Failed)
    }

    /// Counts a write or a flush down to the cut.
    fn step(&mut self) -> Result<(), Failed> {
        let Some(cut) = &mut self.cut else { return Ok(()) };
        if cut.after > 0 {
            cut.after -= 1;
            return Ok(());
        }
        if let Some(Cut { survivors, seed, hook, .. }) = self.cut.take() {
            self.power_off(survivors, seed);
            hook();
        }
        Err(Failed)
    }

    fn power_off(&mut self, survivors: Survivors, seed: u64) {
        if !std::mem::replace(&mut self.on, false) {
            return;
        }
        let mut numbers = Numbers::new(seed);
        for (at, bytes) in self.unflushed.drain(..) {
            let whole = match survivors {
                Survivors::None => false,
                Survivors::All => true,
                Survivors::Writes | Survivors::Sectors => numbers.below(2) == 0,
            };
            let torn = survivors == Survivors::Sectors && numbers.below(2) == 0;
            for (nth, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if if torn { numbers.below(2) == 0 } else { whole } {
                    let start = at + nth * SECTOR_BYTES;
                    self.medium[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        self.current.copy_from_slice(&self.medium);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(device: &Device) -> Vec<u8> {
        device.read(device.life(), 0, usize::MAX / 2, <[u8]>::to_vec).unwrap()
    }

    #[test]
    fn a_flush_keeps_what_was_written_before_it() {
        for (survivors, kept) in [(Survivors::None, 0), (Survivors::All, 2)] {
            let device = Device::new(vec![0; 4096]);
            device.write(0, 0, &[1; 1024]).unwrap();
            device.flush(0).unwrap();
            device.write(0, 1024, &[2; 1024]).unwrap();
            device.cut(survivors, 7);
            assert_eq!(device.write(0, 0, &[3]), Err(Failed), "no power");
            device.power_on();
            assert_eq!(device.write(0, 0, &[3]), Err(Failed), "a device of an earlier life");
            let content = content(&device);
            assert_eq!((content[0], content[1023], content[1024], content[2047]), (1, 1, kept, kept));
        }
    }

    #[test]
    fn torn_writes_are_torn_between_sectors() {
        let torn = (0..64).filter(|&seed| {
            let device = Device::new(vec![0; 4096]);
            device.write(0, 0, &[1; 4096]).unwrap();
            device.cut(Survivors::Sectors, seed);
            device.power_on();
            let content = content(&device);
            assert!(content.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|&byte| byte == sector[0])));
            content.contains(&0) && content.contains(&1)
        });
        assert!(torn.count() > 8, "half of the writes are torn");
    }

    #[test]
    fn the_power_goes_at_the_operation_that_was_named() {
        for after in 0..4 {
            let device = Device::new(vec![0; 4096]);
            let (told, heard) = std::sync::mpsc::channel();
            device.cut_after(after, Survivors::All, 1, Box::new(move || told.send(()).unwrap()));
            let answered = (0..4).filter(|nth| {
                let answer = if nth % 2 == 0 { device.write(0, 0, &[9]) } else { device.flush(0) };
                answer.is_ok()
            });
            assert_eq!(answered.count() as u64, after);
            assert_eq!(heard.try_iter().count(), 1);
            assert!(device.spare(), "the power is off");
        }
    }

    #[test]
    fn errors_come_once_or_stay() {
        for once in [true, false] {
            let device = Device::new(vec![0; 4096]);
            device.fail(Some(Fault { operation: Operation::Flush, after: 1, once }));
            device.write(0, 0, &[1]).unwrap();
            let answers: Vec<bool> = (0..4).map(|_| device.flush(0).is_ok()).collect();
            assert_eq!(answers, [true, false, once, once]);
            assert_eq!(device.fail(None), if once { 1 } else { 3 });
            assert_eq!(device.flush(0), Ok(()));
        }
    }
}
