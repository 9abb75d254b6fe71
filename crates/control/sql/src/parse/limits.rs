//! What text may be at most. Checked on the tokens, before any recursion.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use fleuve_types::{Error, ErrorKind, Location, Result};

use super::place;

/// Longest text that is read at once, bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 4 << 20;
/// Deepest nesting of expressions, queries and FROM clauses; sqlparser's own measure.
pub(crate) const MAX_NESTING: usize = 50;
/// Deepest nesting of brackets.
const MAX_BRACKETS: usize = 48;
/// Longest name, bytes. A stream's name is a Kafka topic's name too, which has this limit with room for `__dead`.
pub(crate) const MAX_NAME_BYTES: usize = 200;
/// Most set operations, joins and the like in a text: each one is a level of the plan.
const MAX_COMBINED: usize = 500;
/// Brackets before a `SELECT` inside `FROM` are tried as a query and as a join, so nested ones multiply.
const MAX_ATTEMPTS: u64 = 4096;

/// Checks nesting and repetition that sqlparser or the planner would answer with recursion or exponential time.
pub(super) fn check_nesting(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut open: Vec<u64> = Vec::new();
    let mut attempts: u64 = 1;
    let mut run: u64 = 0;
    let (mut combined, mut prefixes) = (0usize, 0usize);
    for t in tokens {
        match &t.token {
            Token::Whitespace(_) => continue,
            Token::SemiColon => (open, attempts, combined) = (Vec::new(), 1, 0),
            Token::LParen | Token::LBracket | Token::LBrace => {
                run += 1;
                prefixes = 0;
                open.push(1);
                if open.len() > MAX_BRACKETS {
                    return Err(too_deep(format!("brackets are nested more than {MAX_BRACKETS} levels deep"), t));
                }
                continue;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if let Some(factor) = open.pop() {
                    attempts /= factor;
                }
            }
            Token::Word(w)
                if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM) =>
            {
                if run > 1 {
                    let innermost = open.last_mut().expect("a run of brackets is open");
                    *innermost = run;
                    attempts = attempts.saturating_mul(run);
                    if attempts > MAX_ATTEMPTS {
                        return Err(too_deep("subqueries in FROM stand in too many brackets".into(), t));
                    }
                }
            }
            Token::Word(w) => {
                let combines = matches!(
                    w.keyword,
                    Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN | Keyword::WHEN
                );
                combined += usize::from(combines);
                if combined > MAX_COMBINED {
                    return Err(too_deep(format!("a statement combines more than {MAX_COMBINED} parts"), t));
                }
            }
            _ => {}
        }
        run = 0;
        let is_prefix = matches!(&t.token, Token::Minus | Token::Plus | Token::Tilde)
            || matches!(&t.token, Token::Word(w) if w.keyword == Keyword::NOT);
        prefixes = if is_prefix { prefixes + 1 } else { 0 };
        if prefixes > MAX_NESTING {
            return Err(too_deep(format!("more than {MAX_NESTING} signs stand before one value"), t));
        }
    }
    Ok(())
}

fn too_deep(what: String, token: &TokenWithSpan) -> Error {
    Error::new(ErrorKind::Limit, what).at(place(token.span.start)).hint("split it, for instance with WITH")
}

/// A name that is not too long and not empty.
pub(super) fn check_name(name: String, at: Location) -> Result<String> {
    if name.is_empty() {
        return Err(Error::input("a name is empty").at(at));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(
            Error::new(ErrorKind::Limit, format!("a name has {} bytes; at most {MAX_NAME_BYTES}", name.len())).at(at)
        );
    }
    Ok(name)
}
