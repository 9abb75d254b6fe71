//! DataFusion's errors as ours: what is wrong in plain words, where in the user's text, what to do.

use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use fleuve_types::{Error, ErrorKind, Location, with_sql_types};

use crate::suggest::nearest;

/// A statement's text and where it begins, to find places in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Where<'a> {
    /// The statement's own text.
    pub(crate) text: &'a str,
    /// Where it begins in the whole text.
    pub(crate) at: &'a Location,
}

/// An error of the planner or of a run, with the place of what it speaks about where that can be found, else of the
/// statement.
pub(crate) fn at_statement(error: &DataFusionError, place: Where<'_>) -> Error {
    let span = error.diagnostic().and_then(|d| d.span).map(|s| s.start).filter(|s| s.line > 0);
    let mut out = of_datafusion(error);
    out.location = out.location.or_else(|| span.map(|s| Location { file: None, line: s.line, column: s.column }));
    if out.location.is_none() {
        out.location = Some(search(&out.message, place).unwrap_or_else(|| place.at.clone()));
    }
    out
}

/// An error without its place.
pub(crate) fn of_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_datafusion(inner),
        DataFusionError::Shared(inner) => of_datafusion(inner),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => of_datafusion(first),
            None => Error::bug("an empty list of errors"),
        },
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => match inner.downcast_ref::<DataFusionError>() {
                Some(deeper) => of_datafusion(deeper),
                None => match bad_pattern(&inner.to_string()) {
                    Some(message) => Error::input(message),
                    None => Error::new(ErrorKind::Io, inner.to_string()),
                },
            },
        },
        DataFusionError::SchemaError(inner, _) => of_schema(inner),
        DataFusionError::ArrowError(inner, _) => of_arrow(inner),
        DataFusionError::SQL(inner, _) => {
            let (message, at) = crate::parse::split_place(&inner.to_string());
            Error { location: at, ..Error::input(message) }
        }
        // The rest of it is the parser's tree.
        DataFusionError::NotImplemented(m) if m.starts_with("Unsupported ast node in sqltorel") => {
            Error::unsupported("an expression of this kind is not supported")
        }
        DataFusionError::NotImplemented(m) if m.starts_with("Unsupported ast node ") => {
            Error::unsupported("this is not supported in FROM")
        }
        DataFusionError::NotImplemented(m) if is_window_elsewhere(m) => {
            Error::input("window functions stand in SELECT and ORDER BY only")
                .hint("compute it in a subquery in FROM, or filter with QUALIFY in the place of WHERE")
        }
        DataFusionError::NotImplemented(m) => Error::unsupported(tidy(m)),
        DataFusionError::ResourcesExhausted(m) => {
            Error::new(ErrorKind::Limit, format!("the query needs too much memory: {}", tidy(m)))
                .hint("ask for fewer rows or columns, or raise the memory for queries")
        }
        DataFusionError::IoError(e) => Error::io("reading or writing temporary files", e),
        DataFusionError::Internal(m) => Error::bug(tidy(m)),
        DataFusionError::Plan(m) => plan(tidy(m)),
        DataFusionError::Execution(m) | DataFusionError::Configuration(m) => Error::input(tidy(m)),
        other => Error::input(tidy(&other.strip_backtrace())),
    }
}

