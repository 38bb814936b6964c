//! Bytes from the device are checked each time they are read into memory.

use crate::{Plan, segment_path};
use log_api::{Damage, Offset};
use log_format::verify_entry;
use std::path::Path;

/// Checks that `bytes`, read for `plan`, are whole entries with their checksums, dense from the plan's first offset to its last.
///
/// # Errors
/// The [`Damage`], with the segment in `dir` and the position of the batch that is wrong.
pub fn verify_read(dir: &Path, plan: &Plan, bytes: &[u8]) -> Result<(), Damage> {
    let mut at = 0;
    let mut expected = plan.start.offset;
    while let Some(rest) = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).filter(|rest| !rest.is_empty()) {
        let verified = verify_entry(plan.framing, rest).map_err(|error| damage(dir, plan, at, error.to_string()))?;
        if verified.offset != Some(expected) {
            let found = verified.offset.unwrap_or(Offset(u64::MAX));
            return Err(damage(dir, plan, at, format!("the batch of offset {found} stands where {expected} should")));
        }
        expected = expected.plus(verified.takes);
        at += verified.bytes;
    }
    if expected == plan.end.offset {
        Ok(())
    } else {
        Err(damage(dir, plan, at, format!("the batch of offset {expected} is missing")))
    }
}

/// [`Damage`] at a byte of a plan's range.
#[must_use]
pub fn damage(dir: &Path, plan: &Plan, at: u64, what: impl Into<String>) -> Damage {
    Damage { segment: segment_path(dir, plan.segment), position: plan.start.position + at, what: what.into() }
}
