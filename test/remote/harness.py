"""
Cases, programs and what they say.
"""
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import metadata
import s3
import service

BUILD = os.path.abspath(sys.argv[1])
PASSWORD = "s3cret-of-the-service"
SECRETS = (s3.SECRET_KEY, PASSWORD, "session-token-of-the-store", *metadata.SECRETS)
COUNT, DIMENSION = 60, 8
WORKERS = 8

cases = []
folder = tempfile.mkdtemp(prefix="knn-remote-test.")


def case(function):
    cases.append(function)
    return function


def check(ok, what):
    if not ok:
        raise AssertionError(what)


def check_equal(got, expected, what=""):
    check(got == expected, "%s: got %r, expected %r" % (what, got, expected))


def check_in(part, text, what=""):
    check(part in text, "%s: %r is not in %r" % (what, part, text))


def environment(**more):
    """Nothing of the outside: no proxies, no credentials."""
    return dict({"PATH": os.environ["PATH"]}, **more)


def no_secrets(*texts):
    for text in texts:
        for secret in SECRETS:
            check(secret not in text, "a secret was told: %s" % text)


class Place:
    """A folder of a case's own, and what it starts."""

    def __init__(self):
        self.path = tempfile.mkdtemp(dir=folder)
        self.servers = []

    def __call__(self, name):
        return os.path.join(self.path, name)

    def write(self, name, data):
        with open(self(name), "wb") as f:
            f.write(data)
        return self(name)

    def read(self, name):
        with open(self(name), "rb") as f:
            return f.read()

    def store(self, **kw):
        self.servers.append(s3.Store(**kw))
        return self.servers[-1]

    def metadata(self):
        self.servers.append(metadata.Metadata())
        return self.servers[-1]

    def service(self, *args, **kw):
        self.servers.append(service.Service(*args, **kw))
        return self.servers[-1]

    def close(self):
        for server in self.servers:
            server.close()
        shutil.rmtree(self.path, ignore_errors=True)


def file_limit(size):
    def set_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return set_limit


class Tool:
    """store_tool for one store."""

    def __init__(self, store=None, directory=None, **env):
        self.program = os.path.join(BUILD, "store_tool")
        self.arguments = ["file", directory] if directory else ["s3", getattr(store, "bucket", "vectors")]
        self.env = {"AWS_ACCESS_KEY_ID": s3.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY,
                    "AWS_REGION": s3.REGION}
        if store:
            self.env["KNN_STORE_ENDPOINT"] = store.url
        self.env.update(env)

    def start(self, *args, limit=None):
        return subprocess.Popen([self.program, *self.arguments, *args], env=environment(**self.env),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=file_limit(limit) if limit else None)

    def finish(self, process, seconds=30):
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError("%s took longer than %d s" % (process.args, seconds))
        no_secrets(out, err)
        check(process.returncode in (0, 1), "status %d: %s %s" % (process.returncode, out, err))
        return process.returncode == 0, out.split("\n")[0] if out else ""

    def __call__(self, *args, **kw):
        return self.finish(self.start(*args, **kw))

    def works(self, *args):
        ok, text = self(*args)
        check(ok, "%s: %s" % (args, text))
        check("impossible" not in text, text)
        return text

    def fails(self, *args, code=None, says=(), **kw):
        ok, text = self(*args, **kw)
        check(not ok, "%s worked: %s" % (args, text))
        if code:
            check_equal(text.split(":")[0], code, text)
        for part in (says,) if isinstance(says, str) else says:
            check_in(part, text)
        return text


# ---- knn-builder ----

def vectors(count=COUNT, dimension=DIMENSION):
    state, rows = 1, b""
    for _ in range(count * dimension):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
        rows += struct.pack("<f", (state >> 40) / 2 ** 24 - 0.5)
    return rows


def build_job(place, **more):
    return dict({"job": "build", "version": 1, "method": "hnsw", "engine": "cpu", "vectors": place("v"),
                 "ids": place("i"), "result": place("r"), "dimension": DIMENSION, "count": COUNT,
                 "data_type": "float", "space": "l2", "encoding": "rotated_8", "m": 8,
                 "ef_construction": 40, "seed": "42", "threads": 1, "memory_limit": 0,
                 "codes_per_page": 20}, **more)


def run_job(command, job, limit=None, **env):
    return subprocess.run([os.path.join(BUILD, "knn-builder"), command], text=True,
                          input=json.dumps(job), capture_output=True, env=environment(**env), timeout=60)


