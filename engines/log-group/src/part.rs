//! The index of one segment while it is in memory: a node a batch, in the order of the log, chained by partition. Nothing is kept for a
//! partition but where its chain begins and ends, so ten thousand partitions cost what ten do.
//!
//! Each node also points a long way back along its chain, so that any place in it is found in logarithmic steps (the jump pointers of E. W.
//! Myers, "An applicative random-access stack", Information Processing Letters 17, 1983).

const NONE: u32 = u32::MAX;

/// Nodes for which memory is taken at a time.
const NODES_AT_A_TIME: usize = 4096;

/// A batch of one partition: its place there, and the place of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// First offset, in its partition.
    pub(crate) offset: u64,
    /// Offset after the last.
    pub(crate) end: u64,
    /// Byte of the shared log at which its frame starts.
    pub(crate) position: u64,
    /// Bytes of frame and batch.
    pub(crate) bytes: u32,
}

impl Placed {
    /// Byte of the shared log after it.
    pub(crate) fn end_position(&self) -> u64 {
        self.position + u64::from(self.bytes)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    offset: u64,
    records: u32,
    /// From the segment's first byte.
    position: u32,
    bytes: u32,
    previous: u32,
    next: u32,
    jump: u32,
    /// Nodes before it in its chain.
    depth: u32,
}

/// What a segment holds of one partition.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// Where the partition ended when the segment began.
    before: u64,
    first: u32,
    last: u32,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Part {
    /// First byte of the segment, counted from the beginning of the log.
    pub(crate) base: u64,
    /// Byte after the last entry.
    pub(crate) end: u64,
    /// It holds a checkpoint.
    pub(crate) checkpoint: bool,
    nodes: Vec<Node>,
    /// By the partition's slot.
    chains: Vec<Chain>,
}

impl Part {
    /// The index of a segment that begins at `base`, when the partitions end at `ends`.
    pub(crate) fn new(base: u64, ends: impl Iterator<Item = u64>) -> Self {
        let chains = ends.map(|before| Chain { before, first: NONE, last: NONE }).collect();
        Self { base, end: base, checkpoint: false, nodes: Vec::with_capacity(NODES_AT_A_TIME), chains }
    }

    /// Batches in it.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A partition that was not known when the segment began, and ended at `before` then.
    pub(crate) fn learn(&mut self, slot: usize, before: u64) {
        debug_assert_eq!(slot, self.chains.len(), "slots are given in order");
        self.chains.push(Chain { before, first: NONE, last: NONE });
    }

    /// Partitions that it knows.
    pub(crate) fn slots(&self) -> usize {
        self.chains.len()
    }

    /// Appends a batch of a partition, at the end of its chain.
    pub(crate) fn push(&mut self, slot: usize, records: u32, placed: Placed) {
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(NODES_AT_A_TIME.max(self.nodes.len() / 2));
        }
        let number = self.nodes.len() as u32;
        let position = u32::try_from(placed.position - self.base).expect("segments are smaller than 4 GiB");
        let last = self.chains[slot].last;
        let mut node = Node {
            offset: placed.offset,
            records,
            position,
            bytes: placed.bytes,
            previous: last,
            next: NONE,
            jump: number,
            depth: 0,
        };
        if last == NONE {
            self.chains[slot].first = number;
        } else {
            let previous = self.node(last);
            let over = self.node(previous.jump);
            let same_stride = previous.depth - over.depth == over.depth - self.node(over.jump).depth;
            node.jump = if same_stride { over.jump } else { last };
            node.depth = previous.depth + 1;
            self.nodes[last as usize].next = number;
        }
        self.nodes.push(node);
        self.chains[slot].last = number;
        self.end = placed.end_position();
    }

    fn node(&self, number: u32) -> &Node {
        &self.nodes[number as usize]
    }

    fn placed(&self, node: &Node) -> Placed {
        Placed {
            offset: node.offset,
            end: node.offset + u64::from(node.records),
            position: self.base + u64::from(node.position),
            bytes: node.bytes,
        }
    }

