//! What the routes ask of SQL.

use std::sync::Arc;

use async_trait::async_trait;
use fleuve_sql::{Applied, Backend, Outcome, ProjectFile, Replay, Replayed, Session, Spec, Subscription, Until};
use fleuve_types::{Error, Result};

/// SQL as the routes use it: [`Sessions`] in the server, a made-up one in tests.
#[async_trait]
pub trait Sql: Send + Sync + 'static {
    /// Runs the statements of a text in a session of their own.
    async fn execute(&self, sql: &str) -> Result<Vec<Outcome>>;
    /// Makes the platform hold what the files declare.
    async fn apply(&self, files: &[ProjectFile], dry_run: bool) -> Result<Vec<Applied>>;
    /// The changes of a view or stream.
    async fn subscribe(&self, namespace: &str, name: &str) -> Result<Subscription>;
    /// A view run again up to a point; `watch` is the key of the row whose changes are wanted, NULL as `None`. `compare` gives the rows that
    /// the view shows, too.
    async fn replay(
        &self,
        name: (&str, &str),
        until: &str,
        watch: Vec<Option<String>>,
        compare: bool,
    ) -> Result<Replayed> {
        let _ = (name, until, watch, compare);
        Err(Error::unsupported("nothing can be replayed here"))
    }
}

/// A new session for each request.
pub struct Sessions(pub Arc<dyn Backend>);

#[async_trait]
impl Sql for Sessions {
    async fn execute(&self, sql: &str) -> Result<Vec<Outcome>> {
        Session::new(self.0.clone()).execute(sql).await
    }

    async fn apply(&self, files: &[ProjectFile], dry_run: bool) -> Result<Vec<Applied>> {
        Session::new(self.0.clone()).apply(files, dry_run).await
    }

    async fn subscribe(&self, namespace: &str, name: &str) -> Result<Subscription> {
        let objects = self.0.objects();
        let object = objects.get(namespace, name).ok_or_else(|| {
            Error::not_found(format!("there is no view or stream \"{namespace}.{name}\""))
                .hint("SHOW VIEWS and SHOW STREAMS list them; names are lower case unless they were quoted")
        })?;
        self.0.subscribe(object.object.id).await
    }

    async fn replay(
        &self,
        (namespace, name): (&str, &str),
        until: &str,
        watch: Vec<Option<String>>,
        compare: bool,
    ) -> Result<Replayed> {
        let objects = self.0.objects();
        let object = objects.get(namespace, name).filter(|o| matches!(o.spec, Spec::View(_)));
        let object = object.ok_or_else(|| {
            Error::not_found(format!("there is no view \"{namespace}.{name}\"")).hint("SHOW VIEWS lists them")
        })?;
        let until = Until::parse(&objects, until)?;
        self.0.replay(Replay { view: object.object.id, until, watch, compare }).await
    }
}
