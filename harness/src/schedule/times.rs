//! Intended arrival times: a process of rate 1 stretched over the curve.

use super::modulate::Modulator;
use super::random::Stream;
use crate::profile::{ArrivalLaw, Piece, Resolved, ResolvedPhase};

/// Draws arrival times in order.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pieces: Vec<Piece>,
    phases: Vec<ResolvedPhase>,
    /// Index of the piece that the next arrival is looked for in.
    piece: usize,
    /// Messages of the piece so far, as its integral counts.
    into: f64,
    /// Where `into` lies in the piece, in seconds.
    after: f64,
    /// Messages of the piece until it ends or the factor changes, whichever comes first.
    limit: f64,
    modulator: Modulator,
    evenly: bool,
    /// Messages of an arrival.
    batch: f64,
    /// Part of the next gap, in messages at factor 1: the first of an even process is half as long, so that the count
    /// rounds the integral.
    first: Option<f64>,
    last_ns: u64,
    stream: Stream,
}

impl Times {
    pub(super) fn new(resolved: &Resolved, stream: Stream, bursts: Stream) -> Self {
        let evenly = resolved.arrivals == ArrivalLaw::Deterministic;
        let batch = f64::from(resolved.messages.batch);
        let mut times = Self {
            pieces: resolved.pieces.clone(),
            phases: resolved.phases.clone(),
            piece: 0,
            into: 0.0,
            after: 0.0,
            limit: 0.0,
            modulator: Modulator::new(resolved.arrivals, bursts),
            evenly,
            batch,
            first: evenly.then_some(0.5 * batch),
            last_ns: 0,
            stream,
        };
        times.limit = times.find_limit();
        times
    }

    /// Time and phase of the next arrival; `None` after the last.
    pub(super) fn next(&mut self) -> Option<(u64, u16)> {
        let mut gap = match self.first.take() {
            Some(first) => first,
            None if self.evenly => self.batch,
            None => self.batch * self.stream.exponential(),
        };
        loop {
            let piece = self.pieces.get(self.piece)?;
            let factor = self.modulator.factor;
            let due = self.into + gap / factor;
            if due <= self.limit {
                self.into = due;
                self.after = piece.inverse(due, self.after);
                let at_ns = ((piece.start_s + self.after) * 1e9) as u64;
                let phase = piece.phase;
                let bounds = &self.phases[usize::from(phase)];
                // Bounds of pieces and of phases are rounded apart by less than a nanosecond.
                let at_ns = at_ns.max(self.last_ns).clamp(bounds.start_ns, bounds.end_ns - 1);
                self.last_ns = at_ns;
                return Some((at_ns, phase));
            }
            gap -= (self.limit - self.into) * factor;
            gap = gap.max(0.0);
            self.into = self.limit;
            if self.modulator.until_s < piece.start_s + piece.duration_s {
                self.after = (self.modulator.until_s - piece.start_s).max(self.after);
                self.modulator.advance();
            } else {
                self.piece += 1;
                self.into = 0.0;
                self.after = 0.0;
            }
            self.limit = self.find_limit();
        }
    }

    fn find_limit(&self) -> f64 {
        let Some(piece) = self.pieces.get(self.piece) else { return 0.0 };
        let until = self.modulator.until_s - piece.start_s;
        let limit = if until < piece.duration_s { piece.integral(until.max(0.0)) } else { piece.total() };
        limit.max(self.into)
    }
}
