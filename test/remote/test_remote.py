"""
knn-builder remote: the protocol of build services, and its failures.
"""
import json
import os
import signal
import sys
import time

import s3
from harness import (COUNT, DIMENSION, PASSWORD, SECRETS, Remote, case, check, check_equal, check_in)
from test_store import LASTING, PASSING, certificates

ROOT = "base/0815_vectors/4711_items_v"
STEPS = [("POST", "/_build", "build_request"), ("GET", "/_status", "status_request")]


@case
def a_build(place):
    r = Remote(place)
    r.service.username, r.service.password = "user", PASSWORD
    r.remote.update(username="user", password=PASSWORD)
    r.works()
    check_equal(r.service.bodies, [{
        "repository_type": "s3", "container_name": "vectors", "vector_path": ROOT + ".knnvec",
        "doc_id_path": ROOT + ".knndid", "tenant_id": "a cluster", "dimension": DIMENSION, "doc_count": COUNT,
        "data_type": "float", "engine": "faiss",
        "index_parameters": {"space_type": "l2", "algorithm": "hnsw",
                             "algorithm_parameters": {"ef_construction": 40, "ef_search": 100, "m": 8}}}], "body")
    check_equal([line for line in r.store.requests if "faiss" in line[1]][0][0], "HEAD", "download")
    check_equal(r.left(), [], "objects")
    check_equal(place.read("r")[:8], b"KNNGRAPH", "result")
    check_equal(r.last["result"]["nodes"], COUNT, "nodes")
    check_equal(r.phases[:3], ["upload", "remote", "download"], "phases")
    check("import" in r.phases, r.phases)
    c = r.counters
    for key, value in dict(write_success_count=1, read_success_count=1, build_request_success_count=1,
                           status_request_success_count=3, write_failure_count=0, read_failure_count=0,
                           build_request_failure_count=0, status_request_failure_count=0,
                           index_build_success_count=1, index_build_failure_count=0).items():
        check_equal(c[key], value, key)
    check_equal(len(c), 13, "counters")
    # 3 + 1 + 1 intervals of 20 ms, each times 0.8 to 1.2
    check(c["waiting_time_in_ms"] >= 80, "waited %d ms" % c["waiting_time_in_ms"])
    check_equal(r.service.count("GET", "/_status/job%2F1"), 3, "questions")
    check_equal(r.service.count("DELETE"), 0, "cancelled")


@case
def objects_may_be_kept(place):
    r = Remote(place)
    r.remote["keep_objects"] = True
    r.works()
    check_equal(r.left(), [ROOT + e for e in (".faiss", ".knndid", ".knnvec")], "objects")
    check_equal(r.store.objects[ROOT + ".knnvec"].body, place.read("v"), "vectors")
    check_equal(r.store.objects[ROOT + ".knndid"].body, place.read("i"), "ids")


@case
def what_a_service_is_told(place):
    for changes, remote, expected in (
            ({"space": "cosinesimil"}, {"fp16_storage": True}, ("half_float", "innerproduct", None)),
            ({"space": "innerproduct"}, {"skip_stored_vectors": True}, ("float", "innerproduct", True)),
            ({"data_type": "byte", "encoding": "byte"}, {}, ("byte", "l2", None)),
            ({"data_type": "binary", "encoding": "binary", "space": "hamming"}, {}, ("binary", "hamming", None))):
        r = Remote(place)
        r.job.update(changes)
        r.remote.update(remote)
        del r.remote["tenant_id"]
        r.service.states = ["FAILED_INDEX_BUILD"]
        r.fails(says="failed to build")
        body = r.service.bodies[0]
        check_equal((body["data_type"], body["index_parameters"]["space_type"], body.get("skip_stored_vectors")),
                    expected, changes)
        check_equal(body["tenant_id"], "", "tenant")


@case
def a_shared_directory(place):
    os.mkdir(place("repository"))
    r = Remote(place, directory=place("repository"))
    r.works()
    check_equal((r.service.bodies[0]["repository_type"], r.service.bodies[0]["container_name"]),
                ("file", place("repository")), "told")
    check_equal(os.listdir(place("repository")), [], "objects")


