//! Which pseudo-columns a `SELECT` names, and whether the column of a series, by the name that DataFusion gives it.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, JoinConstraint, JoinOperator, Select, TableFactor, TableWithJoins, Visit,
    Visitor,
};
use fleuve_types::is_pseudo_column;

use super::spelled;

/// The column of `generate_series(...)` and `range(...)`.
pub(super) const SERIES_COLUMN: &str = "value";

#[derive(Default)]
struct Mentions(HashSet<String>);

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let idents = match expr {
            Expr::Identifier(ident) => std::slice::from_ref(ident),
            Expr::CompoundIdentifier(idents) => idents.as_slice(),
            _ => &[],
        };
        self.0.extend(idents.iter().map(spelled).filter(|name| is_pseudo_column(name) || name == SERIES_COLUMN));
        ControlFlow::Continue(())
    }
}

/// The pseudo-columns named anywhere in a part of the tree, subqueries included.
pub(super) fn in_node<N: Visit>(node: &N) -> HashSet<String> {
    let mut mentions = Mentions::default();
    let _ = node.visit(&mut mentions);
    mentions.0
}

/// The pseudo-columns that a `SELECT` names: in its own expressions and the subqueries in them, not in the subqueries of
/// its `FROM`, which have a scope of their own (unless they are `LATERAL`).
pub(super) fn in_select(select: &Select) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut bare = select.clone();
    let from = std::mem::take(&mut bare.from);
    found.extend(in_node(&bare));
    from.iter().for_each(|f| in_from(f, &mut found));
    found
}

fn in_from(from: &TableWithJoins, found: &mut HashSet<String>) {
    in_factor(&from.relation, found);
    for join in &from.joins {
        in_factor(&join.relation, found);
        match constraint(&join.join_operator) {
            Some(JoinConstraint::On(on)) => found.extend(in_node(on)),
            Some(JoinConstraint::Using(columns)) => found.extend(
                columns
                    .iter()
                    .filter_map(|c| c.0.last().and_then(|p| p.as_ident()).map(spelled))
                    .filter(|c| is_pseudo_column(c)),
            ),
            _ => {}
        }
    }
}

fn in_factor(factor: &TableFactor, found: &mut HashSet<String>) {
    match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => in_from(table_with_joins, found),
        TableFactor::Derived { lateral: false, .. } => {}
        TableFactor::Derived { subquery, .. } => found.extend(in_node(subquery)),
        TableFactor::Table { args: Some(args), .. } => args.args.iter().for_each(|arg| in_argument(arg, found)),
        TableFactor::TableFunction { expr: Expr::Function(f), .. } => {
            if let datafusion::sql::sqlparser::ast::FunctionArguments::List(list) = &f.args {
                list.args.iter().for_each(|arg| in_argument(arg, found));
            }
        }
        _ => {}
    }
}

fn in_argument(arg: &FunctionArg, found: &mut HashSet<String>) {
    let (FunctionArg::Unnamed(arg) | FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. }) = arg;
    match arg {
        FunctionArgExpr::Expr(Expr::Subquery(_)) => {}
        FunctionArgExpr::Expr(expr) => found.extend(in_node(expr)),
        _ => {}
    }
}

/// The constraint of a join.
pub(super) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c)
        | JoinOperator::CrossJoin(c)
        | JoinOperator::Semi(c)
        | JoinOperator::LeftSemi(c)
        | JoinOperator::RightSemi(c)
        | JoinOperator::Anti(c)
        | JoinOperator::LeftAnti(c)
        | JoinOperator::RightAnti(c)
        | JoinOperator::StraightJoin(c) => Some(c),
        _ => None,
    }
}
