//! Syntax as text that reads as itself.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Value, ValueWithSpan, VisitMut, VisitorMut};

use super::{Parsed, Statement, parse_one};

/// The text of a piece of syntax. sqlparser (0.62) alone takes two quotes in a row, and one behind a backslash, for quotes that are
/// escaped already, and prints them as they are: `'a''''b'` would be read again as `a'b`, and `'\'''` not at all.
pub(crate) fn canonical<N: VisitMut + Display + Clone>(node: &N) -> String {
    let mut node = node.clone();
    // What comes out of that is printed as it is: all quotes are in pairs.
    let _: ControlFlow<()> = node.visit(&mut Texts(|text| text.replace('\'', "''")));
    node.to_string()
}

/// The text of a `CREATE` as the catalog keeps it: the canonical one, if that is read as the same statement, else as it was written.
/// sqlparser may print what it does not read, or reads otherwise, and the catalog's text is read again at each start. None for other statements.
pub fn kept(parsed: &Parsed) -> Option<String> {
    let text = canonical_text(&parsed.statement)?;
    let reads_back = parse_one(&text).is_ok_and(|again| {
        canonical_text(&again.statement).as_ref() == Some(&text) && says_the_same(&again.statement, &parsed.statement)
    });
    Some(if reads_back { text } else { parsed.text.clone() })
}

fn canonical_text(statement: &Statement) -> Option<String> {
    match statement {
        Statement::CreateStream(c) => Some(c.to_string()),
        Statement::CreateSource(c) => Some(c.to_string()),
        Statement::CreateView(c) => Some(c.to_string()),
        Statement::CreateSink(c) => Some(c.to_string()),
        Statement::CreateIndex(c) => Some(c.to_string()),
        _ => None,
    }
}

/// Compares what sqlparser printed and read again; places do not count.
fn says_the_same(a: &Statement, b: &Statement) -> bool {
    match (a, b) {
        (Statement::CreateView(a), Statement::CreateView(b)) => plain(&a.query) == plain(&b.query),
        (Statement::CreateStream(a), Statement::CreateStream(b)) => {
            a.checks.iter().map(|(c, _)| plain(c)).eq(b.checks.iter().map(|(c, _)| plain(c)))
        }
        _ => true,
    }
}

fn plain<N: VisitMut + Clone>(node: &N) -> N {
    let mut node = node.clone();
    let _: ControlFlow<()> = node.visit(&mut Texts(str::to_string));
    node
}

/// Texts as plain ones, however they were written, with something done to them.
struct Texts(fn(&str) -> String);

impl VisitorMut for Texts {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(s) | Value::NationalStringLiteral(s) | Value::EscapedStringLiteral(s) =
            &value.value
        {
            value.value = Value::SingleQuotedString((self.0)(s));
        }
        ControlFlow::Continue(())
    }
}
