//! Rows as text and bytes. Pure.

mod cell;
mod csv;
mod ipc;
mod json;

pub(crate) use csv::Csv;
pub(crate) use ipc::Ipc;
pub(crate) use json::{Fits, Lines, columns_json, object_row, objects, push_string, rows_json};

/// The values of each row as texts, as CSV has them; NULL is `None`.
///
/// # Errors
/// A bug: every type can be shown.
pub fn texts(batch: &arrow::array::RecordBatch) -> fleuve_types::Result<Vec<Vec<Option<String>>>> {
    let columns = cell::cells(batch)?;
    let value = |cells: &cell::Cells, row| {
        let mut text = String::new();
        cells.write(row, cell::Form::Text, &mut text);
        (!cells.is_null(row)).then_some(text)
    };
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|cells| value(cells, row)).collect()).collect())
}

#[cfg(test)]
mod tests;
