//! PostgreSQL's spellings of what DataFusion spells otherwise.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, LimitClause, ObjectName, Query, TimezoneInfo, UnaryOperator, Value, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use fleuve_types::{Error, Result};

use super::tree::call;

/// `a ^ b`, `mod(a, b)`, `a::bytea`, `a::varchar(3)`, `convert_from('\xff', …)`, `time AT TIME ZONE zone`, `INTERVAL '-01:30'`, `(a).field`, `substring(a FROM 'pattern')`, `localtimestamp`, functions of arrays that change each equal element, padded base64, and PostgreSQL's patterns of dates
/// and times. From edition 2 on, some of these functions have others in their place ([`super::extract`]).
pub(super) fn respell(expr: &mut Expr, edition: u32) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::PGExp, right } => {
            let arguments = [left, right].map(|side| {
                let hole = Expr::Identifier(Ident::new(""));
                FunctionArg::Unnamed(FunctionArgExpr::Expr(std::mem::replace(side.as_mut(), hole)))
            });
            let mut power = Parser::new(&PostgreSqlDialect {})
                .try_with_sql("power(1, 1)")
                .and_then(|mut p| p.parse_expr())
                .expect("an expression of our own is well formed");
            if let Expr::Function(f) = &mut power
                && let FunctionArguments::List(list) = &mut f.args
            {
                list.args = arguments.into();
            }
            *expr = power;
        }
        Expr::Function(f) if is_named(&f.name, "mod") => {
            if let FunctionArguments::List(list) = &f.args
                && let [
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
                ] = list.args.as_slice()
            {
                let side = |e: &Expr| Box::new(Expr::Nested(Box::new(e.clone())));
                let (left, right) = (side(left), side(right));
                let modulo = Expr::BinaryOp { left, op: BinaryOperator::Modulo, right };
                *expr = Expr::Nested(Box::new(modulo));
            }
        }
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon, expr: value, data_type: DataType::Bytea, ..
        } if !is_parameter(value) => {
            let hole = Expr::Identifier(Ident::new(""));
            let value = std::mem::replace(value.as_mut(), hole);
            *expr = call("bytea", [FunctionArgExpr::Expr(value)], vec![]);
        }
        Expr::TypedString(typed) if typed.data_type == DataType::Bytea => {
            *expr = call("bytea", [FunctionArgExpr::Expr(Expr::Value(typed.value.clone()))], vec![]);
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            let [zone, time] = [time_zone, timestamp].map(|side| {
                let hole = Expr::Identifier(Ident::new(""));
                FunctionArgExpr::Expr(std::mem::replace(side.as_mut(), hole))
            });
            *expr = call("timezone", [zone, time], vec![]);
        }
        Expr::Interval(interval) if interval.leading_field.is_none() => with_hours(&mut interval.value),
        Expr::Cast { expr: text, data_type: DataType::Interval { fields: None, .. }, .. } => with_hours(text),
        Expr::Cast { data_type, .. } if edition > 2 && matches!(data_type, DataType::Float(_)) => {
            let DataType::Float(digits) = &data_type else { return };
            *data_type = match digits {
                ExactNumberInfo::Precision(digits) if *digits <= 24 => DataType::Real,
                _ => DataType::DoublePrecision,
            };
        }
        Expr::Cast { expr: value, data_type, .. } if edition > 2 && length_of(data_type).is_some() => {
            let longest = length_of(data_type).flatten();
            *data_type = DataType::Text;
            if let Some(longest) = longest
                && !is_parameter(value)
            {
                let text = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
                let longest = Expr::value(Value::Number(longest.to_string(), false));
                *expr = call("left", [text, longest].map(FunctionArgExpr::Expr), vec![]);
            }
        }
        Expr::BinaryOp { op, right: pattern, .. } if is_regex(op) => {
            if let Some(pattern) = written_text(pattern) {
                across_lines(pattern);
            }
        }
        Expr::Function(f) if MATCHERS.iter().any(|(name, _)| is_named(&f.name, name)) => {
            let flags_at = MATCHERS.iter().find(|(name, _)| is_named(&f.name, name)).map_or(0, |(_, at)| *at);
            let of_lines = text_argument(f, flags_at).is_some_and(|flags| flags.contains(['n', 'm', 'p', 'w']));
            if let Some(pattern) = text_argument(f, 1)
                && !of_lines
            {
                across_lines(pattern);
            }
            if is_named(&f.name, "regexp_replace")
                && let Some(by) = text_argument(f, 2)
            {
                // A dollar is none of DataFusion's groups.
                *by = by.replace('$', "$$").replace("\\&", "${0}");
            }
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            super::fields::respell(root, access_chain);
            super::lists::with_bounds(access_chain);
        }
        Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. } if is_text(pattern) => {
            let [text, pattern] = [text, pattern].map(|side| {
                let hole = Expr::Identifier(Ident::new(""));
                FunctionArgExpr::Expr(std::mem::replace(side.as_mut(), hole))
            });
            let mut matched = call("regexp_match", [text, pattern], vec![]);
            respell(&mut matched, edition);
            let matched = FunctionArgExpr::Expr(matched);
            let first = FunctionArgExpr::Expr(Expr::value(Value::Number("1".into(), false)));
            *expr = call("array_element", [matched, first], vec![]);
        }
        Expr::Function(f) if is_named(&f.name, "localtimestamp") && matches!(f.args, FunctionArguments::None) => {
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(call("now", [], vec![])),
                data_type: DataType::Timestamp(None, TimezoneInfo::None),
                array: false,
                format: None,
            };
        }
        Expr::Function(f) if edition < 2 && is_named(&f.name, "array_remove") => rename(f, "array_remove_all"),
        Expr::Function(f) if is_named(&f.name, "array_replace") => rename(f, "array_replace_all"),
        Expr::Function(f) if is_named(&f.name, "encode") => {
            if let Some(form) = text_argument(f, 1)
                && form.eq_ignore_ascii_case("base64")
            {
                *form = "base64pad".into();
            }
        }
        Expr::Function(f) if is_named(&f.name, "convert_from") => {
            if let FunctionArguments::List(list) = &mut f.args
                && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(bytes))) = list.args.first_mut()
                && matches!(bytes, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
            {
                let text = std::mem::replace(bytes, Expr::Identifier(Ident::new("")));
                *bytes = call("bytea", [FunctionArgExpr::Expr(text)], vec![]);
            }
        }
        Expr::Function(f) if patterned(edition).iter().any(|name| is_named(&f.name, name)) => {
            if let Some(pattern) = text_argument(f, 1)
                && !pattern.contains('%')
            {
                *pattern = chrono_pattern(pattern);
            }
        }
        _ => {}
    }
}

