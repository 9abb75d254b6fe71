/// What a run did, and a digest of it: the same for the same seed. Nothing goes in that depends on threads, the machine's clock or
/// ids that are made at random.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: Vec<String>,
    digest: u64,
    is_loud: bool,
}

impl Trace {
    /// An empty one; a loud one prints as it goes.
    pub(crate) fn new(is_loud: bool) -> Self {
        Self { lines: vec![], digest: 0xcbf2_9ce4_8422_2325, is_loud }
    }

    /// Adds a line.
    pub(crate) fn say(&mut self, line: impl Into<String>) {
        let line = line.into();
        self.mix(line.as_bytes());
        if self.is_loud {
            println!("{line}");
        }
        self.lines.push(line);
    }

    /// Prints what belongs to nobody's digest.
    pub(crate) fn aside(&self, line: &str) {
        if self.is_loud {
            println!("      {line}");
        }
    }

    /// Whether somebody reads along.
    pub(crate) fn is_loud(&self) -> bool {
        self.is_loud
    }

    /// Takes bytes into the digest.
    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        self.digest = mix(self.digest, bytes);
    }

    /// The digest of all so far.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// All lines.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

/// FNV-1a, going on from a digest.
pub(crate) fn mix(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
