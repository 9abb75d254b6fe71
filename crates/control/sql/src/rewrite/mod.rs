//! What is done to a query's tree before DataFusion plans it:
//!
//! - every table that is not a CTE gets its full name, `main.namespace.name`; one that does not exist is an error with its place;
//! - a stream's pseudo-columns are hidden where nothing names them, and `*` leaves them out where something does;
//! - fields of structs, and computed columns where another query reads them, are named as PostgreSQL names them;
//! - `USING` and `NATURAL` become conditions, and what they make of two columns is said wherever it is named;
//! - the columns of a query get the names that a list behind its alias gives them, inside of a recursion too;
//! - numbers with more digits than DataFusion reads become decimals of these digits;
//! - windows that take over from others are said in full;
//! - window table functions get one shape: `tumble((subquery), time, size)`, `session((subquery), time, gap, key, ...)`.
//!
//! The marks for [`ScanPlanner`](crate::window::ScanPlanner) travel in `TableFactor::Table::partitions`, which PostgreSQL's
//! dialect cannot write.

mod columns;
mod exists;
mod extract;
mod fields;
mod joins;
mod lists;
mod lookup;
mod mentions;
mod merged;
mod named_windows;
mod names;
mod numbers;
mod rows;
mod series;
mod similar;
mod spelling;
pub(crate) mod system_time;
mod titles;
mod tree;
mod wildcard;
mod windows;

#[cfg(test)]
mod tests;

pub(crate) use fields::factor_names;
pub(crate) use lists::with_elements;
pub(crate) use names::Outline;
pub(crate) use numbers::{plain_number, set_text};
pub(crate) use titles::{Titles, unique};
pub(crate) use tree::call;
pub(crate) use windows::simple_input;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, OrderBy, Query, Select, SetExpr, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins, VisitMut, VisitorMut, With,
};
use fleuve_types::{Error, ErrorKind, Result};

use crate::parse::{Name, name_of, place, select_all_from};
use crate::suggest::nearest;
use crate::{DEFAULT_NAMESPACE, ENVIRONMENT};

/// What a name in `FROM` can mean.
pub(crate) trait Relations {
    /// The thing of that name: `Some(true)` if it has pseudo-columns.
    fn find(&self, namespace: &str, name: &str) -> Option<bool>;
    /// All names, for suggestions: `(namespace, name)`.
    fn names(&self) -> Vec<(String, String)>;
    /// The columns of what is found, without pseudo-columns, where that can be told.
    fn columns(&self, _namespace: &str, _name: &str) -> Option<Vec<String>> {
        None
    }
    /// The column of a stream that its watermark is for.
    fn time_column(&self, _namespace: &str, _name: &str) -> Option<String> {
        None
    }
    /// A reason why something that is not found cannot be used here, if there is one.
    fn refusal(&self, _name: &Name) -> Option<Error> {
        None
    }
}

/// What the query is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    View,
    /// A query that is answered once, or an expression.
    Answer,
}

/// Rewrites a query in place, by the rules of an edition. See the module. Gives what columns are to be called that got other names, as two
/// have the same.
///
/// # Errors
/// Tables that do not exist; window functions with wrong arguments; `*` where it cannot be told what it means.
pub(crate) fn rewrite(query: &mut Query, relations: &dyn Relations, edition: u32, of: Of) -> Result<Titles> {
    let mut rewriter = Rewriter {
        relations,
        edition,
        is_view: of == Of::View,
        ctes: Vec::new(),
        taken: Vec::new(),
        is_named: false,
        unnamed: 0,
        quantified: Vec::new(),
        titles: Titles::new(),
    };
    flow(VisitMut::visit(query, &mut rewriter))?;
    Ok(rewriter.titles)
}

fn flow(flow: ControlFlow<Error>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}

/// Most queries in one `WITH`, and tables in one `FROM`: each is a level of the plan.
const MAX_CTES: usize = 200;
const MAX_TABLES: usize = 200;

