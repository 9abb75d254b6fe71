use proptest::prelude::*;

use super::*;

const MOST: usize = 1 << 20;

fn csv(columns: &[&str]) -> CsvRows {
    CsvRows { delimiter: b',', quote: Some(b'"'), columns: columns.iter().map(|name| name.to_string()).collect() }
}

/// The rows of a text that is there at once, with what follows the last of them.
fn rows(text: &str, max_bytes: usize) -> Vec<&str> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(end) = RowEnd::default().find(rest.as_bytes(), b'"', b',', max_bytes) {
        out.push(rest[..end].strip_suffix('\r').unwrap_or(&rest[..end]));
        rest = &rest[end + 1..];
    }
    out.push(rest);
    out
}

#[test]
fn a_row_ends_outside_of_quotes() {
    for (text, expected) in [
        ("1,a\n2,b\n", vec!["1,a", "2,b", ""]),
        ("1,\"a\nb\",3\n2,c,4\n", vec!["1,\"a\nb\",3", "2,c,4", ""]),
        ("\"a\r\n\r\nb\"\r\n\"\n\"\r\n", vec!["\"a\r\n\r\nb\"", "\"\n\"", ""]),
        ("\"say \"\"no\"\"\n,\",2\n", vec!["\"say \"\"no\"\"\n,\",2", ""]),
        // A quote within a field is none.
        ("5\" pipe,2\nx\"\n", vec!["5\" pipe,2", "x\"", ""]),
        ("\"\",\"\"\n\"\"\n", vec!["\"\",\"\"", "\"\"", ""]),
        // Text behind a closing quote: one line is spoilt, not two.
        ("\"a,1\n\"b\",2\n3\n", vec!["\"a,1", "\"b\",2", "3", ""]),
        ("\"a\"b,\"c\nd\"\n", vec!["\"a\"b,\"c\nd\"", ""]),
        // Not closed: what follows is still to come.
        ("1\n\"a\n2\n", vec!["1", "\"a\n2\n"]),
        ("\"a\"", vec!["\"a\""]),
        ("\"a\"\r", vec!["\"a\"\r"]),
    ] {
        assert_eq!(rows(text, MOST), expected, "{text:?}");
    }
}

#[test]
fn a_row_of_several_lines_that_is_too_long_is_cut_at_its_first_line_end() {
    assert_eq!(rows("\"abc\ndef\"\n", 9), ["\"abc\ndef\"", ""]);
    assert_eq!(rows("\"abc\ndef\"\r\n", 9), ["\"abc\ndef\"", ""]);
    assert_eq!(rows("\"abc\ndef\"\n", 8), ["\"abc", "def\"", ""]);
    assert_eq!(rows("\"abc\n\",dddddd\n", 8), ["\"abc", "\",dddddd\n"]);
    assert_eq!(rows("abcdefghijkl\n", 8), ["abcdefghijkl", ""]);
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_the_bytes_come(
        pieces in prop::collection::vec(prop::sample::select(vec!["a", ",", "\"", "\"\"", "\n", "\r\n", "\r"]), 0..60),
        cuts in prop::collection::vec(0usize..80, 0..6),
        max_bytes in prop::sample::select(vec![3usize, 12, MOST]),
    ) {
        let text = pieces.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.sort();
        cuts.push(text.len());
        let mut found = Vec::new();
        let mut start = 0;
        let mut row = RowEnd::default();
        for cut in cuts {
            while let Some(end) = row.find(&text.as_bytes()[start.min(cut)..cut], b'"', b',', max_bytes) {
                let line = &text[start..start + end];
                found.push(line.strip_suffix('\r').unwrap_or(line));
                start += end + 1;
                row = RowEnd::default();
            }
        }
        found.push(&text[start..]);
        prop_assert_eq!(found, rows(&text, max_bytes));
    }
}

/// The rows of a text, found with what was seen of the rows before them.
fn rows_in_turn(text: &str, max_bytes: usize) -> Vec<&str> {
    let (mut out, mut rest, mut row) = (Vec::new(), text, RowEnd::default());
    loop {
        let found = row.find(rest.as_bytes(), b'"', b',', max_bytes);
        // At its end a file is not waited for.
        let Some(end) = found.or_else(|| row.first_break().filter(|_| row.is_open())) else { break };
        out.push(&rest[..end]);
        rest = &rest[end + 1..];
        row = row.after(end as u64 + 1);
    }
    out.push(rest);
    out
}

