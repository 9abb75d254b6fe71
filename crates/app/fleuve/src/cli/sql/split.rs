//! Where statements end: at a semicolon outside of strings, quoted names, comments and dollar quotes.

/// The statements of `text` with what follows the last semicolon, if that is more than white space and comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    /// Statements that are ended by a semicolon, without it.
    pub complete: Vec<&'a str>,
    /// What is not ended yet.
    pub rest: Option<&'a str>,
}

/// Splits a text into its statements.
pub fn split(text: &str) -> Split<'_> {
    let bytes = text.as_bytes();
    let mut complete = Vec::new();
    let (mut at, mut begin) = (0, 0);
    let mut blank = true;
    while at < bytes.len() {
        let next = match bytes[at] {
            b';' => {
                if !blank {
                    complete.push(text[begin..at].trim());
                }
                (begin, blank) = (at + 1, true);
                at += 1;
                continue;
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = end_of_line(bytes, at);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => match end_of_comment(bytes, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => bytes.len(),
            },
            b'\'' => end_of_quote(bytes, at, b'\''),
            b'"' => end_of_quote(bytes, at, b'"'),
            b'$' => end_of_dollar_quote(text, at),
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => at + 1,
        };
        blank = false;
        at = next;
    }
    let rest = (!blank).then(|| text[begin..].trim());
    Split { complete, rest }
}

/// The first word of a statement in capitals, after comments.
pub fn first_word(statement: &str) -> String {
    let mut text = statement.trim_start();
    loop {
        if let Some(rest) = text.strip_prefix("--") {
            text = rest.split_once('\n').map_or("", |(_, after)| after).trim_start();
        } else if text.starts_with("/*") {
            let end = end_of_comment(text.as_bytes(), 0).unwrap_or(text.len());
            text = text[end..].trim_start();
        } else {
            return text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>().to_ascii_uppercase();
        }
    }
}

fn end_of_line(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n + 1)
}

/// Comments nest, as in PostgreSQL. `None` when it does not end.
fn end_of_comment(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => {
                depth += 1;
                at += 2;
            }
            (b'*', b'/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// A doubled quote ends one run and begins the next, which comes to the same.
fn end_of_quote(bytes: &[u8], at: usize, quote: u8) -> usize {
    bytes[at + 1..].iter().position(|b| *b == quote).map_or(bytes.len(), |n| at + n + 2)
}

fn end_of_dollar_quote(text: &str, at: usize) -> usize {
    let tail = &text[at + 1..];
    let Some(end) = tail.find('$') else { return at + 1 };
    let tag = &tail[..end];
    let valid = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    if !valid {
        return at + 1;
    }
    let fence = format!("${tag}$");
    let body = at + fence.len();
    text[body..].find(&fence).map_or(text.len(), |n| body + n + fence.len())
}
