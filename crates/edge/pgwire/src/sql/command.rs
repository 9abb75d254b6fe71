use super::{Token, TokenKind, tokens};
use crate::error::{PgError, PgResult, code};

/// A statement that the door answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    Set {
        name: String,
        value: SetValue,
        local: bool,
    },
    /// `SET TRANSACTION ...`: there is one isolation level.
    SetTransaction,
    /// `RESET name`; `None` is `ALL`.
    Reset(Option<String>),
    /// `SHOW name` of something that may be a setting; the session's `SHOW` statements come first.
    Show(String),
    ShowAll,
    /// `DISCARD`: `true` for `ALL`.
    Discard(bool),
    /// `DEALLOCATE name`; `None` is `ALL`.
    Deallocate(Option<String>),
    Unlisten,
    /// `DECLARE name CURSOR FOR query`; the query starts `offset` characters into the statement.
    Declare {
        name: String,
        query: String,
        offset: u64,
        hold: bool,
    },
    Fetch {
        name: String,
        count: Fetch,
        skip: bool,
    },
    /// `CLOSE name`; `None` is `ALL`.
    CloseCursor(Option<String>),
}

impl Command {
    /// True for what a failed transaction still takes.
    pub(crate) fn ends_transaction(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::RollbackTo(_))
    }
}

/// What a setting becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetValue {
    Default,
    To(String),
}

/// How many rows `FETCH` wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    Rows(usize),
    All,
}

/// The command that a statement is, or `None` if it is for the platform.
pub(crate) fn command(sql: &str) -> PgResult<Option<Command>> {
    let mut all = tokens(sql);
    let Some(first) = all.next() else { return Ok(None) };
    if first.kind != TokenKind::Word {
        return Ok(None);
    }
    let rest: Vec<Token<'_>> = all.take(64).collect();
    let word = |i: usize, w: &str| rest.get(i).is_some_and(|t| t.is_word(w));
    Ok(Some(match first.text.to_ascii_lowercase().as_str() {
        "begin" => Command::Begin,
        "start" if word(0, "transaction") => Command::Begin,
        "commit" | "end" => refuse_prepared(&rest, Command::Commit)?,
        "abort" => Command::Rollback,
        "rollback" => rollback(&rest)?,
        "savepoint" => Command::Savepoint(name(rest.first())?),
        "release" => Command::Release(name(rest.get(usize::from(word(0, "savepoint"))))?),
        "set" => set(sql, &rest)?,
        "reset" => match rest.first() {
            Some(t) if t.is_word("all") => Command::Reset(None),
            _ if word(0, "time") && word(1, "zone") => Command::Reset(Some("timezone".to_string())),
            _ => Command::Reset(Some(setting_name(&rest)?.0)),
        },
        "show" => match show(&rest) {
            Some(show) => show,
            None => return Ok(None),
        },
        "discard" => Command::Discard(word(0, "all")),
        "deallocate" => {
            let t = rest.get(usize::from(word(0, "prepare")));
            Command::Deallocate(if t.is_some_and(|t| t.is_word("all")) { None } else { Some(name(t)?) })
        }
        "unlisten" => Command::Unlisten,
        "declare" => declare(sql, &rest)?,
        "fetch" => fetch(&rest, false)?,
        "move" => fetch(&rest, true)?,
        "close" => Command::CloseCursor(if word(0, "all") { None } else { Some(name(rest.first())?) }),
        other => match refused(other) {
            Some(e) => return Err(e),
            None => return Ok(None),
        },
    }))
}

/// Statements of PostgreSQL that have no meaning here, each with what to do instead.
fn refused(word: &str) -> Option<PgError> {
    let hint = match word {
        "copy" => "write with INSERT INTO or a Kafka client; read with SELECT (psql: \\g FILE or --csv)",
        "listen" | "notify" => "SUBSCRIBE TO a view gives its changes as rows",
        "prepare" | "execute" => "use your driver's prepared statements",
        "lock" | "vacuum" | "analyze" | "cluster" | "reindex" | "checkpoint" => "there is nothing to do: leave it out",
        _ => return None,
    };
    let message = format!("{} is not supported", word.to_ascii_uppercase());
    Some(PgError::error(code::FEATURE_NOT_SUPPORTED, message).hint(hint))
}

fn syntax(message: &str) -> PgError {
    PgError::error(code::SYNTAX_ERROR, format!("syntax error: {message}"))
}

fn name(token: Option<&Token<'_>>) -> PgResult<String> {
    match token {
        Some(t) if matches!(t.kind, TokenKind::Word | TokenKind::Quoted) => Ok(t.value()),
        _ => Err(syntax("a name is missing")),
    }
}

