//! Rows as bytes in the order of an ORDER BY, ties broken by the whole row: the same in every run and on every shard.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use fleuve_types::{Error, Result};

use super::evaluate;
use crate::state::RowCodec;

/// One expression of an ORDER BY.
#[derive(Clone)]
pub(crate) struct SortKey {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) options: SortOptions,
}

impl std::fmt::Display for SortKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = if self.options.descending { "DESC" } else { "ASC" };
        let nulls = if self.options.nulls_first { "NULLS FIRST" } else { "NULLS LAST" };
        write!(f, "{} {direction} {nulls}", self.expr)
    }
}

/// Rows of a schema <-> bytes: the values of the sort keys, then the columns that are not among them, then the length of the
/// former as four bytes.
pub(crate) struct SortedRows {
    pub(crate) keys: Vec<SortKey>,
    order: RowCodec,
    rest: RowCodec,
    /// By column of the schema: where its values are.
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
enum Place {
    Order(usize),
    Rest(usize),
}

/// Bytes of the length at the end of a row.
const LENGTH: usize = 4;

impl SortedRows {
    pub(crate) fn new(keys: Vec<SortKey>, schema: &SchemaRef) -> Result<Self> {
        let types = keys
            .iter()
            .map(|k| k.expr.data_type(schema).map_err(|e| Error::bug(e.to_string())))
            .collect::<Result<_>>()?;
        let options: Vec<SortOptions> = keys.iter().map(|k| k.options).collect();
        let mut rest = vec![];
        let places = (0..schema.fields().len())
            .map(|column| {
                let is_it = |k: &SortKey| k.expr.downcast_ref::<Column>().is_some_and(|c| c.index() == column);
                match keys.iter().position(is_it) {
                    Some(at) => Place::Order(at),
                    None => {
                        rest.push(schema.field(column).data_type().clone());
                        Place::Rest(rest.len() - 1)
                    }
                }
            })
            .collect();
        Ok(Self { keys, order: RowCodec::sorted(types, &options)?, rest: RowCodec::new(rest)?, places })
    }

    /// Rows to bytes.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Encoded> {
        let keys = self.keys.iter().map(|k| evaluate(&k.expr, batch)).collect::<Result<Vec<_>>>()?;
        let order = self.order.encode(&keys)?;
        let columns = self.places.iter().zip(batch.columns());
        let rest: Vec<ArrayRef> =
            columns.filter(|(p, _)| matches!(p, Place::Rest(_))).map(|(_, c)| c.clone()).collect();
        let rest = self.rest.encode(&rest)?;
        let mut out = Encoded { bytes: vec![], ends: Vec::with_capacity(batch.num_rows()) };
        for i in 0..batch.num_rows() {
            let length = order.row(i).len() as u32;
            out.bytes.extend_from_slice(order.row(i));
            out.bytes.extend_from_slice(rest.row(i));
            out.bytes.extend_from_slice(&length.to_be_bytes());
            out.ends.push(out.bytes.len());
        }
        Ok(out)
    }

    /// The order bytes of the first sort key's value that is `distance` after (or before) that of `row`; NULL has none around
    /// it. `None`: there is no such value.
    pub(crate) fn moved(&self, row: &[u8], distance: &ScalarValue, after: bool) -> Result<Option<Vec<u8>>> {
        let bug = |e: datafusion::error::DataFusionError| Error::bug(format!("a sort key: {e}"));
        let (Some(key), Some(column)) = (self.keys.first(), self.order.decode(std::iter::once(order_of(row)))?.pop())
        else {
            return Ok(None);
        };
        let value = ScalarValue::try_from_array(&column, 0).map_err(bug)?;
        if value.is_null() {
            return Ok(Some(order_of(row).to_vec()));
        }
        let moved =
            if after == key.options.descending { value.sub_checked(distance) } else { value.add_checked(distance) };
        match moved {
            Ok(moved) if moved.data_type() == value.data_type() => {
                let column = moved.to_array().map_err(bug)?;
                Ok(Some(self.order.encode(&[column])?.row(0).to_vec()))
            }
            _ => Ok(None),
        }
    }

    /// Bytes to the columns of the schema.
    pub(crate) fn decode(&self, rows: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let order = self.order.decode(rows.iter().map(|r| order_of(r)))?;
        let rest = self.rest.decode(rows.iter().map(|r| &r[order_of(r).len()..r.len() - LENGTH]))?;
        let column = |p: &Place| match p {
            Place::Order(at) => order[*at].clone(),
            Place::Rest(at) => rest[*at].clone(),
        };
        Ok(self.places.iter().map(column).collect())
    }
}

/// The part of a row's bytes that says its place; rows that are equal in it are peers.
pub(crate) fn order_of(row: &[u8]) -> &[u8] {
    let Some((rest, length)) = row.split_last_chunk::<LENGTH>() else { return &[] };
    &rest[..u32::from_be_bytes(*length) as usize]
}

/// What [`SortedRows::encode`] gave.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Encoded {
    /// The bytes of a row.
    pub(crate) fn row(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }
}
