//! The program and its libraries: how to unwind through them, and what their functions are called.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::Arc;

#[cfg(target_arch = "aarch64")]
use framehop::aarch64::{CacheAarch64 as Cache, UnwindRegsAarch64 as UnwindRegisters, UnwinderAarch64 as Unwinding};
#[cfg(not(target_arch = "aarch64"))]
use framehop::x86_64::{CacheX86_64 as Cache, UnwindRegsX86_64 as UnwindRegisters, UnwinderX86_64 as Unwinding};
use framehop::{ExplicitModuleSectionInfo, Module, Unwinder};
use object::read::ReadCache;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, ReadRef, SegmentFlags, SymbolKind};

use fleuve_types::{Error, Result};

use crate::signal::Sample;

/// More symbols than any program has; a file with more is not ours.
const MAX_SYMBOLS: usize = 20_000_000;
/// The least that is mapped at once.
const PAGE_BYTES: u64 = 4096;

/// A file of which code is mapped.
struct Mapped {
    path: String,
    /// The addresses of its code.
    from: u64,
    to: u64,
    /// Address in memory less address in the file's own terms.
    bias: u64,
}

pub(crate) struct Modules {
    files: Vec<Mapped>,
    unwinder: Unwinding<Arc<[u8]>>,
    cache: Cache,
}

/// A mapping of code: its addresses, where it begins in the file, and the file.
type Mapping = (u64, u64, u64, String);

/// The mappings of code that `/proc/self/maps` lists.
fn mappings(text: &str) -> Vec<Mapping> {
    let parse = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let code = words.next()?.contains('x');
        let offset = u64::from_str_radix(words.next()?, 16).ok()?;
        let path = words.nth(2)?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        (code && path.starts_with('/')).then_some((number(from)?, number(to)?, offset, path.to_string()))
    };
    text.lines().filter_map(parse).collect()
}

impl Modules {
    pub(crate) fn of_this_process() -> Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")
            .map_err(|e| Error::io("read where this program's code is", e))?;
        let mut modules = Self { files: vec![], unwinder: Unwinding::new(), cache: Cache::new() };
        let mut by_path: BTreeMap<String, Vec<Mapping>> = BTreeMap::new();
        for mapping in mappings(&maps) {
            by_path.entry(mapping.3.clone()).or_default().push(mapping);
        }
        for (path, parts) in by_path {
            // A file that cannot be read (replaced by a new version, say) has frames without names.
            if modules.add(&path, &parts).is_err() {
                let (from, to) = bounds(&parts);
                modules.files.push(Mapped { path, from, to, bias: from });
            }
        }
        Ok(modules)
    }

    fn add(&mut self, path: &str, parts: &[Mapping]) -> Result<(), String> {
        let said = |e: object::Error| e.to_string();
        let cache = ReadCache::new(open(path)?);
        let file = object::File::parse(&cache).map_err(said)?;
        let first = parts.first().ok_or("no mapping")?;
        // A segment that begins within a page shares it with the one before: it is the one with code that counts.
        let segment = file.segments().find(|s| {
            let is_code = matches!(s.flags(), SegmentFlags::Elf { p_flags } if p_flags & object::elf::PF_X != 0);
            let (offset, size) = s.file_range();
            is_code && (offset / PAGE_BYTES * PAGE_BYTES..offset.saturating_add(size)).contains(&first.2)
        });
        let segment = segment.ok_or("no segment")?;
        let bias = first.0.wrapping_sub(segment.address().wrapping_sub(segment.file_range().0).wrapping_add(first.2));
        let section = |name: &str| {
            let section = file.section_by_name(name)?;
            let range = section.address()..section.address() + section.size();
            Some((range, section.data().ok().map(Arc::<[u8]>::from)))
        };
        let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
        let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
        let text = file.section_by_name(".text").map(|s| s.address()..s.address() + s.size());
        let got = file.section_by_name(".got").map(|s| s.address()..s.address() + s.size());
        let info = ExplicitModuleSectionInfo {
            text_svma: text,
            got_svma: got,
            eh_frame_svma,
            eh_frame: eh_frame.flatten(),
            eh_frame_hdr_svma,
            eh_frame_hdr: eh_frame_hdr.flatten(),
            ..Default::default()
        };
        let (from, to) = bounds(parts);
        self.unwinder.add_module(Module::new(path.to_string(), from..to, bias, info));
        self.files.push(Mapped { path: path.into(), from, to, bias });
        Ok(())
    }

    /// The addresses of a sample's frames, the innermost first: each within the instruction that runs or calls.
    pub(crate) fn unwind(&mut self, sample: &Sample<'_>, most: usize) -> Vec<u64> {
        let registers = sample.registers();
        #[cfg(target_arch = "aarch64")]
        let begin = UnwindRegisters::new(registers.link, registers.stack, registers.frame);
        #[cfg(not(target_arch = "aarch64"))]
        let begin = UnwindRegisters::new(registers.instruction, registers.stack, registers.frame);
        let mut read = |address: u64| sample.word(address).ok_or(());
        let mut frames = self.unwinder.iter_frames(registers.instruction, begin, &mut self.cache, &mut read);
        let mut addresses = vec![];
        while addresses.len() < most {
            match frames.next() {
                Ok(Some(frame)) => addresses.push(frame.address_for_lookup()),
                // The end, or a stack that is longer than the copy: what is there is shown.
                Ok(None) | Err(_) => break,
            }
        }
        addresses
    }

    /// The names of the functions that hold `addresses`, which are sorted.
    pub(crate) fn names(&self, addresses: &[u64]) -> Result<HashMap<u64, String>> {
        let mut names = HashMap::new();
        for file in &self.files {
            let from = addresses.partition_point(|a| *a < file.from);
            let to = addresses.partition_point(|a| *a < file.to);
            let wanted = &addresses[from..to];
            if wanted.is_empty() {
                continue;
            }
            let short = file.path.rsplit('/').next().unwrap_or(&file.path);
            let found = symbols_of(&file.path, file.bias, wanted).unwrap_or_default();
            for address in wanted {
                let name = found.get(address).cloned().unwrap_or_else(|| format!("[{short}]"));
                names.insert(*address, name);
            }
        }
        Ok(names)
    }
}

