//! Byte strings beside the rows of a state. Derived state: computed again after a restart.

use std::collections::HashMap;

/// A byte string for each copy of each row.
#[derive(Default)]
pub(crate) struct Values {
    /// By row slot: of the first copy.
    firsts: Vec<Option<Box<[u8]>>>,
    /// By row slot and number of the copy: of the others, which are rare.
    others: HashMap<(u32, u64), Box<[u8]>>,
    bytes: usize,
}

/// What a map's entry holds beside the string.
const OTHER_BYTES: usize = 40;

impl Values {
    /// The value of a copy; copies count from 0.
    pub(crate) fn get(&self, slot: u32, copy: u64) -> Option<&[u8]> {
        match copy {
            0 => self.firsts.get(slot as usize)?.as_deref(),
            _ => self.others.get(&(slot, copy)).map(AsRef::as_ref),
        }
    }

    /// Sets the value of a copy and gives the old one.
    pub(crate) fn set(&mut self, slot: u32, copy: u64, value: &[u8]) -> Option<Box<[u8]>> {
        self.bytes += value.len();
        let old = if copy == 0 {
            if self.firsts.len() <= slot as usize {
                self.firsts.resize(slot as usize + 1, None);
            }
            self.firsts[slot as usize].replace(value.into())
        } else {
            self.others.insert((slot, copy), value.into())
        };
        self.bytes -= old.as_ref().map_or(0, |v| v.len());
        old
    }

    /// Takes away the values of all copies but the first `copies`.
    pub(crate) fn truncate(&mut self, slot: u32, copies: u64) -> Vec<Box<[u8]>> {
        let mut gone = vec![];
        if copies == 0
            && let Some(value) = self.firsts.get_mut(slot as usize).and_then(Option::take)
        {
            gone.push(value);
        }
        if !self.others.is_empty() {
            gone.extend((copies.max(1)..).map_while(|copy| self.others.remove(&(slot, copy))));
        }
        self.bytes -= gone.iter().map(|v| v.len()).sum::<usize>();
        gone
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.firsts.capacity() * size_of::<Option<Box<[u8]>>>() + self.others.capacity() * OTHER_BYTES
    }
}
