//! The tables of `pg_catalog` that change with the platform's objects. Columns are those of PostgreSQL 16.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::error::Result;

use super::relations::{Kind, Relation, Relations};
use super::{DATABASE, OWNER};
use crate::settings::Settings;
use crate::types;

/// The id of [`OWNER`] (PostgreSQL's bootstrap user).
pub(crate) const OWNER_OID: i32 = 10;
const DATABASE_OID: i32 = 5;
const UTF8_ENCODING: i32 = 6;
const PG_CLASS_OID: i32 = 1259;

/// True for a table that [`table`] makes.
pub(crate) fn exists(name: &str) -> bool {
    matches!(
        name,
        "pg_namespace"
            | "pg_class"
            | "pg_attribute"
            | "pg_database"
            | "pg_description"
            | "pg_views"
            | "pg_tables"
            | "pg_roles"
            | "pg_authid"
            | "pg_user"
            | "pg_settings"
    )
}

/// A table of `pg_catalog` as it is now, or `None` if it does not depend on the platform.
pub(crate) fn table(name: &str, relations: &Relations, settings: &Settings) -> Result<Option<Arc<dyn TableProvider>>> {
    let table = match name {
        "pg_namespace" => pg_namespace(relations),
        "pg_class" => pg_class(relations),
        "pg_attribute" => pg_attribute(relations),
        "pg_database" => pg_database(),
        "pg_description" => pg_description(relations),
        "pg_views" => pg_views(relations),
        "pg_tables" => pg_tables(relations),
        "pg_roles" | "pg_authid" => pg_roles(),
        "pg_user" => pg_user(),
        "pg_settings" => pg_settings(settings),
        _ => return Ok(None),
    };
    table.finish().map(Some)
}

/// A table of so many rows, made column by column.
struct Table {
    rows: usize,
    columns: Vec<(&'static str, ArrayRef)>,
}

impl Table {
    fn of(rows: usize) -> Self {
        Self { rows, columns: Vec::new() }
    }

    fn ints(mut self, name: &'static str, values: impl IntoIterator<Item = i32>) -> Self {
        self.columns.push((name, Arc::new(Int32Array::from_iter_values(values))));
        self
    }

    fn shorts(mut self, name: &'static str, values: impl IntoIterator<Item = i16>) -> Self {
        self.columns.push((name, Arc::new(Int16Array::from_iter_values(values))));
        self
    }

    fn bools(mut self, name: &'static str, values: impl IntoIterator<Item = bool>) -> Self {
        self.columns.push((name, Arc::new(BooleanArray::from_iter(values.into_iter().map(Some)))));
        self
    }

    fn texts<S: AsRef<str>>(mut self, name: &'static str, values: impl IntoIterator<Item = Option<S>>) -> Self {
        self.columns.push((name, Arc::new(StringArray::from_iter(values))));
        self
    }

    fn int(self, name: &'static str, value: i32) -> Self {
        let n = self.rows;
        self.ints(name, std::iter::repeat_n(value, n))
    }

    fn short(self, name: &'static str, value: i16) -> Self {
        let n = self.rows;
        self.shorts(name, std::iter::repeat_n(value, n))
    }

    fn bool(self, name: &'static str, value: bool) -> Self {
        let n = self.rows;
        self.bools(name, std::iter::repeat_n(value, n))
    }

    fn text(self, name: &'static str, value: &'static str) -> Self {
        let n = self.rows;
        self.texts(name, std::iter::repeat_n(Some(value), n))
    }

    fn null(self, name: &'static str) -> Self {
        let n = self.rows;
        self.texts(name, std::iter::repeat_n(None::<&str>, n))
    }

    /// Lists of texts, all NULL.
    fn no_list(mut self, name: &'static str) -> Self {
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        self.columns.push((name, new_null_array(&list, self.rows)));
        self
    }

    fn real(mut self, name: &'static str, value: f32) -> Self {
        self.columns.push((name, Arc::new(Float32Array::from_value(value, self.rows))));
        self
    }

