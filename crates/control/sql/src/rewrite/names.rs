//! The names of computed columns. They are PostgreSQL's where it has one (`count(*)` is `count`, `id::text` is `id`, `'1'::int` is `int4`) and no
//! other column has it; else the text of what is computed (`v + 1`, `sum(a)` beside `sum(b)`), which PostgreSQL calls `?column?`.
//!
//! A query is planned as it stands: its columns are named where they are read. Those of derived tables and `WITH` by the list of their alias,
//! those of views and answers when they are planned.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::common::DFSchema;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, DataType, Distinct, ExactNumberInfo, Expr, GroupByExpr, Ident, OrderBy, OrderByKind,
    Query, Select, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TimezoneInfo, TrimWhereField, Value,
    ValueWithSpan, visit_expressions,
};

use super::columns::{self, Ctes};
use super::{Relations, Titles, fields, spelled, titles};

/// What the columns of a query are called, as far as its text tells.
pub(crate) struct Outline {
    parts: Vec<Part>,
    /// One of them may come to several columns.
    open: bool,
}

#[derive(Clone)]
enum Part {
    /// A column that has a name.
    Named(String),
    /// What it may be called, what it would be called best first.
    Computed([Option<String>; 3]),
    /// A wildcard: any number of columns.
    Star,
}

impl Outline {
    /// That of a query; none where the names are others' affair (`VALUES`, `TABLE`).
    pub(crate) fn of(query: &Query) -> Option<Self> {
        let items = &first_select(&query.body)?.projection;
        let parts = items.iter().map(part).collect::<Option<Vec<_>>>()?;
        Some(Self { parts, open: items.iter().any(unnests) })
    }

    /// True if something has no name of its own.
    fn has_computed(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::Computed(_)))
    }

    fn stars(&self) -> usize {
        self.parts.iter().filter(|p| matches!(p, Part::Star)).count()
    }

    /// The names, with what the planner has called the columns; that is what those keep that come from wildcards, and what stands between
    /// two. None if it does not fit.
    fn names(&self, planned: &[String]) -> Option<Vec<String>> {
        let is_star = |part: &Part| matches!(part, Part::Star);
        let (head, tail) = match self.parts.iter().position(is_star) {
            None if self.parts.len() == planned.len() => (self.parts.as_slice(), &[][..]),
            None => return None,
            Some(first) => {
                let last = self.parts.iter().rposition(is_star)?;
                (&self.parts[..first], &self.parts[last + 1..])
            }
        };
        let middle = planned.get(head.len()..planned.len().checked_sub(tail.len())?)?;
        let middle = middle.iter().cloned().map(Part::Named);
        Some(chosen(&head.iter().cloned().chain(middle).chain(tail.iter().cloned()).collect::<Vec<_>>()))
    }

    /// The names of a planned query's columns; `titles` are those of columns that were planned by others.
    pub(crate) fn names_of(outline: Option<Self>, planned: &DFSchema, titles: &Titles) -> Vec<String> {
        let planned =
            planned.fields().iter().map(|f| titles.get(f.name()).unwrap_or(f.name()).clone()).collect::<Vec<_>>();
        outline.and_then(|outline| outline.names(&planned)).unwrap_or(planned)
    }

    /// The names, with the columns that the wildcards stand for.
    fn with_stars(self, stars: Vec<Vec<String>>) -> Vec<String> {
        let mut stars = stars.into_iter();
        let parts: Vec<Part> = self
            .parts
            .into_iter()
            .flat_map(|part| match part {
                Part::Star => stars.next().unwrap_or_default().into_iter().map(Part::Named).collect(),
                other => vec![other],
            })
            .collect();
        chosen(&parts)
    }
}

/// True for what gives several columns if it is a struct's.
fn unnests(item: &SelectItem) -> bool {
    matches!(item, SelectItem::UnnamedExpr(Expr::Function(f)) if f.name.to_string().eq_ignore_ascii_case("unnest"))
}

fn part(item: &SelectItem) -> Option<Part> {
    Some(match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => Part::Star,
        SelectItem::ExprWithAlias { alias, expr } if titles::is_fresh(alias) => of_expr(expr)?,
        SelectItem::UnnamedExpr(expr) => of_expr(expr)?,
        item => Part::Named(spelled(fields::output_name(item)?)),
    })
}

