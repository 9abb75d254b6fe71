use std::process::ExitCode;

use fleuve_types::Result;
use serde_json::Value;

use super::args::{TopicsAction, TopicsArgs};
use super::kafka::{self, Connection, EARLIEST, LATEST};
use super::render::{Column, Rows, TableStyle, table};
use super::term::{Out, Paint};

/// `fleuve topics`
pub async fn run(args: TopicsArgs) -> Result<ExitCode> {
    let mut connection = Connection::open(&kafka::find(&args.broker)).await?;
    match args.action.unwrap_or(TopicsAction::List) {
        TopicsAction::List => list(&mut connection).await?,
        TopicsAction::Describe { topics } => {
            for topic in &topics {
                describe(&mut connection, topic).await?;
            }
        }
        TopicsAction::Create { topics, partitions, config } => {
            for topic in &topics {
                connection.create_topic(topic, partitions, &config).await?;
                say(&format!("created {topic}"))?;
            }
        }
        TopicsAction::Delete { topics } => {
            for topic in &topics {
                connection.delete_topic(topic).await?;
                say(&format!("deleted {topic}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) -> Result<()> {
    let mut out = Out::new();
    out.line(text)?;
    out.flush()
}

fn columns(names: &[(&str, bool)]) -> Vec<Column> {
    let sql_type = |number: bool| if number { "BIGINT" } else { "TEXT" }.to_string();
    names.iter().map(|(name, number)| Column { name: (*name).to_string(), sql_type: sql_type(*number) }).collect()
}

fn print(rows: &Rows) -> Result<()> {
    let mut out = Out::new();
    out.bytes(table(rows, &[], TableStyle { paint: Paint::stdout(), max_width: None }).as_bytes())?;
    out.flush()
}

async fn list(connection: &mut Connection) -> Result<()> {
    let mut rows =
        Rows { columns: columns(&[("topic", false), ("partitions", true), ("records", true)]), rows: Vec::new() };
    for topic in connection.topics().await?.into_iter().filter(|t| !t.internal) {
        let first = connection.offsets(&topic.name, &topic.partitions, EARLIEST).await?;
        let next = connection.offsets(&topic.name, &topic.partitions, LATEST).await?;
        let records: i64 = next.iter().map(|(_, n)| n).sum::<i64>() - first.iter().map(|(_, n)| n).sum::<i64>();
        rows.rows.push(vec![Value::from(topic.name), Value::from(topic.partitions.len()), Value::from(records)]);
    }
    match rows.rows.is_empty() {
        true => say("There is no topic yet; the first record makes one: echo hello | fleuve produce TOPIC"),
        false => print(&rows),
    }
}

async fn describe(connection: &mut Connection, topic: &str) -> Result<()> {
    let partitions = connection.partitions(topic, false).await?;
    let first = connection.offsets(topic, &partitions, EARLIEST).await?;
    let next = connection.offsets(topic, &partitions, LATEST).await?;
    say(&Paint::stdout().bold(topic))?;
    let names = columns(&[("partition", true), ("first offset", true), ("next offset", true), ("records", true)]);
    let rows = first
        .iter()
        .zip(&next)
        .map(|((p, first), (_, next))| {
            vec![Value::from(*p), Value::from(*first), Value::from(*next), Value::from(next - first)]
        })
        .collect();
    print(&Rows { columns: names, rows })?;
    let settings = connection.topic_configs(topic).await?;
    let rows = settings
        .into_iter()
        .map(|(key, value)| vec![Value::from(key), value.map_or(Value::Null, Value::from)])
        .collect();
    print(&Rows { columns: columns(&[("setting", false), ("value", false)]), rows })
}
