"""
Object stores again, with moto's: somebody else's idea of S3, with users and signatures.
Run by a Python that has moto's server and boto3.
"""
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config

from harness import Tool, case, check, check_equal, check_in, environment

PART = 5 * 1024 * 1024          # of the store_tool of these tests

POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
     "Resource": "arn:aws:s3:::vectors/*"},
    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::vectors"}]}
CALLS_BEFORE = 4                # that need no authentication, to make the user


class Moto:
    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=self.log, stderr=self.log,
            env=environment(INITIAL_NO_AUTH_ACTION_COUNT=str(CALLS_BEFORE), MOTO_IAM_LOAD_MANAGED_POLICIES="false"))
        self.url = "http://127.0.0.1:%d" % port
        self.bucket = "vectors"
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                check(time.monotonic() < end and self.process.poll() is None, "moto's server does not start")
                time.sleep(0.1)
        anybody = dict(aws_access_key_id="x", aws_secret_access_key="y")
        self.client("s3", **anybody).create_bucket(Bucket="vectors")
        iam = self.client("iam", **anybody)
        iam.create_user(UserName="knn")
        iam.put_user_policy(UserName="knn", PolicyName="knn", PolicyDocument=json.dumps(POLICY))
        key = iam.create_access_key(UserName="knn")["AccessKey"]
        self.keys = dict(aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])

    def client(self, name, **keys):
        # none of the outside's proxies
        return boto3.client(name, endpoint_url=self.url, region_name="us-east-1",
                            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}), **keys)

    def tool(self, **env):
        return Tool(self, **dict({"AWS_ACCESS_KEY_ID": self.keys["aws_access_key_id"],
                                                  "AWS_SECRET_ACCESS_KEY": self.keys["aws_secret_access_key"],
                                                  "AWS_REGION": "us-east-1"}, **env))

    def close(self):
        self.process.terminate()
        self.process.wait(10)


@case
def moto(place):
    store = Moto()
    place.servers.append(store)
    tool, s3 = store.tool(), store.client("s3", **store.keys)
    for size in (0, 1, 100000, PART, 2 * PART + 12345):
        key = "base/0815_vectors/ä b+c%41~" + str(size)
        body = random.Random(size).randbytes(size)
        path = place.write("in", body)
        tool.works("put", key, path)
        check_equal(s3.get_object(Bucket="vectors", Key=key)["Body"].read(), body, "as boto reads it")
        tool.fails("put", key, path, code="exists")
        check_equal(tool.works("size", key), "ok %d" % size)
        tool.works("get", key, place("out%d" % size))
        check_equal(place.read("out%d" % size), body, "as it is read")
        tool.works("remove", key)
        tool.works("remove", key)
        tool.fails("size", key, code="not_found")
    # what boto has written, with its own checksums
    body = random.Random(7).randbytes(3 * PART)
    s3.put_object(Bucket="vectors", Key="k", Body=body)
    tool.works("get", "k", place("out"))
    check_equal(place.read("out"), body, "of boto")
    upload = s3.create_multipart_upload(Bucket="vectors", Key="parts", ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for n in range(3):
        part = s3.upload_part(Bucket="vectors", Key="parts", UploadId=upload, PartNumber=n + 1,
                              Body=body[n * PART:(n + 1) * PART], ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": n + 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
    s3.complete_multipart_upload(Bucket="vectors", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    tool.works("get", "parts", place("out of parts"))
    check_equal(place.read("out of parts"), body, "of boto, in parts")
    check_equal(s3.list_objects_v2(Bucket="vectors")["KeyCount"], 2, "objects")
    # who may not
    path = place.write("in", b"x")
    store.tool(AWS_SECRET_ACCESS_KEY="another").fails("put", "new", path, code="repository", says="SignatureDoesNotMatch")
    store.tool(AWS_ACCESS_KEY_ID="another").fails("put", "new", path, code="repository", says="InvalidAccessKeyId")
    store.bucket = "others"
    check_in("403", store.tool().fails("put", "new", path, code="repository"))
