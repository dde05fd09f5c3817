/** What a user spent, whether the books agree, and how they are made to. */

const { usersName } = require("./schema.js")
const { rows, row } = require("./sql.js")
const { atomic } = require("./answer.js")
const money = require("./money.js")

/** What opened the ledger was spent before it, so it is never recent. */
function stats(app, user) {
  const found = row(app,
    `SELECT COALESCE(SUM(amount_micros), 0) AS spent_micros, COALESCE(SUM(images), 0) AS images,
     COALESCE(SUM(CASE WHEN kind != 'opening' AND created >= strftime('%Y-%m-%d %H:%M:%fZ', 'now', '-30 days') THEN amount_micros ELSE 0 END), 0) AS recent_micros
     FROM spend_events WHERE user_id = {:user}`, { spent_micros: 0, images: 0, recent_micros: 0 }, { user })
  return { spent_micros: found.spent_micros, images: found.images, recent_micros: found.recent_micros }
}

/** One line for every user: the ledger, and what is derived from it. -1 stands for a row or a value that is not there. */
function lines(app, which, bind) {
  const users = usersName()
  const noted = (path) => `CASE WHEN json_valid(u.financial_data) THEN json_extract(u.financial_data, '$.${path}') END`
  return rows(app,
    `WITH ids AS (${which}), sums AS (SELECT ids.id AS id,
       (SELECT COALESCE(SUM(amount_micros), 0) FROM spend_events WHERE user_id = ids.id) AS micros,
       (SELECT COALESCE(SUM(images), 0) FROM spend_events WHERE user_id = ids.id) AS images,
       (SELECT COALESCE(SUM(cost_micros), 0) FROM images WHERE user_id = ids.id) AS pictures FROM ids)
     SELECT s.id AS user, CAST(s.micros AS INTEGER) AS ledger_micros, CAST(s.images AS INTEGER) AS ledger_images,
       COALESCE(CAST(t.spent_micros AS INTEGER), -1) AS totals_micros, COALESCE(CAST(t.images AS INTEGER), -1) AS totals_images,
       u.id IS NOT NULL AS present,
       COALESCE(CAST(ROUND(${noted("total_spent")} * 1000000) AS INTEGER), -1) AS financial_micros,
       COALESCE(CAST(${noted("total_images")} AS INTEGER), -1) AS financial_images,
       CAST(s.pictures AS INTEGER) AS images_micros
     FROM sums s LEFT JOIN spend_totals t ON t.user_id = s.id LEFT JOIN {{${users}}} u ON u.id = s.id ORDER BY s.id`,
    { user: "", ledger_micros: 0, ledger_images: 0, totals_micros: 0, totals_images: 0, present: 0, financial_micros: 0, financial_images: 0,
      images_micros: 0 }, bind)
}

/** Images may cost less than the ledger says, since they can be purged; more would be work that was never charged. */
function differs(line) {
  const totals = line.totals_micros === line.ledger_micros && line.totals_images === line.ledger_images
  const financial = line.present === 0 || (line.financial_micros === line.ledger_micros && line.financial_images === line.ledger_images)
  return !totals || !financial || line.images_micros > line.ledger_micros
}

function plain(line) {
  return {
    user: line.user, ledger_micros: line.ledger_micros, ledger_images: line.ledger_images, totals_micros: line.totals_micros,
    totals_images: line.totals_images, user_exists: line.present !== 0, financial_micros: line.financial_micros,
    financial_images: line.financial_images, images_micros: line.images_micros,
  }
}

/** The users of one page whose books differ, and where the next page begins. */
function page(app, after, limit) {
  const branch = (column, table) =>
    `SELECT * FROM (SELECT DISTINCT ${column} AS id FROM {{${table}}} WHERE ${column} > {:after} ORDER BY ${column} LIMIT {:limit})`
  const which = [branch("id", usersName()), branch("user_id", "spend_totals"), branch("user_id", "spend_events")].join(" UNION ")
  const found = lines(app, `SELECT id FROM (${which}) ORDER BY id LIMIT {:limit}`, { after, limit })
  return {
    checked: found.length,
    users: found.filter(differs).map(plain),
    next: found.length === limit ? found[found.length - 1].user : null,
  }
}

/** Writes a user's totals and `financial_data` anew from the ledger. */
function recompute(app, user) {
  return atomic(app, (tx) => {
    money.recompute(tx, user)
    return plain(lines(tx, "SELECT {:user} AS id", { user })[0])
  })
}

module.exports = { stats, page, recompute }
