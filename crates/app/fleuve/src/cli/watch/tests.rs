use serde_json::{Value, json};

use super::pane::{Pane, compare_values};
use super::screen::share_lines;
use super::sort_of;
use crate::cli::args::SortColumn;
use crate::cli::render::Column;

fn columns() -> Vec<Column> {
    let column = |name: &str, t: &str| Column { name: name.into(), sql_type: t.into() };
    vec![column("page", "TEXT"), column("n", "BIGINT")]
}

fn shown(pane: &Pane, limit: usize) -> Vec<Vec<Value>> {
    pane.rows(limit).0.rows
}

#[test]
fn a_pane_follows_the_changes() {
    let mut pane = Pane::new("v", columns(), vec![(1, true)], None);
    for (page, n) in [("/a", 1), ("/b", 9), ("/c", 5)] {
        pane.change(vec![json!(page), json!(n)], 1);
    }
    pane.epoch(1);
    assert_eq!(pane.rows(10).1, vec![false, false, false], "what was there first is not marked");
    pane.change(vec![json!("/a"), json!(1)], -1);
    pane.change(vec![json!("/a"), json!(12)], 1);
    assert_eq!(shown(&pane, 2), vec![vec![json!("/a"), json!(12)], vec![json!("/b"), json!(9)]]);
    assert_eq!(pane.rows(10).1, vec![true, false, false]);
}

#[test]
fn a_row_that_came_twice_goes_only_with_its_last_copy() {
    let mut pane = Pane::new("v", columns(), Vec::new(), None);
    let row = || vec![json!("/"), json!(1)];
    pane.change(row(), 2);
    pane.change(row(), -1);
    assert_eq!(shown(&pane, 10).len(), 1);
    pane.change(row(), -1);
    assert!(shown(&pane, 10).is_empty());
    // A retraction may come before its insertion within an epoch.
    pane.change(row(), -1);
    pane.change(row(), 1);
    assert!(shown(&pane, 10).is_empty());
}

#[test]
fn numbers_are_ordered_by_size_even_as_text() {
    use std::cmp::Ordering::{Greater, Less};
    assert_eq!(compare_values(&json!(9), &json!(10)), Less);
    assert_eq!(compare_values(&json!("9.50"), &json!("10.00")), Less);
    assert_eq!(compare_values(&json!("b"), &json!("a")), Greater);
    assert_eq!(compare_values(&Value::Null, &json!(-1)), Less);
}

#[test]
fn lines_are_shared_out_fairly_and_never_exceeded() {
    assert_eq!(share_lines(&[6, 100, 100], 40), vec![6, 17, 17]);
    assert_eq!(share_lines(&[6, 8], 40), vec![6, 8]);
    for lines in 0..50 {
        assert!(share_lines(&[6, 30, 9, 100], lines).iter().sum::<usize>() <= lines);
    }
}

#[test]
fn a_sort_column_is_found_or_complained_about() {
    let sort = |view: Option<&str>, column: &str| SortColumn {
        view: view.map(ToString::to_string),
        column: column.into(),
        descending: true,
    };
    assert_eq!(sort_of(&[sort(None, "N")], "v", &columns()).unwrap(), vec![(1, true)]);
    assert_eq!(sort_of(&[sort(None, "n"), sort(Some("v"), "page")], "v", &columns()).unwrap(), vec![(0, true)]);
    assert_eq!(sort_of(&[sort(Some("w"), "x")], "v", &columns()).unwrap(), vec![]);
    assert!(sort_of(&[sort(Some("v"), "x")], "v", &columns()).unwrap_err().message.contains("page, n"));
}
