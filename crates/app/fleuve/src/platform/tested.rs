//! A server that stands still between the calls of a test.

use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use fleuve_sql::Outcome;
use fleuve_types::{Error, ObjectId, Result};
use futures::TryStreamExt;

use super::{Ground, SteppedServer};
use crate::config;

pub async fn start(folder: &Path) -> SteppedServer {
    start_by(folder, |ground| ground).await
}

/// As [`start`], on another ground than the machine's.
pub async fn start_by(folder: &Path, ground: impl Fn(Ground) -> Ground) -> SteppedServer {
    let config = config::alone(folder).unwrap();
    loop {
        match SteppedServer::start(&config, ground(Ground::machine(&config))).await {
            // A thread of one that was killed has the log's lock until it ends.
            Err(e) if e.message.contains("in use") => tokio::time::sleep(Duration::from_millis(1)).await,
            started => return started.unwrap(),
        }
    }
}

/// It is killed and started again.
pub async fn crash(server: SteppedServer, folder: &Path) -> SteppedServer {
    server.kill().await;
    let server = start(folder).await;
    rest(&server).await;
    server
}

/// All that follows from what was written.
pub async fn rest(server: &SteppedServer) {
    while server.engine().step().await.unwrap() {
        server.log().write_queued();
    }
    server.log().write_queued();
}

pub fn id(server: &SteppedServer, name: &str) -> ObjectId {
    server.objects().get("public", name).unwrap().object.id
}

/// A statement, while the server is moved on; the rows as texts.
pub async fn run(server: &SteppedServer, sql: &str) -> Result<Vec<String>> {
    let session = server.session();
    let mut call = pin!(async {
        let mut batches = vec![];
        for outcome in session.execute(sql).await? {
            if let Outcome::Rows { rows, .. } = outcome {
                batches.extend(rows.try_collect::<Vec<_>>().await?);
            }
        }
        Ok::<_, Error>(batches)
    });
    let batches = loop {
        if let Poll::Ready(answer) = futures::poll!(&mut call) {
            break answer?;
        }
        server.engine().step().await?;
        server.log().write_queued();
        tokio::task::yield_now().await;
    };
    let options = FormatOptions::default();
    let texts = batches.iter().flat_map(|batch| {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        let row = |n| columns.iter().map(|c| c.value(n).to_string()).collect::<Vec<_>>().join("|");
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    });
    Ok(texts.collect())
}
