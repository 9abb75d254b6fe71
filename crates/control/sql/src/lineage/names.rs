//! Expressions of a plan in the names that a user wrote: columns of our own making are what they stand for.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DataFusionError, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Distinct, Expr, LogicalPlan, Operator};
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::Dialect;

use super::failing::as_written;
use crate::checked::infix;
use crate::window::as_of_part_value;
use crate::{DEFAULT_NAMESPACE, ENVIRONMENT};

/// Quotes where there must be some.
struct Plain;

impl Dialect for Plain {
    fn identifier_quote_style(&self, name: &str) -> Option<char> {
        let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        (!is_plain).then_some('"')
    }
}

/// An expression over the columns of some plans as people read it; `None` if it names what nobody wrote.
pub(super) fn words(expr: &Expr, over: &[&LogicalPlan]) -> Option<String> {
    let expr = as_typed(short(written(expr, over)?));
    let sql = Unparser::new(&Plain).with_pretty(true).expr_to_sql(&expr);
    Some(sql.map_or_else(|_| infix(&expr.human_display().to_string()), |sql| sql.to_string()))
}

/// Those of the expressions that have words.
pub(super) fn listed<'e>(exprs: impl IntoIterator<Item = &'e Expr>, over: &LogicalPlan) -> String {
    exprs.into_iter().filter_map(|e| words(e, &[over])).collect::<Vec<_>>().join(", ")
}

/// Those parts of a condition that have words.
pub(super) fn condition(expr: &Expr, over: &[&LogicalPlan]) -> Vec<String> {
    let whole = as_written(expr).unwrap_or(expr);
    split_conjunction(whole).into_iter().filter_map(|e| words(e, over)).collect()
}

/// Tables without the names of their catalog and, if it is the usual one, their namespace.
fn short(expr: Expr) -> Expr {
    let shorter = |e| match e {
        Expr::Column(mut column) => {
            column.relation = column.relation.map(|table| match table.schema() {
                Some(DEFAULT_NAMESPACE) | None => TableReference::bare(table.table()),
                Some(namespace) => TableReference::partial(namespace, table.table()),
            });
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    };
    expr.clone().transform_up(shorter).map_or(expr, |t| t.data)
}

/// Operators and numbers as they are typed: without the functions and casts that stand for them in a plan.
fn as_typed(expr: Expr) -> Expr {
    let typed = |e| {
        Ok(match e {
            Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Int32 | DataType::Int64) => {
                let is_number = matches!(cast.expr.as_ref(), Expr::Column(_) | Expr::Literal(..));
                if is_number { Transformed::yes(*cast.expr) } else { Transformed::no(Expr::Cast(cast)) }
            }
            Expr::ScalarFunction(call) => {
                let op = match call.func.name() {
                    "+" => Operator::Plus,
                    "-" => Operator::Minus,
                    "*" => Operator::Multiply,
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

fn written(expr: &Expr, over: &[&LogicalPlan]) -> Option<Expr> {
    let unknown = || DataFusionError::Internal("a name that nobody wrote".into());
    let replaced = expr.clone().transform_down(|e| -> DfResult<Transformed<Expr>> {
        if let Some(inner) = as_written(&e).or_else(|| as_of_part_value(&e)) {
            return written(inner, over).map(done).ok_or_else(unknown);
        }
        match &e {
            Expr::Column(column) => source(column, over).map(done).ok_or_else(unknown),
            _ => Ok(Transformed::no(e)),
        }
    });
    replaced.ok().map(|t| t.data)
}

/// What is not looked into any more.
fn done(expr: Expr) -> Transformed<Expr> {
    Transformed::new(expr, true, datafusion::common::tree_node::TreeNodeRecursion::Jump)
}

fn is_own(column: &Column) -> bool {
    let own = |name: &str| name.starts_with("__");
    own(&column.name) || column.relation.as_ref().is_some_and(|table| own(table.table()))
}

/// Whether a column may be called by the text of what it computes.
fn is_computed(column: &Column) -> bool {
    !column.name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A column of one of the plans, or what stands for it below.
fn source(column: &Column, over: &[&LogicalPlan]) -> Option<Expr> {
    let own = Some(Expr::Column(column.clone())).filter(|_| !is_own(column));
    if own.is_some() && !is_computed(column) {
        return own;
    }
    let place = over.iter().find_map(|plan| Some((*plan, plan.schema().maybe_index_of_column(column)?)));
    place.and_then(|(plan, at)| output(plan, at)).or(own)
}

/// What a plan gives as its column of this number.
fn output(plan: &LogicalPlan, at: usize) -> Option<Expr> {
    let same = |input: &LogicalPlan| source(input.schema().columns().get(at)?, &[input]);
    match plan {
        LogicalPlan::Projection(projection) => {
            written(&projection.expr.get(at)?.clone().unalias_nested().data, &[&projection.input])
        }
        LogicalPlan::SubqueryAlias(alias) => same(&alias.input),
        LogicalPlan::Filter(filter) => same(&filter.input),
        LogicalPlan::Sort(sort) => same(&sort.input),
        LogicalPlan::Limit(limit) => same(&limit.input),
        LogicalPlan::Distinct(Distinct::All(input)) => same(input),
        LogicalPlan::Union(union) => union.inputs.iter().find_map(|input| same(input)),
        LogicalPlan::Window(window) => match at.checked_sub(window.input.schema().fields().len()) {
            None => same(&window.input),
            Some(at) => written(&window.window_expr.get(at)?.clone().unalias_nested().data, &[&window.input]),
        },
        LogicalPlan::Aggregate(aggregate) => {
            let exprs = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
            let is_plain = !aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
            let expr = exprs.clone().nth(at).filter(|_| is_plain)?;
            written(&expr.clone().unalias_nested().data, &[&aggregate.input])
        }
        LogicalPlan::Join(join) => {
            let (own, _) = plan.schema().qualified_field(at);
            let column = Column::new(own.cloned(), plan.schema().field(at).name());
            source(&column, &[&join.left, &join.right])
        }
        LogicalPlan::TableScan(scan) if scan.table_name.catalog() == Some(ENVIRONMENT) => {
            plan.schema().columns().get(at).cloned().map(Expr::Column)
        }
        _ => None,
    }
}
