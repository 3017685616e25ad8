"""
Object stores again, with moto's: somebody else's idea of S3, with users and signatures.
Run by a Python that has moto's server and boto3.
"""
import random

from harness import Tool, case, check_equal, check_in
from moto_store import Moto

PART = 5 * 1024 * 1024          # of the store_tool of these tests


class Store(Moto):
    def tool(self, **env):
        return Tool(self, **dict({"AWS_ACCESS_KEY_ID": self.keys["aws_access_key_id"],
                                  "AWS_SECRET_ACCESS_KEY": self.keys["aws_secret_access_key"],
                                  "AWS_REGION": "us-east-1"}, **env))


@case
def moto(place):
    store = Store()
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
