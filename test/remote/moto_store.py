"""
moto's server with a bucket "vectors" and a user who has the rights that remote-build.md tells.
Run by a Python that has moto's server and boto3.

As a program: prints the URL, the key's id and the secret key as one line, then for each
line that it reads the keys of all objects, as one line; ends with its input.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config

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
            env=dict(PATH=os.environ["PATH"], INITIAL_NO_AUTH_ACTION_COUNT=str(CALLS_BEFORE), MOTO_IAM_LOAD_MANAGED_POLICIES="false"))
        self.url = "http://127.0.0.1:%d" % port
        self.bucket = "vectors"
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError("moto's server does not start")
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

    def close(self):
        self.process.terminate()
        self.process.wait(10)

    def objects(self):
        """Keys of what is there."""
        s3 = self.client("s3", **self.keys)
        there = s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [o["Key"] for o in there]


def main():
    store = Moto()
    try:
        print(store.url, store.keys["aws_access_key_id"], store.keys["aws_secret_access_key"], flush=True)
        for _ in sys.stdin:
            print(" ".join(store.objects()), flush=True)
    finally:
        store.close()


if __name__ == "__main__":
    main()
