//! Streams as the Kafka door's topics.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use fleuve_kafka::{NewTopic, TopicEntry, Topics};
use fleuve_log::TopicConfig;
use fleuve_sql::{BoundObject, DEFAULT_NAMESPACE, Session, Spec};
use fleuve_types::{Error, ErrorKind, ObjectId, Result};

use super::Platform;

/// Topic names and streams: a stream of `public` has its own name, another `namespace.name`.
pub struct StreamTopics {
    pub platform: Weak<Platform>,
    pub auto_create: bool,
    pub cluster_id: String,
}

fn topic_name(bound: &BoundObject) -> String {
    match bound.object.namespace.as_str() {
        DEFAULT_NAMESPACE => bound.object.name.clone(),
        namespace => format!("{namespace}.{}", bound.object.name),
    }
}

/// The namespace and the name of the stream that a new topic is.
fn stream_of(topic: &str) -> Result<(&str, &str)> {
    let mut parts = topic.split('.');
    let (namespace, name) = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => (DEFAULT_NAMESPACE, name),
        (Some(""), Some(_), None) | (Some(_), Some(""), None) => {
            let message = format!("\"{topic}\" has nothing on one side of its dot");
            return Err(Error::input(message).hint("a topic is NAME, or NAMESPACE.NAME"));
        }
        (Some(DEFAULT_NAMESPACE), Some(name), None) => {
            let message = format!("streams of the namespace {DEFAULT_NAMESPACE} are topics of their own name");
            return Err(Error::input(message).hint(format!("this one would be \"{name}\"")));
        }
        (Some(namespace), Some(name), None) => (namespace, name),
        _ => {
            let message = format!("\"{topic}\" has more than one dot");
            return Err(
                Error::input(message).hint("a topic is NAME, or NAMESPACE.NAME; write _ or - for the other dots")
            );
        }
    };
    fleuve_sql::check_stream_name(namespace, name)?;
    Ok((namespace, name))
}

impl StreamTopics {
    fn platform(&self) -> Result<Arc<Platform>> {
        self.platform.upgrade().ok_or_else(|| Error::new(ErrorKind::Retry, "the server is stopping"))
    }

    fn bound(&self, name: &str) -> Option<Arc<BoundObject>> {
        let objects = self.platform.upgrade()?.object_set();
        let (namespace, name) = name.split_once('.').unwrap_or((DEFAULT_NAMESPACE, name));
        objects.get(namespace, name).filter(|b| matches!(b.spec, Spec::Stream(_))).cloned()
    }

    fn entry(&self, bound: &BoundObject) -> Option<TopicEntry> {
        let platform = self.platform.upgrade()?;
        let topic = platform.log().topic(bound.object.id)?;
        Some(TopicEntry {
            id: bound.object.id,
            name: topic_name(bound),
            partitions: topic.partitions as u32,
            internal: false,
            configs: configs_of(&topic.config),
        })
    }
}

/// A topic's settings in Kafka's words; what has its default is left out.
fn configs_of(config: &TopicConfig) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Some(ms) = config.retention_ms {
        out.insert("retention.ms".into(), ms.to_string());
    } else {
        out.insert("retention.ms".into(), "-1".into());
    }
    if let Some(bytes) = config.retention_bytes {
        out.insert("retention.bytes".into(), bytes.to_string());
    }
    out.insert("max.message.bytes".into(), config.max_message_bytes.to_string());
    if config.timestamp_type == fleuve_log::TimestampType::LogAppendTime {
        out.insert("message.timestamp.type".into(), "LogAppendTime".into());
    }
    out
}

