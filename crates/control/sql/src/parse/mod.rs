//! Text to statements. Nothing here looks at what exists.
//!
//! The whole text is cut into tokens once, so that every place in an error is a place in the user's text, also when it
//! holds many statements. Statements of Fleuve's own are read here; queries by sqlparser.

mod alter;
mod as_of;
mod ast;
mod canonical;
mod create;
mod dialect;
mod limits;
mod literal;
mod other;
mod text;
mod types;

#[cfg(test)]
mod tests;

use datafusion::sql::sqlparser::ast::{ObjectName, ObjectNamePart};
use datafusion::sql::sqlparser::keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location as At, Token, TokenWithSpan, Tokenizer};
use fleuve_types::{Error, ErrorKind, Location, Result};

pub(crate) use as_of::{AS_OF_MARK, SYSTEM_TIME_MARK};
pub use ast::*;
pub(crate) use canonical::canonical;
pub use canonical::kept;
pub(crate) use dialect::select_all_from;
pub(crate) use limits::{MAX_NAME_BYTES, MAX_NESTING, MAX_TEXT_BYTES, too_long};
pub use literal::{duration_us, size_bytes};
pub(crate) use text::{TextPlaces, place, split_place};
pub(crate) use types::parse_type;

use dialect::FleuveDialect;

/// Words that nobody means as a name: what they begin stands in the wrong place.
const BEGINS_CLAUSE: [Keyword; 20] = [
    Keyword::CROSS,
    Keyword::EXCEPT,
    Keyword::EXPLAIN,
    Keyword::FETCH,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::INNER,
    Keyword::INTERSECT,
    Keyword::JOIN,
    Keyword::LIMIT,
    Keyword::NATURAL,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::ORDER,
    Keyword::SELECT,
    Keyword::UNION,
    Keyword::USING,
    Keyword::WHERE,
    Keyword::WITH,
];

/// One statement and where it stands in the text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its own text, without the semicolon.
    pub text: String,
    /// Where it begins.
    pub at: Location,
    /// The highest `$n` in it.
    pub parameters: usize,
    /// The rules for what it leaves open.
    pub edition: u32,
}

/// The rules for what statements leave open. The catalog keeps with each object those that it was made by, so that a new version of Fleuve
/// does not change what it means.
///
/// 3: a cast to FLOAT is one to DOUBLE PRECISION, and one to `varchar(n)` or `char(n)` cuts.
///
/// 2: `extract` gives decimals and `date_part` DOUBLE PRECISION, a date with an interval is a timestamp, `to_char` knows all of PostgreSQL's
/// patterns, `array_remove` takes NULL out, `array_dims` is a text, times and floating-point numbers are written as in PostgreSQL, intervals are
/// not ordered where that would be wrong, a JOIN has a condition, and a window takes over from another one only what that allows. 1: computed
/// columns have the names that PostgreSQL gives them. 0: those of DataFusion's planner.
pub const EDITION: u32 = 3;

/// Reads the statements of `sql`.
///
/// # Errors
/// [`ErrorKind::Input`] with the place of what cannot be read, [`ErrorKind::Limit`] for text that is too long or too
/// deeply nested, [`ErrorKind::Unsupported`] for what is understood but not offered.
pub fn parse(sql: &str) -> Result<Vec<Parsed>> {
    if sql.len() > MAX_TEXT_BYTES {
        return Err(Error::new(
            ErrorKind::Limit,
            format!("the text has {} bytes; at most {MAX_TEXT_BYTES} are read at once", sql.len()),
        )
        .hint("send fewer statements at a time"));
    }
    let places = TextPlaces::new(sql);
    let tokens = Tokenizer::new(&FleuveDialect::new(0), sql)
        .tokenize_with_location()
        .map_err(|e| Error::input(e.message.clone()).at(place(e.location)))?;
    limits::check_nesting(&tokens)?;
    let mut out = Vec::new();
    for run in tokens.split(|t| t.token == Token::SemiColon) {
        let mut solid = run.iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF));
        let Some(first) = solid.next() else { continue };
        let last = solid.next_back().unwrap_or(first);
        let text = places.slice(first.span.start, last.span.end).to_string();
        let (run, on_error) = on_error_clause(run)?;
        let run = &as_of::plain_joins(run)?;
        let dialect = FleuveDialect::new(run.len());
        let mut parser = StatementParser::new(run, &dialect, &places, last.span.end);
        parser.on_error = on_error;
        let statement = parser.statement()?;
        out.push(Parsed {
            statement,
            text,
            at: place(first.span.start),
            parameters: highest_parameter(run),
            edition: EDITION,
        });
    }
    Ok(out)
}