fn of_expr(expr: &Expr) -> Option<Part> {
    Some(match expr {
        expr if is_computed(expr) => Part::Computed([short(expr), Some(text(expr)), Some(expr.to_string())]),
        expr => Part::Named(spelled(fields::name_of_expr(expr)?)),
    })
}

/// A name for each part; of equal ones that are computed none has it, unless they have no other.
fn chosen(parts: &[Part]) -> Vec<String> {
    let mut names: Vec<Option<String>> =
        parts.iter().map(|p| if let Part::Named(name) = p { Some(name.clone()) } else { None }).collect();
    let mut taken: HashSet<String> = names.iter().flatten().cloned().collect();
    for candidate in 0..3 {
        let wanted: Vec<Option<&String>> = parts
            .iter()
            .zip(&names)
            .map(|(part, name)| match part {
                Part::Computed(candidates) if name.is_none() => candidates[candidate].as_ref(),
                _ => None,
            })
            .collect();
        let mut times: HashMap<&String, usize> = HashMap::new();
        wanted.iter().flatten().for_each(|name| *times.entry(name).or_default() += 1);
        for (name, wanted) in names.iter_mut().zip(wanted) {
            *name = name.take().or_else(|| wanted.filter(|w| times[w] == 1 && taken.insert((*w).clone())).cloned());
        }
    }
    let last = |part: &Part| match part {
        Part::Named(name) => name.clone(),
        Part::Computed(candidates) => candidates.last().cloned().flatten().unwrap_or_default(),
        Part::Star => String::new(),
    };
    names.into_iter().zip(parts).map(|(name, part)| name.unwrap_or_else(|| last(part))).collect()
}

/// Gives a derived table or a `WITH` query a list of its columns' names behind its alias, where it has none and they are not their own.
pub(super) fn list(query: &Query, alias: &mut TableAlias, relations: &dyn Relations, ctes: &Ctes, titles: &mut Titles) {
    if !alias.columns.is_empty() {
        return;
    }
    let Some(names) = needed(query, relations, ctes) else { return };
    let mut seen = HashSet::new();
    let column = |name: String| {
        let is_new = seen.insert(name.clone());
        let name = if is_new { Ident::with_quote('"', name) } else { titles::repeated(name, titles) };
        TableAliasColumnDef { name, data_type: None }
    };
    alias.columns = names.into_iter().map(column).collect();
}

/// The names of a query's columns, if they are not those that the planner would give.
pub(super) fn needed(query: &Query, relations: &dyn Relations, ctes: &Ctes) -> Option<Vec<String>> {
    let outline = Outline::of(query)?;
    let computed = outline.has_computed();
    let names = all(outline, query, relations, ctes)?;
    let repeated = names.iter().collect::<HashSet<_>>().len() < names.len();
    (computed || repeated).then_some(names)
}

/// The names of a query's columns, before it was rewritten.
pub(super) fn of_query(query: &Query, relations: &dyn Relations, ctes: &Ctes) -> Option<Vec<String>> {
    all(Outline::of(query)?, query, relations, ctes)
}

fn all(outline: Outline, query: &Query, relations: &dyn Relations, ctes: &Ctes) -> Option<Vec<String>> {
    if outline.open {
        return None;
    }
    let stars = match outline.stars() {
        0 => Vec::new(),
        // Its own names are not known here.
        _ if query.with.is_some() => return None,
        _ => columns::of_stars(first_select(&query.body)?, relations, ctes)?,
    };
    // A list cannot tell two columns of one name from each other (DataFusion 54.1).
    let of_stars = stars.iter().flatten();
    if of_stars.clone().collect::<HashSet<_>>().len() < of_stars.count() {
        return None;
    }
    Some(outline.with_stars(stars))
}

fn first_select_mut(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select_mut(left),
        SetExpr::Query(query) if query.with.is_none() => first_select_mut(&mut query.body),
        _ => None,
    }
}

fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::SetOperation { left, .. } => first_select(left),
        SetExpr::Query(query) if query.with.is_none() => first_select(&query.body),
        _ => None,
    }
}

