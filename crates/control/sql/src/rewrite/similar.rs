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
    let Some(escape) = escape_char.take() else { return Ok(()) };
    let escape = match written(&escape.value) {
        Some(text) if text.chars().count() <= 1 => text.chars().next(),
        _ => return Err(Error::input("ESCAPE takes one character")),
    };
    let unwritten = || Error::unsupported("LIKE with ESCAPE takes a pattern that is written down");
    let Expr::Value(value) = pattern.as_mut() else { return Err(unwritten()) };
    if value.value == Value::Null {
        return Ok(());
    }
    let text = written(&value.value).ok_or_else(unwritten)?;
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let next = chars
                    .next()
                    .ok_or_else(|| Error::input("a LIKE pattern does not end with its escape character"))?;
                out.extend(['\\', next]);
            }
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    value.value = Value::SingleQuotedString(out);
    Ok(())
}

/// A text in any quotes.
fn written(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
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
