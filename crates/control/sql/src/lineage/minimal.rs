//! Which of many rows are needed: parts of them are left out, halves first and single rows last, as long as the rest is
//! enough.

/// Rows that one statement reads and computes again to find what is needed. Beyond them more rows are named than would
/// be needed.
pub(super) const MAX_WORK: usize = 4_000_000;
/// What running something again costs beside its rows.
pub(super) const RUN: usize = 1_000;

/// Candidates by number, of which fewer and fewer are left. Each of those that are left at the end is needed beside the
/// others.
pub(super) struct Minimal {
    kept: Vec<usize>,
    /// What is tried next: to do without `size` of them from `at` on.
    at: usize,
    size: usize,
    shrunk: bool,
}

impl Minimal {
    pub(super) fn of(candidates: Vec<usize>) -> Self {
        Self { size: candidates.len().div_ceil(2), kept: candidates, at: 0, shrunk: false }
    }

    fn end(&self) -> usize {
        (self.at + self.size).min(self.kept.len())
    }

    /// What may be enough; `None` when nothing more can be left out.
    pub(super) fn fewer(&self) -> Option<Vec<usize>> {
        (self.size > 0).then(|| [&self.kept[..self.at], &self.kept[self.end()..]].concat())
    }

    /// Takes note of whether it is.
    pub(super) fn told(&mut self, is_enough: bool) {
        if is_enough {
            self.kept.drain(self.at..self.end());
            self.shrunk = true;
        } else {
            self.at = self.end();
        }
        if self.at < self.kept.len() {
            return;
        }
        self.size = match self.size {
            _ if self.kept.is_empty() => 0,
            // What was needed may not be so without what was left out after it.
            1 => usize::from(self.shrunk),
            size => size.div_ceil(2),
        };
        (self.at, self.shrunk) = (0, false);
    }

    pub(super) fn kept(self) -> Vec<usize> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::Minimal;

    fn needed(candidates: usize, is_enough: impl Fn(&[usize]) -> bool) -> (Vec<usize>, usize) {
        let mut minimal = Minimal::of((0..candidates).collect());
        let mut tries = 0;
        while let Some(fewer) = minimal.fewer() {
            tries += 1;
            minimal.told(is_enough(&fewer));
        }
        (minimal.kept(), tries)
    }

    #[test]
    fn what_is_left_is_enough_and_all_of_it_is_needed() {
        let all_of = |wanted: &'static [usize]| move |rows: &[usize]| wanted.iter().all(|w| rows.contains(w));
        for wanted in [&[][..], &[0], &[6], &[0, 1, 2, 3, 4, 5, 6], &[2, 3], &[0, 6]] {
            assert_eq!(needed(7, all_of(wanted)).0, wanted);
        }
        assert_eq!(needed(0, |_| true).0, [0_usize; 0]);
        // Few of many take few tries.
        let (kept, tries) = needed(10_000, all_of(&[17, 9_000]));
        assert_eq!(kept, [17, 9_000]);
        assert!(tries < 80, "{tries}");
        // Either of two is enough; and one that is needed only beside another.
        assert_eq!(needed(5, |rows| rows.contains(&1) || rows.contains(&3)).0, [3]);
        assert_eq!(needed(4, |rows| rows.contains(&0) || !rows.contains(&3)).0, [0_usize; 0]);
    }
}