/// `DISTINCT ON (a) x AS a ... ORDER BY a` as `DISTINCT ON (x) ... ORDER BY x`: a name alone is that of a column of the answer first, and a
/// number its place. DataFusion (54.1) knows the columns of tables only.
pub(super) fn distinct_on_columns(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Some(Distinct::On(on)) = &select.distinct else { return };
    let mut on = on.clone();
    let has_star = select.projection.iter().any(is_star);
    let of_answer = |expr: &Expr| match (name_alone(expr), number_of(expr)) {
        (Some(name), _) => {
            let name = spelled(name);
            let is_it =
                |item: &&SelectItem| matches!(item, SelectItem::ExprWithAlias { alias, .. } if spelled(alias) == name);
            select.projection.iter().find(is_it).and_then(|item| match item {
                SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
                _ => None,
            })
        }
        (None, Some(place)) if !has_star => of_item(select, place),
        _ => None,
    };
    let meant = |expr: &mut Expr| {
        if let Some(of_answer) = of_answer(expr) {
            *expr = Expr::Nested(Box::new(of_answer));
        }
    };
    on.iter_mut().for_each(meant);
    if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = &mut query.order_by {
        exprs.iter_mut().for_each(|order| meant(&mut order.expr));
    }
    select.distinct = Some(Distinct::On(on));
}

/// `SELECT k, sum(v) AS v ... ORDER BY sum(v)`: within an expression, and behind the name of a table, a name is that of a column of a table.
/// DataFusion (54.1) takes the one of the answer, which gets another name here; the answer's own are put back in the end ([`Outline`]).
pub(super) fn order_by_input(query: &mut Query, relations: &dyn Relations, ctes: &Ctes, titles: &mut Titles) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = &mut query.order_by else { return };
    if !matches!(select.distinct, None | Some(Distinct::All)) {
        return;
    }
    let (mut alone, mut behind_table) = (HashSet::new(), HashSet::new());
    for expr in exprs.iter().map(|order| &order.expr).filter(|expr| name_alone(expr).is_none()) {
        let _ = visit_expressions(expr, |e| {
            match e {
                Expr::Identifier(name) => _ = alone.insert(spelled(name)),
                Expr::CompoundIdentifier(names) => behind_table.extend(names.last().map(spelled)),
                _ => {}
            }
            ControlFlow::<()>::Continue(())
        });
    }
    if alone.is_empty() && behind_table.is_empty() {
        return;
    }
    let inputs = columns::of_all(select, relations, ctes).unwrap_or_default();
    let is_input = |name: &String| behind_table.contains(name) || alone.contains(name) && inputs.contains(name);
    let mut renamed = HashMap::new();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::ExprWithAlias { expr, alias } = item else { continue };
        let name = spelled(alias);
        let is_column = match expr {
            Expr::Identifier(column) => spelled(column) == name,
            Expr::CompoundIdentifier(names) => names.last().is_some_and(|column| spelled(column) == name),
            _ => false,
        };
        if !is_column && is_input(&name) {
            *alias = Ident::with_quote('"', format!("fleuve shown {}", place + 1));
            titles.insert(alias.value.clone(), name.clone());
            renamed.entry(name).or_insert_with(|| alias.clone());
        }
    }
    for order in exprs {
        if let Some(name) = name_alone(&order.expr).and_then(|name| renamed.get(&spelled(name))) {
            order.expr = Expr::Identifier(name.clone());
        }
    }
}

