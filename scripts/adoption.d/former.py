"""The PocketBase of somebody who runs the former extension: its collections made by hand, its users with data, and keys in its own format."""

import functools
from concurrent.futures import ThreadPoolExecutor

import check
import rig

WORKERS = 4
MODELS = ("flux/schnell", "hidream/hidream-i1-dev", "hidream/hidream-i1-fast")
# The rules that this administrator chose, tighter and looser than ours; null admits superusers alone.
RULES = {
    "users": {"listRule": "id = @request.auth.id || motto = 'friend'", "viewRule": "id = @request.auth.id", "createRule": "",
              "updateRule": "id = @request.auth.id", "deleteRule": None},
    "folders": {"listRule": "user_id = @request.auth.id", "viewRule": "user_id = @request.auth.id", "createRule": "@request.auth.id != ''",
                "updateRule": "user_id = @request.auth.id", "deleteRule": None},
    "images": {"listRule": "", "viewRule": "user_id = @request.auth.id // their own", "createRule": "@request.auth.id != ''", "updateRule": "",
               "deleteRule": None},
    "model_preferences": {"listRule": "", "viewRule": "@request.auth.id != ''", "createRule": None, "updateRule": None, "deleteRule": None},
    "notes": {"listRule": "@request.auth.id != '' || title = 'open'", "viewRule": "", "createRule": "", "updateRule": None, "deleteRule": None},
}


class User:
    """Somebody, with what only they know."""

    def __init__(self, number):
        self.number, self.email, self.password = number, f"user{number}@example.com", f"the password of {number}, pässwörd"
        self.key = f"{number:08x}-7d7e-4a1e-9c55-0c1f6a2b9d10:{number:032x}"
        self.id = self.token = ""
        self.images, self.folder, self.preferences = [], "", []

    @property
    def micros(self):
        """What their images cost."""
        return sum(cost for _, cost in self.images)


class Former:
    """Makes all of it, and knows what must be there afterwards."""

    def __init__(self, port, token, users_collection):
        self.port, self.token, self.collection = port, token, users_collection
        self.users = []

    def ask(self, method, path, body=None):
        """One request as the superuser, straight to PocketBase."""
        return rig.ask(self.port, method, path, body, self.token)

    def row(self, collection, body):
        """A new row's id."""
        return self.ask("POST", f"/api/collections/{collection}/records", body)["id"]

    def make(self, count):
        """Collections, then users, then their rows."""
        self.make_collections()
        with ThreadPoolExecutor(WORKERS) as pool:
            self.users = list(pool.map(self.make_user, range(count)))
            pool.map(functools.partial(self.row, "notes"), ({"title": f"note {number}", "body": {"n": number}} for number in range(50)))
        self.share_preferences()
        return self.users

    def make_collections(self):
        """As the former extension's manual had them."""
        def text(name):
            return {"type": "text", "name": name}

        def one(name, to):
            return {"type": "relation", "name": name, "collectionId": to, "maxSelect": 1}

        def made(name, kind, fields, indexes=()):
            rules = RULES["users" if kind == "auth" else name]
            body = {"name": name, "type": kind, "fields": fields, "indexes": list(indexes), **rules}
            return self.ask("POST", "/api/collections", body)["id"]

        json = functools.partial(dict, type="json")
        preferences = made("model_preferences", "base", [text("model_name"), json(name="preferences")])
        ours = [text("fal_token"), text("motto"), json(name="financial_data"),
                {"type": "relation", "name": "model_preferences", "collectionId": preferences, "maxSelect": 99}]
        users = self.extend_users(ours) if self.collection == "users" else made(self.collection, "auth", ours)
        folders = made("folders", "base", [text("name"), one("user_id", users), text("parent_id"), {"type": "bool", "name": "private"},
                                           {"type": "date", "name": "deleted_at"}])
        made("images", "base", [text("title"), text("url"), one("user_id", users), text("prompt"), text("request_id"), text("model"),
                                {"type": "number", "name": "batch_number"}, json(name="image_size"), json(name="other_info"),
                                one("folder_id", folders), {"type": "date", "name": "deleted_at"}],
             ["CREATE INDEX `idx_images_model` ON `images` (`model`)"])
        made("notes", "base", [text("title"), json(name="body")], ["CREATE UNIQUE INDEX `idx_notes_title` ON `notes` (`title`)"])

    def extend_users(self, fields):
        """The collection that every PocketBase begins with."""
        there = self.ask("GET", "/api/collections/users")
        self.ask("PATCH", "/api/collections/users", {"fields": there["fields"] + fields, **RULES["users"]})
        return there["id"]

    def make_user(self, number):
        """None to three images, a folder for every second, preferences for all but every tenth; figures that are wrong for all."""
        user = User(number)
        account = {"email": user.email, "password": user.password, "passwordConfirm": user.password, "fal_token": check.seal(user.key, user.password),
                   "motto": "friend" if number % 3 == 0 else "hi", "financial_data": {"total_spent": 99.5, "total_images": 7}}
        user.id = self.row(self.collection, account)
        signed_in = {"identity": user.email, "password": user.password}
        user.token = rig.ask(self.port, "POST", f"/api/collections/{self.collection}/auth-with-password", signed_in)["token"]
        if number % 2 == 0:
            user.folder = self.row("folders", {"name": f"folder of {number}", "user_id": user.id, "private": number % 4 == 0})
        for index in range(number % 4):
            cost = 3000 + 100 * index + number
            image = {"title": f"image {index}", "url": f"https://fal.media/files/{number}/{index}.png", "user_id": user.id, "prompt": "a cat",
                     "request_id": f"request-{number}-{index}", "model": MODELS[number % 3], "batch_number": index,
                     "image_size": {"width": 512, "height": 512}, "other_info": {"cost_usd": cost / 1e6, "seed": number},
                     "folder_id": user.folder, "deleted_at": "2026-01-02 03:04:05.000Z" if number % 40 == 3 and index == 0 else ""}
            user.images.append((self.row("images", image), cost))
        if number % 10 != 0:
            user.preferences = [self.row("model_preferences", {"model_name": MODELS[number % 3], "preferences": {"seed": number}})]
            self.link(user)
        return user

    def share_preferences(self):
        """Every tenth user shares the next one's row."""
        for user, next_one in zip(self.users[::10], self.users[1::10]):
            user.preferences = next_one.preferences
            self.link(user)

    def link(self, user):
        """The only way in which the former extension knew whose preferences they are."""
        self.ask("PATCH", f"/api/collections/{self.collection}/records/{user.id}", {"model_preferences": user.preferences})

    def rows(self, collection):
        """All rows by id, with the fields that a superuser sees."""
        found, page = {}, 1
        while True:
            items = self.ask("GET", f"/api/collections/{collection}/records?perPage=500&skipTotal=1&sort=id&page={page}")["items"]
            found.update((item["id"], item) for item in items)
            if len(items) < 500:
                return found
            page += 1

    def everything(self):
        """Rows, rules and indexes of every collection that was made by hand."""
        names = [self.collection, "images", "folders", "model_preferences", "notes"]
        return {name: (self.rows(name), self.ask("GET", f"/api/collections/{name}")) for name in names}
