//! Expressions of a plan as SQL, in the names that a user wrote: columns of the planner's own making are what they stand for, functions that stand
//! for operators and casts are those.

mod infix;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, TableReference};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, binary_expr, cast};
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::Dialect;

use crate::arrays::{any_of, operator_of_any};
pub use infix::infix;

/// The namespace that goes without saying.
const USUAL: &str = "public";

/// Quotes where there must be some.
struct Plain;

impl Dialect for Plain {
    fn identifier_quote_style(&self, name: &str) -> Option<char> {
        (!is_plain(name)).then_some('"')
    }
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// An expression over the columns of some plans as people read it; `None` if it names what nobody wrote. `inner` is what a function of the caller's
/// own stands for.
pub fn words(expr: &Expr, over: &[&LogicalPlan], inner: &dyn Fn(&Expr) -> Option<Expr>) -> Option<String> {
    let typed = |e: Expr| e.transform_up(|e| Ok(bare(e, &|_| true))).map(|t| t.data).ok();
    Names { inner }.written(expr, over).and_then(typed).map(|e| in_words(&e))
}

/// The same without the casts that make integers of a column wider, which nobody wrote.
pub fn without_widening(expr: &Expr, schema: &DFSchema) -> Expr {
    let is_integer = |e: &Expr| e.get_type(schema).is_ok_and(|t| t.is_integer());
    expr.clone().transform_up(|e| Ok(bare(e, &is_integer))).map_or_else(|_| expr.clone(), |t| t.data)
}

/// A column that `is_number`, or a number, without a cast to an integer.
fn bare(expr: Expr, is_number: &dyn Fn(&Expr) -> bool) -> Transformed<Expr> {
    match expr {
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Int32 | DataType::Int64) => {
            let is_bare = match cast.expr.as_ref() {
                Expr::Literal(..) => true,
                column @ Expr::Column(_) => is_number(column),
                _ => false,
            };
            if is_bare { Transformed::yes(*cast.expr) } else { Transformed::no(Expr::Cast(cast)) }
        }
        other => Transformed::no(other),
    }
}

/// An expression as people read it, with its columns as they are called in the plan.
pub fn in_words(expr: &Expr) -> String {
    let expr = as_typed(short(expr.clone()));
    let sql = Unparser::new(&Plain).with_pretty(true).expr_to_sql(&expr);
    sql.map_or_else(|_| infix(&expr.human_display().to_string()), |sql| sql.to_string())
}

