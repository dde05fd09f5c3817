/** What callers may not do, whatever the rules of a collection have become. */

const schema = require("./schema.js")
const settings = require("./settings.js")
const tree = require("./tree.js")
const trash = require("./trash.js")
const money = require("./money.js")

const READ_ONLY = "validation_read_only"

function locked(field) {
  return new ForbiddenError("", { [field]: new ValidationError(READ_ONLY, "Cannot be changed.") })
}

/** A refusal of ours as PocketBase throws its own. */
function thrown(cause) {
  if (!cause || !cause.refused) return cause
  const data = {}
  for (const field of Object.keys(cause.body.data)) {
    const { code, message } = cause.body.data[field]
    data[field] = new ValidationError(code, message)
  }
  return new ApiError(cause.status, cause.body.message, data)
}

/** Whether the caller is the user of that id; other auth collections may hold the same one. */
function isUser(e, id) {
  if (!e.auth || e.auth.id !== id) return false
  const collection = e.auth.collection()
  return [collection.name, collection.id].includes(schema.usersName())
}

/** A guard for collections that have become ours. */
function guarding(work) {
  return (e) => (schema.isOurs(e.record.collection()) ? work(e) : e.next())
}

function changed(e, field) {
  return JSON.stringify(e.record.get(field)) !== JSON.stringify(e.record.original().get(field))
}

/** Runs the rest of a request in one transaction: nothing can come between what is checked and what is written. */
function within(e, work) {
  const outer = e.app
  let refusal = null
  try {
    outer.runInTransaction((tx) => {
      e.app = tx
      try {
        work(tx)
      } catch (cause) {
        if (cause && cause.refused) refusal = cause
        throw cause
      }
    })
  } catch (cause) {
    throw thrown(refusal || cause)
  } finally {
    e.app = outer
  }
}

/** Nobody but a superuser chooses the id of a new user: it could be a deleted user's, whose ledger remains. */
function createUser(e) {
  if (e.hasSuperuserAuth()) return e.next()
  if (e.record.id) throw locked("id")
  for (const field of schema.USER_LOCKED) {
    if (!["", "null", "[]"].includes(e.record.getString(field))) throw locked(field)
  }
  e.next()
}

function updateUser(e) {
  if (!e.hasSuperuserAuth()) {
    const field = schema.USER_LOCKED.concat("fal_token").find((each) => changed(e, each))
    if (field) throw isUser(e, e.record.id) ? locked(field) : new NotFoundError("")
  }
  e.next()
}

/** Every user has totals, and money fields that are there; a sign-up does not fail for them. */
function openBooks(e) {
  const field = e.record.collection().fields.getByName("financial_data")
  if (field && field.type() === "json" && ["", "null"].includes(e.record.getString("financial_data")))
    e.record.set("financial_data", { total_spent: 0, total_images: 0 })
  e.next()
  try {
    money.recompute(e.app, e.record.id)
  } catch (cause) {
    console.log(`generatio: no totals for the new user ${e.record.id}: ${cause}`)
  }
}

/** The owner may change what the list says; an image comes into live folders of its owner alone. */
function updateImage(e) {
  const superuser = e.hasSuperuserAuth()
  const user = e.record.original().getString("user_id")
  // Outside of a transaction: a file that the sidecar attaches must not hold up every other writer while it is stored.
  if (superuser && !changed(e, "folder_id") && !changed(e, "deleted_at")) return e.next()
  if (!superuser) {
    if (!isUser(e, user)) throw new NotFoundError("")
    for (const field of e.collection.fields.fieldNames()) {
      if (schema.IMAGE_MAY.includes(field) || e.collection.fields.getByName(field).type() === "autodate") continue
      if (changed(e, field)) throw locked(field)
    }
  }
  within(e, (tx) => {
    const restored = e.record.original().getString("deleted_at") !== "" && e.record.getString("deleted_at") === ""
    const folder = e.record.getString("folder_id")
    if (folder && !tree.live(tx, user, folder)) {
      if (changed(e, "folder_id")) throw noFolder()
      // The folder went in the meantime: the image comes back at the top rather than out of sight.
      if (restored) e.record.set("folder_id", "")
    }
    // Read again under the lock: a stale copy would make PocketBase delete a file that was attached since.
    if (!superuser) e.record.set("file", tx.findRecordById("images", e.record.id).get("file"))
    e.next()
  })
}