@case
def another_name_of_the_file(place):
    r = Remote(place)
    r.service.result = None
    r.service.file_name = "of the service.faiss"
    r.store.objects["base/0815_vectors/of the service.faiss"] = s3.Object(r.result)
    r.works()
    check_equal(r.left(), [], "objects")


@case
def passing_statuses_of_a_service(place):
    for status in PASSING:
        r = Remote(place)
        for method, contains, name in STEPS:
            r.service.fault(status, method, contains, headers={"Retry-After": "0"})
        r.works()
        check_equal((r.service.count("POST"), r.service.count("GET", "_status")), (2, 4), "requests after %d" % status)


@case
def passing_statuses_that_stay(place):
    for status in PASSING:
        for method, contains, name in STEPS:
            r = Remote(place)
            r.service.fault(status, method, contains, times=-1, headers={"Retry-After": "0"})
            r.fails(says=(str(status), "after another attempt", "as the test wants it"))
            check_equal(r.service.count(method, contains), 2, "requests after %d" % status)
            check_equal(r.counters[name + "_failure_count"], 1, name)
            check_equal(r.left(), [], "objects")


@case
def lasting_statuses_of_a_service(place):
    for status in LASTING + [301, 418, 501, 507]:
        for method, contains, name in STEPS:
            r = Remote(place)
            r.service.fault(status, method, contains, times=-1, headers={"Location": "/elsewhere"})
            error = r.fails(says=("refused to", str(status), "as the test wants it"))
            check(len(error["hint"]) > 20, "hint of %d" % status)
            check_equal(r.service.count(method, contains), 1, "requests after %d" % status)
            check_equal(r.counters[name + "_failure_count"], 1, name)
            check_equal(r.counters["write_success_count"], 1, "writes")
            check_equal(r.left(), [], "objects")


@case
def pauses_of_a_service(place):
    r = Remote(place)
    begun = time.monotonic()
    r.service.fault(503, "POST")
    r.service.fault(429, "GET", headers={"Retry-After": "2"})
    r.works()
    seconds = time.monotonic() - begun
    check(3 <= seconds < 20, "it took %.1f s" % seconds)


@case
def answers_that_are_no_good(place):
    for answer, says in ((b"", "no JSON"), (b"<html>", "no JSON"), (b"[]", "no JSON object"), (b"null", "no JSON"),
                         ({}, "has no"), ({"job_id": ""}, "is empty"), ({"job_id": " "}, "blank"),
                         ({"job_id": 1}, "is no text"), ({"job_id": "1", "more": 1}, "unknown key"),
                         ({"job_id": "x" * 300}, "longer than"), ({"job_id": ".."}, "job id"),
                         (b'{"job_id":"1"} x', "no JSON"), (b'{"job_id":"1\\u0000"}', "zero byte")):
        r = Remote(place)
        r.service.build_answer = answer
        r.fails(says=says)
        check_equal(r.counters["build_request_failure_count"], 1, "failures")
        check_equal(r.left(), [], "objects")
    done = {"task_status": "COMPLETED_INDEX_BUILD", "file_name": "x.faiss", "error_message": None}
    for answer, says in ((b"", "no JSON"), ({}, "has no"), (dict(done, task_status="QUEUED"), "does not know"),
                         (dict(done, task_status=""), "does not know"), (dict(done, more=1), "unknown key"),
                         (dict(done, file_name=None), "names no file"), (dict(done, file_name=""), "names no file"),
                         (dict(done, file_name=5), "is no text"), (dict(done, file_name="x.txt"), "is no result"),
                         (dict(done, file_name="../x.faiss"), "is no result"),
                         (dict(done, file_name="/etc/x.faiss"), "is no result"),
                         (dict(done, file_name=".faiss"), "is no result"),
                         (dict(done, file_name="x" * 300 + ".faiss"), "is no result"),
                         (dict(done, error_message=[]), "is no text")):
        r = Remote(place)
        r.service.states = [answer]
        r.fails(says=says)
        check_equal(r.counters["status_request_failure_count"], 1, "failures")
        check_equal(r.left(), [], "objects")
    for what in ("long", "nonsense"):
        for method, contains, name in STEPS:
            r = Remote(place)
            r.service.fault(what, method, contains, times=-1)
            r.fails(says="no good")


