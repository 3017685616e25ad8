"""
An object store that speaks as much of S3 as knn-builder asks for, in memory, and that
believes nothing: signatures, checksums and conditions are checked as Amazon documents them.
"""
import base64
import calendar
import hashlib
import hmac
import re
import threading
import time
import urllib.parse
import zlib

import web

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "eu-north-1"

TABLE = []
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 & -(c & 1))
    TABLE.append(c)


def crc32c(data):
    c = 0xFFFFFFFF
    table = TABLE
    for byte in data:
        c = c >> 8 ^ table[(c ^ byte) & 255]
    return c ^ 0xFFFFFFFF


def crc_text(crc):
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


def canonical(text, keep=""):
    return urllib.parse.quote(urllib.parse.unquote_to_bytes(text), safe="-._~" + keep)


def signature(secret, method, path, query, headers, signed, payload, scope, timestamp):
    """SigV4, from its description: of the request as it came."""
    pairs = []
    for piece in query.split("&") if query else []:
        name, _, value = piece.partition("=")
        pairs.append((canonical(name), canonical(value)))
    request = "\n".join([
        method, canonical(path, "/"), "&".join("%s=%s" % p for p in sorted(pairs)),
        "".join("%s:%s\n" % (h, " ".join((headers.get(h) or "").split())) for h in signed),
        ";".join(signed), payload])
    text = "\n".join(["AWS4-HMAC-SHA256", timestamp, "/".join(scope),
                      hashlib.sha256(request.encode()).hexdigest()])
    key = b"AWS4" + secret.encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Part:
    """What one request has written, with what the store tells of it."""

    def __init__(self, body, md5):
        self.bodies = [body]
        self.crc32 = zlib.crc32(body)
        # ETags are MD5 where nothing is encrypted, and whatever a store likes elsewhere
        self.digest = hashlib.md5(body).digest() if md5 else self.crc32.to_bytes(4, "big")
        self.etag = '"%s"' % self.digest.hex()


class Object(Part):
    """Of one request, or of the parts of several, whose ETag is then that of their ETags."""

    def __init__(self, body=None, parts=None, md5=True):
        if parts:
            self.bodies = [body for part in parts for body in part.bodies]
            self.etag = '"%s-%d"' % (hashlib.md5(b"".join(p.digest for p in parts)).hexdigest(), len(parts))
        else:
            super().__init__(body, md5)
        self.parts = [len(body) for body in self.bodies]
        self.crc = None             # text, when checksums are kept

    @property
    def body(self):
        return b"".join(self.bodies)

    def size(self):
        return sum(self.parts)

    def bytes(self, first=0, last=None):
        """From a byte to another, both included; large ones are not copied if they are of one part."""
        last = self.size() - 1 if last is None else last
        found, at = [], 0
        for body in self.bodies:
            if at <= last and at + len(body) > first:
                found.append(memoryview(body)[max(first - at, 0):last + 1 - at])
            at += len(body)
        return found[0] if len(found) == 1 else b"".join(found)


class Error(Exception):
    def __init__(self, status, code, message="", headers=None):
        self.args = (status, code, message, headers)


