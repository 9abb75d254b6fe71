//! What a thread works for, said by the thread: a frame of its own under the thread's name.

use std::cell::Cell;

use parking_lot::RwLock;

/// Most texts that are told apart; one more is called by none.
const MAX_LABELS: usize = 10_000;

/// A text that was made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label(u32);

static TEXTS: RwLock<Vec<String>> = RwLock::new(Vec::new());

thread_local! {
    // A constant without a destructor, so that a signal handler may read it at any time.
    static NOW: Cell<u32> = const { Cell::new(0) };
}

impl Label {
    /// The label of a text; the same one for the same text.
    pub fn of(text: &str) -> Self {
        let place = |texts: &Vec<String>| texts.iter().position(|t| t == text);
        if let Some(at) = place(&TEXTS.read()) {
            return Self(at as u32 + 1);
        }
        let mut texts = TEXTS.write();
        match place(&texts) {
            Some(at) => Self(at as u32 + 1),
            None if texts.len() < MAX_LABELS => {
                texts.push(text.to_string());
                Self(texts.len() as u32)
            }
            None => Self(0),
        }
    }

    pub(crate) fn of_number(number: u32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }
}

/// The text of a label.
pub(crate) fn text(label: Label) -> Option<String> {
    TEXTS.read().get((label.0 as usize).checked_sub(1)?).cloned()
}

/// The number that this thread works for; 0 is none. For the signal handler.
pub(crate) fn number_now() -> u32 {
    NOW.try_with(Cell::get).unwrap_or(0)
}

/// The label that this thread works for, to hand on to helpers of its work.
pub fn current() -> Label {
    Label(number_now())
}

/// Until the guard goes, samples of this thread carry `label`.
pub fn enter(label: Label) -> Entered {
    Entered { before: NOW.replace(label.0) }
}

/// See [`enter`].
#[must_use = "the label goes with it"]
pub struct Entered {
    before: u32,
}

impl Drop for Entered {
    fn drop(&mut self) {
        NOW.set(self.before);
    }
}
