//! What a bound stream or sink needs to run, made from the log and the registry.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fleuve_formats::{Encoder, FormatSpec, avro_schema_for};
use fleuve_log::{Log, TopicConfig, TopicSpec};
use fleuve_registry::Registry;
use fleuve_sql::{BoundObject, ObjectSet, SinkMode, SinkSpec, Spec, StreamSpec};
use fleuve_types::{Clock, Error, Result};

use super::RegistryLookup;
use super::relations::dead_letters_of;
use super::sink::{StreamSink, nullable};
use super::stream::StreamRelation;
use crate::config::Config;

/// Opens streams and sinks.
pub struct Opener<'a> {
    pub config: &'a Config,
    pub log: &'a Log,
    pub registry: &'a Registry,
    pub clock: &'a Arc<dyn Clock>,
}

impl Opener<'_> {
    /// A stream's topic in the log, made or brought up to date, and the relation over it.
    pub async fn open_stream(
        &self,
        set: &ObjectSet,
        bound: &BoundObject,
        spec: &StreamSpec,
    ) -> Result<Arc<StreamRelation>> {
        let relation = self.open_altered(set, bound, spec).await?;
        relation.columns_have_come().await?;
        Ok(relation)
    }

    /// As [`Opener::open_stream`], of a stream that is still read by other columns.
    pub async fn open_altered(
        &self,
        set: &ObjectSet,
        bound: &BoundObject,
        spec: &StreamSpec,
    ) -> Result<Arc<StreamRelation>> {
        let id = bound.object.id;
        let unlimited = |bytes: u64| i64::try_from(bytes).ok();
        let config = TopicConfig {
            retention_ms: spec.retention_ms.or(self.config.retention_ms.and_then(unlimited)),
            retention_bytes: spec.retention_bytes.or(self.config.retention_bytes.and_then(unlimited)),
            ..TopicConfig::default()
        };
        let partitions = i32::try_from(spec.partitions).map_err(|_| Error::input("too many partitions"))?;
        match self.log.topic(id) {
            None => self.log.create_topic(TopicSpec { id, partitions, config }).await?,
            Some(topic) => {
                if topic.partitions < partitions {
                    self.log.add_partitions(id, partitions).await?;
                }
            }
        }
        let dead = dead_letters_of(set, bound);
        let lookup = Arc::new(RegistryLookup(self.registry.clone()));
        Ok(Arc::new(StreamRelation::new(bound, spec, self.log.clone(), lookup, dead)?))
    }

    pub async fn sink_writer(&self, set: &ObjectSet, bound: &BoundObject, sink: &SinkSpec) -> Result<StreamSink> {
        let missing = || Error::bug(format!("sink {} lacks what it connects", bound.object.name));
        let Spec::View(view) = &set.by_id(sink.from).ok_or_else(missing)?.spec else { return Err(missing()) };
        let target = set.by_id(sink.into).ok_or_else(missing)?;
        let key = sink
            .key
            .iter()
            .map(|name| {
                view.schema.index_of(name).map_err(|_| Error::input(format!("the view has no column \"{name}\"")))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut fields: Vec<_> = nullable(&view.schema).fields().iter().cloned().collect();
        if sink.mode == SinkMode::Changes {
            for name in ["weight", "epoch"] {
                fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let key_schema = Arc::new(nullable(&view.schema).project(&key).map_err(|e| Error::bug(e.to_string()))?);
        let topic = &target.object.name;
        let value = self.encoder(&sink.format, &schema, &format!("{topic}-value"), topic).await?;
        let key_encoder = if key.is_empty() {
            None
        } else {
            Some(self.encoder(&sink.format, &key_schema, &format!("{topic}-key"), topic).await?)
        };
        Ok(StreamSink {
            id: bound.object.id,
            into: sink.into,
            mode: sink.mode,
            key,
            schema,
            value,
            key_encoder,
            log: self.log.clone(),
            clock: self.clock.clone(),
            takes_place: false,
        })
    }

    /// An encoder for rows of a schema; an Avro schema is registered under `subject`. Its record is called as the subject's latest calls
    /// it, for schemas of other names do not follow each other, and `name` where there is none.
    pub async fn encoder(&self, format: &str, schema: &SchemaRef, subject: &str, name: &str) -> Result<Encoder> {
        let spec = FormatSpec::new(format, &BTreeMap::new(), Some(schema.clone()))?;
        let id = if format == "avro" {
            let known = self.registry.record_name(subject);
            let text = avro_schema_for(schema, known.as_deref().unwrap_or(name))?;
            let id = self.registry.register(subject, &text).await?;
            Some(u32::try_from(id).map_err(|_| Error::bug("a negative schema id"))?)
        } else {
            None
        };
        Encoder::new(&spec, schema.clone(), id)
    }
}
