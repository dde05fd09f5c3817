/** The shape of a user's folders: who is above, who is below, and what a folder may be called. */

const { refuse } = require("./answer.js")
const { rows, row } = require("./sql.js")

const DEPTH = 16
const FOLDERS = 1000

/** A user's folder, or null. */
function owned(app, user, id) {
  if (!id) return null
  try {
    const folder = app.findRecordById("folders", id)
    return user && folder.getString("user_id") === user ? folder : null
  } catch (_) {
    return null
  }
}

/** A user's folder that is not deleted, or null. */
function live(app, user, id) {
  const folder = owned(app, user, id)
  return folder && folder.getString("deleted_at") === "" ? folder : null
}

/** The ids from a folder up to the top, itself first; a ring that was there before us ends where it closes. */
function above(app, id) {
  return rows(app,
    `WITH RECURSIVE up(id, parent_id) AS (SELECT id, parent_id FROM folders WHERE id = {:id}
     UNION SELECT f.id, f.parent_id FROM folders f JOIN up ON f.id = up.parent_id) SELECT id FROM up`, { id: "" }, { id }).map((each) => each.id)
}

// The pluses below keep SQLite from looking at all of a user's folders to find the few in one: with a thousand of them that is a million.

/** The ids of a folder and of all below it whose `deleted_at` is `stamp` all the way down; `""` for the live ones. */
function below(app, user, id, stamp) {
  return rows(app,
    `WITH RECURSIVE down(id) AS (SELECT {:id} UNION SELECT f.id FROM folders f JOIN down ON f.parent_id = down.id
     WHERE +f.user_id = {:user} AND +f.deleted_at = {:stamp}) SELECT id FROM down`, { id: "" }, { id, user, stamp }).map((each) => each.id)
}

/** How many levels a folder has with what is below it. */
function height(app, user, id, stamp) {
  return row(app,
    `WITH RECURSIVE down(id, level) AS (SELECT {:id}, 1 UNION SELECT f.id, down.level + 1 FROM folders f JOIN down ON f.parent_id = down.id
     WHERE +f.user_id = {:user} AND +f.deleted_at = {:stamp} AND down.level < 100) SELECT MAX(level) AS n FROM down`, { n: 0 }, { id, user, stamp }).n
}

/** Refuses a parent that a folder of `levels` levels cannot have. `id` is empty for a folder that is yet to be. */
function mayStandUnder(app, user, id, parent, levels) {
  if (parent === "") return
  if (!live(app, user, parent)) throw refuse(400, "No such folder to put it in.", "parent_id", "validation_missing_rel_records")
  const path = above(app, parent)
  if (id && path.includes(id)) throw refuse(409, "A folder cannot be moved under itself.", "parent_id", "validation_cycle")
  if (path.length + levels > DEPTH) throw refuse(400, `Folders can be at most ${DEPTH} levels deep.`, "parent_id", "validation_too_deep")
}

/** Refuses `more` folders where a user would then have too many. */
function mayHave(app, user, more) {
  const { n } = row(app, "SELECT COUNT(*) AS n FROM folders WHERE user_id = {:user} AND deleted_at = ''", { n: 0 }, { user })
  if (n + more > FOLDERS) throw refuse(400, `A user can have at most ${FOLDERS} folders.`, "name", "validation_too_many")
}

/** Refuses a name that the API would refuse. */
function mayBeCalled(name) {
  const length = Array.from(name).length
  if (length === 0) throw refuse(400, "name is required", "name", "validation_required")
  if (length > 100) throw refuse(400, "name has more than 100 characters", "name", "validation_length_too_long")
  // eslint-disable-next-line no-control-regex
  if (/[<>:"/\\|?*\u0000-\u001f\u007f-\u009f]/.test(name))
    throw refuse(400, 'name has one of <>:"/\\|?* or a control character', "name", "validation_invalid_format")
}

module.exports = { owned, live, below, height, mayStandUnder, mayHave, mayBeCalled }
