//! `EXISTS (SELECT ...)` as a value of a select list. DataFusion (54.1) plans it as a condition only, and the count of the rows is a value.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query,
    Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut, visit_expressions,
};
use fleuve_types::{Error, Result};

use super::joins::call;

/// Makes `(SELECT count(*) FROM ...) > 0` of each `EXISTS` in a select list.
///
/// # Errors
/// Queries whose rows cannot be counted so.
pub(super) fn as_count(select: &mut Select) -> Result<()> {
    let mut exists = Exists { depth: 0 };
    select.projection.iter_mut().try_for_each(|item| super::flow(VisitMut::visit(item, &mut exists)))
}

struct Exists {
    /// How many queries inside: they have had their turn.
    depth: usize,
}

impl VisitorMut for Exists {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Exists { subquery, negated } = expr else { return ControlFlow::Continue(()) };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        if !count(subquery) {
            let error = Error::unsupported(
                "EXISTS in a select list is of a query without GROUP BY, HAVING, LIMIT, aggregates, UNION and the like",
            );
            return ControlFlow::Break(error.hint("count the rows of a subquery: (SELECT count(*) FROM ...) > 0"));
        }
        let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
        let rows = Box::new(Expr::Subquery(subquery.clone()));
        let none = Box::new(Expr::value(Value::Number("0".into(), false)));
        *expr = Expr::Nested(Box::new(Expr::BinaryOp { left: rows, op, right: none }));
        ControlFlow::Continue(())
    }
}

/// Makes a query give the number of its rows; false where that is not so simple.
fn count(query: &mut Query) -> bool {
    let has_limit = query.limit_clause.is_some() || query.fetch.is_some();
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let is_plain = matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty())
        && matches!(select.distinct, None | Some(Distinct::All | Distinct::Distinct))
        && select.having.is_none()
        && select.qualify.is_none()
        // An aggregate gives a row where there is none, and which functions are aggregates is not known here.
        && !select.projection.iter().any(has_call);
    if has_limit || !is_plain {
        return false;
    }
    let mut all = call("count", vec![]);
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut all {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)];
    }
    select.distinct = None;
    select.projection = vec![SelectItem::UnnamedExpr(all)];
    query.order_by = None;
    true
}

fn has_call(item: &SelectItem) -> bool {
    let found = visit_expressions(item, |e| match e {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