/// The columns of a plan's nodes whose names nobody wrote, as [`in_words`] calls them, with what they stand for. Without those that stand for
/// several things. Of those that a user wrote with the marks of the planner's own, `__op` for one, with themselves.
pub fn words_of_columns(plan: &LogicalPlan) -> Result<Vec<(String, String)>> {
    let mut found: Vec<(String, Option<String>)> = vec![];
    plan.apply_with_subqueries(|node| {
        for (at, column) in node.schema().columns().iter().enumerate().filter(|(_, c)| is_made(c)) {
            let name = in_words(&Expr::Column(Column::new_unqualified(&column.name)));
            let stands_for = match is_named(node, at) {
                true if is_own_name(&column.name) => name.clone(),
                true => continue,
                false => match words(&Expr::Column(column.clone()), &[node], &|_| None) {
                    Some(words) if words != name => words,
                    _ => continue,
                },
            };
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) if known.as_ref() != Some(&stands_for) => *known = None,
                Some(_) => {}
                None => found.push((name, Some(stands_for))),
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found.into_iter().filter_map(|(name, words)| Some((name, words?))).collect())
}

/// Whether the column of a plan at a place has a name of a table's, or one that a query gives it.
fn is_named(plan: &LogicalPlan, at: usize) -> bool {
    let of = |input: &LogicalPlan, column: &Column| {
        input.schema().maybe_index_of_column(column).is_some_and(|at| is_named(input, at))
    };
    match plan {
        LogicalPlan::TableScan(_) => true,
        LogicalPlan::SubqueryAlias(alias) => is_named(&alias.input, at),
        LogicalPlan::Filter(filter) => is_named(&filter.input, at),
        LogicalPlan::Sort(sort) => is_named(&sort.input, at),
        LogicalPlan::Limit(limit) => is_named(&limit.input, at),
        LogicalPlan::Distinct(Distinct::All(input)) => is_named(input, at),
        LogicalPlan::Projection(projection) => match projection.expr.get(at) {
            Some(Expr::Alias(alias)) => {
                // The planner names what it changes as it was called.
                let is_text = alias.name.contains('(') || alias.name.contains("main.");
                !is_text && !is_own_name(&alias.name) && alias.name != alias.expr.schema_name().to_string()
            }
            Some(Expr::Column(column)) => of(&projection.input, column),
            _ => false,
        },
        LogicalPlan::Window(window) => at < window.input.schema().fields().len() && is_named(&window.input, at),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(at) {
            Some(Expr::Column(column)) => of(&aggregate.input, column),
            _ => false,
        },
        LogicalPlan::Join(join) => {
            let (table, field) = plan.schema().qualified_field(at);
            let column = Column::new(table.cloned(), field.name());
            of(&join.left, &column) || of(&join.right, &column)
        }
        _ => false,
    }
}

/// Whether a column may have a name that nobody wrote.
fn is_made(column: &Column) -> bool {
    is_own(column) || is_computed(column)
}

/// Tables without the names of their catalog and, if it is the usual one, their namespace; without those of the planner's own making.
fn short(expr: Expr) -> Expr {
    let shorter = |e| match e {
        Expr::Column(mut column) => {
            let theirs = column.relation.filter(|table| !table.table().starts_with("__"));
            column.relation = theirs.map(|table| match table.schema() {
                Some(USUAL) | None => TableReference::bare(table.table()),
                Some(namespace) => TableReference::partial(namespace, table.table()),
            });
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    };
    expr.clone().transform_up(shorter).map_or(expr, |t| t.data)
}

/// Operators and windows as they are typed: without the functions that stand for them in a plan.
fn as_typed(expr: Expr) -> Expr {
    let typed = |e| {
        Ok(match e {
            Expr::ScalarFunction(call) if operator_of_any(call.name()).is_some() => any(call),
            Expr::ScalarFunction(mut call) => {
                let op = match call.func.name() {
                    "+" | "time_plus" => Operator::Plus,
                    "-" | "time_minus" => Operator::Minus,
                    "*" | "interval_times" => Operator::Multiply,
                    "interval_divided" => Operator::Divide,
                    crate::arrays::CONTAINS => Operator::AtArrow,
                    "fleuve_tumble" | "fleuve_hop" => return Ok(Transformed::yes(column("window_start"))),
                    "fleuve_shift" | "fleuve_cumulate" => return Ok(Transformed::yes(column("window_end"))),
                    crate::MICROS_OF | "fleuve_in_order" if !call.args.is_empty() => {
                        return Ok(Transformed::yes(call.args.swap_remove(0)));
                    }
                    crate::written::TEXT_OF if !call.args.is_empty() => {
                        return Ok(Transformed::yes(cast(call.args.swap_remove(0), DataType::Utf8)));
                    }
                    "fleuve_as_of_part" if call.args.len() > 1 => {
                        return Ok(Transformed::yes(call.args.swap_remove(1)));
                    }
                    _ => return Ok(Transformed::no(Expr::ScalarFunction(call))),
                };
                match <[Expr; 2]>::try_from(call.args) {
                    Ok([l, r]) => Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(l), op, Box::new(r)))),
                    Err(args) => match args.into_iter().next() {
                        Some(one) => Transformed::yes(Expr::Negative(Box::new(one))),
                        None => Transformed::no(Expr::Literal(datafusion::common::ScalarValue::Null, None)),
                    },
                }
            }
            other => Transformed::no(other),
        })
    };
    expr.clone().transform_up(typed).map_or(expr, |t| t.data)
}

