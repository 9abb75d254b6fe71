//! Opening a log: lock, manifest, replay, and the threads.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use fleuve_store::{Disk, Open};
use fleuve_types::{Clock, Error, ErrorKind, ObjectId, Result};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

use crate::image::{Extents, Image, PartitionImage};
use crate::log::Running;
use crate::mover::{Inbox, Mover};
use crate::partition::{PartitionState, Topic};
use crate::segment::{self, OpenSegments};
use crate::shared::{Marks, Queue, Shared};
use crate::stepped::Stepped;
use crate::tail::TailCache;
use crate::wal::{self, Tail, WalFile};
use crate::writer::Writer;
use crate::{LogOptions, disk, limits};

/// Opens the log and starts its threads.
pub(crate) fn open(options: LogOptions, clock: Arc<dyn Clock>) -> Result<Running> {
    check_options(&options)?;
    let on = options.disk.clone();
    let on = on.as_ref();
    let (wal_dir, segments_dir) = (options.dir.join("wal"), options.dir.join("segments"));
    for dir in [&wal_dir, &segments_dir] {
        on.create_dir_all(dir).map_err(disk::error("cannot create", dir))?;
    }
    let lock = lock(on, &options.dir)?;
    sync_names(on, &options.dir, &wal_dir)?;
    let mut image = load_or_new(on, &options.dir, &wal_dir)?;
    let named = named_segments(&image, &segments_dir);
    let replayed = replay(on, &mut image, &wal_dir)?;
    remove_leftovers(on, &segments_dir, &named)?;
    let topics = live_topics(on, &image, &replayed.extents, &segments_dir)?;

    let closed: Vec<u32> = replayed.files.keys().copied().filter(|seq| *seq != replayed.last.seq).collect();
    let shared = Arc::new(Shared {
        clock,
        topics: RwLock::new(topics),
        marks: RwLock::new(Marks::new(std::mem::take(&mut image.marks))),
        wal_files: RwLock::new(replayed.files),
        tail: TailCache::new(options.tail_cache_bytes),
        open_segments: OpenSegments::new(options.disk.clone(), segments_dir),
        queue: Queue::default(),
        permits: Arc::new(Semaphore::new(options.queue_bytes)),
        mover: Inbox::default(),
        changed: watch::channel(0).0,
        failed: OnceLock::new(),
        #[cfg(test)]
        sync_fault: Default::default(),
        options,
    });
    closed.into_iter().for_each(|seq| shared.mover.closed(seq));
    let secret = image.secret;
    let writer = Writer::new(shared.clone(), secret, image.next_generation, image.topics, replayed.last, replayed.end);
    let mover = Mover::new(shared.clone());
    if shared.options.stepped {
        return Ok(running(shared, Vec::new(), Some(Stepped::new(writer, mover)), lock));
    }
    let spawn_failed = |e| Error::io("cannot start a thread of the log", e);
    let writer = thread::Builder::new().name("log-writer".into()).spawn(move || writer.run()).map_err(spawn_failed)?;
    let mover = thread::Builder::new().name("log-mover".into()).spawn(move || mover.run()).map_err(spawn_failed)?;
    Ok(running(shared, vec![writer, mover], None, lock))
}

type Lock = Box<dyn Any + Send + Sync>;

fn running(shared: Arc<Shared>, threads: Vec<JoinHandle<()>>, stepped: Option<Stepped>, lock: Lock) -> Running {
    let (threads, lock) = (Mutex::new(threads), Mutex::new(Some(lock)));
    Running { shared, threads, stepped, lock, producer_ids: Default::default() }
}

/// Makes the names durable that this start relies on. Whoever made them may have failed, or have been killed, before they were: the
/// folders themselves, a manifest that has taken the place of another, a write-ahead file.
fn sync_names(on: &dyn Disk, dir: &Path, wal_dir: &Path) -> Result<()> {
    let above = dir.parent().filter(|d| !d.as_os_str().is_empty());
    above.into_iter().chain([dir, wal_dir]).try_for_each(|d| disk::sync_dir(on, d))
}

fn check_options(o: &LogOptions) -> Result<()> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Config, what));
    if o.segment_bytes < limits::FILE_BYTES_MIN || o.wal_bytes < limits::FILE_BYTES_MIN {
        return wrong(format!("segment_bytes and wal_bytes must be at least {} bytes", limits::FILE_BYTES_MIN));
    }
    if o.max_batch_bytes < limits::FILE_BYTES_MIN as usize || o.max_batch_bytes > limits::APPEND_BYTES {
        let (min, max) = (limits::FILE_BYTES_MIN, limits::APPEND_BYTES);
        return wrong(format!("max_batch_bytes must be between {min} and {max}"));
    }
    if o.queue_bytes < o.max_batch_bytes || o.queue_bytes > u32::MAX as usize / 2 {
        return wrong(format!("queue_bytes must be between max_batch_bytes and {}", u32::MAX / 2));
    }
    Ok(())
}

fn lock(on: &dyn Disk, dir: &Path) -> Result<Lock> {
    let path = dir.join("LOCK");
    on.lock(&path).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => {
            let what = format!("the log in {} is in use by another process", dir.display());
            Error::new(ErrorKind::Config, what).hint("stop the other server or choose another data folder")
        }
        _ => disk::error("cannot lock", &path)(e),
    })
}

