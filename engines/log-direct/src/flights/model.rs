//! Flights against a device with a volatile cache whose operations land in any order.

use super::*;
use proptest::prelude::*;
use shard_ring::{Block, Slab};
use std::collections::BTreeMap;

const BLOCK_BYTES: usize = 4 * PAGE;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Commit(Level),
    /// Let one of the operations in the air land.
    Land(prop::sample::Index),
    /// Let held tail pages go whose flights have landed.
    Release,
    Roll,
    /// Flush the oldest segment that was left behind, if it has been written.
    Seal,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..300usize).prop_map(Step::Append),
        2 => (1..2 * BLOCK_BYTES).prop_map(Step::Append),
        6 => Just(Step::Commit(Level::Durable)),
        3 => Just(Step::Commit(Level::Placed)),
        12 => any::<prop::sample::Index>().prop_map(Step::Land),
        4 => Just(Step::Release),
        1 => Just(Step::Roll),
        1 => Just(Step::Seal),
    ]
}

enum Air {
    Write(Write),
    Flush { number: u64, segments: Vec<u64>, covers: BTreeMap<u64, Vec<u8>> },
}

/// A device with a volatile cache: `cache` is what reads see, `stable` what a power cut leaves.
#[derive(Default)]
struct Device {
    cache: BTreeMap<u64, Vec<u8>>,
    stable: BTreeMap<u64, Vec<u8>>,
    air: Vec<Air>,
}

impl Device {
    fn submit(&mut self, write: Write) {
        for other in &self.air {
            if let Air::Write(other) = other {
                let apart = other.segment != write.segment
                    || other.at + other.pages.len() as u64 <= write.at
                    || write.at + write.pages.len() as u64 <= other.at;
                assert!(apart, "two writes of one page in the air");
            }
        }
        self.air.push(Air::Write(write));
    }

    fn put(files: &mut BTreeMap<u64, Vec<u8>>, write: &Write) {
        let file = files.entry(write.segment).or_default();
        let (at, pages) = (write.at as usize, write.pages.as_ref());
        file.resize((at + pages.len()).max(file.len()), 0);
        file[at..at + pages.len()].copy_from_slice(pages);
    }
}

struct World {
    slab: Slab,
    staging: Staging,
    flights: Flights,
    device: Device,
    log: BTreeMap<u64, Vec<u8>>,
    offset: u64,
    staged: u64,
    outstanding: u64,
    finished: VecDeque<Mark>,
}

impl World {
    fn new() -> Self {
        Self::with_blocks_of(BLOCK_BYTES)
    }

    fn with_blocks_of(block_bytes: usize) -> Self {
        let start = Place { segment: 0, position: 0 };
        Self {
            slab: Slab::new(block_bytes, 300).unwrap(),
            staging: Staging::new(start, &[]),
            flights: Flights::new(Mark { place: start, offset: Offset(0) }),
            device: Device::default(),
            log: BTreeMap::from([(0, Vec::new())]),
            offset: 0,
            staged: 0,
            outstanding: 0,
            finished: VecDeque::new(),
        }
    }

    fn append(&mut self, bytes: usize) -> bool {
        let needed = self.staging.blocks_needed(bytes as u64, self.slab.block_bytes(), false);
        let mut blocks: Vec<Block> = (0..needed).map_while(|_| self.slab.take()).collect();
        if blocks.len() < needed {
            return false;
        }
        self.offset += 1;
        let payload: Vec<u8> = (0..bytes).map(|i| (self.offset as usize * 31 + i * 7) as u8 | 1).collect();
        self.staging.append(&payload, 0, &mut blocks);
        self.log.get_mut(&self.staging.end().segment).unwrap().extend_from_slice(&payload);
        self.staged += bytes as u64;
        self.outstanding += bytes as u64;
        true
    }

    fn commit(&mut self, level: Level) {
        if !self.flights.must_launch(&self.staging, level) {
            return;
        }
        let end = Mark { place: self.staging.end(), offset: Offset(self.offset) };
        let mut writes = Vec::new();
        self.flights.launch(level, &mut self.staging, end, self.staged, &mut writes);
        self.staged = 0;
        writes.into_iter().for_each(|write| self.device.submit(write));
        self.settle();
    }

