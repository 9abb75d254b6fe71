//! Which names objects may have.

use fleuve_catalog::ObjectKind;
use fleuve_types::{Error, ErrorKind, Result};

use super::DEAD_SUFFIX;
use crate::parse::{self, Name, quoted};
use crate::{BoundObject, DEFAULT_NAMESPACE, SYSTEM_NAMESPACE, Spec};

/// Whether a stream may have this name, as far as that does not depend on what there is.
///
/// # Errors
/// Says why it may not.
pub fn check_stream_name(namespace: &str, name: &str) -> Result<()> {
    check_name(namespace, name, ObjectKind::Stream)?;
    check_letters_name(name, ObjectKind::Stream)
}

/// Whether an object may have this name.
pub(super) fn check_name(namespace: &str, name: &str, kind: ObjectKind) -> Result<()> {
    if let Some(long) = [namespace, name].into_iter().find(|n| n.len() > parse::MAX_NAME_BYTES) {
        let error = parse::too_long(long);
        return Err(match kind {
            ObjectKind::Index => error.hint("give it one of its own: CREATE INDEX name ON ..."),
            _ => error,
        });
    }
    if matches!(namespace, SYSTEM_NAMESPACE | "information_schema" | "pg_catalog") {
        return Err(Error::input(format!("namespace \"{namespace}\" is the system's own")));
    }
    // A stream is a topic of its name, and Kafka has ASCII names.
    let is_stream = kind == ObjectKind::Stream;
    let letter = |c: char| if is_stream { c.is_ascii_alphanumeric() } else { c.is_alphanumeric() };
    let fits = |text: &&str| text.chars().all(|c| letter(c) || matches!(c, '_' | '-'));
    match [name, namespace].into_iter().find(|text| !fits(text)) {
        Some(text) => {
            let letters = if is_stream { "ASCII letters" } else { "letters" };
            let text = text.escape_debug();
            Err(Error::input(format!("\"{text}\" holds a character other than {letters}, digits, _ and -")))
        }
        None => Ok(()),
    }
}

/// Whether the name of what has dead letters leaves room for theirs.
pub(super) fn check_letters_name(name: &str, kind: ObjectKind) -> Result<()> {
    let most = parse::MAX_NAME_BYTES - DEAD_SUFFIX.len();
    if name.len() <= most {
        return Ok(());
    }
    let message = format!("the name of a {kind} with dead letters has {} bytes; at most {most}", name.len());
    Err(Error::new(ErrorKind::Limit, message)
        .hint(format!("its dead letters go to a stream of this name with {DEAD_SUFFIX} behind it")))
}

/// Something has the name that the dead letters of a new object are to have.
pub(super) fn in_the_way(old: &BoundObject, of: &Name, kind: ObjectKind) -> Error {
    let shown = |name: &str| match of.namespace() {
        DEFAULT_NAMESPACE => quoted(name),
        namespace => format!("{}.{}", quoted(namespace), quoted(name)),
    };
    let (taken, old_kind) = (shown(&old.object.name), old.object.kind);
    let message = format!(
        "{kind} {} has its dead letters in a stream {taken}, and there is a {old_kind} of that name already",
        shown(&of.name)
    );
    let what =
        if old_kind == ObjectKind::View { "MATERIALIZED VIEW".into() } else { old_kind.to_string().to_uppercase() };
    let drop = format!("DROP {what} {taken}");
    let is_raw = matches!(&old.spec, Spec::Stream(stream) if stream.format == "raw");
    let hint = match is_raw {
        true => format!(
            "it is a topic whose records have no columns, perhaps made by a client that asked for dead letters too early: {drop} takes it with its records; or give the {kind} another name"
        ),
        false => format!("give the {kind} another name, or drop what is there: {drop}"),
    };
    Error::new(ErrorKind::AlreadyExists, message).at(of.at.clone()).hint(hint)
}
