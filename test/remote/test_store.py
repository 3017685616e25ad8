"""
Object stores: what is written is what is read, and what goes wrong on the way is noticed.
"""
import os
import random
import signal
import stat
import subprocess
import threading
import time
import zlib

import s3
from harness import Place, Tool, case, check, check_equal, check_in

PART = 65536        # of the store_tool of these tests

# What may pass, and what does not.
PASSING = [408, 429, 500, 502, 503, 504, 509]
LASTING = [400, 401, 403, 404, 405, 409, 422]


def data(size, seed=1):
    return random.Random(seed).randbytes(size)


@case
def sizes_and_keys(place):
    store = place.store()
    tool = Tool(store)
    keys = ["a", "base/0815_vectors/x.knnvec", "ä b+c%41/~'()*!&=?#:@,;$"]
    for i, size in enumerate([0, 1, PART - 1, PART, PART + 1, 5 * PART + 17]):
        key = keys[i % len(keys)] + str(size)
        body = data(size, size)
        path = place.write("in", body)
        check_in("ok", tool.works("put", key, path))
        check_equal(store.objects[key].body, body, "stored")
        check_equal(tool.works("size", key), "ok %d" % size)
        tool.works("get", key, place("out%d" % size))
        check_equal(place.read("out%d" % size), body, "read")
        tool.works("remove", key)
        tool.works("remove", key)
        tool.fails("size", key, code="not_found")
        tool.fails("get", key, place("none"), code="not_found")
        check(not os.path.exists(place("none")), "a file of nothing")
    check_equal(store.uploads, {}, "uploads")


@case
def memory_of_large_files(place):
    """What is moved is not kept: the memory is that of buffers, whatever the size."""
    size = 50000000
    path = place("in")
    with open(path, "wb") as f:
        f.truncate(size)
    os.mkdir(place("d"))
    for tool in (Tool(place.store()), Tool(directory=place("d"))):
        for what, where in (("put", path), ("get", place("out"))):
            process = tool.start(what, "k", where)
            out, err = process.communicate(timeout=120)
            check_equal(process.returncode, 0, out + err)
            check(int(out.split()[-1]) < 40000, "%s took %s kB" % (what, out.split()[-1]))
        os.unlink(place("out"))


@case
def never_over_another(place):
    store = place.store()
    tool = Tool(store)
    for size in (100, 3 * PART):
        path = place.write("in", data(size))
        for conditions in ("known", "refused", "ignored"):
            store.reset()
            store.conditions = conditions
            tool.works("put", "k", path)
            kept = store.objects["k"]
            tool.fails("put", "k", path, code="exists")
            check(store.objects["k"] is kept, "overwritten")
        # it appears after the question
        store.reset()
        store.objects["k"] = kept = s3.Object(b"another")
        store.fault(404, "HEAD")
        tool.fails("put", "k", path, code="exists")
        check(store.objects["k"] is kept, "overwritten")
        check_equal(store.uploads, {}, "uploads")


@case
def lost_answers(place):
    """The store has acted, but its answer is lost: that is no failure, and no second object."""
    store = place.store()
    tool = Tool(store)
    small, large = place.write("s", data(100)), place.write("l", data(3 * PART))
    for path, method, contains in ((small, "PUT", ""), (large, "PUT", "partNumber=2"), (large, "POST", "uploadId="),
                                   (small, "HEAD", ""), (large, "HEAD", "")):
        for checksums in (True, False):
            store.reset()
            store.checksums = checksums
            store.fault("lost", method, contains)
            tool.works("put", "k", path)
            check_equal(store.objects["k"].body, place.read(os.path.basename(path)), method)
            check_equal(store.uploads, {}, "uploads")
    store.reset()
    tool.works("put", "k", small)
    store.fault("lost", "DELETE")
    tool.works("remove", "k")
    # somebody else's object of the same key, found by the second attempt
    for body in (data(100, 2), data(99)):
        store.reset()
        store.fault(404, "HEAD")
        store.fault(503, "PUT")
        store.objects["k"] = s3.Object(body)
        store.objects["k"].crc = s3.crc_text(zlib.crc32(body))
        tool.fails("put", "k", small, code="exists")
        check_equal(store.objects["k"].body, body, "overwritten")


# each: method and part of the target, of one put and get of a large object
STEPS = [("HEAD", ""), ("POST", "uploads="), ("PUT", "partNumber=3"), ("POST", "uploadId="), ("GET", "")]


def each_status(place, statuses):
    for status in statuses:
        for method, contains in STEPS:
            yield status, method, contains


