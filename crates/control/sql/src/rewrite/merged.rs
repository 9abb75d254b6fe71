//! The common columns of joins by their name alone: `id` of `a FULL JOIN b USING (id)` is `coalesce(a.id, b.id)`.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, VisitMut, VisitorMut,
};

use super::joins::{Piece, Scope, Source};
use super::tree::table_name;
use super::{Rewriter, columns, fields, spelled};

/// Says in full what the names of common columns mean in a `SELECT` and behind it.
pub(super) fn name(select: &mut Select, order_by: Option<&mut OrderBy>, scope: &Scope, rewriter: &Rewriter<'_>) {
    let Some(mut namer) = Namer::of(&scope.pieces, &scope.sources, rewriter) else { return };
    if let Some(order_by) = order_by {
        namer.order_by(order_by, &select.projection);
    }
    let from = std::mem::take(&mut select.from);
    let mut projection = std::mem::take(&mut select.projection);
    let _ = VisitMut::visit(select, &mut namer);
    for item in &mut projection {
        if let SelectItem::UnnamedExpr(Expr::Identifier(ident)) = item
            && let Some(expr) = namer.names.get(&spelled(ident))
        {
            *item = match expr {
                Expr::CompoundIdentifier(_) => SelectItem::UnnamedExpr(expr.clone()),
                _ => SelectItem::ExprWithAlias { expr: expr.clone(), alias: ident.clone() },
            };
        }
        let _ = VisitMut::visit(item, &mut namer);
    }
    select.from = from;
    select.projection = projection;
}

/// Says it in the condition of a join.
pub(super) fn name_in(on: &mut Expr, pieces: &[Piece], sources: &[Source], rewriter: &Rewriter<'_>) {
    if let Some(mut namer) = Namer::of(pieces, sources, rewriter) {
        let _ = VisitMut::visit(on, &mut namer);
    }
}

struct Namer<'a> {
    /// What each name means.
    names: HashMap<String, Expr>,
    rewriter: &'a Rewriter<'a>,
    /// The queries inside, outermost first.
    inside: Vec<Inside>,
}

/// The names that a query inside has itself.
struct Inside {
    columns: HashSet<String>,
    tables: HashSet<String>,
    /// True if there may be others.
    unknown: bool,
    /// True if it has names of `WITH`.
    has_with: bool,
}

impl<'a> Namer<'a> {
    fn of(pieces: &[Piece], sources: &[Source], rewriter: &'a Rewriter<'a>) -> Option<Self> {
        let mut names = HashMap::new();
        let mut twice = HashSet::new();
        for piece in pieces {
            match piece {
                Piece::Merged { name, expr } => {
                    if names.insert(name.clone(), expr.as_ref().clone()).is_some() {
                        twice.insert(name.clone());
                    }
                }
                Piece::Rest { source, taken } => {
                    let own = sources[*source].columns.iter().flatten();
                    twice.extend(own.filter(|c| !taken.contains(c)).cloned());
                }
            }
        }
        // What more than one table has is the planner's to refuse.
        names.retain(|name, _| !twice.contains(name));
        (!names.is_empty()).then(|| Self { names, rewriter, inside: Vec::new() })
    }

    /// A name alone is a column of the result first.
    fn order_by(&mut self, order_by: &mut OrderBy, projection: &[SelectItem]) {
        let OrderByKind::Expressions(exprs) = &mut order_by.kind else { return };
        for order in exprs {
            if let Expr::Identifier(ident) = &order.expr {
                let name = spelled(ident);
                let item = projection.iter().find(|i| fields::output_name(i).map(spelled).as_ref() == Some(&name));
                match item {
                    Some(SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(_))) => order.expr = expr.clone(),
                    Some(SelectItem::UnnamedExpr(Expr::Identifier(_))) | None => {}
                    Some(_) => continue,
                }
            }
            let _ = VisitMut::visit(&mut order.expr, self);
        }
    }

    /// What a name means here, if it is the name of a common column.
    fn meaning(&self, name: &str) -> Option<&Expr> {
        let expr = self.names.get(name)?;
        let hides = |inside: &Inside| {
            inside.unknown
                || inside.columns.contains(name)
                || tables_of(expr).iter().any(|table| inside.tables.contains(table))
        };
        (!self.inside.iter().any(hides)).then_some(expr)
    }

    fn enter(&self, query: &Query) -> Inside {
        let has_with = query.with.is_some() || self.inside.iter().any(|i| i.has_with);
        let mut inside = Inside { columns: HashSet::new(), tables: HashSet::new(), unknown: false, has_with };
        self.look(&query.body, &mut inside);
        inside
    }

    fn look(&self, body: &SetExpr, inside: &mut Inside) {
        match body {
            SetExpr::Select(select) => {
                inside.columns.extend(select.projection.iter().filter_map(fields::output_alias).map(spelled));
                for factor in select.from.iter().flat_map(columns::factors_of) {
                    // The names of a WITH inside are gone already: what they hide is not known.
                    let ctes = if inside.has_with { &[][..] } else { &self.rewriter.ctes };
                    match columns::of_factor(factor, self.rewriter.relations, ctes) {
                        Some(columns) => inside.columns.extend(columns),
                        None => inside.unknown = true,
                    }
                    inside.tables.extend(table_name(factor));
                }
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.look(left, inside);
                self.look(right, inside);
            }
            _ => {}
        }
    }
}

/// The tables whose columns an expression names.
fn tables_of(expr: &Expr) -> Vec<String> {
    let mut out = Vec::new();
    let _ = datafusion::sql::sqlparser::ast::visit_expressions(expr, |e| {
        if let Expr::CompoundIdentifier(parts) = e
            && let [.., table, _] = parts.as_slice()
        {
            out.push(spelled(table));
        }
        ControlFlow::<()>::Continue(())
    });
    out
}

impl VisitorMut for Namer<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let inside = self.enter(query);
        self.inside.push(inside);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.inside.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some(meant) = self.meaning(&spelled(ident))
        {
            *expr = meant.clone();
        }
        ControlFlow::Continue(())
    }
}
