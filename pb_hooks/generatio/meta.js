/** What we remember about this PocketBase: one row of `generatio_meta` a fact. */

/** The remembered value, or `otherwise`. */
function recall(app, key, otherwise) {
  try {
    return JSON.parse(app.findFirstRecordByData("generatio_meta", "key", key).getString("value"))
  } catch (_) {
    return otherwise
  }
}

/** Remembers a value. */
function remember(app, key, value) {
  let row
  try {
    row = app.findFirstRecordByData("generatio_meta", "key", key)
  } catch (_) {
    row = new Record(app.findCollectionByNameOrId("generatio_meta"))
    row.set("key", key)
  }
  row.set("value", JSON.stringify(value))
  app.save(row)
}

module.exports = { recall, remember }
