//! `fleuve status`: the server's own report, whatever it holds, as tables.

use std::process::ExitCode;

use fleuve_types::{Error, Result};
use serde_json::{Map, Value};

use super::args::StatusArgs;
use super::http::{JSON, Server};
use super::render::{Column, Rows, TableStyle, table};
use super::term::{self, Out, Paint};

/// `fleuve status`
pub async fn run(args: StatusArgs) -> Result<ExitCode> {
    let server = Server::find(&args.server);
    let status = server.get("/v1/status", JSON).await?.json().await?;
    let mut out = Out::new();
    if args.json {
        let text = serde_json::to_string_pretty(&status).map_err(|e| Error::bug(e.to_string()))?;
        out.line(&text)?;
    } else {
        print(&server, &status, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Long and for programs; `--json` has them.
const LEFT_OUT: [&str; 3] = ["id", "inputs", "sql"];

fn print(server: &Server, status: &Value, out: &mut Out) -> Result<()> {
    let paint = Paint::stdout();
    let Some(fields) = status.as_object() else { return out.line(&status.to_string()) };
    out.line(&format!("{} at {}", paint.bold("fleuve"), server.url()))?;
    let (tables, scalars): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, v)| v.is_array());
    let mut flat = Vec::new();
    for (name, value) in scalars {
        flatten(name, value, &mut flat);
    }
    let flat: Vec<(&str, &Value)> = flat.iter().map(|(n, v)| (n.strip_prefix("server.").unwrap_or(n), v)).collect();
    let width = flat.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in flat {
        out.line(&format!("  {name:<width$}  {}", shown(name, value)))?;
    }
    for (name, value) in tables {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            out.line(&format!("\n{}: {}", paint.bold(name), paint.dim("none")))?;
            continue;
        }
        out.line(&format!("\n{}", paint.bold(name)))?;
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        let style = TableStyle { paint, max_width: terminal.then(|| term::size().0) };
        out.bytes(table(&rows(items), &[], style).as_bytes())?;
    }
    Ok(())
}

/// Objects within objects as `outer.inner`, lists of named addresses as their names.
fn flatten(name: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(inner) => inner.iter().for_each(|(key, v)| flatten(&format!("{name}.{key}"), v, into)),
        Value::Array(items) if items.iter().all(|i| i["name"].is_string() && i["address"].is_string()) => {
            for item in items {
                flatten(&format!("{name}.{}", item["name"].as_str().unwrap_or_default()), &item["address"], into);
            }
        }
        _ => into.push((name.to_string(), value.clone())),
    }
}

/// Sizes in bytes are shown in a unit that one can read.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) if name.ends_with("_bytes") || name == "bytes" => {
            n.as_u64().map_or_else(|| n.to_string(), bytes)
        }
        Value::Number(n) if n.is_f64() => format!("{:.2}", n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = n as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{n} B"),
        _ => format!("{size:.1} {}", UNITS[unit]),
    }
}

/// A list of objects as a table; its columns in the order of their first appearance, the name first.
fn rows(items: &[Value]) -> Rows {
    let empty = Map::new();
    let flat: Vec<Vec<(String, Value)>> = items
        .iter()
        .map(|item| {
            let mut fields = Vec::new();
            item.as_object().unwrap_or(&empty).iter().for_each(|(key, value)| flatten(key, value, &mut fields));
            fields
        })
        .collect();
    let mut names: Vec<String> = Vec::new();
    for (name, _) in flat.iter().flatten() {
        if !names.contains(name) && !LEFT_OUT.contains(&name.as_str()) {
            names.push(name.clone());
        }
    }
    names.sort_by_key(|n| (n != "name", n != "namespace"));
    let value = |row: &[(String, Value)], name: &str| {
        row.iter().find(|(n, _)| n == name).map_or(Value::Null, |(_, v)| v.clone())
    };
    let is_number = |name: &str| flat.iter().all(|row| matches!(value(row, name), Value::Number(_) | Value::Null));
    let columns = names
        .iter()
        .map(|n| Column { name: n.clone(), sql_type: if is_number(n) { "BIGINT" } else { "TEXT" }.into() })
        .collect();
    let rows = flat
        .iter()
        .map(|row| {
            let cell = |name: &String| match value(row, name) {
                Value::Null => Value::Null,
                v => Value::String(shown(name, &v)),
            };
            names.iter().map(cell).collect()
        })
        .collect();
    Rows { columns, rows }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_objects_becomes_a_table_with_the_name_first() {
        let items =
            [json!({"kind": "view", "name": "v", "state_bytes": 2048}), json!({"name": "s", "lag": {"records": 3}})];
        let rows = rows(&items);
        let names: Vec<&str> = rows.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names[0], "name");
        assert!(names.contains(&"lag.records") && !names.contains(&"id"));
        let size = names.iter().position(|n| *n == "state_bytes").unwrap();
        assert_eq!(rows.rows[0][size], json!("2.0 KiB"));
        assert_eq!(rows.rows[1][size], Value::Null);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
