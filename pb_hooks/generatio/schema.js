/** What Generatio needs to find in PocketBase, as data: collections, fields, indexes and rules. `steps.js` makes it so, or says what differs. */

/** The version of this folder, as the sidecar asks for it. It rises whenever the sidecar needs something that was not there before. */
const VERSION = 1

/** The states of a job, as the API names them. */
const STATES = ["created", "submitting", "queued", "running", "storing", "completed", "failed", "cancelled", "unknown", "awaiting_unlock"]

/** What an owner may change in an image; everything else is the server's. */
const IMAGE_MAY = ["title", "folder_id", "deleted_at"]
const IMAGE_LOCKED = [
  "url", "user_id", "prompt", "request_id", "model", "batch_number", "image_size", "other_info", "file", "job_id", "cost_micros",
]

/** What a user may neither set at sign-up nor change. `fal_token` is hidden, so PocketBase itself drops it. */
const USER_LOCKED = ["financial_data", "model_preferences"]

const MEBIBYTE = 1024 * 1024

/** The name of the users collection; a variable that is set to nothing counts as not set. */
function usersName() {
  return ($os.getenv("GENERATIO_USERS_COLLECTION") || "").trim() || "generatio_users"
}

// `room`: the longest text that has to fit. `always`: we never leave it empty, so it may be required. `accept`: the types that do as well.
// `to`: the collection that a relation points to, by our key. `many`: several values are meant.
const text = (name, more) => Object.assign({ type: "text", name, room: 1000 }, more)
const hidden = (name, more) => text(name, Object.assign({ hidden: true }, more))
const json = (name, more) => Object.assign({ type: "json", name, maxSize: MEBIBYTE }, more)
const number = (name, more) => Object.assign({ type: "number", name }, more)
const integer = (name, more) => number(name, Object.assign({ onlyInt: true }, more))
const bool = (name) => ({ type: "bool", name })
const date = (name) => ({ type: "date", name })
/** A hand-made collection may keep the id as text. */
const one = (name, to, more) => Object.assign({ type: "relation", accept: ["relation", "text"], name, to, maxSelect: 1, room: 15 }, more)
/** A user's rows go with the user; money rows are the exception and keep the id as plain text. */
const owner = () => one("user_id", "users", { cascadeDelete: true })
const created = { type: "autodate", name: "created", onCreate: true }
const updated = { type: "autodate", name: "updated", onCreate: true, onUpdate: true }

/** An index by its name, which is ours: no other collection can have one of that name by chance. */
const index = (name, columns, where) => ({ name: "idx_generatio_" + name, unique: false, columns, where: where || "" })
const unique = (name, columns, where) => ({ name: "idx_generatio_" + name, unique: true, columns, where: where || "" })

