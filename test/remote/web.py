"""
A small HTTP server on 127.0.0.1 whose answers can be made to fail: what the stores and
services of these tests are made of.
"""
import http.server
import socket
import socketserver
import ssl
import struct
import threading
import time
import urllib.parse


class Fault:
    """
    What is done instead of an answer to requests that match, so many times (-1: always):
    a status, or one of
        cut       close the connection before the answer
        cut_body  close it in the middle of the answer's body
        stall     say nothing for a long time
        trickle   a byte of the answer's body now and then
        damage    change a byte of the answer's body
        lost      do it, and then close the connection without an answer
        long      an answer without an end
        nonsense  an answer that is not HTTP
    """

    def __init__(self, what, method=None, contains="", times=1, after=0, headers=None, body=b""):
        self.what = what
        self.method = method
        self.contains = contains
        self.times = times
        self.after = after
        self.headers = headers or {}
        self.body = body

    def applies(self, method, target):
        if self.times == 0 or (self.method and self.method != method) or self.contains not in target:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def log_message(self, *args):
        pass

    def read_body(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError("cut")
        return body

    def answer(self, status, body=b"", headers=None, length=None):
        """Sends it, or what the fault makes of it."""
        what = self.fault.what if self.fault else None
        self.send_response(status)
        names = {k.lower() for k in (headers or {})}
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "HEAD":
            return
        if what == "cut_body":
            self.wfile.write(body[: len(body) // 2])
            self.cut()
        elif what == "damage" and body:
            self.wfile.write(bytes(body[:-1]) + bytes([body[-1] ^ 1]))
        elif what == "trickle":
            for i in range(len(body)):
                self.wfile.write(body[i:i + 1])
                self.wfile.flush()
                self.nap(0.5)
        else:
            self.wfile.write(body)

    def nap(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.server.ending:
            time.sleep(0.02)

    def cut(self):
        """Closes the connection so that the other side notices."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        raise ConnectionAbortedError

    def serve(self):
        self.path_part, _, self.query = self.path.partition("?")
        self.fault = None
        with self.server.lock:
            self.server.requests.append((self.command, self.path))
            self.server.times.append((self.command, self.path, time.monotonic()))
            for fault in self.server.faults:
                if fault.applies(self.command, self.path):
                    self.fault = fault
                    break
        try:
            self.body = self.read_body()
            if self.server.before:
                self.server.before(self)
            what = self.fault.what if self.fault else None
            if what == "cut":
                self.cut()
            elif what == "stall":
                self.nap(30)
                self.cut()
            elif what == "nonsense":
                self.wfile.write(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 4)
                self.close_connection = True
            elif what == "long":
                self.answer(self.fault.headers.pop("status", 200), b"x" * 1000000)
            elif isinstance(what, int):
                self.refuse(what)
            elif what == "lost":
                keep, self.answer = self.answer, lambda *args, **kw: None
                self.handle_request()
                self.answer = keep
                self.cut()
            else:
                self.handle_request()
        except (ConnectionError, ssl.SSLError):
            self.close_connection = True

    def refuse(self, status):
        self.answer(status, self.fault.body, self.fault.headers)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    # a test may end while a client's connection is open
    block_on_close = False

    def __init__(self, handler, tls=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.lock = threading.Lock()
        self.faults = []
        self.requests = []
        self.before = None      # called with the handler of each request
        self.times = []                 # the same, with when they came
        self.ending = False
        self.scheme = "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return "%s://127.0.0.1:%d" % (self.scheme, self.server_address[1])

    def handle_error(self, request, client_address):
        pass

    def fault(self, *args, **kw):
        self.faults.append(Fault(*args, **kw))

    def reset_faults(self):
        with self.lock:
            self.faults.clear()
            self.requests.clear()

    def reset(self):
        self.reset_faults()

    def count(self, method, contains=""):
        with self.lock:
            return sum(1 for m, target in self.requests if m == method and contains in target)

    def close(self):
        self.ending = True
        self.shutdown()
        self.server_close()


def parse_query(query):
    return dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
