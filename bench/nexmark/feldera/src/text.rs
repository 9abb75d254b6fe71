//! The types of columns that dbsp does not bring: text, shared instead of copied (as Feldera's own SQL runtime has it), and decimals.

use std::sync::Arc;

use dbsp::utils::SupportsRoaring;
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::{Archive, Deserialize, Fallible, Serialize, SerializeUnsized};
use size_of::{Context, SizeOf};

/// A text; a clone is another reference to it.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Text(Arc<str>);

impl Text {
    /// A copy of a text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn str(&self) -> &str {
        &self.0
    }
}

impl SizeOf for Text {
    fn size_of_children(&self, context: &mut Context) {
        context.add(self.0.len());
    }
}

dbsp::never_none!(Text, Thousandths);
impl SupportsRoaring for Text {}
impl SupportsRoaring for Thousandths {}

// dbsp wants every value to be storable, though nothing is stored here.
impl Archive for Text {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    unsafe fn resolve(&self, pos: usize, resolver: Self::Resolver, out: *mut Self::Archived) {
        // SAFETY: the caller's promises are those that this asks for.
        unsafe { ArchivedString::resolve_from_str(self.str(), pos, resolver, out) }
    }
}

impl<S: Fallible + ?Sized> Serialize<S> for Text
where
    str: SerializeUnsized<S>,
{
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        ArchivedString::serialize_from_str(self.str(), serializer)
    }
}

impl<D: Fallible + ?Sized> Deserialize<Text, D> for ArchivedString {
    fn deserialize(&self, _: &mut D) -> Result<Text, D::Error> {
        Ok(Text::new(self.as_str()))
    }
}

/// A decimal with three digits after the point.
#[derive(Archive, Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, SizeOf)]
#[archive_attr(derive(Eq, Ord, PartialEq, PartialOrd))]
pub struct Thousandths(pub i64);
