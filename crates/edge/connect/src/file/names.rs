//! What the names of rotated files say: which files are generations of one log, and which of them are older.

use std::cmp::Reverse;

/// A path cut into the log that it belongs to and its generation. Sorts by log, oldest generation first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// The path of the log itself, without what rotation appends.
    pub(crate) family: String,
    generation: Generation,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Generation {
    /// `access.log-20150517`, `access.log.2015-05-17`
    Dated(String),
    /// `access.log.3`: the higher, the older.
    Numbered(Reverse<u64>),
    /// `access.log`
    Live,
}

impl Name {
    pub(crate) fn new(path: &str) -> Self {
        let plain = path.strip_suffix(".gz").unwrap_or(path);
        let file_at = plain.rfind('/').map_or(0, |slash| slash + 1);
        let suffix_at = plain.rfind(['.', '-']).filter(|at| *at > file_at);
        // A date with dashes has several marks: take the first from which on there are only digits and dashes.
        let digits_at = plain.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').len();
        let (family, generation) = match suffix_at.map(|at| (at, &plain[at + 1..])) {
            Some((at, number)) if plain.as_bytes()[at] == b'.' && is_number(number, 1..=4) => {
                let number = number.parse().unwrap_or(u64::MAX);
                (&plain[..at], Generation::Numbered(Reverse(number)))
            }
            Some(_) if digits_at > file_at && is_date(&plain[digits_at..]) => {
                (plain[..digits_at].trim_end_matches('.'), Generation::Dated(plain[digits_at..].to_string()))
            }
            _ => (plain, Generation::Live),
        };
        Self { family: family.to_string(), generation, path: path.to_string() }
    }
}

impl Name {
    /// True for a file that is written to, as far as its name tells.
    pub(crate) fn is_live(&self) -> bool {
        self.generation == Generation::Live
    }
}

fn is_number(text: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Eight digits or more, with dashes maybe.
fn is_date(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (8..=14).contains(&digits)
}
