"""The service with an object store that speaks S3 (../remote/s3.py), and fails."""
import json
import os
import sys

from service import HERE, ServiceTest

sys.path.append(os.path.join(HERE, "..", "remote"))

import metadata  # noqa: E402
import s3  # noqa: E402


class S3(ServiceTest):
    def setUp(self):
        super().setUp()
        self.s3 = s3.Store()
        self.addCleanup(self.s3.close)

    def serve(self, *options, **environment):
        return self.start("--s3-endpoint", self.s3.url, "--s3-path-style", "--s3-region", s3.REGION, *options,
                          environment=environment)

    def credentials(self, secret=s3.SECRET_KEY):
        return self.secret("credentials", "# a comment\r\nAWS_ACCESS_KEY_ID=" + s3.ACCESS_KEY +
                           "\r\nAWS_SECRET_ACCESS_KEY=" + secret + "\n")

    def put(self, name, vectors=b"\0" * 160):
        self.s3.objects[name + ".knnvec"] = s3.Object(vectors)
        self.s3.objects[name + ".knndid"] = s3.Object(b"\1\0\0\0" * 10)

    def build(self, s, name, **others):
        return s.build(name, repository_type="s3", container_name=self.s3.bucket, **others)

    def test_environment(self):
        s = self.serve("--container", self.s3.bucket, AWS_ACCESS_KEY_ID=s3.ACCESS_KEY,
                       AWS_SECRET_ACCESS_KEY=s3.SECRET_KEY)
        self.put("base/x/a b+c\u00e4")
        # as OpenSearch asks, whose repositories are of this type
        status = s.build("base/x/a b+c\u00e4", repository_type=None, container_name=self.s3.bucket, engine="faiss",
                         skip_stored_vectors=False, index_parameters={
                             "space_type": "innerproduct", "algorithm": "hnsw",
                             "algorithm_parameters": {"ef_construction": 100, "ef_search": 100, "m": 16}})
        self.assertEqual(status["file_name"], "a b+c\u00e4.faiss", status)
        self.assertEqual(json.loads(self.s3.objects["base/x/a b+c\u00e4.faiss"].body)["storage"], "float")
        self.assertFalse(s.logged(s3.SECRET_KEY))

    def test_file_of_credentials(self):
        s = self.serve("--s3-credentials", self.credentials())
        self.put("a")
        self.assertEqual(self.build(s, "a")["file_name"], "a.faiss")
        # other ones, which the store does not know, and then right ones again
        self.credentials("unusual-secret")
        self.put("b")
        status = self.build(s, "b")
        self.assertEqual(status["task_status"], "FAILED_INDEX_BUILD")
        self.assertNotIn("unusual-secret", status["error_message"])
        self.credentials()
        self.assertEqual(self.build(s, "b")["file_name"], "b.faiss")
        self.secret("credentials", "nothing", 0o600)
        self.put("c")
        self.assertIn("--s3-credentials", self.build(s, "c")["error_message"])

    def test_credentials_of_the_machine(self):
        service = metadata.Metadata()
        self.addCleanup(service.close)
        self.s3.access_key, self.s3.secret_key, self.s3.token = metadata.keys(1)
        # those of the environment are not asked for
        s = self.serve("--s3-credentials", "instance", AWS_ACCESS_KEY_ID="AKIAOTHER", AWS_SECRET_ACCESS_KEY="other",
                       **service.environment)
        self.put("a")
        self.assertEqual(self.build(s, "a")["file_name"], "a.faiss")
        # others for a later job
        service.number = 2
        self.expire(2)
        self.put("b")
        self.assertEqual(self.build(s, "b")["file_name"], "b.faiss")
        self.assertEqual(service.given, 2)

        # and while one runs
        def expire(handler):
            if handler.command == "GET":
                service.number = 3
                self.expire(3)
        self.s3.before = expire
        self.put("c")
        self.assertEqual(self.build(s, "c")["file_name"], "c.faiss")
        self.assertEqual(service.given, 4)
        self.s3.before = None
        # none: the job fails, says so, and can be asked for again
        service.roles = None
        self.put("d")
        self.assertIn("this machine has no role", self.build(s, "d")["error_message"])
        service.roles = metadata.ROLE.encode()
        self.assertEqual(self.build(s, "d")["file_name"], "d.faiss")
        for secret in metadata.SECRETS:
            self.assertFalse(s.logged(secret))
        s.end()
        # a file of that name has a path
        self.s3.restore()
        self.secret("instance", "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n" % (s3.ACCESS_KEY, s3.SECRET_KEY))
        s = self.serve("--s3-credentials", os.path.join(self.root, "instance"))
        self.put("e")
        self.assertEqual(self.build(s, "e")["file_name"], "e.faiss")

    def expire(self, number):
        with self.s3.store_lock:
            self.s3.access_key, self.s3.secret_key, self.s3.token = metadata.keys(number)
            self.s3.expired = 400

    def test_faults(self):
        s = self.serve("--s3-credentials", self.credentials())
        self.put("a")
        # those that pass are not noticed
        self.s3.fault("cut", "GET", "a.knnvec")
        self.s3.fault(503, "PUT", "a.faiss")
        self.assertEqual(self.build(s, "a")["file_name"], "a.faiss")
        # others are a job that has failed, which can be asked for again
        self.put("b")
        self.s3.fault(403, "PUT", "b.faiss", times=-1)
        status = self.build(s, "b")
        self.assertEqual(status["task_status"], "FAILED_INDEX_BUILD")
        self.assertIn("b.faiss", status["error_message"])
        self.assertEqual(os.listdir(s.work), ["lock"])
        self.s3.reset()
        self.put("b", vectors=b"\0" * 156)
        self.assertIn("156 bytes", self.build(s, "b")["error_message"])
        self.put("b")
        self.assertEqual(self.build(s, "b")["file_name"], "b.faiss")

    def test_result_of_an_earlier_try(self):
        s = self.serve("--s3-credentials", self.credentials())
        self.put("a")
        self.s3.objects["a.faiss"] = s3.Object(b"half of it")
        self.assertEqual(self.build(s, "a")["file_name"], "a.faiss")
        self.assertEqual(json.loads(self.s3.objects["a.faiss"].body)["count"], 10)

    def test_end_while_the_store_is_silent(self):
        s = self.serve("--s3-credentials", self.credentials())
        self.put("a")
        self.s3.fault("stall", "GET", "a.knnvec", times=-1)
        s.submit("a", repository_type="s3", container_name=self.s3.bucket)
        s.running("a")
        self.assertEqual(s.end(), 0)
        self.assertTrue(s.logged("event=job_put_back"))
        self.s3.faults.clear()
        s.start()
        self.assertEqual(self.build(s, "a")["file_name"], "a.faiss")