@case
def a_build_that_fails(place):
    r = Remote(place)
    r.service.states = ["RUNNING_INDEX_BUILD", {"task_status": "FAILED_INDEX_BUILD", "file_name": None,
                                               "error_message": "out of GPU\nmemory \x1b[31m"}]
    r.fails(says=("failed to build", "out of GPU memory"))
    check_equal(r.service.count("DELETE"), 0, "cancelled")
    check_equal(r.left(), [], "objects")
    check_equal(r.counters["status_request_success_count"], 2, "questions")


def told_before_removal(r, times=(1,)):
    """The service was told that its job is given up, and the objects were removed then."""
    check_in(r.service.count("DELETE"), times, "cancelled")
    check_in(r.service.count("DELETE", "/_build/job%2F1"), times, "cancelled")
    first = min(t for m, target, t in r.store.times if m == "DELETE")
    for method, target, at in r.service.times:
        check(method != "DELETE" or at < first, "objects were removed before the service was told")


@case
def a_build_without_an_end(place):
    r = Remote(place)
    r.service.states = ["RUNNING_INDEX_BUILD"]
    r.remote["timeout"] = 1
    begun = time.monotonic()
    r.fails(says=("did not finish within 1 s", "client_timeout"))
    check(time.monotonic() - begun < 5, "it took too long")
    check_equal(r.left(), [], "objects")
    told_before_removal(r)


@case
def a_file_that_is_not_there_or_no_graph(place):
    r = Remote(place)
    r.service.result = None
    r.fails("not_found", says="same store")
    check_equal(r.counters["read_failure_count"], 1, "failures")
    check_equal(r.left(), [], "objects")
    told_before_removal(r)
    for body, code in ((b"", "bad_input"), (b"no graph", "bad_input"), (r.result[:-50], "bad_input"),
                       (bytes(2000000), "repository")):
        r = Remote(place)
        r.service.result = body
        error = r.fails(code)
        check("terminal" not in error, "terminal")
        check_equal(r.left(), [], "objects")
        # only while the service has something that was not fetched
        check_equal(r.service.count("DELETE"), code == "repository", "cancelled")
    # where another file is in its place
    r = Remote(place)
    place.write("r.faiss", b"x")
    check(not r.run(), "it worked")
    check_equal(r.last["error"]["code"], "io")


@case
def a_full_disk_is_the_end(place):
    r = Remote(place)
    error = r.fails("io", limit=1000, says="make room")
    check_equal(error.get("terminal"), True, "terminal")
    check_equal(r.left(), [], "objects")


@case
def stores_that_fail(place):
    for method, contains, code, counter in (("PUT", ".knnvec", "repository", "write_failure_count"),
                                            ("PUT", ".knndid", "repository", "write_failure_count"),
                                            ("GET", ".faiss", "repository", "read_failure_count")):
        r = Remote(place)
        r.store.fault(403, method, contains, times=-1)
        error = r.fails(code, says=("AccessDenied", "s3:PutObject"))
        check("terminal" not in error, "terminal")
        check_equal(r.counters[counter], 1, counter)
        check_equal(r.left(), [], "objects")
    r = Remote(place)
    r.store.fault(403, "DELETE", times=-1)
    r.works()
    told = [line["warning"] for line in r.lines if "warning" in line]
    check_equal(len(told), 1, "warnings")
    check_in("3 objects of the build were left", told[0]["message"])
    check_in(ROOT + ".knnvec", told[0]["detail"])
    check_in("AccessDenied", told[0]["detail"])
    # somebody else's object stays
    r = Remote(place)
    r.store.objects[ROOT + ".knnvec"] = s3.Object(b"another")
    r.fails("repository", says="already")
    check_equal(r.left(), [ROOT + ".knnvec"], "objects")