/// `ORDER BY count` of a column that is computed, and `SELECT DISTINCT upper(s) ... ORDER BY upper(s)`, which DataFusion (54.1) finds by the
/// name only, and what is computed over GROUPING SETS, which it does not find: all by a name that nobody else has.
pub(super) fn order_by_column(query: &mut Query) {
    let is_select = matches!(query.body.as_ref(), SetExpr::Select(_));
    let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = &mut query.order_by else { return };
    let Some(select) = first_select_mut(&mut query.body) else { return };
    let computed = Computed::of(select);
    if matches!(select.distinct, Some(Distinct::On(_))) {
        // DataFusion (54.1) knows the columns of tables only there.
        for order in exprs {
            if let Some(expr) =
                name_alone(&order.expr).and_then(|name| computed.find(name)).and_then(|at| of_item(select, at))
            {
                order.expr = expr;
            }
        }
        return;
    }
    let by_sets = is_select && has_sets(select);
    let is_found_by_name = by_sets || is_select && matches!(select.distinct, Some(Distinct::Distinct));
    for order in exprs {
        let place = match &order.expr {
            expr if name_alone(expr).is_some() => name_alone(expr).and_then(|name| computed.find(name)),
            expr if by_sets && number_of(expr).is_some() => {
                let place = number_of(expr).filter(|at| !select.projection.iter().take(at + 1).any(is_star));
                place.filter(|at| of_item(select, *at).is_some_and(|e| is_computed(&e)))
            }
            expr if is_found_by_name && is_computed(expr) => {
                let wanted = comparable(expr);
                select.projection.iter().position(|item| match item {
                    SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => {
                        is_computed(expr) && comparable(expr) == wanted
                    }
                    _ => false,
                })
            }
            _ => None,
        };
        if let Some(name) = place.and_then(|place| own_name(select, place)) {
            order.expr = Expr::Identifier(name);
        }
    }
}

/// `GROUP BY date_trunc` of a column that is computed, where no table has a column of that name.
pub(super) fn group_by_column(select: &mut Select, relations: &dyn Relations, ctes: &Ctes) {
    let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return };
    let computed = Computed::of(select);
    let place = |e: &Expr| name_alone(e).and_then(|name| computed.find(name));
    let places: Vec<Option<usize>> = exprs.iter().map(place).collect();
    if places.iter().all(Option::is_none) {
        return;
    }
    let Some(columns) = columns::of_all(select, relations, ctes) else { return };
    let mut names: Vec<Option<Ident>> = places.into_iter().map(|p| own_name(select, p?)).collect();
    let GroupByExpr::Expressions(exprs, _) = &mut select.group_by else { return };
    for (expr, name) in exprs.iter_mut().zip(&mut names) {
        if name_alone(expr).is_some_and(|name| !columns.contains(&spelled(name)))
            && let Some(name) = name.take()
        {
            *expr = Expr::Identifier(name);
        }
    }
}

/// The place of the column that a number stands for.
fn number_of(expr: &Expr) -> Option<usize> {
    let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = expr else { return None };
    number.parse::<usize>().ok()?.checked_sub(1)
}

fn has_sets(select: &Select) -> bool {
    let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return false };
    exprs.iter().any(|e| matches!(e, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_)))
}

/// Most parts of a ROLLUP or CUBE with several columns in one of them.
const MAX_PARTS: usize = 6;

/// `ROLLUP ((a, b), c)` as `GROUPING SETS ((a, b, c), (a, b), ())`, and CUBE likewise: DataFusion (54.1) knows those of single columns.
fn in_sets(expr: &mut Expr) {
    let (parts, is_cube) = match expr {
        Expr::Rollup(parts) => (parts, false),
        Expr::Cube(parts) => (parts, true),
        _ => return,
    };
    if parts.iter().all(|part| part.len() == 1) || parts.len() > MAX_PARTS {
        return;
    }
    let parts = std::mem::take(parts);
    let sets = if is_cube {
        let of = |set: usize| {
            let taken = parts.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
            taken.flat_map(|(_, part)| part.clone()).collect()
        };
        (0..1 << parts.len()).rev().map(of).collect()
    } else {
        (0..=parts.len()).rev().map(|length| parts[..length].concat()).collect()
    };
    *expr = Expr::GroupingSets(sets);
}

/// `GROUP BY ()`, of all rows, which goes without saying beside other groups and where something is aggregated.
fn without_empty_groups(select: &mut Select) {
    let calls = super::tree::has_call(&select.projection) || select.having.is_some();
    let GroupByExpr::Expressions(exprs, _) = &mut select.group_by else { return };
    let is_empty = |expr: &Expr| matches!(expr, Expr::Tuple(parts) if parts.is_empty());
    if calls || !exprs.iter().all(is_empty) {
        exprs.retain(|expr| !is_empty(expr));
    }
}