fn too_many(what: &str, most: usize, things: &str) -> Error {
    Error::new(ErrorKind::Limit, format!("{what} more than {most} {things}"))
}

struct Rewriter<'a> {
    relations: &'a dyn Relations,
    /// From 1 on, computed columns get names; from 2 on, fields of times are decimals.
    edition: u32,
    is_view: bool,
    /// The CTEs in scope and their columns, one set per query around.
    ctes: Vec<HashMap<String, columns::Columns>>,
    /// The `WITH` of each query around: visited on its own, put back when the query is left.
    taken: Vec<Option<With>>,
    /// It is a query of a WITH, whose columns others read.
    is_named: bool,
    /// How many tables without a name got one.
    unnamed: usize,
    /// The subqueries of ANY and ALL that are being visited, by where they stand.
    quantified: Vec<*const Expr>,
    titles: Titles,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Err(e) = self.enter(query) {
            return ControlFlow::Break(e);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = expr {
            self.quantified.push(std::ptr::from_ref(right.as_ref()));
        }
        spelling::signed_base(expr);
        numbers::exact(expr);
        lists::of_rows(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Err(e) = similar::as_regex(expr)
            .and_then(|()| similar::with_backslash(expr))
            .and_then(|()| rows::by_columns(expr))
            .and_then(|()| spelling::without_collation(expr))
        {
            return ControlFlow::Break(e);
        }
        spelling::respell(expr, self.edition);
        if self.edition > 1 {
            extract::respell(expr);
        }
        lists::of_text(expr);
        lists::as_call(expr);
        if self.edition > 0 {
            lists::any_as_call(expr);
        }
        // No row is no NULL there.
        match self.quantified.pop_if(|at| std::ptr::eq(*at, expr)) {
            Some(_) => {}
            None => lookup::as_aggregate(expr),
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if !windows::simple_input(query).is_some_and(is_resolved)
            && let Err(e) = self.finish(query)
        {
            return ControlFlow::Break(e);
        }
        query.with = self.taken.pop().flatten();
        self.ctes.pop();
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn enter(&mut self, query: &mut Query) -> Result<()> {
        let mut with = query.with.take();
        let names = match &mut with {
            Some(with) => self.enter_with(with)?,
            None => HashMap::new(),
        };
        let is_outermost = self.taken.is_empty() && !self.is_named;
        self.taken.push(with);
        self.ctes.push(names);
        if windows::simple_input(query).is_some_and(is_resolved) {
            // The inside of a window table function: it was done with the SELECT around it.
            return Ok(());
        }
        spelling::fetch_as_limit(query)?;
        spelling::refuse_counted_limit(query)?;
        windows_in_full(&mut query.body, query.order_by.as_mut(), self.edition)?;
        if self.edition > 0 {
            names::distinct_on_columns(query);
            if is_outermost {
                names::order_by_input(query, self.relations, &self.ctes, &mut self.titles);
            }
            names::order_by_column(query);
        }
        let order_by = query.order_by.clone();
        fields::name_casts(&mut query.body, order_by.as_ref());
        let mentioned = order_by.as_ref().map(mentions::in_node).unwrap_or_default();
        self.set_expr(&mut query.body, &mentioned)
    }

    /// Rewrites the queries of a `WITH`; returns their names and columns.
    fn enter_with(&mut self, with: &mut With) -> Result<HashMap<String, columns::Columns>> {
        if with.cte_tables.len() > MAX_CTES {
            return Err(too_many("WITH names", MAX_CTES, "queries"));
        }
        let mut names = HashMap::new();
        for cte in &mut with.cte_tables {
            let name = spelled(&cte.alias.name);
            if self.edition > 0 && !(with.recursive && titles::reads(&cte.query.body, &name)) {
                let mut scope = self.ctes.clone();
                scope.push(names.clone());
                names::list(&cte.query, &mut cte.alias, self.relations, &scope, &mut self.titles);
            }
            titles::entitle(&mut cte.query, &cte.alias, with.recursive, self.edition);
            let listed = columns::listed(&cte.alias);
            let of_query = |rewriter: &Self, query: &Query| {
                listed.clone().or_else(|| columns::of_query(query, rewriter.relations, &rewriter.ctes))
            };
            // A CTE sees those before it, and itself only when recursive.
            let ctes = self.ctes.clone();
            let mut inner = Rewriter {
                relations: self.relations,
                edition: self.edition,
                is_view: self.is_view,
                ctes,
                taken: Vec::new(),
                is_named: true,
                unnamed: self.unnamed,
                quantified: Vec::new(),
                titles: std::mem::take(&mut self.titles),
            };
            inner.ctes.push(names.clone());
            if with.recursive {
                let own = of_query(&inner, &cte.query);
                inner.ctes.push(HashMap::from([(name.clone(), own)]));
            }
            flow(VisitMut::visit(&mut cte.query, &mut inner))?;
            let own = of_query(&inner, &cte.query);
            (self.unnamed, self.titles) = (inner.unnamed, inner.titles);
            names.insert(name, own);
        }
        Ok(names)
    }

    fn set_expr(&mut self, body: &mut SetExpr, order_by: &HashSet<String>) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.select(select, order_by),
            SetExpr::SetOperation { left, right, .. } => {
                // Nobody reads these names.
                titles::unique(right, self.edition);
                self.set_expr(left, &HashSet::new())?;
                self.set_expr(right, &HashSet::new())
            }
            SetExpr::Table(table) => {
                let mut parts = Vec::new();
                parts.extend(table.schema_name.iter().map(|s| Ident::new(s.to_lowercase())));
                parts.extend(table.table_name.iter().map(|s| Ident::new(s.to_lowercase())));
                let query = select_all_from(ObjectName::from(parts));
                *body = *query.body;
                self.set_expr(body, order_by)
            }
            // A query in brackets is visited as a query.
            _ => Ok(()),
        }
    }

    fn select(&mut self, select: &mut Select, order_by: &HashSet<String>) -> Result<()> {
        if select.from.len() > MAX_TABLES {
            return Err(too_many("FROM lists", MAX_TABLES, "tables"));
        }
        fields::name(select);
        if let Some(condition) = &mut select.selection {
            rows::members(condition);
        }
        names::sets_by_columns(select);
        if self.edition > 0 {
            names::group_by_column(select, self.relations, &self.ctes);
        }
        let mut mentioned = mentions::in_select(select);
        mentioned.extend(order_by.iter().cloned());
        for from in &mut select.from {
            self.table_with_joins(from, &mentioned)?;
        }
        Ok(())
    }

    /// What is done when all queries inside are done.
    fn finish(&mut self, query: &mut Query) -> Result<()> {
        match query.body.as_mut() {
            SetExpr::Select(select) => self.finish_select(select, query.order_by.as_mut()),
            body => self.finish_body(body),
        }
    }

    fn finish_body(&mut self, body: &mut SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.finish_select(select, None),
            SetExpr::SetOperation { left, right, .. } => {
                self.finish_body(left)?;
                self.finish_body(right)
            }
            // A query in brackets is finished as a query.
            _ => Ok(()),
        }
    }

    fn finish_select(&mut self, select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
        if self.edition > 0
            && names::has_wildcard(select)
            && let Some(columns) = columns::of_wildcards(select, self.relations, &self.ctes)
        {
            names::beside_wildcards(select, &columns, &mut self.titles);
        }
        exists::as_count(select);
        let Some(scope) = joins::resolve(select, self)? else { return Ok(()) };
        merged::name(select, order_by, &scope, self);
        wildcard::count_rows(select, &scope)?;
        wildcard::expand(select, &scope)
    }

    fn table_with_joins(&mut self, from: &mut TableWithJoins, mentioned: &HashSet<String>) -> Result<()> {
        self.factor(&mut from.relation, mentioned)?;
        from.joins.iter_mut().try_for_each(|join| {
            if self.edition > 1 {
                joins::refuse_without_condition(join)?;
            }
            system_time::resolve(join, self.relations)?;
            self.factor(&mut join.relation, mentioned)
        })
    }

    fn factor(&mut self, factor: &mut TableFactor, mentioned: &HashSet<String>) -> Result<()> {
        series::as_list(factor, mentioned.contains(mentions::SERIES_COLUMN), self.is_view);
        lists::as_table(factor)?;
        if let Some(window) = windows::normal_form(factor)? {
            *factor = window;
            // The table inside belongs to this SELECT's scope, not to the subquery around it.
            return match windows::input(factor) {
                Some(inner) => self.factor(inner, mentioned),
                None => Ok(()),
            };
        }
        match factor {
            TableFactor::Table { sample: Some(_), name, .. } => {
                let at = name.0.first().and_then(|p| p.as_ident()).map(place_of).unwrap_or_default();
                Err(Error::unsupported("TABLESAMPLE is not offered").at(at))
            }
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => Err(unpivoted(factor)),
            TableFactor::Table { name, args: Some(_), alias: Some(alias), .. }
            | TableFactor::Function { name, alias: Some(alias), .. } => {
                name_series(name, alias, mentioned);
                Ok(())
            }
            TableFactor::Table { name, args: None, partitions, .. } => {
                if let Some(kept) = self.resolve(name, mentioned)? {
                    *partitions = kept;
                }
                Ok(())
            }
            TableFactor::NestedJoin { alias: Some(_), table_with_joins } if joins::has_common(table_with_joins) => {
                joins::as_subquery(factor);
                Ok(())
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.table_with_joins(table_with_joins, mentioned),
            TableFactor::Derived { subquery, alias, .. } => {
                self.derived(subquery, alias);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Names the columns of a derived table.
    fn derived(&mut self, subquery: &mut Query, alias: &mut Option<TableAlias>) {
        if self.edition > 0 {
            if alias.is_none() && names::needed(subquery, self.relations, &self.ctes).is_some() {
                self.unnamed += 1;
                *alias = Some(new_alias(&format!("unnamed {}", self.unnamed)));
            }
            if let Some(alias) = alias {
                names::list(subquery, alias, self.relations, &self.ctes, &mut self.titles);
            }
        }
        if let Some(alias) = alias {
            titles::entitle(subquery, alias, false, self.edition);
        }
    }

    /// Gives a table its full name. For a stream, the mark with the pseudo-columns that stay visible.
    fn resolve(&self, object: &mut ObjectName, mentioned: &HashSet<String>) -> Result<Option<Vec<Ident>>> {
        if is_marked(object) {
            return Ok(None);
        }
        if let [ObjectNamePart::Identifier(only)] = object.0.as_slice()
            && self.ctes.iter().any(|scope| scope.contains_key(&spelled(only)))
        {
            return Ok(None);
        }
        let mut name = name_of(object)?;
        let mut found = self.relations.find(name.namespace(), &name.name);
        if found.is_none() && name.namespace.is_none() {
            // As PostgreSQL's search path has it.
            found = self.relations.find("pg_catalog", &name.name);
            if found.is_some() {
                name.namespace = Some("pg_catalog".into());
            }
        }
        let Some(has_pseudo) = found else { return Err(self.missing(name)) };
        let last = object.0.last().and_then(|p| p.as_ident()).map(|i| i.span);
        let part = |text: &str| {
            let mut ident = Ident::with_quote('"', text);
            ident.span = last.unwrap_or(ident.span);
            ident
        };
        *object = ObjectName::from(vec![part(ENVIRONMENT), part(name.namespace()), part(&name.name)]);
        if !has_pseudo {
            return Ok(None);
        }
        Ok(Some(mark(mentioned)))
    }

    fn missing(&self, name: Name) -> Error {
        if let Some(refusal) = self.relations.refusal(&name) {
            return refusal.at(name.at);
        }
        let shown = match &name.namespace {
            Some(namespace) if namespace != DEFAULT_NAMESPACE => format!("{namespace}.{}", name.name),
            _ => name.name.clone(),
        };
        let names = self.relations.names();
        let same: Vec<&str> =
            names.iter().filter(|(n, _)| n == name.namespace()).map(|(_, name)| name.as_str()).collect();
        let elsewhere = names.iter().find(|(_, n)| *n == name.name);
        let error = Error::not_found(format!("there is no stream or view \"{shown}\"")).at(name.at);
        match (elsewhere, nearest(&name.name, same)) {
            (Some((namespace, name)), _) => error.hint(format!("there is {namespace}.{name}")),
            (None, Some(near)) => error.hint(format!("did you mean \"{near}\"?")),
            (None, None) => error,
        }
    }
}

/// Says the windows of each SELECT that is a query's own in full; those of queries in brackets have their own turn.
fn windows_in_full(body: &mut SetExpr, order_by: Option<&mut OrderBy>, edition: u32) -> Result<()> {
    match body {
        SetExpr::Select(select) if edition < 2 => {
            named_windows::in_full_if_allowed(select, order_by);
            Ok(())
        }
        SetExpr::Select(select) => named_windows::in_full(select, order_by),
        SetExpr::SetOperation { left, right, .. } => {
            windows_in_full(left, None, edition)?;
            windows_in_full(right, None, edition)
        }
        _ => Ok(()),
    }
}

/// As in PostgreSQL, the column of a series is called by its alias; by DataFusion's name only where that is asked for.
fn name_series(name: &ObjectName, alias: &mut TableAlias, mentioned: &HashSet<String>) {
    if series::function(name).is_some() && alias.columns.is_empty() && !mentioned.contains(mentions::SERIES_COLUMN) {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}

fn unpivoted(factor: &TableFactor) -> Error {
    match factor {
        TableFactor::Pivot { .. } => Error::unsupported("PIVOT is not supported")
            .hint("write an aggregate for each column: sum(v) FILTER (WHERE k = 'a') AS a"),
        _ => Error::unsupported("UNPIVOT is not supported")
            .hint("write a SELECT for each column, and UNION ALL between them"),
    }
}

/// The mark of a stream's scan: a first word, then the pseudo-columns that stay.
const MARK: &str = "fleuve scan";

fn mark(mentioned: &HashSet<String>) -> Vec<Ident> {
    let kept = fleuve_types::PSEUDO_COLUMNS.iter().filter(|c| mentioned.contains(**c)).map(|c| Ident::new(*c));
    std::iter::once(Ident::new(MARK)).chain(kept).collect()
}

/// The pseudo-columns that a marked scan keeps.
pub(crate) fn marked(partitions: &[Ident]) -> Option<Vec<String>> {
    let (first, kept) = partitions.split_first()?;
    (first.value == MARK).then(|| kept.iter().map(|i| i.value.clone()).collect())
}

/// A name that was resolved before: three quoted parts with one span.
fn is_marked(object: &ObjectName) -> bool {
    let idents: Vec<&Ident> = object.0.iter().filter_map(|p| p.as_ident()).collect();
    match idents.as_slice() {
        [first, rest @ ..] if rest.len() == 2 => {
            first.value == ENVIRONMENT && idents.iter().all(|i| i.quote_style == Some('"') && i.span == first.span)
        }
        _ => false,
    }
}

fn is_resolved(factor: &mut TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => is_marked(name),
        window => windows::input(window).is_some_and(is_resolved),
    }
}

/// An identifier as PostgreSQL reads it.
pub(crate) fn spelled(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn alias_of(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

fn new_alias(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: Ident::with_quote('"', name), columns: vec![], at: None }
}

fn set_alias(factor: &mut TableFactor, name: &str) {
    let new = new_alias(name);
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => *alias = Some(new),
        _ => {}
    }
}

/// The place of an identifier, for errors.
pub(crate) fn place_of(ident: &Ident) -> fleuve_types::Location {
    place(ident.span.start)
}
