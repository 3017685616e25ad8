"""Has a newer faiss than write_files.cpp's write files for the tests of src/core/faiss_file.c.

    write_files.py DIRECTORY

Small ones alone, NAME.faiss with NAME.answers as write_files.cpp has them: graphs as
GpuIndexCagra::copyTo leaves them, and what else is younger than Debian's faiss.  Versions
before 1.12 write cagra_old, which those since then do not; they write all the others.
Answers are those of exact search.
"""

import os
import struct
import sys

import faiss
import numpy as np

import graphs

DIMENSION, COUNT, QUERIES, K = 4, 14, 3, 3
IDS = 1000 + 3 * np.arange(COUNT, dtype="i8")
L2, IP = faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT

# name, data type, metric (None of bits), index
OLD = [("cagra_old", "float", L2, "CAGRA8,Flat")]
NEW = [
    ("cagra_float", "float", L2, "CAGRA8,Flat"),
    ("cagra_ip", "float", IP, "CAGRA8,Flat"),
    ("cagra_half", "float", L2, "CAGRA8,SQfp16"),
    ("cagra_byte", "byte", L2, "CAGRA8,SQ8_direct_signed"),
    ("cagra_no_vectors", "float", L2, "CAGRA8,none"),
    ("cagra_binary", "binary", None, "BCAGRA8"),
    ("cagra_leveled", "float", L2, "leveled,CAGRA8,Flat"),
    ("hnsw_base", "float", L2, "alone,base,HNSW4,Flat"),
    ("hnsw_sq_signed", "byte", IP, "HNSW4,SQ8_direct_signed"),
    ("hnsw_map2", "float", L2, "IDMap2,HNSW4,SQfp16"),
    ("binary_hnsw_map2", "binary", None, "IDMap2,BHNSW4"),
]


def vectors(generator, n, data_type):
    if data_type == "binary":
        return generator.integers(0, 256, (n, DIMENSION), dtype="u1")
    if data_type == "byte":
        return generator.integers(-128, 128, (n, DIMENSION)).astype("f4")
    # as halves have them
    return generator.uniform(-1, 1, (n, DIMENSION)).astype("f2").astype("f4")


def write_answers(path, x, ids, metric, queries):
    binary = metric is None
    exact = faiss.IndexBinaryFlat(8 * DIMENSION) if binary else faiss.IndexFlat(DIMENSION, metric)
    exact.add(x)
    distances, found = exact.search(queries, K)
    with open(path, "wb") as file:
        file.write(struct.pack("<4i", binary, QUERIES, K, queries.itemsize * DIMENSION))
        file.write(queries.tobytes())
        for row, near in zip(distances, found):
            file.write(ids[near].tobytes() + row.astype("<f4").tobytes())


def main(directory):
    generator = np.random.default_rng(42)
    for name, data_type, metric, index in OLD if graphs.version() < 11200 else NEW:
        x = vectors(generator, COUNT, data_type)
        queries = vectors(generator, QUERIES, data_type)
        ids = np.arange(COUNT, dtype="i8") if index.startswith("alone,") else IDS
        path = os.path.join(directory, name)
        graphs.write(path + ".faiss", x, ids, DIMENSION * (8 if metric is None else 1), metric, index)
        if not index.endswith(",none"):
            write_answers(path + ".answers", x, ids, metric, queries)


if __name__ == "__main__":
    main(*sys.argv[1:])
