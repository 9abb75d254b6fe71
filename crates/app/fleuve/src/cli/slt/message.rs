//! Which error a record wants. DataFusion's planner is Fleuve's, too, but what it says is told in other words where these are plainer.

use arrow::array::StringArray;
use arrow::compute::kernels::regexp::regexp_is_match_scalar;
use fleuve_types::{Error, ErrorKind, with_sql_types};

use super::foreign::mentions;

/// Which error.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Any,
    /// A regular expression; case does not matter.
    Matches(String),
    Exactly(String),
}

/// Whether an error is the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    Yes,
    No,
    /// It is wanted in DataFusion's words, and these say nothing that can be compared.
    Unknown,
}

/// What stands before what DataFusion says.
const THEIR_PREFIXES: [&str; 14] = [
    "DataFusion error: ",
    "Error during planning: ",
    "Schema error: ",
    "Execution error: ",
    "Arrow error: ",
    "Cast error: ",
    "Compute error: ",
    "Parser error: ",
    "Invalid argument error: ",
    "SQL error: ",
    "External error: ",
    "Internal error: ",
    "This feature is not implemented: ",
    "type_coercion caused by ",
];

/// Words of DataFusion, where the name that it is about stands, and the words that Fleuve or PostgreSQL has for it.
const IN_OTHER_WORDS: [(&str, Name, &[&str]); 12] = [
    ("No field named ", Name::Behind, &["there is no column", "does not exist"]),
    ("Ambiguous reference to unqualified field ", Name::Behind, &["is in more than one table", "is ambiguous"]),
    ("Invalid function '", Name::Behind, &["there is no function", "does not exist"]),
    ("table '", Name::Behind, &["there is no", "does not exist"]),
    ("View '", Name::Behind, &["there is no", "does not exist"]),
    ("Table '", Name::Behind, &["exists already", "already exists", "there is no", "does not exist"]),
    ("Divide by zero", Name::Nowhere, &["division by zero"]),
    ("Projections require unique expression names", Name::Nowhere, &["two columns"]),
    ("must appear in the GROUP BY clause", Name::Nowhere, &["must be in GROUP BY"]),
    ("failed to match any signature", Name::Nowhere, &["does not take these arguments", "does not exist"]),
    ("Overflow happened on", Name::Nowhere, &["out of range"]),
    ("Expected: an SQL statement", Name::Nowhere, &["does not begin a statement", "syntax error"]),
];

#[derive(Clone, Copy)]
enum Name {
    /// The last part of it counts.
    Behind,
    Nowhere,
}

impl Message {
    /// From the words after `error`.
    ///
    /// # Errors
    /// What is wrong with the regular expression.
    pub fn new(words: &[&str]) -> Result<Self, String> {
        let text = words.join(" ");
        if text.is_empty() {
            return Ok(Self::Any);
        }
        regex_matches(&text, "").map(|_| Self::Matches(text))
    }

    /// Whether an error is the wanted one. A broken connection, a full disk and a bug are only when their text is.
    pub fn fits(&self, error: &Error) -> Fit {
        let message = error.to_string();
        let same = match self {
            Self::Any => true,
            Self::Matches(text) => regex_matches(text, &message).unwrap_or(false),
            Self::Exactly(text) => text.trim() == message.trim(),
        };
        let broken = matches!(error.kind, ErrorKind::Bug | ErrorKind::Io | ErrorKind::Retry | ErrorKind::Unknown);
        match self {
            Self::Any => {
                if broken {
                    Fit::No
                } else {
                    Fit::Yes
                }
            }
            _ if same => Fit::Yes,
            Self::Matches(text) => in_their_words(text, true, error, broken),
            Self::Exactly(text) => in_their_words(text, false, error, broken),
        }
    }
}

/// Compares what DataFusion says with what Fleuve says instead.
fn in_their_words(text: &str, is_regex: bool, error: &Error, broken: bool) -> Fit {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut said = text.as_str();
    while let Some(left) = without_prefix(said) {
        said = left;
    }
    let plain = if is_regex { unescaped(said) } else { said.to_string() };
    let theirs = said.len() < text.len() || text.starts_with("DataFusion error") || in_words(&plain).is_some();
    if !theirs {
        return Fit::No;
    }
    // The catalog and the schema have other names here, and are left out of messages; types are called as in SQL.
    let ours = error.message.split_whitespace().collect::<Vec<_>>().join(" ");
    let here = with_sql_types(&said.replace("datafusion\\.public\\.", "").replace("datafusion.public.", ""));
    let same = match is_regex {
        true => regex_matches(&here, &ours).unwrap_or(false),
        false => ours.contains(&here) || here.contains(&ours),
    };
    if same && !here.is_empty() {
        return Fit::Yes;
    }
    if broken {
        return Fit::No;
    }
    match in_words(&plain) {
        // It is refused before it comes to what the record is about.
        Some(_) if error.kind == ErrorKind::Unsupported => Fit::Unknown,
        Some((name, words)) => {
            let low = ours.to_lowercase();
            let told = words.iter().any(|words| low.contains(&words.to_lowercase()));
            let fits = told && name.is_none_or(|name| mentions(&ours, &name));
            if fits { Fit::Yes } else { Fit::No }
        }
        None => Fit::Unknown,
    }
}

fn without_prefix(said: &str) -> Option<&str> {
    let rule = || Some(said.strip_prefix("Optimizer rule '")?.split_once("' failed caused by ")?.1);
    THEIR_PREFIXES.iter().find_map(|prefix| said.strip_prefix(prefix)).or_else(rule)
}

/// The name that a message of DataFusion's is about, if it is about one, and Fleuve's words for the message.
fn in_words(message: &str) -> Option<(Option<String>, &'static [&'static str])> {
    let (words, place, ours) = IN_OTHER_WORDS.iter().find(|(words, ..)| message.contains(words))?;
    let behind = message.split_once(words).map_or("", |(_, behind)| behind);
    let end = behind.find(|c: char| c.is_whitespace() || c == '\'').unwrap_or(behind.len());
    let last = behind[..end].trim_end_matches(['.', ',']).rsplit('.').next().unwrap_or_default();
    let name = match place {
        Name::Nowhere => None,
        Name::Behind => Some(last.trim_matches('"').to_string()),
    };
    Some((name, ours))
}

/// A regular expression as the text that it was made of.
fn unescaped(pattern: &str) -> String {
    let (mut out, mut chars) = (String::new(), pattern.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().filter(|c| !c.is_ascii_alphanumeric())),
            c => out.push(c),
        }
    }
    out
}

fn regex_matches(pattern: &str, text: &str) -> Result<bool, String> {
    let texts = StringArray::from(vec![text]);
    let found = regexp_is_match_scalar(&texts, pattern, Some("i")).map_err(|e| e.to_string())?;
    Ok(found.value(0))
}
