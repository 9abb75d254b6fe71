use std::io::ErrorKind;
use std::path::Path;

use bytes::Bytes;
use fleuve_store::{Disk, Open};
use fleuve_types::{Error, Result};

use super::{Image, PartitionImage, TopicImage};
use crate::batch::crc32c;
use crate::codec::{Decoded, Fields, Malformed, PutFields};
use crate::disk;
use crate::producers::Producers;
use crate::segment::SegmentMeta;

const MAGIC: [u8; 8] = *b"FlvMan1\n";
const NAME: &str = "MANIFEST";

impl Image {
    /// Reads the manifest of a folder; `None` if there is none yet.
    ///
    /// # Errors
    /// `Io` when it cannot be read or is damaged.
    pub(crate) fn load(on: &dyn Disk, dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(NAME);
        let bytes = match on.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(disk::error("cannot read", &path)(e)),
        };
        let image = bytes
            .strip_prefix(&MAGIC)
            .and_then(<[u8]>::split_first_chunk::<4>)
            .filter(|(crc, body)| crc32c(body) == u32::from_be_bytes(**crc))
            .and_then(|(_, body)| Self::decode(body).ok());
        let damaged = || Error::io(format!("{} is damaged", path.display()), "restore it from a backup");
        image.map(Some).ok_or_else(damaged)
    }

    /// Replaces the manifest of a folder, durably and all at once.
    ///
    /// # Errors
    /// `Io`; the old manifest is then still there, unless only the folder could not be synced.
    pub(crate) fn save(&self, on: &dyn Disk, dir: &Path) -> Result<()> {
        let tmp = dir.join("MANIFEST.tmp");
        let body = self.encode();
        let write = || -> std::io::Result<()> {
            let file = on.open(&tmp, Open::Create)?;
            file.write_all_at(&[&MAGIC[..], &crc32c(&body).to_be_bytes(), &body].concat(), 0)?;
            file.sync()?;
            on.rename(&tmp, &dir.join(NAME))
        };
        write().map_err(disk::error("cannot write", &tmp))?;
        disk::sync_dir(on, dir)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.secret);
        out.put_u32(self.wal_from);
        out.put_u64(self.next_file_no);
        out.put_u64(self.next_generation);
        out.put_u32(self.topics.len() as u32);
        for (id, t) in &self.topics {
            out.put_id(*id);
            out.put_u64(t.generation);
            out.put_bytes(&serde_json::to_vec(&t.config).expect("a topic's settings are plain data"));
            out.put_u32(t.partitions.len() as u32);
            for p in &t.partitions {
                out.put_i64(p.start);
                out.put_i64(p.next_offset);
                out.put_u32(p.segments.len() as u32);
                p.segments.iter().for_each(|s| s.encode(&mut out));
                p.producers.encode(&mut out);
            }
        }
        out.put_u32(self.marks.len() as u32);
        for (key, value) in &self.marks {
            out.put_bytes(key.as_bytes());
            out.put_bytes(value);
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut f = Fields::new(bytes);
        let mut image = Self {
            secret: f.u64()?,
            wal_from: f.u32()?,
            next_file_no: f.u64()?,
            next_generation: f.u64()?,
            ..Self::default()
        };
        for _ in 0..f.count(32)? {
            let id = f.id()?;
            let generation = f.u64()?;
            let config = serde_json::from_slice(f.bytes()?).map_err(|_| Malformed)?;
            let count = f.count(24)?;
            let partitions = (0..count).map(|_| decode_partition(&mut f)).collect::<Decoded<_>>()?;
            image.topics.insert(id, TopicImage { generation, config, partitions });
        }
        for _ in 0..f.count(8)? {
            let key = f.string()?.to_owned();
            image.marks.insert(key, Bytes::copy_from_slice(f.bytes()?));
        }
        if f.is_empty() { Ok(image) } else { Err(Malformed) }
    }
}

fn decode_partition(f: &mut Fields<'_>) -> Decoded<PartitionImage> {
    let (start, next_offset) = (f.i64()?, f.i64()?);
    let count = f.count(SegmentMeta::ENCODED_BYTES)?;
    let segments = (0..count).map(|_| SegmentMeta::decode(f)).collect::<Decoded<_>>()?;
    Ok(PartitionImage { start, next_offset, segments, producers: Producers::decode(f)? })
}