/// Reads exactly one statement.
///
/// # Errors
/// Those of [`parse`], and when there is none or more than one.
pub fn parse_one(sql: &str) -> Result<Parsed> {
    let mut all = parse(sql)?;
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(Error::input("there is no statement")),
        (Some(second), false) => Err(Error::input("one statement is wanted, there are more").at(second.at)),
    }
}

fn highest_parameter(tokens: &[TokenWithSpan]) -> usize {
    tokens
        .iter()
        .filter_map(|t| match &t.token {
            Token::Placeholder(p) => p.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()),
            _ => None,
        })
        .max()
        .unwrap_or(0)
}

/// Where `EMIT ON WINDOW CLOSE` ends a statement: the number of its first token, and its place.
fn emit_clause(run: &[TokenWithSpan]) -> Option<(usize, Location)> {
    let solid = |t: &TokenWithSpan| !matches!(t.token, Token::Whitespace(_) | Token::EOF);
    let mut from_end = run.iter().enumerate().rev().filter(|(_, t)| solid(t));
    let mut first = None;
    for word in ["close", "window", "on", "emit"] {
        let (number, token) = from_end.next()?;
        let Token::Word(w) = &token.token else { return None };
        if w.quote_style.is_some() || !w.value.eq_ignore_ascii_case(word) {
            return None;
        }
        first = Some((number, place(token.span.start)));
    }
    first
}

/// A policy and where it stands.
type OnErrorClause = (OnError, Location);

/// Takes `ON ERROR ...` off the end of a statement: behind a join sqlparser would read it as the join's condition.
fn on_error_clause(run: &[TokenWithSpan]) -> Result<(&[TokenWithSpan], Option<OnErrorClause>)> {
    let solid: Vec<usize> = (0..run.len()).filter(|i| !matches!(run[*i].token, Token::Whitespace(_))).collect();
    let is = |at: usize, word: &str| matches!(&run[solid[at]].token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
    let ends_with = |words: &[&str]| {
        let from = solid.len().checked_sub(words.len())?;
        words
            .iter()
            .enumerate()
            .all(|(i, w)| is(from + i, w))
            .then(|| (&run[..solid[from]], run[solid[from]].span.start))
    };
    for (words, policy) in [
        (&["on", "error", "stop"][..], OnError::Stop),
        (&["on", "error", "skip", "to", "dead", "letter"][..], OnError::Skip),
    ] {
        if let Some((rest, at)) = ends_with(words) {
            return Ok((rest, Some((policy, place(at)))));
        }
    }
    if let Some((_, at)) = ends_with(&["on", "error", "skip"]) {
        return Err(Error::input("expected TO DEAD LETTER after ON ERROR SKIP").at(place(at)));
    }
    if let Some(from) = solid.len().checked_sub(3)
        && is(from, "on")
        && is(from + 1, "error")
        && let Token::Word(word) = &run[solid[from + 2]].token
    {
        let message =
            format!("there is no ON ERROR {}; there are ON ERROR STOP and ON ERROR SKIP TO DEAD LETTER", word.value);
        return Err(Error::input(message).at(place(run[solid[from]].span.start)));
    }
    Ok((run, None))
}

/// Reads one statement out of its tokens.
pub(crate) struct StatementParser<'a> {
    parser: Parser<'a>,
    dialect: &'a FleuveDialect,
    places: &'a TextPlaces<'a>,
    end: At,
    /// Where `EMIT ON WINDOW CLOSE` stood at the end. It is taken off first: sqlparser would take EMIT for a table's alias.
    emit_at: Option<Location>,
    /// The statement's `ON ERROR` and where it stands.
    on_error: Option<OnErrorClause>,
    /// Closing angle brackets that were read but not used yet: `>>` is one token.
    open_angles: usize,
}

