//! What clients write in catalog queries that DataFusion cannot plan, in words that it can. Meaning is kept, for the tables
//! of a catalog as they are here: there are no sequences, policies, triggers, indexes or constraints.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType as SqlType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, JoinOperator, ObjectName, Query, Select, SelectItem,
    SetExpr, TableFactor, Value, Visit, Visitor, visit_expressions_mut,
};

/// Tables of `pg_catalog` that never have a row here.
pub(super) const EMPTY: &[&str] = &[
    "pg_attrdef",
    "pg_auth_members",
    "pg_constraint",
    "pg_event_trigger",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_sequence",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_trigger",
];

pub(super) fn rewrite(query: &mut Query) {
    // Inner expressions come first.
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr| {
        one_expression(expr);
        ControlFlow::Continue(())
    });
}

fn one_expression(expr: &mut Expr) {
    match expr {
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(Value::SingleQuotedString(escape)) = escape_char.as_ref().map(|v| &v.value)
                && escape != "\\"
                && !escape.is_empty()
            {
                // DataFusion knows the backslash only.
                let from = Expr::value(Value::SingleQuotedString(escape.clone()));
                let to = Expr::value(Value::SingleQuotedString("\\".to_string()));
                **pattern = call("replace", vec![pattern.as_ref().clone(), from, to]);
                *escape_char = None;
            }
        }
        Expr::Function(f) if is_named(&f.name, "array") => {
            if let FunctionArguments::Subquery(query) = &f.args {
                *expr = array_of(query);
            }
        }
        // `options || array(...)` where the array has nothing.
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } if **right == no_array() => {
            *expr = left.as_ref().clone();
        }
        Expr::Exists { subquery, negated } if finds_nothing(subquery) => *expr = Expr::value(Value::Boolean(*negated)),
        Expr::Subquery(query) if finds_nothing(query) => *expr = Expr::value(Value::Null),
        Expr::Subquery(query) => at_most_one_row(query),
        _ => {}
    }
}

fn is_named(name: &ObjectName, word: &str) -> bool {
    name.0.last().and_then(|p| p.as_ident()).is_some_and(|i| i.value.eq_ignore_ascii_case(word))
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// `NULL::text[]`
fn no_array() -> Expr {
    let text = Box::new(SqlType::Text);
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type: SqlType::Array(ArrayElemTypeDef::SquareBracket(text, None)),
        array: false,
        format: None,
    }
}

/// `array(SELECT x ...)`: an aggregate, or nothing if it can find nothing or takes another row's array apart.
fn array_of(query: &Query) -> Expr {
    let over_function = |s: &Select| {
        s.from.iter().any(|f| match &f.relation {
            TableFactor::Table { args, .. } => args.is_some(),
            TableFactor::Function { .. } | TableFactor::UNNEST { .. } | TableFactor::TableFunction { .. } => true,
            _ => false,
        })
    };
    if finds_nothing(query) || select(query).is_none_or(over_function) {
        return no_array();
    }
    let mut query = Box::new(query.clone());
    match aggregate_item(&mut query, "array_agg") {
        true => Expr::Subquery(query),
        false => no_array(),
    }
}

fn select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// Puts an aggregate around the only column of a plain `SELECT`; false if it is not one.
fn aggregate_item(query: &mut Query, aggregate: &str) -> bool {
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let [item] = select.projection.as_mut_slice() else { return false };
    match item {
        SelectItem::UnnamedExpr(e) | SelectItem::ExprWithAlias { expr: e, .. } => *e = call(aggregate, vec![e.clone()]),
        _ => return false,
    }
    select.distinct = None;
    query.order_by = None;
    query.limit_clause = None;
    true
}

/// A subquery that stands for a value looks one row up by its id. DataFusion wants to see that it gives no more.
fn at_most_one_row(query: &mut Query) {
    let plain =
        select(query).is_some_and(|s| is_ungrouped(s) && s.having.is_none() && !s.from.is_empty() && !aggregates(s));
    if plain {
        aggregate_item(query, "max");
    }
}

fn is_ungrouped(select: &Select) -> bool {
    matches!(&select.group_by, GroupByExpr::Expressions(e, _) if e.is_empty())
}

/// True for a `SELECT` with an aggregate of its own; those of its subqueries do not count.
fn aggregates(select: &Select) -> bool {
    let mut finder = AggregateFinder { depth: 0, found: false };
    let _ = select.projection.visit(&mut finder);
    finder.found
}

struct AggregateFinder {
    depth: usize,
    found: bool,
}

impl Visitor for AggregateFinder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        const AGGREGATES: &[&str] =
            &["array_agg", "string_agg", "count", "max", "min", "sum", "avg", "bool_or", "bool_and"];
        if let Expr::Function(f) = expr
            && self.depth == 0
        {
            self.found |= AGGREGATES.iter().any(|a| is_named(&f.name, a));
        }
        ControlFlow::Continue(())
    }
}

