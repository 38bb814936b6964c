//! Reads planned by [`crate::Segments`] against a list of all boundaries.

use crate::{ActiveSegment, Boundary, LogConfig, Plan, PreparedFile, Segments, SparseIndex};
use log_api::{Epoch, Offset, Read, ReadKind};
use log_format::{BatchBuilder, assign};
use proptest::{collection::vec, prelude::*};
use std::path::PathBuf;

const SEGMENT_BYTES: u64 = 8192;
const INTERVAL: u64 = 700;

/// The bytes of each segment and every boundary in it.
#[derive(Default)]
struct Model {
    segments: Vec<(Offset, Vec<u8>, Vec<Boundary>)>,
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: u32,
        value_bytes: usize,
    },
    Mark,
    /// From and until as shares of what there is, in thousandths.
    Read {
        from: u64,
        until: u64,
        bytes_max: u64,
    },
    /// From the end of the last read to the last mark.
    Follow {
        bytes_max: u64,
    },
    Trim {
        before: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes_max = || prop_oneof![Just(0u64), 1..3000u64, Just(u64::MAX)];
    prop_oneof![
        6 => (1..6u32, 0..400usize).prop_map(|(records, value_bytes)| Step::Append { records, value_bytes }),
        2 => Just(Step::Mark),
        4 => (0..=1000u64, 0..=1000u64, bytes_max()).prop_map(|(from, until, bytes_max)| Step::Read { from, until, bytes_max }),
        3 => bytes_max().prop_map(|bytes_max| Step::Follow { bytes_max }),
        1 => (0..=300u64).prop_map(|before| Step::Trim { before }),
    ]
}

fn config() -> LogConfig {
    LogConfig {
        dir: PathBuf::new(),
        durable: false,
        segment_bytes: SEGMENT_BYTES,
        inflight_bytes_max: 1 << 20,
        index_interval_bytes: INTERVAL,
        framing: log_api::Framing::Bare,
    }
}

impl Model {
    fn bytes_after(&self, boundary: Offset) -> u64 {
        let after = |(base, log, boundaries): &(Offset, Vec<u8>, Vec<Boundary>)| {
            let start = if *base >= boundary { Some(0) } else { None };
            let inside = boundaries.iter().find(|known| known.offset == boundary).map(|known| known.position);
            start.or(inside).map_or(0, |start| log.len() as u64 - start)
        };
        self.segments.iter().map(after).sum()
    }

    /// What a read must return: the first boundary, and the last one that keeps the limits, or the end of the first batch.
    fn check(&self, segments: &Segments<()>, read: &Read) -> Option<Plan> {
        let planned = segments.plan(read);
        let until = read.until.min(segments.end());
        if read.from >= until {
            assert_eq!(planned, None);
            return None;
        }
        let planned = planned.expect("there is something to read");
        let (_, bytes, boundaries) =
            self.segments.iter().find(|(base, ..)| *base == planned.segment).expect("a segment of the log");
        assert!(boundaries.contains(&planned.start) && boundaries.contains(&planned.end), "{planned:?}");
        assert!(planned.start.offset <= read.from && read.from < planned.end.offset);
        let range = planned.start.position as usize..planned.end.position as usize;
        let exact = if planned.exact {
            planned
        } else {
            let narrowed = planned.narrow(&bytes[range], read).expect("the bytes are sound");
            segments.remember(&narrowed);
            narrowed
        };
        let place =
            boundaries.iter().rposition(|boundary| boundary.offset <= read.from).expect("the first is the base");
        assert_eq!(exact.start, boundaries[place]);
        let first_end = boundaries[place + 1];
        if first_end.offset > until {
            assert_eq!(exact.bytes(), 0, "until lies inside the batch asked for");
            return None;
        }
        assert!(exact.end >= first_end, "one whole batch at least");
        assert!(exact.end.offset <= until);
        assert!(exact.end == first_end || exact.bytes() <= read.bytes_max);
        // It may stop early, but only where an index entry, a mark or an earlier read could make it.
        let limit = exact.start.position.saturating_add(read.bytes_max);
        let best = boundaries.iter().rfind(|b| b.offset <= until && b.position <= limit).expect("the start at least");
        assert!(best.position <= exact.end.position + 2 * INTERVAL + 4096, "{exact:?} stops far before {best:?}");
        Some(exact)
    }
}