/// `a COLLATE "C"` is `a`: texts are in the order of their bytes.
///
/// # Errors
/// Another order.
pub(super) fn without_collation(expr: &mut Expr) -> Result<()> {
    const OF_BYTES: [&str; 4] = ["C", "POSIX", "default", "ucs_basic"];
    let Expr::Collate { expr: value, collation } = expr else { return Ok(()) };
    let name = collation.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone()).unwrap_or_default();
    if !OF_BYTES.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        return Err(Error::unsupported(format!("COLLATE \"{name}\" is not offered"))
            .hint("texts are in the order of their bytes, which is COLLATE \"C\""));
    }
    let hole = Expr::Identifier(Ident::new(""));
    *expr = std::mem::replace(value.as_mut(), hole);
    Ok(())
}

/// `-x ^ 2` as `(-x) ^ 2`: in PostgreSQL a sign binds tighter.
pub(super) fn signed_base(expr: &mut Expr) {
    let Expr::UnaryOp { op: UnaryOperator::Minus, expr: power } = expr else { return };
    if !matches!(power.as_ref(), Expr::BinaryOp { op: BinaryOperator::PGExp, .. }) {
        return;
    }
    let hole = || Expr::Identifier(Ident::new(""));
    let mut power = std::mem::replace(power.as_mut(), hole());
    let mut base = &mut power;
    while let Expr::BinaryOp { left, op: BinaryOperator::PGExp, .. } = base {
        base = left.as_mut();
    }
    let negated = Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(std::mem::replace(base, hole())) };
    *base = Expr::Nested(Box::new(negated));
    *expr = power;
}

/// Functions of regular expressions, and where their flags are.
const MATCHERS: [(&str, usize); 6] = [
    ("regexp_count", 3),
    ("regexp_instr", 5),
    ("regexp_like", 2),
    ("regexp_match", 2),
    ("regexp_replace", 3),
    ("regexp_substr", 4),
];

fn is_regex(op: &BinaryOperator) -> bool {
    use BinaryOperator::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch};
    matches!(op, PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch)
}

/// In PostgreSQL a point stands for the end of a line, too.
fn across_lines(pattern: &mut String) {
    if pattern.contains('.') && !pattern.starts_with("(?") {
        pattern.insert_str(0, "(?s)");
    }
}

