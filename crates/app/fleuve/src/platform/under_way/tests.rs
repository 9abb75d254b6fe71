use std::sync::Arc;

use fleuve_sql::Change;

use super::{Claim, ObjectSet, ShownChange, UnderWay, Withdrawal};
use crate::platform::tested::{run, start};

const OBJECTS: &str = "CREATE STREAM s (k BIGINT);
    CREATE STREAM t (k BIGINT);
    CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k;
    CREATE MATERIALIZED VIEW w AS SELECT n, count(*) AS m FROM v GROUP BY n;
    CREATE SINK o FROM w INTO os;
    CREATE MATERIALIZED VIEW x AS SELECT count(*) AS n FROM t";

/// What a change of an object claims: `create`, `replace`, `restate`, `drop` or `comment`, and its name.
fn claim(set: &ObjectSet, change: &str) -> Claim {
    let (how, name) = change.split_once(' ').unwrap();
    let bound = set.get("public", name).unwrap().as_ref().clone();
    let change = match how {
        "create" => Change::Create(bound),
        "replace" => Change::Replace(bound),
        "restate" => Change::Restate(bound),
        "drop" => Change::Drop(bound.object.id),
        _ => Change::Comment(bound.object),
    };
    Claim::of(set, &[change])
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_meet_where_one_changes_what_the_other_has_or_reads() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    run(&server, OBJECTS).await.unwrap();
    let set = server.objects();
    let cases = [
        ("create v", "create x", false),
        ("create v", "comment s", false),
        ("create v", "restate x", false),
        // Both read it.
        ("create v", "create w", true),
        ("create v", "drop v", true),
        ("create v", "comment v", true),
        ("create v", "replace s", true),
        ("create v", "replace t", false),
        // A sink into a stream reads it, as it does its view, and what that reads.
        ("create o", "replace os", true),
        ("create o", "replace s", true),
        ("create o", "create x", false),
        // What reads a replaced view follows it.
        ("replace v", "drop o", true),
        ("replace v", "restate w", true),
        ("replace v", "comment w", true),
        ("replace v", "create x", false),
        ("replace v", "comment t", false),
        // In the same words it stays what it is for what reads it.
        ("restate v", "drop o", true),
        ("drop x", "create x", true),
        ("comment s", "comment s", false),
    ];
    for (one, other, expected) in cases {
        let (a, b) = (claim(&set, one), claim(&set, other));
        assert_eq!((a.meets(&b), b.meets(&a)), (expected, expected), "{one}, {other}");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_has_its_turn_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path()).await;
    run(&server, OBJECTS).await.unwrap();
    let set = server.objects();
    let under_way = UnderWay::default();
    let turn = under_way.begin(claim(&set, "replace v"), Withdrawal::never(), 7);
    assert!(under_way.met_by(&claim(&set, "create x")).is_empty());
    let met = under_way.met_by(&claim(&set, "drop w")).remove(0);
    // It follows, and is not what is being built.
    assert!(!met.yields_to(&set, &[Change::Drop(set.get("public", "w").unwrap().object.id)]));
    turn.check().unwrap();
    assert!(futures::poll!(std::pin::pin!(met.ended())).is_pending());
    for name in ["v", "v"] {
        assert!(met.yields_to(&set, &[Change::Drop(set.get("public", name).unwrap().object.id)]));
    }
    assert_eq!(turn.check().unwrap_err().message, "view \"v\" was dropped while it was being built");
    let waiting = under_way.waits(&claim(&set, "drop w"), &met, 9);
    let shown = |objects: &str, state, waits_for: Option<&str>, since_us| {
        Arc::new(ShownChange { objects: objects.into(), state, waits_for: waits_for.map(Into::into), since_us })
    };
    let all = "public.o, public.v, public.w";
    let ending = shown(all, "ending", None, 7);
    assert_eq!(under_way.shown(), [ending.clone(), shown("public.w", "waiting", Some(all), 9)]);
    drop(waiting);
    assert_eq!(under_way.shown(), [ending]);
    drop(turn);
    assert_eq!(under_way.shown(), []);
    met.ended().await;
    assert!(under_way.met_by(&claim(&set, "drop w")).is_empty());
    server.stop().await.unwrap();
}
