//! How many distinct values there are: HyperLogLog (Flajolet et al., AofA 2007) with 64-bit hashes, estimated as in Ertl, "New
//! cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284, algorithm 6), which needs no tables and holds for
//! small and large counts alike. The standard error is 1.04 / sqrt(2^14), 0.8 %.
//!
//! Bytes: `FH`, version 1, then form 0 and the registers that are not zero as `(number u16, value u8)` ascending, or form 1 and all
//! registers in 6 bits each. The shorter form is written, so the bytes depend on the set of values alone.

use fleuve_types::Result;

use super::bytes::{Reader, begin};

const KIND: [u8; 2] = *b"FH";
const NAME: &str = "HyperLogLog sketch (of hll_sketch or hll_merge)";
/// How many bits of a hash choose a register.
const P: u32 = 14;
const REGISTERS: usize = 1 << P;
/// The greatest value of a register: the place of the first 1 in the other bits.
const MAX: u8 = (64 - P + 1) as u8;
const PACKED_BYTES: usize = REGISTERS * 6 / 8;
const ENTRY_BYTES: usize = 3;
/// From this many registers on, the packed form is the shorter one.
const DENSE_FROM: usize = PACKED_BYTES / ENTRY_BYTES;

/// A sketch of a set of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hll {
    registers: Registers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Registers {
    /// Those that are not zero, ascending by number.
    Few(Vec<(u16, u8)>),
    All(Box<[u8]>),
}

impl Default for Hll {
    fn default() -> Self {
        Self { registers: Registers::Few(vec![]) }
    }
}

impl Hll {
    /// Takes in a value by its hash.
    pub fn add(&mut self, hash: u64) {
        let number = (hash >> (64 - P)) as u16;
        // A bit behind the others bounds the count of zeros.
        let rest = (hash << P) | (1 << (P - 1));
        self.raise(number, rest.leading_zeros() as u8 + 1);
    }

    fn raise(&mut self, number: u16, value: u8) {
        match &mut self.registers {
            Registers::All(all) => {
                let register = &mut all[usize::from(number)];
                *register = value.max(*register);
            }
            Registers::Few(few) => match few.binary_search_by_key(&number, |(n, _)| *n) {
                Ok(at) => few[at].1 = value.max(few[at].1),
                Err(at) => {
                    few.insert(at, (number, value));
                    if few.len() >= DENSE_FROM {
                        let mut all = vec![0; REGISTERS].into_boxed_slice();
                        few.iter().for_each(|(n, v)| all[usize::from(*n)] = *v);
                        self.registers = Registers::All(all);
                    }
                }
            },
        }
    }

    /// Takes in the values of another one.
    pub fn merge(&mut self, other: &Self) {
        match &other.registers {
            Registers::Few(few) => few.iter().for_each(|(n, v)| self.raise(*n, *v)),
            Registers::All(all) => {
                let set = all.iter().enumerate().filter(|(_, v)| **v > 0);
                set.for_each(|(n, v)| self.raise(n as u16, *v));
            }
        }
    }

    /// About how many values are different.
    pub fn count(&self) -> u64 {
        let mut with = [0_u32; MAX as usize + 1];
        match &self.registers {
            Registers::Few(few) => {
                few.iter().for_each(|(_, v)| with[usize::from(*v)] += 1);
                with[0] = (REGISTERS - few.len()) as u32;
            }
            Registers::All(all) => all.iter().for_each(|v| with[usize::from(*v)] += 1),
        }
        let m = REGISTERS as f64;
        let mut z = m * tau(1.0 - f64::from(with[usize::from(MAX)]) / m);
        for k in (1..usize::from(MAX)).rev() {
            z = 0.5 * (z + f64::from(with[k]));
        }
        z += m * sigma(f64::from(with[0]) / m);
        (m * m / (2.0 * std::f64::consts::LN_2 * z)).round() as u64
    }

    /// The bytes that [`Hll::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = begin(KIND);
        match &self.registers {
            Registers::Few(few) => {
                out.push(0);
                few.iter().for_each(|(n, v)| out.extend([(n >> 8) as u8, *n as u8, *v]));
            }
            Registers::All(all) => {
                out.push(1);
                for four in all.as_chunks::<4>().0 {
                    let bits = four.iter().fold(0_u32, |bits, v| (bits << 6) | u32::from(*v));
                    out.extend([(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
                }
            }
        }
        out
    }

    /// # Errors
    /// When the bytes are no such sketch.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(KIND, NAME, bytes)?;
        let mut hll = Self::default();
        match reader.byte()? {
            0 if reader.left() % ENTRY_BYTES == 0 => {
                let mut next = 0;
                while reader.left() > 0 {
                    let [high, low, value] = *reader.take(ENTRY_BYTES)? else { return Err(reader.broken("an entry")) };
                    let number = u16::from_be_bytes([high, low]);
                    let is_good = number >= next && usize::from(number) < REGISTERS && (1..=MAX).contains(&value);
                    if !is_good {
                        return Err(reader.broken("a register is out of its range"));
                    }
                    next = number + 1;
                    hll.raise(number, value);
                }
            }
            1 if reader.left() == PACKED_BYTES => {
                for (i, three) in reader.take(PACKED_BYTES)?.as_chunks::<3>().0.iter().enumerate() {
                    let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
                    for (n, shift) in [18, 12, 6, 0].into_iter().enumerate() {
                        let value = (bits >> shift) as u8 & 0x3f;
                        if value > MAX {
                            return Err(reader.broken("a register is out of its range"));
                        }
                        if value > 0 {
                            hll.raise((i * 4 + n) as u16, value);
                        }
                    }
                }
            }
            _ => return Err(reader.broken("its length does not fit its form")),
        }
        Ok(hll)
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.registers {
            Registers::Few(few) => few.capacity() * 4,
            Registers::All(all) => all.len(),
        }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
