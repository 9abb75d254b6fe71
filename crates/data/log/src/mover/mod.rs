//! The mover: one background thread that turns closed write-ahead files into segments, merges small segments, and
//! removes what nothing names any more.
//!
//! Every step is "write new files, name them in a new manifest, show them to readers, remove the old ones". A crash
//! between two steps leaves files that no manifest names; they are removed at the next start.

mod inbox;
mod merge;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use fleuve_types::{Error, ObjectId, Result};

pub(crate) use inbox::{Inbox, Work};

use crate::image::{Extents, Image};
use crate::partition::Extent;
use crate::segment::{self, SegmentMeta, SegmentWriter};
use crate::shared::Shared;
use crate::wal::{Trim, WalFile};
use crate::{disk, retention};

/// How long to wait after a failure before trying again.
const RETRY: Duration = Duration::from_secs(1);

/// A segment that no manifest names any more.
type Dropped = (ObjectId, i32, SegmentMeta);

#[derive(Debug)]
pub(crate) struct Mover {
    shared: Arc<Shared>,
}

impl Mover {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Works until the inbox is closed.
    pub(crate) fn run(self) {
        while let Some(work) = self.shared.mover.take() {
            if !self.work(work) {
                self.shared.mover.pause(RETRY);
            }
        }
    }

    /// Does one piece of work, if there is any; false when there is none or it failed. For a log without threads.
    pub(crate) fn step(&self) -> bool {
        self.shared.mover.try_take().is_some_and(|work| self.work(work))
    }

    /// Tells if it went well.
    fn work(&self, work: Work) -> bool {
        let result = match &work {
            Work::Move(seq) => self.move_file(*seq),
            Work::CleanUp(_) => self.clean_up().map(|_| ()),
        };
        let is_done = result.is_ok();
        if let Err(e) = &result {
            tracing::error!("moving data out of the write-ahead log: {e}");
        }
        self.shared.mover.done(work, result);
        is_done
    }

    fn load(&self) -> Result<Image> {
        let image = Image::load(self.shared.disk(), &self.shared.options.dir)?;
        image.ok_or_else(|| Error::io(self.shared.options.dir.display(), "the manifest has gone"))
    }

    /// Makes segments of what a closed write-ahead file holds, and removes the file. A second attempt takes up where the
    /// first one failed.
    fn move_file(&self, seq: u32) -> Result<()> {
        let shared = &self.shared;
        let Some(file) = shared.wal_files.read().get(&seq).cloned() else { return Ok(()) };
        let mut image = self.load()?;
        let mut dropped = Vec::new();
        let mut moved = all_partitions(&image);
        if image.wal_from <= seq {
            let mut extents = Extents::default();
            file.replay(image.secret, true, |record, body_at, body| {
                image.apply(record, body, seq, body_at, &mut extents, &mut dropped)
            })?;
            image.wal_from = seq + 1;
            moved = self.write_segments(&mut image, &file, extents)?;
            self.drop_dead(&mut image, &mut dropped);
            image.save(shared.disk(), &shared.options.dir)?;
        }
        for (id, partition) in &moved {
            self.show(&image, *id, *partition, |extent| extent.file_seq <= seq);
        }
        self.forget_extents(seq);
        shared.tail.forget_through(seq);
        shared.disk().remove_file(&file.path).map_err(disk::error("cannot remove", &file.path))?;
        shared.wal_files.write().remove(&seq);
        self.remove(dropped);
        if let Err(e) = self.merge(&mut image, &moved) {
            tracing::warn!("small segments stay as they are: {e}");
        }
        Ok(())
    }

    /// Writes the extents of live topics to new segments and names them in the image.
    fn write_segments(&self, image: &mut Image, file: &WalFile, extents: Extents) -> Result<BTreeSet<(ObjectId, i32)>> {
        let mut moved = BTreeSet::new();
        let mut dirs = BTreeSet::new();
        for ((id, partition), (generation, extents)) in extents.by_partition {
            let Some(start) = self.live_start(id, partition, generation) else { continue };
            let extents: Vec<_> = extents.into_iter().filter(|e| e.last_offset >= start).collect();
            if extents.is_empty() {
                continue;
            }
            if dirs.insert(id) {
                let dir = segment::topic_dir(&self.shared.segments_dir(), id);
                self.shared.disk().create_dir_all(&dir).map_err(disk::error("cannot create", &dir))?;
            }
            for metas in self.write_partition(image, file, id, partition, &extents) {
                let meta = metas?;
                let p = image.partition(id, partition);
                p.ok_or_else(|| Error::bug("a live partition is not in the image"))?.segments.push(meta);
            }
            moved.insert((id, partition));
        }
        self.sync_dirs(&dirs)?;
        Ok(moved)
    }

