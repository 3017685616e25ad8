"""
Credentials of the machine: what its metadata service gives, and does not.
"""
import json
import os
import signal
import time

import metadata
import s3
from harness import Remote, Tool, case, check, check_equal, check_in
from test_store import PART, data

EXPIRED = "ExpiredToken"


def begin(place, **env):
    """A store that takes the first keys of a role, its metadata service, and a tool."""
    store = place.store()
    store.access_key, store.secret_key, store.token = metadata.keys(1)
    service = place.metadata()
    return store, service, machine_tool(store, **dict(service.environment, **env))


def machine_tool(store, **env):
    # keys of the environment are there, and are not used
    return Tool(store, KNN_STORE_INSTANCE="1", **env)


def requests(service):
    with service.lock:
        return list(service.requests)


@case
def keys_of_an_instance(place):
    store, service, tool = begin(place)
    body = data(3 * PART + 5)
    tool.works("put", "k", place.write("in", body))
    check_equal(store.objects["k"].body, body, "stored")
    # asked once, by version 2 alone
    roles = "/latest/meta-data/iam/security-credentials/"
    check_equal([r for r in requests(service)][:3],
                [("PUT", "/latest/api/token"), ("GET", roles), ("GET", roles + "builders%40eu")], "requests")
    # and once more for the question whether the object is there, where the store says 403
    check_equal(service.given, 1, "keys")
    store.fault(403, "HEAD")
    tool.works("put", "k2", place("in"))
    check_equal(service.given, 3, "keys")
    # with a slash at the end, another role after the first, no token, a time with an offset
    for change in ({"roles": b"builders@eu\nothers"}, {"keys": {"Expiration": "2099-01-01T00:00:00.25+02:00"}},
                   {"keys": {"Code": None, "AccountId": None, "Type": 5}}):
        store.objects.clear()
        for name, value in change.items():
            setattr(service, name, value)
        tool.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.url + "/"
        tool.works("put", "k", place("in"))
    service.keys = {"Token": None}
    store.token = None
    tool.works("remove", "k")


@case
def keys_of_a_container(place):
    store, service, _ = begin(place)
    tool = machine_tool(store, **service.container)
    path = place.write("in", data(10))
    tool.works("put", "a", path)
    service.authorization = "authorization-of-the-container"
    # what refuses may repeat what it was told, which is no message then
    text = tool.fails("put", "b", path, code="repository", says=("refused to give credentials", "It answered 401: not"))
    check("0815" not in text, "the path was told: " + text)
    tool.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = service.authorization + "x"
    tool.fails("put", "b", path, code="repository", says="It answered 401.")
    tool.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = service.authorization
    tool.works("put", "b", path)
    # a file goes before
    tool.env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "another"
    tool.env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = place.write("token", service.authorization.encode() + b"\n")
    tool.works("put", "c", path)
    for text in (b"", b"\n", b"two\nlines", b"zero\0byte", "ä".encode()):
        place.write("token", text)
        tool.fails("put", "d", path, code="repository")
    os.unlink(place("token"))
    tool.fails("put", "d", path, code="repository", says=("TOKEN_FILE", "No such file"))
    # the container's is the only one that was asked
    check_equal({target for _, target in requests(service)}, {metadata.CONTAINER_PATH}, "requests")
    # it may be disabled for instances
    service.authorization = None
    machine_tool(store, AWS_EC2_METADATA_DISABLED="true", **service.container).works("put", "d", path)


@case
def places_that_are_not_asked(place):
    store, service, _ = begin(place)
    path = place.write("in", b"x")
    full = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
    for env, says in (({"AWS_EC2_METADATA_DISABLED": "TRUE"}, "AWS_EC2_METADATA_DISABLED"),
                      ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "ftp://x"}, "AWS_EC2_METADATA_SERVICE_ENDPOINT"),
                      ({full: "http://192.0.2.1/keys"}, full), ({full: "http://127.0.0.1.example.com/"}, full),
                      ({full: "http://a@127.0.0.1/"}, full), ({full: "file:///etc/passwd"}, full),
                      ({full: "https:///x"}, full), ({full: "http://127.0.0.1/" + "x" * 3000}, full),
                      ({relative: "x"}, relative), ({relative: "@example.com/"}, relative),
                      ({relative: ":80/x"}, relative), ({relative: "/a b"}, relative)):
        tool = machine_tool(store, **dict(service.environment, **env))
        tool.fails("put", "k", path, code="bad_job", says=says)
    check_equal((store.requests, requests(service)), ([], []), "requests")


@case
def no_proxy_sees_the_keys(place):
    store, service, tool = begin(place)
    proxy = place.metadata()
    tool.env.update(http_proxy=proxy.url, no_proxy=store.url.split("/")[2].split(":")[0])
    # without an exception for that address: 127.0.0.1 is the store's as well
    tool.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://localhost:%d" % service.server_address[1]
    tool.works("put", "k", place.write("in", b"x"))
    check_equal(len(requests(proxy)), 0, "requests to the proxy")


