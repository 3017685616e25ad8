"""
The metadata service of a machine, as instances (version 2) and containers have it: it
gives keys of a role, other ones each time where the test wants that.
"""
import json
import time

import web

ROLE = "builders@eu"
SESSION = "session-of-the-metadata-service"
CONTAINER_PATH = "/v2/credentials/0815"
SECRETS = ("SecretOfTheRole", "TokenOfTheRole", SESSION, "authorization-of-the-container")


def keys(number):
    """The role's keys: the access key, the secret one and the token."""
    return "ASIAROLE%d" % number, SECRETS[0] + str(number), SECRETS[1] + str(number)


def utc(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


class Handler(web.Handler):
    def handle_request(self):
        service = self.server
        roles = "/latest/meta-data/iam/security-credentials/"
        if self.path == CONTAINER_PATH:
            if self.headers.get("Authorization") != service.authorization:
                return self.answer(401, b"not " + (self.headers.get("Authorization") or "").encode())
            return self.give()
        if self.path == "/latest/api/token":
            if self.command != "PUT":
                return self.answer(405)
            if not 1 <= int(self.headers.get("x-aws-ec2-metadata-token-ttl-seconds") or 0) <= 21600:
                return self.answer(400)
            return self.answer(200, SESSION.encode(), {"Content-Type": "text/plain"})
        if self.headers.get("x-aws-ec2-metadata-token") != SESSION:
            return self.answer(401)
        if self.path == roles:
            return self.answer(200, service.roles) if service.roles is not None else self.answer(404, b"<html/>")
        if self.path == roles + "builders%40eu":
            return self.give()
        self.answer(404)

    def give(self):
        service = self.server
        with service.lock:
            service.given += 1
        if service.rotate:
            service.rotate(service)
        if isinstance(service.keys, bytes):
            return self.answer(200, service.keys)
        access_key, secret_key, token = keys(service.number)
        answer = {"Code": "Success", "LastUpdated": utc(-10), "Type": "AWS-HMAC", "AccessKeyId": access_key,
                  "SecretAccessKey": secret_key, "Token": token, "Expiration": utc(service.seconds),
                  "AccountId": "123456789012"}
        answer.update(service.keys or {})
        self.answer(200, json.dumps({k: v for k, v in answer.items() if v is not None}, indent=2).encode())


class Metadata(web.Server):
    def __init__(self):
        self.roles = ROLE.encode() + b"\n"
        self.authorization = None
        self.number = 1             # of the keys
        self.seconds = 3600         # until their end
        self.keys = None            # a whole answer, or other values of some of its keys (None: without)
        self.given = 0
        self.rotate = None          # called before keys are given
        super().__init__(Handler)

    @property
    def environment(self):
        """Where it is asked as that of an instance."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url}

    @property
    def container(self):
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + CONTAINER_PATH}
