//! What the generator writes into the first bytes of a batch's first value, so that a consumer can tell what it received.

/// Bytes of a stamp: the smallest message that can be replayed.
pub const STAMP_BYTES: usize = 24;

/// A stamp. Little-endian, in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the batch's first message in its partition and this run, from 0.
    pub sequence: u64,
    /// Intended arrival, CLOCK_MONOTONIC, nanoseconds.
    pub intended_ns: u64,
    /// Which run wrote it: a log that is continued also holds older ones.
    pub run: u32,
    /// Phase of the intended arrival.
    pub phase: u32,
}

impl Stamp {
    /// Writes the stamp to the start of a value.
    ///
    /// # Panics
    /// When the value is shorter than [`STAMP_BYTES`]; profiles with smaller messages are refused before a run.
    pub fn write(&self, value: &mut [u8]) {
        value[0..8].copy_from_slice(&self.sequence.to_le_bytes());
        value[8..16].copy_from_slice(&self.intended_ns.to_le_bytes());
        value[16..20].copy_from_slice(&self.run.to_le_bytes());
        value[20..24].copy_from_slice(&self.phase.to_le_bytes());
    }

    /// Reads a stamp; `None` when the value is too short to hold one.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        let bytes: &[u8; STAMP_BYTES] = value.first_chunk()?;
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside the stamp"));
        let short = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside the stamp"));
        Some(Self { sequence: long(0), intended_ns: long(8), run: short(16), phase: short(20) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_and_leaves_the_rest_alone() {
        let stamp = Stamp { sequence: 0x0102_0304_0506_0708, intended_ns: u64::MAX - 1, run: 0xdead_beef, phase: 3 };
        let mut value = [9; 40];
        stamp.write(&mut value);
        assert_eq!(Stamp::read(&value), Some(stamp));
        assert_eq!(value[STAMP_BYTES..], [9; 16]);
        assert_eq!(Stamp::read(&value[..STAMP_BYTES - 1]), None);
    }
}
