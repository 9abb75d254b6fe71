//! Columns that came to a stream when it had records already. Ground state, as marks of the log.
//!
//! What a record that is older than a column holds under its name was not meant for it: it is shown if it fits, is else NULL, and never
//! makes the record a dead letter. So what was a row before an `ALTER STREAM ... ADD COLUMN` is one afterwards, for views that go
//! on, for views that are built later, and for queries.
//!
//! A column is noted before the catalog has it, with all records older than it. Once the engine reads by it, the records that are there
//! then are, and no later ones: of these none was read without it. After a crash in between, those that are there at the start are.

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use bytes::Bytes;
use fleuve_log::Log;
use fleuve_sql::{BoundObject, Change, ObjectSet, Spec};
use fleuve_types::{Error, ObjectId, Result};
use serde::{Deserialize, Serialize};

/// A mark and what it becomes.
pub(super) type Mark = (String, Option<Bytes>);

/// By name, for each partition the first offset that is not older than the column; None while it is coming. A partition that came later
/// has no older records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct LaterColumns(BTreeMap<String, Option<Vec<i64>>>);

pub(super) fn mark_of(stream: ObjectId) -> String {
    format!("columns/{stream}")
}

impl LaterColumns {
    /// Those of a stream.
    ///
    /// # Errors
    /// A bug: the mark says something else.
    pub(super) fn of(log: &Log, stream: ObjectId) -> Result<Self> {
        match log.mark(&mark_of(stream)) {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::bug(format!("the later columns of stream {stream} cannot be read: {e}"))),
            None => Ok(Self::default()),
        }
    }

    pub(super) fn mark(&self, stream: ObjectId) -> Result<Mark> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::bug(e.to_string()))?;
        Ok((mark_of(stream), Some(Bytes::from(bytes))))
    }

    /// True while one of a stream's columns is coming.
    pub(super) fn are_coming(&self, schema: &Schema) -> bool {
        self.0.iter().any(|(name, since)| since.is_none() && schema.index_of(name).is_ok())
    }

    /// The same, where the columns that are coming have come: the records below `ends`, by partition, are older.
    pub(super) fn come(&self, schema: &Schema, ends: &[i64]) -> Self {
        let since = |name: &String, since: &Option<Vec<i64>>| match since {
            None if schema.index_of(name).is_ok() => Some(ends.to_vec()),
            since => since.clone(),
        };
        Self(self.0.iter().map(|(name, old)| (name.clone(), since(name, old))).collect())
    }

    /// Which columns of a stream the record at an offset is older than, and the first offset behind it for which that is another answer.
    pub(super) fn newer_than(&self, schema: &Schema, partition: i32, offset: i64) -> (Vec<usize>, i64) {
        let at = usize::try_from(partition).unwrap_or(usize::MAX);
        let since = |since: &Option<Vec<i64>>| match since {
            None => i64::MAX,
            Some(since) => since.get(at).copied().unwrap_or(0),
        };
        let columns = self.0.iter().filter_map(|(name, old)| Some((schema.index_of(name).ok()?, since(old))));
        let newer: Vec<(usize, i64)> = columns.filter(|(_, since)| *since > offset).collect();
        let until = newer.iter().map(|(_, since)| *since).min().unwrap_or(i64::MAX);
        (newer.into_iter().map(|(column, _)| column).collect(), until)
    }
}

/// Notes the columns that `changes` bring to streams, durably.
pub(super) async fn note(log: &Log, before: &ObjectSet, changes: &[Change]) -> Result<()> {
    let mut marks = vec![];
    for change in changes {
        let Change::Replace(BoundObject { object, spec: Spec::Stream(new) }) = change else { continue };
        let Some(Spec::Stream(old)) = before.by_id(object.id).map(|b| &b.spec) else { continue };
        let has = |schema: &Schema, name: &str| schema.index_of(name).is_ok();
        let added: Vec<&String> =
            new.schema.fields().iter().map(|f| f.name()).filter(|name| !has(&old.schema, name)).collect();
        if added.is_empty() {
            continue;
        }
        let mut columns = LaterColumns::of(log, object.id)?;
        // One that has gone since may come back, and then has other records before it.
        columns.0.retain(|name, _| has(&old.schema, name));
        columns.0.extend(added.into_iter().map(|name| (name.clone(), None)));
        marks.push(columns.mark(object.id)?);
    }
    if marks.is_empty() { Ok(()) } else { log.append_atomic(vec![], marks).await.map(|_| ()).map_err(Error::from) }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn records_are_older_by_partition() {
        let schema = Schema::new(["a", "b", "c"].map(|name| Field::new(name, DataType::Int32, true)).to_vec());
        let columns =
            LaterColumns([("b", Some(vec![5, 0])), ("c", None), ("gone", None)].map(|(n, s)| (n.into(), s)).into());
        assert_eq!(columns.newer_than(&schema, 0, 4), (vec![1, 2], 5));
        assert_eq!(columns.newer_than(&schema, 0, 5), (vec![2], i64::MAX));
        assert_eq!(columns.newer_than(&schema, 1, 0), (vec![2], i64::MAX));
        assert_eq!(columns.newer_than(&schema, 2, 0), (vec![2], i64::MAX));
        assert!(columns.are_coming(&schema));
        let come = columns.come(&schema, &[9, 3]);
        assert!(!come.are_coming(&schema));
        assert_eq!(come.newer_than(&schema, 0, 4), (vec![1, 2], 5));
        assert_eq!(come.newer_than(&schema, 0, 5), (vec![2], 9));
        assert_eq!(come.newer_than(&schema, 1, 2), (vec![2], 3));
        assert_eq!(come.newer_than(&schema, 1, 3), (vec![], i64::MAX));
        assert_eq!(come.newer_than(&schema, 2, 0), (vec![], i64::MAX));
    }
}
