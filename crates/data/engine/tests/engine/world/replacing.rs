//! Views of a world that become others.

use arrow::datatypes::Schema;
use fleuve_engine::{Below, ViewDefinition};
use fleuve_types::{Replacement, Result};

use super::{World, id};

impl World {
    /// What replacing a view would come to, and what would become of one that reads it.
    pub async fn explain_replacement_below(
        &mut self,
        (name, query): (&'static str, &'static str),
        reader: &'static str,
    ) -> Vec<Replacement> {
        let mut definitions = self.definitions_with(name, query).await;
        definitions.retain(|d| d.id == id(name) || d.id == id(reader));
        let below = [id(reader)].into();
        self.engine().explain_replacements(definitions, below).await.unwrap()
    }

    /// All definitions if `name` were made by this query.
    async fn definitions_with(&mut self, name: &'static str, query: &'static str) -> Vec<ViewDefinition> {
        let at = self.views.iter().position(|v| v.0 == name).unwrap();
        let before = std::mem::replace(&mut self.views[at].1, query);
        let definitions = self.definitions().await;
        self.views[at].1 = before;
        definitions
    }

    /// What goes on, and writes otherwise, when a view gets other columns.
    pub(super) async fn below(&mut self, name: &'static str, query: &'static str) -> Below {
        let mut below = Below::default();
        let Some((_, before, _)) = self.views.iter().find(|v| v.0 == name).copied() else { return below };
        let columns = async |query| self.session(false).await.sql(query).await.unwrap().schema().as_arrow().clone();
        let (old, new) = (columns(before).await, columns(query).await);
        let of = |schema: &Schema| -> Vec<_> {
            schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
        };
        if of(&old) != of(&new) {
            below.views = self.definitions_with(name, query).await;
            below.views.retain(|d| d.inputs.values().any(|i| *i == id(name)));
            if self.sink_on == Some(name) {
                below.sinks.push((id("sink"), Box::new(self.sink_writer())));
            }
        }
        below
    }

    /// As [`World::create`] of a view that is there, while nothing is said of those that read it.
    pub async fn create_alone(&mut self, name: &'static str, query: &'static str) {
        let version = self.views.iter().find(|v| v.0 == name).unwrap().2 + 1;
        self.replace(name, query, version, Below::default()).await.unwrap();
    }

    /// Asks for what runs, as a server does that takes a change back, or after an input was replaced.
    pub async fn create_as_it_is(&mut self, name: &'static str) {
        let (_, query, version) = *self.views.iter().find(|v| v.0 == name).unwrap();
        self.replace(name, query, version, Below::default()).await.unwrap();
    }

    pub(super) async fn replace(
        &mut self,
        name: &'static str,
        query: &'static str,
        version: u32,
        below: Below,
    ) -> Result<()> {
        let definition = self.definition(name, query, version).await;
        self.engine().replace_view(definition, below).await?;
        match self.views.iter_mut().find(|v| v.0 == name) {
            Some(view) => *view = (name, query, version),
            None => self.views.push((name, query, version)),
        }
        Ok(())
    }
}
