"""An upstream for `scripts/bench gigabyte` that costs next to nothing: `python3 bodies.py PORT FILE`.

GET /big.bin sends the file straight from the page cache, /api/health says that it is up, and a POST is answered 204 when its body has arrived
and been thrown away, in the kernel. It knows no more HTTP than the benchmark speaks: requests one after another, lengths in Content-Length.
"""

import os
import re
import socket
import sys
import threading

PIECE = 1 << 20
TRUNCATE = socket.MSG_TRUNC  # TCP: drop what would have been received


def main(port, path):
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener, open(path, "rb") as file:
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0], file.fileno()), daemon=True).start()


def serve(client, file):
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rest = b""
        while request := head(client, rest):
            first, fields, rest = request
            if first.startswith(b"POST "):
                rest = drop(client, length(fields), rest)
                client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif first.startswith(b"GET /big.bin "):
                send(client, file)
            else:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


def head(client, got=b""):
    """(first line, the rest of the head in lower case, what came after it), or None when the connection ends."""
    while b"\r\n\r\n" not in got:
        more = client.recv(65536)
        if not more:
            return None
        got += more
    text, _, rest = got.partition(b"\r\n\r\n")
    first, _, fields = text.partition(b"\r\n")
    return first, fields.lower(), rest


def length(fields):
    """The Content-Length, 0 where there is none."""
    found = re.search(rb"(?:^|\n)content-length: *(\d+)", fields)
    return int(found[1]) if found else 0


def drop(client, count, got):
    """Throws away the next bytes, `got` being the first of them; returns what was got after them."""
    left, scratch = count - len(got), bytearray(PIECE)
    while left > 0:
        dropped = client.recv_into(scratch, min(left, PIECE), TRUNCATE)
        if not dropped:
            raise ConnectionError(f"the connection ended {left} bytes early")
        left -= dropped
    return got[count:]


def send(client, file):
    """The file as an answer."""
    size = os.fstat(file).st_size
    client.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode())
    pour(client, file, size)


def pour(client, file, size):
    """Sends the first `size` bytes of a file straight from the page cache."""
    sent = 0
    while sent < size:
        sent += os.sendfile(client.fileno(), file, sent, min(size - sent, PIECE))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
