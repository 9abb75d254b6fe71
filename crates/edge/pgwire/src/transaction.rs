//! What a client is told about its transaction. Nothing is held back or undone: every statement is its own commit.

use crate::error::{PgError, PgResult, code};
use crate::wire::TransactionStatus;

/// The most savepoints that a transaction keeps.
const MAX_SAVEPOINTS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) status: TransactionStatus,
    savepoints: Vec<String>,
    /// A statement in it changed something.
    changed: bool,
}

impl Default for Transaction {
    fn default() -> Self {
        Self { status: TransactionStatus::Idle, savepoints: Vec::new(), changed: false }
    }
}

impl Transaction {
    pub(crate) fn is_idle(&self) -> bool {
        self.status == TransactionStatus::Idle
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.status == TransactionStatus::Failed
    }

    /// An error fails an open transaction.
    pub(crate) fn fail(&mut self) {
        if !self.is_idle() {
            self.status = TransactionStatus::Failed;
        }
    }

    /// A statement changed something.
    pub(crate) fn note_change(&mut self) {
        self.changed |= !self.is_idle();
    }

    pub(crate) fn begin(&mut self) -> Option<PgError> {
        if !self.is_idle() {
            return Some(PgError::warning(code::ACTIVE_TRANSACTION, "there is already a transaction in progress"));
        }
        *self = Self { status: TransactionStatus::InTransaction, ..Self::default() };
        None
    }

    /// Ends the transaction. Gives the tag, and what the client should know.
    pub(crate) fn end(&mut self, commit: bool) -> (&'static str, Option<PgError>) {
        let was = std::mem::take(self);
        let committed = commit && !was.is_failed();
        let tag = if committed { "COMMIT" } else { "ROLLBACK" };
        if was.is_idle() {
            let none = PgError::warning(code::NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
            return (if commit { "COMMIT" } else { "ROLLBACK" }, Some(none));
        }
        (tag, (!committed && was.changed).then(Self::not_undone))
    }

    fn not_undone() -> PgError {
        PgError::warning(
            code::FEATURE_NOT_SUPPORTED,
            "changes made in this transaction were not undone: each statement commits by itself",
        )
    }

    fn in_block(&self, what: &str) -> PgResult<()> {
        if self.is_idle() {
            let message = format!("{what} can only be used in transaction blocks");
            return Err(PgError::error(code::NO_ACTIVE_TRANSACTION, message));
        }
        Ok(())
    }

    pub(crate) fn savepoint(&mut self, name: String) -> PgResult<()> {
        self.in_block("SAVEPOINT")?;
        if self.savepoints.len() == MAX_SAVEPOINTS {
            let message = format!("a transaction keeps at most {MAX_SAVEPOINTS} savepoints");
            return Err(PgError::error(code::CONFIGURATION_LIMIT, message));
        }
        self.savepoints.push(name);
        Ok(())
    }

    fn find(&self, name: &str) -> PgResult<usize> {
        self.savepoints
            .iter()
            .rposition(|s| s == name)
            .ok_or_else(|| PgError::error(code::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist")))
    }

    pub(crate) fn release(&mut self, name: &str) -> PgResult<()> {
        self.in_block("RELEASE SAVEPOINT")?;
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    pub(crate) fn rollback_to(&mut self, name: &str) -> PgResult<Option<PgError>> {
        self.in_block("ROLLBACK TO SAVEPOINT")?;
        let at = self.find(name)?;
        self.savepoints.truncate(at + 1);
        self.status = TransactionStatus::InTransaction;
        Ok(self.changed.then(Self::not_undone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fails_an_open_transaction_until_its_end() {
        let mut t = Transaction::default();
        t.fail();
        assert!(t.is_idle());
        assert_eq!(t.begin(), None);
        t.fail();
        assert!(t.is_failed());
        assert_eq!(t.end(true), ("ROLLBACK", None));
        assert!(t.is_idle());
    }

    #[test]
    fn a_savepoint_brings_a_failed_transaction_back() {
        let mut t = Transaction::default();
        assert_eq!(t.savepoint("a".into()).unwrap_err().code, "25P01");
        t.begin();
        t.savepoint("a".into()).unwrap();
        t.savepoint("b".into()).unwrap();
        t.fail();
        assert_eq!(t.rollback_to("a").unwrap(), None);
        assert_eq!(t.status, TransactionStatus::InTransaction);
        assert_eq!(t.release("b").unwrap_err().code, "3B001");
        t.release("a").unwrap();
        assert_eq!(t.end(true), ("COMMIT", None));
    }

    #[test]
    fn a_rollback_says_that_changes_stay() {
        let mut t = Transaction::default();
        t.begin();
        t.note_change();
        assert!(t.end(false).1.is_some());
        t.begin();
        assert!(t.end(false).1.is_none());
        assert!(t.end(true).1.is_some());
    }
}