/// Of a type of texts with another name than TEXT: how long they may be, if that is said.
fn length_of(data_type: &DataType) -> Option<Option<u64>> {
    use DataType::{Char, CharVarying, Character, CharacterVarying, Varchar};
    match data_type {
        Varchar(length) | CharacterVarying(length) | CharVarying(length) => Some(match length {
            Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
            _ => None,
        }),
        Char(length) | Character(length) => Some(match length {
            Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
            _ => Some(1),
        }),
        _ => None,
    }
}

/// `01:30` in a written interval, by its hours and minutes.
fn with_hours(text: &mut Expr) {
    if let Some(text) = written_text(text) {
        *text = text
            .split(' ')
            .map(|part| hours_of(part).unwrap_or_else(|| part.to_string()))
            .collect::<Vec<_>>()
            .join(" ");
    }
}

fn written_text(expr: &mut Expr) -> Option<&mut String> {
    let Expr::Value(value) = expr else { return None };
    match &mut value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

/// `-01:30:05` as hours, minutes and seconds; `None` for what is not written so.
fn hours_of(part: &str) -> Option<String> {
    let (sign, digits) = match part.split_at_checked(1)? {
        ("-", digits) => ("-", digits),
        ("+", digits) => ("", digits),
        _ => ("", part),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (hours, rest) = digits.split_once(':')?;
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_sixtieth = |text: &str| is_number(text) && text.parse::<u8>().is_ok_and(|n| n < 60);
    if ![hours, part].into_iter().all(is_number) || ![minutes, whole].into_iter().all(is_sixtieth) {
        return None;
    }
    Some(format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds"))
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)))
}

/// True for `$1`, whose type the cast says.
fn is_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// Functions whose second argument is a pattern of dates and times that DataFusion reads.
fn patterned(edition: u32) -> &'static [&'static str] {
    const ALL: [&str; 3] = ["to_date", "to_timestamp", "to_char"];
    if edition < 2 { &ALL } else { &ALL[..2] }
}

/// An argument that is written as a 'string'.
fn text_argument(f: &mut Function, at: usize) -> Option<&mut String> {
    let FunctionArguments::List(list) = &mut f.args else { return None };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))) = list.args.get_mut(at) else { return None };
    written_text(argument)
}

fn rename(f: &mut Function, name: &str) {
    f.name = ObjectName::from(vec![Ident::new(name)]);
}

/// True for a function of that name without a schema.
pub(super) fn is_named(name: &ObjectName, wanted: &str) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case(wanted)))
}

/// The pieces of a pattern, longer ones first, and what `strftime` calls them.
const PATTERNS: &[(&str, &str)] = &[
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("YYYY", "%Y"),
    ("IYYY", "%G"),
    ("Month", "%B"),
    ("DDD", "%j"),
    ("Mon", "%b"),
    ("Day", "%A"),
    ("HH", "%I"),
    ("MI", "%M"),
    ("SS", "%S"),
    ("MS", "%3f"),
    ("US", "%6f"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("Dy", "%a"),
    ("IW", "%V"),
    ("ID", "%u"),
];

fn chrono_pattern(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        // Text in double quotes stands for itself.
        if first == '"'
            && let Some((text, tail)) = rest[1..].split_once('"')
        {
            out.push_str(text);
            rest = tail;
            continue;
        }
        let hit = PATTERNS.iter().find(|(from, _)| rest.starts_with(from) || rest.starts_with(&from.to_lowercase()));
        match hit {
            Some((from, to)) => {
                out.push_str(to);
                rest = &rest[from.len()..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// How many rows are asked for is known before any is read.
///
/// # Errors
/// If a query tells it.
pub(super) fn refuse_counted_limit(query: &Query) -> Result<()> {
    let is_query = |e: &Expr| match e {
        Expr::Subquery(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    match &query.limit_clause {
        Some(limit) if visit_expressions(limit, is_query).is_break() => {
            let hint = "number the rows in a derived table, row_number() OVER (ORDER BY ...) AS r, and compare: WHERE r <= (SELECT ...)";
            Err(Error::unsupported("LIMIT and OFFSET take no subquery").hint(hint))
        }
        _ => Ok(()),
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
pub(super) fn fetch_as_limit(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        return Err(Error::unsupported("FETCH ... WITH TIES and PERCENT are not offered"));
    }
    let one = || Expr::value(Value::Number("1".into(), false));
    let limit = Some(fetch.quantity.unwrap_or_else(one));
    match &mut query.limit_clause {
        None => query.limit_clause = Some(LimitClause::LimitOffset { limit, offset: None, limit_by: vec![] }),
        Some(LimitClause::LimitOffset { limit: free @ None, .. }) => *free = limit,
        Some(_) => return Err(Error::input("a query has LIMIT or FETCH, not both")),
    }
    Ok(())
}
