use std::sync::Arc;

use fleuve_kafka::{NewTopic, TopicEntry, Topics};
use fleuve_types::{ErrorKind, Result};

use super::{StreamTopics, stream_of};
use crate::platform::SteppedServer;
use crate::platform::tested::{run, start};

fn topics(server: &SteppedServer) -> StreamTopics {
    let platform = Arc::downgrade(&server.platform);
    StreamTopics { platform, auto_create: true, cluster_id: "test".into() }
}

async fn make(topics: &StreamTopics, name: &str, validate_only: bool) -> Result<TopicEntry> {
    topics.create(NewTopic { name: name.into(), partitions: 2, configs: [].into() }, validate_only).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_a_dot_is_a_stream_of_a_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    let topics = topics(&server);
    assert_eq!(make(&topics, "orders.v1", true).await.unwrap().name, "orders.v1");
    assert!(topics.by_name("orders.v1").is_none(), "it was only asked for");
    let made = make(&topics, "orders.v1", false).await.unwrap();
    assert_eq!((made.name.as_str(), made.partitions), ("orders.v1", 2));
    assert_eq!(topics.by_name("orders.v1"), Some(made));
    assert!(topics.by_name("v1").is_none());
    run(&server, "CREATE STREAM a.b (n INT)").await.unwrap();
    make(&topics, "a.C-1", false).await.unwrap();
    assert!(server.objects().get("a", "C-1").is_some());
    let names: Vec<String> = topics.list().into_iter().map(|t| t.name).filter(|n| !n.ends_with("__dead")).collect();
    assert_eq!(names, ["a.C-1", "a.b", "orders.v1"]);
    for taken in ["a.b", "orders.v1"] {
        assert_eq!(make(&topics, taken, false).await.unwrap_err().kind, ErrorKind::AlreadyExists, "{taken}");
    }
    topics.delete("orders.v1").await.unwrap();
    assert!(topics.by_name("orders.v1").is_none());
    server.stop().await.unwrap();
}

#[test]
fn what_is_wrong_with_a_name_is_said() {
    assert_eq!([stream_of("a").unwrap(), stream_of("a.b").unwrap()], [("public", "a"), ("a", "b")]);
    let cases = [
        (
            "a.b.c",
            "\"a.b.c\" has more than one dot (a topic is NAME, or NAMESPACE.NAME; write _ or - for the other dots)",
        ),
        (
            "a..b",
            "\"a..b\" has more than one dot (a topic is NAME, or NAMESPACE.NAME; write _ or - for the other dots)",
        ),
        (".a", "\".a\" has nothing on one side of its dot (a topic is NAME, or NAMESPACE.NAME)"),
        ("a.", "\"a.\" has nothing on one side of its dot (a topic is NAME, or NAMESPACE.NAME)"),
        ("public.a", "streams of the namespace public are topics of their own name (this one would be \"a\")"),
        ("fleuve.a", "namespace \"fleuve\" is the system's own"),
    ];
    for (name, wanted) in cases {
        assert_eq!(stream_of(name).unwrap_err().to_string(), wanted);
    }
}