/** The collections in an order in which they can be made. `name` is what PocketBase calls it, `key` what we do. */
function collections() {
  return [
    {
      key: "meta", name: "generatio_meta", type: "base",
      fields: [text("key", { required: true, always: true }), json("value")],
      indexes: [unique("meta", "key")],
    },
    {
      key: "users", name: usersName(), type: "auth",
      fields: [
        hidden("fal_token", { max: 1000, room: 400 }),
        json("financial_data"),
        { type: "relation", name: "model_preferences", to: "preferences", maxSelect: 999, many: true },
      ],
      // Only where we make the collection ourselves; on yours they are your business.
      extras: [text("name", { max: 255 }), created, updated],
      indexes: [],
    },
    {
      key: "folders", name: "folders", type: "base",
      fields: [text("name", { room: 100 }), owner(), one("parent_id", "folders"), bool("private"), date("deleted_at"), created, updated],
      indexes: [index("folders_list", "user_id, deleted_at, created, id"), index("folders_parent", "parent_id")],
    },
    {
      key: "images", name: "images", type: "base",
      fields: [
        text("title", { room: 100 }), text("url", { room: 255 }), owner(), text("prompt"), text("request_id", { room: 200 }), text("model", { room: 200 }),
        number("batch_number"), json("image_size"), json("other_info"), one("folder_id", "folders"), date("deleted_at"),
        // Any type of file: what is stored is decided by the sidecar, and PocketBase serves scripts as downloads in a sandbox.
        { type: "file", name: "file", maxSelect: 1, maxSize: 64 * MEBIBYTE, thumbs: ["256x256"] },
        text("job_id", { room: 15 }), integer("cost_micros"), created, updated,
      ],
      // The gallery of 200,000 images, newest first: 290 ms by an index that begins with user_id and deleted_at, 2 ms by the first of these,
      // since PocketBase writes `deleted_at = ""` as two alternatives. The third is for the stamps of deleted folders.
      indexes: [
        index("images_list", "user_id, created, id"), index("images_folder", "folder_id, user_id, created, id"),
        index("images_trash", "user_id, deleted_at"), index("images_job", "job_id"),
      ],
    },
    {
      key: "preferences", name: "model_preferences", type: "base",
      fields: [text("model_name", { room: 200 }), json("preferences"), owner(), created, updated],
      // Rows that nobody claims have no user: they do not clash with each other.
      // SQLite never finds a row by a partial index unless its condition stands in the query, which PocketBase writes in another way.
      indexes: [unique("preferences", "user_id, model_name", "user_id != ''"), index("preferences_find", "user_id, model_name")],
    },
    {
      key: "generations", name: "generations", type: "base",
      fields: [
        owner(),
        { type: "select", name: "status", accept: ["select", "text"], maxSelect: 1, values: STATES, room: 20 },
        text("model", { room: 200 }), text("prompt"), json("parameters"), text("collection_id", { room: 15 }),
        integer("queue_position"), integer("seq"), text("request_id", { room: 200 }),
        hidden("status_url"), hidden("response_url"), hidden("cancel_url"), hidden("key_fingerprint"),
        hidden("idempotency_key", { room: 128 }), hidden("body_hash", { room: 128 }),
        integer("cost_micros"), bool("estimated"), json("images"), json("ignored_parameters"),
        hidden("seed", { room: 40 }), hidden("endpoint", { room: 300 }), json("error"), date("submitted_at"), date("finished_at"),
        number("units"), number("unit_price"), json("work", { hidden: true }), created, updated,
      ],
      indexes: [
        unique("generations_request", "request_id", "request_id != ''"),
        unique("generations_idempotency", "user_id, idempotency_key", "idempotency_key != ''"),
        index("generations_list", "user_id, created, id"),
        // Whole, not for unfinished jobs alone: PocketBase binds the states of a filter, and a partial index is then never chosen.
        index("generations_status", "status, user_id"),
      ],
    },
    {
      key: "events", name: "spend_events", type: "base",
      fields: [
        text("user_id", { required: true, always: true, room: 15 }), text("job_id", { required: true, always: true, room: 40 }),
        text("kind", { required: true, always: true, room: 40 }), integer("amount_micros"), integer("images"),
        number("units"), number("unit_price"), bool("estimated"), text("model", { room: 200 }), created,
      ],
      // The first is unique, so a settlement that is repeated changes nothing; the second answers every sum by itself.
      indexes: [unique("events_once", "job_id, kind"), index("events_user", "user_id, created, kind, amount_micros, images")],
    },
    {
      key: "totals", name: "spend_totals", type: "base",
      fields: [text("user_id", { required: true, always: true, room: 15 }), integer("spent_micros"), integer("images")],
      indexes: [unique("totals", "user_id")],
    },
  ]
}

/** Whether a collection of that name has become ours. One that we had to leave alone is none of our hooks' business. */
function isOurs(collection) {
  return collection.indexes.some((index) => index.includes("idx_generatio_"))
}

/** The five rules of a collection; null admits superusers alone. `users` is the users collection, `types` the types of the fields there are. */
function rules(key, users, types) {
  // Ids are chosen freely in other auth collections: a caller is known by collection and id together.
  const caller = `@request.auth.collectionId = "${users.id}"`
  const own = `user_id = @request.auth.id && ${caller}`
  const self = `id = @request.auth.id && ${caller}`
  const empty = (field) => (types[field] === "json" ? ` || (@request.body.${field} = "null" && ${field} = null)` : "")
  const same = (field) => `(@request.body.${field}:isset = false || @request.body.${field} = ${field}${empty(field)})`
  const restorable = '(deleted_at = "" || (@request.body.deleted_at:isset = true && @request.body.deleted_at = ""))'
  const live = (field) =>
    types[field] !== "relation" ? []
      : [`(@request.body.${field}:isset = false || @request.body.${field} = "" || ` +
         `(@request.body.${field}.user_id = @request.auth.id && @request.body.${field}.deleted_at = ""))`]
  const set = (list, create, update, remove) =>
    ({ listRule: list, viewRule: list, createRule: create, updateRule: update, deleteRule: remove })
  switch (key) {
    case "users":
      return set(self, ["id"].concat(USER_LOCKED).map((field) => `@request.body.${field}:isset = false`).join(" && "),
        [self].concat(USER_LOCKED.map(same)).join(" && "), self)
    case "images":
      return set(own, null, [own, restorable].concat(IMAGE_LOCKED.map(same), live("folder_id")).join(" && "), null)
    case "folders":
      return set(own, [own, 'deleted_at = ""'].concat(live("parent_id")).join(" && "),
        [own, restorable, same("user_id")].concat(live("parent_id")).join(" && "), null)
    case "preferences":
    case "generations":
    case "events":
      return set(own, null, null, null)
    default:
      return set(null, null, null, null)
  }
}

module.exports = { VERSION, IMAGE_MAY, USER_LOCKED, usersName, collections, isOurs, rules }
