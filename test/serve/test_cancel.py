"""Jobs that their clients give up: DELETE /_build/{job_id}."""
import json
import os
import signal
import sys
import time

from service import HERE, ServiceTest, alive, basic, children, job_id, until

sys.path.append(os.path.join(HERE, "..", "remote"))

import s3  # noqa: E402

MESSAGE = "the job was cancelled by its client"


class CancelTest(ServiceTest):
    def cancel(self, s, job, expected):
        """The answer, whose status is one of those expected."""
        status, answer, _ = s.request("DELETE", "/_build/" + job)
        self.assertIn(status, expected if isinstance(expected, tuple) else (expected,), answer)
        return answer

    def cancelled(self, s, job, expected):
        """Cancel it: from then on it has failed, and says why."""
        answer = self.cancel(s, job, expected)
        self.assertEqual(answer, {"task_status": "FAILED_INDEX_BUILD", "file_name": None, "error_message": MESSAGE})
        self.assertEqual(s.status(job), answer)

    def stubborn_child(self, s):
        """Wait until the child ignores SIGTERM, which it says by its first phase."""
        until(lambda: any(job.get("phase") == "read" for job in s.jobs()["jobs"]), "the child's first words")
        return children(s.process.pid)[0]

    def told(self, s, text):
        until(lambda: s.logged(text), text)

    def settled(self, s, name):
        """Wait until nothing is left of a cancelled job."""
        until(lambda: s.states()[name] == "failed", "the end of " + name)
        self.assertEqual(s.status(job_id(name + ".knnvec", "t"))["error_message"], MESSAGE)


