//! `SIMILAR TO`, whose patterns are those of the SQL standard and cover the whole text. DataFusion (54.1) takes them for regular expressions
//! that match anywhere. And `LIKE … ESCAPE`, which it knows with the backslash alone.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, Value};
use fleuve_types::{Error, Result};

/// Makes `text ~ '(?s)^(?:...)$'` of it.
///
/// # Errors
/// A pattern or escape character that is not written down.
pub(super) fn as_regex(expr: &mut Expr) -> Result<()> {
    let Expr::SimilarTo { negated, expr: text, pattern, escape_char } = expr else { return Ok(()) };
    let Expr::Value(value) = pattern.as_mut() else {
        return Err(Error::unsupported("SIMILAR TO takes a pattern that is written down")
            .hint("use ~ with a regular expression"));
    };
    let escape = match escape_char.as_ref().map(|e| e.value.clone()) {
        None => Some('\\'),
        Some(Value::SingleQuotedString(s)) if s.chars().count() <= 1 => s.chars().next(),
        Some(_) => return Err(Error::input("ESCAPE takes one character")),
    };
    match &mut value.value {
        Value::SingleQuotedString(s) => *s = regex_of(s, escape),
        Value::Null => {}
        _ => return Err(Error::input("SIMILAR TO takes a pattern in quotes")),
    }
    let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
    let take = |e: &mut Expr| Box::new(std::mem::replace(e, Expr::Identifier(Ident::new(""))));
    let (left, right) = (Box::new(Expr::Nested(take(text))), take(pattern));
    *expr = Expr::Nested(Box::new(Expr::BinaryOp { left, op, right }));
    Ok(())
}

/// Makes `LIKE 'a\%%'` of `LIKE 'a!%%' ESCAPE '!'`.
///
/// # Errors
/// A pattern or escape character that is not written down.
pub(super) fn with_backslash(expr: &mut Expr) -> Result<()> {
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = expr else {
        return Ok(());
    };
    let escape = match escape_char.take().map(|e| e.value) {
        None => return Ok(()),
        Some(Value::SingleQuotedString(s)) if s.chars().count() <= 1 => s.chars().next(),
        Some(_) => return Err(Error::input("ESCAPE takes one character")),
    };
    let Expr::Value(value) = pattern.as_mut() else {
        return Err(Error::unsupported("LIKE with ESCAPE takes a pattern that is written down"));
    };
    if let Value::SingleQuotedString(s) = &mut value.value {
        let (mut out, mut chars) = (String::new(), s.chars());
        while let Some(c) = chars.next() {
            match c {
                c if Some(c) == escape => out.extend(chars.next().into_iter().flat_map(|c| ['\\', c])),
                '\\' => out.push_str("\\\\"),
                c => out.push(c),
            }
        }
        *s = out;
    }
    Ok(())
}

fn regex_of(pattern: &str, escape: Option<char>) -> String {
    let (mut out, mut chars, mut in_brackets) = (String::from("(?s)^(?:"), pattern.chars(), false);
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => out.push_str(&chars.next().map(literal).unwrap_or_default()),
            '%' if !in_brackets => out.push_str(".*"),
            '_' if !in_brackets => out.push('.'),
            '.' | '^' | '$' | '\\' if !in_brackets => out.push_str(&literal(c)),
            '\\' => out.push_str("\\\\"),
            c => {
                in_brackets = (in_brackets || c == '[') && c != ']';
                out.push(c);
            }
        }
    }
    out + ")$"
}

/// A character that stands for itself.
fn literal(c: char) -> String {
    if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() }
}
