/// A small generator of numbers (splitmix64; Steele, Lea, Flood, OOPSLA 2014): the same seed gives the same case for ever.
pub struct Random {
    state: u64,
    #[allow(dead_code)] // not every test that has this file keeps cases
    kept: bool,
}

/// From one state to the next.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// The numbers of a seed, which have nothing to do with those of the seeds beside it.
    pub fn new(seed: u64) -> Self {
        Self { state: mixed(mixed(seed.wrapping_mul(STEP)).wrapping_add(STEP)), kept: false }
    }

    /// The numbers that [`Self::new`] gave once, for cases that were kept: those of a seed are those of the one before it but for the first.
    #[allow(dead_code)] // not every test that has this file keeps cases
    pub fn overlapping(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(STEP), kept: true }
    }

    /// As [`Self::chance`] for what came later than the cases that were kept, which stay as they were.
    #[allow(dead_code)]
    pub fn newer(&mut self, percent: usize) -> bool {
        !self.kept && self.chance(percent)
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
