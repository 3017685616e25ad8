"""A running knn-builder serve, its folders, and requests to it."""
import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("KNN_BUILDER", os.path.join(HERE, "..", "..", "knn-builder"))
STUB = os.path.join(HERE, "stub_builder")
SANITIZERS = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
WAIT = 30  # seconds, for what takes a moment
BUILD_WAIT = 150  # for a build, under a checker too


def until(condition, what, seconds=WAIT):
    """Wait for a condition; the result is what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.02)


def job_id(vector_path, tenant):
    return hashlib.sha256(f"{vector_path}-{tenant}".encode()).hexdigest()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    if int(file.read().rsplit(")", 1)[1].split()[1]) == pid:
                        found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


class Service:
    """Started by start(); log lines are in self.log."""

    def __init__(self, root, *options, environment=None, stub=True):
        self.root = root
        self.environment = environment or {}
        self.options = list(options)
        if stub:
            self.options += ["--builder", STUB]
        self.state = os.path.join(root, "state")
        self.work = os.path.join(root, "work")
        self.store = os.path.join(root, "store")
        for folder in (self.state, self.work, self.store):
            os.makedirs(folder, exist_ok=True)
        self.process = None
        self.log = []
        self.headers = {}
        self.tls = None

    def arguments(self):
        given = " ".join(self.options)
        arguments = [PROGRAM, "serve", "--state-dir", self.state, "--work-dir", self.work]
        if "--listen" not in given:
            arguments += ["--listen", "127.0.0.1:0"]
        # a checker of leaks looks into the process as a debugger does
        if "/asan/" in PROGRAM:
            arguments += ["--core-dumps"]
        if "--repository-dir" not in given:
            arguments += ["--repository-dir", self.store]
        return arguments + self.options

    def start(self):
        environment = {"PATH": os.environ["PATH"], **SANITIZERS, **self.environment}
        self.log = []
        self.process = subprocess.Popen(self.arguments(), stderr=subprocess.PIPE, env=environment,
                                        start_new_session=True)
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        until(lambda: self.address() or self.process.poll() is not None, "the service to listen")
        if self.address() is None:
            raise AssertionError("the service did not start: " + "".join(self.log))
        self.port = int(self.address().rsplit(":", 1)[1])
        return self

    def _read(self, process):
        for line in process.stderr:
            self.log.append(line.decode())
        process.stderr.close()

    def address(self):
        for line in list(self.log):
            match = re.search(r'event=listening address=(\S+)|"event":"listening","address":"([^"]+)"', line)
            if match:
                return match.group(1) or match.group(2)
        return None

    def end(self, number=signal.SIGTERM):
        """End it; its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(WAIT)
        self.reader.join(WAIT)
        self.process = None
        return status

    def logged(self, text):
        return any(text in line for line in list(self.log))

    # ---- requests ----

    def connection(self, timeout=WAIT):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=timeout)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        """Status, body as JSON, headers."""
        if isinstance(body, dict):
            body = json.dumps(body)
        connection = self.connection()
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None, response.headers
        finally:
            connection.close()

    def raw(self, data, timeout=WAIT):
        """All that is answered to some bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(data)
            answer = b""
            while True:
                try:
                    more = connection.recv(65536)
                except ConnectionResetError:
                    return answer
                if not more:
                    return answer
                answer += more

    # ---- jobs ----

    def put_vectors(self, name, count=10, dimension=4, vectors=None, ids=None):
        """Files of a job in the store."""
        os.makedirs(os.path.dirname(os.path.join(self.store, name)), exist_ok=True)
        if vectors is None:
            vectors = struct.pack(f"<{count * dimension}f", *(float(i % 7) for i in range(count * dimension)))
        if ids is None:
            ids = struct.pack(f"<{count}i", *range(count))
        for suffix, data in ((".knnvec", vectors), (".knndid", ids)):
            with open(os.path.join(self.store, name + suffix), "wb") as file:
                file.write(data)

    def body(self, name, count=10, dimension=4, m=16, **others):
        body = {"repository_type": "file", "container_name": self.store, "vector_path": name + ".knnvec",
                "doc_id_path": name + ".knndid", "tenant_id": "t", "dimension": dimension,
                "doc_count": count,
                "index_parameters": {"algorithm_parameters": {"m": m}}}
        body.update(others)
        return {key: value for key, value in body.items() if value is not None}

    def submit(self, name, **others):
        """Ask for a build; its id."""
        status, answer, _ = self.request("POST", "/_build", self.body(name, **others))
        assert status == 200, (status, answer)
        assert list(answer) == ["job_id"], answer
        return answer["job_id"]

    def status(self, job):
        status, answer, _ = self.request("GET", "/_status/" + job)
        assert status == 200, (status, answer)
        assert set(answer) == {"task_status", "file_name", "error_message"}, answer
        return answer

    def over(self, job, seconds=BUILD_WAIT):
        """Wait for a job's end; its status."""
        return until(lambda: (s := self.status(job))["task_status"] != "RUNNING_INDEX_BUILD" and s,
                     "the end of a job", seconds)

    def build(self, name, **others):
        return self.over(self.submit(name, **others))

    def build_id(self, name, **others):
        """The id of a job that is over."""
        job = self.submit(name, **others)
        self.over(job)
        return job

    def jobs(self):
        return self.request("GET", "/_jobs")[1]

    def states(self):
        return {job["request"]["vector_path"][:-len(".knnvec")]: job["state"] for job in self.jobs()["jobs"]}

    def running(self, name):
        until(lambda: self.states().get(name) == "running", name + " to run")

    def stored(self, name):
        with open(os.path.join(self.store, name), "rb") as file:
            return file.read()


class ServiceTest(unittest.TestCase):
    """Each test has services with a folder of its own."""

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="knn-serve-test.")
        self.services = []

    def tearDown(self):
        for service in self.services:
            if service.process:
                service.end(signal.SIGKILL)
        shutil.rmtree(self.root, ignore_errors=True)

    def service(self, *options, **others):
        service = Service(self.root, *options, **others)
        self.services.append(service)
        return service

    def start(self, *options, **others):
        return self.service(*options, **others).start()

    def refused(self, *options, message, **others):
        """The service does not start, and says why."""
        service = self.service(*options, **others)
        result = subprocess.run(service.arguments(), stderr=subprocess.PIPE, timeout=WAIT,
                                env={"PATH": os.environ["PATH"], **SANITIZERS, **service.environment})
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(message, result.stderr.decode())

    def secret(self, name, text, mode=0o600):
        path = os.path.join(self.root, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
