//! Whether two queries are the same plan in other words: other spacing, comments, aliases of tables, names of columns within.
//!
//! Both are optimised and their inner names replaced by numbers in the order of the plan; what is left is compared whole. A
//! difference that is only apparent costs a build, so where names cannot be replaced two plans count as different.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    BinaryExpr, Expr, JoinType, LogicalPlan, RecursiveQuery, SubqueryAlias, TableScan, Union, Unnest,
};
use fleuve_types::sql_type_name;

use crate::ViewSpec;
use crate::context::binding_state;

/// True if two relations have columns of the same names and types.
pub fn same_columns(before: &Schema, after: &Schema) -> bool {
    let columns = |schema: &Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
    };
    columns(before) == columns(after)
}

/// The first column that is another one, in words.
pub(super) fn first_change(before: &Schema, after: &Schema) -> Option<String> {
    let typed = |field: &FieldRef| format!("\"{}\" {}", field.name(), sql_type_name(field.data_type()));
    let nullable = |field: &FieldRef| if field.is_nullable() { "can be NULL" } else { "is never NULL" };
    let pairs = before.fields().iter().zip(after.fields());
    let other = pairs.into_iter().find(|(a, b)| a != b).map(|(a, b)| match typed(a) == typed(b) {
        true => format!("{} {}", typed(b), nullable(b)),
        false => format!("{} becomes {}", typed(a), typed(b)),
    });
    let count = before.fields().len().min(after.fields().len());
    let gone = || before.fields().get(count).map(|field| format!("{} goes", typed(field)));
    let come = || after.fields().get(count).map(|field| format!("{} comes", typed(field)));
    other.or_else(gone).or_else(come)
}

/// Whose rules change nothing in a plan that is bound.
const FIRST_EDITION: u32 = 0;

/// True if what keeps the one view current keeps the other, too: the same plan over the same inputs, with the same columns.
pub fn same_view(before: &ViewSpec, after: &ViewSpec) -> bool {
    let alike = before.schema == after.schema
        && before.inputs == after.inputs
        && before.emit_on_close == after.emit_on_close
        && before.on_error == after.on_error;
    alike && canonical(&before.plan).ok().is_some_and(|plan| canonical(&after.plan).is_ok_and(|other| plan == other))
}

fn canonical(plan: &LogicalPlan) -> DfResult<LogicalPlan> {
    // Each is bound by the rules of its own edition. Those of a later one are not to be put over it.
    let optimised = binding_state(FIRST_EDITION).optimize(plan)?;
    Numbering { next: 0 }.of(&optimised)
}

struct Numbering {
    next: usize,
}

impl Numbering {
    fn name(&mut self) -> String {
        self.next += 1;
        format!("__{}", self.next)
    }

    fn numbered(&mut self, plan: LogicalPlan) -> DfResult<LogicalPlan> {
        SubqueryAlias::try_new(Arc::new(plan), self.name()).map(LogicalPlan::SubqueryAlias)
    }

