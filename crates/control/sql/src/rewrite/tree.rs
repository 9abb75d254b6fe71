//! What several rewrites do with a tree.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Query, TableFactor, Visit, VisitMut, VisitorMut, visit_expressions,
};
use fleuve_types::{Error, Result};

use super::{alias_of, spelled};

/// A call of a function.
pub(crate) fn call(
    name: &str,
    args: impl IntoIterator<Item = FunctionArgExpr>,
    clauses: Vec<FunctionArgumentClause>,
) -> Expr {
    let args = args.into_iter().map(FunctionArg::Unnamed).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// True if a function is called.
pub(super) fn has_call(node: &impl Visit) -> bool {
    let found = visit_expressions(node, |e| match e {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The name by which columns say that they are of this item of `FROM`.
pub(super) fn table_name(factor: &TableFactor) -> Option<String> {
    match (alias_of(factor), factor) {
        (Some(alias), _) => Some(spelled(&alias.name)),
        (None, TableFactor::Table { name, .. }) => name.0.last().and_then(|p| p.as_ident()).map(spelled),
        _ => None,
    }
}

/// Changes the expressions of a node, innermost first, but for those of queries inside of it: they have their own turn.
///
/// # Errors
/// Those of `change`.
pub(super) fn change_own(node: &mut impl VisitMut, change: impl FnMut(&mut Expr) -> Result<()>) -> Result<()> {
    super::flow(VisitMut::visit(node, &mut Own { change, depth: 0 }))
}

struct Own<F> {
    change: F,
    /// How many queries inside.
    depth: usize,
}

impl<F: FnMut(&mut Expr) -> Result<()>> VisitorMut for Own<F> {
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
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match (self.change)(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(e),
        }
    }
}
