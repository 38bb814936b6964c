//! The run's time axis: intervals of one length, cut by the phases of the profile.

/// Where on the run's clock something lies. Times are nanoseconds from the start of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    interval_ns: u64,
    /// End of each phase; phases follow each other without a gap.
    phase_ends_ns: Vec<u64>,
}

/// The cell of one interval and one phase. An interval that a phase ends in has two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Interval, from 0.
    pub interval: usize,
    /// Phase, from 0.
    pub phase: usize,
}

impl Cell {
    /// A number of its own for each cell: both parts only grow with time, so their sum does too.
    #[must_use]
    pub fn slot(self) -> usize {
        self.interval + self.phase
    }
}

impl Axis {
    /// An axis with intervals of `interval_ns` and phases that end at these times, in order; the last is the schedule's end.
    ///
    /// # Panics
    /// Without a phase, with an empty interval, or when the ends do not grow.
    #[must_use]
    pub fn new(interval_ns: u64, phase_ends_ns: Vec<u64>) -> Self {
        assert!(interval_ns > 0 && !phase_ends_ns.is_empty(), "an axis has a length and a phase");
        assert!(phase_ends_ns.is_sorted_by(|a, b| a < b), "phases follow each other");
        Self { interval_ns, phase_ends_ns }
    }

    /// Length of an interval.
    #[must_use]
    pub fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// Length of the schedule.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        *self.phase_ends_ns.last().expect("checked by new")
    }

    /// Intervals of the schedule.
    #[must_use]
    pub fn intervals(&self) -> usize {
        self.duration_ns().div_ceil(self.interval_ns) as usize
    }

    /// Phases.
    #[must_use]
    pub fn phases(&self) -> usize {
        self.phase_ends_ns.len()
    }

    /// Begin and end of a phase.
    #[must_use]
    pub fn phase_ns(&self, phase: usize) -> (u64, u64) {
        let start = if phase == 0 { 0 } else { self.phase_ends_ns[phase - 1] };
        (start, self.phase_ends_ns[phase])
    }

    /// The phase of a time; times after the end belong to the last.
    #[must_use]
    pub fn phase_at(&self, at_ns: u64) -> usize {
        self.phase_ends_ns.partition_point(|end| *end <= at_ns).min(self.phases() - 1)
    }

    /// The cell of a time.
    #[must_use]
    pub fn cell(&self, at_ns: u64) -> Cell {
        Cell { interval: (at_ns / self.interval_ns) as usize, phase: self.phase_at(at_ns) }
    }

    /// Begin and end of a cell: its interval, cut by its phase.
    #[must_use]
    pub fn cell_ns(&self, cell: Cell) -> (u64, u64) {
        let (phase_start, phase_end) = self.phase_ns(cell.phase);
        let start = cell.interval as u64 * self.interval_ns;
        (start.max(phase_start), (start + self.interval_ns).min(phase_end))
    }

    /// All cells in the order of time.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        (0..self.intervals()).flat_map(|interval| self.cells_in(interval))
    }

    /// The cells of an interval of the schedule: one for each of its phases.
    pub fn cells_in(&self, interval: usize) -> impl Iterator<Item = Cell> + use<> {
        let start = interval as u64 * self.interval_ns;
        let last = (start + self.interval_ns - 1).min(self.duration_ns() - 1);
        (self.phase_at(start)..=self.phase_at(last)).map(move |phase| Cell { interval, phase })
    }

    /// The cells of a phase: one for each interval that it has a part of.
    pub fn cells_of(&self, phase: usize) -> impl Iterator<Item = Cell> + use<> {
        let (start, end) = self.phase_ns(phase);
        let intervals = start / self.interval_ns..=(end - 1) / self.interval_ns;
        intervals.map(move |interval| Cell { interval: interval as usize, phase })
    }
}

/// Finds cells for times that mostly stay where the last one was, without a division a time.
#[derive(Clone, Debug)]
pub struct Cursor {
    cell: Cell,
    start_ns: u64,
    end_ns: u64,
}

impl Default for Cursor {
    fn default() -> Self {
        Self { cell: Cell { interval: 0, phase: 0 }, start_ns: 0, end_ns: 0 }
    }
}

impl Cursor {
    /// The cell of a time.
    pub fn find(&mut self, axis: &Axis, at_ns: u64) -> Cell {
        if !(self.start_ns..self.end_ns).contains(&at_ns) {
            self.cell = axis.cell(at_ns);
            (self.start_ns, self.end_ns) = axis.cell_ns(self.cell);
        }
        self.cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_message_belongs_to_the_interval_and_phase_of_its_own_time() {
        let axis = Axis::new(100 * MS, vec![250 * MS, 500 * MS]);
        assert_eq!(axis.cell(0), Cell { interval: 0, phase: 0 });
        assert_eq!(axis.cell(249 * MS), Cell { interval: 2, phase: 0 });
        assert_eq!(axis.cell(250 * MS), Cell { interval: 2, phase: 1 });
        assert_eq!(axis.cell(499 * MS), Cell { interval: 4, phase: 1 });
        assert_eq!(axis.phase_at(900 * MS), 1);
        assert_eq!(axis.cell_ns(Cell { interval: 2, phase: 0 }), (200 * MS, 250 * MS));
        assert_eq!(axis.cell_ns(Cell { interval: 2, phase: 1 }), (250 * MS, 300 * MS));
    }

    #[test]
    fn cells_have_slots_of_their_own_and_cover_the_schedule() {
        let axis = Axis::new(100 * MS, vec![30 * MS, 60 * MS, 100 * MS, 333 * MS]);
        let cells: Vec<Cell> = axis.cells().collect();
        let slots: Vec<usize> = cells.iter().map(|cell| cell.slot()).collect();
        assert!(slots.is_sorted_by(|a, b| a < b), "{slots:?}");
        let covered: u64 = cells.iter().map(|cell| axis.cell_ns(*cell)).map(|(start, end)| end - start).sum();
        assert_eq!(covered, axis.duration_ns());
        assert_eq!(axis.intervals(), 4);
        let of_phases: Vec<Cell> = (0..axis.phases()).flat_map(|phase| axis.cells_of(phase)).collect();
        assert_eq!(of_phases, cells);
    }

    #[test]
    fn a_cursor_finds_what_the_axis_says_forwards_and_backwards() {
        let axis = Axis::new(100 * MS, vec![250 * MS, 500 * MS]);
        let mut cursor = Cursor::default();
        for at in [0, 99, 100, 249, 250, 251, 299, 300, 120, 499, 620, 0].map(|ms| ms * MS) {
            assert_eq!(cursor.find(&axis, at), axis.cell(at), "{at}");
        }
    }
}
