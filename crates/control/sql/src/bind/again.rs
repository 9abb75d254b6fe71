//! What DataFusion (54.1) refuses in one spelling and plans in another. A query is planned as it stands; only what is refused for such a reason is
//! spelled otherwise, so all others keep their plans.
//!
//! - A field of a struct in a table outside, `g.actor.id`, is `(g.actor).id`.
//! - Columns that differ in a cast only, as `day` and `day::date` in a GROUP BY, have one name to the planner: the casts get names of their own.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result};
use datafusion::logical_expr::{Expr as Computed, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Query,
    TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut, visit_expressions, visit_expressions_mut,
};

use crate::context::NAMED_CAST;
use crate::rewrite::{call, factor_names, spelled};

/// How often a query is spelled otherwise at most.
pub(super) const MAX_TRIES: usize = 16;

/// Spells what an error is about otherwise, if there is another spelling.
pub(super) fn respelled(query: &mut Query, error: &DataFusionError) -> bool {
    let message = error.strip_backtrace();
    match message.split_once("Nested identifiers are not yet supported for OuterReferenceColumn ") {
        Some((_, column)) => in_brackets(query, &Column::from_qualified_name(column.trim())),
        None => SAME_NAMES.iter().any(|words| message.contains(words)) && named_casts(query),
    }
}

/// What is said of two columns of one name.
const SAME_NAMES: [&str; 2] = [" require unique expression names but ", "Schema contains duplicate "];

/// Gives casts names of their own where a plan has twins: groups, aggregates or windows of one name, which it is refused for later on.
pub(super) fn parted(query: &mut Query, plan: &LogicalPlan) -> Result<bool> {
    Ok(has_twins(plan)? && named_casts(query))
}

fn has_twins(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        let exprs: Vec<&Computed> = match node {
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().chain(&aggregate.aggr_expr).collect(),
            LogicalPlan::Window(window) => window.window_expr.iter().collect(),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let is_cast = |e: &Computed| Ok(matches!(e, Computed::Cast(_)));
        if exprs.iter().any(|e| e.exists(is_cast).unwrap_or(false)) {
            let mut names = HashSet::new();
            found |= !exprs.iter().all(|e| names.insert(e.schema_name().to_string()));
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Brackets around a column, where fields of it are named.
fn in_brackets(query: &mut Query, column: &Column) -> bool {
    let mut tables = Tables::default();
    let _ = Visit::visit(query, &mut tables);
    let own = column.relation.as_ref().map(|table| table.table());
    let mut changes = false;
    let _: ControlFlow<()> = visit_expressions_mut(query, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let Some(at) = parts.iter().take(parts.len() - 1).rposition(|part| spelled(part) == column.name)
        {
            let is_meant = match at.checked_sub(1).map(|table| spelled(&parts[table])) {
                Some(table) => own == Some(table.as_str()),
                None => !tables.0.contains(&column.name),
            };
            if is_meant {
                let fields = parts.split_off(at + 1);
                let field = |field: Ident| {
                    let name = Value::SingleQuotedString(spelled(&field)).with_span(field.span);
                    AccessExpr::Dot(Expr::Value(name))
                };
                let whole = match parts.as_mut_slice() {
                    [only] => Expr::Identifier(only.clone()),
                    _ => Expr::CompoundIdentifier(std::mem::take(parts)),
                };
                let root = Box::new(Expr::Nested(Box::new(whole)));
                *expr = Expr::CompoundFieldAccess { root, access_chain: fields.into_iter().map(field).collect() };
                changes = true;
            }
        }
        ControlFlow::Continue(())
    });
    changes
}

/// The names of all tables in a query.
#[derive(Default)]
struct Tables(HashSet<String>);

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.0.extend(factor_names(factor));
        ControlFlow::Continue(())
    }
}

/// Names of their own for all casts of what is computed from columns.
fn named_casts(query: &mut Query) -> bool {
    let mut casts = Casts { inside: 0, changes: false };
    let _ = VisitMut::visit(query, &mut casts);
    casts.changes
}

struct Casts {
    /// How many casts around have such a name already.
    inside: usize,
    changes: bool,
}

impl VisitorMut for Casts {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.inside += usize::from(is_named_cast(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_named_cast(expr) {
            self.inside -= 1;
        } else if self.inside == 0
            && let Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: of, data_type, .. } = expr
            && names_column(of)
        {
            let name = Expr::value(Value::SingleQuotedString(data_type.to_string()));
            let cast = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
            *expr = call(NAMED_CAST, [cast, name].map(FunctionArgExpr::Expr), vec![]);
            self.changes = true;
        }
        ControlFlow::Continue(())
    }
}

fn is_named_cast(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(f) if f.name.to_string() == NAMED_CAST && matches!(&f.args,
        FunctionArguments::List(FunctionArgumentList { args, .. })
            if matches!(args.first(), Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Cast { .. }))))))
}

fn names_column(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |e| match e {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
