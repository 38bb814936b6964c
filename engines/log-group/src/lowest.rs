//! The lowest of many numbers, each of which is raised now and then: a tournament tree, so that neither the change nor the question looks
//! at all of them.

/// Numbers by place; a place that was never set holds `u64::MAX`.
#[derive(Debug)]
pub(crate) struct Lowest {
    /// A complete binary tree in an array: the root at 1, the leaves in the second half; each node holds the lower of its two children.
    tree: Vec<u64>,
}

impl Lowest {
    pub(crate) fn new() -> Self {
        Self { tree: vec![u64::MAX; 2] }
    }

    fn leaves(&self) -> usize {
        self.tree.len() / 2
    }

    pub(crate) fn get(&self, place: usize) -> u64 {
        if place < self.leaves() { self.tree[self.leaves() + place] } else { u64::MAX }
    }

    pub(crate) fn set(&mut self, place: usize, number: u64) {
        if place >= self.leaves() {
            self.grow((place + 1).next_power_of_two());
        }
        let mut node = self.leaves() + place;
        self.tree[node] = number;
        while node > 1 {
            node /= 2;
            self.tree[node] = self.tree[2 * node].min(self.tree[2 * node + 1]);
        }
    }

    fn grow(&mut self, leaves: usize) {
        let old = std::mem::replace(&mut self.tree, vec![u64::MAX; 2 * leaves]);
        let kept = old.len() / 2;
        self.tree[leaves..leaves + kept].copy_from_slice(&old[kept..]);
        for node in (1..leaves).rev() {
            self.tree[node] = self.tree[2 * node].min(self.tree[2 * node + 1]);
        }
    }

    pub(crate) fn lowest(&self) -> u64 {
        self.tree[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    proptest! {
        #[test]
        fn the_lowest_of_what_was_set(steps in vec((0..300usize, prop_oneof![4 => 0..1000u64, 1 => Just(u64::MAX)]), 1..200)) {
            let mut tree = Lowest::new();
            let mut plain = vec![u64::MAX; 300];
            for (place, number) in steps {
                tree.set(place, number);
                plain[place] = number;
                prop_assert_eq!(tree.lowest(), *plain.iter().min().expect("not empty"));
                prop_assert_eq!(tree.get(place), number);
            }
            for (place, number) in plain.iter().enumerate() {
                prop_assert_eq!(tree.get(place), *number);
            }
        }
    }
}
