use fleuve_types::{Error, ErrorKind};

use crate::objects::{Certain, Index, Sink, View};
use crate::query;
use crate::world::{World, outcome, within};
use crate::{Scope, Sim};

/// More views than this make a run slow.
const MOST_VIEWS: usize = 5;
const MOST_INDEXES: usize = 4;
/// The streams that views read.
const STREAMS: [&str; 2] = ["s0", "s1"];

impl World {
    /// Runs a statement that declares something. When its outcome is not known the server is started again, and then it is.
    ///
    /// # Errors
    /// When it hangs, or fails for no reason.
    pub(crate) async fn declare(&mut self, sql: &str) -> Sim<Result<(), Error>> {
        // Ids of objects have the time in them, and so an order.
        self.clock.advance_us(1_000);
        let done = within(sql, self.life()?.session.execute(sql)).await?.map(|_| ());
        let words: String =
            sql.split_whitespace().take_while(|w| *w != "AS" && !w.starts_with('(')).collect::<Vec<_>>().join(" ");
        self.trace.say(format!("{words}: {}", outcome(&done)));
        self.trace.aside(sql);
        if let Err(e) = &done {
            self.trace.aside(&e.to_string());
        }
        self.excuse(done.as_ref().err())?;
        if self.disk.is_off() || done.as_ref().is_err_and(is_uncertain) {
            self.is_lost = true;
        }
        Ok(done)
    }

    /// The statement of an object as the catalog keeps it; nothing when there is none.
    fn text_of(&self, name: &str) -> Sim<String> {
        let set = self.life()?.server.objects();
        Ok(set.get("public", name).map(|b| b.object.sql.clone()).unwrap_or_default())
    }

    pub(super) async fn create_view(&mut self) -> Sim<()> {
        if self.objects.views.len() >= MOST_VIEWS {
            return Ok(());
        }
        let sources = self.objects.sources(&STREAMS);
        let query = query::generate(&mut self.random, &sources, self.scope);
        let name = self.objects.name('v');
        let sql = format!("CREATE MATERIALIZED VIEW {name} AS {}", query.sql);
        let done = self.declare(&sql).await?;
        if let Some(certain) = made(&done) {
            let text = self.text_of(&name)?;
            self.objects.views.push(View { name, query, next: None, text, certain });
        }
        Ok(())
    }

    pub(super) async fn replace_view(&mut self) -> Sim<()> {
        if self.objects.views.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.objects.views.len());
        let view = self.objects.views[at].clone();
        // It may read what stands before it, so that views never read each other in a circle.
        let mut sources = self.objects.sources(&STREAMS);
        let later: Vec<&String> = self.objects.views[at..].iter().map(|v| &v.name).collect();
        sources.retain(|s| !later.contains(&&s.name));
        // Now and then by other columns, which may be refused.
        let has_others = self.scope >= Scope::Full && self.random.below(3) == 0;
        let query = match has_others {
            true => query::generate(&mut self.random, &sources, self.scope),
            false => query::of_shape(&mut self.random, &sources, view.query.shape),
        };
        let sql = format!("CREATE OR REPLACE MATERIALIZED VIEW {} AS {}", view.name, query.sql);
        let done = self.declare(&sql).await?;
        let (is_same, text) = (query.sql == view.query.sql, self.text_of(&view.name)?);
        let view = &mut self.objects.views[at];
        match &done {
            Ok(()) => (view.query, view.text) = (query, text),
            Err(e) if is_uncertain(e) && !is_same => view.next = Some(query),
            Err(_) => {}
        }
        Ok(())
    }

    pub(super) async fn drop_view(&mut self) -> Sim<()> {
        let free = |v: &&View| !self.objects.is_read(&v.name);
        let free: Vec<String> = self.objects.views.iter().filter(free).map(|v| v.name.clone()).collect();
        if free.is_empty() {
            return Ok(());
        }
        let name = self.random.pick(&free).clone();
        let done = self.declare(&format!("DROP MATERIALIZED VIEW {name}")).await?;
        match &done {
            Ok(()) => self.objects.views.retain(|v| v.name != name),
            Err(e) if is_uncertain(e) => {
                self.objects.views.iter_mut().filter(|v| v.name == name).for_each(|v| v.certain = Certain::Unknown);
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Views that are made or replaced from now on look rows up in it.
    pub(super) async fn create_index(&mut self) -> Sim<()> {
        if self.objects.indexes.len() >= MOST_INDEXES {
            return Ok(());
        }
        let sources = self.objects.sources(&STREAMS);
        let on = self.random.pick(&sources).clone();
        let name = self.objects.name('i');
        // Some hold less than a view may want of it, some are by more columns than joins have.
        let columns = *self.random.pick(&["(k)", "(k)", "(k)", "(k) INCLUDE (v)", "(v, k)"]);
        let done = self.declare(&format!("CREATE INDEX {name} ON {} {columns}", on.name)).await?;
        if let Some(certain) = made(&done) {
            self.objects.indexes.push(Index { name, on: on.name, certain });
        }
        Ok(())
    }

    /// Refused while a view uses it.
    pub(super) async fn drop_index(&mut self) -> Sim<()> {
        if self.objects.indexes.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.objects.indexes.len());
        let done = self.declare(&format!("DROP INDEX {}", self.objects.indexes[at].name)).await?;
        match &done {
            Ok(()) => drop(self.objects.indexes.remove(at)),
            Err(e) if is_uncertain(e) => self.objects.indexes[at].certain = Certain::Unknown,
            Err(_) => {}
        }
        Ok(())
    }

    pub(super) async fn create_sink(&mut self) -> Sim<()> {
        if self.objects.views.is_empty() || self.objects.sinks.len() >= 3 {
            return Ok(());
        }
        let at = self.random.below(self.objects.views.len());
        let view = self.objects.views[at].name.clone();
        let name = self.objects.name('x');
        let into = format!("{name}_out");
        let sql = format!("CREATE SINK {name} FROM {view} INTO {into} WITH (format = 'json', mode = 'changes')");
        let done = self.declare(&sql).await?;
        if let Some(certain) = made(&done) {
            self.objects.sinks.push(Sink { name, view, into, certain });
        }
        Ok(())
    }

    pub(super) async fn drop_sink(&mut self) -> Sim<()> {
        if self.objects.sinks.is_empty() {
            return Ok(());
        }
        let at = self.random.below(self.objects.sinks.len());
        let name = self.objects.sinks[at].name.clone();
        let done = self.declare(&format!("DROP SINK {name}")).await?;
        match &done {
            Ok(()) => drop(self.objects.sinks.remove(at)),
            Err(e) if is_uncertain(e) => self.objects.sinks[at].certain = Certain::Unknown,
            Err(_) => {}
        }
        Ok(())
    }
}

/// Whether an error leaves open what happened.
fn is_uncertain(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Io | ErrorKind::Unknown | ErrorKind::Retry | ErrorKind::Bug)
}

/// What is known of something after it was to be made; `None` when it surely was not.
fn made(done: &Result<(), Error>) -> Option<Certain> {
    match done {
        Ok(()) => Some(Certain::There),
        Err(e) => is_uncertain(e).then_some(Certain::Unknown),
    }
}
