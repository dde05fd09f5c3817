/**
 * The superuser that the sidecar works as, where the environment asks for one: GENERATIO_POCKETBASE_EMAIL and
 * GENERATIO_POCKETBASE_PASSWORD_FILE, the same two that the sidecar reads.
 *
 * It is made once. One that is there is left alone, since a password that is set anew ends all tokens, even if it is the same. Only a
 * password that nobody knows is replaced: one whose file is gone, as after a backup was restored on a new machine.
 */

const COLLECTION = "_superusers"

function atStart(app) {
  const email = $os.getenv("GENERATIO_POCKETBASE_EMAIL")
  const file = $os.getenv("GENERATIO_POCKETBASE_PASSWORD_FILE")
  if (!email || !file) return
  try {
    ensure(app, email, file)
  } catch (cause) {
    console.log(`generatio: the sidecar's superuser ${email} could not be made: ${cause}`)
  }
}

function ensure(app, email, file) {
  const known = stored(file)
  const found = find(app, email)
  if (known !== null && found !== null) return
  const password = known !== null ? known : $security.randomString(40)
  const superuser = found !== null ? found : new Record(app.findCollectionByNameOrId(COLLECTION))
  superuser.set("email", email)
  superuser.set("password", password)
  // First the account: a start that is cut off in between finds no file, and does all of it again.
  app.save(superuser)
  if (known === null) keep(file, password)
  console.log(`generatio: superuser ${email} ${found !== null ? "has a new password" : "made"}`)
}

function find(app, email) {
  try {
    return app.findAuthRecordByEmail(COLLECTION, email)
  } catch (_) {
    return null
  }
}

/** The first line of the file, or null where its folder holds no such file. */
function stored(file) {
  const cut = file.lastIndexOf("/")
  const there = $os.readDir(file.slice(0, cut) || "/").some((entry) => entry.name() === file.slice(cut + 1))
  if (!there) return null
  const line = toString($os.readFile(file)).split("\n")[0].replace(/\r$/, "")
  if (line === "") throw new Error(`${file} is empty`)
  return line
}

/** Readable to this user alone, and never half written. */
function keep(file, password) {
  const unfinished = `${file}.new`
  $os.writeFile(unfinished, password, 0o400)
  $os.rename(unfinished, file)
}

module.exports = { atStart }
