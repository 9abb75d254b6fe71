use serde_json::json;

use super::*;

fn compared(types: &[&str], rows: Value) -> Difference {
    compared_but(types, rows, &[])
}

fn compared_but(types: &[&str], rows: Value, estimates: &[usize]) -> Difference {
    let rows = rows.as_array().unwrap().iter().map(|r| r.as_array().unwrap().clone()).collect();
    let column = |(n, t): (usize, &&str)| Column { name: format!("c{n}"), sql_type: t.to_string() };
    let columns = ["INT"].iter().chain(types).enumerate().map(column).collect();
    difference(Rows { columns, rows }, estimates)
}

fn left(d: &Difference) -> (usize, usize) {
    (d.only_view.len(), d.only_batch.len())
}

#[test]
fn equal_multisets_in_any_order_are_equal() {
    let d = compared(&["TEXT", "INT"], json!([[0, "a", 1], [0, "b", null], [1, "b", null], [1, "a", 1]]));
    assert_eq!(d, Difference { rows: 2, ..Difference::default() });
}

#[test]
fn estimates_may_differ_and_nothing_else() {
    let types = ["TEXT", "DOUBLE"];
    let rows = json!([[0, "a", 1.5], [0, "b", 2.0], [1, "a", 1.6], [1, "b", 2.0]]);
    let d = compared_but(&types, rows.clone(), &[1]);
    assert_eq!((left(&d), d.but_for_estimates), ((0, 0), 1));
    assert_eq!(left(&compared(&types, rows)), (1, 1));
    let d = compared_but(&types, json!([[0, "a", 1.5], [1, "c", 1.6], [1, "a", 1.7]]), &[1]);
    assert_eq!((left(&d), d.but_for_estimates), ((0, 1), 1));
}

#[test]
fn copies_count() {
    let d = compared(&["TEXT"], json!([[0, "a"], [0, "a"], [1, "a"], [1, "b"]]));
    assert_eq!(d.only_view, vec![vec![json!("a")]]);
    assert_eq!(d.only_batch, vec![vec![json!("b")]]);
}

#[test]
fn rounding_is_no_difference_but_a_number_is() {
    // Numbers come as texts, so that none is changed by being read.
    for (a, b) in
        [(json!(0.1), json!(0.100_000_000_000_000_02)), (json!("66.66666666666667"), json!("66.66666666666666"))]
    {
        assert_eq!(left(&compared(&["TEXT", "DOUBLE PRECISION"], json!([[0, "a", a], [1, "a", b]]))), (0, 0));
    }
    assert_eq!(left(&compared(&["DOUBLE"], json!([[0, "0.1"], [1, "0.1001"]]))), (1, 1));
    assert_eq!(left(&compared(&["DOUBLE"], json!([[0, "0.1"], [1, null]]))), (1, 1));
    assert_eq!(left(&compared(&["INT"], json!([[0, 1], [1, 2]]))), (1, 1));
    // Other types have no last digits that depend on anything.
    let decimals = json!([[0, "66.66666666666667"], [1, "66.66666666666666"]]);
    assert_eq!(left(&compared(&["DECIMAL(20,14)"], decimals)), (1, 1));
}

#[test]
fn rows_find_their_partner_among_many() {
    let mut rows = vec![];
    for n in 0..5_000 {
        let (a, b) = (f64::from(n) + 0.1, f64::from(n % 7) * 1.5);
        rows.push(json!([0, n % 3, a.to_string(), b]));
        rows.push(json!([1, n % 3, (a * (1.0 + 1e-14)).to_string(), b * (1.0 - 1e-15)]));
    }
    let types = ["INT", "DOUBLE", "DOUBLE"];
    assert_eq!(left(&compared(&types, json!(rows))), (0, 0));
    rows.push(json!([1, 0, "2.5", 1.0]));
    assert_eq!(left(&compared(&types, json!(rows))), (0, 1));
    // The first number is the same for all: the second one decides.
    let rows = json!([
        [0, 0, 1.0, 2.0],
        [0, 0, 1.0, -3.0],
        [1, 0, 1.0, -3.000_000_000_000_1],
        [1, 0, 1.000_000_000_000_1, 2.0]
    ]);
    assert_eq!(left(&compared(&types, rows)), (0, 0));
}