fn load_or_new(on: &dyn Disk, dir: &Path, wal_dir: &Path) -> Result<Image> {
    if let Some(image) = Image::load(on, dir)? {
        return Ok(image);
    }
    if !wal::list(on, wal_dir)?.is_empty() {
        let what = format!("{} holds a log, but its manifest is missing", dir.display());
        return Err(Error::new(ErrorKind::Io, what).hint("restore MANIFEST from a backup"));
    }
    let image = Image { secret: uuid::Uuid::new_v4().as_u64_pair().0, wal_from: 1, ..Image::default() };
    image.save(on, dir)?;
    Ok(image)
}

struct Replayed {
    files: BTreeMap<u32, Arc<WalFile>>,
    last: Arc<WalFile>,
    end: u64,
    extents: Extents,
}

/// Applies the write-ahead files to the image; cuts off a torn tail.
fn replay(on: &dyn Disk, image: &mut Image, wal_dir: &Path) -> Result<Replayed> {
    let mut seqs = wal::list(on, wal_dir)?;
    // A crash may have left files whose contents the manifest already names as segments.
    for seq in seqs.extract_if(.., |seq| *seq < image.wal_from) {
        let path = wal::path(wal_dir, seq);
        on.remove_file(&path).map_err(disk::error("cannot remove", &path))?;
    }
    let is_pristine = image.wal_from == 1 && image.topics.is_empty() && image.marks.is_empty();
    if seqs.is_empty() && is_pristine {
        WalFile::create(on, wal_dir, 1).map_err(disk::error("cannot create a write-ahead file in", wal_dir))?;
        seqs.push(1);
    }
    let gap = (image.wal_from..).zip(&seqs).find(|(expected, seq)| expected != *seq).map(|(expected, _)| expected);
    if let Some(missing) = gap.or(seqs.is_empty().then_some(image.wal_from)) {
        let path = wal::path(wal_dir, missing);
        return Err(Error::io(path.display(), "a write-ahead file is missing").hint("restore it from a backup"));
    }
    let mut replayed: Option<Replayed> = None;
    let mut files = BTreeMap::new();
    let mut extents = Extents::default();
    let mut dropped = Vec::new();
    for (i, seq) in seqs.iter().copied().enumerate() {
        let file = Arc::new(WalFile::open(on, wal_dir, seq)?);
        files.insert(seq, file.clone());
        let is_closed = i + 1 < seqs.len();
        let tail = file.replay(image.secret, is_closed, |record, body_at, body| {
            image.apply(record, body, seq, body_at, &mut extents, &mut dropped)
        })?;
        let Tail { end, durable_to, is_torn } = tail;
        if is_torn {
            tracing::warn!("{} ends in a write that was cut short; cutting it off at {end}", file.path.display());
            file.truncate(end)?;
        }
        if !is_closed {
            file.settle(durable_to, end)?;
            let extents = std::mem::take(&mut extents);
            replayed = Some(Replayed { files: std::mem::take(&mut files), last: file, end, extents });
        }
    }
    replayed.ok_or_else(|| Error::bug("a log without a write-ahead file"))
}

fn named_segments(image: &Image, dir: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut named = BTreeSet::new();
    for (id, topic) in &image.topics {
        for (i, p) in topic.partitions.iter().enumerate() {
            named.extend(p.segments.iter().map(|s| segment::path(dir, *id, i as i32, s)));
        }
    }
    named
}

/// Removes segment files that the manifest does not name: a crash came before the manifest, or before their removal.
fn remove_leftovers(on: &dyn Disk, dir: &Path, named: &BTreeSet<std::path::PathBuf>) -> Result<()> {
    for topic in on.list(dir).map_err(disk::error("cannot list", dir))? {
        for file in on.list(&topic.path).map_err(disk::error("cannot list", &topic.path))? {
            let path = file.path;
            if !named.contains(&path) && path.extension().is_some_and(|e| e == "seg") {
                on.remove_file(&path).map_err(disk::error("cannot remove", &path))?;
            }
        }
    }
    Ok(())
}

/// What readers see, from the image after replay.
fn live_topics(
    on: &dyn Disk,
    image: &Image,
    extents: &Extents,
    segments_dir: &Path,
) -> Result<HashMap<ObjectId, Arc<Topic>>> {
    let mut topics = HashMap::new();
    for (id, t) in &image.topics {
        let mut states = Vec::with_capacity(t.partitions.len());
        for (i, p) in t.partitions.iter().enumerate() {
            let key = (*id, i as i32);
            let mut state = partition_state(p);
            if let Some((_, extents)) = extents.by_partition.get(&key) {
                state.extents = extents.iter().filter(|e| e.last_offset >= p.start).copied().collect();
            }
            for s in &state.segments {
                let path = segment::path(segments_dir, *id, i as i32, s);
                let size = on.open(&path, Open::Read).and_then(|f| f.size_bytes());
                let size = size.map_err(disk::error("a segment is missing:", &path))?;
                if size < s.data_bytes {
                    return Err(Error::io(path.display(), format!("{size} bytes instead of {}", s.data_bytes)));
                }
            }
            states.push(state);
        }
        topics.insert(*id, Arc::new(Topic::new(*id, t.generation, t.config.clone(), states)));
    }
    Ok(topics)
}

fn partition_state(p: &PartitionImage) -> PartitionState {
    PartitionState {
        start: p.start,
        end: p.next_offset,
        segments: p.segments.iter().filter(|s| s.last_offset >= p.start).map(|s| Arc::new(*s)).collect(),
        extents: std::collections::VecDeque::new(),
    }
}
