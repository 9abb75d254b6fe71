use fleuve_types::{Error, Result};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Connection, check};

/// The first offset that a partition still holds.
pub const EARLIEST: i64 = -2;
/// The offset that the next record gets.
pub const LATEST: i64 = -1;

/// Topics by name, not by id.
const METADATA_VERSION: i16 = 9;
const LIST_OFFSETS_VERSION: i16 = 6;
const CREATE_TOPICS_VERSION: i16 = 5;
const DELETE_TOPICS_VERSION: i16 = 5;
const DESCRIBE_CONFIGS_VERSION: i16 = 4;
/// `DescribeConfigs`: the resource is a topic.
const RESOURCE_TOPIC: i8 = 2;
const TIMEOUT_MS: i32 = 30_000;

/// A topic as the broker lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSummary {
    pub name: String,
    /// In order.
    pub partitions: Vec<i32>,
    pub internal: bool,
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_string()))
}

impl Connection {
    /// All topics by name.
    ///
    /// # Errors
    /// The connection's.
    pub async fn topics(&mut self) -> Result<Vec<TopicSummary>> {
        let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        let answer = self.call(&request, METADATA_VERSION).await?;
        let mut topics = Vec::with_capacity(answer.topics.len());
        for topic in answer.topics {
            let Some(name) = topic.name else { continue };
            let mut partitions: Vec<i32> = topic.partitions.iter().map(|p| p.partition_index).collect();
            partitions.sort_unstable();
            topics.push(TopicSummary { name: name.to_string(), partitions, internal: topic.is_internal });
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// The partitions of a topic, which is made if it does not exist, `create` is set and the broker does so.
    ///
    /// # Errors
    /// There is no such topic.
    pub async fn partitions(&mut self, topic: &str, create: bool) -> Result<Vec<i32>> {
        let named = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![named])).with_allow_auto_topic_creation(create);
        let answer = self.call(&request, METADATA_VERSION).await?;
        let found =
            answer.topics.into_iter().next().ok_or_else(|| Error::not_found(format!("there is no topic {topic}")))?;
        check(found.error_code, None, || format!("topic {topic}"))?;
        let mut partitions: Vec<i32> = found.partitions.iter().map(|p| p.partition_index).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The [`EARLIEST`] or [`LATEST`] offsets of a topic's partitions.
    ///
    /// # Errors
    /// The broker's.
    pub async fn offsets(&mut self, topic: &str, partitions: &[i32], which: i64) -> Result<Vec<(i32, i64)>> {
        let wanted = partitions
            .iter()
            .map(|p| {
                ListOffsetsPartition::default()
                    .with_partition_index(*p)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(which)
            })
            .collect();
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(wanted)]);
        let answer = self.call(&request, LIST_OFFSETS_VERSION).await?;
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in answer.topics.into_iter().flat_map(|t| t.partitions) {
            check(partition.error_code, None, || {
                format!("offsets of {topic}, partition {}", partition.partition_index)
            })?;
            offsets.push((partition.partition_index, partition.offset));
        }
        offsets.sort_unstable();
        Ok(offsets)
    }

    /// Makes a topic; `partitions` of `None` takes the broker's default.
    ///
    /// # Errors
    /// It exists, or a setting is wrong.
    pub async fn create_topic(
        &mut self,
        topic: &str,
        partitions: Option<i32>,
        configs: &[(String, String)],
    ) -> Result<()> {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_string(key.clone()))
                    .with_value(Some(StrBytes::from_string(value.clone())))
            })
            .collect();
        let topic_spec = CreatableTopic::default()
            .with_name(topic_name(topic))
            .with_num_partitions(partitions.unwrap_or(-1))
            .with_replication_factor(-1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic_spec]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.call(&request, CREATE_TOPICS_VERSION).await?;
        for result in &answer.topics {
            check(result.error_code, result.error_message.as_deref(), || format!("cannot create topic {topic}"))?;
        }
        Ok(())
    }

    /// Deletes a topic and all it holds.
    ///
    /// # Errors
    /// There is none, or something else needs it.
    pub async fn delete_topic(&mut self, topic: &str) -> Result<()> {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![topic_name(topic)]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.call(&request, DELETE_TOPICS_VERSION).await?;
        for result in &answer.responses {
            check(result.error_code, result.error_message.as_deref(), || format!("cannot delete topic {topic}"))?;
        }
        Ok(())
    }

    /// A topic's settings in the order of their names.
    ///
    /// # Errors
    /// There is no such topic.
    pub async fn topic_configs(&mut self, topic: &str) -> Result<Vec<(String, Option<String>)>> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(RESOURCE_TOPIC)
            .with_resource_name(StrBytes::from_string(topic.to_string()))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.call(&request, DESCRIBE_CONFIGS_VERSION).await?;
        let mut configs = Vec::new();
        for result in answer.results {
            check(result.error_code, result.error_message.as_deref(), || format!("settings of topic {topic}"))?;
            configs.extend(result.configs.into_iter().map(|c| (c.name.to_string(), c.value.map(|v| v.to_string()))));
        }
        configs.sort();
        Ok(configs)
    }
}
