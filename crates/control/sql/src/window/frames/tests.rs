use proptest::prelude::*;

use crate::fake::{fails, run, session};

/// `(group, sort value, amount)`
type Row = (u8, Option<i64>, Option<i64>);

/// The rows of a frame by its definition: those whose sort value is `from..=to` away in the direction of the order, of a row without
/// one those without one.
fn frame<'a>(rows: &'a [Row], row: &Row, (from, to): (i64, i64)) -> Vec<&'a Row> {
    let holds = |other: &&Row| match (row.1, other.1) {
        (Some(at), Some(v)) => (at + from..=at + to).contains(&v),
        (None, None) => true,
        _ => false,
    };
    rows.iter().filter(|r| r.0 == row.0).filter(holds).collect()
}

fn shown(value: Option<i64>) -> String {
    value.map_or("NULL".into(), |v| v.to_string())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = || proptest::option::weighted(0.8, 0i64..30);
    proptest::collection::vec((0u8..2, value(), value()), 1..14)
}

async fn compare(rows: Vec<Row>) {
    let (_, session) = session();
    let values: Vec<String> =
        rows.iter().enumerate().map(|(id, r)| format!("({id}, {}, {}, {})", r.0, shown(r.1), shown(r.2))).collect();
    let setup =
        format!("CREATE STREAM t (id INT, g INT, v BIGINT, x BIGINT); INSERT INTO t VALUES {}", values.join(", "));
    run(&session, &setup).await.unwrap();
    for (order, down) in [("v", false), ("v DESC", true), ("v NULLS FIRST", false), ("v DESC NULLS LAST", true)] {
        for (text, from, to) in [
            ("3 PRECEDING AND 1 PRECEDING", -3, -1),
            ("1 FOLLOWING AND 2 FOLLOWING", 1, 2),
            ("9 PRECEDING AND 5 PRECEDING", -9, -5),
            ("2 PRECEDING AND CURRENT ROW", -2, 0),
            ("CURRENT ROW AND CURRENT ROW", 0, 0),
        ] {
            let bounds = if down { (-to, -from) } else { (from, to) };
            let query = format!(
                "SELECT count(*) OVER w, count(x) OVER w, sum(x) OVER w, min(x) OVER w, max(x) OVER w, sum(x) FILTER (WHERE x > 9) OVER w
                 FROM t WINDOW w AS (PARTITION BY g ORDER BY {order} RANGE BETWEEN {text}) ORDER BY id"
            );
            let expected: Vec<String> = rows
                .iter()
                .map(|row| {
                    let frame = frame(&rows, row, bounds);
                    let some: Vec<i64> = frame.iter().filter_map(|r| r.2).collect();
                    let large: Vec<i64> = some.iter().copied().filter(|x| *x > 9).collect();
                    let sum = |all: &[i64]| shown((!all.is_empty()).then(|| all.iter().sum()));
                    let (least, most) = (shown(some.iter().min().copied()), shown(some.iter().max().copied()));
                    format!("{}|{}|{}|{least}|{most}|{}", frame.len(), some.len(), sum(&some), sum(&large))
                })
                .collect();
            assert_eq!(run(&session, &query).await.unwrap(), expected, "{query}\n{rows:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_frame_holds_the_rows_that_it_says(rows in rows()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(compare(rows));
    }
}

#[tokio::test]
async fn what_cannot_be_slid_is_refused() {
    let (_, session) = session();
    run(&session, "CREATE STREAM t (v BIGINT); INSERT INTO t VALUES (1), (2), (9)").await.unwrap();
    for call in ["count(DISTINCT v)", "array_agg(v) FILTER (WHERE v > 1)"] {
        let query = format!("SELECT {call} OVER (ORDER BY v RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING) FROM t");
        let error = fails(&session, &query).await;
        assert!(error.message.contains("a frame of RANGE that leaves out the row itself"), "{call}: {error}");
    }
}