fn refuse_prepared(rest: &[Token<'_>], command: Command) -> PgResult<Command> {
    if rest.first().is_some_and(|t| t.is_word("prepared")) {
        return Err(PgError::error(code::FEATURE_NOT_SUPPORTED, "two-phase transactions are not supported"));
    }
    Ok(command)
}

fn rollback(rest: &[Token<'_>]) -> PgResult<Command> {
    let Some(to) = rest.iter().position(|t| t.is_word("to")) else { return refuse_prepared(rest, Command::Rollback) };
    let after = to + 1 + usize::from(rest.get(to + 1).is_some_and(|t| t.is_word("savepoint")));
    Ok(Command::RollbackTo(name(rest.get(after))?))
}

/// A setting's name, which may have prefixes (`my.own.setting`), and how many tokens it takes.
fn setting_name(rest: &[Token<'_>]) -> PgResult<(String, usize)> {
    let (mut full, mut taken) = (name(rest.first())?.to_ascii_lowercase(), 1);
    while rest.get(taken).is_some_and(|t| t.is_symbol('.')) {
        full = format!("{full}.{}", name(rest.get(taken + 1))?.to_ascii_lowercase());
        taken += 2;
    }
    Ok((full, taken))
}

fn set(sql: &str, rest: &[Token<'_>]) -> PgResult<Command> {
    let mut rest = rest;
    let mut local = false;
    if let [first, tail @ ..] = rest
        && (first.is_word("local") || first.is_word("session"))
        && !tail.first().is_some_and(|t| t.is_symbol('=') || t.is_word("to"))
    {
        local = first.is_word("local");
        rest = tail;
    }
    let word = |i: usize, w: &str| rest.get(i).is_some_and(|t| t.is_word(w));
    if word(0, "transaction") || word(0, "characteristics") || word(0, "constraints") {
        return Ok(Command::SetTransaction);
    }
    if word(0, "time") && word(1, "zone") {
        return Ok(Command::Set { name: "timezone".to_string(), value: value(sql, &rest[2..])?, local });
    }
    if word(0, "names") {
        return Ok(Command::Set { name: "client_encoding".to_string(), value: value(sql, &rest[1..])?, local });
    }
    if word(0, "authorization") || word(0, "role") {
        let name = if word(0, "role") { "role" } else { "session_authorization" };
        return Ok(Command::Set { name: name.to_string(), value: value(sql, &rest[1..])?, local });
    }
    let (name, after) = setting_name(rest)?;
    match rest.get(after) {
        Some(t) if t.is_symbol('=') || t.is_word("to") => {
            Ok(Command::Set { name, value: value(sql, &rest[after + 1..])?, local })
        }
        _ => Err(syntax("SET name = value")),
    }
}

fn value(sql: &str, rest: &[Token<'_>]) -> PgResult<SetValue> {
    match rest {
        [] => Err(syntax("SET needs a value")),
        [one] if one.is_word("default") => Ok(SetValue::Default),
        [one] if one.kind == TokenKind::Word => Ok(SetValue::To(one.text.to_string())),
        [one] => Ok(SetValue::To(one.value())),
        [first, .., last] => {
            // A list (`search_path = a, b`) or a signed number: kept as written.
            let end = last.start + last.text.len();
            let text = &sql[first.start..end];
            Ok(SetValue::To(text.replace('\'', "")))
        }
    }
}

fn show(rest: &[Token<'_>]) -> Option<Command> {
    let words: Vec<String> = rest.iter().map(Token::value).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["all"] => Some(Command::ShowAll),
        ["transaction", "isolation", "level"] => Some(Command::Show("transaction_isolation".to_string())),
        ["time", "zone"] => Some(Command::Show("timezone".to_string())),
        ["session", "authorization"] => Some(Command::Show("session_authorization".to_string())),
        [one] => Some(Command::Show(one.to_ascii_lowercase())),
        [prefix, ".", name] => Some(Command::Show(format!("{prefix}.{name}"))),
        _ => None,
    }
}

fn declare(sql: &str, rest: &[Token<'_>]) -> PgResult<Command> {
    let name = name(rest.first())?;
    let refuse =
        |what: &str| Err(PgError::error(code::FEATURE_NOT_SUPPORTED, format!("{what} cursors are not supported")));
    let cursor =
        rest.iter().position(|t| t.is_word("cursor")).ok_or_else(|| syntax("DECLARE name CURSOR FOR query"))?;
    let before = &rest[1..cursor];
    if before.iter().any(|t| t.is_word("binary")) {
        return refuse("BINARY");
    }
    let scrolls = before.iter().position(|t| t.is_word("scroll"));
    if scrolls.is_some_and(|at| at == 0 || !before[at - 1].is_word("no")) {
        return refuse("SCROLL");
    }
    let after = &rest[cursor + 1..];
    let hold = matches!(after, [with, hold, ..] if with.is_word("with") && hold.is_word("hold"));
    let query = after.iter().find(|t| t.is_word("for")).ok_or_else(|| syntax("DECLARE name CURSOR FOR query"))?;
    let before = query.start + query.text.len();
    let rest = &sql[before..];
    let blank = rest.len() - rest.trim_start().len();
    let offset = sql[..before + blank].chars().count() as u64;
    Ok(Command::Declare { name, query: rest.trim().to_string(), offset, hold })
}

fn fetch(rest: &[Token<'_>], skip: bool) -> PgResult<Command> {
    let forward_only = || {
        PgError::error(code::FEATURE_NOT_SUPPORTED, "cursors move forward only")
            .hint("FETCH [FORWARD] n|ALL|NEXT FROM name")
    };
    let mut at = 0;
    let mut count = Fetch::Rows(1);
    let word = |i: usize, w: &str| rest.get(i).is_some_and(|t| t.is_word(w));
    if ["backward", "prior", "first", "last", "absolute", "relative"].iter().any(|w| word(0, w)) {
        return Err(forward_only());
    }
    at += usize::from(word(at, "forward") || word(at, "next"));
    match rest.get(at) {
        Some(t) if t.is_word("all") => {
            count = Fetch::All;
            at += 1;
        }
        Some(t) if t.kind == TokenKind::Number => {
            count = Fetch::Rows(t.text.parse().map_err(|_| syntax("FETCH needs a whole number"))?);
            at += 1;
        }
        Some(t) if t.is_symbol('-') => return Err(forward_only()),
        _ => {}
    }
    at += usize::from(word(at, "from") || word(at, "in"));
    Ok(Command::Fetch { name: name(rest.get(at))?, count, skip })
}