class Cancel(CancelTest):
    def test_queued(self):
        s = self.start()
        for name in ("runs", "a", "b"):
            s.put_vectors(name)
        runs = s.submit("runs", m=47)
        s.running("runs")
        a, b = s.submit("a"), s.submit("b")
        # of somebody else's
        with open(os.path.join(s.store, "a.faiss"), "w") as file:
            file.write("another")
        self.cancelled(s, a, 200)
        self.assertEqual(s.states(), {"runs": "running", "a": "failed", "b": "queued"})
        self.assertEqual(s.jobs()["queued"], 1)
        self.assertEqual(s.stored("a.faiss"), b"another")
        self.told(s, f"event=job_cancelled job={a} state=queued")
        until(lambda: any("event=request" in line and "method=DELETE" in line for line in list(s.log)), "the request's line")
        # once more changes nothing
        self.cancelled(s, a, 200)
        self.cancelled(s, runs, 202)
        self.assertEqual(s.over(b)["file_name"], "b.faiss")
        # with other parameters too, as of any job that failed
        self.assertEqual(s.build("a", m=20)["file_name"], "a.faiss")

    def test_running(self):
        s = self.start()
        for name in ("a", "b"):
            s.put_vectors(name)
        a = s.submit("a", m=47)
        s.running("a")
        child = until(lambda: children(s.process.pid), "a child")[0]
        b = s.submit("b")
        self.cancelled(s, a, 202)
        until(lambda: not alive(child), "the child to end", 3)
        self.assertEqual(s.over(b)["file_name"], "b.faiss")
        self.settled(s, "a")
        self.cancelled(s, a, 200)
        self.assertFalse(s.logged("event=job_failed"))
        jobs = s.jobs()
        self.assertEqual((jobs["running"], jobs["memory"]), (0, 0))
        self.assertEqual(os.listdir(s.work), ["lock"])
        self.assertNotIn("a.faiss", os.listdir(s.store))

    def test_again_while_it_ends(self):
        # a child that does not want to end gets some seconds; what is asked for again waits for that
        s = self.start("--workers", "2")
        for name in ("a", "b"):
            s.put_vectors(name)
        a = s.submit("a", m=42)
        child = self.stubborn_child(s)
        self.cancelled(s, a, 202)
        self.assertEqual(s.states(), {"a": "cancelled"})
        self.assertEqual(s.submit("a", m=20), a)
        self.assertEqual(s.build("b")["file_name"], "b.faiss")
        self.assertEqual(s.states(), {"a": "queued", "b": "completed"})
        self.assertTrue(alive(child))
        # and may be given up too
        self.cancelled(s, a, 200)
        self.assertEqual(s.submit("a", m=21), a)
        self.assertEqual(s.over(a)["file_name"], "a.faiss")
        self.assertFalse(alive(child))
        self.assertEqual(json.loads(s.stored("a.faiss"))["m"], 21)
        self.assertEqual(s.states(), {"a": "completed", "b": "completed"})

    def test_over(self):
        s = self.start()
        for name in ("d/a", "b"):
            s.put_vectors(name)
        a = s.submit("d/a")
        s.over(a)
        self.cancelled(s, a, 202)
        until(lambda: not os.path.exists(os.path.join(s.store, "d", "a.faiss")), "the result to go")
        self.settled(s, "d/a")
        self.told(s, f"event=result_removed job={a}")
        self.assertEqual(sorted(os.listdir(os.path.join(s.store, "d"))), ["a.knndid", "a.knnvec"])
        self.cancelled(s, a, 200)
        # the next one is removed as well
        self.assertEqual(s.build("d/a")["file_name"], "a.faiss")
        self.cancelled(s, a, 202)
        self.settled(s, "d/a")
        self.assertFalse(os.path.exists(os.path.join(s.store, "d", "a.faiss")))
        # one that failed by itself keeps its own reason
        b = s.submit("b", m=40)
        before = s.over(b)
        self.assertEqual(self.cancel(s, b, 200), before)
        self.assertEqual(s.status(b), before)

    def test_unknown(self):
        s = self.start()
        s.put_vectors("a")
        a = s.submit("a", m=48)
        for job in ("", "x", "0" * 64, a[:-1], a + "0", a.upper() + "x", a + "/", "%2e%2e"):
            self.assertEqual(self.cancel(s, job, 404), {"detail": "Job not found"}, job)
        for method in ("GET", "HEAD", "POST", "PUT"):
            status, _, headers = s.request(method, "/_build/" + a, "{}" if method[0] == "P" else None)
            self.assertEqual((status, headers["Allow"]), (405, "DELETE"), method)
        status, _, headers = s.request("DELETE", "/_build")
        self.assertEqual((status, headers["Allow"]), (405, "POST"))
        self.assertEqual(s.over(a)["file_name"], "a.faiss")

    def test_users(self):
        s = self.service("--auth-file", self.secret("users", "ann:s3cret\n"))
        s.headers = basic("ann", "s3cret")
        s.start()
        s.put_vectors("a")
        a = s.submit("a", m=48)
        for headers in ({"Authorization": ""}, basic("ann", "wrong")):
            for job in (a, "0" * 64):
                self.assertEqual(s.request("DELETE", "/_build/" + job, headers=headers)[0], 401)
        self.assertEqual(s.over(a)["file_name"], "a.faiss")
        self.cancelled(s, a, 202)

    def test_forgotten(self):
        s = self.start("--job-ttl", "1")
        s.put_vectors("a")
        a = s.submit("a", m=42)
        self.stubborn_child(s)
        self.cancelled(s, a, 202)
        # not before it has ended, which takes longer than that
        time.sleep(2.5)
        self.assertEqual(s.status(a)["error_message"], MESSAGE)
        until(lambda: s.request("GET", "/_status/" + a)[0] == 404, "the job to be forgotten")
        self.cancel(s, a, 404)
        self.assertNotIn(a + ".json", os.listdir(s.state))

    def test_crash(self):
        s = self.start()
        for name in ("runs", "waits", "other"):
            s.put_vectors(name)
        runs = s.submit("runs", m=42)
        child = self.stubborn_child(s)
        waits, other = s.submit("waits"), s.submit("other")
        self.cancelled(s, waits, 200)
        self.cancelled(s, runs, 202)
        s.end(signal.SIGKILL)
        os.kill(child, signal.SIGKILL)
        s.start()
        self.assertEqual(s.over(other)["file_name"], "other.faiss")
        for job in (runs, waits):
            self.assertEqual(s.status(job)["error_message"], MESSAGE)
            self.assertFalse(s.logged(f"event=job_started job={job}"))
        self.assertEqual(s.states(), {"runs": "failed", "waits": "failed", "other": "completed"})
        self.assertEqual(s.build("runs")["file_name"], "runs.faiss")

    def test_end_of_the_service(self):
        s = self.start()
        s.put_vectors("a")
        a = s.submit("a", m=42)
        self.stubborn_child(s)
        self.cancelled(s, a, 202)
        self.assertEqual(s.end(), 0)
        s.start()
        self.settled(s, "a")
        self.assertFalse(s.logged("event=job_put_back") or s.logged("event=job_started"))

    def test_state_that_cannot_be_written(self):
        s = self.start()
        s.put_vectors("a")
        a = s.submit("a", m=48)
        s.running("a")
        part = os.path.join(s.state, a + ".json.part")
        os.mkdir(part)
        self.cancel(s, a, 500)
        self.told(s, "event=job_not_cancelled")
        self.assertEqual(s.over(a)["file_name"], "a.faiss")
        os.rmdir(part)
        self.cancelled(s, a, 202)
        self.settled(s, "a")

    def test_state_of_an_earlier_version(self):
        s = self.start()
        s.put_vectors("a")
        a = s.submit("a")
        s.over(a)
        s.end()
        path = os.path.join(s.state, a + ".json")
        with open(path) as file:
            state = json.load(file)
        self.assertIs(state.pop("put"), True)
        with open(path, "w") as file:
            json.dump(state, file)
        s.start()
        self.cancelled(s, a, 202)
        self.settled(s, "a")
        self.assertNotIn("a.faiss", os.listdir(s.store))


