/*
 * write_files.cpp
 *		Has faiss write files for the tests of src/core/faiss_file.c, and tell
 *		what it finds in them.
 *
 *	write_files DIRECTORY small|large
 *
 * It writes NAME.faiss, and NAME.answers beside it where faiss searches
 * such an index: little-endian int32 (1 if binary, queries, k, bytes of a query),
 * the queries, and for each query k int64 ids and k float distances.  Small files
 * are what the repository keeps for the tests without faiss and as the fuzz target's
 * corpus; large ones are not kept.
 *
 * Files of graphs made by CAGRA, and others that Debian's faiss does not write, are
 * those of write_files.py.
 */
#include <faiss/IndexBinaryFlat.h>
#include <faiss/IndexBinaryHNSW.h>
#include <faiss/IndexBinaryIVF.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Index = faiss::Index;
using IndexBinary = faiss::IndexBinary;
using idx_t = faiss::Index::idx_t;

std::string directory;
int dimension = 4, count = 14, queries = 3, k = 3;
bool large = false;
std::mt19937 generator(42);

std::vector<float> floats(int n, bool integers)
{
	std::vector<float> x(static_cast<size_t>(n) * dimension);
	std::uniform_real_distribution<float> any(-1, 1);
	std::uniform_int_distribution<int> byte(0, 255);
	for (auto &v : x)
		v = integers ? static_cast<float>(byte(generator)) : any(generator);
	return x;
}

/* Bits: a dimension of floats is eight of them. */
std::vector<uint8_t> bits(int n)
{
	std::vector<uint8_t> x(static_cast<size_t>(n) * dimension);
	for (auto &v : x)
		v = static_cast<uint8_t>(generator());
	return x;
}

void answers(const std::string &name, bool binary, int query_bytes, const void *q,
			 const std::vector<idx_t> &ids, const std::vector<float> &distances)
{
	std::string path = directory + "/" + name + ".answers";
	FILE *f = std::fopen(path.c_str(), "wb");
	int32_t head[4] = {binary, queries, k, query_bytes};
	if (!f)
		throw std::runtime_error("cannot write " + path);
	std::fwrite(head, sizeof(head), 1, f);
	std::fwrite(q, query_bytes, queries, f);
	for (int i = 0; i < queries; i++)
	{
		std::fwrite(&ids[i * k], sizeof(idx_t), k, f);
		std::fwrite(&distances[i * k], sizeof(float), k, f);
	}
	if (std::fclose(f))
		throw std::runtime_error("cannot write " + path);
}

void search(const std::string &name, const Index &index, const std::vector<float> &q)
{
	std::vector<idx_t> ids(queries * k);
	std::vector<float> distances(queries * k);
	index.search(queries, q.data(), k, distances.data(), ids.data());
	answers(name, false, 4 * dimension, q.data(), ids, distances);
}

void search(const std::string &name, const IndexBinary &index, const std::vector<uint8_t> &q)
{
	std::vector<idx_t> ids(queries * k);
	std::vector<int32_t> hamming(queries * k);
	index.search(queries, q.data(), k, hamming.data(), ids.data());
	answers(name, true, dimension, q.data(), ids, std::vector<float>(hamming.begin(), hamming.end()));
}

std::vector<idx_t> some_ids()
{
	std::vector<idx_t> ids(count);
	for (int i = 0; i < count; i++)
		ids[i] = 1000 + 3 * i;
	return ids;
}

/* Wide enough that the beam sees all that can be reached. */
void widen(Index *index)
{
	if (auto *hnsw = dynamic_cast<faiss::IndexHNSW *>(index))
		hnsw->hnsw.efSearch = count;
	if (auto *ivf = dynamic_cast<faiss::IndexIVF *>(index))
	{
		ivf->nprobe = 2;
		ivf->make_direct_map();
	}
}

void one(const std::string &name, const char *factory, faiss::MetricType metric,
		 bool integers = false, bool map = false, bool empty = false)
{
	std::unique_ptr<Index> index(faiss::index_factory(dimension, factory, metric));
	auto x = floats(count, integers), q = floats(queries, integers);
	widen(index.get());
	/* more than it will hold, so that learning goes well */
	int n = large ? 2000 : 64;
	index->train(n, floats(n, integers).data());
	if (map)
	{
		faiss::IndexIDMap mapped(index.get());
		mapped.add_with_ids(count, x.data(), some_ids().data());
		faiss::write_index(&mapped, (directory + "/" + name + ".faiss").c_str());
		search(name, mapped, q);
		return;
	}
	if (!empty)
		index->add(count, x.data());
	faiss::write_index(index.get(), (directory + "/" + name + ".faiss").c_str());
	if (!empty)
		search(name, *index, q);
}

/* Few vectors in many lists: sizes are written as pairs. */
void one_sparse(const std::string &name)
{
	std::unique_ptr<Index> index(faiss::index_factory(dimension, "IVF8,Flat", faiss::METRIC_L2));
	auto x = floats(3, false), q = floats(queries, false);
	std::vector<idx_t> ids = {7, -5, INT64_C(1) << 40};
	index->train(64, floats(64, false).data());
	dynamic_cast<faiss::IndexIVF *>(index.get())->nprobe = 8;
	index->add_with_ids(3, x.data(), ids.data());
	faiss::write_index(index.get(), (directory + "/" + name + ".faiss").c_str());
	search(name, *index, q);
}

