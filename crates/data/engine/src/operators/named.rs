//! Columns that nobody named, in messages and rows: what they stand for is said instead.

use arrow::array::{Array, ArrayRef};
use arrow::util::display::array_value_to_string;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use fleuve_batch::in_words;

/// The names of such columns as messages have them, with what they stand for.
#[derive(Default)]
pub(super) struct Names(Vec<(String, String)>);

impl Names {
    pub(super) fn new(mut names: Vec<(String, String)>) -> Self {
        // One may be a part of another.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self(names)
    }

    /// A message with what the columns stand for.
    pub(super) fn told(&self, text: &str) -> String {
        let told = self.0.iter().fold(text.to_string(), |text, (name, words)| replaced(&text, name, words));
        told.replace("main.public.", "")
    }

    /// What a column is called in a row; `None` of one that nobody knows.
    pub(super) fn of<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let known = |(known, words): &'n (String, String)| (known.trim_matches('"') == name).then_some(words.as_str());
        self.0.iter().find_map(known).or_else(|| (!name.starts_with("__")).then_some(name))
    }
}

/// Keys of a group that are named, and characters that are shown of each value.
const MAX_KEYS: usize = 8;
const MAX_CHARS: usize = 60;

/// A column as people write it.
pub(crate) fn column(name: &str) -> String {
    in_words(&Expr::Column(Column::new_unqualified(name)))
}

/// The keys of a group with their values, which are in the first row of these columns; `None` without any.
pub(crate) fn of_keys(names: impl Iterator<Item = String>, values: &[ArrayRef]) -> Option<String> {
    let one = |(name, value): (String, &ArrayRef)| {
        let is_null = value.logical_nulls().is_some_and(|n| n.is_null(0));
        let text = array_value_to_string(value, 0).unwrap_or_default();
        let text = match value.data_type() {
            _ if is_null => "NULL".to_string(),
            t if t.is_numeric() => text,
            _ => format!("'{}'", shortened(&text)),
        };
        format!("{name} = {text}")
    };
    let mut keys: Vec<String> = names.zip(values).take(MAX_KEYS).map(one).collect();
    keys.extend((values.len() > MAX_KEYS).then(|| "...".to_string()));
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// The beginning of a value.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_string(),
    }
}

/// A line of EXPLAIN without the places of columns, and with operators between what they compute with.
pub(super) fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut parts = line.split('@');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(if digits == 0 { "@" } else { "" });
        out.push_str(&part[digits..]);
    }
    fleuve_batch::infix(&out)
}

/// A text with `words` for each `name` that is a word of its own: in brackets where they are several.
fn replaced(text: &str, name: &str, words: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, behind) = (&rest[..at], &rest[at + name.len()..]);
        let is_word = !before.chars().next_back().is_some_and(is_part) && !behind.chars().next().is_some_and(is_part);
        out.push_str(before);
        let stands_alone = (before.is_empty() || before.trim_end().ends_with(['(', '[', ',']))
            && (behind.is_empty() || behind.starts_with([',', ')', ']', ';']));
        match is_word {
            true if !stands_alone && has_parts(words) => out.push_str(&format!("({words})")),
            true => out.push_str(words),
            false => out.push_str(name),
        }
        rest = behind;
    }
    out + rest
}

/// Whether there is a space outside of all brackets.
fn has_parts(words: &str) -> bool {
    let mut open = 0_i32;
    words.chars().any(|c| {
        open += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        c == ' ' && open == 0
    })
}

#[cfg(test)]
mod tests {
    use super::{Names, plain};

    #[test]
    fn a_line_of_explain_has_no_places() {
        let line = "Map: filter +(a@0, 1) > b@12; project a@0, a @ b";
        assert_eq!(plain(line), "Map: filter a + 1 > b; project a, a @ b");
    }

    #[test]
    fn messages_say_what_columns_stand_for() {
        let names =
            [("__computed_1", "a / b"), ("\"sum(main.public.pairs.b)\"", "sum(pairs.b)"), ("__computed_10", "c")];
        let names = Names::new(names.iter().map(|(n, w)| (n.to_string(), w.to_string())).collect());
        for (text, told) in [
            ("expression __computed_1 * 2 failed", "expression (a / b) * 2 failed"),
            ("f(__computed_10, __computed_1)", "f(c, a / b)"),
            ("x__computed_1", "x__computed_1"),
            ("\"sum(main.public.pairs.b)\" + 1 of main.public.pairs", "sum(pairs.b) + 1 of pairs"),
        ] {
            assert_eq!(names.told(text), told);
        }
        assert_eq!(names.of("__computed_1"), Some("a / b"));
        assert_eq!(names.of("sum(main.public.pairs.b)"), Some("sum(pairs.b)"));
        assert_eq!(names.of("k"), Some("k"));
        assert_eq!(names.of("__round"), None);
    }
}
