//! The walls of the house: `app -> edge -> control | data -> base`, down only. Data rooms know neither each other nor control;
//! nobody knows `app` or `dev`.

use serde_json::Value;

/// A room: its layer and its name, from the path `crates/<layer>/<room>`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    layer: String,
    name: String,
}

/// The dependencies that break a wall, one line each.
pub(crate) fn problems(metadata: &Value) -> Vec<String> {
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let mut problems = Vec::new();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    for package in packages {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let Some(from) = room(root, manifest.trim_end_matches("/Cargo.toml")) else {
            problems.push(format!("{manifest}: a crate stands in crates/<layer>/<room>, its layer one of app, edge, control, data, base, dev"));
            continue;
        };
        for dependency in package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let Some(path) = dependency["path"].as_str() else { continue };
            let Some(to) = room(root, path) else {
                problems.push(format!("{manifest}: uses {path}, which is no room of the house"));
                continue;
            };
            if let Some(why) = forbidden(&from, &to) {
                problems.push(format!("{}/{} uses {}/{}: {why}", from.layer, from.name, to.layer, to.name));
            }
        }
    }
    problems
}

fn room(root: &str, path: &str) -> Option<Room> {
    let rest = path.strip_prefix(root)?.trim_start_matches('/').strip_prefix("crates/")?;
    let (layer, name) = rest.split_once('/')?;
    let known = ["app", "edge", "control", "data", "base", "dev"].contains(&layer);
    (known && !name.contains('/')).then(|| Room { layer: layer.to_string(), name: name.to_string() })
}

/// Why `from` may not use `to`; `None` when it may.
fn forbidden(from: &Room, to: &Room) -> Option<&'static str> {
    match (from.layer.as_str(), to.layer.as_str()) {
        ("dev", _) => None,
        (_, "dev") => Some("only dev uses dev"),
        (_, "app") => Some("nobody uses app"),
        ("app", _) | (_, "base") => None,
        ("edge", "control" | "data") => None,
        ("edge", _) => Some("edge rooms do not know each other; app wires them"),
        ("control", "control") => None,
        ("control", _) => {
            Some("control knows only control and base; it reaches the platform through a trait that app implements")
        }
        ("data", "data") => Some("data rooms do not know each other; app wires them"),
        ("data", _) => Some("data knows only base"),
        (_, _) => Some("base knows only base"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(from: &str, to: &str) -> Vec<String> {
        problems(&json!({
            "workspace_root": "/w",
            "packages": [{
                "manifest_path": format!("/w/crates/{from}/Cargo.toml"),
                "dependencies": [{"name": "serde", "path": null}, {"name": "x", "path": format!("/w/crates/{to}")}],
            }],
        }))
    }

    #[test]
    fn imports_point_down() {
        let allowed = [
            ("app/fleuve", "edge/http"),
            ("app/fleuve", "data/log"),
            ("edge/kafka", "data/log"),
            ("edge/http", "control/sql"),
            ("control/sql", "control/catalog"),
            ("data/log", "base/types"),
            ("base/formats", "base/types"),
            ("dev/xtask", "app/fleuve"),
        ];
        for (from, to) in allowed {
            assert!(check(from, to).is_empty(), "{from} -> {to}");
        }
        let forbidden = [
            ("data/log", "data/engine"),
            ("data/engine", "control/sql"),
            ("control/sql", "data/log"),
            ("control/sql", "edge/http"),
            ("edge/http", "edge/kafka"),
            ("base/types", "data/log"),
            ("edge/http", "app/fleuve"),
            ("app/fleuve", "dev/sim"),
        ];
        for (from, to) in forbidden {
            assert_eq!(check(from, to).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn a_crate_outside_of_the_house_is_a_problem() {
        assert_eq!(check("lib", "base/types").len(), 1);
        assert_eq!(check("app/fleuve", "other/x").len(), 1);
    }
}
