//! Checked arithmetic as people write it: `a + b` where a plan has `+(a, b)`.

/// Calls in calls that are written anew; what lies deeper stays as it is.
const MAX_DEPTH: usize = 32;

/// A line of a plan with operators between what they compute with.
pub fn infix(line: &str) -> String {
    within(line, 0)
}

fn within(text: &str, depth: usize) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        if let Some(end) = end_of_quote(bytes, at) {
            at = end;
        } else if depth < MAX_DEPTH
            && begins_call(bytes, at)
            && let Some((call, end)) = call(text, at, depth)
        {
            out.push_str(&text[copied..at]);
            out.push_str(&if is_beside_operator(bytes, at, end) { format!("({call})") } else { call });
            (at, copied) = (end, end);
        } else {
            at += 1;
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// Behind the quoted text that begins here.
fn end_of_quote(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = *bytes.get(at).filter(|b| matches!(b, b'\'' | b'"'))?;
    let len = bytes[at + 1..].iter().position(|b| *b == quote)?;
    Some(at + 1 + len + 1)
}

fn begins_call(bytes: &[u8], at: usize) -> bool {
    let is_free = at == 0 || matches!(bytes[at - 1], b' ' | b'(' | b'[');
    is_free && matches!(bytes[at], b'+' | b'-' | b'*') && bytes.get(at + 1) == Some(&b'(')
}

/// The call that begins here, written anew, and where it ends.
fn call(text: &str, at: usize, depth: usize) -> Option<(String, usize)> {
    let (arguments, end) = arguments(text, at + 2)?;
    let operator = char::from(text.as_bytes()[at]);
    let written = match arguments.as_slice() {
        [one] if operator == '-' => format!("-{}", operand(one, depth)),
        [left, right] => format!("{} {operator} {}", operand(left, depth), operand(right, depth)),
        _ => return None,
    };
    Some((written, end))
}

/// The bytes from `from` on that are in no quotes and no brackets, with their places, up to the bracket that closes what is around them.
fn outside(text: &str, from: usize) -> impl Iterator<Item = (usize, u8)> {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (from, Some(0_usize));
    std::iter::from_fn(move || {
        while let (Some(depth), Some(byte)) = (open, bytes.get(at).copied()) {
            let here = at;
            at = end_of_quote(bytes, at).unwrap_or(at + 1);
            if at > here + 1 {
                continue;
            }
            open = match byte {
                b'(' | b'[' | b'{' => Some(depth + 1),
                b')' | b']' | b'}' => depth.checked_sub(1),
                _ => open,
            };
            if depth == 0 {
                return Some((here, byte));
            }
        }
        None
    })
}

/// What stands between commas from here to the parenthesis that ends it, and what is behind that.
fn arguments(text: &str, from: usize) -> Option<(Vec<&str>, usize)> {
    let (mut arguments, mut begin) = (vec![], from);
    for (at, byte) in outside(text, from) {
        if matches!(byte, b',' | b')') {
            arguments.push(&text[begin..at]);
            begin = at + 1;
        }
        if byte == b')' {
            return Some((arguments, begin));
        }
    }
    None
}

/// An argument beside an operator: in parentheses if it has parts of its own.
fn operand(argument: &str, depth: usize) -> String {
    let written = within(argument.trim(), depth + 1);
    let has_parts = outside(&written, 0).any(|(_, byte)| byte == b' ');
    if has_parts { format!("({written})") } else { written }
}

/// True if something else is computed with what stands from `from` to `to`.
fn is_beside_operator(bytes: &[u8], from: usize, to: usize) -> bool {
    let is_operator = |b: &&u8| matches!(b, b'+' | b'-' | b'*' | b'/' | b'%');
    let before = bytes[..from].iter().rev().find(|b| **b != b' ');
    let after = bytes[to..].iter().find(|b| **b != b' ');
    [before, after].iter().flatten().any(is_operator)
}

#[cfg(test)]
mod tests;
