"""Who may ask, TLS, options, the log."""
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import time
import unittest
import warnings
from concurrent.futures import ThreadPoolExecutor

from service import PROGRAM, ServiceTest, basic, until


class Users(ServiceTest):
    def test_users(self):
        users = self.secret("users", "# names\nann:s3cret:with:colons\r\n\nbob:p\u00e4ss\n")
        s = self.start("--auth-file", users)
        wrong = ({}, basic("ann", "wrong"), basic("ann", ""), basic("", ""), basic("bob", "s3cret:with:colons"),
                        basic("ann", "s3cret:with:colonss"), basic("ann", "s3cret:with:colon"),
                        {"Authorization": "Basic"}, {"Authorization": "Basic ="}, {"Authorization": "Bearer x"},
                        {"Authorization": basic("ann", "s3cret:with:colons")["Authorization"][6:]},
                        {"Authorization": "Basic " + "A" * 4000})
        asked = [(method, path, "{}" if method == "POST" else None, headers) for headers in wrong for method, path in
                 (("GET", "/_heart_beat"), ("GET", "/nothing"), ("POST", "/_build"), ("GET", "/_jobs"))]
        with ThreadPoolExecutor(16) as pool:
            for status, answer, answered in pool.map(lambda arguments: s.request(*arguments), asked):
                self.assertEqual(status, 401)
                self.assertIn("Basic realm", answered["WWW-Authenticate"])
        for headers in (basic("ann", "s3cret:with:colons"), basic("bob", "p\u00e4ss"),
                        {"Authorization": basic("bob", "p\u00e4ss")["Authorization"].replace("Basic", "bAsic ")}):
            self.assertEqual(s.request("GET", "/_heart_beat", headers=headers)[0], 200)
        s.headers = basic("ann", "s3cret:with:colons")
        s.put_vectors("a")
        self.assertEqual(s.build("a")["file_name"], "a.faiss")
        self.assertTrue(s.logged("user=ann"))
        # others from now on; a file that is no good changes nothing
        self.secret("users", "eve:x\n")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: s.request("GET", "/_heart_beat")[0] == 401, "ann to be unknown")
        s.headers = basic("eve", "x")
        self.assertEqual(s.request("GET", "/_heart_beat")[0], 200)
        self.secret("users", "no password\n")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: s.logged("event=not_reloaded"), "the file to be refused")
        self.assertEqual(s.request("GET", "/_heart_beat")[0], 200)
        for secret in ("s3cret", "p\u00e4ss"):
            self.assertFalse(s.logged(secret))

    def test_guessing_takes_time(self):
        s = self.start("--auth-file", self.secret("users", "a:b\n"), "--connections", "200")
        right = basic("a", "b")

        def guess(headers):
            began = time.monotonic()
            try:
                status = s.request("POST", "/_build", "{}", {**basic("a", "x"), **headers})[0]
            except OSError:
                status = None
            return status, time.monotonic() - began

        def guesses(pool, count):
            return pool.map(guess, [{}, {"Expect": "100-continue"}] * (count // 2))

        with ThreadPoolExecutor(40) as pool:
            answers = guesses(pool, 80)
            for _ in range(20):
                self.assertEqual(s.request("GET", "/_heart_beat", headers=right)[0], 200)
            for status, seconds in answers:
                self.assertEqual(status, 401)
                self.assertGreaterEqual(seconds, 0.5)
        # those that are held have their answer also when the service reads its files again, or ends
        with ThreadPoolExecutor(20) as pool:
            answers = guesses(pool, 20)
            time.sleep(0.2)
            s.process.send_signal(signal.SIGHUP)
            self.assertEqual({status for status, _ in answers}, {401})
            until(lambda: s.logged("event=reloaded"), "the reload")
            answers = guesses(pool, 20)
            time.sleep(0.2)
            self.assertEqual(s.end(), 0)
            self.assertLessEqual({status for status, _ in answers}, {401, None})

    def test_files_of_users(self):
        for text, message in (("", "no users"), ("ann\n", "line 1"), ("a:b\n:c\n", "line 2"), ("a:\n", "line 1")):
            self.refused("--auth-file", self.secret("users", text), message=message)
        self.refused("--auth-file", self.secret("users", "a:b\n", 0o644), message="can be read by others")
        self.refused("--auth-file", self.root + "/none", message="could not open")


class Browsers(ServiceTest):
    def statuses(self, s, *headers):
        return [s.request("GET", "/_heart_beat", headers=header)[0] for header in headers]

    def test_pages_of_others(self):
        s = self.start()
        own = f"127.0.0.1:{s.port}"
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""},
                        {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://" + own + ".evil.example"},
                        {"Origin": f"http://x@{own}"}, {"Sec-Fetch-Site": "cross-site"},
                        {"Origin": "http://" + own, "Sec-Fetch-Site": "cross-site"}):
            for method, path in (("GET", "/_jobs"), ("POST", "/_build"), ("OPTIONS", "/_build"), ("DELETE", "/_build/x")):
                status, answer, _ = s.request(method, path, "{}" if method == "POST" else None,
                                              {**headers, "Content-Type": "text/plain"})
                self.assertEqual(status, 403, (headers, method))
                self.assertIn("other sites", answer["detail"])
        self.assertEqual(self.statuses(s, {"Origin": "http://" + own}, {"Sec-Fetch-Site": "none"},
                                       {"Sec-Fetch-Site": "same-origin"}), [200, 200, 200])
        self.assertEqual(s.jobs()["jobs"], [])

    def test_names(self):
        s = self.start()
        for host in ("localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "[::1]", "[0:0:0:0:0:0:0:1]"):
            self.assertEqual(self.statuses(s, {"Host": host}, {"Host": f"{host}:{s.port}"}), [200, 200], host)
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "127.1", "0.0.0.0",
                     "[::2]", "[::1", "[::1]x", "::1", "localhost:x", "127.0.0.1@x", "10.0.0.1", "x" * 100, ":1", "[]"):
            self.assertEqual(self.statuses(s, {"Host": host}), [403], host)
        # a client of old, which names none
        self.assertIn(b" 200 ", s.raw(b"GET /_heart_beat HTTP/1.0\r\n\r\n"))
        s.end()
        # where there are users, or all is allowed, any name will do
        for options in (("--auth-file", self.secret("users", "a:b\n")), ("--insecure",),
                        ("--insecure", "--listen", "0.0.0.0:0")):
            s = self.start(*options)
            s.headers = basic("a", "b")
            self.assertEqual(self.statuses(s, {"Host": "builder.example.com"}, {"Origin": "http://x"}), [200, 403])
            s.end()


@unittest.skipUnless(shutil.which("openssl"), "openssl makes the certificates")
class Tls(ServiceTest):
    def certificate(self, name):
        key = os.path.join(self.root, "key.pem")
        cert = os.path.join(self.root, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-days", "2", "-subj", "/CN=" + name, "-addext",
                        "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                       check=True, stderr=subprocess.DEVNULL)
        os.chmod(key, 0o600)
        return cert, key

    def peer(self, s, least, most):
        """The version of a connection, and the name in the certificate."""
        context = ssl.create_default_context(cafile=os.path.join(self.root, "cert.pem"))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = least
        context.maximum_version = most
        with socket.create_connection(("127.0.0.1", s.port), 10) as plain:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                return connection.version(), connection.getpeercert()["subject"][0][0][1]

    def test_tls(self):
        cert, key = self.certificate("first")
        s = self.service("--tls-cert", cert, "--tls-key", key, "--core-dumps")  # its files are counted
        s.tls = ssl.create_default_context(cafile=cert)
        s.start()
        s.put_vectors("a")
        self.assertEqual(s.build("a")["file_name"], "a.faiss")
        v = ssl.TLSVersion
        self.assertEqual(self.peer(s, v.TLSv1_2, v.TLSv1_2), ("TLSv1.2", "first"))
        self.assertEqual(self.peer(s, v.TLSv1_3, v.TLSv1_3), ("TLSv1.3", "first"))
        with self.assertRaises((ssl.SSLError, ConnectionError)), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.peer(s, v.TLSv1, v.TLSv1_1)
        self.assertNotIn(b" 200 ", s.raw(b"GET /_heart_beat HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        # a new certificate, while an old connection is open
        with socket.create_connection(("127.0.0.1", s.port), 10) as plain:
            with s.tls.wrap_socket(plain, server_hostname="127.0.0.1") as old:
                self.certificate("second")
                s.process.send_signal(signal.SIGHUP)
                s.tls = ssl.create_default_context(cafile=cert)
                until(lambda: self.name(s) == "second", "the new certificate")
                old.sendall(b"GET /_heart_beat HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertIn(b" 200 ", old.recv(1000))
        until(lambda: s.logged("event=reloaded"), "the reload")
        self.assertEqual(s.status(s.jobs()["jobs"][0]["job_id"])["file_name"], "a.faiss")
        self.secret("key.pem", "no key")
        s.process.send_signal(signal.SIGHUP)
        until(lambda: s.logged("event=not_reloaded"), "the key to be refused")
        self.assertEqual(self.name(s), "second")
        # nothing is left of what was exchanged
        self.certificate("third")
        before = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        for i in range(5):
            s.process.send_signal(signal.SIGHUP)
            until(lambda: sum("event=reloaded" in line for line in list(s.log)) >= 2 + i, "the reload")
        self.assertEqual(self.name(s), "third")
        until(lambda: len(os.listdir(f"/proc/{s.process.pid}/fd")) <= before, "old files to be closed")

    def name(self, s):
        try:
            return self.peer(s, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)[1]
        except (ssl.SSLError, ConnectionError):
            return None

    def test_tls_1_3(self):
        cert, key = self.certificate("only")
        s = self.start("--tls-cert", cert, "--tls-key", key, "--tls-min=1.3")
        self.assertEqual(self.peer(s, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)[0], "TLSv1.3")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.peer(s, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)

    def test_files(self):
        cert, key = self.certificate("x")
        self.refused("--tls-cert", cert, message="need each other")
        self.refused("--tls-cert", cert, "--tls-key", self.root + "/none", message="could not open")
        self.refused("--tls-cert", self.root + "/none", "--tls-key", key, message="could not read")
        self.refused("--tls-cert", key, "--tls-key", key, message="could not start with the files")
        os.chmod(key, 0o644)
        self.refused("--tls-cert", cert, "--tls-key", key, message="can be read by others")
        os.chmod(key, 0o600)
        users = self.secret("users", "a:b\n")
        public = ("--listen", "0.0.0.0:0")
        self.refused(*public, message="--auth-file, --tls-cert and --tls-key are needed")
        self.refused(*public, "--auth-file", users, message="--tls-cert and --tls-key are needed")
        self.refused(*public, "--tls-cert", cert, "--tls-key", key, message="--auth-file is needed")
        s = self.start(*public, "--auth-file", users, "--tls-cert", cert, "--tls-key", key)
        s.end()


class Options(ServiceTest):
    def test_options(self):
        for options, message in ((("--nothing",), "unknown option"), (("x",), "unknown option"),
                                 (("--workers", "0"), "out of range"),
                                 (("--workers", "x"), "whole number"), (("--memory-limit", "1kB"), "out of range"),
                                 (("--memory-limit", "1 GB"), "no size"), (("--job-ttl", "5y"), "no time"),
                                 (("--job-ttl", "99999999999999999d"), "out of range"),
                                 (("--insecure=1",), "takes no value"), (("--tls-min", "1.1"), "neither"),
                                 (("--repository-dir", "x"), "no absolute path"),
                                 (("--listen", "127.0.0.1"), "no address"), (("--listen", "::1:0"), "no address"),
                                 (("--listen", "127.0.0.1:x"), "no address"),
                                 (("--state-dir", self.root + "/none/state"), "make that first"),
                                 (("--work-dir", self.root + "/state/lock"), "could not make"),
                                 (("--work-dir", self.root + "/state"), "is in use")):
            self.refused(*options, message=message)
        self.refused("--workers", message="needs a value", stub=False)
        self.assertEqual(subprocess.run([PROGRAM, "serve"], stderr=subprocess.DEVNULL).returncode, 2)
        text = subprocess.run([PROGRAM, "serve", "--help"], stdout=subprocess.PIPE, check=True).stdout.decode()
        self.assertIn("--state-dir", text)

    def test_listening(self):
        s = self.start("--listen", "0.0.0.0:0", "--insecure")
        self.refused("--listen", f"127.0.0.1:{s.port}", "--work-dir", self.root, "--state-dir", self.root + "/store",
                     message="could not listen")
        self.refused(message="is in use")

    def test_folders(self):
        new = (self.root + "/new state", self.root + "/new work")
        s = self.start("--state-dir", new[0], "--work-dir", new[1])
        s.put_vectors("a")
        self.assertEqual(s.build("a")["file_name"], "a.faiss")
        for folder in new:
            self.assertEqual(os.stat(folder).st_mode & 0o777, 0o700)

    @unittest.skipIf("/asan/" in PROGRAM or "/tsan/" in PROGRAM, "checkers set these limits themselves")
    def test_memory_is_its_own(self):
        def core_limit(pid):
            with open(f"/proc/{pid}/limits") as file:
                return next(line.split()[4:6] for line in file if line.startswith("Max core file size"))

        limits = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
        try:
            s = self.start()
            self.assertEqual(core_limit(s.process.pid), ["0", "0"])
            # the files of a process that is not to be looked into are root's
            self.assertEqual(os.stat(f"/proc/{s.process.pid}/environ").st_uid, 0)
            s.put_vectors("a")
            self.assertEqual(s.build("a")["file_name"], "a.faiss")
            s.end()
            s = self.start("--core-dumps")
            self.assertEqual(os.stat(f"/proc/{s.process.pid}/environ").st_uid, os.geteuid())
            self.assertEqual(core_limit(s.process.pid), core_limit("self"))
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, limits)

    def test_processors(self):
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(mine)})
        try:
            s = self.start()
        finally:
            os.sched_setaffinity(0, mine)
        self.assertTrue(s.logged("threads=1\n"))

    def test_log(self):
        s = self.start("--log-format", "json")
        s.put_vectors("a")
        s.build("a", tenant_id='x" event=forged\u2028')
        s.put_vectors("b")
        s.build("b", tenant_id="caf\u00e9\u009b2J\U0001f600")
        s.request("GET", "/%0aevent=forged")
        s.end()
        self.assertFalse(any("\u009b" in line for line in s.log))
        events = [json.loads(line) for line in s.log]
        self.assertEqual(events[0]["event"], "listening")
        self.assertEqual(events[-1]["event"], "stopped")
        tenants = [event["tenant"] for event in events if event["event"] == "job_started"]
        # a byte that is no character is told as its number
        self.assertEqual(tenants, ['x" event=forged\u2028', "caf\u00e9\u00c2\u009b2J\U0001f600"])
        s = self.start()
        s.request("GET", "/%0aevent=forged")
        s.end()
        self.assertFalse(any(line.startswith("event=forged") for line in s.log))
