//! CreateTopics.

use std::collections::{BTreeMap, BTreeSet};

use fleuve_types::{Error, ErrorKind};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::describe_configs::topic_values;
use super::message;
use crate::broker::{Session, topic_id};
use crate::codec::string;
use crate::config::check_topic_setting;
use crate::errors::{About, code};
use crate::topics::name_problem;
use crate::{NewTopic, TopicEntry};

type Refusal = (i16, String);

pub(crate) async fn handle(cx: &Session, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for topic in &request.topics {
        if !seen.insert(&topic.name) {
            twice.insert(topic.name.clone());
        }
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let made = if twice.contains(&topic.name) {
            Err((ResponseError::InvalidRequest.code(), "the request names this topic more than once".to_string()))
        } else {
            create(cx, topic, request.validate_only).await
        };
        let answer = CreatableTopicResult::default().with_name(topic.name.clone());
        results.push(match made {
            Ok(entry) => created(answer, &entry, request.validate_only),
            Err((code, text)) => answer
                .with_error_code(code)
                .with_error_message(message(text))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn create(cx: &Session, asked: &CreatableTopic, validate_only: bool) -> Result<TopicEntry, Refusal> {
    let new = to_new_topic(cx, asked)?;
    cx.broker.topics.create(new, validate_only).await.map_err(|e| (topic_code(&e), e.to_string()))
}

fn topic_code(error: &Error) -> i16 {
    code(error, if error.kind == ErrorKind::Config { About::Config } else { About::Topic })
}

fn to_new_topic(cx: &Session, asked: &CreatableTopic) -> Result<NewTopic, Refusal> {
    let problem = name_problem(&asked.name).map(str::to_string).or_else(|| cx.broker.topics.name_problem(&asked.name));
    if let Some(problem) = problem {
        return Err((ResponseError::InvalidTopicException.code(), problem));
    }
    let partitions = partitions(cx, asked)?;
    let configs = configs(asked)?;
    Ok(NewTopic { name: asked.name.to_string(), partitions, configs })
}

/// One node holds every partition, so a factor up to 3 is taken (scripts ask for it) and is 1 in truth.
fn partitions(cx: &Session, asked: &CreatableTopic) -> Result<u32, Refusal> {
    let most = cx.broker.options.max_partitions;
    let wrong = |text: String| (ResponseError::InvalidPartitions.code(), text);
    let count = if asked.assignments.is_empty() {
        if !matches!(asked.replication_factor, -1 | 1..=3) {
            let text =
                format!("the replication factor {} cannot be: there is one node; use 1", asked.replication_factor);
            return Err((ResponseError::InvalidReplicationFactor.code(), text));
        }
        match asked.num_partitions {
            -1 => cx.broker.options.default_partitions,
            n => u32::try_from(n).map_err(|_| wrong(format!("a topic cannot have {n} partitions")))?,
        }
    } else {
        let mut numbers: Vec<i32> = asked.assignments.iter().map(|a| a.partition_index).collect();
        numbers.sort_unstable();
        if !numbers.iter().copied().eq(0..i32::try_from(numbers.len()).unwrap_or(i32::MAX)) {
            let text = "the partitions of an assignment have to be 0, 1, 2, … without gaps".to_string();
            return Err((ResponseError::InvalidReplicaAssignment.code(), text));
        }
        u32::try_from(numbers.len()).unwrap_or(u32::MAX)
    };
    if count == 0 || count > most {
        return Err(wrong(format!("a topic has 1 to {most} partitions, not {count}")));
    }
    Ok(count)
}

fn configs(asked: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let mut configs = BTreeMap::new();
    for config in &asked.configs {
        // No value means the default.
        let Some(value) = &config.value else { continue };
        check_topic_setting(&config.name, value).map_err(|e| (code(&e, About::Config), e.to_string()))?;
        configs.insert(config.name.to_string(), value.to_string());
    }
    Ok(configs)
}

fn created(answer: CreatableTopicResult, entry: &TopicEntry, validate_only: bool) -> CreatableTopicResult {
    let configs = topic_values(entry).map(|value| {
        CreatableTopicConfigs::default()
            .with_name(string(value.name))
            .with_value(Some(string(value.value)))
            .with_config_source(value.source)
    });
    let id = if validate_only { uuid::Uuid::nil() } else { topic_id(entry.id) };
    answer
        .with_topic_id(id)
        .with_num_partitions(i32::try_from(entry.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()))
}