@case
def greetings(place):
    """What no service will build is not uploaded."""
    r = Remote(place)
    for status in (200, 404, 405, 500):
        r.service.fault(status, "GET", "_heart_beat")
        r.works()
    for status in (401, 403):
        r = Remote(place)
        r.service.fault(status, "GET", "_heart_beat")
        r.fails(says=("refused to let this user in", str(status)))
        check_equal(r.counters["build_request_failure_count"], 1, "failures")
        check_equal(len(r.store.requests), 0, "requests of the store")
    for endpoint, says in (("http://127.0.0.1:1", "could not reach"), ("https", "to be http or https"), ("store", "401")):
        r = Remote(place)
        if endpoint == "https":
            endpoint = r.service.url.replace("http", "https")
        elif endpoint == "store":
            r.service.username, r.service.password = "user", PASSWORD
            endpoint = r.service.url
        r.remote["endpoint"] = endpoint
        r.fails(says=(says, "service_"))
        check_equal(len(r.store.requests), 0, "requests of the store")


@case
def services_that_come_back(place):
    r = Remote(place)
    r.remote["poll_interval"] = 0.2
    r.service.fault("cut", "GET", "_status", times=6)
    r.works()
    # two attempts each, which libcurl doubles on a kept connection
    check_in(r.counters["status_request_failure_count"], (2, 3), "failures")
    check_equal(r.counters["status_request_success_count"], 3, "answers")
    check_equal(r.left(), [], "objects")


@case
def services_that_do_not_come_back(place):
    r = Remote(place)
    r.remote["poll_interval"] = 0.2
    r.service.states = ["RUNNING_INDEX_BUILD"]
    process = r.start()
    while r.service.count("GET", "_status") == 0 and process.poll() is None:
        time.sleep(0.01)
    r.service.fault("cut", "GET", "_status", times=-1)
    check(not r.finish(process), "it worked")
    r.failed("remote", says="build service")
    check(r.counters["status_request_failure_count"] >= 2, "it was asked once: %s" % r.counters)
    check_equal(r.left(), [], "objects")


@case
def the_last_question(place):
    """It is asked at the end of the time, however short that is."""
    r = Remote(place)
    r.remote.update(poll_interval=1, timeout=0.1)
    r.service.states = ["COMPLETED_INDEX_BUILD"]
    r.works()
    check_equal(r.service.count("GET", "_status"), 1, "questions")


@case
def long_requests_are_no_silence(place):
    r = Remote(place)
    r.service.fault("stall", "POST", "_build")
    r.fails(says="broke or stalled")
    told = [line for line in r.lines if line.get("progress", {}).get("phase") == "remote"]
    check(len(told) >= 3, "progress was told %d times" % len(told))


@case
def passwords(place):
    r = Remote(place)
    r.service.username, r.service.password = "user", PASSWORD
    r.fails(says=("401", "service_password"))
    r = Remote(place)
    r.service.username, r.service.password = "user", "another"
    r.remote.update(username="user", password=PASSWORD)
    error = r.fails(says=("401", "repeats the password"))
    check("Basic" not in json.dumps(error), "the password was told")
    check_equal(r.left(), [], "objects")
    # a word may be in any answer
    r.remote.update(password="wrong")
    r.fails(says=("401", "repeats the password"))
    r.service.discreet = True
    r.fails(says=("401", "The service answered: user or password is wrong"))
    # one with characters that are not shown
    r = Remote(place)
    r.remote.update(username="user", password="p\u00e4ssword-\u20ac")
    r.service.fault(403, "POST", body="it is not p\u00e4ssword-\u20ac".encode())
    error = r.fails(says=("403", "repeats the password"))
    check("it is not" not in json.dumps(error), "the password was told")
    r = Remote(place)
    r.repository["secret_key"] = "wrong"
    r.fails("repository", says="SignatureDoesNotMatch")


@case
def connections_to_a_service(place):
    r = Remote(place)
    r.service.fault("cut", "GET", "_status")
    r.works()
    check_equal(r.store.count("PUT"), 2, "uploads")
    for what in ("cut", "stall"):
        r = Remote(place)
        r.service.fault(what, "POST", times=-1)
        r.fails(says="broke or stalled")
        # whether it was taken is not known
        check_equal(r.service.count("POST"), 1, "requests")
        check_equal(r.left(), [], "objects")
    r = Remote(place)
    r.service.fault("trickle", "GET", "_status", times=-1)
    r.fails(says="broke or stalled")
    check_equal(r.service.count("GET", "_status"), 2, "requests")
    r = Remote(place)
    r.remote["endpoint"] = r.service.url + "/a/path/"
    r.service.prefix = "/a/path"
    r.works()


