"""
A build service as knn-builder meets it: it says what it is told to say, and puts the file
of the index into the store when it says that it is done.
"""
import base64
import json

import web


class Handler(web.Handler):
    def handle_request(self):
        service = self.server
        if service.password is not None:
            both = "%s:%s" % (service.username, service.password)
            if self.headers.get("Authorization") != "Basic " + base64.b64encode(both.encode()).decode():
                told = b"" if service.discreet else (self.headers.get("Authorization") or "").encode()
                return self.answer(401, b"user or password is wrong " + told)
        elif self.headers.get("Authorization"):
            return self.answer(400, b"authentication without a password")
        if self.command == "POST" and self.path == service.prefix + "/_build":
            service.bodies.append(json.loads(self.body))
            return self.say(service.build_answer)
        if self.command == "GET" and self.path == service.prefix + "/_status/" + service.job_id:
            with service.lock:
                state = service.states.pop(0) if len(service.states) > 1 else service.states[0]
            if isinstance(state, str) and state == "COMPLETED_INDEX_BUILD":
                root = service.bodies[-1]["vector_path"][:-len(".knnvec")]
                if service.result is not None:
                    service.save(root + ".faiss", service.result)
                name = service.file_name or root.rpartition("/")[2] + ".faiss"
                state = {"task_status": state, "file_name": name, "error_message": None}
            elif isinstance(state, str):
                state = {"task_status": state, "file_name": None, "error_message": None}
            return self.say(state)
        if self.command == "DELETE" and self.path == service.prefix + "/_build/" + service.job_id and service.cancels:
            return self.say({"task_status": "FAILED_INDEX_BUILD", "file_name": None, "error_message": "cancelled"}, 202)
        self.answer(404, b'{"detail":"Not Found"}')

    def refuse(self, status):
        self.answer(status, self.fault.body or b'{"detail":"as the test wants it"}', self.fault.headers)

    def say(self, answer, status=200):
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.answer(status, body, {"Content-Type": "application/json"})


class Service(web.Server):
    def __init__(self, save, result, tls=None):
        self.save = save                # (key, bytes)
        self.result = result            # the file's bytes; None: it writes none
        self.prefix = ""
        self.username = self.password = None
        self.discreet = False           # does not repeat what it was told
        self.job_id = "job%2F1"
        self.build_answer = {"job_id": "job/1"}
        self.states = ["RUNNING_INDEX_BUILD", "RUNNING_INDEX_BUILD", "COMPLETED_INDEX_BUILD"]
        self.file_name = None           # None: that of the vectors
        self.cancels = True             # False: as OpenSearch's own, it does not know how to
        self.bodies = []
        super().__init__(Handler, tls)
