//! Records out, lines in.

use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fleuve_log::batch::Record;
use fleuve_types::{Error, Result};
use serde_json::{Value, json};

use super::args::{ConsumeArgs, RecordFormat, Start};
use super::kafka::{self, Connection, EARLIEST, Fetched, LATEST, Member, Position, Standing};
use super::term::Out;

/// How long the server holds a fetch that finds nothing.
const WAIT_MS: i32 = 500;

/// Prints records and counts them.
struct Printer {
    args: ConsumeArgs,
    out: Out,
    left: u64,
}

/// `fleuve consume`
pub async fn run(args: ConsumeArgs) -> Result<ExitCode> {
    let mut connection = Connection::open(&kafka::find(&args.broker)).await?;
    let left = args.count.unwrap_or(u64::MAX);
    let mut printer = Printer { out: Out::new(), left, args };
    match printer.args.group.clone() {
        Some(group) => printer.group(&mut connection, &group).await?,
        None => printer.alone(&mut connection).await?,
    }
    printer.out.flush()?;
    Ok(ExitCode::SUCCESS)
}

impl Printer {
    async fn alone(&mut self, connection: &mut Connection) -> Result<()> {
        let topic = self.args.topic.clone();
        let mut partitions = connection.partitions(&topic, false).await?;
        if let Some(only) = self.args.partition {
            if !partitions.contains(&only) {
                return Err(Error::not_found(format!("{topic} has no partition {only}; it has {}", partitions.len())));
            }
            partitions = vec![only];
        }
        let ends: Position = connection.offsets(&topic, &partitions, LATEST).await?.into_iter().collect();
        let mut position: Position = match self.args.from {
            Start::Beginning => connection.offsets(&topic, &partitions, EARLIEST).await?.into_iter().collect(),
            Start::End => ends.clone(),
            Start::Offset(offset) => partitions.iter().map(|p| (*p, offset)).collect(),
        };
        while self.left > 0 && (self.args.follow || !reached(&position, &ends)) {
            let fetched = connection.fetch(&topic, &position, self.wait_ms()).await?;
            position = self.print(fetched, &ends)?;
        }
        Ok(())
    }

    async fn group(&mut self, connection: &mut Connection, group: &str) -> Result<()> {
        let topic = self.args.topic.clone();
        let partitions = connection.partitions(&topic, true).await?;
        let ends: Position = connection.offsets(&topic, &partitions, LATEST).await?.into_iter().collect();
        let mut member = Member::join(connection, group, &topic).await?;
        while self.left > 0 && (self.args.follow || !reached(&member.position, &ends)) {
            if member.position.is_empty() {
                // More members than partitions: wait for one to become free.
                tokio::time::sleep(std::time::Duration::from_millis(WAIT_MS as u64)).await;
            } else {
                // A request that is cut off leaves the connection unusable, so Ctrl-C is looked for only between them.
                let fetched = connection.fetch(&topic, &member.position, self.wait_ms()).await?;
                let next = self.print(fetched, &ends)?;
                if next != member.position {
                    // What is committed has been written out: a record may be seen twice, but none is lost.
                    let standing = member.commit(connection, &next).await?;
                    member.position = next;
                    if standing == Standing::Rejoin {
                        member.rejoin(connection).await?;
                    }
                }
            }
            if stop_asked().await {
                break;
            }
            if member.heartbeat(connection).await? == Standing::Rejoin {
                member.rejoin(connection).await?;
            }
        }
        member.leave(connection).await;
        Ok(())
    }

    fn wait_ms(&self) -> i32 {
        if self.args.follow { WAIT_MS } else { WAIT_MS / 5 }
    }