    fn of(&mut self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        let before: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
        let mut after = before.iter().map(|input| self.of(input)).collect::<DfResult<Vec<_>>>()?;
        if let LogicalPlan::Join(join) = plan
            && join.join_type == JoinType::LeftMark
            && let Some(marked) = after.pop()
        {
            // All marks have one name: the table tells them apart.
            after.push(self.numbered(marked)?);
        }
        match plan {
            // A recursive term reads its own query, whose columns have lost their names.
            LogicalPlan::TableScan(scan) if scan.table_name.catalog().is_none() => self.numbered(plan.clone()),
            // The names of its columns tell, not where they stand in the table. A number tells them from the same table's elsewhere.
            LogicalPlan::TableScan(scan) => {
                self.numbered(LogicalPlan::TableScan(TableScan { projection: None, ..scan.clone() }))
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(plan.clone()),
            // Its columns have numbers already.
            LogicalPlan::SubqueryAlias(_) => one(after).map(|[input]| input),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(_) => {
                let mut exprs = Vec::new();
                for expr in plan.expressions() {
                    let mut expr = self.renamed(expr, &before, &after)?;
                    if matches!(plan, LogicalPlan::Projection(_)) {
                        expr = expr.unalias().alias(self.name());
                    }
                    exprs.push(expr);
                }
                plan.with_new_exprs(exprs, after)?.recompute_schema()
            }
            // Its columns have the names of those of its first input.
            LogicalPlan::Union(_) => {
                Union::try_new_with_loose_types(after.into_iter().map(Arc::new).collect()).map(LogicalPlan::Union)
            }
            LogicalPlan::Unnest(unnest) => self.unnested(unnest, after),
            // The recursive term names its columns as the first term did.
            LogicalPlan::RecursiveQuery(query) => {
                let [first, term] = two(after)?;
                let (static_term, recursive_term) = (Arc::new(first), Arc::new(term));
                let schema = static_term.schema().clone();
                let query = RecursiveQuery { static_term, recursive_term, schema, ..query.clone() };
                Ok(LogicalPlan::RecursiveQuery(query))
            }
            // Their columns are named by themselves.
            other => Err(DataFusionError::NotImplemented(other.display().to_string())),
        }
    }

    /// Its columns are those of its input, which have numbers already, and the elements of lists.
    fn unnested(&mut self, unnest: &Unnest, after: Vec<LogicalPlan>) -> DfResult<LogicalPlan> {
        let [input] = one(after)?;
        let columns = input.schema().columns();
        let place = |column: &Column| {
            let at = unnest.input.schema().maybe_index_of_column(column);
            at.and_then(|at| columns.get(at).cloned())
                .ok_or_else(|| DataFusionError::NotImplemented(format!("where {column} stands")))
        };
        let lists = unnest.exec_columns.iter().map(place).collect::<DfResult<Vec<_>>>()?;
        let mut options = unnest.options.clone();
        for level in &mut options.recursions {
            level.input_column = place(&level.input_column)?;
            level.output_column = Column::new_unqualified(self.name());
        }
        Unnest::try_new(Arc::new(input), lists, options).map(LogicalPlan::Unnest)
    }

    /// An expression over the inputs as they were, over them as they are now: columns stand where they stood.
    fn renamed(&mut self, expr: Expr, before: &[LogicalPlan], after: &[LogicalPlan]) -> DfResult<Expr> {
        let place = |column: &Column| -> Option<Expr> {
            let found = |schema: &DFSchema| schema.maybe_index_of_column(column);
            before.iter().zip(after).find_map(|(before, after)| {
                let column = after.schema().columns().into_iter().nth(found(before.schema())?)?;
                Some(Expr::Column(column))
            })
        };
        let replaced = expr.transform_up(|e| match e {
            Expr::Column(column) => match place(&column) {
                Some(new) => Ok(Transformed::yes(new)),
                None => Err(DataFusionError::NotImplemented(format!("where {column} stands"))),
            },
            Expr::ScalarSubquery(mut subquery) if subquery.outer_ref_columns.is_empty() => {
                subquery.subquery = Arc::new(self.of(&subquery.subquery)?);
                Ok(Transformed::yes(Expr::ScalarSubquery(subquery)))
            }
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(..) => {
                Err(DataFusionError::NotImplemented("a subquery".into()))
            }
            // A name within, or that of the answer, which is compared by itself.
            Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
            // The planner puts the sides of a comparison in the order of their names, as these were.
            Expr::BinaryExpr(both) => Ok(Transformed::yes(Expr::BinaryExpr(in_order(both)))),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(replaced.data)
    }
}

/// A comparison with its sides in the order of their texts.
fn in_order(both: BinaryExpr) -> BinaryExpr {
    match both.op.swap() {
        Some(op) if both.left.to_string() > both.right.to_string() => BinaryExpr::new(both.right, op, both.left),
        _ => both,
    }
}

fn one<T>(list: Vec<T>) -> DfResult<[T; 1]> {
    list.try_into().map_err(|_| DataFusionError::Internal("one input was expected".into()))
}

fn two<T>(list: Vec<T>) -> DfResult<[T; 2]> {
    list.try_into().map_err(|_| DataFusionError::Internal("two inputs were expected".into()))
}
