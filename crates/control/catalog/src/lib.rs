mod object;
pub use object::{Object, ObjectKind};
