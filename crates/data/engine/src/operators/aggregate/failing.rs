//! What fails for a group and not for a row: the message names the call and the group.

use arrow::datatypes::SchemaRef;
use fleuve_types::{Error, ErrorKind};

use super::Groups;
use crate::operators::named::{column, of_keys};
use crate::state::RowCodec;

/// An error of a call over rows of any group.
pub(super) fn of_call(error: Error, call: &str) -> Error {
    if error.kind != ErrorKind::Input {
        return error;
    }
    Error { message: format!("{}, in {call}", error.message), ..error }
}

impl Groups {
    /// An error of the results that the call of this number has for some groups: which of them it is.
    pub(super) fn of_group(
        &mut self,
        error: Error,
        call: usize,
        slots: &[u32],
        (codec, schema): (&RowCodec, &SchemaRef),
    ) -> Error {
        if error.kind != ErrorKind::Input {
            return error;
        }
        let (accumulator, keys) = (&mut self.accumulators[call], &self.keys);
        let found = slots.iter().find_map(|slot| Some((slot, accumulator.emit(&[*slot], keys).err()?)));
        let Some((slot, error)) = found else { return of_call(error, &self.words[call]) };
        let values = codec.decode(std::iter::once(self.keys.key(*slot))).unwrap_or_default();
        let names = schema.fields().iter().map(|f| column(f.name()));
        let group = of_keys(names, &values).map_or_else(String::new, |keys| format!(" of the group {keys}"));
        of_call(error, &format!("{}{group}", self.words[call]))
    }
}