/** The row's `url` is the path of its stored file, known only here: PocketBase adds letters of its own to a file's name. */
function nameFile(e) {
  // Its name before 0.24.
  const files = e.record.getUnsavedFiles ? e.record.getUnsavedFiles("file") : e.record.getUploadedFiles("file")
  if (files.length > 0) e.record.set("url", `/api/files/images/${e.record.id}/${files[0].name}`)
  e.next()
}

function noFolder() {
  return { refused: true, status: 400, body: { message: "No such folder.",
    data: { folder_id: { code: "validation_missing_rel_records", message: "No such folder." } } } }
}

/** For everybody, the sidecar included: the name, the place and the number are checked in the transaction that writes. */
function createFolder(e) {
  const user = e.record.getString("user_id")
  if (!e.hasSuperuserAuth() && (!isUser(e, user) || e.record.getString("deleted_at") !== "")) throw new BadRequestError("Failed to create record.")
  within(e, (tx) => {
    tree.mayBeCalled(e.record.getString("name"))
    tree.mayStandUnder(tx, user, "", e.record.getString("parent_id"), 1)
    tree.mayHave(tx, user, 1)
    e.next()
  })
}

/** A change of `deleted_at` deletes or restores the tree, as the API's own routes do. */
function updateFolder(e) {
  const user = e.record.original().getString("user_id")
  if (!e.hasSuperuserAuth()) {
    if (!isUser(e, user)) throw new NotFoundError("")
    if (changed(e, "user_id")) throw locked("user_id")
  }
  within(e, (tx) => {
    const there = tx.findRecordById("folders", e.record.id)
    const stamp = there.getString("deleted_at")
    if (changed(e, "name")) tree.mayBeCalled(e.record.getString("name"))
    if (changed(e, "parent_id"))
      tree.mayStandUnder(tx, user, e.record.id, e.record.getString("parent_id"), tree.height(tx, user, e.record.id, stamp))
    if (!changed(e, "deleted_at")) return e.next()
    const wanted = e.record.getString("deleted_at")
    if ((stamp === "") === (wanted === "")) throw twice()
    if (changed(e, "parent_id")) there.set("parent_id", e.record.getString("parent_id"))
    if (wanted) trash.bury(tx, there, (fresh) => { e.record.set("deleted_at", fresh); e.next() })
    else trash.raise(tx, there, (parent) => { e.record.set("parent_id", parent); e.next() })
  })
}

function twice() {
  return { refused: true, status: 400, body: { message: "The folder was deleted or restored already.",
    data: { deleted_at: { code: "validation_invalid_state", message: "The folder was deleted or restored already." } } } }
}

/** Only what is written counts: a plain update in PocketBase would write every column as it was read. */
function onlyWhatChanged(e) {
  e.record.ignoreUnchangedFields(true)
  e.next()
}

/** The ledger is append-only for everybody; a mistake is mended by a further entry. */
function appendOnly() {
  throw new ForbiddenError("The ledger is append-only: a mistake is mended by a further entry.")
}

/** `financial_data` follows the ledger in the ledger's own transaction. */
function follow(e) {
  e.next()
  money.project(e.app, e.record.getString("user_id"))
}

/** Batches that were opened for us are for superusers. */
function batch(e) {
  if (!e.hasSuperuserAuth() && settings.openedByUs(e.app)) throw new ForbiddenError("Batch requests are not allowed.")
  e.next()
}

module.exports = {
  createUser, updateUser, openBooks, onlyWhatChanged, batch, nameFile: guarding(nameFile),
  updateImage: guarding(updateImage), createFolder: guarding(createFolder), updateFolder: guarding(updateFolder),
  appendOnly: guarding(appendOnly), follow: guarding(follow),
}
