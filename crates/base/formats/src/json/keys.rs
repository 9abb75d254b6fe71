use hashbrown::HashMap;

use super::Cursor;
use crate::column::Taken;
use crate::limits::{MAX_LEARNED_KEY_BYTES, MAX_LEARNED_KEYS};

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A column, under its own name or (`exact` false) one that differs in the case of ASCII letters only.
    Column { child: usize, exact: bool },
    /// No column.
    Skip,
}

#[derive(Debug)]
struct Key {
    /// With both quotes, as it stands in the text.
    quoted: Vec<u8>,
    slot: Slot,
    /// The key that came after this one last time.
    next: usize,
}

/// From the keys of an object to columns. Objects of a stream mostly have the same keys in the same order, so each key
/// remembers its follower: then one comparison finds the column, without looking for the key's end.
///
/// A column that was named without quotes in SQL has a lower-case name, while JSON keys often are `camelCase`: a key
/// that is no column's name stands for the column whose name is that key in lower case. Derived state; bounded.
#[derive(Debug)]
pub(crate) struct Keys {
    columns: HashMap<Vec<u8>, usize>,
    learned: Vec<Key>,
    by_key: HashMap<Vec<u8>, usize>,
    first: usize,
    /// The key before the one that comes, if there was one and it is learned.
    last: Option<usize>,
}

const NOWHERE: usize = usize::MAX;

impl Keys {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let columns = names.enumerate().map(|(at, name)| (name.as_bytes().to_vec(), at)).collect();
        Self { columns, learned: Vec::new(), by_key: HashMap::new(), first: NOWHERE, last: None }
    }

    /// The column that a name stands for.
    pub(crate) fn slot(&self, name: &[u8]) -> Slot {
        if let Some(child) = self.columns.get(name) {
            return Slot::Column { child: *child, exact: true };
        }
        if name.iter().any(u8::is_ascii_uppercase)
            && let Some(child) = self.columns.get(name.to_ascii_lowercase().as_slice())
        {
            return Slot::Column { child: *child, exact: false };
        }
        Slot::Skip
    }

    /// A new object begins.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.last = None;
    }

    /// Moves over the key that comes and its colon.
    #[inline]
    pub(crate) fn next(&mut self, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Taken<Slot> {
        let guess = match self.last {
            Some(last) => self.learned[last].next,
            None => self.first,
        };
        if let Some(key) = self.learned.get(guess)
            && cursor.rest().starts_with(&key.quoted)
        {
            self.last = Some(guess);
            cursor.advance(key.quoted.len());
            let slot = key.slot;
            cursor.colon()?;
            return Ok(slot);
        }
        self.look_up(cursor, scratch)
    }

    fn look_up(&mut self, cursor: &mut Cursor<'_>, scratch: &mut Vec<u8>) -> Taken<Slot> {
        if cursor.peek() != Some(b'"') {
            return Err(cursor.syntax("a key"));
        }
        let start = cursor.position();
        let name = cursor.string(scratch)?;
        let quoted = cursor.since(start);
        let known = match self.by_key.get(name) {
            Some(known) => Some(*known),
            // Only a key without escapes is learned: another text could mean the same.
            None if quoted.len() == name.len() + 2
                && name.len() <= MAX_LEARNED_KEY_BYTES
                && self.learned.len() < MAX_LEARNED_KEYS =>
            {
                let slot = self.slot(name);
                self.by_key.insert(name.to_vec(), self.learned.len());
                self.learned.push(Key { quoted: quoted.to_vec(), slot, next: NOWHERE });
                Some(self.learned.len() - 1)
            }
            None => None,
        };
        let slot = match known {
            Some(known) => {
                match self.last {
                    Some(last) => self.learned[last].next = known,
                    None => self.first = known,
                }
                self.learned[known].slot
            }
            None => self.slot(name),
        };
        self.last = known;
        cursor.colon()?;
        Ok(slot)
    }
}
