//! `*` and `t.*`: the full name for `t`, and without the pseudo-columns that are visible only because something names them.

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, ObjectName, ObjectNamePart, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};
use fleuve_types::{Error, Result};

use super::{alias_of, marked, mentions, set_alias, spelled, windows};

/// One item of `FROM` as a wildcard sees it.
struct Source {
    /// What stands before `.*`.
    qualifier: ObjectName,
    /// Its columns that a wildcard leaves out.
    hidden: Vec<String>,
    /// True when the qualifier is a table's full name, to be found by its last parts.
    is_full_name: bool,
}

pub(super) fn expand(select: &mut Select) -> Result<()> {
    let has_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if !select.projection.iter().any(has_wildcard) {
        return Ok(());
    }
    let hides = select.from.iter().any(hides_columns);
    let everything_qualified = !select.projection.iter().any(|i| matches!(i, SelectItem::Wildcard(_)));
    let mut sources = Vec::new();
    let mut unnamed = 0;
    for from in &mut select.from {
        collect(from, hides && !everything_qualified, &mut unnamed, &mut sources)?;
    }
    let mut projection = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if hides => expand_star(&options, &sources, &mut projection)?,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), mut options) => {
                let source = sources.iter().find(|s| s.answers_to(&name));
                let name = source.map_or(name, |s| s.qualifier.clone());
                exclude(&mut options, source.map_or(&[][..], |s| &s.hidden))?;
                projection
                    .push(SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options));
            }
            other => projection.push(other),
        }
    }
    select.projection = projection;
    Ok(())
}

fn expand_star(options: &WildcardAdditionalOptions, sources: &[Source], out: &mut Vec<SelectItem>) -> Result<()> {
    let plain = options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_ilike.is_none();
    if let [only] = sources {
        let mut options = options.clone();
        exclude(&mut options, &only.hidden)?;
        out.push(SelectItem::Wildcard(options));
        return Ok(());
    }
    if !plain {
        return Err(Error::unsupported(
            "* with EXCLUDE over several tables, when a pseudo-column of a stream is named",
        )
        .hint("write table.* EXCLUDE (...) for each table"));
    }
    for source in sources {
        let mut options = options.clone();
        exclude(&mut options, &source.hidden)?;
        let kind = SelectItemQualifiedWildcardKind::ObjectName(source.qualifier.clone());
        out.push(SelectItem::QualifiedWildcard(kind, options));
    }
    Ok(())
}

fn exclude(options: &mut WildcardAdditionalOptions, hidden: &[String]) -> Result<()> {
    if hidden.is_empty() {
        return Ok(());
    }
    let mut all: Vec<ObjectName> = match options.opt_exclude.take() {
        None => vec![],
        Some(ExcludeSelectItem::Single(one)) => vec![one],
        Some(ExcludeSelectItem::Multiple(many)) => many,
    };
    for column in hidden {
        let is_there =
            |n: &ObjectName| matches!(n.0.as_slice(), [ObjectNamePart::Identifier(i)] if spelled(i) == *column);
        if !all.iter().any(is_there) {
            all.push(ObjectName::from(vec![Ident::new(column)]));
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(all));
    Ok(())
}

impl Source {
    fn answers_to(&self, name: &ObjectName) -> bool {
        let parts = |n: &ObjectName| -> Vec<String> { n.0.iter().filter_map(|p| p.as_ident()).map(spelled).collect() };
        let (mine, theirs) = (parts(&self.qualifier), parts(name));
        if self.is_full_name { mine.ends_with(&theirs) } else { mine == theirs }
    }
}

fn hides_columns(from: &TableWithJoins) -> bool {
    std::iter::once(&from.relation).chain(from.joins.iter().map(|j| &j.relation)).any(|f| match f {
        TableFactor::NestedJoin { table_with_joins, .. } => hides_columns(table_with_joins),
        other => !hidden_of(other).is_empty(),
    })
}

fn hidden_of(factor: &TableFactor) -> Vec<String> {
    match factor {
        TableFactor::Table { args: None, partitions, .. } => marked(partitions).unwrap_or_default(),
        window => windows::input_ref(window).map(hidden_of).unwrap_or_default(),
    }
}

/// Lists the items of a `FROM` in order. `name_all` gives a name to those that have none.
fn collect(from: &mut TableWithJoins, name_all: bool, unnamed: &mut usize, out: &mut Vec<Source>) -> Result<()> {
    collect_factor(&mut from.relation, name_all, unnamed, out)?;
    for join in &mut from.joins {
        let before = out.len();
        collect_factor(&mut join.relation, name_all, unnamed, out)?;
        match mentions::constraint(&join.join_operator) {
            Some(JoinConstraint::Natural) if name_all => {
                return Err(Error::unsupported("* over a NATURAL JOIN, when a pseudo-column of a stream is named")
                    .hint("write JOIN ... USING (...), or name the columns"));
            }
            Some(JoinConstraint::Using(columns)) if name_all => {
                // The columns of USING come once, from the left.
                let columns: Vec<String> =
                    columns.iter().filter_map(|c| c.0.last().and_then(|p| p.as_ident()).map(spelled)).collect();
                for source in &mut out[before..] {
                    source
                        .hidden
                        .extend(columns.iter().filter(|c| !source.hidden.contains(c)).cloned().collect::<Vec<_>>());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn collect_factor(factor: &mut TableFactor, name_all: bool, unnamed: &mut usize, out: &mut Vec<Source>) -> Result<()> {
    if let TableFactor::NestedJoin { table_with_joins, alias: None } = factor {
        return collect(table_with_joins, name_all, unnamed, out);
    }
    let hidden = hidden_of(factor);
    if let Some(alias) = alias_of(factor) {
        let qualifier = ObjectName::from(vec![alias.name.clone()]);
        out.push(Source { qualifier, hidden, is_full_name: false });
        return Ok(());
    }
    if let TableFactor::Table { name, args: None, .. } = factor {
        out.push(Source { qualifier: name.clone(), hidden, is_full_name: true });
        return Ok(());
    }
    if name_all {
        *unnamed += 1;
        let name = format!("unnamed {unnamed}");
        set_alias(factor, &name);
        let qualifier = ObjectName::from(vec![Ident::with_quote('"', name)]);
        out.push(Source { qualifier, hidden, is_full_name: false });
    }
    Ok(())
}
