//! Which file is which: what stands on the disk now, matched with what is known from before.
//!
//! A file is the known one when its device, inode and first bytes are; so renaming changes nothing, and a file that was
//! truncated and written anew is another one. When the inode is gone or holds something else, a file that begins with the same bytes
//! takes its place: the copy that `copytruncate` made, or the compressed form. A copy that stands beside its original is left alone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fleuve_types::{Error, ErrorKind, Result};

use super::limits::{FINGERPRINT_BYTES, MAX_FILES, MAX_MISSING_FILES};
use super::names::Name;
use super::position::{Fingerprint, Known};
use super::reader::{Reader, head};

/// How much of two files in the same place is compared to see whether one is a copy of the other.
const COPY_BYTES: u64 = 16 << 10;

/// How many scans look for a file that is gone among the neighbours of where it was, outside the pattern.
const NEIGHBOUR_SCANS: u32 = 20;

/// What changes when a file's content does: its size and its time of modification.
pub(crate) type Stamp = (u64, i64, i64);

/// A file that is there.
#[derive(Clone, Debug)]
struct Found {
    path: String,
    name: Name,
    device: u64,
    inode: u64,
    stamp: Stamp,
}

impl Found {
    /// `None` for what is no regular file, has a name that is no text, or went away.
    fn new(path: &Path) -> Option<Self> {
        let text = path.to_str()?.to_string();
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self {
            name: Name::new(&text),
            path: text,
            device: metadata.dev(),
            inode: metadata.ino(),
            stamp: (metadata.len(), metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn is_compressed_by_name(&self) -> bool {
        self.path.ends_with(".gz")
    }
}

/// A known file while the source runs.
pub(crate) struct Tracked {
    pub(crate) known: Known,
    pub(crate) name: Name,
    pub(crate) reader: Option<Reader>,
    /// The file's beginning when it was last seen unread. An inode number alone can come back for another file.
    found_with: Fingerprint,
    /// The stamp of the file at its path; `None` when it is not there.
    pub(crate) stamp: Option<Stamp>,
    /// The stamp with which the file was last found to be the known one.
    checked: Option<Stamp>,
    /// The stamp with which the file was read to its end.
    pub(crate) ended: Option<Stamp>,
    /// The stamp with which its end was found to stand in quotes.
    pub(crate) quoted: Option<Stamp>,
    /// Scans since it was there.
    missing_scans: u32,
    /// An error was reported and nothing has changed since.
    pub(crate) failed: Option<Stamp>,
}

impl Tracked {
    pub(crate) fn new(known: Known) -> Self {
        Self {
            name: Name::new(&known.path),
            known,
            found_with: Fingerprint::new(),
            reader: None,
            stamp: None,
            checked: None,
            ended: None,
            quoted: None,
            missing_scans: 0,
            failed: None,
        }
    }

    fn is_at(&self, found: &Found) -> bool {
        (self.known.device, self.known.inode) == (found.device, found.inode)
    }

    /// What tells its content from others': what was read of it, or before that what it began with when it was found.
    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        if self.known.offset == 0 { &self.found_with } else { &self.known.fingerprint }
    }

    /// True when a file holds what was read of this one, and where it was read to.
    fn is_content_of(&self, found: &Found) -> bool {
        let fingerprint = self.fingerprint();
        match head(Path::new(&found.path), fingerprint.bytes) {
            Ok((head, compressed)) => fingerprint.matches(&head) && (compressed || found.stamp.0 >= self.known.offset),
            Err(_) => false,
        }
    }

    fn settle(&mut self, found: &Found) {
        if !self.is_at(found) {
            (self.known.device, self.known.inode) = (found.device, found.inode);
            self.reader = None;
            self.ended = None;
        }
        if self.known.path != found.path {
            self.failed = None;
            self.known.path.clone_from(&found.path);
            self.name = found.name.clone();
        }
        if self.known.offset == 0 && self.checked != Some(found.stamp) {
            self.found_with = Fingerprint::new();
            if let Ok((head, _)) = head(Path::new(&found.path), FINGERPRINT_BYTES) {
                self.found_with.extend(&head, true);
            }
        }
        self.stamp = Some(found.stamp);
        self.checked = Some(found.stamp);
        self.missing_scans = 0;
    }

    /// Its inode holds something else by now.
    fn lose(&mut self) {
        (self.known.device, self.known.inode) = (0, 0);
        self.reader = None;
        self.ended = None;
    }
}

/// The files that a pattern names, the oldest generation of each log first.
fn list(pattern: &str) -> Result<Vec<Found>> {
    let literal = Path::new(pattern);
    let paths: Vec<PathBuf> = if literal.is_file() {
        vec![literal.to_path_buf()]
    } else {
        let matched =
            glob::glob(pattern).map_err(|e| Error::input(format!("path = '{pattern}' is no pattern: {e}")))?;
        // A folder that cannot be read is as good as empty; it may become readable.
        matched.filter_map(|path| path.ok()).take(MAX_FILES + 1).collect()
    };
    if paths.len() > MAX_FILES {
        return Err(too_many(pattern));
    }
    Ok(sorted(paths.iter().filter_map(|path| Found::new(path)).collect()))
}

/// Whether a pattern names a file now.
pub fn names_a_file(pattern: &str) -> bool {
    let is_file = |path: &Path| Found::new(path).is_some();
    let mut matched = glob::glob(pattern).into_iter().flatten().filter_map(Result::ok);
    is_file(Path::new(pattern)) || matched.any(|path| is_file(&path))
}

fn too_many(pattern: &str) -> Error {
    Error::new(ErrorKind::Limit, format!("path = '{pattern}' names more than {MAX_FILES} files"))
        .hint("make several sources of it, or move files away that were read")
}

/// In order; a file that has several names counts once.
fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let mut seen = HashSet::new();
    found.retain(|file| seen.insert((file.device, file.inode)));
    found
}

/// Files beside a log that have its name, with what rotation appends.
fn neighbours(family: &str) -> Vec<Found> {
    let folder = Path::new(family).parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let relative = !family.contains('/');
    let paths = entries.filter_map(io::Result::ok).take(MAX_FILES).map(|entry| match relative {
        true => PathBuf::from(entry.file_name()),
        false => entry.path(),
    });
    let same_family = paths.filter(|path| path.to_str().is_some_and(|text| Name::new(text).family == family));
    sorted(same_family.filter_map(|path| Found::new(&path)).collect())
}

/// Brings `tracked` up to date with the disk. `new_files` says whether files that are not known are taken in.
///
/// # Errors
/// Limit: too many files.
pub(crate) fn scan(pattern: &str, tracked: &mut Vec<Tracked>, new_files: bool) -> Result<()> {
    let mut free = list(pattern)?;
    tracked.iter_mut().for_each(|t| t.stamp = None);
    claim_by_inode(tracked, &mut free);
    claim_by_content(tracked, &mut free);
    forget(tracked);
    if new_files {
        take_in(tracked, free);
        if tracked.len() > MAX_FILES + MAX_MISSING_FILES {
            return Err(too_many(pattern));
        }
    }
    // Stable: of two files with one name, the one that was there first.
    tracked.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

fn claim_by_inode(tracked: &mut [Tracked], free: &mut Vec<Found>) {
    let by_inode: HashMap<(u64, u64), usize> =
        free.iter().enumerate().map(|(at, found)| ((found.device, found.inode), at)).collect();
    let mut claimed = HashSet::new();
    for t in tracked.iter_mut() {
        let Some(at) = by_inode.get(&(t.known.device, t.known.inode)) else { continue };
        if claimed.contains(at) {
            t.lose();
        } else if t.checked == Some(free[*at].stamp) || t.is_content_of(&free[*at]) {
            t.settle(&free[*at]);
            claimed.insert(*at);
        } else {
            t.lose();
        }
    }
    retain_unclaimed(free, &claimed);
}

fn claim_by_content(tracked: &mut [Tracked], free: &mut Vec<Found>) {
    for at in 0..tracked.len() {
        let t = &mut tracked[at];
        if t.stamp.is_some() {
            continue;
        }
        t.missing_scans = t.missing_scans.saturating_add(1);
        let fits = |t: &Tracked, found: &Found| {
            let strong = t.fingerprint().is_strong();
            t.is_at(found) || strong || found.name.family == t.name.family
        };
        if let Some(found) = free.iter().position(|found| fits(t, found) && t.is_content_of(found)) {
            t.settle(&free[found]);
            free.remove(found);
            continue;
        }
        if t.missing_scans > NEIGHBOUR_SCANS {
            continue;
        }
        let taken: HashSet<(u64, u64)> =
            tracked.iter().filter(|t| t.stamp.is_some()).map(|t| (t.known.device, t.known.inode)).collect();
        let t = &mut tracked[at];
        let beside = neighbours(&t.name.family).into_iter().find(|found| {
            let elsewhere = taken.contains(&(found.device, found.inode)) || free.iter().any(|f| f.inode == found.inode);
            !elsewhere && fits(t, found) && t.is_content_of(found)
        });
        if let Some(found) = beside {
            t.settle(&found);
        }
    }
}

fn retain_unclaimed(free: &mut Vec<Found>, claimed: &HashSet<usize>) {
    let mut at = 0;
    free.retain(|_| {
        at += 1;
        !claimed.contains(&(at - 1))
    });
}

/// Drops what is gone and cannot come back under another name.
fn forget(tracked: &mut Vec<Tracked>) {
    tracked.retain(|t| t.stamp.is_some() || t.reader.is_some() || t.known.offset > 0);
    let missing = tracked.iter().filter(|t| t.stamp.is_none()).count();
    let mut surplus = missing.saturating_sub(MAX_MISSING_FILES);
    // Those that have been missing longest have the least to come back for.
    while surplus > 0 {
        let longest =
            (0..tracked.len()).filter(|at| tracked[*at].stamp.is_none()).max_by_key(|at| tracked[*at].missing_scans);
        if let Some(at) = longest {
            tracked.remove(at);
        }
        surplus -= 1;
    }
}

fn take_in(tracked: &mut Vec<Tracked>, free: Vec<Found>) {
    let mut families: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, t) in tracked.iter().enumerate().filter(|(_, t)| t.stamp.is_some()) {
        families.entry(t.name.family.clone()).or_default().push(at);
    }
    // The live file before its copies: of an original and a copy that are both new, the copy is the one to leave alone.
    for found in free.into_iter().rev() {
        // An empty file is nothing yet; a copy may be about to be written to it.
        if found.stamp.0 == 0 {
            continue;
        }
        let relatives = families.entry(found.name.family.clone()).or_default();
        if relatives.iter().any(|at| is_copy(&found, &tracked[*at])) {
            continue;
        }
        relatives.push(tracked.len());
        let mut t = Tracked::new(Known {
            path: found.path.clone(),
            device: found.device,
            inode: found.inode,
            offset: 0,
            lines: 0,
            fingerprint: Fingerprint::new(),
        });
        t.settle(&found);
        tracked.push(t);
    }
}

/// True when a file is a copy of a known one that stands beside it, whole or still being made.
fn is_copy(found: &Found, of: &Tracked) -> bool {
    if found.is_compressed_by_name() && found.path.strip_suffix(".gz") == Some(of.known.path.as_str()) {
        return true;
    }
    let original = head(Path::new(&of.known.path), COPY_BYTES);
    let copy = head(Path::new(&found.path), COPY_BYTES);
    match (original, copy) {
        // A file that begins like the other one and is longer goes on by itself.
        (Ok((_, false)), Ok((_, false))) if found.stamp.0 > of.stamp.map_or(0, |stamp| stamp.0) => false,
        (Ok((original, _)), Ok((copy, _))) => original.starts_with(&copy),
        _ => false,
    }
}
