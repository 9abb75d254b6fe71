use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fleuve_sql::ProjectFile;
use fleuve_types::{Error, Result};
use serde_json::{Value, json};

use super::args::ApplyArgs;
use super::http::Server;
use super::term::{Out, Paint};

/// More than any project has; a folder with more was named by mistake.
const MAX_FILES: usize = 10_000;
/// Folders within folders.
const MAX_DEPTH: usize = 32;
/// The folder of a project that holds the tests of `fleuve test`.
pub(super) const TESTS: &str = "tests";

/// `fleuve apply`
pub async fn run(args: ApplyArgs) -> Result<ExitCode> {
    let files: Vec<Value> =
        project(&args.dir)?.into_iter().map(|file| json!({"path": file.path, "text": file.text})).collect();
    let server = Server::find(&args.server);
    let answer = server.post_json("/v1/apply", &json!({"files": files, "dry_run": args.dry_run})).await?;
    print(&answer, args.dry_run)?;
    Ok(ExitCode::SUCCESS)
}

/// What a project declares: its `.sql` files in the order of their names, without those of its tests.
///
/// # Errors
/// When there are none, or they cannot be read.
pub(super) fn project(dir: &Path) -> Result<Vec<ProjectFile>> {
    if dir.is_file() {
        return Ok(vec![read(dir)?]);
    }
    let tests = dir.join(TESTS);
    sql_files(dir)?.iter().filter(|path| !path.starts_with(&tests)).map(|path| read(path)).collect()
}

/// A file with its text.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &Path) -> Result<ProjectFile> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
    Ok(ProjectFile { path: path.display().to_string(), text })
}

/// The `.sql` files of a folder and the folders in it in the order of their names; at least one.
///
/// # Errors
/// When there are none, or too many.
pub(super) fn sql_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(dir, 0, &mut files)?;
    files.sort();
    match files.is_empty() {
        true => Err(Error::not_found(format!("{} holds no .sql file", dir.display()))),
        false => Ok(files),
    }
}

fn collect(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |e| Error::io(format!("cannot read the folder {}", dir.display()), e);
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|e| e == "sql") && path.is_file() {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(Error::input(format!("{} holds more than {MAX_FILES} .sql files", dir.display())));
        }
    }
    Ok(())
}

fn print(answer: &Value, dry_run: bool) -> Result<()> {
    let paint = Paint::stdout();
    let mut out = Out::new();
    let none = Vec::new();
    let applied = answer["applied"].as_array().unwrap_or(&none);
    let (mut created, mut changed, mut unchanged) = (0, 0, 0);
    for line in applied {
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_string();
        let (action, kind, name) = (field("action"), field("kind"), field("name"));
        let mark = match action.as_str() {
            "create" => {
                created += 1;
                paint.green("+ create   ")
            }
            "unchanged" => {
                unchanged += 1;
                paint.dim("  unchanged")
            }
            other => {
                changed += 1;
                paint.cyan(&format!("~ {other:<9}"))
            }
        };
        out.line(&format!("{mark}  {kind:<7} {name}"))?;
        for notice in line["notices"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            out.line(&format!("  notice: {notice}"))?;
        }
    }
    let said = if dry_run { "Would be: " } else { "" };
    out.line(&format!("{said}{created} created, {changed} changed, {unchanged} unchanged"))?;
    out.flush()
}
