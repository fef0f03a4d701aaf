"""What the Python clients share: settings come in CONFORMANCE, one JSON line a behaviour goes out."""
import decimal
import hashlib
import json
import os
import uuid

WAY = json.loads(os.environ["CONFORMANCE"])


def plain(value):
    """A form that two runs can be compared by; the type stays visible."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes:" + bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (decimal.Decimal, uuid.UUID)) or hasattr(value, "isoformat"):
        return f"{type(value).__name__}:{value}"
    if isinstance(value, int) and abs(value) > 2**53:
        return f"int:{value}"  # a number of this size would not survive JSON
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return f"{type(value).__name__}:{value}"


def say(behaviour, **more):
    print(json.dumps({"behaviour": behaviour, **more}, ensure_ascii=True), flush=True)


def failure(error, code):
    return {"code": code, "message": (str(error).splitlines() or [type(error).__name__])[0][:300], "kind": type(error).__name__}


def digest(rows):
    found = hashlib.sha256()
    count = 0
    for row in rows:
        found.update(repr(tuple(row)).encode())
        count += 1
    return [count, found.hexdigest()]