    /// Prints what was fetched, up to the number that was asked for and, without `--follow`, to where the topic ended when the
    /// command began. Gives the position behind what was printed.
    fn print(&mut self, fetched: Fetched, ends: &Position) -> Result<Position> {
        let mut position = fetched.next;
        for (partition, record) in &fetched.records {
            let beyond = !self.args.follow && ends.get(partition).is_some_and(|end| record.offset >= *end);
            if self.left == 0 || beyond {
                let stop = position.entry(*partition).or_insert(record.offset);
                *stop = (*stop).min(record.offset);
                continue;
            }
            self.left -= 1;
            match self.args.format {
                RecordFormat::Raw => self.raw(*partition, record)?,
                RecordFormat::Json => self.out.line(&json_record(&self.args.topic, *partition, record))?,
            }
        }
        self.out.flush()?;
        Ok(position)
    }

    fn raw(&mut self, partition: i32, record: &Record) -> Result<()> {
        if self.args.offset {
            self.out.bytes(format!("{partition}:{}\t", record.offset).as_bytes())?;
        }
        if self.args.key {
            self.out.bytes(record.key.as_deref().unwrap_or_default())?;
            self.out.bytes(b"\t")?;
        }
        self.out.bytes(record.value.as_deref().unwrap_or_default())?;
        self.out.bytes(b"\n")
    }
}

/// True once Ctrl-C was pressed; does not wait.
async fn stop_asked() -> bool {
    use tokio::sync::OnceCell;
    static PRESSED: OnceCell<tokio::sync::watch::Receiver<bool>> = OnceCell::const_new();
    let pressed = PRESSED.get_or_init(|| async {
        let (sender, receiver) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            // Without the signal the command just goes on.
            if tokio::signal::ctrl_c().await.is_ok() {
                let _ = sender.send(true);
            }
        });
        receiver
    });
    *pressed.await.borrow()
}

fn reached(position: &Position, ends: &Position) -> bool {
    position.iter().all(|(partition, next)| ends.get(partition).is_none_or(|end| next >= end))
}

/// A record as one JSON object.
fn json_record(topic: &str, partition: i32, record: &Record) -> String {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| {
            let value = value.as_ref().map(|v| String::from_utf8_lossy(v).into_owned());
            json!([String::from_utf8_lossy(name), value])
        })
        .collect();
    format!(
        "{{\"topic\":{},\"partition\":{partition},\"offset\":{},\"timestamp\":{},{},{},\"headers\":{}}}",
        json!(topic),
        record.offset,
        record.timestamp_ms,
        json_bytes("key", record.key.as_ref()),
        json_bytes("value", record.value.as_ref()),
        Value::Array(headers)
    )
}

/// Text as text; other bytes in base64 under a name that says so.
fn json_bytes(name: &str, bytes: Option<&Bytes>) -> String {
    match bytes.map(|b| (b, std::str::from_utf8(b))) {
        None => format!("\"{name}\":null"),
        Some((_, Ok(text))) => format!("\"{name}\":{}", json!(text)),
        Some((bytes, Err(_))) => format!("\"{name}_base64\":\"{}\"", BASE64.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_as_json_keeps_bytes_that_are_no_text() {
        let record = Record {
            offset: 7,
            timestamp_ms: 5,
            key: None,
            value: Some(Bytes::from_static(&[0xff])),
            headers: vec![(Bytes::from_static(b"h"), None)],
        };
        let text = json_record("t", 1, &record);
        assert!(text.starts_with("{\"topic\":\"t\",\"partition\":1,\"offset\":7,\"timestamp\":5,"), "{text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["value_base64"], "/w==");
        assert_eq!(value["key"], Value::Null);
        assert_eq!(value["headers"], json!([["h", null]]));
    }

    #[test]
    fn the_end_is_reached_when_all_partitions_are_there() {
        let at = |a, b| Position::from([(0, a), (1, b)]);
        assert!(reached(&at(5, 5), &at(5, 3)));
        assert!(!reached(&at(5, 2), &at(5, 3)));
        assert!(reached(&Position::new(), &at(1, 1)));
    }
}