@case
def passing_statuses(place):
    store = place.store()
    tool = Tool(store)
    body = data(3 * PART + 5)
    path = place.write("in", body)
    for n, (status, method, contains) in enumerate(each_status(place, PASSING)):
        store.reset()
        store.fault(status, method, contains, headers={"Retry-After": "0"})
        tool.works("put", "k", path)
        tool.works("get", "k", place("out%d" % n))
        check_equal(place.read("out%d" % n), body, "%d at %s %s" % (status, method, contains))
        check_equal(store.faults[0].times, 0, "fault not met")
        store.fault(status, "DELETE", headers={"Retry-After": "0"})
        tool.works("remove", "k")
        check_equal((store.objects, store.uploads), ({}, {}), "left")


@case
def lasting_statuses(place):
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(3 * PART + 5))
    for status, method, contains in each_status(place, LASTING):
        store.reset()
        if method in ("GET", "HEAD"):
            tool.works("put", "k", path)
        store.fault(status, method, contains, times=-1)
        before = store.count(method, contains)
        if method == "GET" or method == "HEAD":
            code = "not_found" if (method, status) == ("HEAD", 404) else "repository"
            says = () if code == "not_found" else "answered %d" % status
            tool.fails("get", "k", place("out"), code=code, says=says)
            check(not os.path.exists(place("out")), "a file is left")
            most = 4        # one for each connection
        else:
            tool.fails("put", "k", path, code="repository", says="answered %d" % status)
            check_equal((store.objects, store.uploads), ({}, {}), "left")
            most = 1
        check(store.count(method, contains) - before <= most, "%s was repeated after %d" % (method, status))
        if status not in (404,):
            store.fault(status, "DELETE")
            tool.fails("remove", "k", code="repository", says="answered %d" % status)


@case
def statuses_of_questions_before_writing(place):
    """Who may not ask whether a key is taken may write all the same."""
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(100))
    store.fault(403, "HEAD")
    tool.works("put", "k", path)
    store.reset()
    store.fault(403, times=-1)
    tool.fails("put", "k", path, code="repository", says=("403 AccessDenied", "s3:PutObject"))
    store.reset()
    store.fault(405, "HEAD")
    tool.fails("put", "k", path, code="repository", says="answered 405")


@case
def no_end_of_failures(place):
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(100))
    store.fault(503, "PUT", times=-1)
    tool.fails("put", "k", path, code="repository", says=("503 SlowDown", "try again later"))
    check_equal(store.count("PUT"), 5, "attempts")


@case
def connections_that_break(place):
    store = place.store()
    tool = Tool(store)
    body = data(3 * PART + 5)
    path = place.write("in", body)
    for n, (method, contains) in enumerate(STEPS * 2):
        store.reset()
        store.fault("cut" if n < len(STEPS) else "cut_body", method, contains, times=1)
        tool.works("put", "k", path)
        tool.works("get", "k", place("out%d" % n))
        check_equal(place.read("out%d" % n), body, "%s %s" % (method, contains))
        # one whose id was lost on the way cannot be aborted
        check_equal(len(store.uploads), contains == "uploads=" and n >= len(STEPS), "uploads")


@case
def stalled_parts(place):
    store = place.store()
    tool = Tool(store)
    body = data(3 * PART + 5)
    path = place.write("in", body)
    store.fault("stall", "PUT", "partNumber=1")
    store.fault("trickle", "GET")
    tool.works("put", "k", path)
    tool.works("get", "k", place("out"))
    check_equal(place.read("out"), body, "read")


@case
def a_store_that_talks_nonsense(place):
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(3 * PART))
    for what in ("nonsense", "long"):
        store.reset()
        store.fault(what, "POST", times=-1)
        tool.fails("put", "k", path, code="repository")
    store.reset()
    store.fault(200, "POST", "uploads=", times=-1, body=b"<UploadId></UploadId>")
    tool.fails("put", "k", path, code="repository", says="no id of a multipart upload")


