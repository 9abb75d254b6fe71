//! Variables of a file: `control substitution on` puts them into its statements, `let` binds them, the shell sees them.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;

use fleuve_types::{Clock, SystemClock};

/// The folder for what a file's statements and commands write.
const FOLDER: &str = "__TEST_DIR__";
/// Nanoseconds since 1970.
const NOW: &str = "__NOW__";
const DATABASE: &str = "__DATABASE__";
/// Values of values of values.
const MAX_DEPTH: usize = 16;

/// A text, and the first variable in it that has no value.
type Replaced = (String, Option<String>);

/// What has a value, other than the variables of the environment.
pub struct Variables {
    bound: BTreeMap<String, String>,
    database: String,
    /// Made when it is asked for, and removed with this.
    folder: Option<PathBuf>,
}

impl Drop for Variables {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // What cannot be removed is the system's to clean, as everything in its folder of temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Variables {
    pub fn new(database: String) -> Self {
        Self { bound: BTreeMap::new(), database, folder: None }
    }

    pub fn bind(&mut self, name: &str, value: String) {
        self.bound.insert(name.to_string(), value);
    }

    fn value(&mut self, name: &str) -> Option<String> {
        if let Some(value) = self.bound.get(name) {
            return Some(value.clone());
        }
        match name {
            FOLDER => self.folder(),
            NOW => Some((i128::from(SystemClock.now_us()) * 1000).to_string()),
            DATABASE => Some(self.database.clone()),
            _ => std::env::var(name).ok(),
        }
    }

    fn folder(&mut self) -> Option<String> {
        if self.folder.is_none() {
            let path = std::env::temp_dir().join(format!("fleuve-slt-{}", uuid::Uuid::new_v4().simple()));
            std::fs::create_dir_all(&path).ok()?;
            self.folder = Some(path);
        }
        self.folder.as_ref().map(|path| path.display().to_string())
    }

    /// All but those of the environment, for a command of the shell.
    pub fn all(&mut self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = self.bound.clone().into_iter().collect();
        for name in [FOLDER, NOW, DATABASE] {
            all.extend(self.value(name).map(|value| (name.to_string(), value)));
        }
        all
    }

    /// A text with its `$name`, `${name}` and `${name:default}` replaced; `\$` is a dollar and `\\` a backslash.
    ///
    /// # Errors
    /// A variable without a value, and what cannot be read, in words.
    pub fn put_into(&mut self, text: &str) -> Result<String, String> {
        match self.replaced(&mut text.chars().peekable(), false, 0)? {
            (_, Some(name)) => Err(format!(
                "the variable {name} has no value: set it in the environment, or bind it with 'let {name}'"
            )),
            (text, None) => Ok(text),
        }
    }

    /// Up to the end, or, `within` braces, up to the one that closes them; and the first variable that has no value.
    fn replaced(&mut self, chars: &mut Peekable<Chars<'_>>, within: bool, depth: usize) -> Result<Replaced, String> {
        if depth > MAX_DEPTH {
            return Err(format!("defaults of variables are nested more than {MAX_DEPTH} deep"));
        }
        let (mut out, mut without) = (String::new(), None);
        while let Some(c) = chars.next() {
            match c {
                '}' if within => return Ok((out, without)),
                '\\' => match chars.next() {
                    Some(next @ ('\\' | '$' | '{' | '}' | ':')) => out.push(next),
                    _ => return Err("after \\ one of \\ $ { } : is wanted: write \\\\ for a backslash".into()),
                },
                '$' => {
                    let (text, missing) = self.variable(chars, depth)?;
                    out.push_str(&text);
                    without = without.or(missing);
                }
                c => out.push(c),
            }
        }
        if within { Err("a } is missing".into()) } else { Ok((out, without)) }
    }

    /// What stands behind a `$`.
    fn variable(&mut self, chars: &mut Peekable<Chars<'_>>, depth: usize) -> Result<Replaced, String> {
        let braces = chars.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if name.is_empty() {
            return Err("after $ the name of a variable is wanted: write \\$ for a dollar".into());
        }
        let default = match braces.then(|| chars.next()) {
            None | Some(Some('}')) => None,
            Some(Some(':')) => Some(self.replaced(chars, true, depth + 1)?),
            Some(_) => return Err(format!("after ${{{name} a }} or : is wanted")),
        };
        Ok(match (self.value(&name), default) {
            (Some(value), _) => (value, None),
            (None, Some(default)) => default,
            (None, None) => (String::new(), Some(name)),
        })
    }
}