/// The numbers of columns in `GROUP BY ROLLUP (1, k)` and the like by what they stand for: DataFusion (54.1) takes them for constants.
pub(super) fn sets_by_columns(select: &mut Select) {
    without_empty_groups(select);
    let GroupByExpr::Expressions(exprs, _) = &select.group_by else { return };
    let mut exprs = exprs.clone();
    let of_number = |expr: &mut Expr| {
        if let Some(place) = number_of(expr)
            && !select.projection.iter().take(place + 1).any(is_star)
            && let Some(of) = of_item(select, place)
        {
            *expr = of;
        }
    };
    for expr in &mut exprs {
        if let Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) = expr {
            sets.iter_mut().flatten().for_each(of_number);
        }
        in_sets(expr);
    }
    if let GroupByExpr::Expressions(before, _) = &mut select.group_by {
        *before = exprs;
    }
}

/// What an item of a select list computes.
fn of_item(select: &Select, place: usize) -> Option<Expr> {
    match select.projection.get(place)? {
        SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => Some(expr.clone()),
        _ => None,
    }
}

/// A name and nothing else, also in brackets.
fn name_alone(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(name) => Some(name),
        Expr::Nested(inner) => name_alone(inner),
        _ => None,
    }
}

/// The columns of a select list that are computed, by the names that they get and that they would get alone.
struct Computed {
    named: HashSet<String>,
    computed: Vec<(usize, [Option<String>; 2], String)>,
}

impl Computed {
    fn of(select: &Select) -> Self {
        let items = select.projection.iter().enumerate();
        let known = items.filter(|(_, item)| !unnests(item)).filter_map(|(place, item)| Some((place, part(item)?)));
        let (places, parts): (Vec<usize>, Vec<Part>) = known.filter(|(_, p)| !matches!(p, Part::Star)).unzip();
        let mut found = Self { named: HashSet::new(), computed: Vec::new() };
        for ((name, part), place) in chosen(&parts).into_iter().zip(&parts).zip(places) {
            match part {
                Part::Named(name) => drop(found.named.insert(name.clone())),
                Part::Computed([short, _, whole]) => {
                    let what = whole.as_deref().unwrap_or_default().to_lowercase();
                    found.computed.push((place, [Some(name), short.clone()], what));
                }
                Part::Star => {}
            }
        }
        found
    }

    /// The place of the one that a name is of; of several that are the same the first.
    fn find(&self, name: &Ident) -> Option<usize> {
        let name = spelled(name);
        if self.named.contains(&name) {
            return None;
        }
        let mut of_name = self.computed.iter().filter(|(_, names, _)| names.iter().flatten().any(|n| *n == name));
        let (place, _, what) = of_name.next()?;
        of_name.all(|(_, _, other)| other == what).then_some(*place)
    }
}

/// The name of an item of a select list; one that nobody else has where it has none.
fn own_name(select: &mut Select, place: usize) -> Option<Ident> {
    let item = select.projection.get_mut(place)?;
    if let SelectItem::UnnamedExpr(expr) = item {
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: titles::fresh(place) };
    }
    fields::output_name(item).cloned()
}

/// The text of an expression, the same for `COUNT(*)` and `(count(*))`.
fn comparable(expr: &Expr) -> String {
    match expr {
        Expr::Nested(inner) => comparable(inner),
        other => {
            let text = other.to_string();
            if text.contains(['"', '\'']) { text } else { text.to_lowercase() }
        }
    }
}

/// Gives items other names that repeat one of the columns that wildcards stand for: DataFusion (54.1) takes a name once only. What they are
/// to be called is added to `titles`.
pub(super) fn beside_wildcards(select: &mut Select, columns: &[String], titles: &mut Titles) {
    for item in &mut select.projection {
        let Some(name) = fields::output_name(item).map(spelled).filter(|name| columns.contains(name)) else { continue };
        let alias = titles::repeated(name, titles);
        match item {
            SelectItem::UnnamedExpr(expr) => *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias },
            SelectItem::ExprWithAlias { alias: old, .. } => *old = alias,
            _ => {}
        }
    }
}

