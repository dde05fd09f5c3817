/** The collections, their fields, indexes and rules: adds what is missing; never drops, renames, loosens or retypes anything. */

const schema = require("./schema.js")
const { both } = require("./rules.js")
const { recall, remember } = require("./meta.js")

const RULES = ["listRule", "viewRule", "createRule", "updateRule", "deleteRule"]

function find(app, name) {
  try {
    return app.findCollectionByNameOrId(name)
  } catch (_) {
    return null
  }
}

/** A field as PocketBase wants it; relations find their collection by our key for it. */
function field(app, wanted) {
  const { accept, room, always, to, many, ...options } = wanted
  if (to) options.collectionId = app.findCollectionByNameOrId(nameOf(to)).id
  const make = {
    text: TextField, json: JSONField, number: NumberField, bool: BoolField, date: DateField,
    autodate: AutodateField, file: FileField, select: SelectField, relation: RelationField,
  }
  return new make[wanted.type](options)
}

function nameOf(key) {
  return schema.collections().find((wanted) => wanted.key === key).name
}

/** What is wrong with a field that is there: `clash` when it can never be used, `narrow` when its settings stand in the way. */
function wrong(app, there, wanted) {
  const accepted = wanted.accept || [wanted.type]
  const type = there.type()
  const advice = "; rename or remove it, then run `generatio doctor --fix`"
  if (!accepted.includes(type)) return { clash: `it is a ${type} field, and a ${accepted.join(" or ")} field is needed${advice}` }
  if (type === "relation") {
    const target = find(app, nameOf(wanted.to))
    if (target && there.collectionId !== target.id) return { clash: `it points to another collection than ${target.name}${advice}` }
  }
  if (["relation", "select", "file"].includes(type) && !wanted.many && there.isMultiple())
    return { clash: `it holds several values, and one is needed${advice}` }
  const narrow = []
  if (there.required && !wanted.always) narrow.push("it is required, and we leave it empty at times")
  if (type === "text" && there.max > 0 && there.max < wanted.room) narrow.push(`at most ${there.max} characters fit, and ${wanted.room} are needed`)
  if (type === "text" && there.min > 0 && !wanted.always) narrow.push(`at least ${there.min} characters are asked for`)
  if (type === "text" && there.pattern) narrow.push("it has a pattern, which our values may not meet")
  if (type === "json" && there.maxSize > 0 && there.maxSize < 65536) narrow.push(`at most ${there.maxSize} bytes fit, and 65536 are needed`)
  if (type === "select" && wanted.values.some((value) => !there.values.includes(value))) narrow.push(`it must allow ${wanted.values.join(", ")}`)
  if (type === "file" && there.protected) narrow.push("it is protected, so pictures cannot be shown by their link")
  if (type === "file" && !there.thumbs.includes("256x256")) narrow.push("its thumbs must include 256x256")
  return { narrow: narrow.length ? narrow.join("; ") + "; change it in the admin UI" : "" }
}

/** Names every clash of one collection. Answers whether it may be used. */
function usable(app, wanted, collection, out) {
  if (collection.type !== wanted.type) {
    out.blocked(wanted.name, "", `it is a ${collection.type} collection, and one of type ${wanted.type} is needed; rename it, then run \`generatio doctor --fix\``)
    return false
  }
  let clear = true
  for (const each of wanted.fields) {
    const there = collection.fields.getByName(each.name)
    const { clash, narrow } = there ? wrong(app, there, each) : {}
    if (clash || narrow) out.blocked(wanted.name, each.name, clash || narrow)
    if (clash) clear = false
  }
  return clear
}

/** Makes the collection, closed to all but superusers until it has its rules. */
function make(app, wanted, out) {
  out.change(wanted.name, [["", `the collection is missing; one of type ${wanted.type} is needed`]], `${wanted.name}: made`, () => {
    app.save(new Collection({ type: wanted.type, name: wanted.name }))
    // What we made gets our rules; a collection of yours that is closed stays closed.
    if (wanted.key !== "meta") remember(app, "fresh", recall(app, "fresh", []).concat([wanted.name]))
  })
}