fn run(steps: &[Step]) {
    let config = config();
    let active = ActiveSegment {
        base: Offset(0),
        end: Offset(0),
        path: PathBuf::new(),
        bytes: 0,
        capacity: SEGMENT_BYTES,
        index: SparseIndex::new(Offset(0), INTERVAL, SEGMENT_BYTES),
        tail: Vec::new(),
    };
    let mut segments = Segments::new(&config, Vec::new(), (active, ()));
    let start = Boundary { offset: Offset(0), position: 0 };
    let mut model = Model { segments: vec![(Offset(0), Vec::new(), vec![start])] };
    let mut followed = Offset(0);
    let mut marked = Offset(0);
    for step in steps {
        let (first, end) = (segments.start().0, segments.end().0);
        let share = |thousandths: u64| Offset(first + (end - first) * thousandths / 1000);
        match *step {
            Step::Append { records, value_bytes } => {
                let mut builder = BatchBuilder::new(0);
                (0..records).for_each(|_| {
                    builder.push(0, None, Some(&vec![1; value_bytes]));
                });
                let mut bytes = builder.finish();
                assign(&mut bytes, Offset(end), Epoch(1));
                if segments.room() < bytes.len() as u64 {
                    let index = SparseIndex::new(Offset(0), INTERVAL, SEGMENT_BYTES);
                    segments.roll(PreparedFile { path: PathBuf::new(), bytes: SEGMENT_BYTES, index }, ());
                    let start = Boundary { offset: Offset(end), position: 0 };
                    model.segments.push((Offset(end), Vec::new(), vec![start]));
                    let job = segments.take_sealable(Offset(end)).expect("one is finished");
                    assert_eq!(job.end, Offset(end));
                    assert!(segments.take_sealable(Offset(end)).is_none(), "each once");
                }
                let at = segments.append(records, bytes.len() as u64);
                let (base, log, boundaries) = model.segments.last_mut().expect("one at least");
                assert_eq!((*base, at), (segments.active().base(), *boundaries.last().expect("one at least")));
                log.extend(bytes);
                boundaries.push(Boundary { offset: segments.end(), position: log.len() as u64 });
                if marked >= segments.start() {
                    assert_eq!(segments.bytes_after(marked), model.bytes_after(marked));
                }
            }
            Step::Mark => {
                marked = segments.mark().offset;
                assert_eq!(segments.bytes_after(marked), 0);
            }
            Step::Read { from, until, bytes_max } => {
                let read = Read { from: share(from), until: share(until), bytes_max, kind: ReadKind::Scan };
                model.check(&segments, &read);
            }
            Step::Follow { bytes_max } => {
                let from = followed.max(segments.start());
                let read = Read { from, until: marked, bytes_max, kind: ReadKind::Hot };
                if let Some(plan) = model.check(&segments, &read) {
                    let unlimited = bytes_max == u64::MAX;
                    assert!(
                        !unlimited || plan.end.offset == marked.min(segments.get(plan.segment).expect("there").end())
                    );
                    followed = plan.end.offset;
                }
            }
            Step::Trim { before } => {
                let dead = segments.trim(share(before));
                assert_eq!(dead.start, segments.start());
                let kept = model.segments.partition_point(|(base, ..)| *base < dead.start);
                assert!(dead.start <= share(before).max(Offset(first)));
                model.segments.drain(..kept);
                let expected = if marked >= segments.start() { model.bytes_after(marked) } else { 0 };
                assert_eq!(segments.bytes_after(marked), expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn reads_are_planned_right(steps in vec(step(), 1..150)) {
        run(&steps);
    }
}

/// Everything that recovery keeps is durable, wherever the index has its last entry: a batch as large as the bound of what is not has room.
#[test]
fn nothing_lies_after_the_end_that_recovery_found() {
    let active = ActiveSegment {
        base: Offset(0),
        end: Offset(3),
        path: PathBuf::new(),
        bytes: INTERVAL - 1,
        capacity: SEGMENT_BYTES,
        index: SparseIndex::new(Offset(0), INTERVAL, SEGMENT_BYTES),
        tail: Vec::new(),
    };
    let segments = Segments::new(&config(), Vec::new(), (active, ()));
    assert_eq!(segments.bytes_after(Offset(3)), 0);
}

/// A consumer at the tail costs no look at the data: each read from the last end to the last mark is exact.
#[test]
fn following_the_commit_point_is_always_exact() {
    let config = config();
    let active = ActiveSegment {
        base: Offset(0),
        end: Offset(0),
        path: PathBuf::new(),
        bytes: 0,
        capacity: 1 << 20,
        index: SparseIndex::new(Offset(0), 4096, 1 << 20),
        tail: Vec::new(),
    };
    let mut segments = Segments::new(&config, Vec::new(), (active, ()));
    let mut from = Offset(0);
    for round in 0..5000u32 {
        segments.append(1 + round % 3, 100);
        if round % 5 == 4 {
            let until = segments.mark().offset;
            // What was appended after the commit is not read.
            segments.append(1, 100);
            let plan =
                segments.plan(&Read { from, until, bytes_max: u64::MAX, kind: ReadKind::Hot }).expect("something");
            assert!(plan.exact && plan.start.offset == from && plan.end.offset == until, "{plan:?} {from} {until}");
            from = until;
        }
    }
}