@case
def refusals_of_a_metadata_service(place):
    store, service, tool = begin(place)
    path = place.write("in", b"x")
    token, role, keys = "/latest/api/token", "credentials/", "builders"
    for status, contains, says in ((403, token, "refused to give a token"), (404, token, "refused to give a token"),
                                   (404, role, "has no role"), (401, role, "refused to give the name of a role"),
                                   (404, keys, "refused to give credentials")):
        service.reset()
        service.fault(status, contains=contains, times=-1, body=b"<h1>said\x1b so</h1>")
        text = tool.fails("put", "k", path, code="repository", says=says)
        check_equal(service.count("PUT") + service.count("GET", contains if contains != token else "none"),
                    1 if contains == token else 2, "requests")
        if "role" not in says:
            check_in("answered %d: <h1>said so</h1>" % status, text)
    # those that pass are not noticed, unless they last
    service.reset()
    for contains in (token, role, keys):
        service.fault(503, contains=contains, times=2)
        tool.works("put", contains[-5:].strip("/"), path)
    service.fault(500, contains=keys, times=-1)
    tool.fails("put", "k", path, code="repository", says="answered 500")
    check_equal(service.count("GET", keys), 1 + 1 + 3 + 3, "requests")
    service.reset()
    service.fault("cut", contains=token)
    tool.works("put", "cut", path)
    check_equal(store.objects.get("k"), None, "written")


@case
def answers_that_are_no_keys(place):
    store, service, tool = begin(place)
    path = place.write("in", b"x")
    for roles in (b"", None, b"\n", b"../x", b"a b", b"x" * 65, b"."):
        service.roles = roles
        tool.fails("put", "k", path, code="repository", says="role")
    service.roles = metadata.ROLE.encode()
    for answer, says in ((b"", "no JSON"), (b"<html>", "no JSON"), (b"[]", "no JSON object"), (b"{}", "AccessKeyId"),
                         ({"AccessKeyId": None}, "has no"), ({"SecretAccessKey": 5}, "is no text"),
                         ({"Token": []}, "is no text"), ({"Expiration": None}, "Expiration"),
                         ({"Expiration": "tomorrow"}, "is no time"), ({"Expiration": "2026-02-30T00:00:00Z"}, "is no time"),
                         ({"AccessKeyId": ""}, "is empty"), ({"SecretAccessKey": "a\nb"}, "SecretAccessKey\" of"),
                         ({"Token": "x" * 9000}, "too long"), ({"Token": "\0"}, "zero byte"),
                         ({"Code": "AssumeRoleUnauthorizedAccess", "Message": "not\nallowed", "AccessKeyId": None},
                          ("AssumeRoleUnauthorizedAccess", "not allowed"))):
        service.keys = answer
        tool.fails("put", "k", path, code="repository", says=says)
    service.keys = None
    for what in ("long", "nonsense"):
        service.reset()
        service.fault(what, times=-1)
        tool.fails("put", "k", path, code="repository", says="no good")
    check_equal(store.requests, [], "requests to the store")


@case
def a_metadata_service_that_is_not_there(place):
    store, service, tool = begin(place)
    path = place.write("in", b"x")
    tool.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "http://127.0.0.1:1"
    tool.fails("put", "k", path, code="repository", says=("could not be reached", "hop limit"))
    machine_tool(store, AWS_CONTAINER_CREDENTIALS_FULL_URI="http://[::1]:1/x").fails(
        "put", "k", path, code="repository", says=("could not be reached", "AWS_CONTAINER_CREDENTIALS"))
    # one that says nothing: three tries of two seconds
    service.fault("stall", times=-1)
    tool.env.update(service.environment)
    begun = time.monotonic()
    tool.fails("put", "k", path, code="repository", says="does not answer")
    seconds = time.monotonic() - begun
    check(5 < seconds < 20, "it took %.1f s" % seconds)
    check_equal(service.count("PUT"), 3, "requests")
    # which can be cancelled
    process = tool.start("put", "k", path)
    while service.count("PUT") < 4 and process.poll() is None:
        time.sleep(0.01)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ok, text = tool.finish(process)
    check_in("cancelled", text)
    check(not ok and time.monotonic() - begun < 2, "it took %.1f s" % (time.monotonic() - begun))


# ---- keys that end ----

def accept(store, number, expired=403):
    """From now on the store takes these keys; all others have expired."""
    with store.store_lock:
        store.access_key, store.secret_key, store.token = metadata.keys(number)
        store.expired = expired


def slow(handler):
    if handler.command == "PUT":
        handler.nap(0.5)