/// True where a list leaves open what its columns are.
pub(super) fn has_wildcard(select: &Select) -> bool {
    select.projection.iter().any(is_star)
}

fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// False for a column or a field of one, which has its name.
fn is_computed(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => false,
        Expr::Nested(inner) => is_computed(inner),
        Expr::CompoundFieldAccess { access_chain, .. } => {
            !matches!(access_chain.last(), Some(AccessExpr::Dot(Expr::Identifier(_))))
        }
        _ => true,
    }
}

/// The name that PostgreSQL gives (`FigureColname` in its `parse_target.c`), if it gives one.
fn short(expr: &Expr) -> Option<String> {
    let fixed = |name: &str| Some(name.to_string());
    match expr {
        Expr::Identifier(name) => Some(spelled(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(spelled),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(name)) => Some(spelled(name)),
                _ => None,
            });
            field.or_else(|| short(root))
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => short(inner),
        Expr::Cast { expr, .. } if has_name(expr) => short(expr),
        Expr::Cast { data_type, .. } => type_name(data_type),
        Expr::TypedString(typed) => type_name(&typed.data_type),
        Expr::Function(call) => call.name.0.last().and_then(|p| p.as_ident()).map(spelled),
        Expr::Case { else_result, .. } => match else_result.as_deref() {
            Some(other) if has_name(other) => short(other),
            _ => fixed("case"),
        },
        Expr::Exists { negated: false, .. } => fixed("exists"),
        Expr::Subquery(query) => match first_item(query)? {
            SelectItem::ExprWithAlias { alias, .. } => Some(spelled(alias)),
            SelectItem::UnnamedExpr(expr) => short(expr),
            _ => None,
        },
        Expr::Array(_) => fixed("array"),
        Expr::Tuple(_) => fixed("row"),
        Expr::Extract { .. } => fixed("extract"),
        Expr::Ceil { .. } => fixed("ceil"),
        Expr::Floor { .. } => fixed("floor"),
        Expr::Position { .. } => fixed("position"),
        Expr::Substring { shorthand: true, .. } => fixed("substr"),
        Expr::Substring { .. } => fixed("substring"),
        Expr::Overlay { .. } => fixed("overlay"),
        Expr::AtTimeZone { .. } => fixed("timezone"),
        Expr::Interval(_) => fixed("interval"),
        Expr::Trim { trim_where, .. } => fixed(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        }),
        _ => None,
    }
}

/// True for what has a name of its own: one that a cast or a `CASE` around it takes over.
fn has_name(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } | Expr::Cast { expr: inner, .. } => has_name(inner),
        Expr::Case { else_result, .. } => else_result.as_deref().is_some_and(has_name),
        Expr::CompoundFieldAccess { root, access_chain } => {
            access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_)))) || has_name(root)
        }
        Expr::Value(_) | Expr::TypedString(_) | Expr::Interval(_) => false,
        other => short(other).is_some(),
    }
}

/// What PostgreSQL calls a type in its catalog.
fn type_name(data_type: &DataType) -> Option<String> {
    let spelled_out = match data_type {
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => "float4",
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => "float8",
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Bool | DataType::Boolean => "bool",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => "varchar",
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Text | DataType::String(_) => "text",
        DataType::Date => "date",
        DataType::Time(..) => "time",
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timestamptz",
        DataType::Timestamp(..) => "timestamp",
        DataType::Interval { .. } => "interval",
        DataType::Bytea => "bytea",
        DataType::Uuid => "uuid",
        DataType::JSON => "json",
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => return type_name(element),
        DataType::Custom(name, _) => return name.0.last().and_then(|p| p.as_ident()).map(spelled),
        _ => return None,
    };
    Some(spelled_out.to_string())
}

/// What is computed as text: of a query for one value that of its column.
fn text(expr: &Expr) -> String {
    match expr {
        Expr::Nested(inner) => text(inner),
        Expr::Subquery(query) => match first_item(query) {
            Some(SelectItem::UnnamedExpr(inner)) => text(inner),
            _ => expr.to_string(),
        },
        other => other.to_string(),
    }
}

fn first_item(query: &Query) -> Option<&SelectItem> {
    first_select(&query.body)?.projection.first()
}