    /// Writes one partition's extents, a new segment whenever one is full.
    fn write_partition(
        &self,
        image: &mut Image,
        file: &WalFile,
        id: ObjectId,
        partition: i32,
        extents: &[Extent],
    ) -> Vec<Result<SegmentMeta>> {
        let mut done = Vec::new();
        let mut rest = extents;
        while let [first, ..] = rest {
            let mut bytes = 0;
            let fits = |e: &&Extent| {
                bytes += u64::from(e.len);
                bytes <= self.shared.options.segment_bytes
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (these, those) = rest.split_at(count);
            rest = those;
            image.next_file_no += 1;
            let no = image.next_file_no;
            done.push(self.write_segment(file, id, partition, no, first.base_offset, these));
        }
        done
    }

    fn write_segment(
        &self,
        file: &WalFile,
        id: ObjectId,
        partition: i32,
        file_no: u64,
        base_offset: i64,
        extents: &[Extent],
    ) -> Result<SegmentMeta> {
        let dir = self.shared.segments_dir();
        let mut writer = SegmentWriter::create(self.shared.disk(), &dir, id, partition, file_no, base_offset)?;
        let mut bytes = Vec::new();
        for e in extents {
            bytes.resize(e.len as usize, 0);
            file.file.read_exact_at(&mut bytes, e.position).map_err(disk::error("cannot read", &file.path))?;
            writer.push(&bytes, (e.append_ms, e.append_ms))?;
        }
        writer.finish(self.shared.options.sync)
    }

    /// The first readable offset of a partition that lives in the same generation.
    fn live_start(&self, id: ObjectId, partition: i32, generation: u64) -> Option<i64> {
        let topic = self.shared.topic(id).filter(|t| t.generation == generation)?;
        let start = topic.partition(partition)?.state.read().start;
        Some(start)
    }

    fn sync_dirs(&self, topics: &BTreeSet<ObjectId>) -> Result<()> {
        if topics.is_empty() || !self.shared.options.sync {
            return Ok(());
        }
        let dir = self.shared.segments_dir();
        let on = self.shared.disk();
        topics.iter().try_for_each(|id| disk::sync_dir(on, &segment::topic_dir(&dir, *id)))?;
        disk::sync_dir(on, &dir)
    }

    /// Shows readers the segments of a partition in the image, instead of the extents that `is_moved`.
    fn show(&self, image: &Image, id: ObjectId, partition: i32, is_moved: impl Fn(&Extent) -> bool) {
        let Some(topic) = image.topics.get(&id) else { return };
        let Some(segments) = topic.partitions.get(partition as usize).map(|p| &p.segments) else { return };
        let live = self.shared.topic(id).filter(|t| t.generation == topic.generation);
        let Some(live) = live.and_then(|t| t.partition(partition)) else { return };
        let mut state = live.state.write();
        let start = state.start;
        state.segments = segments.iter().filter(|s| s.last_offset >= start).map(|s| Arc::new(*s)).collect();
        while state.extents.front().is_some_and(&is_moved) {
            state.extents.pop_front();
        }
    }

    /// Removes extents of a file that is going away and that were not worth moving.
    fn forget_extents(&self, seq: u32) {
        let topics: Vec<_> = self.shared.topics.read().values().cloned().collect();
        for topic in topics {
            for p in topic.partitions.read().iter() {
                if p.state.read().extents.front().is_some_and(|e| e.file_seq <= seq) {
                    p.state.write().extents.retain(|e| e.file_seq > seq);
                }
            }
        }
    }

    /// Takes segments out of the image that lie before the start of their partition, or whose topic is gone.
    fn drop_dead(&self, image: &mut Image, dropped: &mut Vec<Dropped>) {
        let gone: Vec<_> = image.topics.keys().filter(|id| self.shared.topic(**id).is_none()).copied().collect();
        gone.into_iter().for_each(|id| image.drop_topic(id, dropped));
        for (id, topic) in &mut image.topics {
            let generation = topic.generation;
            for (i, p) in topic.partitions.iter_mut().enumerate() {
                if p.segments.is_empty() {
                    continue;
                }
                let start = self.live_start(*id, i as i32, generation).unwrap_or(i64::MAX);
                p.segments.retain(|s| {
                    let keep = s.last_offset >= start;
                    if !keep {
                        dropped.push((*id, i as i32, *s));
                    }
                    keep
                });
            }
        }
    }

    /// Removes segments that trims and deleted topics have left; returns the bytes freed.
    fn clean_up(&self) -> Result<u64> {
        let mut image = self.load()?;
        let mut dropped = Vec::new();
        self.drop_dead(&mut image, &mut dropped);
        if dropped.is_empty() {
            return Ok(0);
        }
        image.save(self.shared.disk(), &self.shared.options.dir)?;
        let bytes = dropped.iter().map(|(_, _, s)| s.data_bytes).sum();
        self.remove(dropped);
        Ok(bytes)
    }

    /// Removes files that the manifest no longer names. One that stays is removed at the next start.
    fn remove(&self, dropped: Vec<Dropped>) {
        let dir = self.shared.segments_dir();
        let mut topics = BTreeMap::new();
        for (id, partition, meta) in dropped {
            self.shared.open_segments.forget(meta.file_no);
            let path = segment::path(&dir, id, partition, &meta);
            match self.shared.disk().remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => tracing::warn!("cannot remove {}: {e}", path.display()),
                _ => {}
            }
            topics.insert(id, self.shared.topic(id).is_some());
        }
        for (id, _) in topics.into_iter().filter(|(_, is_live)| !is_live) {
            // Not empty when a topic with the same id has come back: then it stays.
            let _ = self.shared.disk().remove_dir(&segment::topic_dir(&dir, id));
        }
    }
}

fn all_partitions(image: &Image) -> BTreeSet<(ObjectId, i32)> {
    image.topics.iter().flat_map(|(id, t)| (0..t.partitions.len() as i32).map(|p| (*id, p))).collect()
}

/// The trims that retention asks for at a time.
pub(crate) fn retention_trims(shared: &Shared, now_ms: i64) -> Vec<Trim> {
    let topics: Vec<_> = shared.topics.read().values().cloned().collect();
    let mut trims = Vec::new();
    for topic in topics {
        let config = topic.config.read().clone();
        if config.retention_ms.is_none() && config.retention_bytes.is_none() {
            continue;
        }
        for (i, p) in topic.partitions.read().iter().enumerate() {
            if let Some(start) = retention::decide(&p.state.read(), &config, now_ms) {
                trims.push(Trim { topic: topic.id, partition: i as i32, start });
            }
        }
    }
    trims
}
