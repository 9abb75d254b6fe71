//! Answers as CSV: numbers as they are, times in milliseconds, texts in quotes.

use std::io::{self, Write};

use dbsp::algebra::F64;
use dbsp::utils::{Tup2, Tup3, Tup4, Tup5, Tup6, Tup7, Tup8, Tup9, Tup10};

use crate::text::{Text, Thousandths};

/// What has cells to write: a value has one, a tuple those of its parts.
pub trait Cells {
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;
}

impl Cells for i64 {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }
}

impl Cells for F64 {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", self.into_inner())
    }
}

impl Cells for Thousandths {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let sign = if self.0 < 0 { "-" } else { "" };
        let value = self.0.unsigned_abs();
        write!(out, "{sign}{}.{:03}", value / 1000, value % 1000)
    }
}

impl Cells for Text {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "\"{}\"", self.str().replace('"', "\"\""))
    }
}

macro_rules! tuples {
    ($($tuple:ident($A:ident $a:ident $(, $B:ident $b:ident)*);)*) => {$(
        impl<$A: Cells, $($B: Cells),*> Cells for $tuple<$A, $($B),*> {
            fn write(&self, out: &mut dyn Write) -> io::Result<()> {
                let $tuple($a, $($b),*) = self;
                $a.write(out)?;
                $(
                    out.write_all(b",")?;
                    $b.write(out)?;
                )*
                Ok(())
            }
        }
    )*};
}

tuples! {
    Tup2(A a, B b);
    Tup3(A a, B b, C c);
    Tup4(A a, B b, C c, D d);
    Tup5(A a, B b, C c, D d, E e);
    Tup6(A a, B b, C c, D d, E e, F f);
    Tup7(A a, B b, C c, D d, E e, F f, G g);
    Tup8(A a, B b, C c, D d, E e, F f, G g, H h);
    Tup9(A a, B b, C c, D d, E e, F f, G g, H h, I i);
    Tup10(A a, B b, C c, D d, E e, F f, G g, H h, I i, J j);
}
