/** The ledger is the truth; totals and `financial_data` are derived from it here, and nowhere else. */

const { usersName } = require("./schema.js")

const SUMS = "SELECT COALESCE(SUM(amount_micros), 0) AS micros, COALESCE(SUM(images), 0) AS images FROM spend_events WHERE user_id = {:user}"

/** Whole micro-dollars as dollars, digit by digit: no float is involved. */
function dollars(micros) {
  return `rtrim(rtrim(printf('%s%d.%06d', CASE WHEN ${micros} < 0 THEN '-' ELSE '' END, abs(${micros}) / 1000000, abs(${micros}) % 1000000), '0'), '.')`
}

/** The text of `financial_data`, spelled as PocketBase spells it: a user who sends back what they read changes nothing. */
function financial(micros, images) {
  return `'{"total_images":' || ${images} || ',"total_spent":' || ${dollars(micros)} || '}'`
}

/** Writes one user's `financial_data`, that one column alone, in the transaction that `app` is in. A field of another type is left alone. */
function project(app, user) {
  const field = app.findCachedCollectionByNameOrId(usersName()).fields.getByName("financial_data")
  if (!field || field.type() !== "json") return
  app.db().newQuery(
    `WITH sums AS MATERIALIZED (SELECT CAST(s.micros AS INTEGER) AS m, CAST(s.images AS INTEGER) AS n FROM (${SUMS}) s)
     UPDATE {{${usersName()}}} SET financial_data = (SELECT ${financial("m", "n")} FROM sums) WHERE id = {:user}`,
  ).bind({ user }).execute()
}

/** Makes sure that a user's totals are there. Their id is the user's own, so that a settlement can name them. */
function open(app, user) {
  app.db().newQuery("INSERT OR IGNORE INTO spend_totals (id, user_id, spent_micros, images) VALUES ({:user}, {:user}, 0, 0)").bind({ user }).execute()
}

/** Writes one user's totals and `financial_data` anew from the ledger, in the transaction that `app` is in. */
function recompute(app, user) {
  open(app, user)
  app.db().newQuery(
    `UPDATE spend_totals SET (spent_micros, images) = (SELECT CAST(s.micros AS INTEGER), CAST(s.images AS INTEGER) FROM (${SUMS}) s) WHERE user_id = {:user}`,
  ).bind({ user }).execute()
  project(app, user)
}

module.exports = { project, recompute }
