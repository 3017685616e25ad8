"""What the service answers to requests: every status."""
import http.client
import json
import os
import socket
import threading
import time

from service import ServiceTest, job_id, until


class Requests(ServiceTest):
    def test_paths_and_methods(self):
        s = self.start()
        status, answer, headers = s.request("GET", "/_heart_beat")
        self.assertEqual(status, 200)
        self.assertTrue(answer.startswith("knn-builder "))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(s.request("HEAD", "/_heart_beat")[0], 200)
        for path in ("/", "/_buildx", "/_jobs/", "/_status", "/_heart_bea", "/_status/../_jobs",
                     "/" + "x" * 500):
            self.assertEqual(s.request("GET", path)[0], 404, path)
        for job in ("", "x", "0" * 63, "0" * 64, "0" * 65, "A" * 64, "%2e%2e", "0" * 64 + "%00"):
            self.assertEqual(s.request("GET", "/_status/" + job)[0], 404, job)
        for method, path, allow in (("GET", "/_build", "POST"), ("PUT", "/_build", "POST"),
                                    ("GET", "/_build/x", "DELETE"), ("POST", "/_build/", "DELETE"),
                                    ("POST", "/_jobs", "GET, HEAD"), ("DELETE", "/_status/x", "GET, HEAD"),
                                    ("POST", "/_heart_beat", "GET, HEAD")):
            status, answer, headers = s.request(method, path, "{}" if method != "GET" else None)
            self.assertEqual((status, headers["Allow"]), (405, allow), path)
        self.assertEqual(s.jobs()["jobs"], [])

    def test_bodies_that_are_none(self):
        s = self.start()
        good = json.dumps(s.body("a"))
        for body in ("", "{", good[:-1], good + "x", good + good, "\0", "[" * 100, '{"a":\xff}',
                     "x" * 70000, '{"tenant_id": "' + "x" * 65536 + '"}'):
            status, answer, _ = s.request("POST", "/_build", body.encode("latin-1"))
            self.assertEqual(status, 400, body[:50])
            self.assertTrue(answer["detail"])
        # too long to be read to its end, asked for before it is sent, and in pieces
        head = b"POST /_build HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n"
        self.assertIn(b" 400 ", s.raw(head % (1 << 40, b"")))
        self.assertIn(b" 400 ", s.raw(head % (100000, b"Expect: 100-continue\r\n")))
        pieces = b"POST /_build HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        piece = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        self.assertIn(b" 400 ", s.raw(pieces + piece * 3 + b"0\r\n\r\n"))
        try:
            self.assertNotIn(b" 200 ", s.raw(pieces + piece * 200))
        except (BrokenPipeError, ConnectionResetError):
            pass  # cut off
        # one that ends before its length
        with socket.create_connection(("127.0.0.1", s.port)) as connection:
            connection.sendall(head % (len(good), b"") + good[:20].encode())
        self.assertEqual(s.jobs()["jobs"], [])

    def problems(self, s, body):
        status, answer, _ = s.request("POST", "/_build", body)
        self.assertEqual(status, 422, answer)
        self.assertEqual(answer["detail"], "Validation Error")
        for error in answer["errors"]:
            self.assertEqual(set(error), {"field", "message", "type"})
        return [(error["field"], error["type"]) for error in answer["errors"]]

    def test_validation(self):
        s = self.start()
        self.assertEqual(self.problems(s, "[]"), [("", "dict_type")])
        self.assertEqual(self.problems(s, "{}"), [(name, "missing") for name in (
            "container_name", "vector_path", "doc_id_path", "dimension", "doc_count")])
        for name, value, type_ in (
                ("further", 1, "extra_forbidden"), ("vector_path", "a.knn", "string_pattern_mismatch"),
                ("vector_path", ".knnvec", "string_pattern_mismatch"),
                ("vector_path", "a/.knnvec", "string_pattern_mismatch"),
                ("vector_path", "a/../b.knnvec", "value_error"), ("vector_path", "/a.knnvec", "value_error"),
                ("vector_path", "a//b.knnvec", "value_error"), ("vector_path", "./b.knnvec", "value_error"),
                ("vector_path", "a\nb.knnvec", "value_error"), ("vector_path", "a\0b.knnvec", "value_error"),
                ("vector_path", "x" * 1020 + ".knnvec", "string_too_long"), ("vector_path", 5, "string_type"),
                ("doc_id_path", "..", "value_error"), ("doc_id_path", "", "string_too_short"),
                ("doc_id_path", "a.knnvec", "value_error"), ("dimension", 0, "greater_than_equal"),
                ("dimension", 16001, "less_than_equal"), ("dimension", "4", "int_type"),
                ("dimension", 4.5, "int_type"), ("dimension", 1 << 70, "less_than_equal"),
                ("doc_count", 4, "greater_than_equal"), ("doc_count", -1, "greater_than_equal"),
                ("doc_count", 1 << 31, "less_than_equal"), ("data_type", "double", "enum"),
                ("engine", "nmslib", "enum"), ("repository_type", "azure", "enum"),
                ("skip_stored_vectors", 1, "bool_type"), ("tenant_id", None, None),
                ("index_parameters", [], "dict_type")):
            body = s.body("a")
            body[name] = value
            if type_ is None:
                body[name] = "x" * 2000
                type_ = "string_too_long"
            self.assertEqual(self.problems(s, body), [(name, type_)], (name, value))
        for parameters, problem in (
                ({"algorithm": "ivf"}, ("index_parameters.algorithm", "enum")),
                ({"space_type": "l1"}, ("index_parameters.space_type", "enum")),
                ({"space_type": "hamming"}, ("index_parameters.space_type", "value_error")),
                ({"other": 1}, ("index_parameters.other", "extra_forbidden")),
                ({"algorithm_parameters": {"m": 1}},
                 ("index_parameters.algorithm_parameters.m", "greater_than_equal")),
                ({"algorithm_parameters": {"ef_search": 0}},
                 ("index_parameters.algorithm_parameters.ef_search", "greater_than_equal"))):
            self.assertEqual(self.problems(s, s.body("a", index_parameters=parameters)), [problem])
        for others, field in (({"data_type": "binary"}, "index_parameters.space_type"),
                              ({"data_type": "byte", "index_parameters": {"space_type": "cosinesimil"}},
                               "index_parameters.space_type"),
                              ({"data_type": "binary", "index_parameters": {"space_type": "hamming"},
                                "dimension": 12}, "dimension")):
            self.assertEqual(self.problems(s, s.body("a", **others))[0][0], field)
        self.assertEqual(s.jobs()["jobs"], [])

    def test_repositories(self):
        s = self.start("--container", "bucket-1")
        inside = os.path.join(s.store, "inside")
        os.mkdir(inside)
        os.symlink("/", os.path.join(s.store, "link"))
        os.mkdir(s.store + "-beside")
        for folder in ("/", self.root, os.path.join(s.store, "link"), s.store + "/..", s.store + "-beside",
                       "store", os.path.join(s.store, "missing")):
            self.assertEqual(self.problems(s, s.body("a", container_name=folder)),
                             [("container_name", "value_error")], folder)
        self.assertEqual(s.request("POST", "/_build", s.body("a", container_name=inside))[0], 200)
        self.assertEqual(self.problems(s, s.body("a", repository_type="s3")),
                         [("repository_type", "value_error")])
        s.end()
        s.environment = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "hidden-key"}
        s.start()
        for bucket in ("bucket-2", "../x", "a/b", "bucket-1/"):
            self.assertEqual(self.problems(s, s.body("a", repository_type="s3", container_name=bucket)),
                             [("container_name", "value_error")])
        self.assertFalse(s.logged("hidden-key"))

    def test_defaults_and_ids(self):
        s = self.start()
        s.put_vectors("a")
        tenant = "t\u00e4"
        body = {"repository_type": "file", "container_name": s.store, "vector_path": "a.knnvec",
                "doc_id_path": "a.knndid", "dimension": 4, "doc_count": 10}
        self.assertEqual(s.request("POST", "/_build", body)[1]["job_id"], job_id("a.knnvec", ""))
        self.assertEqual(s.over(job_id("a.knnvec", "")),
                         {"task_status": "COMPLETED_INDEX_BUILD", "file_name": "a.faiss", "error_message": None})
        job = json.loads(s.stored("a.faiss"))
        self.assertEqual({key: job[key] for key in ("space", "data_type", "storage", "m", "ef_construction",
                                                    "ef_search", "encoding", "result_format", "count")},
                         {"space": "l2", "data_type": "float", "storage": "float", "m": 16, "count": 10,
                          "ef_construction": 100, "ef_search": 100, "encoding": "rotated_8",
                          "result_format": "faiss"})
        # texts around the ends of blocks
        for length in (1, 40, 47, 48, 55, 56, 63, 64, 120, 500):
            path = "x" * length + ".knnvec"
            self.assertEqual(s.submit("x" * length, tenant_id=tenant, doc_id_path="y"), job_id(path, tenant))

    def test_what_the_child_is_told(self):
        s = self.start()
        ones = b"".join(b"\0\0\x80\x3f" + b"\0" * 12 for _ in range(10))
        for i, (data_type, space, vectors, expected) in enumerate((
                ("float", "innerproduct", None, ("float", "innerproduct", "float", "rotated_8")),
                ("float", "innerproduct", ones, ("float", "cosinesimil", "float", "rotated_8")),
                ("half_float", "l2", ones, ("float", "l2", "half", "rotated_8")),
                ("byte", "innerproduct", b"\1" * 40, ("byte", "innerproduct", "byte", "byte")),
                ("binary", "hamming", b"\1" * 10, ("binary", "hamming", "binary", "binary")))):
            name = f"v{i}"
            s.put_vectors(name, vectors=vectors)
            parameters = {"space_type": space, "algorithm_parameters": {"ef_search": 7, "new_one": []}}
            status = s.build(name, data_type=data_type, index_parameters=parameters,
                             dimension=8 if data_type == "binary" else 4, skip_stored_vectors=i == 0)
            self.assertEqual(status["task_status"], "COMPLETED_INDEX_BUILD", status)
            job = json.loads(s.stored(name + ".faiss"))
            if i == 0:
                expected = expected[:2] + ("none",) + expected[3:]
            self.assertEqual((job["data_type"], job["space"], job["storage"], job["encoding"]), expected)
            self.assertEqual(job["ef_search"], 7)

    def test_same_and_conflicting(self):
        s = self.start()
        s.put_vectors("a")
        first = s.submit("a", m=48)
        self.assertEqual(s.submit("a", m=48), first)
        self.assertEqual(s.request("POST", "/_build", s.body("a", m=17))[0], 409)
        self.assertEqual(s.over(first)["task_status"], "COMPLETED_INDEX_BUILD")
        self.assertEqual(s.submit("a", m=48), first)
        self.assertEqual(s.request("POST", "/_build", s.body("a", m=48, doc_count=11))[0], 409)
        other = s.submit("a", m=48, tenant_id="other")
        self.assertNotEqual(other, first)
        self.assertEqual(s.over(other)["task_status"], "COMPLETED_INDEX_BUILD")
        # another path and tenant with the same text, and so the same id
        s.over(s.submit("a", tenant_id="x-y"))
        body = s.body("a", vector_path="a.knnvec-x.knnvec", tenant_id="t")
        self.assertEqual(s.request("POST", "/_build", body)[0], 200)
        body = s.body("a", vector_path="a.knnvec", tenant_id="x.knnvec-t")
        self.assertEqual(s.request("POST", "/_build", body)[0], 409)

    def test_same_result(self):
        s = self.start("--queue", "3")
        for name in ("d/a", "b"):
            s.put_vectors(name)
        os.symlink(os.path.join(s.store, "d"), os.path.join(s.store, "link"))
        names = ({"tenant_id": "u"}, {"tenant_id": "u", "container_name": s.store + "/"},
                 {"container_name": s.store + "/d", "vector_path": "a.knnvec", "doc_id_path": "a.knndid"},
                 {"container_name": s.store + "/link", "vector_path": "a.knnvec", "doc_id_path": "a.knndid"})
        first = s.submit("d/a", m=47)
        s.running("d/a")
        second = s.submit("b", m=48)
        for others in names:
            status, answer, _ = s.request("POST", "/_build", s.body("d/a", m=48, **others))
            self.assertEqual(status, 409, others)
            self.assertIn(first, answer["detail"])
        # the same of one that waits
        status, answer, _ = s.request("POST", "/_build", s.body("b", tenant_id="u"))
        self.assertEqual(status, 409)
        self.assertIn(second, answer["detail"])
        # neither the same name elsewhere, nor a job that is over or is given up
        s.put_vectors("a")
        third = s.submit("a")
        self.assertEqual(s.request("DELETE", "/_build/" + first)[0], 202)
        for job in (second, third, s.submit("d/a", tenant_id="u")):
            self.assertEqual(s.over(job)["task_status"], "COMPLETED_INDEX_BUILD")
        self.assertEqual(s.build("b", tenant_id="u")["task_status"], "COMPLETED_INDEX_BUILD")

    def test_same_result_while_a_job_ends(self):
        # the child of the cancelled one does not want to end, and has the result until then
        s = self.start("--workers", "2")
        s.put_vectors("a")
        first = s.submit("a", m=42)
        s.running("a")
        until(lambda: s.jobs()["jobs"][0].get("phase") == "read", "the child")
        self.assertEqual(s.request("DELETE", "/_build/" + first)[0], 202)
        other = s.submit("a", tenant_id="u")
        time.sleep(1)
        self.assertEqual([job["state"] for job in s.jobs()["jobs"]], ["cancelled", "queued"])
        self.assertEqual(s.over(other)["task_status"], "COMPLETED_INDEX_BUILD")
        self.assertIn("a.faiss", os.listdir(s.store))

    def test_queue(self):
        s = self.start("--queue", "2", "--jobs", "4")
        for name in "abcde":
            s.put_vectors(name)
        a = s.submit("a", m=47)
        s.running("a")
        jobs = s.jobs()
        self.assertEqual((jobs["running"], jobs["workers"], jobs["queue_limit"]), (1, 1, 2))
        until(lambda: s.jobs()["jobs"][0].get("phase") == "graph", "progress")
        job = s.jobs()["jobs"][0]
        self.assertEqual((job["done"], job["total"], job["job_id"]), (5, 10, a))
        b = s.submit("b")
        s.submit("c")
        self.assertEqual(s.status(b)["task_status"], "RUNNING_INDEX_BUILD")
        status, answer, headers = s.request("POST", "/_build", s.body("d"))
        self.assertEqual(status, 429)
        self.assertGreater(int(headers["Retry-After"]), 0)
        # what is known is no new job
        self.assertEqual(s.submit("b"), b)
        self.assertEqual(s.states(), {"a": "running", "b": "queued", "c": "queued"})

    def test_known_jobs_are_bounded(self):
        s = self.start("--jobs", "3", "--workers", "2")
        for name in "abcdef":
            s.put_vectors(name)
        # one that came first is not the oldest: it ends last
        first = s.submit("a", m=47)
        s.running("a")
        second = s.build_id("b")
        time.sleep(1.1)  # what is compared is whole seconds
        s.request("DELETE", "/_build/" + first)
        until(lambda: s.states()["a"] == "failed", "the end of a")
        third = s.build_id("c", m=43)
        # one that failed makes room for itself
        self.assertEqual(s.build("c")["task_status"], "COMPLETED_INDEX_BUILD")
        self.assertEqual(s.states(), {"a": "failed", "b": "completed", "c": "completed"})
        # others for the oldest one
        s.submit("d", m=47)
        self.assertEqual(set(s.states()), set("acd"))
        self.assertEqual(s.request("GET", "/_status/" + second)[0], 404)
        self.assertNotIn(second + ".json", os.listdir(s.state))
        self.assertIn(first + ".json", os.listdir(s.state))
        s.submit("e", m=47)
        s.submit("f", m=47)
        self.assertEqual(set(s.states()), set("def"))
        s.running("e")
        # but not for one that waits or runs
        self.assertEqual(s.request("POST", "/_build", s.body("a"))[0], 429)
        self.assertEqual(s.states(), {"d": "running", "e": "running", "f": "queued"})
        self.assertEqual(len(os.listdir(s.state)), 4)
        self.assertEqual(s.request("GET", "/_status/" + third)[0], 404)

    def test_memory(self):
        s = self.start("--memory-limit", "40MB", "--workers", "4")
        large = {"count": 20000000, "dimension": 1000}
        status, answer, _ = s.request("POST", "/_build", s.body("a", **large))
        self.assertEqual(status, 507, answer)
        self.assertEqual(s.jobs()["jobs"], [])
        # of those that take nearly all, one at a time
        for name in "bc":
            s.put_vectors(name, count=2000, dimension=64)
            s.submit(name, count=2000, dimension=64, m=48)
        s.running("b")
        self.assertEqual(s.states()["c"], "queued")
        for name in "bc":
            self.assertEqual(s.over(job_id(name + ".knnvec", "t"))["task_status"], "COMPLETED_INDEX_BUILD")
        self.assertEqual(s.jobs()["memory"], 0)

    def test_many_at_once(self):
        s = self.start("--connections", "200", "--queue", "1000")
        answers = []

        def ask(i):
            s.put_vectors(f"n{i % 50}")
            answers.append(s.submit(f"n{i % 50}"))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(answers), sorted(2 * [job_id(f"n{i}.knnvec", "t") for i in range(50)]))
        for job in set(answers):
            self.assertEqual(s.over(job)["task_status"], "COMPLETED_INDEX_BUILD")
        self.assertEqual(os.listdir(s.work), ["lock"])

    def test_connections_of_an_address(self):
        s = self.start("--connections", "8")
        silent = [socket.create_connection(("127.0.0.1", s.port), 10) for _ in range(12)]
        # eight are closed, the others are not answered; and another address has its own
        closed = 0
        for connection in silent:
            connection.settimeout(0.2)
            try:
                closed += connection.recv(1) == b""
            except ConnectionResetError:
                closed += 1
            except TimeoutError:
                pass
        self.assertEqual(closed, 8)
        with socket.create_connection(("127.0.0.1", s.port), 5, ("127.0.0.2", 0)) as other:
            other.sendall(b"GET /_heart_beat HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIn(b" 200 ", other.recv(1000))
        for connection in silent:
            connection.close()
        until(lambda: self.answers(s), "connections to be free again")

    def answers(self, s):
        try:
            return s.request("GET", "/_heart_beat")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def test_slow_clients(self):
        s = self.start("--request-timeout", "1", "--connections", "8")
        began = time.monotonic()
        slow = [socket.create_connection(("127.0.0.1", s.port), 10) for _ in range(8)]
        for connection in slow[:4]:
            connection.sendall(b"POST /_build HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        # a byte now and then keeps none open
        ended = 0
        while ended < 8 and time.monotonic() - began < 10:
            time.sleep(0.2)
            for connection in list(slow):
                try:
                    connection.sendall(b"x")
                    connection.setblocking(False)
                    if connection.recv(100) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    connection.setblocking(True)
                except OSError:
                    slow.remove(connection)
                    connection.close()
                    ended += 1
        self.assertEqual(ended, 8)
        self.assertEqual(s.request("GET", "/_heart_beat")[0], 200)
