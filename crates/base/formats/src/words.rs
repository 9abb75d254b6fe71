//! Many bytes at once. A record's fields are mostly too short for what a call of `memchr` takes, so the delimiters of 64 bytes are
//! looked for together; and eight bytes count as one number, the first as its lowest byte.

/// A one in each byte.
pub(crate) const LOW: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
pub(crate) const HIGH: u64 = 0x8080_8080_8080_8080;

/// A word of fewer than eight bytes. Both ends are read, and bytes in the middle twice, which takes no loop.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << (8 * (len - 4))
        }
        _ if len > 0 => [0, len / 2, len - 1].iter().fold(0, |word, at| word | u64::from(bytes[*at]) << (8 * at)),
        _ => 0,
    }
}

/// Bytes that are compared at once.
const BLOCK: usize = 64;

/// Which bytes of a block are `byte`, the first in the lowest bit.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn equal_bytes(block: &[u8; BLOCK], byte: u8) -> u64 {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { equal_bytes_sse2(block, byte) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn equal_bytes_sse2(block: &[u8; BLOCK], byte: u8) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let (words, _) = block.as_chunks::<8>();
    let pattern = _mm_set1_epi8(byte as i8);
    // Sixteen bits for two words.
    let equal = |at: usize| {
        let [low, high] = [words[at], words[at + 1]].map(i64::from_le_bytes);
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(high, low), pattern)) as u64
    };
    equal(0) | equal(2) << 16 | equal(4) << 32 | equal(6) << 48
}

#[cfg(not(target_arch = "x86_64"))]
use equal_bytes_by_words as equal_bytes;

/// The same for any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_bytes_by_words(block: &[u8; BLOCK], byte: u8) -> u64 {
    let (words, _) = block.as_chunks::<8>();
    words.iter().rev().fold(0, |mask, word| {
        let others = u64::from_le_bytes(*word) ^ (LOW * u64::from(byte));
        // The highest bit of each byte that is zero. Unlike the shorter way with a borrow, all of them are right.
        let zeros = !(((others & !HIGH) + !HIGH) | others | !HIGH);
        // Moves the eight bits together at the top.
        mask << 8 | (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

/// The positions of one byte in a text, from the first to the last.
pub(crate) struct Positions<'a> {
    text: &'a [u8],
    byte: u8,
    /// Where the block begins that was looked at, the positions in it that are still to come, and where the next one begins.
    block: usize,
    marks: u64,
    next: usize,
}

impl<'a> Positions<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8], byte: u8) -> Self {
        Self { text, byte, block: 0, marks: 0, next: 0 }
    }

    /// Goes on from `at`.
    pub(crate) fn seek(&mut self, at: usize) {
        (self.marks, self.next) = (0, at);
    }

    /// The next position, or the text's end.
    #[inline(always)]
    pub(crate) fn next_or_end(&mut self) -> usize {
        while self.marks == 0 {
            if self.next >= self.text.len() {
                return self.text.len();
            }
            self.marks = self.look_at(self.next);
            (self.block, self.next) = (self.next, self.next + BLOCK);
        }
        let at = self.block + self.marks.trailing_zeros() as usize;
        self.marks &= self.marks - 1;
        at
    }

    #[inline]
    fn look_at(&self, at: usize) -> u64 {
        let rest = &self.text[at..];
        match (rest.first_chunk(), self.text.last_chunk()) {
            (Some(block), _) => equal_bytes(block, self.byte),
            (None, Some(last)) => equal_bytes(last, self.byte) >> (BLOCK - rest.len()),
            (None, None) => {
                let mut block = [0; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                equal_bytes(&block, self.byte) & ((1 << rest.len()) - 1)
            }
        }
    }
}

/// How many bytes at the end are ASCII.
#[inline]
pub(crate) fn ascii_suffix(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((before, chunk)) = rest.split_last_chunk::<32>()
        && chunk.is_ascii()
    {
        rest = before;
    }
    // The last of the eight bytes that is none says how many follow it.
    let after = |word: &[u8; 8]| ((u64::from_le_bytes(*word) & HIGH).leading_zeros() / 8) as usize;
    while let Some((before, word)) = rest.split_last_chunk::<8>() {
        if after(word) < 8 {
            return bytes.len() - rest.len() + after(word);
        }
        rest = before;
    }
    match bytes.first_chunk() {
        Some(first) => bytes.len() - 8 + after(first),
        None => bytes.len() - rest.iter().rposition(|byte| !byte.is_ascii()).map_or(0, |at| at + 1),
    }
}

/// The number that one to eight digits say; `None` if they are no digits.
#[inline]
pub(crate) fn digits_up_to_8(text: &[u8]) -> Option<u64> {
    let missing = 8usize.checked_sub(text.len()).filter(|missing| *missing < 8)?;
    let word = text.first_chunk().map_or_else(|| short_word(text), |word| u64::from_le_bytes(*word));
    // The digits stand at the high end, zeros before them.
    let digits = (word ^ (LOW * u64::from(b'0'))) << (8 * missing);
    if (digits.wrapping_add(LOW * (0x80 - 10)) | digits) & HIGH != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::{parse_integer, plain_integer};

    proptest! {
        #[test]
        fn positions(text in prop::collection::vec(prop::sample::select(vec![0u8, b',', b'-', b'+', 0xac, 0xff]), 0..200), byte: bool, from in 0usize..200) {
            let byte = if byte { b',' } else { 0 };
            let from = from.min(text.len());
            let expected: Vec<usize> = (from..text.len()).filter(|at| text[*at] == byte).chain([text.len(); 2]).collect();
            let mut positions = Positions::new(&text, byte);
            positions.next_or_end();
            positions.seek(from);
            let found: Vec<usize> = expected.iter().map(|_| positions.next_or_end()).collect();
            prop_assert_eq!(found, expected);
            if let Some(block) = text.first_chunk() {
                prop_assert_eq!(equal_bytes(block, byte), equal_bytes_by_words(block, byte));
            }
        }

        #[test]
        fn ascii(mut bytes in prop::collection::vec(0u8..0x80, 0..120), others in prop::collection::vec((0usize..120, 0x80u8..), 0..3)) {
            for (at, byte) in others {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            let expected = bytes.iter().rev().take_while(|byte| byte.is_ascii()).count();
            prop_assert_eq!(ascii_suffix(&bytes), expected);
        }

        /// Where there is a plain integer, it is the one that is found otherwise.
        #[test]
        fn integers(text in "[-+]?[0-9]{0,19}[-./:; eé]?[0-9]{0,3}") {
            let expected = parse_integer(text.as_bytes()).ok();
            let digits = text.strip_prefix('-').unwrap_or(&text);
            let plain = (1..=16).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            prop_assert_eq!(plain_integer(text.as_bytes()).map(i128::from), expected.filter(|_| plain));
        }

        #[test]
        fn digits(text in prop::collection::vec(any::<u8>(), 0..10)) {
            let plain = (1..=8).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
            prop_assert_eq!(digits_up_to_8(&text).is_some(), plain);
        }
    }
}
