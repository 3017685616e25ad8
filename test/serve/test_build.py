"""The service with the real builder, and faiss reading what it made."""
import json
import math
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest

from service import HERE, PROGRAM, ServiceTest, alive, children, until

# a builder other than the program itself, for development
BUILDER = os.environ.get("KNN_TEST_BUILDER")
READER = None


def setUpModule():
    """Compile the program that reads results, where faiss is installed."""
    global READER
    if shutil.which("g++") and os.path.exists("/usr/include/faiss/Index.h"):
        folder = tempfile.mkdtemp(prefix="knn-serve-reader.")
        unittest.addModuleCleanup(shutil.rmtree, folder)
        READER = os.path.join(folder, "recall")
        subprocess.run(["g++", "-std=c++17", "-O1", "-o", READER, os.path.join(HERE, "..", "faiss", "recall.cpp"),
                        "-lfaiss", "-llapack", "-lblas", "-fopenmp"], check=True)


class Builds(ServiceTest):
    count = 3000
    dimension = 32

    def serve(self, *options):
        if BUILDER:
            options += ("--builder", BUILDER)
        return self.start("--threads", "2", *options, stub=False)

    def floats(self, normalise=False, count=None):
        source = random.Random(1)
        rows = []
        for i in range(count or self.count):
            row = [source.gauss((i % 20) * 0.1 * (j % 3), 1) for j in range(self.dimension)]
            if normalise:
                length = math.sqrt(sum(x * x for x in row))
                row = [x / length for x in row]
            rows.append(struct.pack(f"<{self.dimension}f", *row))
        return b"".join(rows)

    def ids(self):
        """Of documents: any different numbers."""
        return struct.pack(f"<{self.count}i", *random.Random(2).sample(range(1000000), self.count))

    def read(self, s, name, dimension=None, data_type="float", ef=0):
        if READER is None:
            self.skipTest("faiss is not installed")
        paths = [os.path.join(s.store, name + suffix) for suffix in (".faiss", ".knnvec", ".knndid")]
        output = subprocess.run([READER, *paths, str(dimension or self.dimension), data_type, "200", "10", str(ef)],
                                check=True, stdout=subprocess.PIPE).stdout
        return json.loads(output)

    def made(self, s, name, vectors, **others):
        s.put_vectors(name, vectors=vectors, ids=self.ids())
        status = s.build(name, count=self.count, dimension=others.pop("dimension", self.dimension), **others)
        self.assertEqual(status, {"task_status": "COMPLETED_INDEX_BUILD", "file_name": name + ".faiss",
                                  "error_message": None})

    def space(self, name, **parameters):
        return {"space_type": name, "algorithm_parameters": parameters}

    def test_float(self):
        s = self.serve()
        self.made(s, "a", self.floats(), index_parameters=self.space("l2", m=12, ef_construction=80, ef_search=70))
        read = self.read(s, "a")
        recall = read.pop("recall")
        self.assertEqual(read, {"vectors": self.count, "dimension": self.dimension, "metric": "l2", "m": 12,
                                "ef_search": 70})
        self.assertGreater(recall, 0.97)

    def test_half_float(self):
        s = self.serve()
        self.made(s, "a", self.floats(), data_type="half_float")
        self.assertGreater(self.read(s, "a")["recall"], 0.97)
        self.assertLess(len(s.stored("a.faiss")), len(s.stored("a.knnvec")) * 0.5 + self.count * 170)

    def test_innerproduct(self):
        s = self.serve()
        self.made(s, "a", self.floats(), index_parameters=self.space("innerproduct"))
        self.made(s, "b", self.floats(normalise=True), index_parameters=self.space("innerproduct"))
        self.made(s, "c", self.floats(), index_parameters=self.space("cosinesimil"))
        for name, least in (("a", 0.85), ("b", 0.97)):
            read = self.read(s, name, ef=100)
            self.assertEqual(read["metric"], "innerproduct")
            self.assertGreater(read["recall"], least, name)
        # vectors that the service has normalised are those that were so before
        shutil.copy(os.path.join(s.store, "c.faiss"), os.path.join(s.store, "b.faiss"))
        self.assertGreater(self.read(s, "b", ef=100)["recall"], 0.97)

    def test_binary(self):
        s = self.serve()
        source = random.Random(3)
        self.made(s, "a", bytes(source.randrange(256) for _ in range(self.count * 16)), dimension=128,
                  data_type="binary", index_parameters=self.space("hamming"))
        read = self.read(s, "a", 128, "binary", ef=200)
        self.assertEqual((read["vectors"], read["dimension"], read["metric"]), (self.count, 128, "hamming"))
        self.assertGreater(read["recall"], 0.9)

    def test_byte(self):
        s = self.serve()
        source = random.Random(4)
        self.made(s, "a", bytes(source.randrange(256) for _ in range(self.count * self.dimension)), data_type="byte")
        result = s.stored("a.faiss")
        # int8 of faiss is younger than the library of Debian 12; it keeps them from 0 on
        self.assertEqual(result[:4], b"IxMp")
        self.assertTrue(bytes(byte ^ 0x80 for byte in s.stored("a.knnvec")[-320:]) in result)

    def test_without_vectors(self):
        s = self.serve()
        self.made(s, "a", self.floats(), skip_stored_vectors=True)
        self.made(s, "b", self.floats())
        self.assertLess(len(s.stored("a.faiss")) + len(s.stored("a.knnvec")), len(s.stored("b.faiss")) + 100)

    def test_in_parts(self):
        # 32 MB of the limit are for what is not the graph
        s = self.serve("--memory-limit", "34MB")
        self.count = 15000
        self.made(s, "a", self.floats())
        self.assertEqual(s.jobs()["jobs"][0]["memory"], 34 << 20)
        self.assertGreater(self.read(s, "a")["recall"], 0.95)

    def test_client(self):
        """With the client of this program, users included."""
        s = self.serve("--auth-file", self.secret("users", "ann:a password\n"))
        folder = os.path.join(self.root, "spool")
        os.mkdir(folder)
        for suffix, data in (("vec", self.floats(normalise=True)), ("did", struct.pack(f"<{self.count}i", *range(self.count)))):
            with open(os.path.join(folder, "vectors.knn" + suffix), "wb") as file:
                file.write(data)
        job = {"job": "build", "version": 1, "method": "hnsw", "engine": "cpu", "data_type": "float", "space": "cosinesimil",
               "encoding": "rotated_8", "dimension": self.dimension, "count": self.count, "m": 16,
               "ef_construction": 100, "seed": "1", "threads": 1, "memory_limit": 0, "codes_per_page": 8,
               "vectors": folder + "/vectors.knnvec", "ids": folder + "/vectors.knndid",
               "result": folder + "/result.knngraph",
               "remote": {"endpoint": f"http://127.0.0.1:{s.port}", "username": "ann", "password": "a password",
                          "poll_interval": 0.1, "timeout": 60, "tenant_id": "t", "object": "base/1_vectors/2_v",
                          "keep_objects": False, "fp16_storage": False, "skip_stored_vectors": True,
                          "repository": {"type": "file", "container": s.store}}}

        def remote():
            done = subprocess.run([PROGRAM, "remote"], input=json.dumps(job).encode(), stdout=subprocess.PIPE)
            return done.returncode, json.loads(done.stdout.splitlines()[-1])

        status, last = remote()
        self.assertEqual((status, last.get("result", last).get("nodes")), (0, self.count), last)
        with open(folder + "/result.knngraph", "rb") as file:
            self.assertEqual(file.read(8), b"KNNGRAPH")
        self.assertEqual([files for _, _, files in os.walk(s.store) if files], [])
        for change, message in (({"password": "another"}, "401"), ({"object": "base/1_vectors/../x"}, "")):
            job["remote"].update(change)
            status, last = remote()
            self.assertEqual(status, 1)
            self.assertIn(message, json.dumps(last))

    def test_death_of_the_service(self):
        """A real child does not outlive it."""
        self.count = 200000
        s = self.serve()
        s.put_vectors("a", vectors=os.urandom(self.count * 128), ids=struct.pack(f"<{self.count}i", *range(self.count)))
        s.submit("a", count=self.count, dimension=128, data_type="byte")
        until(lambda: s.jobs()["jobs"][0].get("phase") == "graph", "the build")
        child = children(s.process.pid)[0]
        s.end(signal.SIGKILL)
        until(lambda: not alive(child), "the child to end")
