//! `ASOF JOIN`, in DuckDB's spelling and in Snowflake's, and `FOR SYSTEM_TIME AS OF`, which sqlparser does not read in this dialect:
//! they are joins with a mark in front of their condition.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use fleuve_types::{Error, Result};

use super::dialect::FleuveDialect;
use super::{TextPlaces, place};

/// Stands for `ASOF` in the condition of a join.
pub(crate) const AS_OF_MARK: &str = "fleuve_as_of_join";
/// Stands for `FOR SYSTEM_TIME AS OF`, with the time.
pub(crate) const SYSTEM_TIME_MARK: &str = "fleuve_system_time";

/// The tokens with ordinary joins in place of as-of joins.
///
/// # Errors
/// An as-of join without its conditions.
pub(super) fn plain_joins(run: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>> {
    let mut tokens = Tokens { solid: vec![], edits: vec![] };
    tokens.solid = (0..run.len()).filter(|i| !matches!(run[*i].token, Token::Whitespace(_))).collect();
    for at in 0..tokens.solid.len() {
        if tokens.is_as_of(run, at) {
            tokens.as_of(run, at)?;
        } else if tokens.is_system_time(run, at) {
            tokens.system_time(run, at)?;
        }
    }
    if tokens.edits.is_empty() {
        return Ok(run.to_vec());
    }
    tokens.edits.sort_by_key(|(at, _)| *at);
    let (mut out, mut next) = (vec![], 0);
    for (at, edit) in tokens.edits {
        let Some(before) = run.get(next..at) else {
            return Err(
                Error::input("two as-of joins cannot share a condition").hint("each has its own, after its table")
            );
        };
        out.extend_from_slice(before);
        match edit {
            Edit::Leave => next = at + 1,
            Edit::Before(new) => {
                let span = run[at.min(run.len() - 1)].span;
                out.extend(new.into_iter().map(|token| TokenWithSpan { token, span }));
                next = at;
            }
        }
    }
    out.extend_from_slice(&run[next..]);
    Ok(out)
}

enum Edit {
    /// The token is left out.
    Leave,
    Before(Vec<Token>),
}

struct Tokens {
    /// The numbers of those that are not blank.
    solid: Vec<usize>,
    edits: Vec<(usize, Edit)>,
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// `name(arguments) AND`
fn marked(name: &str, arguments: Vec<Token>) -> Vec<Token> {
    let call = [vec![Token::make_word(name, None), Token::LParen], arguments, vec![Token::RParen]].concat();
    [call, vec![Token::make_keyword("AND")]].concat()
}

impl Tokens {
    fn word(&self, run: &[TokenWithSpan], at: usize, word: &str) -> bool {
        self.solid.get(at).is_some_and(|i| is(&run[*i].token, word))
    }

    /// `ASOF [LEFT [OUTER] | INNER] JOIN` behind a table.
    fn is_as_of(&self, run: &[TokenWithSpan], at: usize) -> bool {
        let begins = |at: usize| {
            self.solid.get(at).is_some_and(|i| run[*i].token == Token::Comma)
                || ["from", "join"].iter().any(|word| self.word(run, at, word))
        };
        if !self.word(run, at, "asof") || at == 0 || begins(at - 1) {
            return false;
        }
        let mut next = at + 1;
        if self.word(run, next, "left") {
            next += 1 + usize::from(self.word(run, next + 1, "outer"));
        } else if self.word(run, next, "inner") {
            next += 1;
        }
        self.word(run, next, "join")
    }

    fn is_system_time(&self, run: &[TokenWithSpan], at: usize) -> bool {
        ["for", "system_time", "as", "of"].iter().enumerate().all(|(i, word)| self.word(run, at + i, word))
    }

    /// The first of `words` from `at` on that is not inside of brackets.
    fn find(&self, run: &[TokenWithSpan], at: usize, words: &[&str]) -> Option<usize> {
        let mut depth = 0;
        for (n, i) in self.solid.iter().enumerate().skip(at) {
            match &run[*i].token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 0 => return None,
                Token::RParen => depth -= 1,
                token if depth == 0 && words.iter().any(|w| is(token, w)) => return Some(n),
                _ => {}
            }
        }
        None
    }

    fn as_of(&mut self, run: &[TokenWithSpan], at: usize) -> Result<()> {
        let wrong = |what: &str| {
            Error::input(what).at(place(run[self.solid[at]].span.start)).hint(
                "write a ASOF [LEFT] JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k, or ON a.k = b.k AND a.ts >= b.ts",
            )
        };
        let join = self.find(run, at, &["join"]).unwrap_or(at);
        let ends = ["match_condition", "on", "using", "join", "where", "group", "order", "union"];
        let Some(found) = self.find(run, join + 1, &ends) else {
            return Err(wrong("an ASOF JOIN needs a condition"));
        };
        let on = match () {
            () if self.word(run, found, "on") => found,
            () if self.word(run, found, "match_condition") => {
                let open = found + 1;
                let close = self.closing(run, open).ok_or_else(|| wrong("MATCH_CONDITION needs brackets"))?;
                let [word, last] = [found, close].map(|n| self.solid[n]);
                let on = Token::make_keyword("ON");
                self.edits.push((word, Edit::Leave));
                let first = std::iter::once(on).chain(marked(AS_OF_MARK, vec![])).collect();
                self.edits.push((word + 1, Edit::Before(first)));
                if self.word(run, close + 1, "on") {
                    self.edits.push((self.solid[close + 1], Edit::Leave));
                    self.edits.push((last + 1, Edit::Before(vec![Token::make_keyword("AND")])));
                }
                self.edits.push((self.solid[at], Edit::Leave));
                if join == at + 1 {
                    // It is Snowflake's, where left rows without a partner stay.
                    self.edits.push((self.solid[join], Edit::Before(vec![Token::make_keyword("LEFT")])));
                }
                return Ok(());
            }
            () if self.word(run, found, "using") => return Err(wrong("an ASOF JOIN has no USING")),
            () => return Err(wrong("an ASOF JOIN needs a condition")),
        };
        self.edits.push((self.solid[at], Edit::Leave));
        self.edits.push((self.solid[on] + 1, Edit::Before(marked(AS_OF_MARK, vec![]))));
        Ok(())
    }

    /// The `JOIN` before the condition in which `at` stands.
    fn join_before(&self, run: &[TokenWithSpan], at: usize) -> Option<usize> {
        let mut depth = 0;
        for n in (0..at).rev() {
            match &run[self.solid[n]].token {
                Token::RParen => depth += 1,
                Token::LParen => depth -= 1,
                token if depth == 0 && is(token, "join") => return Some(n),
                _ => {}
            }
        }
        None
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, run: &[TokenWithSpan], open: usize) -> Option<usize> {
        let mut depth = 0;
        for (n, i) in self.solid.iter().enumerate().skip(open) {
            match run[*i].token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return (n > open).then_some(n);
            }
        }
        None
    }

    /// `FOR SYSTEM_TIME AS OF a.ts`: the time goes into the condition.
    fn system_time(&mut self, run: &[TokenWithSpan], at: usize) -> Result<()> {
        let wrong = |what: &str| {
            Error::input(what)
                .at(place(run[self.solid[at]].span.start))
                .hint("write a LEFT JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.k = b.k")
        };
        let mut last = at + 4;
        let token = |n: usize| self.solid.get(n).map(|i| &run[*i].token);
        if !matches!(token(last), Some(Token::Word(_))) {
            return Err(wrong("FOR SYSTEM_TIME AS OF takes a column"));
        }
        while matches!((token(last + 1), token(last + 2)), (Some(Token::Period), Some(Token::Word(_)))) {
            last += 2;
        }
        let on = self.find(run, last + 1, &["on", "join", "where", "group", "order", "union"]);
        let Some(on) = on.filter(|n| self.word(run, *n, "on")) else {
            return Err(wrong("FOR SYSTEM_TIME AS OF stands in a join with a condition"));
        };
        let time = (at + 4..=last).filter_map(|n| token(n).cloned()).collect();
        self.edits.extend((at..=last).map(|n| (self.solid[n], Edit::Leave)));
        self.edits.push((self.solid[on] + 1, Edit::Before(marked(SYSTEM_TIME_MARK, time))));
        Ok(())
    }
}

