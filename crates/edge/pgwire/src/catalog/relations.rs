//! The platform's objects as PostgreSQL's relations.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::datatypes::SchemaRef;
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;
use fleuve_sql::{Backend, Spec};

/// `pg_catalog` has this id in every PostgreSQL, and the constant rows (`pg_type.typnamespace`) point to it.
pub(crate) const PG_CATALOG_OID: i32 = 11;
/// `public` too.
const PUBLIC_OID: i32 = 2200;
const INFORMATION_SCHEMA_OID: i32 = 13_000;
/// Ids below belong to PostgreSQL itself.
const FIRST_USER_OID: u32 = 16_384;

/// `relkind`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    View,
}

impl Kind {
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Table => "r",
            Self::View => "v",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Relation {
    pub(crate) oid: i32,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// `None` for the tables of `pg_catalog`, whose columns nobody asks for here.
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) comment: Option<String>,
    /// `(column, comment)`
    pub(crate) column_comments: Vec<(String, String)>,
    /// A view's query.
    pub(crate) definition: Option<String>,
}

/// All relations at one moment.
pub(crate) struct Relations {
    /// In the order of their names.
    pub(crate) all: Vec<Relation>,
    /// `name -> oid`
    pub(crate) namespaces: BTreeMap<String, i32>,
}

impl Relations {
    pub(crate) fn new(backend: &dyn Backend) -> Self {
        let snapshot = backend.snapshot();
        let objects = backend.objects();
        let mut oids = Oids::default();
        let mut namespaces = BTreeMap::from([
            ("pg_catalog".to_string(), PG_CATALOG_OID),
            ("public".to_string(), PUBLIC_OID),
            ("information_schema".to_string(), INFORMATION_SCHEMA_OID),
        ]);
        let mut all = Vec::new();
        let names: BTreeSet<String> = snapshot.namespaces().into_iter().collect();
        for namespace in &names {
            namespaces.entry(namespace.clone()).or_insert_with(|| oids.take(namespace));
            for name in snapshot.names(namespace) {
                let Some(provider) = snapshot.table(namespace, &name) else { continue };
                let mut relation = Relation {
                    oid: 0,
                    namespace: namespace.clone(),
                    name: name.clone(),
                    kind: Kind::Table,
                    schema: None,
                    comment: None,
                    column_comments: Vec::new(),
                    definition: None,
                };
                if let Some(bound) = objects.get(namespace, &name) {
                    relation.oid = oids.take(&bound.object.id.to_bytes());
                    relation.comment.clone_from(&bound.object.comment);
                    relation.column_comments.clone_from(&bound.object.column_comments);
                    match &bound.spec {
                        // The pseudo-columns are there to be named, not to be listed.
                        Spec::Stream(stream) => relation.schema = Some(stream.schema.clone()),
                        Spec::View(view) => {
                            relation.kind = Kind::View;
                            relation.schema = Some(view.schema.clone());
                            relation.definition = Some(view.query.clone());
                        }
                        Spec::Source(_) | Spec::Sink(_) | Spec::Index(_) => continue,
                    }
                } else {
                    relation.oid = oids.take(&(namespace, &name));
                    relation.schema = Some(provider.schema());
                }
                all.push(relation);
            }
        }
        for (i, name) in PG_CATALOG_TABLES.iter().enumerate() {
            all.push(Relation {
                oid: well_known(name).unwrap_or(12_000 + i as i32),
                namespace: "pg_catalog".to_string(),
                name: (*name).to_string(),
                kind: Kind::Table,
                schema: None,
                comment: None,
                column_comments: Vec::new(),
                definition: None,
            });
        }
        Self { all, namespaces }
    }

    pub(crate) fn namespace_oid(&self, relation: &Relation) -> i32 {
        self.namespaces.get(&relation.namespace).copied().unwrap_or(0)
    }

    pub(crate) fn by_oid(&self, oid: i32) -> Option<&Relation> {
        self.all.iter().find(|r| r.oid == oid)
    }

    /// The relation of a name as SQL writes it: `name` or `namespace.name`.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Relation> {
        let parts: Vec<String> = name.split('.').map(fold).collect();
        let find = |namespace: &str, name: &str| self.all.iter().find(|r| r.namespace == namespace && r.name == name);
        match parts.as_slice() {
            [name] => find("public", name).or_else(|| find("pg_catalog", name)),
            [namespace, name] | [_, namespace, name] => find(namespace, name),
            _ => None,
        }
    }
}

fn fold(part: &str) -> String {
    match part.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
        Some(quoted) => quoted.to_string(),
        None => part.to_lowercase(),
    }
}

/// Ids that clients have written down: `pg_description.classoid` is compared with them.
fn well_known(name: &str) -> Option<i32> {
    Some(match name {
        "pg_type" => 1247,
        "pg_attribute" => 1249,
        "pg_proc" => 1255,
        "pg_class" => 1259,
        "pg_constraint" => 2606,
        "pg_namespace" => 2615,
        "pg_database" => 1262,
        _ => return None,
    })
}

/// Gives every name an id from its hash, and the next free one if two names meet.
#[derive(Default)]
struct Oids {
    taken: BTreeSet<u32>,
}

impl Oids {
    fn take(&mut self, of: &impl Hash) -> i32 {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        let span = i32::MAX as u32 - FIRST_USER_OID;
        let mut oid = FIRST_USER_OID + (hasher.finish() % u64::from(span)) as u32;
        while !self.taken.insert(oid) {
            oid = if oid == i32::MAX as u32 { FIRST_USER_OID } else { oid + 1 };
        }
        oid as i32
    }
}
