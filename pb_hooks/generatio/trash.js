/** A folder is deleted with everything in it under one stamp, and restored by exactly that stamp. */

const tree = require("./tree.js")
const { rows, change } = require("./sql.js")

const written = (milliseconds) => new Date(milliseconds).toISOString().replace("T", " ")

/** Now, or as soon after it as no row of the user has been stamped yet: two deletions are never mistaken for one. */
function freshStamp(app, user) {
  for (let at = Date.now(); ; at++) {
    const stamp = written(at)
    const taken = "SELECT 1 AS n FROM {{folders}} WHERE user_id = {:user} AND deleted_at = {:stamp} UNION ALL " +
      "SELECT 1 FROM {{images}} WHERE user_id = {:user} AND deleted_at = {:stamp} LIMIT 1"
    if (rows(app, taken, { n: 0 }, { user, stamp }).length === 0) return stamp
  }
}

/**
 * Restamps the folders of `ids` and the images in them from one stamp to another. Answers how many of each.
 * The pluses keep SQLite from finding rows by their stamp: all live ones have the same.
 */
function restamp(app, user, ids, from, to) {
  const bind = { user, from, to, now: written(Date.now()), ids: JSON.stringify(ids) }
  const set = "SET deleted_at = {:to}, updated = {:now} WHERE +deleted_at = {:from} AND"
  return {
    folders: change(app, `UPDATE folders ${set} +user_id = {:user} AND id IN (SELECT value FROM json_each({:ids}))`, bind),
    images: change(app, `UPDATE images ${set} user_id = {:user} AND folder_id IN (SELECT value FROM json_each({:ids}))`, bind),
  }
}

/** Deletes: `save` writes the folder itself, with the stamp that it is given. */
function bury(app, folder, save) {
  const user = folder.getString("user_id")
  const ids = tree.below(app, user, folder.id, "")
  const stamp = freshStamp(app, user)
  save(stamp)
  const { folders, images } = restamp(app, user, ids, "", stamp)
  return { deleted_at: stamp, folders: folders + 1, images }
}

/** Restores what went with the folder's own stamp. One whose parent is gone, or has become too deep, comes back at the top. */
function raise(app, folder, save) {
  const user = folder.getString("user_id")
  const stamp = folder.getString("deleted_at")
  const ids = tree.below(app, user, folder.id, stamp)
  tree.mayHave(app, user, ids.length)
  let parent = folder.getString("parent_id")
  try {
    tree.mayStandUnder(app, user, folder.id, parent, tree.height(app, user, folder.id, stamp))
  } catch (cause) {
    if (!cause.refused) throw cause
    parent = ""
  }
  save(parent)
  const { folders, images } = restamp(app, user, ids, stamp, "")
  return { parent_id: parent, folders: folders + 1, images }
}

module.exports = { bury, raise }
