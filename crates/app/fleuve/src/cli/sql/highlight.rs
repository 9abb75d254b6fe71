//! Colours while typing.

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

use super::complete::is_keyword;

/// Colours keywords, texts, numbers and comments.
pub(super) struct SqlHighlighter;

impl Highlighter for SqlHighlighter {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        for (kind, text) in tokens(line) {
            let style = match kind {
                Token::Word if is_keyword(text) => Style::new().fg(Color::Cyan).bold(),
                Token::Text => Style::new().fg(Color::Green),
                Token::Number => Style::new().fg(Color::Magenta),
                Token::Comment => Style::new().dimmed(),
                Token::Word | Token::Other => Style::new(),
            };
            styled.push((style, text.to_string()));
        }
        styled
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word,
    Text,
    Number,
    Comment,
    Other,
}

/// The line cut into tokens; together they are the line.
pub(super) fn tokens(line: &str) -> Vec<(Token, &str)> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let until = |end: Option<usize>| end.unwrap_or(rest.len());
        let (kind, length) = match first {
            _ if rest.starts_with("--") => (Token::Comment, until(rest.find('\n'))),
            _ if rest.starts_with("/*") => (Token::Comment, until(rest.find("*/").map(|n| n + 2))),
            '\'' => (Token::Text, until(rest[1..].find('\'').map(|n| n + 2))),
            '"' => (Token::Other, until(rest[1..].find('"').map(|n| n + 2))),
            c if c.is_ascii_digit() => (Token::Number, until(rest.find(|c: char| !c.is_ascii_digit() && c != '.'))),
            c if c.is_alphabetic() || c == '_' => {
                (Token::Word, until(rest.find(|c: char| !c.is_alphanumeric() && c != '_')))
            }
            c => (Token::Other, c.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push((kind, token));
        rest = after;
    }
    tokens
}
