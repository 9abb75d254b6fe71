//! The engine's last checkpoint. **Ground state**: the one commit point of frontier and view state.

use fleuve_types::{Error, ErrorKind, ObjectId, Result};
use sqlx::Row;

use crate::store::{self, Catalog, ENVIRONMENT};

/// Longest manifest of one view, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 256 << 20;

/// Where the engine stood, and which files hold its state then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The epoch that the checkpoint shows.
    pub epoch: u64,
    /// That epoch's time, microseconds since the Unix epoch.
    pub time_us: i64,
    /// The inputs' frontier, as [`fleuve_types::Frontier::encode`] writes it; opaque here.
    pub frontier: Vec<u8>,
    /// Per view: its id, the version of its definition, and its state manifest (opaque here). When committing: only the
    /// views that changed, the others keep what they have. When loading: all, by id.
    pub views: Vec<(ObjectId, u32, Vec<u8>)>,
    /// Views whose state goes. Empty when loading.
    pub removed: Vec<ObjectId>,
}

impl Catalog {
    /// Makes `checkpoint` the one that [`Catalog::load_checkpoint`] gives; all of it or nothing. A view need not be an object of
    /// the catalog (any more): dropping an object leaves its manifest here until a checkpoint removes it, so that
    /// the engine can still find the files to delete.
    ///
    /// # Errors
    /// `Bug` if its epoch is before that of the last one or a view is named twice; `Limit` for a manifest that is too large; `Io`; `Retry` if the
    /// database was busy; `Unknown` if the commit itself failed.
    pub async fn commit_checkpoint(&self, checkpoint: Checkpoint) -> Result<()> {
        check(&checkpoint)?;
        let epoch = i64::try_from(checkpoint.epoch).map_err(|_| Error::bug("an epoch beyond 2^63"))?;
        let mut tx = self.begin().await?;
        let last: Option<i64> = sqlx::query_scalar("SELECT epoch FROM checkpoint WHERE environment = ?")
            .bind(ENVIRONMENT)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| store::failed("read the last checkpoint", e))?;
        if let Some(last) = last.filter(|last| *last > epoch) {
            return Err(Error::bug(format!("a checkpoint of epoch {epoch} after one of epoch {last}")));
        }
        sqlx::query(
            "INSERT INTO checkpoint (environment, epoch, time_us, frontier) VALUES (?, ?, ?, ?)
             ON CONFLICT (environment) DO UPDATE SET epoch = excluded.epoch, time_us = excluded.time_us, frontier = excluded.frontier",
        )
        .bind(ENVIRONMENT)
        .bind(epoch)
        .bind(checkpoint.time_us)
        .bind(checkpoint.frontier)
        .execute(&mut *tx)
        .await
        .map_err(|e| store::failed("write the checkpoint", e))?;
        for id in &checkpoint.removed {
            sqlx::query("DELETE FROM view_checkpoint WHERE environment = ? AND object = ?")
                .bind(ENVIRONMENT)
                .bind(id.to_bytes().to_vec())
                .execute(&mut *tx)
                .await
                .map_err(|e| store::failed("remove a view from the checkpoint", e))?;
        }
        for (id, version, manifest) in checkpoint.views {
            sqlx::query(
                "INSERT INTO view_checkpoint (environment, object, version, manifest) VALUES (?, ?, ?, ?)
                 ON CONFLICT (environment, object) DO UPDATE SET version = excluded.version, manifest = excluded.manifest",
            )
            .bind(ENVIRONMENT)
            .bind(id.to_bytes().to_vec())
            .bind(i64::from(version))
            .bind(manifest)
            .execute(&mut *tx)
            .await
            .map_err(|e| store::failed("write a view's manifest", e))?;
        }
        self.commit(tx).await
    }

    /// The last checkpoint with all its views, or `None` before the first.
    ///
    /// # Errors
    /// `Io` if the database can't be read; `Bug` if what it holds is not what was written.
    pub async fn load_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let mut tx = self.pool().begin().await.map_err(|e| store::failed("read the checkpoint", e))?;
        let row = sqlx::query("SELECT epoch, time_us, frontier FROM checkpoint WHERE environment = ?")
            .bind(ENVIRONMENT)
            .fetch_optional(&mut *tx)
            .await
            .map_err(|e| store::failed("read the checkpoint", e))?;
        let Some(row) = row else { return Ok(None) };
        let mut checkpoint = Checkpoint {
            epoch: u64::try_from(row.get::<i64, _>(0)).map_err(|_| Error::bug("a negative epoch in the catalog"))?,
            time_us: row.get(1),
            frontier: row.get(2),
            ..Checkpoint::default()
        };
        let rows =
            sqlx::query("SELECT object, version, manifest FROM view_checkpoint WHERE environment = ? ORDER BY object")
                .bind(ENVIRONMENT)
                .fetch_all(&mut *tx)
                .await
                .map_err(|e| store::failed("read the views' manifests", e))?;
        for row in rows {
            let version = u32::try_from(row.get::<i64, _>(1)).map_err(|_| Error::bug("a version beyond 32 bits"))?;
            checkpoint.views.push((store::object_id(row.get(0))?, version, row.get(2)));
        }
        Ok(Some(checkpoint))
    }
}

fn check(checkpoint: &Checkpoint) -> Result<()> {
    let mut ids: Vec<ObjectId> =
        checkpoint.views.iter().map(|v| v.0).chain(checkpoint.removed.iter().copied()).collect();
    ids.sort();
    if let Some(twice) = ids.windows(2).find(|w| w[0] == w[1]) {
        return Err(Error::bug(format!("a checkpoint names the view {} twice", twice[0])));
    }
    for (id, _, manifest) in &checkpoint.views {
        if manifest.len() > MAX_MANIFEST_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("the manifest of view {id} has {} bytes; the limit is {MAX_MANIFEST_BYTES}", manifest.len()),
            ));
        }
    }
    Ok(())
}
