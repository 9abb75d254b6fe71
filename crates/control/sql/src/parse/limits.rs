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
/// Longest name of something new, bytes. A stream's name is a Kafka topic's name too, which may have 249.
pub(crate) const MAX_NAME_BYTES: usize = 200;
/// Longest name that is read: dead letters have their own behind the name of what they belong to.
const MAX_READ_NAME_BYTES: usize = MAX_NAME_BYTES + crate::DEAD_SUFFIX.len();
/// Most set operations, joins and the like in a text: each one is a level of the plan.
const MAX_COMBINED: usize = 500;
/// Brackets before a `SELECT` inside `FROM` are tried as a query and as a join, so nested ones multiply.
const MAX_ATTEMPTS: u64 = 4096;

/// Most `[..][..]` and `a.b.c` after each other.
const MAX_ACCESS: usize = 64;

/// What the tokens so far add up to.
#[derive(Default)]
struct Nesting {
    /// The open brackets, each with the factor by which it multiplies attempts.
    open: Vec<u64>,
    /// Opening brackets directly before this token.
    run: u64,
    combined: usize,
    prefixes: usize,
    access: usize,
    after_bracket: bool,
}

/// Checks nesting and repetition that sqlparser or the planner would answer with recursion or exponential time.
pub(super) fn check_nesting(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut nesting = Nesting::default();
    for token in tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))) {
        nesting.take(&token.token).map_err(|what| too_deep(what, token))?;
    }
    Ok(())
}

impl Nesting {
    fn take(&mut self, token: &Token) -> Result<(), String> {
        self.count_signs(token)?;
        self.count_access(token)?;
        match token {
            Token::SemiColon => *self = Self::default(),
            Token::LParen | Token::LBracket | Token::LBrace => {
                self.run += 1;
                self.open.push(1);
                if self.open.len() > MAX_BRACKETS {
                    return Err(format!("brackets are nested more than {MAX_BRACKETS} levels deep"));
                }
                return Ok(());
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                self.open.pop();
            }
            Token::Word(w)
                if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES | Keyword::FROM) =>
            {
                if self.run > 1
                    && let Some(innermost) = self.open.last_mut()
                {
                    *innermost = self.run;
                    let attempts = self.open.iter().fold(1u64, |all, factor| all.saturating_mul(*factor));
                    if attempts > MAX_ATTEMPTS {
                        return Err("subqueries stand in too many brackets".into());
                    }
                }
            }
            Token::Word(w) => {
                let combines = matches!(
                    w.keyword,
                    Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN | Keyword::WHEN
                );
                self.combined += usize::from(combines);
                if self.combined > MAX_COMBINED {
                    return Err(format!("a statement combines more than {MAX_COMBINED} parts"));
                }
            }
            _ => {}
        }
        self.run = 0;
        Ok(())
    }

    fn count_signs(&mut self, token: &Token) -> Result<(), String> {
        // INTERVAL reads what follows as a value, without counting depth.
        let is_sign = match token {
            Token::Minus | Token::Plus | Token::Tilde => true,
            Token::Word(w) => matches!(w.keyword, Keyword::NOT | Keyword::INTERVAL | Keyword::PRIOR | Keyword::BINARY),
            _ => false,
        };
        self.prefixes = if is_sign { self.prefixes + 1 } else { 0 };
        if self.prefixes > MAX_NESTING {
            return Err(format!("more than {MAX_NESTING} signs stand before one value"));
        }
        Ok(())
    }

    fn count_access(&mut self, token: &Token) -> Result<(), String> {
        match token {
            Token::LBracket if self.after_bracket => self.access += 1,
            Token::Period => self.access += 1,
            Token::Comma | Token::LParen | Token::RParen | Token::Eq => self.access = 0,
            _ => {}
        }
        self.after_bracket = matches!(token, Token::RBracket);
        if self.access > MAX_ACCESS {
            Err(format!("more than {MAX_ACCESS} accesses to parts in a row"))
        } else {
            Ok(())
        }
    }
}

fn too_deep(what: String, token: &TokenWithSpan) -> Error {
    Error::new(ErrorKind::Limit, what).at(place(token.span.start)).hint("split it, for instance with WITH")
}

/// Refuses a name that is longer than that of something new may be.
pub(crate) fn too_long(name: &str) -> Error {
    Error::new(ErrorKind::Limit, format!("a name has {} bytes; at most {MAX_NAME_BYTES}", name.len()))
}

/// A name that is not too long and not empty.
pub(super) fn check_name(name: String, at: Location) -> Result<String> {
    if name.is_empty() {
        return Err(Error::input("a name is empty").at(at));
    }
    if name.len() > MAX_READ_NAME_BYTES {
        return Err(too_long(&name).at(at));
    }
    Ok(name)
}
