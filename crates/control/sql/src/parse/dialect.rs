//! PostgreSQL's dialect as sqlparser has it, with five changes: `TABLE t` may stand as an argument (`TUMBLE(TABLE t, ...)`), also
//! with keys (`SESSION(t PARTITION BY k, ...)`), `IS DISTINCT FROM` binds as `=` does, speculation is bounded, and chains of operators are bounded (dropping a tree is
//! recursive).

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, SetExpr, TableFactor};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Longest chain of operators in one expression (`a + b + c ...`).
pub(crate) const MAX_CHAIN: usize = 800;

/// How often the parser may start an expression, for each token of the statement. Backtracking on broken text would
/// otherwise take exponential time.
const STARTS_PER_TOKEN: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct FleuveDialect {
    base: PostgreSqlDialect,
    starts_left: Cell<usize>,
    chain_too_long: Cell<bool>,
}

impl FleuveDialect {
    /// For a statement of so many tokens.
    pub(crate) fn new(tokens: usize) -> Self {
        Self {
            base: PostgreSqlDialect {},
            starts_left: Cell::new(tokens.saturating_mul(STARTS_PER_TOKEN).saturating_add(10_000)),
            chain_too_long: Cell::new(false),
        }
    }

    /// True when parsing stopped because of [`MAX_CHAIN`].
    pub(crate) fn chain_too_long(&self) -> bool {
        self.chain_too_long.get()
    }
}

/// How many operators hang to the left of each other, counted no further than `MAX_CHAIN + 1`.
fn chain_length(mut expr: &Expr) -> usize {
    let mut length = 0;
    while length <= MAX_CHAIN {
        expr = match expr {
            Expr::BinaryOp { left, .. } => left,
            Expr::Cast { expr, .. }
            | Expr::IsNull(expr)
            | Expr::IsNotNull(expr)
            | Expr::IsTrue(expr)
            | Expr::IsNotTrue(expr)
            | Expr::IsFalse(expr)
            | Expr::IsNotFalse(expr)
            | Expr::IsUnknown(expr)
            | Expr::IsNotUnknown(expr)
            | Expr::Collate { expr, .. }
            | Expr::InList { expr, .. }
            | Expr::InSubquery { expr, .. }
            | Expr::Between { expr, .. }
            | Expr::Like { expr, .. }
            | Expr::ILike { expr, .. }
            | Expr::SimilarTo { expr, .. }
            | Expr::RLike { expr, .. }
            | Expr::UnaryOp { expr, .. }
            | Expr::AnyOp { left: expr, .. }
            | Expr::AllOp { left: expr, .. }
            | Expr::IsNormalized { expr, .. }
            | Expr::IsDistinctFrom(expr, _)
            | Expr::IsNotDistinctFrom(expr, _)
            | Expr::AtTimeZone { timestamp: expr, .. }
            | Expr::JsonAccess { value: expr, .. } => expr,
            _ => break,
        };
        length += 1;
    }
    length
}

/// `TABLE name` as an argument: the subquery `(SELECT * FROM name)`.
fn parse_table_argument(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_keyword(Keyword::TABLE)?;
    let name = parser.parse_object_name(false)?;
    Ok(Expr::Subquery(Box::new(select_all_from(name))))
}

/// True before `PARTITION BY` after what can be a table argument.
fn at_partition_by(parser: &Parser) -> bool {
    let [first, second] = parser.peek_tokens_ref();
    matches!((&first.token, &second.token), (Token::Word(p), Token::Word(by))
        if p.keyword == Keyword::PARTITION && by.keyword == Keyword::BY)
}

/// `table PARTITION BY key` or `table PARTITION BY (key, ...)` as an argument: the tuple `(table, key, ...)`.
fn parse_partition_by(parser: &mut Parser, table: &Expr) -> Result<Expr, ParserError> {
    parser.expect_keywords(&[Keyword::PARTITION, Keyword::BY])?;
    let keys = match parser.parse_expr()? {
        Expr::Tuple(keys) => keys,
        Expr::Nested(key) => vec![*key],
        key => vec![key],
    };
    Ok(Expr::Tuple(std::iter::once(table.clone()).chain(keys).collect()))
}

/// `left IS [NOT] DISTINCT FROM right`, whose right side ends before `AND` and `OR`. sqlparser (0.62) takes these in.
fn parse_distinct_from(parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
    use Keyword::{DISTINCT, FROM, IS, NOT};
    let is_not = if parser.parse_keywords(&[IS, DISTINCT, FROM]) {
        false
    } else if parser.parse_keywords(&[IS, NOT, DISTINCT, FROM]) {
        true
    } else {
        return None;
    };
    let make = if is_not { Expr::IsNotDistinctFrom } else { Expr::IsDistinctFrom };
    Some(parser.parse_subexpr(precedence).map(|right| make(Box::new(left.clone()), Box::new(right))))
}

/// `SELECT * FROM name`
pub(crate) fn select_all_from(name: ObjectName) -> Query {
    let mut query = Parser::new(&PostgreSqlDialect {})
        .try_with_sql("SELECT * FROM x")
        .and_then(|mut p| p.parse_query())
        .expect("a query of our own is well formed");
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(TableFactor::Table { name: slot, .. }) = select.from.first_mut().map(|f| &mut f.relation)
    {
        *slot = name;
    }
    *query
}

/// Passes on to PostgreSQL's dialect what is not changed.
macro_rules! as_postgres {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool { self.base.$name() })*
    };
}

impl Dialect for FleuveDialect {
    fn dialect(&self) -> TypeId {
        self.base.dialect()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.base.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.base.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.base.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.base.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        self.base.is_custom_operator_part(ch)
    }

    fn is_reserved_for_identifier(&self, kw: Keyword) -> bool {
        self.base.is_reserved_for_identifier(kw)
    }

    fn prec_value(&self, prec: Precedence) -> u8 {
        self.base.prec_value(prec)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        if at_partition_by(parser) {
            return Some(Ok(self.prec_value(Precedence::Or)));
        }
        self.base.get_next_precedence(parser)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        match self.starts_left.get().checked_sub(1) {
            // The one error that sqlparser does not take for "try something else".
            None => return Some(Err(ParserError::RecursionLimitExceeded)),
            Some(left) => self.starts_left.set(left),
        }
        let [first, second] = parser.peek_tokens_ref();
        match (&first.token, &second.token) {
            (Token::Word(t), Token::Word(_)) if t.keyword == Keyword::TABLE && t.quote_style.is_none() => {
                Some(parse_table_argument(parser))
            }
            _ => None,
        }
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        if chain_length(expr) >= MAX_CHAIN {
            self.chain_too_long.set(true);
            return Some(Err(ParserError::RecursionLimitExceeded));
        }
        if at_partition_by(parser) {
            return Some(parse_partition_by(parser, expr));
        }
        parse_distinct_from(parser, expr, precedence)
    }

    // `f(label: value)` is parsed only where the label is a plain name: with an expression as label, each nested call
    // would be parsed twice.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    // `SELECT * EXCLUDE (a)` is DataFusion's, and no PostgreSQL text means anything else by it.
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    as_postgres!(
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_set_names,
        supports_alter_column_type_using,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_comment_optimizer_hint,
    );
}
