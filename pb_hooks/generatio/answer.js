/** How our routes answer: PocketBase's error shape, with a code that a client can match. */

/** A refusal that a route throws; whatever transaction it leaves is rolled back. */
function refuse(status, message, field, code, more) {
  const data = field ? { [field]: Object.assign({ code, message }, more || {}) } : {}
  return { refused: true, status, body: { status, message, data } }
}

const notFound = () => refuse(404, "The requested resource wasn't found.")

/** Runs a route: what it returns is the answer, what it refuses is the error. */
function answer(e, work) {
  let found
  try {
    found = work(e.requestInfo().body || {})
  } catch (cause) {
    if (!cause || !cause.refused) throw cause
    return e.json(cause.status, cause.body)
  }
  return e.json(200, found)
}

/** One transaction, which a refusal leaves undone. */
function atomic(app, work) {
  let refusal = null
  let found
  try {
    app.runInTransaction((tx) => {
      try {
        found = work(tx)
      } catch (cause) {
        if (cause && cause.refused) refusal = cause
        throw cause
      }
    })
  } catch (cause) {
    throw refusal || cause
  }
  return found
}

/** The text of a field of a body; anything else is as good as none. */
function textOf(body, name) {
  return typeof body[name] === "string" ? body[name] : ""
}

module.exports = { refuse, notFound, answer, atomic, textOf }
