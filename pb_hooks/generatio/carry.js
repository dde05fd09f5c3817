/** What was there before us: preferences get their owner, images their cost, and the ledger opens with what was spent. */

const { usersName } = require("./schema.js")
const { recall, remember } = require("./meta.js")
const { rows } = require("./sql.js")
const money = require("./money.js")

/** The cost that the former extension noted, in micro-dollars; 0 for none, and for what cannot be a price. */
const NOTED = "CAST(ROUND(CASE WHEN json_valid(other_info) AND json_type(other_info) = 'object' " +
  "AND json_type(other_info, '$.cost_usd') IN ('integer', 'real', 'text') THEN json_extract(other_info, '$.cost_usd') ELSE 0 END * 1000000) AS INTEGER)"
const COST = `CASE WHEN ${NOTED} BETWEEN 1 AND 1000000000 THEN ${NOTED} ELSE 0 END`

function missing(app, needed) {
  return Object.keys(needed).some((name) => {
    try {
      const fields = app.findCollectionByNameOrId(name).fields
      return needed[name].some(([field, types]) => !fields.getByName(field) || !types.includes(fields.getByName(field).type()))
    } catch (_) {
      return true
    }
  })
}

/** Does a carry-over once and for all: `count` rows wait for it; rows that come later are none of its business. */
function once(app, out, key, count, problem, words, work) {
  if (recall(app, key, false)) return
  if (count > 0) out.change(problem[0], [[problem[1], problem[2]]], words, () => { work(); remember(app, key, true) })
  else if (out.mend) remember(app, key, true)
}

/** Rows from before there were times come in the order in which they were made, ending now. */
function times(app, out, name) {
  if (missing(app, { [name]: [["created", ["autodate"]], ["updated", ["autodate"]]] }) || recall(app, "times_of_" + name, false)) return
  const empty = rows(app, `SELECT COUNT(*) AS n FROM ${name} WHERE created = '' OR updated = ''`, { n: 0 })[0].n
  once(app, out, "times_of_" + name, empty, [name, "created", `${empty} rows have no time`], `${name}: ${empty} rows without a time got one`, () => {
    for (const column of ["created", "updated"]) app.db().newQuery(
      `UPDATE ${name} SET ${column} = strftime('%Y-%m-%d %H:%M:%fZ', 'now', ((rowid - (SELECT MAX(rowid) FROM ${name})) * 0.001) || ' seconds')
       WHERE ${column} = ''`).execute()
  })
}

/** A row claimed by one user becomes theirs; for every further one it is copied. Of doubles the newest counts, and none is removed. */
function preferences(app, out) {
  const users = usersName()
  if (missing(app, { [users]: [["model_preferences", ["relation"]]], model_preferences: [["user_id", ["relation", "text"]], ["model_name", ["text"]]] })) return
  if (recall(app, "preferences_carried", false)) return
  const links = rows(app,
    `SELECT u.id AS user, p.id AS row FROM {{${users}}} u, json_each(CASE WHEN json_valid(u.model_preferences)
     THEN CASE json_type(u.model_preferences) WHEN 'array' THEN u.model_preferences ELSE json_array(json_extract(u.model_preferences, '$')) END
     ELSE json_array(u.model_preferences) END) j JOIN model_preferences p ON p.id = j.value ORDER BY p.rowid DESC, u.rowid`, { user: "", row: "" })
  once(app, out, "preferences_carried", links.length, ["model_preferences", "user_id", `${links.length} links from users are not carried to user_id`],
    `model_preferences: ${links.length} links from users carried to user_id`, () => { for (const { user, row } of links) claim(app, users, user, row) })
}

function claim(app, users, user, id) {
  const row = app.findRecordById("model_preferences", id)
  const owned = rows(app, "SELECT COUNT(*) AS n FROM model_preferences WHERE user_id = {:user} AND model_name = {:model}", { n: 0 },
    { user, model: row.getString("model_name") })[0].n
  if (owned > 0) return
  if (row.getString("user_id") === "") {
    row.set("user_id", user)
    return app.save(row)
  }
  const copy = new Record(row.collection())
  for (const name of row.collection().fields.fieldNames()) {
    if (row.collection().fields.getByName(name).system || name === "created" || name === "updated") continue
    copy.set(name, row.get(name))
  }
  copy.set("user_id", user)
  app.save(copy)
  const record = app.findRecordById(users, user)
  record.set("model_preferences", record.getStringSlice("model_preferences").map((one) => (one === id ? copy.id : one)))
  app.save(record)
}

/** The noted cost of former images becomes `cost_micros`; with it the ledger opens, one entry for every user with such images. */
function ledger(app, out) {
  const users = usersName()
  const text = ["text", "relation"]
  if (missing(app, { images: [["cost_micros", ["number"]], ["job_id", ["text"]], ["user_id", text], ["other_info", ["json"]]],
    spend_events: [["kind", ["text"]]], spend_totals: [["user_id", ["text"]]], [users]: [["financial_data", ["json"]]] })) return
  if (!recall(app, "ledger_opened", false)) {
    const former = `images i JOIN {{${users}}} u ON u.id = i.user_id WHERE i.job_id = ''`
    const count = rows(app, `SELECT COUNT(*) AS n FROM ${former}`, { n: 0 })[0].n
    once(app, out, "ledger_opened", count, ["spend_events", "", `${count} images are not in the ledger`], `spend_events: opened with ${count} images`, () => {
      app.db().newQuery(`UPDATE images SET cost_micros = ${COST} WHERE job_id = '' AND cost_micros = 0 AND ${COST} > 0`).execute()
      const sums = rows(app, `SELECT i.user_id AS user, CAST(SUM(i.cost_micros) AS INTEGER) AS micros, COUNT(*) AS images FROM ${former} GROUP BY i.user_id`,
        { user: "", micros: 0, images: 0 })
      for (const { user, micros, images } of sums) enter(app, user, micros, images)
    })
  }
  const without = rows(app, `SELECT id FROM {{${users}}} u WHERE NOT EXISTS (SELECT 1 FROM spend_totals t WHERE t.user_id = u.id)`, { id: "" })
  if (without.length > 0) out.change("spend_totals", [["", `${without.length} users have no totals`]], `spend_totals: totals of ${without.length} users`,
    () => { for (const { id } of without) money.recompute(app, id) })
}

/** Images of the former extension are those that none of our jobs made. */
function enter(app, user, micros, images) {
  const entry = new Record(app.findCollectionByNameOrId("spend_events"))
  entry.load({ user_id: user, job_id: "opening:" + user, kind: "opening", amount_micros: micros, images, estimated: false })
  app.save(entry)
  money.recompute(app, user)
}

/** The step. */
function run(app, out) {
  for (const name of ["images", "folders", "model_preferences"]) times(app, out, name)
  preferences(app, out)
  ledger(app, out)
}

module.exports = { run }
