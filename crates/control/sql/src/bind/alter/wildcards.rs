//! The `*` of a query and the right sides of its as-of joins, and what they leave out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::ObjectSet;
use crate::parse::{self, AS_OF_MARK, SYSTEM_TIME_MARK};
use crate::rewrite::system_time;

/// Wildcards of one query that are looked at.
pub(super) const MAX: usize = 64;

/// Leaves a column out of the wildcard of that number; false if there are not so many.
pub(super) fn leave_out(query: &mut Query, number: usize, column: &str) -> bool {
    let mut left = number;
    on_each(query, |options| {
        if left > 0 {
            left -= 1;
            return ControlFlow::Continue(());
        }
        let mut all = excluded(options);
        let name = parse::quoted(column);
        let ident = if name == column { Ident::new(column) } else { Ident::with_quote('"', column) };
        all.push(ObjectName::from(vec![ident]));
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(all));
        ControlFlow::Break(())
    })
}

/// Leaves a column out of the right side of the as-of join of that number, as all columns there decide which of several rows of one
/// time counts; false if there are not so many.
pub(super) fn leave_out_of_as_of(query: &mut Query, number: usize, column: &str, objects: &ObjectSet) -> bool {
    let mut visitor = AsOfJoins { left: number, column, objects };
    VisitMut::visit(query, &mut visitor).is_break()
}

struct AsOfJoins<'a> {
    left: usize,
    column: &'a str,
    objects: &'a ObjectSet,
}

impl VisitorMut for AsOfJoins<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for join in select.from.iter_mut().flat_map(|f| &mut f.joins) {
            if !is_as_of(join) || !matches!(join.relation, TableFactor::Table { args: None, .. }) {
                continue;
            }
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            // It speaks of a stream; what stands there afterwards is none.
            if system_time::resolve(join, self.objects).is_ok() {
                without(&mut join.relation, self.column);
            }
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

fn is_as_of(join: &Join) -> bool {
    let (JoinOperator::Join(JoinConstraint::On(on))
    | JoinOperator::Inner(JoinConstraint::On(on))
    | JoinOperator::Left(JoinConstraint::On(on))
    | JoinOperator::LeftOuter(JoinConstraint::On(on))) = &join.join_operator
    else {
        return false;
    };
    let mut first: &Expr = on;
    while let Expr::BinaryOp { left, .. } = first {
        first = left;
    }
    matches!(first, Expr::Function(f) if [AS_OF_MARK, SYSTEM_TIME_MARK].contains(&f.name.to_string().as_str()))
}

/// `name` as `(SELECT * EXCLUDE (column) FROM name) AS name`.
fn without(relation: &mut TableFactor, column: &str) {
    let TableFactor::Table { name, alias, .. } = relation else { return };
    let Some(own) = name.0.last().and_then(ObjectNamePart::as_ident).cloned() else { return };
    let text = format!("SELECT * FROM {name}");
    let Ok(mut parsed) = Parser::parse_sql(&PostgreSqlDialect {}, &text) else { return };
    let Some(Statement::Query(mut query)) = parsed.pop() else { return };
    if !leave_out(&mut query, 0, column) || !matches!(*query.body, SetExpr::Select(_)) {
        return;
    }
    let plain = TableAlias { explicit: true, name: own, columns: vec![], at: None };
    let alias = Some(alias.take().unwrap_or(plain));
    *relation = TableFactor::Derived { lateral: false, subquery: query, alias, sample: None };
}

/// No wildcard leaves out these columns any more.
pub(super) fn forget(query: &mut Query, columns: &BTreeSet<&str>) {
    on_each(query, |options| {
        let all = excluded(options);
        let name = |n: &ObjectName| match n.0.as_slice() {
            [ObjectNamePart::Identifier(i)] if i.quote_style.is_some() => i.value.clone(),
            [ObjectNamePart::Identifier(i)] => i.value.to_lowercase(),
            _ => String::new(),
        };
        let left: Vec<ObjectName> = all.into_iter().filter(|n| !columns.contains(name(n).as_str())).collect();
        options.opt_exclude = (!left.is_empty()).then_some(ExcludeSelectItem::Multiple(left));
        ControlFlow::Continue(())
    });
}

fn excluded(options: &mut WildcardAdditionalOptions) -> Vec<ObjectName> {
    match options.opt_exclude.take() {
        None => vec![],
        Some(ExcludeSelectItem::Single(one)) => vec![one],
        Some(ExcludeSelectItem::Multiple(many)) => many,
    }
}

/// Goes over the wildcards until `each` breaks off; tells whether it did.
fn on_each(query: &mut Query, each: impl FnMut(&mut WildcardAdditionalOptions) -> ControlFlow<()>) -> bool {
    let mut visitor = Wildcards(each);
    VisitMut::visit(query, &mut visitor).is_break()
}

struct Wildcards<F>(F);

impl<F: FnMut(&mut WildcardAdditionalOptions) -> ControlFlow<()>> VisitorMut for Wildcards<F> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
                (self.0)(options)?;
            }
        }
        ControlFlow::Continue(())
    }
}
