//! DescribeConfigs: the settings of topics and of the broker. Debezium and ksqlDB do not start without it.

use fleuve_log::limits;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{OK, message};
use crate::TopicEntry;
use crate::broker::{NODE_ID, Session};
use crate::codec::string;
use crate::config::{TOPIC_SETTINGS, ValueType};

/// The protocol's number for topics.
pub(crate) const TOPIC: i8 = 2;
/// The protocol's number for brokers.
pub(crate) const BROKER: i8 = 4;
const GROUP: i8 = 32;

const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;
const DEFAULT: i8 = 5;

/// A setting with its value.
pub(crate) struct Value {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// The protocol's number for where the value comes from.
    pub(crate) source: i8,
    value_type: ValueType,
    default: Option<&'static str>,
    read_only: bool,
    effect: &'static str,
}

pub(crate) fn handle(cx: &Session, version: i16, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|resource| {
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match values(cx, &resource) {
            Ok(values) => {
                let asked = resource.configuration_keys.as_deref();
                let chosen =
                    values.into_iter().filter(|v| asked.is_none_or(|keys| keys.iter().any(|k| &**k == v.name)));
                let configs =
                    chosen.map(|v| show(v, request.include_synonyms, version >= 3 && request.include_documentation));
                answer.with_error_code(OK).with_configs(configs.collect())
            }
            Err((code, text)) => answer.with_error_code(code.code()).with_error_message(message(text)),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn values(cx: &Session, resource: &DescribeConfigsResource) -> Result<Vec<Value>, (ResponseError, String)> {
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC => match cx.broker.topics.by_name(name) {
            Some(topic) => Ok(topic_values(&topic).collect()),
            None => Err((ResponseError::UnknownTopicOrPartition, format!("there is no topic '{name}'"))),
        },
        // No name: the defaults of all brokers, of which none were changed.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER if *name == NODE_ID.0.to_string() => Ok(broker_values(cx)),
        BROKER => Err((ResponseError::InvalidRequest, format!("there is no broker '{name}', only {}", NODE_ID.0))),
        GROUP => Ok(Vec::new()),
        other => Err((ResponseError::InvalidRequest, format!("resources of type {other} have no settings here"))),
    }
}

/// Every setting of a topic, by name.
pub(crate) fn topic_values(topic: &TopicEntry) -> impl Iterator<Item = Value> + '_ {
    TOPIC_SETTINGS.iter().map(|setting| {
        // One that was given as it is anyway cannot be told from one that was not: the log keeps values only.
        let given = topic.configs.get(setting.name).filter(|value| *value != setting.default);
        Value {
            name: setting.name,
            value: given.cloned().unwrap_or_else(|| setting.default.to_string()),
            source: if given.is_some() { FROM_TOPIC } else { DEFAULT },
            value_type: setting.value_type,
            default: Some(setting.default),
            read_only: false,
            effect: setting.effect,
        }
    })
}

fn broker_values(cx: &Session) -> Vec<Value> {
    use ValueType::{Boolean, Int, List, Long, String as Text};
    let options = &cx.broker.options;
    let at = cx.advertised();
    let value = |name, value_type, value: String, effect| Value {
        name,
        value,
        source: FROM_BROKER,
        value_type,
        default: None,
        read_only: true,
        effect,
    };
    vec![
        value("advertised.listeners", Text, format!("PLAINTEXT://{at}"), "Where clients are told to connect to."),
        value(
            "auto.create.topics.enable",
            Boolean,
            cx.broker.topics.auto_create().to_string(),
            "Whether asking for an unknown topic makes it.",
        ),
        value("broker.id", Int, NODE_ID.0.to_string(), "The one node."),
        value("compression.type", Text, "producer".into(), "Batches stay as the producer compressed them."),
        value("connections.max.idle.ms", Long, options.idle_timeout_ms.to_string(), "When a silent client is let go."),
        value("default.replication.factor", Int, "1".into(), "There is one node."),
        value("delete.topic.enable", Boolean, "true".into(), "Topics can be deleted."),
        value(
            "group.initial.rebalance.delay.ms",
            Int,
            options.initial_rebalance_delay_ms.to_string(),
            "How long a new group waits for more members.",
        ),
        value(
            "group.max.session.timeout.ms",
            Int,
            options.max_session_timeout_ms.to_string(),
            "The longest session timeout.",
        ),
        value(
            "group.min.session.timeout.ms",
            Int,
            options.min_session_timeout_ms.to_string(),
            "The shortest session timeout.",
        ),
        value("listeners", Text, format!("PLAINTEXT://{}", options.listen), "Where the server listens."),
        value("log.cleanup.policy", List, "delete".into(), "The default of topics."),
        value("log.message.timestamp.type", Text, "CreateTime".into(), "The default of topics."),
        value("log.retention.bytes", Long, "-1".into(), "The default of topics."),
        value("log.retention.ms", Long, "-1".into(), "The default of topics."),
        value("max.connections", Int, options.max_connections.to_string(), "Connections at a time."),
        value("message.max.bytes", Int, limits::MESSAGE_BYTES.to_string(), "The default of topics."),
        value("min.insync.replicas", Int, "1".into(), "There is one replica, which is always in sync."),
        value("num.partitions", Int, options.default_partitions.to_string(), "Partitions of a new topic."),
        value(
            "offsets.retention.minutes",
            Int,
            (options.offsets_retention_ms / 60_000).to_string(),
            "How long the offsets of an empty group stay.",
        ),
        value("offsets.topic.replication.factor", Int, "1".into(), "There is one node."),
        value("socket.request.max.bytes", Int, options.max_request_bytes.to_string(), "The largest request."),
        value("transaction.state.log.min.isr", Int, "1".into(), "There is one node."),
        value("transaction.state.log.replication.factor", Int, "1".into(), "There is one node."),
    ]
}

fn show(value: Value, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult {
    let synonym = |source: i8, text: &str| {
        DescribeConfigsSynonym::default()
            .with_name(string(value.name))
            .with_value(Some(string(text)))
            .with_source(source)
    };
    let mut list = Vec::new();
    if synonyms {
        list.push(synonym(value.source, &value.value));
        if let Some(default) = value.default.filter(|_| value.source != DEFAULT) {
            list.push(synonym(DEFAULT, default));
        }
    }
    DescribeConfigsResourceResult::default()
        .with_name(string(value.name))
        .with_value(Some(string(&value.value)))
        .with_read_only(value.read_only)
        .with_config_source(value.source)
        .with_synonyms(list)
        .with_config_type(value.value_type as i8)
        .with_documentation(if documentation { message(value.effect) } else { None })
}
