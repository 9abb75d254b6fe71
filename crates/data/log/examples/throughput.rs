//! How fast the log takes and gives data on this machine:
//! `cargo run -p fleuve-log --example throughput -- [producers] [records per batch] [bytes per record] [seconds]`.
//! Each producer waits for its batch to be durable before it sends the next one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fleuve_log::batch::{BatchBuilder, NewRecord};
use fleuve_log::{Log, LogOptions, TopicConfig, TopicSpec};
use fleuve_types::{ObjectId, SystemClock};

const TOPIC: ObjectId = ObjectId(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arg = |n: usize, default: usize| std::env::args().nth(n).map_or(Ok(default), |a| a.parse());
    let (producers, records, bytes, seconds) = (arg(1, 16)?, arg(2, 100)?, arg(3, 200)?, arg(4, 5)?);
    let dir = tempfile::tempdir_in(".")?;
    let log = Log::open(LogOptions::new(dir.path()), Arc::new(SystemClock))?;
    log.create_topic(TopicSpec { id: TOPIC, partitions: 4, config: TopicConfig::default() }).await?;
    let mut builder = BatchBuilder::new();
    let value = vec![b'x'; bytes];
    for _ in 0..records {
        builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() })?;
    }
    let batch = builder.build()?;

    let (began, run) = (Instant::now(), Duration::from_secs(seconds as u64));
    let tasks: Vec<_> = (0..producers)
        .map(|p| {
            let (log, batch) = (log.clone(), batch.clone());
            tokio::spawn(async move {
                let mut latencies_us = Vec::new();
                while began.elapsed() < run {
                    let sent = Instant::now();
                    log.append(TOPIC, (p % 4) as i32, batch.clone(), true).await?;
                    latencies_us.push(sent.elapsed().as_micros());
                }
                Ok::<_, fleuve_log::AppendError>(latencies_us)
            })
        })
        .collect();
    let mut latencies_us = Vec::new();
    for task in tasks {
        latencies_us.extend(task.await??);
    }
    let took = began.elapsed().as_secs_f64();
    latencies_us.sort_unstable();
    let at = |part: f64| latencies_us[((latencies_us.len() - 1) as f64 * part) as usize];
    let appends = latencies_us.len() as f64;
    println!(
        "append: {:.0} batches/s, {:.0} records/s, {:.1} MB/s; latency p50 {} us, p99 {} us; {} group commits",
        appends / took,
        appends * records as f64 / took,
        appends * batch.len() as f64 / took / 1e6,
        at(0.5),
        at(0.99),
        log.stats().group_commits,
    );
    log.settle().await?;

    let (began, mut read) = (Instant::now(), 0);
    for partition in 0..4 {
        let (mut offset, end) = log.offsets(TOPIC, partition).unwrap_or_default();
        while offset < end {
            for batch in log.read(TOPIC, partition, offset, 1 << 20)?.batches {
                read += batch.len();
                offset += (batch.len() / batch_bytes(&batch) * records) as i64;
            }
        }
    }
    println!("read: {:.1} MB/s", read as f64 / began.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

fn batch_bytes(batch: &[u8]) -> usize {
    fleuve_log::batch::BatchHeader::parse(batch).map_or(1, |h| h.size_bytes)
}