/// `x = any(list)`
fn any(call: ScalarFunction) -> Transformed<Expr> {
    match (operator_of_any(call.name()), call.args.as_slice()) {
        (Some(op), [list, value]) => Transformed::yes(binary_expr(value.clone(), op, any_of(list.clone()))),
        _ => Transformed::no(Expr::ScalarFunction(call)),
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// What is not looked into any more.
fn done(expr: Expr) -> Transformed<Expr> {
    Transformed::new(expr, true, TreeNodeRecursion::Jump)
}

fn is_own(column: &Column) -> bool {
    is_own_name(&column.name) || column.relation.as_ref().is_some_and(|table| is_own_name(table.table()))
}

fn is_own_name(name: &str) -> bool {
    name.starts_with("__")
}

/// Whether a column may be called by the text of what it computes.
fn is_computed(column: &Column) -> bool {
    !column.name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Finds what columns stand for.
struct Names<'i> {
    inner: &'i dyn Fn(&Expr) -> Option<Expr>,
}

impl Names<'_> {
    fn written(&self, expr: &Expr, over: &[&LogicalPlan]) -> Option<Expr> {
        let unknown = || DataFusionError::Internal("a name that nobody wrote".into());
        let replaced = expr.clone().transform_down(|e| -> Result<Transformed<Expr>> {
            if let Some(inner) = (self.inner)(&e) {
                return self.written(&inner, over).map(done).ok_or_else(unknown);
            }
            match &e {
                Expr::Column(column) => self.source(column, over).map(done).ok_or_else(unknown),
                _ => Ok(Transformed::no(e)),
            }
        });
        replaced.ok().map(|t| t.data)
    }

    /// A column of one of the plans, or what stands for it below.
    fn source(&self, column: &Column, over: &[&LogicalPlan]) -> Option<Expr> {
        let own = Some(Expr::Column(column.clone())).filter(|_| !is_own(column));
        if own.is_some() && !is_computed(column) {
            return own;
        }
        let place = over.iter().find_map(|plan| Some((*plan, plan.schema().maybe_index_of_column(column)?)));
        if own.is_some() && place.is_some_and(|(plan, at)| is_named(plan, at)) {
            return own;
        }
        place.and_then(|(plan, at)| self.output(plan, at)).or(own)
    }

    /// What a plan gives as its column of this number.
    fn output(&self, plan: &LogicalPlan, at: usize) -> Option<Expr> {
        let same = |input: &LogicalPlan| self.source(input.schema().columns().get(at)?, &[input]);
        match plan {
            LogicalPlan::Projection(projection) => {
                self.written(&projection.expr.get(at)?.clone().unalias_nested().data, &[&projection.input])
            }
            LogicalPlan::SubqueryAlias(alias) => same(&alias.input),
            LogicalPlan::Filter(filter) => same(&filter.input),
            LogicalPlan::Sort(sort) => same(&sort.input),
            LogicalPlan::Limit(limit) => same(&limit.input),
            LogicalPlan::Distinct(Distinct::All(input)) => same(input),
            LogicalPlan::Union(union) => union.inputs.iter().find_map(|input| same(input)),
            LogicalPlan::Window(window) => match at.checked_sub(window.input.schema().fields().len()) {
                None => same(&window.input),
                Some(at) => self.written(&window.window_expr.get(at)?.clone().unalias_nested().data, &[&window.input]),
            },
            LogicalPlan::Aggregate(aggregate) => {
                let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
                let is_plain = !aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
                let expr = exprs.clone().nth(at).filter(|_| is_plain)?;
                self.written(&expr.clone().unalias_nested().data, &[&aggregate.input])
            }
            LogicalPlan::Join(join) => {
                let (own, _) = plan.schema().qualified_field(at);
                let column = Column::new(own.cloned(), plan.schema().field(at).name());
                self.source(&column, &[&join.left, &join.right])
            }
            LogicalPlan::TableScan(scan) if scan.table_name.catalog().is_some() => {
                plan.schema().columns().get(at).cloned().map(Expr::Column)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlan, col};
    use datafusion::prelude::SessionContext;

    use super::{in_words, without_widening, words_of_columns};

    async fn plan(sql: &str) -> LogicalPlan {
        let context = SessionContext::new();
        context.sql("CREATE TABLE t (k INT, a BIGINT, s TEXT, ts TIMESTAMP)").await.unwrap();
        context.sql(sql).await.unwrap().into_optimized_plan().unwrap()
    }

    #[tokio::test]
    async fn expressions_are_written_as_sql() {
        for (sql, wanted) in [
            ("SELECT k + a FROM t", "t.k + t.a"),
            ("SELECT CAST(s AS BIGINT) * (a + 1) FROM t", "CAST(t.s AS BIGINT) * (t.a + 1)"),
            ("SELECT ts + INTERVAL '1 day 2 hours' FROM t", "t.ts + INTERVAL '1 DAYS 2 HOURS'"),
        ] {
            let LogicalPlan::Projection(projection) = plan(sql).await else { panic!("{sql}") };
            let expr = without_widening(&projection.expr[0], projection.input.schema());
            assert_eq!(in_words(&expr.unalias_nested().data), wanted);
        }
        assert_eq!(in_words(&col("main.public.\"A b\".k")), "\"A b\".k");
    }

    #[tokio::test]
    async fn columns_that_nobody_named_are_what_they_stand_for() {
        let plan = plan("SELECT (k + a) / k, (k + a) * 2 FROM t GROUP BY k, a HAVING sum(a + 1) > 2").await;
        let names = words_of_columns(&plan).unwrap();
        let of = |name: &str| names.iter().find(|(n, _)| n.contains(name)).map(|(_, words)| words.as_str());
        assert_eq!(of("__common_expr_1"), Some("t.k + t.a"), "{names:?}\n{}", plan.display_indent());
        assert_eq!(of("sum("), Some("sum(t.a + 1)"), "{names:?}\n{}", plan.display_indent());
    }

    #[tokio::test]
    async fn names_that_somebody_wrote_are_kept() {
        let context = SessionContext::new();
        let table = r#"CREATE TABLE logs ("@timestamp" TIMESTAMP, "user-id" BIGINT, __op TEXT, b BIGINT)"#;
        context.sql(table).await.unwrap();
        let sql = r#"SELECT "@timestamp", "a plus" / b, __op FROM (SELECT *, "user-id" + b AS "a plus" FROM logs LIMIT 9) q WHERE "user-id" > 1"#;
        let plan = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
        let wanted = [("\"q.a plus / q.b\"", "q.\"a plus\" / q.b"), ("__op", "__op")];
        let wanted = wanted.map(|(name, words)| (name.to_string(), words.to_string()));
        assert_eq!(words_of_columns(&plan).unwrap(), wanted, "{}", plan.display_indent());
    }
}