@case
def certificates_of_a_service(place):
    pairs = certificates(place)
    for name, ca, works in (("good", True, True), ("good", False, False), ("old", True, False), ("other", True, False)):
        r = Remote(place, service_tls=pairs[name])
        if ca:
            r.remote["ca_file"] = place("ca.pem")
        if works:
            r.works()
        else:
            r.fails(says=("not trusted", "ca_file"))
            check_equal(r.service.count("POST"), 0, "requests")


@case
def being_cancelled(place):
    for where in ("upload", "submit", "poll", "question", "download"):
        r = Remote(place)
        waits = {"upload": (r.store, "PUT", ".knndid"), "submit": (r.service, "POST", "_build"),
                 "question": (r.service, "GET", "_status"), "download": (r.store, "GET", ".faiss")}
        server, method, contains = waits.get(where, (r.service, "GET", "_status"))
        if where == "poll":
            r.service.states = ["RUNNING_INDEX_BUILD"]
        else:
            server.fault("stall", method, contains)
        process = r.start()
        end = time.monotonic() + 20
        while server.count(method, contains) == 0 and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        check(not r.finish(process), "it worked")
        seconds = time.monotonic() - begun
        r.failed("cancelled")
        check(seconds < 3, "%s: it took %.1f s" % (where, seconds))
        check_equal(r.left(), [], "objects after " + where)
        told_before_removal(r, (0 if where in ("upload", "submit") else 1,))


@case
def services_that_cannot_be_told(place):
    """What they answer, or do not, changes neither the error nor the end."""
    errors = set()
    for what in (None, 404, 405, 401, 500, 503, "cut", "stall", "trickle", "nonsense", "long", "lost"):
        r = Remote(place)
        r.service.states = ["RUNNING_INDEX_BUILD"]
        if what is None:
            r.service.cancels = False
        else:
            r.service.fault(what, "DELETE", times=-1, headers={"Retry-After": "1"})
        process = r.start()
        while r.service.count("GET", "_status") == 0 and process.poll() is None:
            time.sleep(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        check(not r.finish(process), "it worked")
        seconds = time.monotonic() - begun
        errors.add(json.dumps(r.failed("cancelled")))
        check(seconds < 3, "%s: it took %.1f s" % (what, seconds))
        check_equal(r.stderr, "", "standard error")
        check_equal(r.left(), [], "objects")
        # libcurl asks again where a kept connection is closed, and has two of them
        told_before_removal(r, (2, 3) if what in ("cut", "lost") else (1,))
    check_equal(len(errors), 1, "errors")
    # nor if nothing answers at all: what is left of the time is for the objects
    r = Remote(place)
    r.service.states = ["RUNNING_INDEX_BUILD"]
    r.service.fault("stall", "DELETE", times=-1)
    r.store.fault("stall", "DELETE", times=-1)
    process = r.start()
    while r.service.count("GET", "_status") == 0 and process.poll() is None:
        time.sleep(0.01)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    check(not r.finish(process), "it worked")
    check(time.monotonic() - begun < 3, "it took too long")
    r.failed("cancelled")
    check(any("were left in the object store" in line.get("warning", {}).get("message", "") for line in r.lines), r.lines)
    # without a signal the same error as ever
    r = Remote(place)
    r.service.fault(500, "GET", times=-1, headers={"Retry-After": "0"})
    r.service.fault("stall", "DELETE", times=-1)
    begun = time.monotonic()
    r.fails(says=("refused to tell the build's status", "500"))
    check(time.monotonic() - begun < 8, "it took too long")
    check_equal(r.left(), [], "objects")
    told_before_removal(r)


@case
def objects_that_are_kept_after_a_failure(place):
    # the service is told as long as it is at work, and not to remove a file that is there
    for state, told in (("RUNNING_INDEX_BUILD", 1), ("COMPLETED_INDEX_BUILD", 0)):
        r = Remote(place)
        r.remote.update(keep_objects=True, timeout=0.5)
        r.service.states = [state]
        r.store.fault(403, "GET", ".faiss", times=-1)
        check(not r.run(), "it worked")
        check_equal(r.service.count("DELETE"), told, "cancelled")


@case
def two_signals_end_it_at_once(place):
    r = Remote(place)
    r.service.states = ["RUNNING_INDEX_BUILD"]
    r.store.fault("stall", "DELETE", times=-1)
    process = r.start()
    while r.service.count("GET", "_status") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.15)
    process.send_signal(signal.SIGTERM)
    check_equal(process.wait(timeout=5), 1, "status")
    process.communicate()


