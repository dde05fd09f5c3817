//! The end of a job: ledger, totals and state in one transaction.

use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::row::{JobRow, Link, Status};
use super::run::{Left, Run, stamp};
use super::{LONGEST_PAUSE, PAUSE, Unwritten};
use crate::fal::{Charge, UnitPrice, Units};
use crate::id::RowId;
use crate::metrics;
use crate::pocketbase;
use crate::pocketbase::admin::Repeat;
use crate::pocketbase::batch::Batch;
use crate::pocketbase::rows::Table;

/// What the ledger calls a job's charge.
const KIND: &str = "generation";

impl Run {
    /// Charges what the job cost and ends it; both or neither, and a second time changes nothing.
    pub(super) async fn settle(&mut self, status: Status, charge: Charge, links: Vec<Link>) -> Left {
        let now = Timestamp::now();
        self.row.seq += 1;
        self.row.finished_at = Some(now);
        self.row.cost_micros = charge.amount;
        self.row.estimated = charge.estimated;
        self.row.queue_position = 0;
        self.row.images = links;
        if status == Status::Completed {
            self.row.error = None;
        }
        let mut end = json!({
            "status": status,
            "seq": self.row.seq,
            "queue_position": 0,
            "request_id": self.row.request_id,
            "cost_micros": charge.amount,
            "estimated": charge.estimated,
            "units": whole(charge.units.map(Units::nanos)),
            "unit_price": whole(charge.unit_price.map(UnitPrice::nano_dollars)),
            "images": self.row.images,
            "error": self.row.error,
            "finished_at": stamp(now),
        });
        self.add_owed(&mut end);
        match self.settle_until_done(charge, &end).await {
            Ok(()) => {
                self.row.status = status;
                self.view.send_replace(self.row.clone());
                let model = self.jobs.model_word(&self.row.model);
                metrics::SETTLEMENTS.one([model.clone(), status.word().into()]);
                metrics::SETTLED_MICRODOLLARS.add([model], u64::try_from(charge.amount.micros()).unwrap_or(0));
                tracing::info!(
                    target: "audit",
                    event = "job_settled",
                    job = %self.row.id,
                    user = %self.row.user_id,
                    status = status.word(),
                    cost_micros = charge.amount.micros(),
                    estimated = charge.estimated,
                    images = self.row.images.len(),
                    error = self.row.error.as_ref().map(|failure| failure.error.as_str()),
                    "a job was settled"
                );
                Left::Over
            }
            Err(_) => Left::Parked,
        }
    }

    async fn settle_until_done(&mut self, charge: Charge, end: &Value) -> Result<(), Unwritten> {
        let mut pause = PAUSE;
        loop {
            let settled = self.settle_once(charge, end).await;
            match settled {
                Ok(()) => return Ok(()),
                Err(error) => match self.jobs.settle_for(self.row.id, &error) {
                    Ok(()) => {}
                    // The user is gone, and the row with them; what FAL was paid stays in the ledger.
                    Err(Unwritten::Gone) if !self.orphan => self.orphan = true,
                    Err(unwritten) => return Err(unwritten),
                },
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.jobs.stopping.cancelled() => return Err(Unwritten::Stopping),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn settle_once(&self, charge: Charge, end: &Value) -> Result<(), pocketbase::Error> {
        let admin = &self.jobs.admin;
        if charge.amount.micros() == 0 && self.row.images.is_empty() {
            return if self.orphan { Ok(()) } else { admin.update(Table::Generations, self.row.id, end).await };
        }
        let sums = json!({ "spent_micros+": charge.amount, "images+": self.row.images.len() });
        let mut batch = Batch::default().create(admin, Table::SpendEvents, &self.ledger_row(charge)).update(
            admin,
            Table::SpendTotals,
            self.row.user_id,
            &sums,
        );
        if !self.orphan {
            batch = batch.update(admin, Table::Generations, self.row.id, end);
        }
        let mut outcome = admin.batch(&batch, Repeat::Harmless).await;
        if outcome.as_ref().is_err_and(lacks_totals) && self.make_totals().await? {
            outcome = admin.batch(&batch, Repeat::Harmless).await;
        }
        match outcome {
            Err(error) if is_charged(&error) => {
                // An earlier attempt, here or before a crash, went through: only the job's end may be missing.
                if self.orphan { Ok(()) } else { admin.update(Table::Generations, self.row.id, end).await }
            }
            outcome => outcome.map(drop),
        }
    }

    /// Makes the user's totals from the ledger, if there still is such a user: says whether there is.
    async fn make_totals(&self) -> Result<bool, pocketbase::Error> {
        let admin = &self.jobs.admin;
        if admin.get::<JobRow>(self.row.id).await?.is_none() {
            return Ok(false);
        }
        tracing::warn!(user = %self.row.user_id, "a user had no totals: they are made from the ledger");
        let path = format!("books/{}", self.row.user_id);
        admin.hook::<Value>(Method::POST, &path, &[Table::SpendTotals], None::<&()>, Repeat::Harmless).await.map(|_| true)
    }

    fn ledger_row(&self, charge: Charge) -> Value {
        json!({
            "id": event_id(self.row.id.as_str()),
            "user_id": self.row.user_id,
            "job_id": self.row.id,
            "kind": KIND,
            "amount_micros": charge.amount,
            "images": self.row.images.len(),
            "units": whole(charge.units.map(Units::nanos)),
            "unit_price": whole(charge.unit_price.map(UnitPrice::nano_dollars)),
            "estimated": charge.estimated,
            "model": self.row.model,
        })
    }
}

/// Units and dollars, not their thousand-millionths: PocketBase keeps doubles, and these are for people.
#[expect(clippy::cast_precision_loss, reason = "for people; the amount is what counts")]
fn whole(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

/// Whether the ledger has the job's charge already.
fn is_charged(error: &pocketbase::Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.is_not_unique() && refusal.item.as_ref().is_some_and(|(index, _)| *index == 0))
}

/// Whether the batch found no totals to add to: its second item.
fn lacks_totals(error: &pocketbase::Error) -> bool {
    error.refusal().is_some_and(|refusal| refusal.is_not_found() && refusal.item.as_ref().is_some_and(|(index, _)| *index == 1))
}

fn event_id(job: &str) -> RowId {
    RowId::derived(&Sha256::new().chain_update(b"generatio/charge\0").chain_update(job).finalize().into())
}