/// True for a query over a table that has no rows.
pub(super) fn finds_nothing(query: &Query) -> bool {
    set_finds_nothing(query.body.as_ref())
}

fn set_finds_nothing(body: &SetExpr) -> bool {
    match body {
        // A total is one row, even over nothing.
        SetExpr::Select(s) if aggregates(s) && is_ungrouped(s) => false,
        SetExpr::Select(select) => select.from.iter().any(|from| {
            let keeps_left = |op: &JoinOperator| {
                !matches!(op, JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_))
            };
            let inner = |op: &JoinOperator| {
                matches!(op, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
            };
            from.joins.iter().all(|j| keeps_left(&j.join_operator))
                && (is_empty_table(&from.relation)
                    || from.joins.iter().any(|j| inner(&j.join_operator) && is_empty_table(&j.relation)))
        }),
        SetExpr::SetOperation { left, right, .. } => set_finds_nothing(left) && set_finds_nothing(right),
        SetExpr::Query(query) => finds_nothing(query),
        _ => false,
    }
}

fn is_empty_table(table: &TableFactor) -> bool {
    match table {
        TableFactor::Table { name, args: None, .. } => EMPTY.iter().any(|e| is_named(name, e)),
        TableFactor::Derived { subquery, .. } => finds_nothing(subquery),
        _ => false,
    }
}

/// The names of the columns of a query that finds nothing, for an answer without rows.
pub(super) fn column_names(query: &Query) -> Option<Vec<String>> {
    fn first(body: &SetExpr) -> Option<&Select> {
        match body {
            SetExpr::Select(select) => Some(select),
            SetExpr::SetOperation { left, .. } => first(left),
            SetExpr::Query(query) => first(query.body.as_ref()),
            _ => None,
        }
    }
    let item = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(i)) => Some(i.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().map(|i| i.value.clone()),
        SelectItem::UnnamedExpr(Expr::Function(f)) => Some(f.name.to_string()),
        SelectItem::UnnamedExpr(_) => Some("?column?".to_string()),
        _ => None,
    };
    first(query.body.as_ref())?.projection.iter().map(item).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn parsed(sql: &str) -> Box<Query> {
        match Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0) {
            Statement::Query(query) => query,
            other => panic!("{other}"),
        }
    }

    fn rewritten(sql: &str) -> String {
        let mut query = parsed(sql);
        rewrite(&mut query);
        query.to_string()
    }

    #[test]
    fn lookups_are_seen_to_give_one_row() {
        let of = rewritten("SELECT (SELECT t.a FROM t WHERE t.b = u.b LIMIT 1) FROM u");
        assert_eq!(of, "SELECT (SELECT max(t.a) FROM t WHERE t.b = u.b) FROM u");
        let counted = "SELECT (SELECT count(*) FROM t) FROM u";
        assert_eq!(rewritten(counted), counted);
    }

    #[test]
    fn arrays_of_rows_are_aggregates() {
        let of = rewritten("SELECT ARRAY(SELECT x FROM t ORDER BY 1)");
        assert_eq!(of, "SELECT (SELECT array_agg(x) FROM t)");
        assert_eq!(rewritten("SELECT o || array(SELECT 'a' || x FROM unnest(p) x) FROM t"), "SELECT o FROM t");
    }

    #[test]
    fn what_is_empty_is_not_looked_up() {
        assert_eq!(rewritten("SELECT (SELECT a FROM pg_catalog.pg_sequence s WHERE s.b = t.b)"), "SELECT NULL");
        assert_eq!(rewritten("SELECT 1 WHERE NOT EXISTS(SELECT 1 FROM pg_trigger)"), "SELECT 1 WHERE true");
        assert!(finds_nothing(&parsed("SELECT 1 FROM a JOIN pg_index i ON true UNION SELECT 2 FROM pg_policy")));
        assert!(finds_nothing(&parsed("SELECT count(*) FROM a JOIN (SELECT * FROM pg_index) i ON true GROUP BY b")));
        assert!(finds_nothing(&parsed("SELECT (SELECT max(a) FROM t) FROM pg_index")));
        assert!(!finds_nothing(&parsed("SELECT count(*) FROM pg_index")));
        assert!(!finds_nothing(&parsed("SELECT 1 FROM a LEFT JOIN pg_index i ON true")));
        assert!(!finds_nothing(&parsed("SELECT 1 FROM pg_index RIGHT JOIN a ON true")));
        let names = column_names(&parsed("SELECT a.b, c AS d, e(1), 1 FROM pg_policy"));
        assert_eq!(names.unwrap(), ["b", "d", "e", "?column?"]);
    }

    #[test]
    fn like_escapes_with_a_backslash() {
        let of = rewritten("SELECT 1 WHERE a NOT LIKE 'pg/_%' ESCAPE '/'");
        assert_eq!(of, "SELECT 1 WHERE a NOT LIKE replace('pg/_%', '/', '\\')");
    }
}
