use std::path::{Path, PathBuf};

use super::files::{Node, Pending};
use super::{SimDisk, State};
use crate::random::Random;

/// What the drive writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// What becomes of what was not synced.
#[derive(Clone, Copy)]
enum Fate {
    /// All of it had reached the platter.
    All,
    /// None of it had.
    Nothing,
    /// Each write by itself.
    Some,
    /// Each sector by itself.
    Torn,
}

impl SimDisk {
    /// The process ends and the machine goes on: everything that was written can be read, synced or not. Gives the handle of the
    /// next life.
    pub fn kill(&self) -> Self {
        let mut state = self.state.lock();
        state.begin_life();
        Self { state: self.state.clone(), life: state.life }
    }

    /// The machine loses its power: the seed decides what is left of what was not synced. Gives the handle of the next life.
    pub fn cut_power(&self) -> Self {
        let mut state = self.state.lock();
        state.lose();
        state.begin_life();
        Self { state: self.state.clone(), life: state.life }
    }
}

impl State {
    fn begin_life(&mut self) {
        self.life += 1;
        (self.is_off, self.has_struck) = (false, false);
        self.locked.clear();
        self.armed.clear();
    }

    fn lose(&mut self) {
        let State { random, changes, durable_names, nodes, .. } = self;
        // A file system writes the changes of a folder down in their order.
        for changes in std::mem::take(changes).into_values() {
            let kept = match fate(random) {
                Fate::All => changes.len(),
                Fate::Nothing => 0,
                Fate::Some | Fate::Torn => random.below(changes.len() + 1),
            };
            changes[..kept].iter().for_each(|c| c.apply(durable_names));
        }
        // Where a folder is lost, what is in it is, too.
        let there: Vec<PathBuf> = durable_names.keys().cloned().collect();
        for path in there {
            let is_root = path.parent().is_none_or(|p| !starts_inside(p, durable_names.keys().next()));
            if !is_root && !path.parent().is_some_and(|p| durable_names.contains_key(p)) {
                durable_names.remove(&path);
            }
        }
        self.names = durable_names.clone();
        nodes.iter_mut().for_each(|node| node.lose(random));
    }
}

/// Whether a folder is the root or below it.
fn starts_inside(path: &Path, root: Option<&PathBuf>) -> bool {
    root.is_some_and(|root| path.starts_with(root))
}

fn fate(random: &mut Random) -> Fate {
    *random.pick(&[Fate::All, Fate::Nothing, Fate::Some, Fate::Torn, Fate::Torn])
}

impl Node {
    fn lose(&mut self, random: &mut Random) {
        let fate = if self.pending.is_empty() { Fate::All } else { fate(random) };
        for change in std::mem::take(&mut self.pending) {
            match (fate, &change) {
                (Fate::All, _) => change.apply(&mut self.durable),
                (Fate::Nothing, _) => {}
                (Fate::Torn, Pending::Write(at, bytes)) => {
                    // Sectors stand at multiples of their size, wherever the write begins.
                    let mut from = 0;
                    while from < bytes.len() {
                        let place = *at as usize + from;
                        let to = bytes.len().min(from + SECTOR_BYTES - place % SECTOR_BYTES);
                        if random.chance(60) {
                            Pending::Write(place as u64, bytes[from..to].to_vec()).apply(&mut self.durable);
                        }
                        from = to;
                    }
                }
                (Fate::Some | Fate::Torn, _) => {
                    if random.chance(50) {
                        change.apply(&mut self.durable);
                    }
                }
            }
        }
        self.seen = self.durable.clone();
    }
}
