//! Another query of a view, or other limits.

use fleuve_types::{Error, Result};

use crate::bind::draft::Draft;
use crate::bind::statement_of;
use crate::parse::{CreateView, Name, ObjectWord, Parsed, Statement, ViewChange, ViewQuery};

impl Draft {
    /// The statement that makes a view what `ALTER MATERIALIZED VIEW` says; what it does not say stays. A query brings the names of its columns.
    ///
    /// # Errors
    /// There is no such view, or it does not have an option that goes.
    pub(crate) fn altered_view(&self, name: &Name, change: &ViewChange, parsed: &Parsed) -> Result<Parsed> {
        let old = self.find(ObjectWord::View, name)?;
        let before = statement_of(&old.object)?;
        let Statement::CreateView(view) = before.statement else {
            return Err(Error::bug("a view is declared by another statement"));
        };
        let (mut view, mut edition) = (CreateView { or_replace: true, name: name.clone(), ..view }, before.edition);
        match change {
            ViewChange::Query(new) => {
                let ViewQuery { query, text, emit_on_close, on_error } = new.as_ref().clone();
                edition = parsed.edition;
                let (on_error, emit_on_close) =
                    (on_error.unwrap_or(view.on_error), emit_on_close || view.emit_on_close);
                view = CreateView { columns: vec![], query, query_text: text, emit_on_close, on_error, ..view };
            }
            ViewChange::Set(options) => {
                view.options.retain(|old| options.iter().all(|new| new.key != old.key));
                view.options.extend(options.iter().cloned());
            }
            ViewChange::Reset(keys) => {
                for (key, at) in keys {
                    let before = view.options.len();
                    view.options.retain(|o| o.key != *key);
                    if view.options.len() == before {
                        let message = format!("view \"{}\" has no option \"{key}\" that could go", name.name);
                        return Err(Error::input(message).at(at.clone()));
                    }
                }
            }
        }
        Ok(Parsed { statement: Statement::CreateView(view), edition, ..parsed.clone() })
    }
}
