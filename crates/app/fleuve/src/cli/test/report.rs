//! What tests gave, for people and for CI.

use serde_json::Value;

use super::run::{Difference, Failure, Report, What};
use super::table::cell;
use crate::cli::render::{Column, Rows, TableStyle, table};
use crate::cli::term::Paint;

/// As many rows that are as wanted are shown around those that are not.
const EQUAL_SHOWN: usize = 10;

/// A failure as lines.
pub fn told(failure: &Failure, style: TableStyle) -> Vec<String> {
    let sql = failure.sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines = match sql.is_empty() {
        true => vec![failure.at.to_string()],
        false => vec![format!("{}: {sql}", failure.at)],
    };
    match &failure.what {
        What::Message(text) => lines.extend(text.lines().map(ToString::to_string)),
        What::Rows(difference) => lines.extend(rows(difference, style)),
    }
    lines
}

fn rows(difference: &Difference, style: TableStyle) -> Vec<String> {
    let mut columns = vec![Column { name: String::new(), sql_type: "TEXT".into() }];
    columns.extend(difference.columns.iter().cloned());
    let (mut shown, mut marked, mut equal) = (vec![], vec![], 0);
    for (sign, row) in &difference.rows {
        equal += usize::from(*sign == ' ');
        if *sign == ' ' && equal > EQUAL_SHOWN && !difference.order_only {
            continue;
        }
        // As a table of the file has them: the text 'NULL' is not NULL.
        let value = |text: &Option<String>| text.as_ref().map_or(Value::Null, |_| Value::String(cell(text.as_ref())));
        shown.push(std::iter::once(Value::String(sign.to_string())).chain(row.iter().map(value)).collect());
        marked.push(*sign != ' ');
    }
    let text = table(&Rows { columns, rows: shown }, &marked, style);
    let mut lines: Vec<String> = text.lines().map(ToString::to_string).collect();
    if equal > EQUAL_SHOWN && !difference.order_only {
        lines.push(format!("and {} more rows that are as wanted", equal - EQUAL_SHOWN));
    }
    lines.push(match difference.order_only {
        true => "these rows are wanted, but in another order: + is the first out of place, - is wanted there".into(),
        false => "- is wanted and not there, + is there and not wanted".into(),
    });
    lines
}

/// The results of files with the names of their tests, as JUnit's XML.
pub fn junit(files: &[(String, Vec<(String, Report)>)]) -> String {
    let style = TableStyle { paint: Paint::none(), max_width: None };
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (path, tests) in files {
        let failures = tests.iter().filter(|(_, report)| report.failure.is_some()).count();
        let seconds: f64 = tests.iter().map(|(_, report)| report.took.as_secs_f64()).sum();
        let (path, count) = (xml(path), tests.len());
        out.push_str(&format!(
            "  <testsuite name=\"{path}\" tests=\"{count}\" failures=\"{failures}\" time=\"{seconds:.3}\">\n"
        ));
        for (name, report) in tests {
            let seconds = report.took.as_secs_f64();
            let case = format!("    <testcase classname=\"{path}\" name=\"{}\" time=\"{seconds:.3}\"", xml(name));
            let Some(failure) = &report.failure else {
                out.push_str(&format!("{case}/>\n"));
                continue;
            };
            let text = xml(&told(failure, style).join("\n"));
            let at = xml(&failure.at.to_string());
            out.push_str(&format!("{case}>\n      <failure message=\"{at}\">{text}</failure>\n    </testcase>\n"));
        }
        out.push_str("  </testsuite>\n");
    }
    out + "</testsuites>\n"
}

/// A text within XML, without what XML cannot hold.
fn xml(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    let escaped = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '"' => "&quot;".to_string(),
        c => c.to_string(),
    };
    text.chars().filter(allowed).map(escaped).collect()
}
