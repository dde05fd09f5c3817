/** Removes for good what has lain deleted for long enough; money is never touched. */

const AT_ONCE = 200

/** The days after which it is removed; 0 for never. */
function days() {
  const asked = ($os.getenv("GENERATIO_PURGE_DAYS") || "").trim()
  return /^[1-9][0-9]{0,4}$/.test(asked) ? parseInt(asked, 10) : 0
}

/** Removes images and folders through PocketBase, so that files and references go too. */
function run(app) {
  const before = new Date(Date.now() - days() * 86400000).toISOString().replace("T", " ")
  let removed = 0
  for (const name of ["images", "folders"]) {
    for (;;) {
      const old = app.findRecordsByFilter(name, "deleted_at != '' && deleted_at < {:before}", "deleted_at", AT_ONCE, 0, { before })
      if (old.length === 0) break
      app.runInTransaction((tx) => { for (const record of old) tx.delete(record) })
      removed += old.length
    }
  }
  if (removed > 0) console.log(`generatio: ${removed} images and folders deleted before ${before} removed for good`)
}

module.exports = { days, run }