@case
def whoever_runs_it_goes(place):
    """Its output's reader ends: so does it, and leaves nothing."""
    r = Remote(place)
    r.service.states = ["RUNNING_INDEX_BUILD"]
    process = r.start()
    while r.service.count("GET", "_status") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.stdout.close()
    process.wait(timeout=10)
    process.stderr.close()
    check_equal(r.left(), [], "objects")


@case
def whoever_runs_it_is_killed(place):
    """Parent and reader go at once: there is still time to remove the objects."""
    parent = [sys.executable, "-c", "import subprocess, sys\n"
              "subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE).stdout.read()"]
    for where in ("poll", "download"):
        r = Remote(place)
        if where == "poll":
            r.service.states = ["RUNNING_INDEX_BUILD"]
            server, contains = r.service, "_status"
        else:
            server, contains = r.store, ".faiss"
            server.fault("trickle", "GET", contains)
        process = r.start(by=parent)
        end = time.monotonic() + 20
        while server.count("GET", contains) == 0 and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(0.3)
        process.kill()
        process.communicate()
        end = time.monotonic() + 10
        while r.left() and time.monotonic() < end:
            time.sleep(0.02)
        check_equal(r.left(), [], "objects after " + where)


@case
def jobs_that_are_no_good(place):
    for change, says in (({"endpoint": "ftp://x"}, "endpoint"), ({"endpoint": "http://user:pw@x"}, "endpoint"),
                         ({"endpoint": 5}, "is no text"), ({"poll_interval": -1}, "poll_interval"),
                         ({"timeout": "60"}, "is no number"), ({"password": "x"}, "no user name"),
                         ({"username": "a:b", "password": "x"}, "colon"), ({"more": 1}, "unknown key"),
                         ({"object": "../x"}, "part that is empty"), ({"object": ""}, "is empty"),
                         ({"keep_objects": 1}, "true or false"), ({"repository": []}, "is no object"),
                         ({"repository": {"type": "s3"}}, "has no \\\"container\\\""),
                         ({"repository": {"type": "ftp", "container": "x"}}, "does not know"),
                         ({"repository": {"type": "s3", "container": "x", "connections": 65}}, "connections"),
                         ({"repository": {"type": "file", "container": "x"}}, "absolute path")):
        r = Remote(place)
        r.remote.update(change)
        check(not r.run(), "it worked")
        check_equal(r.last["error"]["code"], "bad_job", r.last)
        check_in(says, json.dumps(r.last))
        check_equal(r.service.count("POST"), 0, "requests")
    for change, says in (({"space": "l1"}, "l1"), ({"graph": "/x"}, "a graph"),
                         ({"space": "cosinesimil", "data_type": "byte", "encoding": "byte"}, "cosinesimil of bytes"),
                         ({"result_format": "faiss"}, "a graph"), ({"dimension": 0}, "dimension"), ({"remote": None}, "no JSON object")):
        r = Remote(place)
        r.job.update(change)
        check(not r.run(), "it worked")
        check_equal(r.last["error"]["code"], "bad_job", r.last)
        check_in(says, json.dumps(r.last))
    r = Remote(place)
    del r.job["remote"]
    check(not r.run(), "it worked")
    check_in("has no \\\"remote\\\"", json.dumps(r.last))