class Handler(web.Handler):
    def refuse(self, status):
        if self.fault.body or self.fault.headers or self.command == "HEAD":
            super().refuse(status)
        else:
            self.error(status, {403: "AccessDenied", 503: "SlowDown"}.get(status, "Fault%d" % status),
                       "As the test wants it")

    def error(self, status, code, message="", headers=None):
        body = "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>" % (code, message)
        self.answer(status, body.encode(), dict(headers or {}, **{"Content-Type": "application/xml"}))

    def check_signature(self):
        header = self.headers.get("Authorization") or ""
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{64})",
                             header)
        if not match:
            raise Error(403, "AccessDenied", "no signature")
        key, scope, signed, given = match.groups()
        scope = scope.split("/")
        signed = signed.split(";")
        secret_key, token = self.server.keys_of(key)
        timestamp = self.headers.get("x-amz-date") or ""
        if abs(calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ")) - time.time()) > 900:
            raise Error(403, "RequestTimeTooSkewed")
        if scope != [timestamp[:8], self.server.region, "s3", "aws4_request"]:
            raise Error(400, "AuthorizationHeaderMalformed", "another region is expected",
                        {"x-amz-bucket-region": self.server.region})
        names = [name.lower() for name in self.headers.keys()]
        for name in names:
            if (name == "host" or name.startswith("x-amz-") or name == "content-type") and name not in signed \
                    and not (name == "content-type" and self.command == "GET"):
                raise Error(403, "SignatureDoesNotMatch", "%s is not signed" % name)
        if any(name not in names for name in signed) or signed != sorted(signed):
            raise Error(403, "SignatureDoesNotMatch", "signed headers")
        payload = self.headers.get("x-amz-content-sha256")
        if payload != "UNSIGNED-PAYLOAD" and payload != hashlib.sha256(self.body).hexdigest():
            raise Error(400, "XAmzContentSHA256Mismatch")
        if token != self.headers.get("x-amz-security-token"):
            raise Error(403, "InvalidToken", "The token is no good")
        wanted = signature(secret_key, self.command, self.path_part, self.query, self.headers,
                           signed, payload, scope, timestamp)
        if wanted != given:
            raise Error(403, "SignatureDoesNotMatch", "computed %s" % wanted)

    def handle_request(self):
        try:
            if self.server.secret_key:
                self.check_signature()
            path = urllib.parse.unquote(self.path_part)
            host = self.headers["Host"].split(":")[0]
            if host.startswith(self.server.bucket + "."):
                path = "/" + self.server.bucket + path
            bucket, _, key = path[1:].partition("/")
            if bucket != self.server.bucket:
                raise Error(404, "NoSuchBucket", "There is no bucket %s" % bucket)
            # before the lock: transfers of several parts are to be as quick as they can
            self.part = Object(self.body, md5=self.server.md5) if self.command == "PUT" else None
            # another thread may look into it
            with self.server.store_lock:
                result = self.act(key, web.parse_query(self.query))
            self.answer(*result)
        except Error as e:
            self.error(*e.args)

    def act(self, key, query):
        store = self.server
        name = self.command
        if name == "POST" and "uploads" in query:
            upload = "u/%d+=&%s" % (len(store.uploads), "x" * 30)
            store.uploads[upload] = (key, {})
            return 200, ("<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>%s</UploadId>"
                         "</InitiateMultipartUploadResult>" % upload.replace("&", "&amp;")).encode()
        if name == "POST":
            return self.complete(key, query["uploadId"])
        if name == "PUT" and "uploadId" in query:
            headers = self.check_checksum()
            self.upload(key, query["uploadId"])[int(query["partNumber"])] = self.part
            return 200, b"", dict(headers, ETag=self.part.etag)
        if name == "PUT":
            headers = self.check_checksum()
            self.check_condition(key)
            store.objects[key] = self.part
            if headers:
                self.part.crc = crc_text(self.part.crc32)
            return 200, b"", dict(headers, ETag=store.objects[key].etag)
        if name == "DELETE" and "uploadId" in query:
            self.upload(key, query["uploadId"])
            del store.uploads[query["uploadId"]]
            return 204,
        if name == "DELETE":
            store.objects.pop(key, None)
            return 204,
        return self.give(key, query)

    def check_checksum(self):
        """Answers the header, of stores that keep checksums."""
        given = self.headers.get("x-amz-checksum-crc32")
        if not self.server.checksums:
            return {}
        if given and given != crc_text(self.part.crc32):
            raise Error(400, "BadDigest", "The checksum is another")
        return {"x-amz-checksum-crc32": given} if given else {}

    def check_condition(self, key):
        condition = self.headers.get("If-None-Match")
        if condition and self.server.conditions == "refused":
            raise Error(501, "NotImplemented", "A header is not implemented")
        if condition == "*" and self.server.conditions == "known" and key in self.server.objects:
            raise Error(412, "PreconditionFailed", "It is there")

    def upload(self, key, upload):
        if upload not in self.server.uploads or self.server.uploads[upload][0] != key:
            raise Error(404, "NoSuchUpload", "There is no such upload")
        return self.server.uploads[upload][1]

    def complete(self, key, upload):
        parts = self.upload(key, upload)
        self.check_condition(key)
        named = re.findall(rb"<Part>(?:<ChecksumCRC32>([^<]*)</ChecksumCRC32>)?<ETag>([^<]*)</ETag>"
                           rb"<PartNumber>(\d+)</PartNumber></Part>", self.body)
        if [int(n) for _, _, n in named] != sorted(parts):
            raise Error(400, "InvalidPart", "parts")
        for crc, etag, number in named:
            part = parts[int(number)]
            if etag.decode() != part.etag.replace('"', "&quot;"):
                raise Error(400, "InvalidPart", "etag")
            if (crc or self.server.checksums) and crc.decode() != crc_text(part.crc32):
                raise Error(400, "InvalidPart", "checksum")
        ordered = [parts[n] for n in sorted(parts)]
        made = Object(parts=ordered)
        if self.server.checksums:
            made.crc = "%s-%d" % (crc_text(zlib.crc32(b"".join(p.crc32.to_bytes(4, "big") for p in ordered))), len(ordered))
        self.server.objects[key] = made
        del self.server.uploads[upload]
        return 200, ("<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>"
                     % made.etag.replace('"', "&quot;")).encode()

    def give(self, key, query):
        found = self.server.objects.get(key)
        if not found:
            raise Error(404, "NoSuchKey", "There is no such key")
        if self.headers.get("If-Match") not in (None, found.etag):
            raise Error(412, "PreconditionFailed", "changed")
        headers = {"ETag": found.etag}
        if found.crc and self.headers.get("x-amz-checksum-mode") == "ENABLED":
            headers["x-amz-checksum-" + self.server.algorithm] = found.crc
            if self.server.composite:
                headers["x-amz-checksum-type"] = "COMPOSITE"
        if self.command == "HEAD":
            size = found.size()
            if "partNumber" in query:
                size = found.parts[int(query["partNumber"]) - 1]
            headers["Content-Length"] = str(size)
            return 200, b"", headers
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if not match or self.server.no_ranges:
            return 200, found.bytes(), headers
        first, last = int(match[1]), min(int(match[2]), found.size() - 1)
        headers["Content-Range"] = "bytes %d-%d/%d" % (first, last, found.size())
        return 206, found.bytes(first, last), headers


class Store(web.Server):
    def __init__(self, tls=None, bucket="vectors"):
        self.bucket = bucket
        self.store_lock = threading.RLock()
        self.restore()
        super().__init__(Handler, tls)

    def keys_of(self, key):
        """The secret key and the token that belong to an access key."""
        with self.store_lock:
            if key == self.access_key:
                return self.secret_key, self.token
            if key in self.other_keys:
                return self.other_keys[key]
            self.refused += 1
            if self.expired:
                raise Error(self.expired, "ExpiredToken", "The provided token has expired.")
            raise Error(403, "InvalidAccessKeyId", "The key %s is not known" % key)

    def restore(self):
        """As it was at the beginning."""
        self.access_key, self.secret_key, self.token, self.region = ACCESS_KEY, SECRET_KEY, None, REGION
        self.other_keys = {}        # that are taken too: access key to secret key and token
        self.expired = None         # status that says that an unknown key was known once
        self.refused = 0            # requests with an unknown key
        self.objects = {}
        self.uploads = {}
        self.checksums = True       # kept and checked
        self.algorithm = "crc32"    # of those that are told
        self.composite = False      # whether it is told that they are those of parts
        self.conditions = "known"   # If-None-Match; or "refused", or "ignored"
        self.no_ranges = False
        self.md5 = True             # ETags are that

    def reset(self):
        super().reset()
        self.restore()
