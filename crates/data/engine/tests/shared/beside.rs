//! A checkpoint whose runs are written while steps go on.

use fleuve_engine::{StateRuns, Unwritten};

use crate::random::Random;

/// Such a checkpoint, and what the steps took in meanwhile.
pub struct Beside<Step> {
    writing: std::thread::JoinHandle<Option<StateRuns>>,
    pub since: Vec<Step>,
}

impl<Step> Beside<Step> {
    pub fn begin(unwritten: Unwritten, random: &mut Random) -> Self {
        let (fails, late) = (random.chance(20), random.chance(50));
        let writing = std::thread::spawn(move || {
            if late {
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
            (!fails).then(|| unwritten.write().unwrap())
        });
        Self { writing, since: vec![] }
    }

    /// Its runs, unless it failed, and the steps.
    pub fn end(self) -> (Option<StateRuns>, Vec<Step>) {
        (self.writing.join().unwrap(), self.since)
    }
}
