//! A bare broker: the log and topics in memory, nothing else. For the client tests of this crate.
//!
//!     cargo run -p fleuve-kafka --example broker -- 127.0.0.1:9092 /tmp/broker-data

use std::sync::Arc;

use fleuve_kafka::{KafkaOptions, KafkaServer, MemoryTopics};
use fleuve_log::{Log, LogOptions};
use fleuve_types::{Error, Result, SystemClock};

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(dir)) = (args.next(), args.next()) else {
        return Err(Error::input("usage: broker HOST:PORT FOLDER"));
    };
    let clock = Arc::new(SystemClock);
    let log = Log::open(LogOptions::new(dir), clock.clone())?;
    let topics = Arc::new(MemoryTopics::new(log.clone(), true));
    let options = KafkaOptions { listen: listen.parse()?, ..KafkaOptions::default() };
    let server = KafkaServer::bind(options, log.clone(), topics, clock).await?;
    println!("listening on {}", server.local_addr());
    let counters = server.counters();
    server
        .run(async {
            // Without the signal the broker runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await;
    println!("{:#?}", counters.snapshot());
    log.close().await
}
