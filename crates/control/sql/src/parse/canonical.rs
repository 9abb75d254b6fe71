//! Syntax as text that reads as itself.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use fleuve_types::{Error, Result};

use super::place;

/// The text of a piece of syntax. sqlparser (0.62) alone takes two quotes in a row, and one behind a backslash, for quotes that are
/// escaped already, and prints them as they are: `'a''''b'` would be read again as `a'b`, and `'\'''` not at all.
pub(crate) fn canonical<N: VisitMut + Display + Clone>(node: &N) -> String {
    let mut node = node.clone();
    let _: ControlFlow<()> = node.visit(&mut Escape);
    node.to_string()
}

/// Doubles the quotes in texts. What comes out of that is printed as it is: all quotes are in pairs.
struct Escape;

impl VisitorMut for Escape {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(s) | Value::NationalStringLiteral(s) | Value::EscapedStringLiteral(s) =
            &value.value
        {
            value.value = Value::SingleQuotedString(s.replace('\'', "''"));
        }
        ControlFlow::Continue(())
    }
}

/// The same is so for names, which stand in places that no visitor reaches: those that would be printed wrong are refused.
///
/// # Errors
/// A name with such quotes in it.
pub(super) fn check_names(tokens: &[TokenWithSpan]) -> Result<()> {
    for token in tokens {
        if let Token::Word(word) = &token.token
            && word.quote_style.is_some()
            && (word.value.contains("\"\"") || word.value.contains("\\\""))
        {
            let message = "a name cannot have two double quotes in a row, or one behind a backslash";
            return Err(Error::unsupported(message).at(place(token.span.start)));
        }
    }
    Ok(())
}