@case
def keys_are_renewed_before_their_end(place):
    """The store takes old keys too, so that nothing but their end makes them new ones."""
    store, service, tool = begin(place)
    body = data(8 * PART)
    # five minutes before the end are in a moment
    service.seconds = 302

    def rotate(service):
        service.number = service.given
        access_key, secret_key, token = metadata.keys(service.given)
        store.other_keys[access_key] = secret_key, token
    service.rotate = rotate
    tool.env["KNN_STORE_CONNECTIONS"] = "1"
    store.before = slow
    begun = time.monotonic()
    tool.works("put", "k", place.write("in", body))
    check_equal(store.objects["k"].body, body, "stored")
    # it takes 4 s or more, and each lasts for 1 or 2 of them
    check(3 <= service.given <= time.monotonic() - begun + 2, "keys were asked for %d times" % service.given)
    check_equal(store.refused, 0, "refused requests")


@case
def keys_that_end_while_an_object_is_written_or_read(place):
    store, service, tool = begin(place)
    body = data(24 * PART + 3)
    path = place.write("in", body)
    # with 4 connections so many requests are refused at once, and done again before the next end
    for method, connections, seconds, status in (("put", "1", 0, 400), ("put", "4", 0.4, 403), ("get", "1", 0, 401),
                                                 ("get", "4", 0.4, 400)):
        store.reset()
        service.number, service.given = 1, 0
        accept(store, 1, status)
        if method == "get":
            store.objects["k"] = s3.Object(body)
        tool.env["KNN_STORE_CONNECTIONS"] = connections

        def expire(handler):
            """Now and then the keys of all requests before it end, and there are new ones."""
            with store.store_lock:
                expire.requests += 1
                if expire.requests % 4 == 0 and time.monotonic() > expire.last + seconds:
                    expire.last = time.monotonic()
                    service.number += 1
                    accept(store, service.number, status)
            handler.nap(seconds / 4)
        expire.requests, expire.last = 0, 0
        store.before = expire
        if method == "put":
            tool.works("put", "k", path)
            check_equal(store.objects["k"].body, body, "stored")
            check_equal(store.uploads, {}, "uploads")
        else:
            tool.works("get", "k", place("out" + connections))
            check_equal(place.read("out" + connections), body, "read")
        check(service.number >= (3 if seconds else 6), "there were %d keys" % service.number)
        check(store.refused >= service.number - 1, "%d requests were refused" % store.refused)


@case
def keys_that_have_ended_for_good(place):
    """The store says so, and the metadata service has no others: asked again once for a request."""
    store, service, tool = begin(place)
    path = place.write("in", data(10))
    accept(store, 2)
    tool.fails("put", "k", path, code="repository", says=(EXPIRED, "no newer credentials"))
    check_equal(service.given, 3, "keys")
    # nor an answer
    service.fault("cut", "PUT", after=1, times=-1)
    tool.fails("put", "k", path, code="repository", says=(EXPIRED, "no newer credentials"))
    # those that have ended by this machine's clock are used, and asked for again now and then
    service.reset()
    store.reset()
    accept(store, 1)
    service.given, service.seconds = 0, -3600
    tool.works("put", "k", place.write("in", data(4 * PART)))
    check_equal(service.given, 1, "keys")


@case
def a_metadata_service_that_stops(place):
    """Keys are due, and nobody answers: those that are there do."""
    store, service, tool = begin(place)
    service.seconds = 302
    service.fault("cut", "PUT", after=1, times=-1)
    store.before = slow
    tool.env["KNN_STORE_CONNECTIONS"] = "2"
    tool.works("put", "k", place.write("in", data(10 * PART)))
    check_equal(service.given, 1, "keys")
    # three tries (the first on a kept connection may be two), and no more for half a minute
    check_in(service.count("PUT"), (4, 5), "questions")


@case
def a_remote_build_with_keys_of_the_machine(place):
    r = Remote(place)
    service = place.metadata()
    accept(r.store, 1)
    for name in ("access_key", "secret_key"):
        del r.repository[name]
    r.repository["credentials"] = "instance"
    # the service builds so long that the first keys end
    asked = []

    def expire(handler):
        if handler.command == "GET" and "_status" in handler.path and not asked:
            asked.append(1)
            service.number = 2
            accept(r.store, 2)
    r.service.before = expire
    r.works(**service.environment)
    check_equal(service.given, 2, "keys")
    check_equal(r.left(), [], "objects")


@case
def jobs_with_two_kinds_of_keys(place):
    for change, says in (({"credentials": "instance"}, "has keys besides"), ({"credentials": "profile"}, "does not know"),
                         ({"credentials": 1}, "is no text")):
        r = Remote(place)
        r.repository.update(change)
        check(not r.run(), "it worked")
        check_equal(r.last["error"]["code"], "bad_job", r.last)
        check_in(says, json.dumps(r.last))
    r = Remote(place)
    r.repository["credentials"] = "given"
    r.works()
    # no metadata service: a failure of the build, and nothing hangs
    r = Remote(place)
    r.repository.update(credentials="instance", access_key=None)
    for name in ("access_key", "secret_key"):
        del r.repository[name]
    check(not r.run(AWS_EC2_METADATA_DISABLED="true"), "it worked")
    check_in("AWS_EC2_METADATA_DISABLED", json.dumps(r.last))