#[test]
fn what_was_looked_at_before_a_cut_is_not_looked_at_again() {
    // Each line opens quotes, and closes and opens them again for who comes from within quotes: lines times limit, else.
    let lines = vec!["a\",\",b"; 300_000];
    for tail in ["", "\n\"x\n", "\n\"x\n\"y", "\nc\"z\n1\n"] {
        let text = format!("{}{tail}", lines.join("\n"));
        let expected: Vec<&str> = text.split('\n').collect();
        assert_eq!(rows_in_turn(&text, MOST), expected, "{tail:?}");
        assert_eq!(rows_in_turn(&text, 4096), expected, "{tail:?}");
        assert_eq!(rows_in_turn(&text, 16 * MOST), expected, "{tail:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_row_ends_where_it_ends_without_those_before_it(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "a", ",", "\"", "\"\"", ",\"", "\",\"", "a\",\",b\n", "\n", "\n", "\r\n", "\r",
            ]),
            0..60,
        ),
        cuts in prop::collection::vec(0usize..120, 0..6),
        max_bytes in prop::sample::select(vec![3usize, 12, 30, MOST]),
    ) {
        let text = pieces.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.sort();
        cuts.push(text.len());
        let (mut start, mut row) = (0, RowEnd::default());
        for cut in cuts {
            let whole = cut == text.len();
            loop {
                let bytes = &text.as_bytes()[start.min(cut)..cut];
                let mut alone = RowEnd::default();
                let end = row.find(bytes, b'"', b',', max_bytes);
                prop_assert_eq!(end, alone.find(bytes, b'"', b',', max_bytes));
                prop_assert_eq!((row.first_break(), row.is_open()), (alone.first_break(), alone.is_open()));
                // At the end of a file that is complete, a row in quotes is cut.
                let Some(end) = end.or_else(|| row.first_break().filter(|_| whole && row.is_open())) else { break };
                start += end + 1;
                row = row.after(end as u64 + 1);
            }
        }
    }
}

fn arranged(header: &str, columns: &[&str], row: &str) -> Result<String, String> {
    let csv = csv(columns);
    let mut out = Vec::new();
    match Order::of_header(header.as_bytes(), &csv)? {
        Some(order) => order.arrange(row.as_bytes(), &csv, &mut out),
        None => out.extend_from_slice(b"as it is"),
    }
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn a_header_tells_the_order_by_its_names() {
    let columns = ["id", "t", "n"];
    let of = |header: &str, row: &str| arranged(header, &columns, row);
    assert_eq!(of("n,t,id", "4,c,5").unwrap(), "5,c,4");
    assert_eq!(of("n,t,id", "4,\"a\nb,\"\"c\"\"\",").unwrap(), ",\"a\nb,\"\"c\"\"\",4");
    assert_eq!(of("\u{feff}\"N\", ID ,t", "4,5,c").unwrap(), "5,c,4");
    // In order, or in other words.
    for header in ["id,t,n", "ID,T,N", "key,text,number", "id,text,n", "key,text,n", "", "id,t", "id,t,n,x"] {
        assert_eq!(of(header, "1,2,3").unwrap(), "as it is", "{header}");
    }
    // Some names only, at other places.
    for header in ["n,t,key", "t,id", "n,t,id,x", "id,n,t,x", "id,id,n", "x,id,t,n"] {
        assert_eq!(of(header, "1,2,3").unwrap_err(), header.replace(',', ", "));
    }
    // What is no row of the file is none of the stream.
    for row in ["4,c", "4,c,5,6", "4,c,\"a", ""] {
        assert_eq!(of("n,t,id", row).unwrap(), row);
    }
    assert_eq!(of("n,t,id", "\"a\"b,c,5").unwrap(), "5,c,\"a\"b");
}

#[test]
fn names_that_differ_in_case_only() {
    assert_eq!(arranged("B,b,A", &["A", "b", "B"], "1,2,3").unwrap(), "3,2,1");
    assert_eq!(arranged("B,a", &["a", "b"], "1,2").unwrap(), "2,1");
}

#[test]
fn without_quotes_a_quote_is_a_character() {
    let csv = CsvRows { delimiter: b';', quote: None, columns: vec!["a".into(), "b".into()] };
    let order = Order::of_header(b"b;a", &csv).unwrap().unwrap();
    let mut out = Vec::new();
    order.arrange(b"\"x;y", &csv, &mut out);
    assert_eq!(out, b"y;\"x");
}