/** Adds missing fields, and hides what must be hidden. A relation waits until what it points to is in order. */
function fill(app, wanted, out, good) {
  const collection = app.findCollectionByNameOrId(wanted.name)
  const fresh = recall(app, "fresh", []).includes(wanted.name)
  const missing = []
  const mend = []
  for (const each of wanted.fields.concat(fresh ? wanted.extras || [] : [])) {
    const there = collection.fields.getByName(each.name)
    if (!there && each.to && !good.some((other) => other.key === each.to)) {
      out.blocked(wanted.name, each.name, `the field is missing; it waits for the collection ${nameOf(each.to)}`, true)
    } else if (!there) {
      missing.push([each.name, `the field is missing; a ${each.type} field is needed`])
      mend.push(() => collection.fields.add(field(app, each)))
    } else if (each.hidden && !there.hidden) {
      missing.push([each.name, "the field is visible; it must be hidden"])
      mend.push(() => { there.hidden = true })
    }
  }
  out.change(wanted.name, missing, `${wanted.name}: ${missing.map(([name]) => name).join(", ")} added or hidden`, () => {
    for (const one of mend) one()
    app.save(collection)
  })
}

/** An index's meaning, whatever its spelling. */
function meaning(sql) {
  return sql.toLowerCase().replace(/[`"[\]()]/g, " ").replace(/\s+/g, " ").replace(/ ?, ?/g, ",").trim()
}

function index(app, wanted, each, out) {
  const collection = app.findCollectionByNameOrId(wanted.name)
  const sql = `CREATE ${each.unique ? "UNIQUE " : ""}INDEX ${each.name} ON ${wanted.name} (${each.columns})${each.where ? " WHERE " + each.where : ""}`
  if (collection.indexes.some((there) => meaning(there) === meaning(sql))) return
  const words = `the index ${each.name} on (${each.columns})${each.where ? " where " + each.where : ""} is missing`
  out.change(wanted.name, [["", words]], `${wanted.name}: index ${each.name} added`, () => {
    collection.removeIndex(each.name)
    collection.addIndex(each.name, each.unique, each.columns, each.where)
    app.save(collection)
  })
}

/** Adds our rules to what is there, and says what they were. */
function guard(app, wanted, users, out) {
  const fresh = recall(app, "fresh", []).includes(wanted.name)
  const collection = app.findCollectionByNameOrId(wanted.name)
  const types = {}
  for (const name of collection.fields.fieldNames()) types[name] = collection.fields.getByName(name).type()
  const ours = schema.rules(wanted.key, users, types)
  const missing = []
  const before = []
  for (const rule of RULES) {
    // PocketBase hands out a pointer; as text it can be compared.
    const there = collection[rule] === undefined || collection[rule] === null ? null : `${collection[rule]}`
    const needed = fresh && there === null ? ours[rule] : both(there, ours[rule])
    if (there === needed) continue
    missing.push([rule, fresh ? "the rule is not set" : "the rule lets through what it must not"])
    before.push(fresh ? rule : `${rule} (it was ${JSON.stringify(there)})`)
    collection[rule] = needed
  }
  const set = out.change(wanted.name, missing, `${wanted.name}: rules set: ${before.join(", ")}`, () => app.save(collection))
  if (set && fresh && out.mend) remember(app, "fresh", recall(app, "fresh", []).filter((name) => name !== wanted.name))
}

/** Those of our collections that are there, made where they were missing, and that nothing clashes in. */
function present(app, out, which) {
  return which.filter((wanted) => {
    const there = find(app, wanted.name)
    if (there) return usable(app, wanted, there, out)
    make(app, wanted, out)
    return find(app, wanted.name) !== null
  })
}

function complete(app, out, which) {
  for (const wanted of which) fill(app, wanted, out, which)
  for (const wanted of which) for (const each of wanted.indexes) index(app, wanted, each, out)
}

/** The step. A collection in which one field clashes is left exactly as it is. */
function run(app, out) {
  const all = schema.collections()
  complete(app, out, present(app, out, all.filter((wanted) => wanted.key === "meta")))
  const good = present(app, out, all)
  complete(app, out, good)
  const users = find(app, schema.usersName())
  if (good.some((wanted) => wanted.key === "users")) for (const wanted of good) guard(app, wanted, users, out)
}

module.exports = { run, find }