impl<'a> StatementParser<'a> {
    fn new(run: &[TokenWithSpan], dialect: &'a FleuveDialect, places: &'a TextPlaces<'a>, end: At) -> Self {
        let emit = emit_clause(run);
        let run = &run[..emit.as_ref().map_or(run.len(), |(first, _)| *first)];
        let parser = Parser::new(dialect).with_recursion_limit(MAX_NESTING).with_tokens_with_locations(run.to_vec());
        Self { parser, dialect, places, end, emit_at: emit.map(|(_, at)| at), on_error: None, open_angles: 0 }
    }

    fn statement(mut self) -> Result<Statement> {
        let statement = self.any_statement()?;
        if let Some(at) = self.emit_at.take() {
            return Err(Error::input("EMIT ON WINDOW CLOSE belongs to a view")
                .at(at)
                .hint("write CREATE MATERIALIZED VIEW name AS SELECT ... EMIT ON WINDOW CLOSE"));
        }
        let next = self.parser.peek_token();
        if next.token != Token::EOF {
            let error = self.expected("the end of the statement");
            return Err(match self.reserved_alias() {
                Some(word) => error.hint(format!("as a name, write AS {word} or \"{word}\": it is a word of SQL's")),
                None => error,
            });
        }
        if let Some((_, at)) = self.on_error {
            return Err(Error::input("ON ERROR belongs to CREATE MATERIALIZED VIEW").at(at));
        }
        Ok(statement)
    }

    /// The next word, if it stands where a name may and is kept for something else.
    fn reserved_alias(&mut self) -> Option<String> {
        let Token::Word(word) = self.parser.peek_token().token else { return None };
        let is_kept = word.quote_style.is_none()
            && RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
            && !BEGINS_CLAUSE.contains(&word.keyword);
        self.parser.prev_token();
        let before = self.parser.next_token().token;
        (is_kept && matches!(before, Token::RParen | Token::Word(_))).then(|| word.value.to_lowercase())
    }

    /// Runs a piece of sqlparser and gives its error a place.
    fn sql<T>(&mut self, piece: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>) -> Result<T> {
        let before = self.here();
        piece(&mut self.parser).map_err(|e| self.error_of(e, &before))
    }

