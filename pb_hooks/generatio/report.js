/** One run over what is needed: it names what differs, or mends it piece by piece, and no piece is left half done. */

/** Runs `work` in a savepoint of the transaction that `app` is in. Answers what went wrong, or null. */
function piece(app, work) {
  const run = (sql) => app.db().newQuery(sql).execute()
  run("SAVEPOINT generatio")
  try {
    work()
    run("RELEASE generatio")
    return null
  } catch (cause) {
    run("ROLLBACK TO generatio")
    run("RELEASE generatio")
    app.reloadCachedCollections()
    return `${cause}`
  }
}

/** With `mend` false nothing is changed. */
function report(app, mend) {
  const done = []
  const problems = []
  const say = (line) => { if (mend) console.log("generatio: " + line) }

  /** Something that we may not or cannot mend. */
  function blocked(collection, field, problem, fixable) {
    problems.push({ step: out.step, collection, field, problem, fixable: fixable === true })
    say(`not done: ${collection}${field ? "." + field : ""}: ${problem}`)
  }

  /** `missing` (fields and words) can be mended by `fix`; `words` say so when it is done. Answers whether all is well now. */
  function change(collection, missing, words, fix) {
    if (missing.length === 0) return true
    if (!mend) {
      for (const [field, problem] of missing) blocked(collection, field, problem, true)
      return false
    }
    const cause = piece(app, fix)
    if (cause === null) {
      done.push(words)
      say(words)
      return true
    }
    for (const [field, problem] of missing) blocked(collection, field, `${problem} (PocketBase: ${cause})`, true)
    return false
  }

  const out = { mend, done, problems, step: "", blocked, change, say }
  return out
}

module.exports = { report }
