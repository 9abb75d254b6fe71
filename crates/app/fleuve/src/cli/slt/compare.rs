//! Rows that were found and rows that are wanted.

use super::database::Answer;
use super::parse::{Rows, Sort};
use super::show::{Kind, decimal};

/// Floating point numbers that differ by less are the same: they depend on the order of the rows, and files round them.
const RELATIVE_TOLERANCE: f64 = 1e-8;
const ABSOLUTE_TOLERANCE: f64 = 1e-12;
/// What stands in a file for text that may be any.
const IGNORE: &str = "<slt:ignore>";
/// As many rows of a difference are shown.
const SHOWN: usize = 6;

/// How rows may be written.
#[derive(Clone, Copy)]
enum Form {
    /// A line per row, a tab between values.
    Tabs,
    /// A line per row, a space between values; the lines of a last value with several are numbered, as DataFusion's files have it.
    Spaces,
    /// A line per value.
    Values,
}

/// Compares rows; `None` if they are equal, else what to tell. `sort` overrides the record's.
pub fn difference(wanted: &Rows, found: &Answer, sort: Sort) -> Option<String> {
    if let Some(message) = wrong_columns(wanted, found) {
        return Some(message);
    }
    let expected = in_order(wanted.lines.clone(), sort);
    let same = |form: Form| {
        let lines = written(found, form, sort);
        match expected.iter().any(|line| line.contains(IGNORE)) {
            true => is_like(&lines, &expected),
            false => {
                lines.len() == expected.len() && lines.iter().zip(&expected).all(|(f, e)| f.trim_end() == e.trim_end())
            }
        }
    };
    if [Form::Tabs, Form::Spaces, Form::Values].into_iter().any(same) || close(&wanted.lines, found, sort) {
        return None;
    }
    Some(told(&expected, &written(found, Form::Tabs, sort)))
}

