/** What the sidecar asks for at its start: which version of this folder it meets, and what is not as it needs it. */

const schema = require("./schema.js")
const settings = require("./settings.js")
const steps = require("./steps.js")
const { find } = require("./collections.js")

function version(app) {
  const users = find(app, schema.usersName())
  const { enabled, maxRequests, timeout, maxBodySize } = app.settings().batch
  return {
    version: schema.VERSION,
    problems: steps.problems(app),
    users_collection: users ? users.name : schema.usersName(),
    users_collection_id: users ? users.id : "",
    batch: { enabled, max_requests: maxRequests, timeout, max_body_size: maxBodySize },
    trusted_proxy: settings.trusted(app),
    opened_by_us: settings.openedByUs(app),
  }
}

/** `{"trust_x_real_ip": true}` asks for the client's address to be taken from X-Real-IP, as the environment variable does. */
function repair(app, body) {
  return steps.repair(app, { trust: body.trust_x_real_ip === true })
}

module.exports = { version, repair }
