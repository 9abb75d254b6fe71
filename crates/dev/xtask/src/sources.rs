//! Habits of the source tree that a machine can check.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Code files are meant to stay under about 500 lines; this is where "about" ends. Tests may be longer.
const MAX_LINES: usize = 750;

/// What is wrong, one line each.
pub(crate) fn problems(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut problems = Vec::new();
    for package in packages {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        let Some(source) = manifest.parent().map(|p| p.join("src")) else { continue };
        for root in ["lib.rs", "main.rs"] {
            let Ok(text) = fs::read_to_string(source.join(root)) else { continue };
            if !text.starts_with("//!") {
                problems.push(format!("{}: opens with what the crate is for (//! ...)", source.join(root).display()));
            }
        }
        let mut files = Vec::new();
        collect(&source, &mut files);
        problems.extend(files.iter().filter_map(|f| too_long(f)));
    }
    problems
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn too_long(path: &Path) -> Option<String> {
    let test = path.components().any(|c| c.as_os_str().to_string_lossy().trim_end_matches(".rs").ends_with("tests"));
    let lines = fs::read_to_string(path).ok()?.lines().count();
    (!test && lines > MAX_LINES)
        .then(|| format!("{}: {lines} lines, more than {MAX_LINES}; cut it where a reader would", path.display()))
}
