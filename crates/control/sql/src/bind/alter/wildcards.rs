//! The `*` of a query, and what they leave out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::parse;

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
