"""An independent reader and writer of sealed FAL keys, and a check of the seals beside it.

It is written from the description in README.md alone. `make` writes python.json anew, which the vault's own tests open.
"""

import base64
import json
import os
import pathlib
import re
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

HERE = pathlib.Path(__file__).parent
PARAMETERS = re.compile(r"\$pbkdf2-sha256\$v=2,i=(\d+)\$")


def derive(password, salt, iterations):
    kdf = PBKDF2HMAC(algorithm=hashes.SHA256(), length=32, salt=salt, iterations=iterations)
    return kdf.derive(password.encode())


def associated_data(parameters, owner):
    if not parameters:
        return None
    parts = ["generatio/fal_token/v2", owner["collection"], owner["user"], parameters]
    return b"".join(struct.pack(">I", len(part)) + part.encode() for part in parts)


def parameters_of(iterations):
    return f"$pbkdf2-sha256$v=2,i={iterations}$" if iterations else ""


def seal(token, password, owner=None, iterations=None, salt=None, nonce=None):
    salt, nonce = salt or os.urandom(32), nonce or os.urandom(12)
    parameters = parameters_of(iterations)
    key = derive(password, salt, iterations or 100_000)
    content = nonce + AESGCM(key).encrypt(nonce, token.encode(), associated_data(parameters, owner))
    return f"{base64.b64encode(content).decode()}.{parameters}{base64.b64encode(salt).decode()}"


def unseal(text, password, owner=None):
    content, rest = text.split(".")
    found = PARAMETERS.match(rest)
    parameters, iterations = (found[0], int(found[1])) if found else ("", 100_000)
    content = base64.b64decode(content, validate=True)
    salt = base64.b64decode(rest[len(parameters):], validate=True)
    key = derive(password, salt, iterations)
    return AESGCM(key).decrypt(content[:12], content[12:], associated_data(parameters, owner)).decode()


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def refuses(*arguments):
    try:
        unseal(*arguments)
    except InvalidTag:
        return True
    return False


def check_former(vectors):
    for vector in vectors:
        assert unseal(vector["sealed"], vector["password"]) == vector["fal_token"]
        assert refuses(vector["sealed"], vector["password"] + "x")


def check_v2(vectors):
    for vector in vectors:
        salt, nonce = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])
        assert derive(vector["password"], salt, vector["iterations"]).hex() == vector["key"]
        assert associated_data(parameters_of(vector["iterations"]), vector).hex() == vector["associated_data"]
        assert unseal(vector["sealed"], vector["password"], vector) == vector["fal_token"]
        assert seal(vector["fal_token"], vector["password"], vector, vector["iterations"], salt, nonce) == vector["sealed"]
        assert refuses(vector["sealed"], vector["password"] + "x", vector)
        assert refuses(vector["sealed"], vector["password"], {**vector, "user": "anotherone01234"})
        assert refuses(vector["sealed"], vector["password"], {**vector, "collection": "other"})


def describe(token, password, owner, iterations):
    salt, nonce = os.urandom(32), os.urandom(12)
    return {
        **owner,
        "password": password,
        "iterations": iterations,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "key": derive(password, salt, iterations).hex(),
        "associated_data": associated_data(parameters_of(iterations), owner).hex(),
        "fal_token": token,
        "sealed": seal(token, password, owner, iterations, salt, nonce),
    }


def make():
    owner = {"collection": "pbc_3142635823", "user": "u0123456789abcd"}
    token = "11111111-2222-4333-8444-555555555555:fedcba9876543210fedcba9876543210"
    made = {
        "about": "made by check.py",
        "former": [
            {"password": password, "fal_token": value, "sealed": seal(value, password)}
            for password, value in [("made elsewhere", token), ("", "k" * 10), ("🔑" * 40, "~" * 200)]
        ],
        "v2": [
            describe(value, password, owner, iterations)
            for password, value, iterations in [
                ("made elsewhere", token, 600_000),
                ("ключ и замок", "k" * 10, 100_000),
                ("🔑" * 128, "~" * 200, 123_457),
            ]
        ],
    }
    (HERE / "python.json").write_text(json.dumps(made, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def main():
    if sys.argv[1:] == ["make"]:
        make()
    elif sys.argv[1:]:
        sys.exit("usage: run [make]")
    elsewhere, former, v2 = read("python.json"), read("former.json")["seals"], read("v2.json")["seals"]
    check_former(former + elsewhere["former"])
    check_v2(v2 + elsewhere["v2"])
    print(f"{len(former) + len(elsewhere['former'])} seals of the former format and {len(v2) + len(elsewhere['v2'])} of v2 are as described")


if __name__ == "__main__":
    main()
