//! Rows as text and bytes. Pure.

mod cell;
mod csv;
mod ipc;
mod json;

pub(crate) use csv::Csv;
pub(crate) use ipc::Ipc;
pub(crate) use json::{Fits, Lines, columns_json, object_row, objects, push_string, rows_json};

#[cfg(test)]
mod tests;