@case
def damage_is_noticed(place):
    store = place.store()
    tool = Tool(store)
    body = data(3 * PART + 5)
    path = place.write("in", body)
    # on the way there: the store says what it got
    store.fault(200, "PUT", "partNumber=2", headers={"ETag": '"x"', "x-amz-checksum-crc32": "AAAAAA=="})
    tool.fails("put", "k", path, code="repository", says="damaged on its way")
    check_equal(store.uploads, {}, "uploads")
    # in the store: another size, another checksum
    for headers in ({"Content-Length": "5"}, {"Content-Length": str(len(body)), "x-amz-checksum-crc32": "AAAAAA==-4"}):
        store.reset()
        store.fault(200, "HEAD", after=1, headers=headers)
        tool.fails("put", "k", path, code="repository", says="in the object store")
        check_equal(store.objects, {}, "the damaged object is still there")
    # on the way back: of parts, of the whole, and with the other polynomial
    store.reset()
    tool.works("put", "k", path)
    of_parts = store.objects["k"].crc
    for crc, algorithm in ((of_parts, "crc32"), (of_parts.split("-")[0], "crc32"),
                           (s3.crc_text(zlib.crc32(body)), "crc32"), (s3.crc_text(s3.crc32c(body)), "crc32c")):
        store.composite = crc in of_parts
        store.objects["k"].crc, store.algorithm = crc, algorithm
        tool.works("get", "k", place("out%d" % len(os.listdir(place.path))))
        store.fault("damage", "GET")
        tool.fails("get", "k", place("out"), code="repository", says=("damaged", "Expected is " + crc))
        check(not os.path.exists(place("out")), "a damaged file is left")


@case
def complete_with_an_error_inside(place):
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(3 * PART))
    store.fault(200, "POST", "uploadId=", body=b"<Error><Code>InternalError</Code></Error>")
    tool.works("put", "k", path)
    check_equal(store.count("POST", "uploadId="), 2, "attempts")
    store.reset()
    store.fault(200, "POST", "uploadId=", times=-1, body=b"<Error><Code>InternalError</Code></Error>")
    tool.fails("put", "k", path, code="repository", says="InternalError")
    check_equal((store.objects, store.uploads), ({}, {}), "left")


@case
def reading_what_changes_or_is_too_large(place):
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(3 * PART))
    tool.works("put", "k", path)
    text = tool.fails("get", "k", place("out"), str(3 * PART - 1), code="repository", says="more than")
    check_equal(store.count("GET"), 0, "requests for what is too large: " + text)
    store.fault(412, "GET")
    tool.fails("get", "k", place("out"), code="repository", says="changed")
    store.reset()
    store.objects["k"] = s3.Object(data(3 * PART))
    store.no_ranges = True
    tool.fails("get", "k", place("out"), code="repository")
    store.no_ranges = False
    store.fault(206, "GET", headers={"Content-Range": "bytes 1-65536/196608"}, body=data(PART))
    tool.fails("get", "k", place("out"), code="repository", says="another range")
    open(place("out"), "w").close()
    tool.fails("get", "k", place("out"), code="io", says="File exists")


@case
def stores_without_checksums(place):
    store = place.store()
    store.checksums = False
    body = data(3 * PART + 1)
    path = place.write("in", body)
    Tool(store).works("put", "k", path)
    Tool(store).works("get", "k", place("out"))
    check_equal(place.read("out"), body, "read")


@case
def credentials(place):
    store = place.store()
    path = place.write("in", data(10))
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    Tool(store, **wrong).fails("put", "k", path, code="repository", says=("SignatureDoesNotMatch", "secret key"))
    Tool(store, AWS_ACCESS_KEY_ID="AKIAOTHER").fails("put", "k", path, code="repository",
                                                     says=("InvalidAccessKeyId", "access key"))
    Tool(store, AWS_REGION="us-west-2").fails("put", "k", path, code="repository", says=("region " + s3.REGION,))
    Tool(store, AWS_SECRET_ACCESS_KEY="").fails("put", "k", path, code="bad_job", says="no secret key")
    Tool(store, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="").fails("put", "k", path, code="bad_job",
                                                                      says="no access key")
    check_equal(store.objects, {}, "written")
    store.token = "session-token-of-the-store"
    Tool(store).fails("put", "k", path, code="repository", says="InvalidToken")
    Tool(store, AWS_SESSION_TOKEN=store.token).works("put", "k", path)
    store.bucket = "others"
    Tool(AWS_SESSION_TOKEN=store.token, KNN_STORE_ENDPOINT=store.url).fails(
        "put", "k", path, code="repository", says=("NoSuchBucket", "repository's bucket"))