void one_binary(const std::string &name, const char *factory, bool map = false, bool empty = false)
{
	std::unique_ptr<IndexBinary> index(faiss::index_binary_factory(8 * dimension, factory));
	auto x = bits(count), q = bits(queries);
	int n = large ? 2000 : 64;
	if (auto *hnsw = dynamic_cast<faiss::IndexBinaryHNSW *>(index.get()))
		hnsw->hnsw.efSearch = count;
	if (auto *ivf = dynamic_cast<faiss::IndexBinaryIVF *>(index.get()))
		ivf->nprobe = 2;
	index->train(n, bits(n).data());
	if (map)
	{
		faiss::IndexBinaryIDMap mapped(index.get());
		mapped.add_with_ids(count, x.data(), some_ids().data());
		faiss::write_index_binary(&mapped, (directory + "/" + name + ".faiss").c_str());
		search(name, mapped, q);
		return;
	}
	if (!empty)
		index->add(count, x.data());
	faiss::write_index_binary(index.get(), (directory + "/" + name + ".faiss").c_str());
	if (!empty)
		search(name, *index, q);
}

void write_all()
{
	auto l2 = faiss::METRIC_L2, ip = faiss::METRIC_INNER_PRODUCT;

	one("flat_l2", "Flat", l2);
	one("flat_ip", "Flat", ip);
	one("flat_map", "Flat", l2, false, true);
	one("sq_fp16", "SQfp16", l2);
	one("hnsw_flat", "HNSW4,Flat", l2);
	one("hnsw_flat_ip", "HNSW4,Flat", ip);
	one("hnsw_map", "HNSW4,Flat", l2, false, true);
	one("hnsw_sq_fp16", "HNSW4,SQfp16", l2);
	one("hnsw_empty", "HNSW4,Flat", l2, false, false, true);
	one("ivf_flat", "IVF4,Flat", l2);
	one("ivf_flat_ip", "IVF4,Flat", ip);
	one("ivf_sq_fp16", "IVF4,SQfp16", l2);
	one("ivf_sq_fp16_ip", "IVF4,SQfp16", ip);
	one("ivf_empty", "IVF4,Flat", l2, false, false, true);
	one("ivf_pq", large ? "IVF4,PQ8x8" : "IVF4,PQ2x3", l2);
	one("ivf_pq_ip", large ? "IVF4,PQ8x6" : "IVF4,PQ2x3", ip);
	one("ivf_pq_empty", large ? "IVF4,PQ8x8" : "IVF4,PQ4x2", l2, false, false, true);
	one_sparse("ivf_sparse");
	{
		/* bytes: 8-bit codes that are the elements themselves */
		faiss::IndexFlatL2 quantizer(dimension);
		faiss::IndexIVFScalarQuantizer ivf(&quantizer, dimension, 4,
			faiss::ScalarQuantizer::QT_8bit_direct, l2, false);
		auto q = floats(queries, true);
		ivf.train(64, floats(64, true).data());
		ivf.nprobe = 2;
		ivf.add(count, floats(count, true).data());
		faiss::write_index(&ivf, (directory + "/ivf_sq_direct.faiss").c_str());
		search("ivf_sq_direct", ivf, q);

		faiss::IndexHNSWSQ hnsw(dimension, faiss::ScalarQuantizer::QT_8bit_direct, 4);
		hnsw.train(64, floats(64, true).data());
		hnsw.hnsw.efSearch = count;
		hnsw.add(count, floats(count, true).data());
		faiss::write_index(&hnsw, (directory + "/hnsw_sq_direct.faiss").c_str());
		search("hnsw_sq_direct", hnsw, q);
	}
	if (large)
	{
		one("hnsw_pq", "HNSW8,PQ4", l2);
	}
	else
	{
		/* the factory knows no PQ of so few bits for graphs */
		faiss::IndexHNSWPQ pq(dimension, 2, 4);
		delete pq.storage;
		pq.storage = new faiss::IndexPQ(dimension, 2, 3, l2);
		pq.train(64, floats(64, false).data());
		pq.hnsw.efSearch = count;
		pq.add(count, floats(count, false).data());
		faiss::write_index(&pq, (directory + "/hnsw_pq.faiss").c_str());
		search("hnsw_pq", pq, floats(queries, false));
	}
	one_binary("binary_flat", "BFlat");
	one_binary("binary_flat_map", "BFlat", true);
	one_binary("binary_hnsw", "BHNSW4");
	one_binary("binary_hnsw_map", "BHNSW4", true);
	one_binary("binary_ivf", "BIVF4");
	one_binary("binary_ivf_empty", "BIVF4", false, true);
}

}

int main(int argc, char **argv)
{
	try
	{
		if (argc != 3)
		{
			std::fprintf(stderr, "usage: %s DIRECTORY small|large\n", argv[0]);
			return 2;
		}
		directory = argv[1];
		large = std::strcmp(argv[2], "large") == 0;
		if (large)
		{
			dimension = 32;
			count = 500;
			queries = 10;
			k = 10;
		}
		write_all();
	}
	catch (const std::exception &e)
	{
		std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
		return 1;
	}
	return 0;
}