/// Functions that are nothing without a window.
const WINDOW_FUNCTIONS: [&str; 8] =
    ["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "row_number"];

fn is_window_elsewhere(message: &str) -> bool {
    message.strip_prefix("Physical plan does not support logical expression ").is_some_and(|e| e.starts_with("WindowF"))
}

/// What is wrong with a regular expression, if that is what a message is about.
fn bad_pattern(message: &str) -> Option<String> {
    let (_, told) = message.split_once("regex parse error:")?;
    let why = told.rsplit_once("error: ").map_or("", |(_, why)| why);
    let why = why.lines().next().unwrap_or_default().trim().trim_end_matches(['~', ')', ' ']);
    Some(format!("invalid regular expression: {why}"))
}

fn plan(message: String) -> Error {
    if let Some(name) = message.strip_prefix("Invalid function '") {
        let (name, rest) = name.split_once('\'').unwrap_or((name, ""));
        if WINDOW_FUNCTIONS.contains(&name.to_lowercase().as_str()) {
            return Error::input(format!("the window function {name} requires an OVER clause"))
                .hint(format!("write {name}(…) OVER (ORDER BY …)"));
        }
        let near = rest.split_once("Did you mean '").and_then(|(_, n)| n.split_once('\'')).map(|(n, _)| n.to_string());
        let error = Error::not_found(format!("there is no function \"{name}\""));
        return match near.filter(|n| nearest(name, [n.as_str()]).is_some()) {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error,
        };
    }
    if let Some(rest) = message.strip_prefix("Projections require unique expression names but the expression \"") {
        let expr = rest.split("\" at position ").next().unwrap_or_default();
        return twice(&name_in(expr));
    }
    Error::input(message)
}

/// What an expression of the planner's is called: a column by its own name, what has an alias by that, all else by its text.
fn name_in(expr: &str) -> String {
    let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
    match expr.rsplit_once(" AS ") {
        _ if is_name(expr) => expr.rsplit('.').next().unwrap_or(expr).to_string(),
        Some((_, alias)) if is_name(alias) => alias.to_string(),
        _ => expr.to_string(),
    }
}

/// Two columns of one name.
pub(crate) fn twice(name: &str) -> Error {
    Error::input(format!("there are two columns \"{name}\"")).hint("give one of them another name with AS")
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => missing_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            Error::input(format!("column \"{}\" is in more than one table", field.name))
                .hint(format!("write table.{}", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            twice(name)
        }
    }
}

/// Why a subquery for one value cannot be answered.
const NOT_UNNESTED: &str = "this subquery for one value cannot refer to the tables outside of it in this way or place; write it as a join with GROUP BY";

fn missing_column(field: &Column, valid: &[Column]) -> Error {
    // A table of the plan's own, which could not be made.
    if field
        .relation
        .as_ref()
        .is_some_and(|table| ["__correlated_sq", "__domain_"].iter().any(|of| table.table().starts_with(of)))
    {
        return Error::unsupported(NOT_UNNESTED);
    }
    let shown = match &field.relation {
        Some(table) => format!("{}.{}", table.table(), field.name),
        None => field.name.clone(),
    };
    let error = Error::not_found(format!("there is no column \"{shown}\""));
    let names = || {
        valid
            .iter()
            .map(|c| c.name.as_str())
            .filter(|n| !n.contains('(') && !n.starts_with("fleuve "))
            .filter(|n| !fleuve_types::is_pseudo_column(n) || field.name.starts_with('_'))
    };
    if let Some(table) = &field.relation
        && !valid.iter().any(|c| c.relation.as_ref().is_some_and(|r| table.resolved_eq(r)))
    {
        let mut tables: Vec<&str> = valid.iter().filter_map(|c| c.relation.as_ref().map(|r| r.table())).collect();
        tables.retain(|t| !t.starts_with("unnamed "));
        tables.sort_unstable();
        tables.dedup();
        if !tables.is_empty() {
            return error.hint(format!("FROM has {}", tables.join(", ")));
        }
    }
    if let Some(near) = nearest(&field.name, names()) {
        return error.hint(format!("did you mean \"{near}\"?"));
    }
    let mut all: Vec<&str> = names().collect();
    all.dedup();
    match all.len() {
        0 => error,
        1..=20 => error.hint(format!("there are {}", all.join(", "))),
        n => error.hint(format!("there are {} and {} more", all[..20].join(", "), n - 20)),
    }
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(deeper) => of_datafusion(deeper),
            None => Error::input(inner.to_string()),
        },
        ArrowError::DivideByZero => Error::input("division by zero"),
        ArrowError::MemoryError(m) => Error::new(ErrorKind::Limit, m.clone()),
        ArrowError::NotYetImplemented(m) => Error::unsupported(m.clone()),
        ArrowError::CastError(m) | ArrowError::ComputeError(m) | ArrowError::ParseError(m) => Error::input(tidy(m)),
        // Arrow names neither the column nor the value, and counts over all the values of a batch.
        ArrowError::InvalidArgumentError(m) if m.starts_with("Encountered non") && m.contains("UTF-8") => Error::input(
            "a BYTEA that is cast to TEXT is not UTF-8 in some row",
        )
        .hint("encode(value, 'escape') shows any bytes, and convert_from(value, 'LATIN1') those of that encoding"),
        ArrowError::ArithmeticOverflow(m) | ArrowError::InvalidArgumentError(m) => Error::input(tidy(m)),
        other => Error::input(tidy(&other.to_string())),
    }
}

/// One line without DataFusion's own prefixes, stack and full names.
fn tidy(message: &str) -> String {
    let mut text = message.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default().trim();
    for prefix in [
        "Error during planning: ",
        "Execution error: ",
        "This feature is not implemented: ",
        "Arrow error: ",
        "Internal error: ",
        "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, ",
        "Column in ORDER BY must be in GROUP BY or an aggregate function: While expanding wildcard, ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    if let Some(message) = bad_pattern(text) {
        return message;
    }
    let line = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
    let line = match line.split_once(" This issue was likely caused by a bug in DataFusion's code") {
        Some((told, _)) => told.trim_end_matches('.'),
        None => line.as_str(),
    };
    let line = with_sql_types(&without_families(&line.replace("main.public.", "").replace("main.", "")));
    INNER_PREFIXES.iter().fold(plain_words(&line), |line, prefix| line.replace(prefix, ""))
}

/// What stands before a message within another.
const INNER_PREFIXES: [&str; 4] =
    ["Error during planning: ", "Execution error: ", "Internal error: ", "Invalid argument error: "];

