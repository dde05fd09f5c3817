/// <reference path="../pb_data/types.d.ts" />
//
// Generatio's part of your PocketBase. It is required: without it the sidecar passes requests through and answers none of its own.
//
// What it does
// - Guards: users cannot write the FAL key, money, urls, costs, owners or status by any route; the ledger (`spend_events`) is append-only
//   for everybody; a new user's id is PocketBase's choice; a folder's name, place and number are checked as the API checks them, and
//   deleting or restoring a folder takes along what is in it.
// - Correctness: an update of users, images or folders writes the changed fields alone, so that two writers do not undo each other;
//   `financial_data` follows the ledger in the ledger's own transaction.
// - Routes under /api/generatio/, for superusers alone: what must be one transaction and is more than a batch can say, and
//   the check and repair of the schema that `generatio doctor` uses. `pb_migrations` runs the same code.
// - The batch API, where it was switched on for us, is for superusers alone. Where you had it on before, it stays open as it was.
//   To open it to users later, set {"opened_by_us": false} in the row `batch` of the collection `generatio_meta`.
//
// What it reads from PocketBase's environment
// - GENERATIO_USERS_COLLECTION: the auth collection of your users; `generatio_users` unless set.
// - GENERATIO_PURGE_DAYS: removes images and folders for good so many days after they were deleted, every night; never unless set.
// - GENERATIO_TRUST_X_REAL_IP=1: takes the client's address from X-Real-IP. Only where PocketBase is reachable through the sidecar alone.
// - GENERATIO_POCKETBASE_EMAIL and GENERATIO_POCKETBASE_PASSWORD_FILE, as the sidecar does: makes the superuser that the sidecar works as,
//   where there is none of that address; and the file with a random password, where there is none.
//
// What it never does: drop, rename, retype or loosen anything of yours; touch collections other than generatio_users (or yours in its
// place), images, folders, model_preferences, generations, spend_events, spend_totals and generatio_meta; send anything anywhere.
//
// The code is in the folder `generatio` beside this file; handlers run apart from it, so each one loads what it needs.

// Where the migrations find the code that they share with the routes below.
$app.store().set("generatio_hooks", __hooks)

const users = require(`${__hooks}/generatio/schema.js`).usersName()

// Guards

onRecordCreateRequest((e) => require(`${__hooks}/generatio/guards.js`).createUser(e), users)
onRecordUpdateRequest((e) => require(`${__hooks}/generatio/guards.js`).updateUser(e), users)
onRecordCreateExecute((e) => require(`${__hooks}/generatio/guards.js`).openBooks(e), users)
onRecordUpdateRequest((e) => require(`${__hooks}/generatio/guards.js`).updateImage(e), "images")
onRecordCreate((e) => require(`${__hooks}/generatio/guards.js`).nameFile(e), "images")
onRecordUpdate((e) => require(`${__hooks}/generatio/guards.js`).nameFile(e), "images")
onRecordCreateRequest((e) => require(`${__hooks}/generatio/guards.js`).createFolder(e), "folders")
onRecordUpdateRequest((e) => require(`${__hooks}/generatio/guards.js`).updateFolder(e), "folders")
onRecordUpdate((e) => require(`${__hooks}/generatio/guards.js`).onlyWhatChanged(e), users, "images", "folders")
onRecordUpdate((e) => require(`${__hooks}/generatio/guards.js`).appendOnly(e), "spend_events")
onRecordDelete((e) => require(`${__hooks}/generatio/guards.js`).appendOnly(e), "spend_events")
onRecordCreateExecute((e) => require(`${__hooks}/generatio/guards.js`).follow(e), "spend_events")
onBatchRequest((e) => require(`${__hooks}/generatio/guards.js`).batch(e))

// At every start, where it is asked for

onBootstrap((e) => {
  e.next()
  require(`${__hooks}/generatio/settings.js`).atStart(e.app)
  require(`${__hooks}/generatio/superuser.js`).atStart(e.app)
})

// Once a night, where it is asked for

if (require(`${__hooks}/generatio/purge.js`).days() > 0)
  cronAdd("generatio_purge", "17 3 * * *", () => require(`${__hooks}/generatio/purge.js`).run($app))

// Routes

routerAdd("GET", "/api/generatio/version", (e) => {
  return e.json(200, require(`${__hooks}/generatio/about.js`).version($app))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/repair", (e) => {
  return require(`${__hooks}/generatio/answer.js`).answer(e, (body) => require(`${__hooks}/generatio/about.js`).repair($app, body))
}, $apis.requireSuperuserAuth())

// ?user=ID
routerAdd("GET", "/api/generatio/folders/{folder}", (e) => {
  const { answer } = require(`${__hooks}/generatio/answer.js`)
  const user = e.requestInfo().query.user || ""
  return answer(e, () => require(`${__hooks}/generatio/folders.js`).view($app, user, e.request.pathValue("folder")))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/folders/delete", (e) => {
  return require(`${__hooks}/generatio/answer.js`).answer(e, (body) => require(`${__hooks}/generatio/folders.js`).remove($app, body))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/folders/restore", (e) => {
  return require(`${__hooks}/generatio/answer.js`).answer(e, (body) => require(`${__hooks}/generatio/folders.js`).restore($app, body))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/folders/move", (e) => {
  return require(`${__hooks}/generatio/answer.js`).answer(e, (body) => require(`${__hooks}/generatio/folders.js`).move($app, body))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/images/add", (e) => {
  return require(`${__hooks}/generatio/answer.js`).answer(e, (body) => require(`${__hooks}/generatio/folders.js`).add($app, body))
}, $apis.requireSuperuserAuth())

routerAdd("GET", "/api/generatio/stats/{user}", (e) => {
  return e.json(200, require(`${__hooks}/generatio/books.js`).stats($app, e.request.pathValue("user")))
}, $apis.requireSuperuserAuth())

// ?after=USER&limit=N pages through all users; those whose books agree are left out.
routerAdd("GET", "/api/generatio/books", (e) => {
  const query = e.requestInfo().query
  const limit = Math.min(Math.max(parseInt(query.limit, 10) || 200, 1), 1000)
  return e.json(200, require(`${__hooks}/generatio/books.js`).page($app, query.after || "", limit))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/books/{user}", (e) => {
  const { answer } = require(`${__hooks}/generatio/answer.js`)
  return answer(e, () => require(`${__hooks}/generatio/books.js`).recompute($app, e.request.pathValue("user")))
}, $apis.requireSuperuserAuth())
