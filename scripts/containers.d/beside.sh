# The second compose file: a deployment of somebody's own, on an older PocketBase, with users, a hook and a migration, and README's lines for it.
# Sourced by containers-check, which made the folder `work`.

unset COMPOSE_PROFILES
repository=$PWD
export COMPOSE_PROJECT_NAME=generatio-check-own
own_port=$((GENERATIO_PORT + 1))
lines "adopt with compose" | without_terminal >"$work/lines"
[ "$(wc -l <"$work/lines")" = 8 ] || fail "README's lines for an existing deployment are not what they were"
seal=$(sed -n 's/.*"sealed": *"\([^"]*\)".*/\1/p' tests/vectors/former.json | head -1)
seal_password=$(sed -n 's/.*"password": *"\([^"]*\)".*/\1/p' tests/vectors/former.json | head -1)

mkdir "$work/pb_hooks" "$work/pb_migrations" "$work/generatio" "$work/generatio/scripts" "$work/own"
cp -a Cargo.toml Cargo.lock Dockerfile .dockerignore src docs pb_hooks pb_migrations "$work/generatio/"
cp -a scripts/pocketbase "$work/generatio/scripts/"
cp "$(scripts/pocketbase 0.36.9)" "$work/own/pocketbase"
cat >"$work/own/Dockerfile" <<'DOCKERFILE'
FROM debian:trixie-slim
COPY pocketbase /usr/local/bin/pocketbase
DOCKERFILE
cat >"$work/docker-compose.yml" <<YAML
services:
  pocketbase:
    build: ./own
    command: [pocketbase, serve, --http=0.0.0.0:8090, --dir=/data/pb_data, --migrationsDir=/data/pb_migrations, --hooksDir=/data/pb_hooks]
    ports: ["$own_port:8090"]
    volumes:
      - data:/data/pb_data
      - ./pb_migrations:/data/pb_migrations
      - ./pb_hooks:/data/pb_hooks
volumes:
  data:
YAML
echo 'routerAdd("GET", "/api/mine", (e) => e.json(200, { mine: true }))' >"$work/pb_hooks/mine.pb.js"
cat >"$work/pb_migrations/1700000000_mine.js" <<'MIGRATION'
migrate((app) => {
  const users = app.findCollectionByNameOrId("users")
  users.fields.add(new TextField({ name: "fal_token" }))
  app.save(users)
  app.save(new Collection({ type: "base", name: "notes", listRule: "", fields: [{ type: "text", name: "title" }] }))
})
MIGRATION

cd "$work"
origin=http://127.0.0.1:$own_port
docker compose up --detach --build
until_true "their PocketBase answers" eval '[ "$(status "$origin/api/health")" = 200 ]'
docker compose exec -T pocketbase pocketbase superuser create root@example.com a-root-password --dir /data/pb_data >/dev/null
root=$(post /api/collections/_superusers/auth-with-password '{"identity":"root@example.com","password":"a-root-password"}' | member token)
as_root=(-H "Authorization: $root")
account="{\"email\":\"old@example.com\",\"password\":\"$seal_password\",\"passwordConfirm\":\"$seal_password\",\"fal_token\":\"$seal\"}"
[[ $(post /api/collections/users/records "$account" "${as_root[@]}") == *'"id"'* ]] || fail "no user could be made in their PocketBase"
post /api/collections/notes/records '{"title":"a note"}' "${as_root[@]}" >/dev/null
user=$(post /api/collections/users/auth-with-password "{\"identity\":\"old@example.com\",\"password\":\"$seal_password\"}" | member token)
[ -n "$root" ] && [ -n "$user" ] || fail "nobody can sign in at their PocketBase"

said=$(bash -uo pipefail "$work/lines" 2>&1) || true # FAL may be away, which the doctor calls broken
origin=http://127.0.0.1:$GENERATIO_PORT
until_true "the sidecar answers beside theirs" answers
own_session() { post /api/custom/auth/create-session "{\"password\":\"$seal_password\"}" -H "Authorization: $user" | grep -q session_id; }
until_true "a key of the former format opens, by a token of before" own_session
[ "$(status "$origin/api/settings" "${as_root[@]}")" = 200 ] || fail "their superuser's token ended"
[[ $(curl --silent "$origin/api/mine") == *true* ]] || fail "their hook is gone"
[[ $(curl --silent "$origin/api/collections/notes/records") == *"a note"* ]] || fail "their row is gone"
checks() { docker compose exec -T generatio /generatio doctor || true; }
said=$(checks)
sed 's/^/     /' <<<"$said"
for check in pocketbase superuser hooks batch collections rules data books; do
  grep -q "^  ok  *$check " <<<"$said" || fail "the doctor is not content with $check"
done
grep -q '^  warning  *address' <<<"$said" || fail "the doctor does not warn of the way around the sidecar"
say "README's lines added the sidecar to a PocketBase 0.36.9: tokens, a former key, a hook, a migration and rows are as before"

sed -i '/ports:/d' docker-compose.yml
echo GENERATIO_TRUST_X_REAL_IP=1 >>generatio.env && docker compose up --detach
until_true "all is up again" answers
[ "$(status "http://127.0.0.1:$own_port/api/health")" = 000 ] || fail "there is still a way around the sidecar"
address_is_right() { checks | grep -q '^  ok  *address'; }
until_true "the doctor is content with the address" address_is_right
own_session || fail "the key does not open any more"
say "the way around it is closed, and clients' addresses are right"
cd "$repository"
