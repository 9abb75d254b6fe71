//! Places in the user's text.

use datafusion::sql::sqlparser::tokenizer::Location as At;
use fleuve_types::Location;

/// A place without a file.
pub(crate) fn place(at: At) -> Location {
    Location { file: None, line: at.line.max(1), column: at.column.max(1) }
}

/// Finds bytes by line and column.
pub(crate) struct TextPlaces<'a> {
    text: &'a str,
    /// The byte at which each line begins.
    lines: Vec<usize>,
}

impl<'a> TextPlaces<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text, lines }
    }

    /// The byte of a place; the end of the text if it lies beyond.
    pub(crate) fn byte(&self, at: At) -> usize {
        let line = usize::try_from(at.line.max(1) - 1).unwrap_or(usize::MAX);
        let Some(start) = self.lines.get(line) else { return self.text.len() };
        let column = usize::try_from(at.column.max(1) - 1).unwrap_or(usize::MAX);
        self.text[*start..].char_indices().nth(column).map_or(self.text.len(), |(i, _)| start + i)
    }

    /// The text between two places, without blanks around it.
    pub(crate) fn slice(&self, from: At, to: At) -> &'a str {
        let (from, to) = (self.byte(from), self.byte(to));
        self.text.get(from..to.max(from)).unwrap_or_default().trim()
    }
}

/// Takes ` at Line: l, Column: c` off sqlparser's message.
pub(crate) fn split_place(message: &str) -> (String, Option<Location>) {
    let Some(i) = message.rfind(" at Line: ") else { return (message.to_string(), None) };
    let rest = &message[i + " at Line: ".len()..];
    let numbers = rest.split_once(", Column: ").and_then(|(line, column)| {
        let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
        Some((line.trim().parse().ok()?, digits.parse().ok()?))
    });
    match numbers {
        Some((line, column)) if line > 0 => (message[..i].to_string(), Some(Location { file: None, line, column })),
        _ => (message[..i].to_string(), None),
    }
}

/// sqlparser's words in our style.
pub(super) fn polish(message: &str) -> String {
    let message = message.strip_prefix("sql parser error: ").unwrap_or(message);
    let message = message.replace("Expected: ", "expected ").replace("found: ", "found ");
    message.replace("found EOF", "found the end of the statement")
}