    fn land(&mut self, which: usize) {
        match self.device.air.swap_remove(which) {
            Air::Write(write) => {
                Device::put(&mut self.device.cache, &write);
                if write.sync {
                    Device::put(&mut self.device.stable, &write);
                }
                if let Some(next) = self.flights.written(&write) {
                    self.device.submit(next);
                }
            }
            // A flush covers what had been written when it was submitted, and nothing else.
            Air::Flush { number, segments, covers } => {
                for segment in segments {
                    let Some(then) = covers.get(&segment) else { continue };
                    let stable = self.device.stable.entry(segment).or_default();
                    stable.resize(then.len().max(stable.len()), 0);
                    for (page, new) in then.chunks(PAGE).enumerate() {
                        let old = &mut stable[page * PAGE..page * PAGE + new.len()];
                        // A synchronous write may have brought a newer image of the page meanwhile: pages only gain bytes.
                        old.iter_mut().zip(new).for_each(|(old, new)| *old = (*old).max(*new));
                    }
                }
                self.flights.flushed(number);
            }
        }
        self.settle();
    }

    fn release(&mut self) {
        while let Some(write) = self.flights.release() {
            self.device.submit(write);
        }
        assert!(!self.flights.has_due());
    }

    /// Everything in the air lands, and what follows from it.
    fn land_all(&mut self) {
        while !self.device.air.is_empty() || self.flights.has_due() {
            self.release();
            self.land(0);
        }
    }

    fn settle(&mut self) {
        let before = (self.flights.placed().place, self.flights.durable().place);
        self.outstanding -= self.flights.settle();
        while let Some(number) = self.flights.flush_due() {
            let segments: Vec<u64> = self.flights.unsynced().collect();
            self.device.air.push(Air::Flush { number, segments, covers: self.device.cache.clone() });
        }
        let (placed, durable) = (self.flights.placed().place, self.flights.durable().place);
        assert!(before.0 <= placed && before.1 <= durable && durable <= placed && placed <= self.staging.end());
        self.holds(&self.device.cache, placed, "placed");
        self.holds(&self.device.stable, durable, "durable");
    }

    fn holds(&self, files: &BTreeMap<u64, Vec<u8>>, upto: Place, mark: &str) {
        for (segment, bytes) in self.log.range(..=upto.segment) {
            let bytes = if *segment == upto.segment { &bytes[..upto.position as usize] } else { &bytes[..] };
            let file = files.get(segment).map_or(&[][..], |file| &file[..]);
            assert!(
                file.len() >= bytes.len() && file[..bytes.len()] == *bytes,
                "{mark} goes beyond the device in segment {segment}"
            );
        }
    }

    fn roll(&mut self) {
        if self.staging.end().position == 0 {
            return;
        }
        let end = Mark { place: self.staging.end(), offset: Offset(self.offset) };
        self.finished.push_back(end);
        // Segments are named by their first offset.
        self.staging.roll(self.offset);
        self.log.insert(self.offset, Vec::new());
    }

    fn seal(&mut self) {
        let placed = self.flights.placed().offset;
        if let Some(end) = self.finished.pop_front_if(|end| end.offset <= placed) {
            let written = self.device.cache[&end.place.segment].clone();
            self.device.stable.insert(end.place.segment, written);
            self.flights.sealed(end);
            self.settle();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Operations land in any order; at each moment the device holds what the marks promise, after a power cut too, and no page is
    /// written twice at once.
    #[test]
    fn the_marks_never_promise_what_the_device_does_not_hold(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Append(bytes) => if !world.append(bytes) { break },
                Step::Commit(level) => world.commit(level),
                Step::Land(which) => if !world.device.air.is_empty() { world.land(which.index(world.device.air.len())) },
                Step::Release => world.release(),
                Step::Roll => world.roll(),
                Step::Seal => world.seal(),
            }
        }
        world.commit(Level::Durable);
        world.land_all();
        prop_assert_eq!(world.flights.durable().offset, Offset(world.offset));
        prop_assert_eq!(world.outstanding, 0);
        prop_assert_eq!(world.flights.queue.len(), 0);
        prop_assert!(world.flights.tails.is_empty());
        prop_assert_eq!(world.flights.unsynced().count(), 0);
    }
}

