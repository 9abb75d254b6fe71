//! Topics held in memory over a log: for tests and for a bare broker. Derived state, gone with the process.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fleuve_log::{Log, TopicSpec};
use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use parking_lot::RwLock;

use crate::config::topic_config;
use crate::{NewTopic, TopicEntry, Topics};

/// Topic names in memory; records and ids are the log's.
#[derive(Debug)]
pub struct MemoryTopics {
    log: Log,
    auto_create: bool,
    topics: RwLock<BTreeMap<String, TopicEntry>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

impl MemoryTopics {
    /// No topics yet.
    pub fn new(log: Log, auto_create: bool) -> Self {
        Self { log, auto_create, topics: RwLock::default(), changing: tokio::sync::Mutex::new(()) }
    }

    fn get(&self, name: &str) -> Result<TopicEntry> {
        self.by_name(name).ok_or_else(|| Error::not_found(format!("there is no topic '{name}'")))
    }
}

#[async_trait]
impl Topics for MemoryTopics {
    fn by_name(&self, name: &str) -> Option<TopicEntry> {
        self.topics.read().get(name).cloned()
    }

    fn by_id(&self, id: ObjectId) -> Option<TopicEntry> {
        self.topics.read().values().find(|t| t.id == id).cloned()
    }

    fn list(&self) -> Vec<TopicEntry> {
        self.topics.read().values().cloned().collect()
    }

    async fn create(&self, topic: NewTopic, validate_only: bool) -> Result<TopicEntry> {
        let _one = self.changing.lock().await;
        if self.by_name(&topic.name).is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("the topic '{}' exists already", topic.name)));
        }
        let config = topic_config(&topic.configs)?;
        let partitions =
            i32::try_from(topic.partitions).map_err(|_| Error::new(ErrorKind::Limit, "too many partitions"))?;
        let entry = TopicEntry {
            id: ObjectId(uuid::Uuid::now_v7().as_u128()),
            name: topic.name.clone(),
            partitions: topic.partitions,
            internal: false,
            configs: topic.configs,
        };
        if !validate_only {
            self.log.create_topic(TopicSpec { id: entry.id, partitions, config }).await?;
            self.topics.write().insert(topic.name, entry.clone());
        }
        Ok(entry)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let _one = self.changing.lock().await;
        let entry = self.get(name)?;
        self.topics.write().remove(name);
        self.log.delete_topic(entry.id).await
    }

    async fn grow(&self, name: &str, partitions: u32, validate_only: bool) -> Result<()> {
        let _one = self.changing.lock().await;
        let entry = self.get(name)?;
        if partitions <= entry.partitions {
            return Err(Error::input(format!("the topic '{name}' has {} partitions already", entry.partitions)));
        }
        if validate_only {
            return Ok(());
        }
        let total = i32::try_from(partitions).map_err(|_| Error::new(ErrorKind::Limit, "too many partitions"))?;
        self.log.add_partitions(entry.id, total).await?;
        if let Some(t) = self.topics.write().get_mut(name) {
            t.partitions = partitions;
        }
        Ok(())
    }

    async fn alter_config(
        &self,
        name: &str,
        changes: Vec<(String, Option<String>)>,
        validate_only: bool,
    ) -> Result<()> {
        let _one = self.changing.lock().await;
        let mut entry = self.get(name)?;
        for (key, value) in changes {
            match value {
                Some(value) => entry.configs.insert(key, value),
                None => entry.configs.remove(&key),
            };
        }
        let config = topic_config(&entry.configs)?;
        if validate_only {
            return Ok(());
        }
        self.log.set_config(entry.id, config).await?;
        self.topics.write().insert(name.to_string(), entry);
        Ok(())
    }

    async fn delete_records(&self, topic: ObjectId, partition: i32, before: i64) -> Result<i64> {
        self.log.delete_records(topic, partition, before).await
    }

    fn auto_create(&self) -> bool {
        self.auto_create
    }

    fn cluster_id(&self) -> String {
        "fleuve-in-memory-tops".into()
    }
}
