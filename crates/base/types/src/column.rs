//! What is read of a relation's columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field};

use crate::{Error, Result};

/// A column of a relation, or some of the fields of a column that is a struct.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnPart {
    /// Its position in the relation's schema.
    pub at: usize,
    /// The positions of the struct's fields that are read, ascending and at least one; `None` is the whole column.
    pub fields: Option<Vec<usize>>,
}

impl ColumnPart {
    /// All of the column at this position.
    pub fn whole(at: usize) -> Self {
        Self { at, fields: None }
    }

    /// What both read together of the same column.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        let fields = match (self.fields, &other.fields) {
            (Some(mut fields), Some(more)) => {
                fields.extend(more);
                fields.sort_unstable();
                fields.dedup();
                Some(fields)
            }
            _ => None,
        };
        Self { at: self.at, fields }
    }

    /// The relation's field as it is read: a struct has the fields that are read only.
    pub fn field(&self, field: &Field) -> Field {
        match (&self.fields, field.data_type()) {
            (Some(wanted), DataType::Struct(fields)) => {
                let fields = wanted.iter().filter_map(|w| fields.get(*w).cloned()).collect();
                field.clone().with_data_type(DataType::Struct(fields))
            }
            _ => field.clone(),
        }
    }
}

/// A struct column without the fields that `data_type` lacks; other columns as they are.
///
/// # Errors
/// A bug: the column lacks a field of `data_type`.
pub fn narrow_struct(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let (DataType::Struct(wanted), Some(array)) = (data_type, column.as_struct_opt()) else {
        return Ok(column.clone());
    };
    if column.data_type() == data_type {
        return Ok(column.clone());
    }
    let children = wanted.iter().map(|f| {
        array
            .column_by_name(f.name())
            .cloned()
            .ok_or_else(|| Error::bug(format!("a struct lacks its field {}", f.name())))
    });
    let children = children.collect::<Result<Vec<_>>>()?;
    let fields = wanted.clone();
    let narrow = StructArray::try_new_with_length(fields, children, array.nulls().cloned(), array.len());
    narrow
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|e| Error::bug(format!("a struct does not fit its type: {e}")))
}