fn bounds(parts: &[Mapping]) -> (u64, u64) {
    let from = parts.iter().map(|p| p.0).min().unwrap_or(0);
    (from, parts.iter().map(|p| p.1).max().unwrap_or(from))
}

/// The file that is mapped; of this program also after another version has taken its name.
fn open(path: &str) -> Result<File, String> {
    let own = std::fs::read_link("/proc/self/exe").is_ok_and(|exe| exe.to_str() == Some(path));
    let path = if own { "/proc/self/exe" } else { path };
    File::open(path).map_err(|e| e.to_string())
}

fn symbols_of(path: &str, bias: u64, wanted: &[u64]) -> Result<HashMap<u64, String>, String> {
    let cache = ReadCache::new(open(path)?);
    let file = object::File::parse(&cache).map_err(|e| e.to_string())?;
    let mut best: Vec<Option<(u64, String)>> = vec![None; wanted.len()];
    look(file.symbols(), bias, wanted, &mut best);
    look(file.dynamic_symbols(), bias, wanted, &mut best);
    Ok(wanted.iter().zip(best).filter_map(|(a, found)| Some((*a, found?.1))).collect())
}

/// For each wanted address the function that begins nearest before it and is long enough.
fn look<'d: 'f, 'f, R: ReadRef<'d> + 'f>(
    symbols: impl Iterator<Item = object::Symbol<'d, 'f, R>>,
    bias: u64,
    wanted: &[u64],
    best: &mut [Option<(u64, String)>],
) {
    for symbol in symbols.take(MAX_SYMBOLS) {
        if symbol.kind() != SymbolKind::Text || symbol.address() == 0 {
            continue;
        }
        let from = symbol.address().wrapping_add(bias);
        let to = from.saturating_add(symbol.size().max(1));
        let first = wanted.partition_point(|a| *a < from);
        let mut demangled: Option<String> = None;
        for (address, best) in wanted.iter().zip(best.iter_mut()).skip(first) {
            if *address >= to {
                break;
            }
            if best.as_ref().is_none_or(|(start, _)| *start < from) {
                let name = demangled.get_or_insert_with(|| {
                    let name = symbol.name().unwrap_or("?");
                    format!("{:#}", rustc_demangle::demangle(name))
                });
                *best = Some((from, name.clone()));
            }
        }
    }
}

#[cfg(test)]
pub(crate) fn mappings_of(text: &str) -> Vec<Mapping> {
    mappings(text)
}
