"""Graphs between a newer faiss and knn-builder, for test/builder/test_with_faiss.c.

    graphs.py version
    graphs.py search FILE VECTORS IDS QUERIES DIMENSION float|byte|binary EF
    graphs.py write FILE VECTORS DIMENSION float|byte|binary SPACE INDEX

The commands of graphs.cpp, with the faiss of this Python (1.9 or newer).  INDEX is a string
of faiss's index factory, behind any of these words, each with a comma:

    IDMap2    the id map is an IndexIDMap2, not an IndexIDMap
    alone     there is none; the vectors are added first one first then
    base      the graph is an IndexHNSW and no class derived from it
    leveled   of CAGRA: built by faiss itself, with levels

or it is CAGRA<degree> or BCAGRA<degree>, with the storage after a comma: a graph of level 0
alone, as GpuIndexCagra::copyTo leaves it.  Storage "none" is left out of the file.
"""

import sys

import faiss
import numpy as np

K = 10


def version():
    numbers = [int(number) for number in faiss.__version__.split(".")[:3]]
    return numbers[0] * 10000 + numbers[1] * 100 + numbers[2]


def read_vectors(path, d, data_type):
    """Rows as faiss takes them: packed bits, or floats."""
    if data_type == "binary":
        return np.fromfile(path, "u1").reshape(-1, d // 8)
    rows = np.fromfile(path, "i1" if data_type == "byte" else "<f4").reshape(-1, d)
    return np.ascontiguousarray(rows, "f4")


# Searching


def check_tables(hnsw):
    """The tables of levels are those of faiss for this m."""
    own = faiss.HNSW(hnsw.nb_neighbors(1))

    def array(vector):
        return faiss.vector_to_array(vector)

    if not np.array_equal(array(hnsw.cum_nneighbor_per_level), array(own.cum_nneighbor_per_level)):
        raise ValueError("the tables of levels are others than faiss's")
    if not np.allclose(array(hnsw.assign_probas), array(own.assign_probas), rtol=1e-5):
        raise ValueError("a probability of a level is another one than faiss's")


def recall(path, x, ids, queries, d, ef):
    if x.dtype == np.uint8:
        index = faiss.read_index_binary(path)
        graph = faiss.downcast_IndexBinary(index.index)
        exact = faiss.IndexBinaryFlat(d)
    else:
        index = faiss.read_index(path)
        graph = faiss.downcast_index(index.index)
        exact = faiss.IndexFlat(d, graph.metric_type)
    if not isinstance(index, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)) or index.ntotal != len(ids):
        raise ValueError("it is no id map of all vectors")
    if graph.metric_type != index.metric_type:
        raise ValueError("the metrics of map and graph differ")
    check_tables(graph.hnsw)
    exact.add(x)
    if graph.storage is None:
        graph.storage = exact
    graph.hnsw.efSearch = ef
    distances, found = index.search(queries, K)
    limits, nearest = exact.search(queries, K)
    if x.dtype == np.uint8:  # many are as near as each other
        return np.mean(distances <= limits[:, -1:])
    return np.mean([np.isin(a, ids[b]).mean() for a, b in zip(found, nearest)])


# Writing


def nearest(x, k, metric):
    """Of each vector the nearest others, nearest first."""
    n, d = x.shape
    flat = faiss.IndexBinaryFlat(8 * d) if metric is None else faiss.IndexFlat(d, metric)
    flat.add(x)
    found = flat.search(x, k + 1)[1]
    self_last = np.argsort(found == np.arange(n)[:, None], axis=1, kind="stable")
    return np.take_along_axis(found, self_last, axis=1)[:, :k]