/// Sets one of Kafka's settings; `None` is the default again.
fn set_config(config: &mut TopicConfig, key: &str, value: Option<&str>) -> Result<()> {
    let number = |text: &str| -> Result<i64> {
        text.parse().map_err(|_| Error::input(format!("{key} = '{text}' is not a number")))
    };
    let unlimited = |n: i64| (n >= 0).then_some(n);
    let default = TopicConfig::default();
    match key {
        "retention.ms" => config.retention_ms = value.map(number).transpose()?.and_then(unlimited),
        "retention.bytes" => config.retention_bytes = value.map(number).transpose()?.and_then(unlimited),
        "max.message.bytes" => {
            config.max_message_bytes = match value {
                Some(text) => usize::try_from(number(text)?)
                    .map_err(|_| Error::input(format!("{key} = '{text}' is not a size")))?,
                None => default.max_message_bytes,
            };
        }
        "message.timestamp.type" => {
            config.timestamp_type = match value {
                Some("LogAppendTime") => fleuve_log::TimestampType::LogAppendTime,
                _ => fleuve_log::TimestampType::CreateTime,
            };
        }
        // The door has checked names and values; what is left has only one value here.
        _ => {}
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[async_trait]
impl Topics for StreamTopics {
    fn by_name(&self, name: &str) -> Option<TopicEntry> {
        self.entry(self.bound(name)?.as_ref())
    }

    fn by_id(&self, id: ObjectId) -> Option<TopicEntry> {
        let objects = self.platform.upgrade()?.object_set();
        self.entry(objects.by_id(id)?)
    }

    fn list(&self) -> Vec<TopicEntry> {
        let Some(platform) = self.platform.upgrade() else { return vec![] };
        let objects = platform.object_set();
        let streams = objects.by_name.values().filter(|b| matches!(b.spec, Spec::Stream(_)));
        let mut out: Vec<TopicEntry> = streams.filter_map(|b| self.entry(b)).collect();
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out
    }

    fn name_problem(&self, name: &str) -> Option<String> {
        stream_of(name).err().map(|e| e.to_string())
    }

    async fn create(&self, topic: NewTopic, validate_only: bool) -> Result<TopicEntry> {
        let platform = self.platform()?;
        let (namespace, name) = stream_of(&topic.name)?;
        if platform.object_set().get(namespace, name).is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("topic '{}' exists already", topic.name)));
        }
        let mut config = TopicConfig::default();
        for (key, value) in &topic.configs {
            set_config(&mut config, key, Some(value))?;
        }
        if validate_only {
            return Ok(TopicEntry {
                id: ObjectId(0),
                name: topic.name,
                partitions: topic.partitions,
                internal: false,
                configs: topic.configs,
            });
        }
        let sql = format!(
            "CREATE STREAM {}.{} WITH (format = 'raw', partitions = {})",
            quoted(namespace),
            quoted(name),
            topic.partitions
        );
        Session::new(Arc::new(super::backend::Shared(platform.clone()))).execute(&sql).await?;
        let bound = self
            .bound(&topic.name)
            .ok_or_else(|| Error::bug(format!("topic '{}' is not there after it was made", topic.name)))?;
        if config != TopicConfig::default() {
            platform.log().set_config(bound.object.id, config).await?;
        }
        self.entry(&bound).ok_or_else(|| Error::bug("a topic without a log"))
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let platform = self.platform()?;
        let bound = self.bound(name).ok_or_else(|| Error::not_found(format!("there is no topic '{name}'")))?;
        let sql = format!("DROP STREAM {}.{}", quoted(&bound.object.namespace), quoted(&bound.object.name));
        Session::new(Arc::new(super::backend::Shared(platform))).execute(&sql).await.map(|_| ())
    }

    async fn grow(&self, name: &str, partitions: u32, validate_only: bool) -> Result<()> {
        let platform = self.platform()?;
        let bound = self.bound(name).ok_or_else(|| Error::not_found(format!("there is no topic '{name}'")))?;
        let now = platform.log().topic(bound.object.id).map_or(0, |t| t.partitions);
        let total = i32::try_from(partitions).map_err(|_| Error::input("too many partitions"))?;
        if total <= now {
            return Err(Error::input(format!("topic '{name}' has {now} partitions already")));
        }
        if validate_only {
            return Ok(());
        }
        platform.log().add_partitions(bound.object.id, total).await
    }

    async fn alter_config(
        &self,
        name: &str,
        changes: Vec<(String, Option<String>)>,
        validate_only: bool,
    ) -> Result<()> {
        let platform = self.platform()?;
        let bound = self.bound(name).ok_or_else(|| Error::not_found(format!("there is no topic '{name}'")))?;
        let topic =
            platform.log().topic(bound.object.id).ok_or_else(|| Error::not_found(format!("no topic '{name}'")))?;
        let mut config = topic.config;
        for (key, value) in &changes {
            set_config(&mut config, key, value.as_deref())?;
        }
        if validate_only { Ok(()) } else { platform.log().set_config(bound.object.id, config).await }
    }

    async fn delete_records(&self, topic: ObjectId, partition: i32, before: i64) -> Result<i64> {
        self.platform()?.delete_records(topic, partition, before).await
    }

    fn auto_create(&self) -> bool {
        self.auto_create
    }

    fn cluster_id(&self) -> String {
        self.cluster_id.clone()
    }
}