#[test]
fn a_sealed_segment_is_durable_without_a_commit_and_not_before_what_precedes_it() {
    let mut world = World::new();
    for _ in 0..2 {
        world.append(10);
        world.commit(Level::Placed);
        world.land(0);
        world.roll();
    }
    let second = world.finished.pop_back().unwrap();
    world.flights.sealed(second);
    assert_eq!(world.flights.durable().offset, Offset(0), "the first segment is not flushed");
    world.seal();
    assert_eq!(world.flights.durable().offset, Offset(1));
}

#[test]
fn a_small_commit_is_one_write_and_its_page_waits_for_the_one_before() {
    let mut world = World::new();
    world.append(100);
    world.commit(Level::Durable);
    assert_eq!(world.device.air.len(), 1);
    world.append(100);
    world.append(2 * PAGE);
    world.commit(Level::Durable);
    assert_eq!(world.device.air.len(), 2, "the pages behind the shared one go at once");
    for _ in 0..3 {
        world.append(10);
        world.commit(Level::Durable);
    }
    assert_eq!(world.device.air.len(), 2, "images of the second tail page wait");
    world.land(1);
    assert_eq!(world.device.air.len(), 2, "one image for three commits");
    assert_eq!(world.flights.placed().offset, Offset(0), "the first write is still in the air");
    world.land(1);
    world.land(0);
    assert_eq!(world.flights.durable().offset, Offset(1));
    world.land(0);
    assert_eq!(world.flights.durable().offset, Offset(6));
    assert!(world.device.air.is_empty());
}

#[test]
fn with_several_in_the_air_each_commit_is_one_write_and_its_tail_goes_with_the_next() {
    let mut world = World::with_blocks_of(64 * PAGE);
    for _ in 0..6 {
        world.append(2 * PAGE + 1000);
        world.commit(Level::Durable);
    }
    assert_eq!(world.device.air.len(), 6, "one write each, though all but the first begin in a page of the one before");
    world.release();
    assert_eq!(world.device.air.len(), 6);
    // The last commit's body lands before another follows: its tail goes alone.
    world.land(5);
    world.release();
    assert_eq!(world.device.air.len(), 6);
    world.land_all();
    assert_eq!(world.flights.durable().offset, Offset(6));
}

#[test]
fn four_commits_on_the_device_are_as_many_in_flight_as_the_engine_declares() {
    const DEPTH: u32 = 4;
    let inflight = u64::from(<crate::Direct as log_api::LogEngine>::CAPABILITIES.commits_in_flight(DEPTH));
    let mut world = World::with_blocks_of(64 * PAGE);
    let launch = |world: &mut World| {
        while world.offset - world.flights.durable().offset.0 < inflight {
            world.append(2 * PAGE + 1000);
            world.commit(Level::Durable);
        }
    };
    launch(&mut world);
    for round in 0..20 {
        // The oldest first: its page goes with the next one, and so does its acknowledgement.
        let at = |air: &Air| if let Air::Write(write) = air { write.at } else { u64::MAX };
        let oldest = (0..world.device.air.len()).min_by_key(|&index| at(&world.device.air[index])).unwrap();
        world.land(oldest);
        launch(&mut world);
        // The first ones, before anything is held, are all in the air.
        assert!(round < DEPTH || world.device.air.len() == DEPTH as usize, "round {round}: {}", world.device.air.len());
    }
}

#[test]
fn one_flush_speaks_for_all_that_was_placed_before_it_and_synchronous_writes_need_none() {
    let mut world = World::new();
    world.append(10);
    world.commit(Level::Placed);
    world.append(10);
    world.commit(Level::Durable);
    world.append(10);
    world.commit(Level::Durable);
    while world.device.air.iter().any(|air| matches!(air, Air::Write(_))) {
        world.land(world.device.air.iter().position(|air| matches!(air, Air::Write(_))).unwrap());
    }
    assert_eq!(world.device.air.len(), 1, "one flush, of the second commit");
    assert_eq!((world.flights.placed().offset, world.flights.durable().offset), (Offset(3), Offset(0)));
    world.land(0);
    assert_eq!(world.flights.durable().offset, Offset(3));
}
