"""What becomes of jobs: failures, restarts, and the end of their time."""
import json
import os
import shutil
import signal
import stat
import struct
import tempfile
import time
import unittest

from service import ServiceTest, alive, children, job_id, until


class Jobs(ServiceTest):
    def failed(self, s, name, *messages, **others):
        status = s.build(name, **others)
        self.assertEqual(status["task_status"], "FAILED_INDEX_BUILD", status)
        self.assertIsNone(status["file_name"])
        for message in messages:
            self.assertIn(message, status["error_message"])
        self.assertNotIn(name + ".faiss", os.listdir(s.store))
        until(lambda: os.listdir(s.work) == ["lock"], "the work folder to be empty")

    def test_inputs(self):
        s = self.start()
        self.failed(s, "none", "none.knnvec")
        s.put_vectors("a", ids=b"")
        self.failed(s, "a", "a.knndid", "0 bytes", "expected 40")
        for bytes_ in (159, 161, 0):
            s.put_vectors("a", vectors=b"x" * bytes_)
            self.failed(s, "a", "a.knnvec", f"{bytes_} bytes", "expected 160")
        for value in (float("nan"), float("inf"), -float("inf")):
            s.put_vectors("a", vectors=struct.pack("<40f", *[1.0] * 29, value, *[1.0] * 10))
            self.failed(s, "a", "vector 7 ")
        s.put_vectors("a", vectors=struct.pack("<40f", *[1.0] * 20, *[0.0] * 4, *[1.0] * 16))
        self.failed(s, "a", "vector 5 is zero", index_parameters={"space_type": "cosinesimil"})
        os.remove(os.path.join(s.store, "a.knndid"))
        self.failed(s, "a", "a.knndid")
        # and with all in order the failed one can be tried again
        s.put_vectors("a")
        self.assertEqual(s.build("a")["file_name"], "a.faiss")
        until(lambda: s.logged("event=job_completed"), "the end in the log")
        stored = [line for line in list(s.log) if "event=job_stored" in line]
        self.assertEqual(len(stored), 1)
        self.assertRegex(stored[0], r"job=\w{64} fetch_ms=\d+ build_ms=\d+ store_ms=\d+$")

    def test_children(self):
        s = self.start("--job-timeout", "2")
        s.put_vectors("a")
        self.failed(s, "a", "id 3 is wrong: a detail. a hint", m=40)
        self.failed(s, "a", "signal 11", "last words", m=41)
        self.failed(s, "a", "(Killed): last words. The machine", m=50)
        self.failed(s, "a", "without a result", m=43)
        self.failed(s, "a", "status 3", m=44)
        self.failed(s, "a", "result.faiss", m=45)
        self.failed(s, "a", "signal 9 (Killed). The machine may have run out of memory;", m=49)
        self.failed(s, "a", "--job-timeout", m=42)
        self.assertEqual(children(s.process.pid), [])
        # a process that it leaves is ended too
        self.assertEqual(s.build("a", m=46)["file_name"], "a.faiss")
        s.end()
        s.options[s.options.index("--builder") + 1] = "/nonexistent"
        s.put_vectors("b")
        s.start()
        self.failed(s, "b", "could not start")

    def test_killed_by_others(self):
        s = self.start()
        s.put_vectors("a")
        job = s.submit("a", m=47)
        s.running("a")
        os.kill(until(lambda: children(s.process.pid), "a child")[0], signal.SIGKILL)
        self.assertIn("signal 9", s.over(job)["error_message"])

    def test_result_is_replaced(self):
        s = self.start()
        s.put_vectors("d/a")
        with open(os.path.join(s.store, "d", "a.faiss"), "w") as file:
            file.write("of an earlier try")
        self.assertEqual(s.build("d/a")["file_name"], "a.faiss")
        self.assertEqual(json.loads(s.stored("d/a.faiss"))["count"], 10)

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_upload_that_is_refused(self):
        s = self.start()
        s.put_vectors("d/a")
        os.chmod(os.path.join(s.store, "d"), 0o500)
        self.failed(s, "d/a", "d/a.faiss")

    def test_upload_that_fails(self):
        s = self.start()
        s.put_vectors("d/a")
        job = s.submit("d/a", m=48)
        s.running("d/a")
        os.rename(os.path.join(s.store, "d"), os.path.join(s.store, "e"))
        with open(os.path.join(s.store, "d"), "w"):
            pass
        self.assertEqual(s.over(job)["task_status"], "FAILED_INDEX_BUILD")
        self.assertEqual(os.listdir(s.work), ["lock"])

    def test_time_to_live(self):
        s = self.start("--job-ttl", "1")
        s.put_vectors("a")
        s.put_vectors("b")
        running = s.submit("b", m=47)
        s.running("b")
        s.options += ["--workers", "2"]
        s.end()
        s.start()
        job = s.submit("a")
        s.over(job)
        until(lambda: s.request("GET", "/_status/" + job)[0] == 404, "a job to be forgotten")
        self.assertEqual(s.status(running)["task_status"], "RUNNING_INDEX_BUILD")
        self.assertNotIn(job + ".json", os.listdir(s.state))

    def states_of_all_kinds(self, *options):
        s = self.start(*options)
        for name in ("done", "broken", "runs", "waits1", "waits2"):
            s.put_vectors(name)
        s.build("done")
        s.build("broken", m=40)
        s.submit("runs", m=47)
        s.running("runs")
        s.submit("waits1")
        s.submit("waits2")
        self.assertEqual(s.states(), {"done": "completed", "broken": "failed", "runs": "running",
                                      "waits1": "queued", "waits2": "queued"})
        return s

    def test_restart_after_the_end(self):
        s = self.states_of_all_kinds()
        before = {job["job_id"]: job for job in s.jobs()["jobs"]}
        child = until(lambda: children(s.process.pid), "a child")[0]
        self.assertEqual(s.end(), 0)
        until(lambda: not alive(child), "the child to end")
        self.assertTrue(s.logged("event=job_put_back") and s.logged("event=stopped"))
        self.assertEqual(os.listdir(s.work), ["lock"])
        s.start()
        s.running("runs")
        after = {job["job_id"]: job for job in s.jobs()["jobs"]}
        self.assertEqual(list(before), list(after))
        for job in before.values():
            for key in ("request", "created", "state", "error_message"):
                self.assertEqual(job.get(key), after[job["job_id"]].get(key))
        # the one that ran is the first again, and as often as it takes
        for _ in range(4):
            s.end()
            s.start()
        s.running("runs")
        os.kill(until(lambda: children(s.process.pid), "a child")[0], signal.SIGKILL)
        for name in ("waits1", "waits2"):
            self.assertEqual(s.over(job_id(name + ".knnvec", "t"))["file_name"], name + ".faiss")

    def test_restart_after_a_crash(self):
        s = self.states_of_all_kinds()
        child = until(lambda: children(s.process.pid), "a child")[0]
        leftovers = os.path.join(s.work, job_id("runs.knnvec", "t"))
        self.assertTrue(os.path.exists(os.path.join(leftovers, "vectors.knnvec")))
        s.end(signal.SIGKILL)
        os.kill(child, signal.SIGKILL)  # the stand-in does not look at its parent
        with open(os.path.join(s.state, "0" * 64 + ".json"), "w") as file:
            file.write("{")
        with open(os.path.join(s.state, "1" * 64 + ".json.part"), "w") as file:
            file.write("{")
        s.start()
        self.assertTrue(s.logged("event=state_ignored"))
        s.running("runs")
        self.assertEqual(s.states(), {"done": "completed", "broken": "failed", "runs": "running",
                                      "waits1": "queued", "waits2": "queued"})
        self.assertEqual(s.status(job_id("done.knnvec", "t"))["file_name"], "done.faiss")
        self.assertIn("id 3 is wrong", s.status(job_id("broken.knnvec", "t"))["error_message"])
        # one that takes the service with it is not tried for ever
        for _ in range(2):
            pid = until(lambda: children(s.process.pid), "a child")[0]
            s.end(signal.SIGKILL)
            os.kill(pid, signal.SIGKILL)
            s.start()
        self.assertIn("3 times", s.over(job_id("runs.knnvec", "t"))["error_message"])
        for name in ("waits1", "waits2"):
            self.assertEqual(s.over(job_id(name + ".knnvec", "t"))["file_name"], name + ".faiss")
        self.assertEqual(os.listdir(s.work), ["lock"])

    def test_restart_with_less(self):
        s = self.states_of_all_kinds("--memory-limit", "1GB")
        s.put_vectors("large", count=30000)
        large = s.submit("large", count=30000)
        s.end()
        s.options += ["--memory-limit", "33MB", "--repository-dir", self.root + "/state"]
        s.start()
        self.assertIn("memory", s.over(large)["error_message"] + " memory")
        self.assertIn("repository", s.over(job_id("waits1.knnvec", "t"))["error_message"])
        self.assertEqual(s.status(job_id("done.knnvec", "t"))["file_name"], "done.faiss")

    def test_end_while_downloading(self):
        # a reader of a pipe waits; the end of the service does not
        s = self.start()
        s.put_vectors("a")
        os.remove(os.path.join(s.store, "a.knndid"))
        os.mkfifo(os.path.join(s.store, "a.knndid"))
        s.submit("a")
        time.sleep(0.3)
        self.assertEqual(s.end(), 0)

    def phases(self, s):
        return {job["request"]["vector_path"][0]: job.get("phase", job["state"]) for job in s.jobs()["jobs"]}

    def test_room(self):
        try:
            place = tempfile.mkdtemp(prefix="knn-serve-test.", dir="/dev/shm")
        except OSError:
            self.skipTest("/dev/shm is not there")
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        about = os.statvfs(place)
        room, whole = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
        if room > 32 << 30:
            self.skipTest("/dev/shm is too large for this test")
        # links take most: 2 * 447 + 8 numbers of 4 bytes, beside 4 of the id and 2 of the vectors
        count = room * 6 // 10 // 3614
        s = self.start("--work-dir", place, "--workers", "3", "--memory-limit", "1TB")
        large = {"count": count, "dimension": 1, "data_type": "byte", "m": 447}
        for name in "abd":
            s.put_vectors(name, vectors=b"\0" * count, ids=b"\0" * 4 * count)
        s.put_vectors("c")
        first = s.submit("a", **large)
        until(lambda: self.phases(s)["a"] == "graph", "a to be built")
        # there is room for either, but not for both; and nothing is passed over
        s.submit("b", **large)
        until(lambda: self.phases(s)["b"] == "room", "b to wait")
        s.submit("c", m=48)
        until(lambda: self.phases(s)["c"] == "room", "c to wait")
        time.sleep(0.5)
        self.assertEqual(self.phases(s), {"a": "graph", "b": "room", "c": "room"})
        s.request("DELETE", "/_build/" + first)
        until(lambda: self.phases(s)["b"] == "graph", "b to be built")
        self.assertEqual(s.over(job_id("c.knnvec", "t"))["task_status"], "COMPLETED_INDEX_BUILD")
        # one that waits can be cancelled, and one that will never fit does not wait
        waits = s.submit("d", **large)
        until(lambda: self.phases(s)["d"] == "room", "d to wait")
        s.request("DELETE", "/_build/" + waits)
        until(lambda: s.states()["d"] == "failed", "d to end")
        s.put_vectors("e")
        message = s.build("e", **{**large, "count": whole // 100})["error_message"]
        self.assertIn("no room for this job", message)

    def test_state_that_cannot_be_written(self):
        s = self.start()
        s.put_vectors("a")
        part = os.path.join(s.state, job_id("a.knnvec", "t") + ".json.part")
        os.mkdir(part)
        self.assertEqual(s.request("POST", "/_build", s.body("a"))[0], 500)
        self.assertEqual(s.jobs()["jobs"], [])
        os.rmdir(part)
        self.assertEqual(s.build("a")["file_name"], "a.faiss")
        # others cannot read what is kept
        for folder in (s.state,):
            for name in os.listdir(folder):
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077, 0, name)
