use std::time::Duration;

use axum::routing::get;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::Door;

#[tokio::test]
async fn a_door_that_closes_lets_requests_end_and_cuts_what_does_not() {
    let endless = || async { Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, io::Error>>()) };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    };
    let door = Door::open(Router::new().route("/slow", get(slow)).route("/endless", get(endless))).await;
    let address = door.address;
    let mut endless = door.send(door.request("GET", "/endless", &[], "")).await.into_body();
    let request = door.request("GET", "/slow", &[], "");
    let slow = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    door.close().await;
    assert_eq!(slow.await.unwrap(), "done");
    assert!(endless.frame().await.is_none_or(|frame| frame.is_err()));
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let door = Door::open(Router::new()).await;
    for sent in [
        "nonsense\r\n\r\n".to_string(),
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(100_000)),
    ] {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        // The server may close before all was sent.
        let _ = stream.write_all(sent.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(door.get("/").await.status, 404);
    door.close().await;
}
