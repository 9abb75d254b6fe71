//! Which hashes a run may hold: a split block Bloom filter (Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007, in the form that Parquet uses). A look-up touches one line of the cache; hashes that ascend touch ascending
//! lines.

/// Bits for each hash: about one in a hundred that are not there is let through.
const BITS_PER_HASH: u64 = 10;
const BLOCK_BYTES: usize = 32;
/// The number of blocks is a power of 2 times a number below twice this one: so that a filter that was made too large can be halved.
const ODD_BLOCKS: u64 = 16;
/// No filter is larger, in blocks.
const MAX_BLOCKS: u64 = 1 << 31;
const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

type Block = [u32; 8];

pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// For at most so many hashes.
    pub(super) fn with_room(hashes: u64) -> Self {
        let wanted = (hashes.saturating_mul(BITS_PER_HASH) / 256 + 1).min(MAX_BLOCKS);
        let power = (wanted / ODD_BLOCKS).checked_ilog2().unwrap_or(0);
        Self { blocks: vec![[0; 8]; wanted.next_multiple_of(1 << power) as usize] }
    }

    fn block(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    fn masks(hash: u64) -> Block {
        SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
    }

    pub(super) fn insert(&mut self, hash: u64) {
        let at = self.block(hash);
        for (word, mask) in self.blocks[at].iter_mut().zip(Self::masks(hash)) {
            *word |= mask;
        }
    }

    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let block = &self.blocks[self.block(hash)];
        let missing = block.iter().zip(Self::masks(hash)).fold(0, |missing, (word, mask)| missing | (mask & !word));
        missing == 0
    }

    /// Makes it as small as so many hashes need. A block's place is its hash's share of the blocks, so that two neighbours become
    /// one.
    pub(super) fn shrink_to(&mut self, hashes: u64) {
        while self.blocks.len().is_multiple_of(2)
            && self.blocks.len() as u64 / 2 * 256 >= hashes.saturating_mul(BITS_PER_HASH)
        {
            let half = self.blocks.len() / 2;
            for i in 0..half {
                let (a, b) = (self.blocks[2 * i], self.blocks[2 * i + 1]);
                self.blocks[i] = std::array::from_fn(|w| a[w] | b[w]);
            }
            self.blocks.truncate(half);
        }
        self.blocks.shrink_to_fit();
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// `None` if the bytes are no filter.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        let word = |block: &[u8; BLOCK_BYTES], w: usize| {
            u32::from_le_bytes([block[4 * w], block[4 * w + 1], block[4 * w + 2], block[4 * w + 3]])
        };
        let blocks: Vec<Block> = blocks.iter().map(|b| std::array::from_fn(|w| word(b, w))).collect();
        (rest.is_empty() && !blocks.is_empty() && blocks.len() as u64 <= MAX_BLOCKS).then_some(Self { blocks })
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.capacity() * BLOCK_BYTES
    }
}