@case
def addresses(place):
    store = place.store()
    path = place.write("in", data(10))
    port = store.server_address[1]
    Tool(store, KNN_STORE_ENDPOINT="http://localhost:%d" % port, KNN_STORE_VIRTUAL="1").works("put", "k", path)
    Tool(store, KNN_STORE_ENDPOINT="", AWS_ENDPOINT_URL_S3=store.url + "/").works("get", "k", place("out"))
    for endpoint in ("ftp://127.0.0.1", "127.0.0.1:9000", "http://", "http://a:b@127.0.0.1/", "http://127.0.0.1/?a",
                     "http://127.0.0.1/ x", "file:///etc"):
        Tool(store, KNN_STORE_ENDPOINT=endpoint).fails("size", "k", code="bad_job", says="endpoint")
    for key in ("", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a\nb", "x" * 1025):
        Tool(store).fails("put", key, path, code="bad_job", says="key")
    for bucket in (".a", "a/b", "a b", "x" * 256):
        tool = Tool(store)
        tool.arguments[1] = bucket
        tool.fails("size", "k", code="bad_job")
    # nobody listens, and somebody who sends elsewhere
    text = Tool(store, KNN_STORE_ENDPOINT="http://127.0.0.1:1").fails("size", "k", code="repository",
                                                                     says="could not reach")
    check_in("endpoint", text)
    for status in (301, 307):
        store.reset()
        store.fault(status, headers={"Location": store.url + "/elsewhere"})
        Tool(store).fails("size", "k", code="repository", says=("answered %d" % status, "redirects are not followed"))
        check_equal(len(store.requests), 1, "requests")


@case
def cancelling(place):
    """An end at once, whatever is waited for, and nothing stays in the store."""
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(3 * PART))
    for method, contains in (("HEAD", ""), ("PUT", "partNumber=2"), ("POST", "uploadId=")):
        store.reset()
        store.fault("stall", method, contains)
        process = tool.start("put", "k", path)
        end = time.monotonic() + 10
        while store.count(method, contains) == 0 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ok, text = tool.finish(process)
        check(not ok and text.startswith("cancelled:"), text)
        check(time.monotonic() - begun < 2, "it took %.1f s" % (time.monotonic() - begun))
        check_equal(store.uploads, {}, "uploads after %s" % method)


@case
def being_killed(place):
    store = place.store()
    tool = Tool(store)
    path = place.write("in", data(3 * PART))
    store.fault("stall", "PUT", "partNumber=2")
    process = tool.start("put", "k", path)
    while store.count("PUT", "partNumber=2") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    check_equal(store.objects, {}, "a part of an object was seen")
    directory = place("repository")
    os.mkdir(directory)
    tool = Tool(directory=directory)
    path = place.write("large", bytes(300 * 1000 * 1000))
    process = tool.start("put", "k", path)
    while not os.listdir(directory) and process.poll() is None:
        pass
    process.kill()
    process.communicate()
    check("k" not in os.listdir(directory), "a part of an object was seen")


@case
def local_files(place):
    store = place.store()
    tool = Tool(store)
    tool.fails("put", "k", place("none"), code="io", says="No such file")
    tool.fails("put", "k", place.path, code="io", says="no file")
    tool.works("put", "k", place.write("in", data(3 * PART)))
    tool.fails("get", "k", place("none/out"), code="io", says="No such file")
    # as a full disk: told before anything is read
    before = store.count("GET")
    tool.fails("get", "k", place("out"), limit=PART, code="io", says="make room")
    check_equal(store.count("GET"), before, "requests")
    check(not os.path.exists(place("out")), "a file is left")


def certificates(place):
    """An authority, and a certificate of 127.0.0.1, of another name, and an old one."""
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=place.path)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=authority")
    for name, subject, days in (("good", "IP:127.0.0.1", "2"), ("other", "DNS:elsewhere.example", "2"),
                                ("old", "IP:127.0.0.1", "-1")):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=x")
        place.write(name + ".ext", b"subjectAltName=" + subject.encode())
        try:
            openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", days, "-extfile", name + ".ext", "-out", name + ".pem")
        except subprocess.CalledProcessError:
            # some versions take no days before today
            openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-not_before", "20200101000000Z", "-not_after", "20200102000000Z", "-extfile", name + ".ext",
                    "-out", name + ".pem")
    return {name: (place(name + ".pem"), place(name + ".key")) for name in ("good", "other", "old")}


@case
def tls(place):
    pairs = certificates(place)
    path = place.write("in", data(3 * PART))
    store = place.store(tls=pairs["good"])
    Tool(store, KNN_STORE_CA=place("ca.pem")).works("put", "k", path)
    begun = time.monotonic()
    Tool(store).fails("size", "k", code="repository", says=("not trusted", "ca_file"))
    for name, why in (("other", ""), ("old", "expired")):
        Tool(place.store(tls=pairs[name]), KNN_STORE_CA=place("ca.pem")).fails(
            "size", "k", code="repository", says=("not trusted", why))
    Tool(store, KNN_STORE_CA=place("none.pem")).fails("size", "k", code="repository", says="none.pem")
    check(time.monotonic() - begun < 10, "repeated what cannot pass")