def half_reversed(near):
    """Half of each list, and as many of the links back to a node as fit, as CAGRA does."""
    n, degree = near.shape
    lists = near.copy()
    room = np.full(n, degree)
    for rank in range(degree // 2):
        for i in range(n):
            at = near[i, rank]
            if room[at] > degree // 2:
                room[at] -= 1
                lists[at, room[at]] = i
    return lists


def cagra(d, degree, metric, storage):
    m = degree // 2
    if metric is None:
        index = faiss.IndexBinaryHNSWCagra(d, m)
    else:
        index = faiss.IndexHNSWCagra(d, m, metric)
        if storage.startswith("SQ"):
            index.storage = faiss.index_factory(d, storage, metric)
            index.storage.this.disown()
            index.set_numeric_type(faiss.Float16 if storage == "SQfp16" else faiss.Int8)
    return index


def add_as_copied(index, x, degree):
    """What GpuIndexCagra::copyTo does to an index that is of the base level alone."""
    hnsw = index.hnsw
    hnsw.reset()
    hnsw.assign_probas.clear()
    hnsw.cum_nneighbor_per_level.clear()
    hnsw.set_default_probas(degree // 2, 1 / np.log(degree // 2))
    index.base_level_only = True
    hnsw.prepare_level_tab(len(x), False)
    index.storage.add(x)
    index.ntotal = len(x)
    offsets = faiss.vector_to_array(hnsw.offsets).astype("i8")
    links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    metric = index.metric_type if isinstance(index, faiss.Index) else None
    links[offsets[:-1, None] + np.arange(degree)] = half_reversed(nearest(x, degree, metric))


def take_word(spec, word):
    return (True, spec[len(word) + 1 :]) if spec.startswith(word + ",") else (False, spec)


def write(path, x, ids, d, metric, spec):
    """Vectors in the order that they are added in; the metric is None for bits."""
    binary = metric is None
    second, spec = take_word(spec, "IDMap2")
    alone, spec = take_word(spec, "alone")
    base, spec = take_word(spec, "base")
    leveled, spec = take_word(spec, "leveled")
    kind, _, storage = spec.partition(",")
    degree = int(kind.partition("CAGRA")[2]) if "CAGRA" in kind else 0

    if degree:
        index = cagra(d, degree, metric, storage)
    elif binary:
        index = faiss.index_binary_factory(d, spec)
    elif base:
        index = faiss.IndexHNSW(faiss.index_factory(d, storage, metric), int(kind[4:]))
    else:
        index = faiss.index_factory(d, spec.replace("none", "Flat"), metric)
    if binary:
        of = index if alone else faiss.IndexBinaryIDMap2(index) if second else faiss.IndexBinaryIDMap(index)
    else:
        of = index if alone else faiss.IndexIDMap2(index) if second else faiss.IndexIDMap(index)
    if degree and not leveled:
        add_as_copied(index, x, degree)
        if not alone:
            of.ntotal = len(x)
            faiss.copy_array_to_vector(ids, of.id_map)
    else:
        of.train(x)
        if alone:
            of.add(x)
        else:
            of.add_with_ids(x, ids)
    if storage == "none":  # a flag of write_index that id maps do not pass on
        index.storage = None
    (faiss.write_index_binary if binary else faiss.write_index)(of, path)


def main(command, *arguments):
    if command == "version":
        print(version())
    elif command == "search":
        path, vectors, ids, queries, d, data_type, ef = arguments
        print("%.4f" % recall(path, read_vectors(vectors, int(d), data_type), np.fromfile(ids, "<i4").astype("i8"),
                              read_vectors(queries, int(d), data_type), int(d), int(ef)))
    elif command == "write":
        path, vectors, d, data_type, space, spec = arguments
        metric = None if space == "hamming" else faiss.METRIC_L2 if space == "l2" else faiss.METRIC_INNER_PRODUCT
        x = read_vectors(vectors, int(d), data_type)
        ids = np.arange(len(x), dtype="i8")
        if not spec.startswith("alone,"):
            x, ids = np.ascontiguousarray(x[::-1]), ids[::-1].copy()
        write(path, x, ids, int(d), metric, spec)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