    fn error_of(&self, error: ParserError, before: &Location) -> Error {
        match error {
            ParserError::RecursionLimitExceeded => {
                let what = if self.dialect.chain_too_long() {
                    format!("an expression chains more than {} operators", dialect::MAX_CHAIN)
                } else {
                    format!("the statement is nested more than {MAX_NESTING} levels deep, or too tangled to read")
                };
                Error::new(ErrorKind::Limit, what).at(before.clone()).hint("split it, for instance with WITH")
            }
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
                let (message, at) = split_place(&message);
                let at = at.unwrap_or_else(|| place(self.end));
                Error::input(text::polish(&message)).at(at)
            }
        }
    }

    /// The place of the next token, or of the end.
    fn here(&self) -> Location {
        self.at_token(&self.parser.peek_token())
    }

    fn at_token(&self, token: &TokenWithSpan) -> Location {
        if token.token == Token::EOF || token.span.start.line == 0 { place(self.end) } else { place(token.span.start) }
    }

    fn expected(&self, what: &str) -> Error {
        let found = self.parser.peek_token();
        let at = self.at_token(&found);
        let found = match found.token {
            Token::EOF => "the end of the statement".to_string(),
            other => format!("{other}"),
        };
        Error::input(format!("expected {what}, found {found}")).at(at)
    }

    /// Takes the next word if it is this one, whether sqlparser knows it as a keyword or not.
    fn word(&mut self, word: &str) -> bool {
        let hit = self.peek_word(0, word);
        if hit {
            self.parser.next_token();
        }
        hit
    }

    fn peek_word(&self, n: usize, word: &str) -> bool {
        matches!(&self.parser.peek_nth_token_ref(n).token,
            Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    fn words(&mut self, words: &[&str]) -> bool {
        let hit = words.iter().enumerate().all(|(i, w)| self.peek_word(i, w));
        if hit {
            words.iter().for_each(|_| {
                self.parser.next_token();
            });
        }
        hit
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    fn expect(&mut self, token: &Token, what: &str) -> Result<()> {
        if self.token(token) { Ok(()) } else { Err(self.expected(what)) }
    }

    /// An identifier in PostgreSQL's spelling: lower case unless quoted.
    fn identifier(&mut self, what: &str) -> Result<(String, Location)> {
        let next = self.parser.peek_token();
        match next.token {
            Token::Word(w) => {
                self.parser.next_token();
                let name = if w.quote_style.is_some() { w.value } else { w.value.to_lowercase() };
                Ok((limits::check_name(name, place(next.span.start))?, place(next.span.start)))
            }
            _ => Err(self.expected(what)),
        }
    }

    fn name(&mut self, what: &str) -> Result<Name> {
        let at = self.here();
        let (first, _) = self.identifier(what)?;
        let mut parts = vec![first];
        while self.token(&Token::Period) {
            parts.push(self.identifier(what)?.0);
        }
        name_of_parts(parts, at)
    }

    fn if_not_exists(&mut self) -> bool {
        self.words(&["if", "not", "exists"])
    }

    fn string(&mut self, what: &str) -> Result<String> {
        match self.parser.peek_token().token {
            Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) => {
                self.parser.next_token();
                Ok(s)
            }
            Token::DollarQuotedString(s) => {
                self.parser.next_token();
                Ok(s.value)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn query(&mut self) -> Result<Box<datafusion::sql::sqlparser::ast::Query>> {
        if self.parser.peek_keyword(Keyword::TABLE) {
            self.parser.next_token();
            let name = self.sql(|p| p.parse_object_name(false))?;
            return Ok(Box::new(select_all_from(name)));
        }
        self.sql(|p| p.parse_query())
    }
}

/// The name of `[environment.][namespace.]name`.
fn name_of_parts(mut parts: Vec<String>, at: Location) -> Result<Name> {
    let name = parts.pop().unwrap_or_default();
    let namespace = parts.pop();
    match (parts.pop(), parts.is_empty()) {
        (None, _) => {}
        (Some(environment), true) if environment == crate::ENVIRONMENT => {}
        (Some(environment), true) => {
            return Err(Error::not_found(format!("environment \"{environment}\" does not exist"))
                .at(at)
                .hint(format!("the only environment is \"{}\"", crate::ENVIRONMENT)));
        }
        (Some(_), false) => {
            return Err(Error::input("a name has at most three parts: environment.namespace.name").at(at));
        }
    }
    Ok(Name { namespace, name, at })
}

/// The name that sqlparser read.
///
/// # Errors
/// Too many parts, another environment.
pub(crate) fn name_of(object: &ObjectName) -> Result<Name> {
    let mut at = Location::default();
    let mut parts = Vec::new();
    for (i, part) in object.0.iter().enumerate() {
        let ObjectNamePart::Identifier(ident) = part else {
            return Err(Error::input(format!("\"{object}\" is not a name")));
        };
        if i == 0 {
            at = place(ident.span.start);
        }
        parts.push(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() });
    }
    name_of_parts(parts, at)
}
