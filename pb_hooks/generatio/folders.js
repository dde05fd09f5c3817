/** The superuser's routes for folders: each is one transaction. */

const { refuse, notFound, atomic, textOf } = require("./answer.js")
const tree = require("./tree.js")
const trash = require("./trash.js")
const { row } = require("./sql.js")

/** The folder that a body names, in the state that is asked for. */
function named(tx, body, deleted) {
  const folder = tree.owned(tx, textOf(body, "user"), textOf(body, "folder"))
  if (!folder || (folder.getString("deleted_at") !== "") !== deleted) throw notFound()
  return folder
}

/** A live folder, and how many live images are in it. */
function view(app, user, id) {
  const folder = tree.live(app, user, id)
  if (!folder) throw notFound()
  const shown = { private: folder.getBool("private") }
  for (const field of ["id", "user_id", "name", "parent_id", "deleted_at", "created", "updated"]) shown[field] = folder.getString(field)
  // The plus keeps SQLite from finding all live images of the user.
  const { n } = row(app, "SELECT COUNT(*) AS n FROM images WHERE folder_id = {:id} AND user_id = {:user} AND +deleted_at = ''", { n: 0 }, { id, user })
  return { folder: shown, images: n }
}

function remove(app, body) {
  return atomic(app, (tx) => {
    const folder = named(tx, body, false)
    return trash.bury(tx, folder, (stamp) => {
      folder.set("deleted_at", stamp)
      tx.save(folder)
    })
  })
}

function restore(app, body) {
  return atomic(app, (tx) => {
    const folder = named(tx, body, true)
    return trash.raise(tx, folder, (parent) => {
      folder.set("deleted_at", "")
      folder.set("parent_id", parent)
      tx.save(folder)
    })
  })
}

function move(app, body) {
  return atomic(app, (tx) => {
    const folder = named(tx, body, false)
    const user = folder.getString("user_id")
    const parent = textOf(body, "parent")
    tree.mayStandUnder(tx, user, folder.id, parent, tree.height(tx, user, folder.id, ""))
    folder.set("parent_id", parent)
    tx.save(folder)
    return { parent_id: parent }
  })
}

/** Puts images into a folder: all of them, or none. */
function add(app, body) {
  const ids = body.images
  if (!Array.isArray(ids) || ids.length < 1 || ids.length > 100)
    throw refuse(400, "images must be a list of 1 to 100 ids", "images", "validation_length_out_of_range")
  return atomic(app, (tx) => {
    const folder = named(tx, body, false)
    const user = folder.getString("user_id")
    const seen = {}
    ids.forEach((id, position) => {
      if (seen[id]) return
      seen[id] = true
      const image = ownImage(tx, user, id)
      if (!image) throw refuse(400, `image_ids[${position}] is no image of yours`, "images", "validation_missing_rel_records", { position })
      image.set("folder_id", folder.id)
      tx.save(image)
    })
    return { added: Object.keys(seen).length }
  })
}

function ownImage(tx, user, id) {
  if (typeof id !== "string" || id === "") return null
  try {
    const image = tx.findRecordById("images", id)
    return image.getString("user_id") === user && image.getString("deleted_at") === "" ? image : null
  } catch (_) {
    return null
  }
}

module.exports = { view, remove, restore, move, add }
