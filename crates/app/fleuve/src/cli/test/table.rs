//! Tables in comments: what a query is to give.

use std::ops::Range;

use crate::cli::render::{Column, width};

/// A table as a file has it: its columns and rows; NULL is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// What a comment line is to a table.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// A row, or the header.
    Row(Vec<Option<String>>),
    /// Something that only a reader sees: a rule, the number of rows.
    Decoration,
    /// Not of a table.
    Other,
}

/// Reads a comment, without its dashes.
pub fn line(text: &str) -> Line {
    let text = text.trim();
    let rule = |c: char| "┌─┬┐├┼┤└┴┘╞═╪╡+-|: ".contains(c);
    let number = text.trim_start_matches('(').trim_end_matches(')').split_once(' ');
    let count = number.is_some_and(|(n, word)| n.parse::<usize>().is_ok() && matches!(word, "row" | "rows"));
    if count || (text.len() > 1 && text.chars().all(rule) && text.contains(['─', '-', '═'])) {
        return Line::Decoration;
    }
    match text.chars().next() {
        Some(bar @ ('|' | '│')) => Line::Row(cells(&text[bar.len_utf8()..], bar)),
        _ => Line::Other,
    }
}

/// The cells of a row. A value in single quotes may hold bars, blanks at its ends, and `\n`, `\t`, `\\`.
fn cells(text: &str, bar: char) -> Vec<Option<String>> {
    let (mut out, mut cell, mut quoted) = (vec![], String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                cell.push(c);
                cell.extend(chars.next());
            }
            '\'' if quoted || cell.trim().is_empty() => {
                quoted = !quoted;
                cell.push(c);
            }
            c if c == bar && !quoted => out.push(value(std::mem::take(&mut cell).trim())),
            c => cell.push(c),
        }
    }
    if !cell.trim().is_empty() {
        out.push(value(cell.trim()));
    }
    out
}

fn value(text: &str) -> Option<String> {
    if text == "NULL" {
        return None;
    }
    let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\'')).filter(|_| text.len() > 1);
    let Some(inner) = inner else { return Some(text.to_string()) };
    let (mut out, mut chars) = (String::new(), inner.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// A value as a cell has it: in quotes where it would be read as something else.
pub fn cell(value: Option<&String>) -> String {
    let Some(text) = value else { return "NULL".into() };
    let plain = !text.is_empty()
        && text.trim() == text
        && text != "NULL"
        && !text.contains(|c: char| c.is_control() || matches!(c, '|' | '│' | '\'' | '\\'));
    if plain {
        return text.clone();
    }
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\'', "\\'");
    format!("'{escaped}'")
}

/// A table as comment lines.
pub fn written(columns: &[Column], rows: &[Vec<Option<String>>]) -> Vec<String> {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| cell(Some(&c.name))).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|v| cell(v.as_ref())).collect::<Vec<_>>()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|n| lines.iter().map(|l| width(&l[n])).max().unwrap_or(0)).collect();
    let padded = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).zip(columns).map(|((text, wide), column)| {
            let pad = " ".repeat(wide - width(text));
            if column.is_number() { pad + text } else { text.clone() + &pad }
        });
        format!("-- | {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    lines.iter().map(padded).collect()
}

/// Where lines stand in a file, counted from 0.
pub type Place = Range<usize>;