class Remote:
    """A store, a service and a job for knn-builder."""

    def __init__(self, place, directory=None, store_tls=None, service_tls=None):
        self.place = place
        self.store = None if directory else place.store(tls=store_tls)
        self.directory = directory
        save = self.save_file if directory else self.store.objects.__setitem__
        self.result = made_result()
        self.service = place.service(lambda key, body: save(key, body if directory else s3.Object(body)),
                                     self.result, tls=service_tls)
        place.write("v", vectors())
        place.write("i", struct.pack("<%di" % COUNT, *range(COUNT)))
        repository = {"type": "file", "container": directory} if directory else {
            "type": "s3", "container": self.store.bucket, "region": s3.REGION, "endpoint": self.store.url,
            "path_style": True, "access_key": s3.ACCESS_KEY, "secret_key": s3.SECRET_KEY}
        self.job = build_job(place)
        self.job["remote"] = {"endpoint": self.service.url, "poll_interval": 0.02, "timeout": 20,
                              "tenant_id": "a cluster", "object": "base/0815_vectors/4711_items_v",
                              "keep_objects": False, "fp16_storage": False, "skip_stored_vectors": False,
                              "repository": repository}
        self.remote = self.job["remote"]
        self.repository = repository

    def save_file(self, key, body):
        with open(os.path.join(self.directory, key), "wb") as f:
            f.write(body)

    def start(self, limit=None, by=(), **env):
        """By another program: one that is given the command line."""
        process = subprocess.Popen([*by, os.path.join(BUILD, "knn-builder"), "remote"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, env=environment(**env),
                                   preexec_fn=file_limit(limit) if limit else None)
        process.stdin.write(json.dumps(self.job))
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process, seconds=40):
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError("it took longer than %d s" % seconds)
        no_secrets(out, err)
        self.stderr = err
        self.lines = [json.loads(line) for line in out.splitlines()]
        self.last = self.lines[-1] if self.lines else {}
        self.counters = {}
        self.phases = []
        for line in self.lines:
            self.counters = line.get("counters", self.counters)
            phase = line.get("progress", {}).get("phase")
            if phase and phase not in self.phases:
                self.phases.append(phase)
        check(process.returncode == (0 if "result" in self.last else 1),
              "status %d: %s %s" % (process.returncode, out, err))
        return "result" in self.last

    def run(self, **kw):
        return self.finish(self.start(**kw))

    def works(self, **kw):
        check(self.run(**kw), "%s %s" % (self.last, self.stderr))
        check_equal(self.counters["index_build_success_count"], 1, "successes")
        check(not os.path.exists(self.place("r.faiss")), "the downloaded file is still there")

    def fails(self, code="remote", says=(), **kw):
        check(not self.run(**kw), "it worked: %s" % self.last)
        return self.failed(code, says)

    def failed(self, code, says=()):
        error = self.last.get("error", {})
        text = json.dumps(error)
        check_equal(error.get("code"), code, text)
        for part in (says,) if isinstance(says, str) else says:
            check_in(part, text)
        check_equal(self.counters.get("index_build_failure_count"), 1, "failures")
        check(not os.path.exists(self.place("r.faiss")), "the downloaded file is still there")
        return error

    def left(self):
        """Objects that are still in the store."""
        if self.directory:
            return sorted(os.path.relpath(os.path.join(d, f), self.directory)
                          for d, _, files in os.walk(self.directory) for f in files)
        return sorted(self.store.objects) + sorted(self.store.uploads)


result_lock = threading.Lock()
result_bytes = []


def made_result():
    """The file that a service would make of the vectors, made once."""
    with result_lock:
        if not result_bytes:
            place = Place()
            place.write("v", vectors())
            place.write("i", struct.pack("<%di" % COUNT, *range(COUNT)))
            done = run_job("build", build_job(place, result_format="faiss", storage="float"))
            check(done.returncode == 0, done.stdout + done.stderr)
            result_bytes.append(place.read("r"))
            place.close()
        return result_bytes[0]


# ---- running ----

def run_one(function):
    place = Place()
    begun = time.monotonic()
    try:
        function(place)
        text = None
    except Exception:                   # whatever it is, the case has failed
        text = traceback.format_exc()
    finally:
        place.close()
    return function.__name__, text, time.monotonic() - begun


def main(skipped=0):
    wanted = os.environ.get("KNN_REMOTE_TESTS", "")
    chosen = [f for f in cases if wanted in f.__name__]
    failed = 0
    try:
        with ThreadPoolExecutor(WORKERS) as pool:
            for name, text, seconds in pool.map(run_one, chosen):
                print("%s %s (%.1f s)" % ("not ok" if text else "ok", name, seconds))
                if text:
                    failed += 1
                    print("    " + text.replace("\n", "\n    "))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (len(chosen) - failed, failed, skipped))
    return 1 if failed else 0