/// Whether lines are the wanted ones but for what `<slt:ignore>` stands for, which may be several lines.
fn is_like(lines: &[String], wanted: &[String]) -> bool {
    let whole = |lines: &[String]| lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n");
    let (found, wanted) = (whole(lines), whole(wanted));
    let pieces: Vec<&str> = wanted.split(IGNORE).collect();
    let [first, between @ .., last] = pieces.as_slice() else { return false };
    let Some(mut rest) = found.strip_prefix(first) else { return false };
    for piece in between {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

fn wrong_columns(wanted: &Rows, found: &Answer) -> Option<String> {
    if wanted.types.is_empty() {
        return None;
    }
    let (given, said) = (found.kinds.len(), wanted.types.chars().count());
    if given != said {
        return Some(format!("the query gives {given} columns, the record says {said}"));
    }
    // Whole numbers that need more than 64 bits are decimals, and over the wire so are those without a sign.
    let whole = |column: usize| found.rows.iter().all(|row| !row[column].contains('.'));
    let fits = |(column, (kind, letter)): (usize, (&Kind, char))| {
        kind.is(letter) || (letter == 'I' && *kind == Kind::Decimal && whole(column))
    };
    let wrong = found.kinds.iter().zip(wanted.types.chars()).enumerate().position(|pair| !fits(pair))?;
    let letters: String = found.kinds.iter().map(|k| k.letter()).collect();
    Some(format!(
        "column {} is {:?}; the record says {}, {letters} would fit",
        wrong + 1,
        found.kinds[wrong],
        wanted.types
    ))
}

/// The values in the order in which they count for a hash.
pub fn values(found: &Answer, sort: Sort) -> Vec<String> {
    let mut rows = found.rows.clone();
    if sort == Sort::Rows {
        rows.sort();
    }
    let mut values: Vec<String> =
        rows.into_iter().flatten().map(|v| if v.is_empty() { EMPTY.into() } else { v }).collect();
    if sort == Sort::Values {
        values.sort();
    }
    values
}

/// The rows as a file has them.
pub fn lines(found: &Answer, sort: Sort) -> Vec<String> {
    written(found, Form::Tabs, sort)
}

const EMPTY: &str = "(empty)";

fn written(found: &Answer, form: Form, sort: Sort) -> Vec<String> {
    let or_empty = |value: &str| if value.is_empty() { EMPTY.to_string() } else { value.to_string() };
    let lines = match form {
        Form::Values => found.rows.iter().flatten().map(|v| or_empty(v)).collect(),
        Form::Tabs => {
            let value = |v: &String| or_empty(&v.replace('\t', "\\t").replace('\n', "\\n"));
            found.rows.iter().map(|row| row.iter().map(value).collect::<Vec<_>>().join("\t")).collect()
        }
        Form::Spaces => found.rows.iter().flat_map(|row| spaced(row, or_empty)).collect(),
    };
    in_order(lines, sort)
}

fn spaced(row: &[String], or_empty: impl Fn(&str) -> String) -> Vec<String> {
    let Some((last, first)) = row.split_last() else { return vec![String::new()] };
    let mut cells: Vec<String> = first.iter().map(|v| or_empty(v)).collect();
    if !last.trim_end_matches('\n').contains('\n') {
        cells.push(or_empty(last.trim_end_matches('\n')));
        return vec![cells.join(" ")];
    }
    let numbered = last.split('\n').enumerate().map(|(n, line)| {
        let text = line.trim_start();
        format!("{:02}){}{text}", n + 1, "-".repeat(line.len() - text.len()))
    });
    std::iter::once(cells.join(" ")).chain(numbered).collect()
}

fn in_order(mut lines: Vec<String>, sort: Sort) -> Vec<String> {
    if sort != Sort::Nothing {
        lines.sort();
    }
    lines
}

/// Whether rows are equal but for the rounding of floating point numbers.
fn close(wanted: &[String], found: &Answer, sort: Sort) -> bool {
    if !found.kinds.iter().any(|kind| matches!(kind, Kind::Float | Kind::Decimal)) || sort == Sort::Values {
        return false;
    }
    let width = found.kinds.len();
    let cells = |line: &String| -> Vec<String> {
        match line.contains('\t') {
            true => line.split('\t').map(Into::into).collect(),
            false => line.split_whitespace().map(Into::into).collect(),
        }
    };
    let mut expected: Vec<Vec<String>> = match wanted.len() == found.rows.len() {
        true => wanted.iter().map(cells).collect(),
        false => wanted.chunks(width).map(<[String]>::to_vec).collect(),
    };
    if expected.len() != found.rows.len() {
        return false;
    }
    let equal = |expected: &Vec<String>, row: &Vec<String>| {
        let value = |(n, text): (usize, &String)| match found.kinds[n] {
            Kind::Float => near(text, &row[n]),
            // A file may have zeros at the end of it.
            Kind::Decimal => decimal(text) == row[n],
            _ => *text == row[n] || (text == EMPTY && row[n].is_empty()),
        };
        expected.len() == width && expected.iter().enumerate().all(value)
    };
    if sort == Sort::Nothing {
        return expected.iter().zip(&found.rows).all(|(e, r)| equal(e, r));
    }
    found.rows.iter().all(|row| match expected.iter().position(|e| equal(e, row)) {
        Some(at) => {
            expected.swap_remove(at);
            true
        }
        None => false,
    })
}

fn near(wanted: &str, found: &str) -> bool {
    match (wanted.parse::<f64>(), found.parse::<f64>()) {
        (Ok(a), Ok(b)) if a.is_finite() && b.is_finite() => {
            (a - b).abs() <= (RELATIVE_TOLERANCE * a.abs().max(b.abs())).max(ABSOLUTE_TOLERANCE)
        }
        _ => wanted == found,
    }
}

/// The difference for a reader.
fn told(wanted: &[String], found: &[String]) -> String {
    let without = |from: &[String], other: &[String]| -> Vec<String> {
        let mut other = other.to_vec();
        let left = from.iter().filter(|line| match other.iter().position(|o| o == *line) {
            Some(at) => {
                other.swap_remove(at);
                false
            }
            None => true,
        });
        left.cloned().collect()
    };
    let (missing, extra) = (without(wanted, found), without(found, wanted));
    let mut out = format!("{} rows, {} are wanted", found.len(), wanted.len());
    if missing.is_empty() && extra.is_empty() {
        out.push_str("; they are the same, but in another order:");
        return found.iter().take(SHOWN).fold(out, |out, line| out + "\n      " + line);
    }
    for (sign, lines) in [("-", &missing), ("+", &extra)] {
        for line in lines.iter().take(SHOWN) {
            out.push_str(&format!("\n    {sign} {line}"));
        }
        if lines.len() > SHOWN {
            out.push_str(&format!("\n    {sign} … and {} more", lines.len() - SHOWN));
        }
    }
    out
}