# ---- directories ----

@case
def directories(place):
    directory = place("repository")
    os.mkdir(directory)
    os.chmod(directory, 0o2770)
    tool = Tool(directory=directory)
    for size in (0, 1, 2500000):
        body = data(size)
        path = place.write("in", body)
        tool.works("put", "a/b c/k", path)
        check_equal(stat.S_IMODE(os.stat(directory + "/a").st_mode), 0o2770, "rights of a directory")
        check_equal(stat.S_IMODE(os.stat(directory + "/a/b c/k").st_mode), 0o660, "rights of an object")
        tool.fails("put", "a/b c/k", path, code="exists")
        check_equal(os.listdir(directory + "/a/b c"), ["k"], "left")
        check_equal(tool.works("size", "a/b c/k"), "ok %d" % size)
        tool.works("get", "a/b c/k", place("out%d" % size))
        check_equal(place.read("out%d" % size), body, "read")
        tool.works("remove", "a/b c/k")
        tool.works("remove", "a/b c/k")
        check_equal(os.listdir(directory), [], "empty directories")
        tool.fails("size", "a/b c/k", code="not_found")
        tool.fails("get", "a/b c/k", place("none"), code="not_found")
    body = data(1000)
    path = place.write("given", body)
    tool.works("give", "a/k", path)
    check_equal(place.read("given"), body, "the given file")
    os.unlink(path)
    check_equal(stat.S_IMODE(os.stat(directory + "/a/k").st_mode), 0o660, "rights of a given object")
    check_equal(os.stat(directory + "/a/k").st_gid, os.stat(directory + "/a").st_gid, "its group")
    check_equal(os.listdir(directory + "/a"), ["k"], "left")
    tool.works("get", "a/k", place("taken"))
    check_equal(place.read("taken"), body, "read")
    tool.fails("give", "a/k", place.write("given", b"other"), code="exists")
    tool.works("remove", "a/k")
    path = place.write("in", data(100))
    tool.works("put", "k", path)
    tool.fails("get", "k", place("out"), "99", code="repository", says="more than")
    tool.fails("get", "k", place("out"), limit=50, code="io")
    check(not os.path.exists(place("out")), "a file is left")
    tool.fails("put", "large", place.write("large", data(100000)), limit=5000, code="repository", says="too large")
    tool.fails("put", "k/below", path, code="repository", says="Not a directory")
    check_equal(os.listdir(directory), ["k"], "left")
    Tool(directory="relative").fails("size", "k", code="bad_job", says="absolute")
    Tool(directory=place("none")).fails("put", "k", path, code="repository", says="No such file")


@case
def no_way_out_of_a_directory(place):
    directory, outside = place("repository"), place("outside")
    os.mkdir(directory)
    os.mkdir(outside)
    os.symlink(outside, directory + "/link")
    os.symlink(outside + "/object", directory + "/object")
    with open(outside + "/object", "wb") as f:
        f.write(b"secret")
    os.mkfifo(directory + "/fifo")
    tool = Tool(directory=directory)
    path = place.write("in", b"x")
    for key in ("../outside/object", "link/../object", "/etc/passwd"):
        tool.fails("get", key, place("out"), code="bad_job")
    for key in ("link/object", "object", "fifo"):
        tool.fails("get", key, place("out"), code="repository")
        tool.fails("size", key, code="repository")
    tool.fails("put", "link/new", path, code="repository")
    tool.fails("put", "object", path, code="exists")
    tool.fails("remove", "link/object", code="repository")
    tool.works("remove", "object")
    check_equal(os.listdir(outside), ["object"], "outside")


@case
def directories_that_come_and_go(place):
    directory = place("repository")
    os.mkdir(directory)
    path = place.write("in", b"x")
    errors = []

    def write_and_remove(name):
        tool = Tool(directory=directory)
        for i in range(12):
            try:
                tool.works("put", "a/b/" + name, path)
                tool.works("remove", "a/b/" + name)
            except AssertionError as e:
                errors.append(str(e))

    threads = [threading.Thread(target=write_and_remove, args=(name,)) for name in "xyz"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check_equal(errors, [], "races")
    check_equal(os.listdir(directory), [], "left")
