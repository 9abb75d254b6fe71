use serde_json::json;

use super::table::width;
use super::*;
use crate::cli::term::Paint;

fn rows(columns: &[(&str, &str)], rows: serde_json::Value) -> Rows {
    let columns = columns.iter().map(|(n, t)| Column { name: n.to_string(), sql_type: t.to_string() }).collect();
    let rows = rows.as_array().unwrap().iter().map(|r| r.as_array().unwrap().clone()).collect();
    Rows { columns, rows }
}

fn draw(rows: &Rows, max_width: Option<usize>) -> String {
    table(rows, &[], TableStyle { paint: Paint::none(), max_width })
}

#[test]
fn numbers_stand_on_the_right_and_null_is_named() {
    let rows = rows(&[("page", "TEXT"), ("n", "BIGINT")], json!([["/", 5], [null, 1200]]));
    let wanted = "\
┌──────┬──────┐
│ page │    n │
├──────┼──────┤
│ /    │    5 │
│ NULL │ 1200 │
└──────┴──────┘
";
    assert_eq!(draw(&rows, None), wanted);
}

#[test]
fn a_table_is_no_wider_than_the_screen() {
    let rows = rows(&[("a", "TEXT"), ("b", "TEXT"), ("n", "INT")], json!([["x".repeat(90), "日本語".repeat(20), 1]]));
    for max in [30, 40, 77, 200] {
        let drawn = draw(&rows, Some(max));
        assert!(drawn.lines().all(|l| width(l) <= max), "{max}:\n{drawn}");
        let first = width(drawn.lines().next().unwrap());
        assert!(drawn.lines().all(|l| width(l) == first), "ragged at {max}:\n{drawn}");
    }
}

#[test]
fn a_value_of_several_lines_stays_in_its_cell() {
    let rows = rows(&[("plan", "TEXT"), ("n", "INT")], json!([["one\ntwo", 1]]));
    assert!(draw(&rows, None).contains("│ one  │ 1 │\n│ two  │   │\n"));
}

#[test]
fn a_plan_is_never_cut_off() {
    let line = "  Join Inner: ".to_string() + &"x".repeat(300);
    let plan = rows(&[("QUERY PLAN", "TEXT")], json!([["Circuit"], [line.clone()]]));
    let style = TableStyle { paint: Paint::none(), max_width: Some(80) };
    assert_eq!(shown(&plan, style), format!("Circuit\n{line}\n"));
    assert!(shown(&rows(&[("n", "INT")], json!([[1]])), style).ends_with("┘\n1 row\n"));
}

#[test]
fn data_cannot_steer_the_terminal() {
    let rows = rows(&[("t", "TEXT")], json!([["\u{1b}[2Jgone"]]));
    assert!(!draw(&rows, None).contains('\u{1b}'));
    assert!(!expanded(&rows, Paint::none()).contains('\u{1b}'));
}

#[test]
fn types_of_numbers_are_known() {
    for t in ["BIGINT", "INT", "DECIMAL(12,2)", "DOUBLE PRECISION", "BIGINT UNSIGNED", "Int64", "UInt8", "Float64"] {
        assert!(Column { name: String::new(), sql_type: t.into() }.is_number(), "{t}");
    }
    for t in ["TEXT", "INTERVAL", "TIMESTAMP", "BIGINT[]"] {
        let number = Column { name: String::new(), sql_type: t.into() }.is_number();
        assert!(!number || t == "BIGINT[]", "{t}");
    }
}

#[test]
fn csv_tells_null_from_empty_and_quotes_what_must_be() {
    let rows = rows(&[("a", "TEXT"), ("b,c", "INT")], json!([["x\"y", 1], ["", null], [null, 2]]));
    assert_eq!(csv(&rows), "a,\"b,c\"\n\"x\"\"y\",1\n\"\",\n,2\n");
}

#[test]
fn json_is_one_array_with_the_columns_in_order() {
    let rows = rows(&[("z", "INT"), ("a", "TEXT")], json!([[1, "x"], [2, null]]));
    assert_eq!(json_array(&rows), "[{\"z\":1,\"a\":\"x\"},\n {\"z\":2,\"a\":null}]\n");
    assert_eq!(json_array(&Rows::default()), "[]\n");
}
