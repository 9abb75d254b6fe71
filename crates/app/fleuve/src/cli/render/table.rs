//! Tables for terminals: borders, numbers on the right, NULL dimmed, no wider than the screen.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Rows, plain};
use crate::cli::term::Paint;

/// A column is never made narrower than this to fit the screen.
const MIN_COLUMN_WIDTH: usize = 6;

/// How a table is drawn.
#[derive(Clone, Copy, Debug)]
pub struct TableStyle {
    pub paint: Paint,
    /// The screen's columns; `None` when the width does not matter.
    pub max_width: Option<usize>,
}

/// A cell's lines, ready to be padded.
struct Cell {
    lines: Vec<String>,
    null: bool,
}

impl Cell {
    fn new(value: Option<String>) -> Self {
        match value {
            None => Cell { lines: vec!["NULL".into()], null: true },
            Some(text) => Cell { lines: text.split('\n').map(printable).collect(), null: false },
        }
    }

    fn width(&self) -> usize {
        self.lines.iter().map(|l| width(l)).max().unwrap_or(0)
    }
}

/// How many columns of the screen a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Data must not steer the terminal.
pub(super) fn printable(line: &str) -> String {
    match line.contains(|c: char| c.is_control()) {
        false => line.to_string(),
        true => line.replace('\t', "    ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
    }
}

/// The text in exactly `columns` columns of the screen, cut with `…` if it is longer.
pub fn fit(text: &str, columns: usize, right: bool) -> String {
    let wide = width(text);
    if wide <= columns {
        let pad = " ".repeat(columns - wide);
        return if right { pad + text } else { text.to_string() + &pad };
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > columns {
            break;
        }
        cut.push(c);
        used += w;
    }
    cut.push('…');
    cut + &" ".repeat(columns.saturating_sub(used + 1))
}

/// The table. `marked` are the rows to highlight; empty for none.
pub fn table(rows: &Rows, marked: &[bool], style: TableStyle) -> String {
    let paint = style.paint;
    let cells: Vec<Vec<Cell>> = rows.rows.iter().map(|r| r.iter().map(|v| Cell::new(plain(v))).collect()).collect();
    let names: Vec<String> = rows.columns.iter().map(|c| printable(&c.name.replace('\n', " "))).collect();
    let mut widths: Vec<usize> = names.iter().map(|n| width(n)).collect();
    for row in &cells {
        for (at, cell) in row.iter().enumerate().take(widths.len()) {
            widths[at] = widths[at].max(cell.width());
        }
    }
    if let Some(max) = style.max_width {
        narrow(&mut widths, max);
    }
    let right: Vec<bool> = rows.columns.iter().map(super::Column::is_number).collect();
    let rule = |left: &str, middle: &str, end: &str| {
        let bars: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
        paint.dim(&format!("{left}{}{end}", bars.join(middle)))
    };
    let bar = paint.dim("│");
    let mut out = rule("┌", "┬", "┐") + "\n";
    for (name, (w, r)) in names.iter().zip(widths.iter().zip(&right)) {
        out.push_str(&format!("{bar} {} ", paint.bold(&fit(name, *w, *r))));
    }
    out.push_str(&format!("{bar}\n{}\n", rule("├", "┼", "┤")));
    for (index, row) in cells.iter().enumerate() {
        let mark = marked.get(index).copied().unwrap_or(false);
        let height = row.iter().map(|c| c.lines.len()).max().unwrap_or(1);
        for line in 0..height {
            for (at, cell) in row.iter().enumerate().take(widths.len()) {
                let text = cell.lines.get(line).map_or("", String::as_str);
                let text = fit(text, widths[at], right[at]);
                let text = match (mark, cell.null) {
                    (true, _) => paint.changed(&text),
                    (false, true) => paint.dim(&text),
                    (false, false) => text,
                };
                out.push_str(&format!("{bar} {text} "));
            }
            out.push_str(&format!("{bar}\n"));
        }
    }
    out + &rule("└", "┴", "┘") + "\n"
}

/// Takes width from the widest columns until the table fits, or nothing more can be taken.
fn narrow(widths: &mut [usize], max: usize) {
    let borders = widths.len() * 3 + 1;
    while widths.iter().sum::<usize>() + borders > max {
        let Some((at, widest)) = widths.iter().copied().enumerate().max_by_key(|(_, w)| *w) else { return };
        if widest <= MIN_COLUMN_WIDTH {
            return;
        }
        let over = widths.iter().sum::<usize>() + borders - max;
        let second = widths.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, w)| *w).max().unwrap_or(0);
        let target = (widest - over.min(widest)).max(second.min(widest - 1)).max(MIN_COLUMN_WIDTH);
        widths[at] = target.min(widest - 1);
    }
}

/// One line per column, for rows that are too wide (`\x`).
pub fn expanded(rows: &Rows, paint: Paint) -> String {
    let names: Vec<String> = rows.columns.iter().map(|c| printable(&c.name.replace('\n', " "))).collect();
    let name_width = names.iter().map(|n| width(n)).max().unwrap_or(0);
    let mut out = String::new();
    for (index, row) in rows.rows.iter().enumerate() {
        out.push_str(&paint.dim(&format!("─── row {} ───", index + 1)));
        out.push('\n');
        for (name, value) in names.iter().zip(row) {
            let cell = Cell::new(plain(value));
            for (i, line) in cell.lines.iter().enumerate() {
                let name = if i == 0 { name.as_str() } else { "" };
                let line = if cell.null { paint.dim(line) } else { line.clone() };
                out.push_str(&format!("{} {} {line}\n", paint.bold(&fit(name, name_width, false)), paint.dim("│")));
            }
        }
    }
    out
}