/// A query as people write it: with `ASOF` in place of the marks.
pub(super) fn with_as_of(query: String) -> String {
    if !query.contains(AS_OF_MARK) && !query.contains(SYSTEM_TIME_MARK) {
        return query;
    }
    // What was printed can be read.
    let Ok(run) = Tokenizer::new(&FleuveDialect::new(0), &query).tokenize_with_location() else { return query };
    let solid = (0..run.len()).filter(|i| !matches!(run[*i].token, Token::Whitespace(_))).collect();
    let tokens = Tokens { solid, edits: vec![] };
    let places = TextPlaces::new(&query);
    let begin = |n: usize| places.byte(run[tokens.solid[n]].span.start);
    // Bytes that are replaced, and by what.
    let mut edits: Vec<(std::ops::Range<usize>, String)> = vec![];
    for at in 1..tokens.solid.len() {
        let (is_as_of, is_time) = (tokens.word(&run, at, AS_OF_MARK), tokens.word(&run, at, SYSTEM_TIME_MARK));
        if !is_as_of && !is_time {
            continue;
        }
        let Some(close) = tokens.closing(&run, at + 1).filter(|n| tokens.word(&run, n + 1, "and")) else { continue };
        let Some(join) = tokens.join_before(&run, at) else { continue };
        edits.push((begin(at)..begin(close + 2), String::new()));
        if is_as_of {
            let kind = (1..=2).find(|n| ["left", "inner"].iter().any(|w| join >= *n && tokens.word(&run, join - n, w)));
            let first = begin(join - kind.unwrap_or(0));
            edits.push((first..first, "ASOF ".into()));
        } else {
            let mut last = join + 1;
            while matches!(tokens.solid.get(last + 1).map(|i| &run[*i].token), Some(Token::Period)) {
                last += 2;
            }
            let end = places.byte(run[tokens.solid[last]].span.end);
            let time = &query[begin(at + 2)..begin(close)];
            edits.push((end..end, format!(" FOR SYSTEM_TIME AS OF {time}")));
        }
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = query.clone();
    for (range, new) in edits.into_iter().rev() {
        out.replace_range(range, &new);
    }
    out
}