    /// The last node of a chain for which `holds`, which is true for a beginning of the chain and false after it.
    fn last_where(&self, slot: usize, holds: impl Fn(&Placed) -> bool) -> Option<u32> {
        let mut at = self.chains.get(slot)?.last;
        while at != NONE {
            let node = self.node(at);
            if holds(&self.placed(node)) {
                return Some(at);
            }
            let over = self.node(node.jump);
            at = if node.jump != at && !holds(&self.placed(over)) { node.jump } else { node.previous };
        }
        None
    }

    /// Where the partition ended when the segment began; `None` if it was not known then.
    pub(crate) fn before(&self, slot: usize) -> Option<u64> {
        self.chains.get(slot).map(|chain| chain.before)
    }

    /// Where the partition ends in this segment; `None` if it has no batch here.
    pub(crate) fn after(&self, slot: usize) -> Option<u64> {
        let chain = self.chains.get(slot).filter(|chain| chain.last != NONE)?;
        Some(self.placed(self.node(chain.last)).end)
    }

    /// The end of the last batch of a partition that lies before `position` as a whole.
    pub(crate) fn end_before(&self, slot: usize, position: u64) -> Option<u64> {
        let last = self.last_where(slot, |placed| placed.end_position() <= position)?;
        Some(self.placed(self.node(last)).end)
    }

    /// The batches of a partition from the one that holds `offset` on; none if no batch here does.
    pub(crate) fn from(&self, slot: usize, offset: u64) -> impl Iterator<Item = Placed> + '_ {
        let first = self.last_where(slot, |placed| placed.offset <= offset);
        let mut at = first.filter(|&first| offset < self.placed(self.node(first)).end).unwrap_or(NONE);
        std::iter::from_fn(move || {
            let node = (at != NONE).then(|| self.node(at))?;
            at = node.next;
            Some(self.placed(node))
        })
    }

    /// All batches of a partition.
    pub(crate) fn all(&self, slot: usize) -> impl Iterator<Item = Placed> + '_ {
        let mut at = self.chains.get(slot).map_or(NONE, |chain| chain.first);
        std::iter::from_fn(move || {
            let node = (at != NONE).then(|| self.node(at))?;
            at = node.next;
            Some(self.placed(node))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn every_batch_is_found_by_offset_and_by_position(batches in vec((0..5usize, 1..20u32, 93..300u32), 1..400)) {
            let ends = [0u64, 7, 100, 1 << 40, 3];
            let mut part = Part::new(1000, ends.into_iter());
            let mut plain: Vec<Vec<Placed>> = vec![Vec::new(); 5];
            let mut at = 1000;
            for (slot, records, bytes) in batches {
                let offset = plain[slot].last().map_or(ends[slot], |last| last.end);
                let placed = Placed { offset, end: offset + u64::from(records), position: at, bytes };
                part.push(slot, records, placed);
                plain[slot].push(placed);
                at += u64::from(bytes);
            }
            prop_assert_eq!(part.end, at);
            for (slot, known) in plain.iter().enumerate() {
                prop_assert_eq!(&part.all(slot).collect::<Vec<_>>(), known);
                prop_assert_eq!(part.after(slot), known.last().map(|last| last.end));
                prop_assert_eq!(part.before(slot), Some(ends[slot]));
                for (number, placed) in known.iter().enumerate() {
                    for offset in [placed.offset, placed.end - 1] {
                        prop_assert_eq!(&part.from(slot, offset).collect::<Vec<_>>(), &known[number..]);
                    }
                    let before = number.checked_sub(1).map(|earlier| known[earlier].end);
                    prop_assert_eq!(part.end_before(slot, placed.end_position() - 1), before);
                    prop_assert_eq!(part.end_before(slot, placed.end_position()), Some(placed.end));
                }
                let end = known.last().map_or(ends[slot], |last| last.end);
                prop_assert_eq!(part.from(slot, end).next(), None);
                prop_assert_eq!(part.end_before(slot, 1000), None);
            }
        }
    }

    #[test]
    fn a_partition_without_batches_costs_a_chain() {
        assert_eq!(size_of::<Chain>(), 16);
        assert_eq!(size_of::<Node>(), 40);
    }
}