/// `received Utf8` for `received String (DataType: Utf8)`.
fn without_families(message: &str) -> String {
    let Some((before, rest)) = message.split_once(" (DataType: ") else { return message.to_string() };
    let mut depth = 1;
    let is_end = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    };
    let Some(end) = rest.find(is_end) else { return message.to_string() };
    let kept = match before.rfind("received ") {
        Some(at) => at + "received ".len(),
        None => before.rfind(' ').map_or(0, |at| at + 1),
    };
    format!("{}{}{}", &before[..kept], &rest[..end], without_families(&rest[end + 1..]))
}

/// The planner's longer messages, told in a sentence.
fn plain_words(message: &str) -> String {
    if let Some(i) = message.find(" must appear in the GROUP BY clause or must be part of an aggregate function") {
        return format!("{} must be in GROUP BY or inside an aggregate function", &message[..i]);
    }
    if let Some((function, errors)) = message.split_once(" failed to match any signature, errors: ") {
        let function = function.rsplit_once(" failed with: ").map_or(function, |(_, inner)| inner);
        let function = function.trim_start_matches("Internal error: ");
        let first = errors.split(",Error during planning: ").next().unwrap_or_default();
        let first = first.trim_start_matches("Error during planning: ").trim_end_matches('.');
        let why = first.strip_prefix(function).unwrap_or(first).trim();
        let why = match why.strip_prefix("requires Decimal, but received ") {
            Some(given) => &format!("takes numbers, not {given}"),
            None => why,
        };
        return format!("{} does not take these arguments: it {why}", function.replace("Function ", "function "));
    }
    if let Some((told, _)) = message.split_once(" No function matches the given name")
        && let Some(told) = told.strip_prefix("Function ")
        && told.contains(" requires ")
    {
        return format!("function {}", told.trim_end_matches('.'));
    }
    if let Some((told, _)) = message.split_once(" You might need to add explicit type casts.") {
        let told = match told.split_once(" failed. ") {
            Some((refused, told)) if refused.starts_with("Failed to coerce arguments") => told,
            _ => told,
        };
        let call = told.split_once("argument types '");
        return call
            .map_or_else(|| told.into(), |(words, call)| format!("{words}argument types '{}", with_sql_types(call)));
    }
    if let Some((operation, _)) = message.split_once(": Invalid argument error: ")
        && operation.starts_with("Cannot get result type for ")
    {
        return operation.into();
    }
    if message.starts_with("Physical plan does not support logical expression ") {
        if message.contains("AggregateFunction(") {
            return "an aggregate function cannot stand inside another, or in this place".into();
        }
        if message.contains("OuterReferenceColumn(") {
            return "this subquery cannot refer to the tables outside of it in this way or place; write it as a join"
                .into();
        }
        if message.contains("ScalarSubquery(") {
            return NOT_UNNESTED.into();
        }
        if message.contains("InSubquery(") {
            return "IN (SELECT ...) cannot stand in this place, or refer to the tables outside of it in this way; compute it in a subquery in FROM, or write a join".into();
        }
        if message.contains("Exists(") {
            return "EXISTS cannot stand in this place, or refer to the tables outside of it in this way; compute it in a subquery in FROM, or write a join".into();
        }
    }
    message.to_string()
}

/// The place of the first word of the message that stands in quotes and in the text.
fn search(message: &str, place: Where<'_>) -> Option<Location> {
    let quoted = |quote: char| message.split(quote).skip(1).step_by(2).map(str::to_string).collect::<Vec<_>>();
    let mut words: Vec<String> = ['"', '\'', '`'].into_iter().flat_map(quoted).collect();
    // `main.public.orders.amount` in a message is `amount` in the text.
    words.extend(
        message
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
            .filter_map(|w| w.rsplit_once('.').map(|(_, last)| last.to_string())),
    );
    words.iter().filter(|w| !w.is_empty()).find_map(|word| find_word(word, place))
}

/// The place of a whole word in a statement, in any case.
pub(crate) fn find_word(word: &str, place: Where<'_>) -> Option<Location> {
    let (text, word) = (place.text.to_lowercase(), word.to_lowercase());
    if word.is_empty() || text.len() != place.text.len() {
        return None;
    }
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let (i, _) = text.match_indices(&word).find(|(i, _)| {
        !text[..*i].chars().next_back().is_some_and(part_of_name)
            && !text[i + word.len()..].chars().next().is_some_and(part_of_name)
    })?;
    Some(advance(place.at, &place.text[..i]))
}

/// The place behind `passed`, which begins at `from`.
fn advance(from: &Location, passed: &str) -> Location {
    let lines = passed.matches('\n').count() as u64;
    let column = match passed.rfind('\n') {
        Some(i) => passed[i + 1..].chars().count() as u64 + 1,
        None => from.column.max(1) + passed.chars().count() as u64,
    };
    Location { file: from.file.clone(), line: from.line.max(1) + lines, column }
}
