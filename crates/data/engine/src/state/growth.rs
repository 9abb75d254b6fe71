//! How vectors of a state grow: large ones little by little. What is allocated counts as held, and the doubling of a vector would be what
//! makes a state leave memory that half fills its budget.

/// From this size on a vector grows by a part of itself. In bytes.
const LARGE_BYTES: usize = 1 << 20;
/// That part.
const PART: usize = 4;

/// Room for so many more elements.
#[inline]
pub(crate) fn make_room<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        grow(vec, more);
    }
}

#[cold]
fn grow<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() * size_of::<T>() < LARGE_BYTES {
        vec.reserve(more);
    } else {
        vec.reserve_exact(more.max(vec.capacity() / PART));
    }
}

/// As [`Vec::resize`].
#[inline]
pub(crate) fn resize<T: Clone>(vec: &mut Vec<T>, len: usize, value: T) {
    make_room(vec, len.saturating_sub(vec.len()));
    vec.resize(len, value);
}
