//! `WINDOW w AS (...)`: what a window takes over from another one. DataFusion (54.1) knows a window's name in `OVER w` in the select list only;
//! `OVER (w ORDER BY v)`, `WINDOW w2 AS (w ORDER BY v)` and `ORDER BY sum(v) OVER w` lose what `w` says.

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderBy, Select, WindowSpec, WindowType,
};
use fleuve_types::{Error, Result};

use super::tree::change_own;
use super::{place_of, spelled};

/// Says every window of a SELECT in full, as PostgreSQL understands it (`transformWindowDefinitions` in its `parse_clause.c`).
///
/// # Errors
/// Names that no window before has, or two; what a window that is taken over does not allow.
pub(super) fn in_full(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<()> {
    let mut windows = Windows::default();
    for NamedWindowDefinition(name, definition) in std::mem::take(&mut select.named_window) {
        if windows.0.iter().any(|(other, _)| *other == spelled(&name)) {
            return Err(Error::input(format!("window \"{}\" is already defined", spelled(&name))).at(place_of(&name)));
        }
        let spec = match definition {
            NamedWindowExpr::NamedWindow(of) => windows.find(&of)?.clone(),
            NamedWindowExpr::WindowSpec(spec) => windows.whole(spec)?,
        };
        windows.0.push((spelled(&name), spec));
    }
    let mut say = |expr: &mut Expr| match expr {
        Expr::Function(call) => windows.say(&mut call.over),
        _ => Ok(()),
    };
    change_own(&mut select.projection, &mut say)?;
    change_own(&mut select.qualify, &mut say)?;
    if let Some(Distinct::On(exprs)) = &mut select.distinct {
        change_own(exprs, &mut say)?;
    }
    match order_by {
        Some(order_by) => change_own(order_by, say),
        None => Ok(()),
    }
}

/// As [`in_full`], but what it refuses stays as it stands: views have it that were made before edition 2.
pub(super) fn in_full_if_allowed(select: &mut Select, mut order_by: Option<&mut OrderBy>) {
    let (mut whole, mut order) = (select.clone(), order_by.as_deref().cloned());
    if in_full(&mut whole, order.as_mut()).is_ok() {
        *select = whole;
        if let (Some(order_by), Some(order)) = (&mut order_by, order) {
            **order_by = order;
        }
    }
}

/// Windows by their names.
#[derive(Default)]
struct Windows(Vec<(String, WindowSpec)>);

impl Windows {
    fn find(&self, name: &Ident) -> Result<&WindowSpec> {
        let found = self.0.iter().find(|(other, _)| *other == spelled(name)).map(|(_, spec)| spec);
        found.ok_or_else(|| Error::input(format!("window \"{}\" does not exist", spelled(name))).at(place_of(name)))
    }

    fn say(&self, over: &mut Option<WindowType>) -> Result<()> {
        let whole = match over.take() {
            None => return Ok(()),
            Some(WindowType::NamedWindow(name)) => self.find(&name)?.clone(),
            Some(WindowType::WindowSpec(spec)) => self.whole(spec)?,
        };
        *over = Some(WindowType::WindowSpec(whole));
        Ok(())
    }

    /// A window with what it takes over: the partition, the order if it has none of its own, and never a frame.
    fn whole(&self, spec: WindowSpec) -> Result<WindowSpec> {
        let Some(name) = &spec.window_name else { return Ok(spec) };
        let of = self.find(name)?;
        let refused = |why: String| Err(Error::input(why).at(place_of(name)));
        let shown = spelled(name);
        if !spec.partition_by.is_empty() {
            return refused(format!("cannot override PARTITION BY clause of window \"{shown}\""));
        }
        if !spec.order_by.is_empty() && !of.order_by.is_empty() {
            return refused(format!("cannot override ORDER BY clause of window \"{shown}\""));
        }
        if of.window_frame.is_some() {
            let why = format!("cannot copy window \"{shown}\" because it has a frame clause");
            let is_bare = spec.order_by.is_empty() && spec.window_frame.is_none();
            return match is_bare {
                true => refused(why).map_err(|e| e.hint("omit the parentheses in this OVER clause")),
                false => refused(why),
            };
        }
        let order_by = if spec.order_by.is_empty() { of.order_by.clone() } else { spec.order_by };
        let partition_by = of.partition_by.clone();
        Ok(WindowSpec { window_name: None, partition_by, order_by, window_frame: spec.window_frame })
    }
}
