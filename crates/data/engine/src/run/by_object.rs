//! A map by object that is published with every epoch: a copy costs the same however many objects there are.

use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;

use fleuve_types::ObjectId;

/// The map is cut into this many parts, of which copies share those that stay the same.
const PARTS: usize = 64;

type Part<V> = Arc<HashMap<ObjectId, Arc<V>>>;

/// Values by object. Cheap to clone; a change copies about one in 64 entries.
#[derive(Debug)]
pub struct ByObject<V> {
    parts: Arc<[Part<V>]>,
    len: usize,
}

impl<V> Clone for ByObject<V> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone(), len: self.len }
    }
}

impl<V> Default for ByObject<V> {
    fn default() -> Self {
        let empty = Arc::new(HashMap::new());
        Self { parts: (0..PARTS).map(|_| empty.clone()).collect(), len: 0 }
    }
}

/// Ids may be time-ordered, or small numbers in tests: all their bits take part.
fn part_of(id: ObjectId) -> usize {
    let folded = (id.0 ^ (id.0 >> 64)) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % PARTS
}

impl<V> ByObject<V> {
    /// The value of an object.
    pub fn get(&self, id: &ObjectId) -> Option<&V> {
        self.parts[part_of(*id)].get(id).map(AsRef::as_ref)
    }

    /// True if there is a value of the object.
    pub fn contains_key(&self, id: &ObjectId) -> bool {
        self.get(id).is_some()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All objects with their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, &V)> {
        self.parts.iter().flat_map(|part| part.iter().map(|(id, value)| (id, value.as_ref())))
    }

    /// Sets the value of an object.
    pub fn insert(&mut self, id: ObjectId, value: V) {
        let parts = Arc::make_mut(&mut self.parts);
        if Arc::make_mut(&mut parts[part_of(id)]).insert(id, Arc::new(value)).is_none() {
            self.len += 1;
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, id: &ObjectId) {
        if self.contains_key(id) {
            let parts = Arc::make_mut(&mut self.parts);
            Arc::make_mut(&mut parts[part_of(*id)]).remove(id);
            self.len -= 1;
        }
    }
}

impl<V> Index<&ObjectId> for ByObject<V> {
    type Output = V;

    fn index(&self, id: &ObjectId) -> &V {
        &self.parts[part_of(*id)][id]
    }
}

impl<V> FromIterator<(ObjectId, V)> for ByObject<V> {
    fn from_iter<I: IntoIterator<Item = (ObjectId, V)>>(all: I) -> Self {
        let mut map = Self::default();
        for (id, value) in all {
            map.insert(id, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_as_they_were() {
        let mut map: ByObject<u32> = (0..1_000).map(|n| (ObjectId(n), n as u32)).collect();
        let copy = map.clone();
        map.insert(ObjectId(7), 70);
        map.insert(ObjectId(5_000), 5);
        map.remove(&ObjectId(8));
        map.remove(&ObjectId(8));
        assert_eq!((map.len(), map[&ObjectId(7)], map.get(&ObjectId(8))), (1_000, 70, None));
        assert_eq!((copy.len(), copy[&ObjectId(7)], copy.get(&ObjectId(8))), (1_000, 7, Some(&8)));
        assert_eq!(copy.iter().count(), 1_000);
        assert!(!copy.contains_key(&ObjectId(5_000)) && map.contains_key(&ObjectId(5_000)));
        assert!(ByObject::<u32>::default().is_empty());
    }
}
