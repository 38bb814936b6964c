//! The name of a schedule: two runs with the same hash were offered the same arrivals.

use super::{Arrival, Schedule, Split};
use crate::profile::{ArrivalLaw, Messages, Piece, Resolved, ResolvedPhase, Skew};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Arrivals that are hashed themselves; the parameters and the integral stand for the rest.
const ARRIVALS_HASHED: usize = 1_000;

/// What decides a schedule, and nothing else: titles, sources and objectives may change without changing the hash.
#[derive(Serialize)]
struct Decisive<'a> {
    seed: u64,
    phases: &'a [ResolvedPhase],
    pieces: &'a [Piece],
    arrivals: ArrivalLaw,
    messages: Messages,
    partitions: u32,
    skew: Skew,
}

/// SHA-256, in hexadecimal, of what decides the schedule, of its first 1,000 arrivals and of the messages that it holds by its
/// integral.
#[must_use]
pub fn hash(resolved: &Resolved) -> String {
    let decisive = Decisive {
        seed: resolved.seed,
        phases: &resolved.phases,
        pieces: &resolved.pieces,
        arrivals: resolved.arrivals,
        messages: resolved.messages,
        partitions: resolved.partitions,
        skew: resolved.skew,
    };
    let mut sha = Sha256::new();
    sha.update(serde_json::to_vec(&decisive).expect("plain numbers and names have a JSON form"));
    for arrival in Schedule::new(resolved, Split::WHOLE).take(ARRIVALS_HASHED) {
        let Arrival { at_ns, phase, partition, bytes, messages } = arrival;
        sha.update(at_ns.to_le_bytes());
        sha.update(phase.to_le_bytes());
        for field in [partition, bytes, messages] {
            sha.update(field.to_le_bytes());
        }
    }
    sha.update(resolved.messages_expected().to_le_bytes());
    let mut hexadecimal = String::with_capacity(64);
    for byte in sha.finalize() {
        write!(hexadecimal, "{byte:02x}").expect("writing to a string cannot fail");
    }
    hexadecimal
}
