//! The indexes of a world.

use fleuve_engine::ViewDefinition;

use super::World;

/// An index that was made, with all columns that there were then.
#[derive(Clone)]
pub(super) struct Index {
    pub(super) name: &'static str,
    pub(super) on: &'static str,
    by: &'static [&'static str],
    columns: Vec<String>,
    version: u32,
}

impl World {
    pub(super) fn index(&self, name: &str) -> &Index {
        self.indexes.iter().find(|i| i.name == name).unwrap()
    }

    pub(super) async fn index_definition(&self, index: &Index) -> ViewDefinition {
        let query = format!("SELECT {} FROM {}", index.columns.join(", "), index.on);
        let definition = self.definition(index.name, query.leak(), index.version).await;
        let place = |column: &&str| index.columns.iter().position(|c| c == column).unwrap();
        ViewDefinition { index_by: Some(index.by.iter().map(place).collect()), indexes: vec![], ..definition }
    }

    /// Makes an index; views that are made or replaced from now on may use it.
    pub async fn create_index(&mut self, name: &'static str, on: &'static str, by: &'static [&'static str]) {
        let frame = self.session(false).await.sql(&format!("SELECT * FROM {on}")).await.unwrap();
        let columns = frame.schema().fields().iter().map(|f| f.name().clone()).collect();
        let index = Index { name, on, by, columns, version: 1 };
        self.engine().create_view(self.index_definition(&index).await).await.unwrap();
        self.indexes.push(index);
    }

    /// What an index is of was replaced: it is made anew, as the server does it.
    pub async fn renew_index(&mut self, name: &str) {
        let index = Index { version: self.index(name).version + 1, ..self.index(name).clone() };
        self.engine().create_view(self.index_definition(&index).await).await.unwrap();
        *self.indexes.iter_mut().find(|i| i.name == name).unwrap() = index;
    }

    /// The indexes of a stream or view.
    pub fn indexes_of(&self, on: &str) -> Vec<&'static str> {
        self.indexes.iter().filter(|i| i.on == on).map(|i| i.name).collect()
    }
}
