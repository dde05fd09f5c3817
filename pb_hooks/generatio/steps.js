/** The steps of a migration, which are the same in `pb_migrations`, in the repair route and, changing nothing, in the check. */

const { report } = require("./report.js")

const STEPS = {
  collections: (app, out) => require("./collections.js").run(app, out),
  data: (app, out) => require("./carry.js").run(app, out),
  settings: (app, out, options) => require("./settings.js").run(app, out, options.trust),
}

/** For a migration file: one step, in the transaction of the migration. It never throws, since that would stop PocketBase. */
function step(app, name) {
  const out = report(app, true)
  try {
    STEPS[name](app, out, {})
  } catch (cause) {
    out.blocked(name, "", `${cause}`)
  }
}

/** Every step again, each in a transaction of its own. */
function repair(app, options) {
  const done = []
  for (const name of Object.keys(STEPS)) {
    app.runInTransaction((tx) => {
      const out = report(tx, true)
      STEPS[name](tx, out, options)
      done.push(...out.done)
    })
  }
  return { done, problems: problems(app) }
}

/** What differs from what is needed; changes nothing. */
function problems(app) {
  const out = report(app, false)
  for (const name of Object.keys(STEPS)) {
    out.step = name
    STEPS[name](app, out, {})
  }
  return out.problems
}

module.exports = { step, repair, problems }