class CancelS3(CancelTest):
    """With a store that answers late, or not at all."""

    def setUp(self):
        super().setUp()
        self.s3 = s3.Store()
        self.addCleanup(self.s3.close)
        self.s3.objects["a.knnvec"] = s3.Object(b"\0" * 160)
        self.s3.objects["a.knndid"] = s3.Object(b"\1\0\0\0" * 10)
        self.serve = self.start("--s3-endpoint", self.s3.url, "--s3-path-style", "--s3-region", s3.REGION,
                                environment={"AWS_ACCESS_KEY_ID": s3.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET_KEY})

    def submit(self, **others):
        return self.serve.submit("a", repository_type="s3", container_name=self.s3.bucket, **others)

    def left(self):
        return sorted(self.s3.objects) + sorted(self.s3.uploads)

    def test_transfers(self):
        s = self.serve
        for method, name, after in (("HEAD", "a.knnvec", 0), ("GET", "a.knnvec", 0), ("GET", "a.knndid", 0),
                                    ("HEAD", "a.faiss", 0), ("PUT", "a.faiss", 0)):
            self.s3.reset_faults()
            self.s3.fault("stall", method, name, times=-1, after=after)
            a = self.submit()
            until(lambda: self.s3.count(method, name) > after, name)
            self.cancelled(s, a, 202)
            until(lambda: s.states()["a"] == "failed", f"{method} {name} to end", 3)
            self.assertEqual(self.left(), ["a.knndid", "a.knnvec"])
        self.s3.reset_faults()
        self.assertEqual(s.over(self.submit())["file_name"], "a.faiss")

    def test_result_that_is_there_already(self):
        # put, but not looked at yet
        s = self.serve
        self.s3.fault("stall", "HEAD", "a.faiss", times=-1, after=2)
        a = self.submit()
        until(lambda: "a.faiss" in self.s3.objects, "the result")
        self.cancelled(s, a, 202)
        self.settled(s, "a")
        self.assertEqual(self.left(), ["a.knndid", "a.knnvec"])

    def test_removal_is_not_forgotten(self):
        s = self.serve
        a = self.submit()
        s.over(a)
        self.s3.fault("stall", "DELETE", "a.faiss", times=-1)
        self.cancelled(s, a, 202)
        until(lambda: self.s3.count("DELETE", "a.faiss"), "the attempt to remove it")
        self.assertEqual(s.states(), {"a": "cancelled"})
        self.cancelled(s, a, 202)
        # what is asked for again waits for the removal; if it is given up as well, the next has to wait
        self.submit(m=20)
        self.assertEqual(s.states(), {"a": "queued"})
        self.cancelled(s, a, 202)
        status, _, headers = s.request("POST", "/_build", s.body("a", repository_type="s3", container_name=self.s3.bucket))
        self.assertEqual((status, headers["Retry-After"]), (429, "30"))
        s.end(signal.SIGKILL)
        self.assertIn("a.faiss", self.s3.objects)
        self.s3.reset_faults()
        s.start()
        self.settled(s, "a")
        self.assertEqual(self.left(), ["a.knndid", "a.knnvec"])

    def test_removal_that_is_refused(self):
        s = self.serve
        a = self.submit()
        s.over(a)
        self.s3.fault(403, "DELETE", "a.faiss", times=-1)
        self.cancelled(s, a, 202)
        self.settled(s, "a")
        self.told(s, f"event=result_not_removed job={a}")
        self.cancelled(s, a, 200)
        # what is there is replaced by the next, when the store lets it
        self.s3.reset_faults()
        self.assertEqual(s.over(self.submit(m=20))["file_name"], "a.faiss")
        self.assertEqual(json.loads(self.s3.objects["a.faiss"].body)["m"], 20)