    fn finish(self) -> Result<Arc<dyn TableProvider>> {
        let fields: Vec<Field> =
            self.columns.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), self.columns.into_iter().map(|(_, a)| a).collect())?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

fn pg_namespace(relations: &Relations) -> Table {
    let all = &relations.namespaces;
    Table::of(all.len())
        .ints("oid", all.values().copied())
        .texts("nspname", all.keys().map(Some))
        .int("nspowner", OWNER_OID)
        .no_list("nspacl")
}

fn pg_class(relations: &Relations) -> Table {
    let all = &relations.all;
    let each = |f: fn(&Relation) -> i32| all.iter().map(f);
    Table::of(all.len())
        .ints("oid", each(|r| r.oid))
        .texts("relname", all.iter().map(|r| Some(&r.name)))
        .ints("relnamespace", all.iter().map(|r| relations.namespace_oid(r)))
        .int("reltype", 0)
        .int("reloftype", 0)
        .int("relowner", OWNER_OID)
        .ints("relam", each(|r| if r.kind == Kind::Table { 2 } else { 0 })) // heap
        .ints("relfilenode", each(|r| r.oid))
        .int("reltablespace", 0)
        .int("relpages", 0)
        .real("reltuples", -1.0) // never counted
        .int("relallvisible", 0)
        .int("reltoastrelid", 0)
        .bool("relhasindex", false)
        .bool("relisshared", false)
        .text("relpersistence", "p")
        .texts("relkind", all.iter().map(|r| Some(r.kind.letter())))
        .shorts("relnatts", all.iter().map(|r| r.schema.as_ref().map_or(0, |s| s.fields().len() as i16)))
        .short("relchecks", 0)
        .bools("relhasrules", all.iter().map(|r| r.kind == Kind::View))
        .bool("relhastriggers", false)
        .bool("relhassubclass", false)
        .bool("relrowsecurity", false)
        .bool("relforcerowsecurity", false)
        .bool("relispopulated", true)
        .text("relreplident", "n")
        .bool("relispartition", false)
        .int("relrewrite", 0)
        .int("relfrozenxid", 0)
        .int("relminmxid", 0)
        .no_list("relacl")
        .no_list("reloptions")
        .null("relpartbound")
}

fn pg_attribute(relations: &Relations) -> Table {
    let columns: Vec<(&Relation, usize, &Field)> = relations
        .all
        .iter()
        .filter_map(|r| r.schema.as_ref().map(|s| (r, s)))
        .flat_map(|(r, s)| s.fields().iter().enumerate().map(move |(i, f)| (r, i, f.as_ref())))
        .collect();
    let type_oid = |f: &Field| types::type_oid(f.data_type());
    Table::of(columns.len())
        .ints("attrelid", columns.iter().map(|(r, _, _)| r.oid))
        .texts("attname", columns.iter().map(|(_, _, f)| Some(f.name())))
        .ints("atttypid", columns.iter().map(|(_, _, f)| type_oid(f) as i32))
        .int("attstattarget", -1)
        .shorts("attlen", columns.iter().map(|(_, _, f)| types::type_len(type_oid(f))))
        .shorts("attnum", columns.iter().map(|(_, i, _)| *i as i16 + 1))
        .ints("attndims", columns.iter().map(|(_, _, f)| i32::from(types::element_of(type_oid(f)).is_some())))
        .int("attcacheoff", -1)
        .ints("atttypmod", columns.iter().map(|(_, _, f)| types::type_mod(f.data_type())))
        .bools("attbyval", columns.iter().map(|(_, _, f)| (1..=8).contains(&types::type_len(type_oid(f)))))
        .text("attalign", "i")
        .text("attstorage", "p")
        .text("attcompression", "")
        .bools("attnotnull", columns.iter().map(|(_, _, f)| !f.is_nullable()))
        .bool("atthasdef", false)
        .bool("atthasmissing", false)
        .text("attidentity", "")
        .text("attgenerated", "")
        .bool("attisdropped", false)
        .bool("attislocal", true)
        .int("attinhcount", 0)
        .int("attcollation", 0)
        .no_list("attacl")
        .no_list("attoptions")
        .no_list("attfdwoptions")
        .null("attmissingval")
}

fn pg_database() -> Table {
    Table::of(1)
        .int("oid", DATABASE_OID)
        .text("datname", DATABASE)
        .int("datdba", OWNER_OID)
        .int("encoding", UTF8_ENCODING)
        .text("datlocprovider", "c")
        .bool("datistemplate", false)
        .bool("datallowconn", true)
        .int("datconnlimit", -1)
        .int("datfrozenxid", 0)
        .int("datminmxid", 0)
        .int("dattablespace", 1663)
        .text("datcollate", "C")
        .text("datctype", "C.UTF-8")
        .null("daticulocale")
        .null("daticurules")
        .null("datcollversion")
        .no_list("datacl")
}

fn pg_description(relations: &Relations) -> Table {
    let mut rows: Vec<(i32, i32, &str)> = Vec::new();
    for r in &relations.all {
        rows.extend(r.comment.as_ref().map(|c| (r.oid, 0, c.as_str())));
        let Some(schema) = &r.schema else { continue };
        for (column, comment) in &r.column_comments {
            if let Ok(i) = schema.index_of(column) {
                rows.push((r.oid, i as i32 + 1, comment));
            }
        }
    }
    Table::of(rows.len())
        .ints("objoid", rows.iter().map(|r| r.0))
        .int("classoid", PG_CLASS_OID)
        .ints("objsubid", rows.iter().map(|r| r.1))
        .texts("description", rows.iter().map(|r| Some(r.2)))
}

fn pg_views(relations: &Relations) -> Table {
    let views: Vec<&Relation> = relations.all.iter().filter(|r| r.kind == Kind::View).collect();
    Table::of(views.len())
        .texts("schemaname", views.iter().map(|r| Some(&r.namespace)))
        .texts("viewname", views.iter().map(|r| Some(&r.name)))
        .text("viewowner", OWNER)
        .texts("definition", views.iter().map(|r| r.definition.as_ref()))
}

fn pg_tables(relations: &Relations) -> Table {
    let tables: Vec<&Relation> = relations.all.iter().filter(|r| r.kind == Kind::Table).collect();
    Table::of(tables.len())
        .texts("schemaname", tables.iter().map(|r| Some(&r.namespace)))
        .texts("tablename", tables.iter().map(|r| Some(&r.name)))
        .text("tableowner", OWNER)
        .null("tablespace")
        .bool("hasindexes", false)
        .bool("hasrules", false)
        .bool("hastriggers", false)
        .bool("rowsecurity", false)
}

fn pg_roles() -> Table {
    Table::of(1)
        .int("oid", OWNER_OID)
        .text("rolname", OWNER)
        .bool("rolsuper", true)
        .bool("rolinherit", true)
        .bool("rolcreaterole", false)
        .bool("rolcreatedb", false)
        .bool("rolcanlogin", true)
        .bool("rolreplication", false)
        .int("rolconnlimit", -1)
        .null("rolpassword")
        .null("rolvaliduntil")
        .bool("rolbypassrls", false)
        .no_list("rolconfig")
}

fn pg_user() -> Table {
    Table::of(1)
        .text("usename", OWNER)
        .int("usesysid", OWNER_OID)
        .bool("usecreatedb", false)
        .bool("usesuper", true)
        .bool("userepl", false)
        .bool("usebypassrls", false)
        .null("passwd")
        .null("valuntil")
        .no_list("useconfig")
}

fn pg_settings(settings: &Settings) -> Table {
    let all = settings.all();
    Table::of(all.len())
        .texts("name", all.iter().map(|(n, _)| Some(n)))
        .texts("setting", all.iter().map(|(_, v)| Some(v)))
        .null("unit")
        .text("category", "Fleuve")
        .null("short_desc")
        .null("extra_desc")
        .text("context", "user")
        .text("vartype", "string")
        .text("source", "default")
        .null("min_val")
        .null("max_val")
        .null("enumvals")
        .texts("boot_val", all.iter().map(|(_, v)| Some(v)))
        .texts("reset_val", all.iter().map(|(_, v)| Some(v)))
        .null("sourcefile")
        .bool("pending_restart", false)
}
