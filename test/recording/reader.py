#!/usr/bin/env python3
"""Reads an exported recording from the description in src/recording/format/README.md alone: reader.py FOLDER IDENTITY_FILE.

Checks seal, chain, hashes, seals of every record and segment, and seq; prints one JSON line an event, then one `end`.
The age file of a part's key is opened by hand (age-encryption.org/v1, X25519)."""
import base64, hashlib, hmac, json, struct, sys, zlib
import brotli, msgpack
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def check(fact, what):
    if not fact:
        raise ValueError(what)


def identity_bytes(text):
    """Bech32 of AGE-SECRET-KEY-1…: the last six characters are its checksum."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    data = text.lower().rsplit("1", 1)[1][:-6]
    bits = "".join(format(alphabet.index(c), "05b") for c in data)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, 256, 8))


def unpadded(text):
    return base64.b64decode(text + "=" * (-len(text) % 4))


def hkdf(secret, salt, info):
    return HKDF(SHA256(), 32, salt, info).derive(secret)


def open_age(data, identities):
    """The 32 bytes in an age file; None where none of these identities opens it."""
    at = data.index(b"\n---") + 1
    lines = data[:at].decode().split("\n")
    check(lines[0] == "age-encryption.org/v1", "this is no age file")
    mac_line, payload = data[at:].split(b"\n", 1)
    for i, line in enumerate(lines):
        stanza = line.split(" ")
        if stanza[:2] != ["->", "X25519"]:
            continue
        share, body = unpadded(stanza[2]), unpadded(lines[i + 1])
        for identity in identities:
            own = identity.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            shared = identity.exchange(X25519PublicKey.from_public_bytes(share))
            try:
                wrap = hkdf(shared, share + own, b"age-encryption.org/v1/X25519")
                file_key = ChaCha20Poly1305(wrap).decrypt(bytes(12), body, None)
            except Exception:
                continue
            mac = hmac.new(hkdf(file_key, b"", b"header"), data[:at] + b"---", hashlib.sha256).digest()
            check(hmac.compare_digest(mac, unpadded(mac_line[4:].decode())), "the header of an age file was changed")
            stream = hkdf(file_key, payload[:16], b"payload")
            return ChaCha20Poly1305(stream).decrypt(bytes(11) + b"\x01", payload[16:], None)
    return None


def nonce(label, counter):
    return label + b"\0" + struct.pack(">Q", counter)


def unpack(data):
    at, events = 0, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        check(at + 4 + length <= len(data), "an event is longer than what holds it")
        events.append(msgpack.unpackb(data[at + 4 : at + 4 + length], strict_map_key=False))
        at += 4 + length
    return events


def records(payload, part_id, key):
    """Frames of the journal, as a recovery copied them."""
    at = 0
    while at < len(payload):
        kind, part, counter, first, count, length = struct.unpack_from(">B16sQQII", payload, at)
        frame = payload[at : at + 41 + length + 4]
        check(kind == 2 and part == part_id, "a frame is not its own part's")
        check(struct.unpack(">I", frame[-4:])[0] == zlib.crc32(frame[:-4]), "a frame's CRC does not fit")
        events = unpack(AESGCM(key).decrypt(nonce(b"rec", counter), frame[41:-4], frame[:41]))
        check(len(events) == count and events[0]["seq"] == first, "a record is not what its header says")
        yield from events
        at += len(frame)


def part_events(folder, part, sealed, key):
    prev, seq, total = bytes(32), 0, 0
    for n, row in enumerate(part["segments"]):
        with open(f"{folder}/{row['file']}", "rb") as file:
            data = file.read()
        header, payload = data[:92], data[92:]
        magic, version, kind, codec, layer, part_id, at, first, last, counter, before, length = struct.unpack(
            ">8sBBBB16sIQQQ32sI", header)
        check(magic == b"SALLYSEG" and version == 1 and length == len(payload), "this is no segment")
        check(part_id.hex() == part["part_id"] and at == n, "a segment is missing, or in another place")
        check(layer == (part["layer"] == "originals") and before == prev, "the chain is broken")
        if first > seq + 1:
            check({"from_seq": seq + 1, "to_seq": first - 1} in sealed["gaps"], "seqs are missing, and no gap was noted")
            yield {"kind": "gap", "from_seq": seq + 1, "to_seq": first - 1, "part": part["part"]}
            seq = first - 1
        if key is not None:
            if kind == 1:
                check(codec == 1, "the codec is unknown")
                packed = AESGCM(key).decrypt(nonce(b"seg", counter), payload, header)
                events = unpack(brotli.decompress(packed))
            else:
                check(kind == 2 and codec == 0, "the kind is unknown")
                events = records(payload, part_id, key)
            for event in events:
                check(event["seq"] == seq + 1, "a seq is missing")
                seq += 1
                yield {**event, "part": part["part"], "at_us": part["started_at_ms"] * 1000 + event["t"]}
            check(seq == last, "a segment ends elsewhere than its header says")
        seq, total, prev = last, total + len(data), hashlib.sha256(data).digest()
    found = (len(part["segments"]), seq, prev.hex() if total else "", total)
    check(found == (sealed["segments"], sealed["last_seq"], sealed["head"], sealed["bytes"]), "it is not what was sealed")
    if sealed["tail_missing_from"] is not None:
        yield {"kind": "gap", "from_seq": sealed["tail_missing_from"], "to_seq": None, "part": part["part"]}


def main(folder, identity_file):
    with open(identity_file) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    identities = [X25519PrivateKey.from_private_bytes(identity_bytes(line)) for line in lines]
    with open(f"{folder}/recording.json") as file:
        exported = json.load(file)
    seal = exported["seal"]
    canonical = json.dumps(seal, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    check(hashlib.sha256(canonical.encode()).hexdigest() == exported["seal_hash"], "the seal was changed")
    sealed = {part["part"]: part for part in seal["parts"]}
    check(sorted(sealed) == [part["part"] for part in exported["parts"]], "the seal speaks of other parts")
    opened = 0
    for part in exported["parts"]:
        key = open_age(base64.b64decode(part["key"]), identities)
        opened += key is not None
        for event in part_events(folder, part, sealed[part["part"]], key):
            print(json.dumps(event, default=lambda value: {"base64": base64.b64encode(value).decode()}))
    check(opened > 0, "no identity opens a part of it")
    print(json.dumps({"kind": "end", "ok": True}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:
        sys.exit(f"it does not verify: {error!r}")
