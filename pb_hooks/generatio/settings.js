/** The batch API, which a settlement is one call of, and the client's address behind the sidecar. */

const { recall, remember } = require("./meta.js")
const { report } = require("./report.js")

const REQUESTS = 200
const SECONDS = 10

/** What differs in the batch settings, in words. */
function batch(app, out) {
  const settings = app.settings()
  const missing = []
  if (!settings.batch.enabled) missing.push(["", "the batch API is off; it is needed, and our hook admits superusers alone to it"])
  if (settings.batch.maxRequests < REQUESTS) missing.push(["", `a batch may hold ${settings.batch.maxRequests} requests; ${REQUESTS} are needed`])
  if (settings.batch.timeout < SECONDS) missing.push(["", `a batch may take ${settings.batch.timeout} s; ${SECONDS} are needed`])
  out.change("settings.batch", missing, `settings: batch API on for ${REQUESTS} requests and ${SECONDS} s`, () => {
    // Whoever finds it on found it open to all clients, and it stays so; opened for us, it is for superusers.
    if (recall(app, "batch", null) === null) remember(app, "batch", { opened_by_us: !settings.batch.enabled })
    settings.batch.enabled = true
    settings.batch.maxRequests = Math.max(settings.batch.maxRequests, REQUESTS)
    settings.batch.timeout = Math.max(settings.batch.timeout, SECONDS)
    app.save(settings)
  })
  if (out.mend && missing.length === 0 && recall(app, "batch", null) === null) remember(app, "batch", { opened_by_us: false })
}

/** The environment variable may come after the migrations have run. */
function atStart(app) {
  try {
    if (asked()) app.runInTransaction((tx) => proxy(tx, report(tx, true), true))
  } catch (cause) {
    console.log(`generatio: the client's address is not taken from X-Real-IP: ${cause}`)
  }
}

/** Only when the operator asks: with PocketBase reachable from elsewhere it would let anyone choose their address. */
function proxy(app, out, asked) {
  if (!asked || trusted(app)) return
  out.change("settings.trustedProxy", [["", "X-Real-IP is not believed, though GENERATIO_TRUST_X_REAL_IP asks for it"]],
    "settings: the client's address is taken from X-Real-IP", () => {
      const settings = app.settings()
      settings.trustedProxy.headers = ["X-Real-IP"]
      settings.trustedProxy.useLeftmostIP = false
      app.save(settings)
    })
}

function trusted(app) {
  return app.settings().trustedProxy.headers.includes("X-Real-IP")
}

/** Whether the operator asked for it in PocketBase's environment. */
function asked() {
  return $os.getenv("GENERATIO_TRUST_X_REAL_IP") === "1"
}

/** The step. */
function run(app, out, trust) {
  batch(app, out)
  proxy(app, out, trust || asked())
}

/** Whether the batch API is on because of us. It is remembered in the transaction that opens it: what is not remembered was open before. */
function openedByUs(app) {
  return recall(app, "batch", { opened_by_us: false }).opened_by_us !== false
}

module.exports = { run, atStart, trusted, openedByUs }
