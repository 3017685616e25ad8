/*
 * graphs.cpp
 *		Graphs between faiss and knn-builder, for test/builder/test_with_faiss.c.
 *
 *	graphs version
 *	graphs search FILE VECTORS IDS QUERIES DIMENSION float|binary EF
 *	graphs write FILE VECTORS DIMENSION float|binary SPACE FACTORY
 *
 * The first prints the version, as 10000 * major + 100 * minor + patch.  The second lets faiss read a file that knn-builder has written, compares its tables of
 * levels with those faiss makes itself, searches it, and prints the recall of 10.  The
 * third has faiss build a graph and write it; the vectors are added last one first, in
 * an id map that tells their places.  Vectors are without a header, ids int32.
 */
#include <faiss/IndexBinaryFlat.h>
#include <faiss/IndexBinaryHNSW.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using idx_t = faiss::Index::idx_t;
const int k = 10;

template <class T> std::vector<T> read_file(const char *path)
{
	std::ifstream in(path, std::ios::binary);
	std::vector<char> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
	std::vector<T> values(bytes.size() / sizeof(T));
	if (!in)
		throw std::runtime_error(std::string("cannot read ") + path);
	std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
	return values;
}

/* The tables are those of faiss for this m. */
void check_tables(const faiss::HNSW &read)
{
	faiss::HNSW own(read.nb_neighbors(1));
	if (read.cum_nneighbor_per_level != own.cum_nneighbor_per_level ||
		read.assign_probas.size() != own.assign_probas.size())
		throw std::runtime_error("the tables of levels are others than faiss's");
	for (size_t i = 0; i < own.assign_probas.size(); i++)
		if (std::fabs(read.assign_probas[i] / own.assign_probas[i] - 1) > 1e-5)
			throw std::runtime_error("a probability of a level is another one than faiss's");
}

double recall(const std::vector<idx_t> &found, const std::vector<idx_t> &exact)
{
	size_t n = 0;
	for (size_t q = 0; q < exact.size() / k; q++)
	{
		std::set<idx_t> nearest(&exact[q * k], &exact[q * k] + k);
		for (int i = 0; i < k; i++)
			n += nearest.count(found[q * k + i]);
	}
	return static_cast<double>(n) / static_cast<double>(exact.size());
}

void search_floats(const char *path, const char *vectors, const std::vector<idx_t> &ids, const char *queries,
				   int d, int ef)
{
	std::unique_ptr<faiss::Index> index(faiss::read_index(path));
	auto *map = dynamic_cast<faiss::IndexIDMap *>(index.get());
	auto *hnsw = map ? dynamic_cast<faiss::IndexHNSW *>(map->index) : nullptr;
	if (!hnsw)
		throw std::runtime_error("it is no graph in an id map");
	auto x = read_file<float>(vectors), q = read_file<float>(queries);
	idx_t n = static_cast<idx_t>(q.size()) / d;
	faiss::IndexFlat flat(d, hnsw->metric_type);
	faiss::IndexIDMap exact(&flat);
	std::vector<idx_t> found(n * k), nearest(n * k);
	std::vector<float> distances(n * k);

	check_tables(hnsw->hnsw);
	hnsw->hnsw.efSearch = ef;
	exact.add_with_ids(static_cast<idx_t>(ids.size()), x.data(), ids.data());
	index->search(n, q.data(), k, distances.data(), found.data());
	exact.search(n, q.data(), k, distances.data(), nearest.data());
	std::printf("%.4f\n", recall(found, nearest));
}

void search_bits(const char *path, const char *vectors, const std::vector<idx_t> &ids, const char *queries,
				 int d, int ef)
{
	std::unique_ptr<faiss::IndexBinary> index(faiss::read_index_binary(path));
	auto *map = dynamic_cast<faiss::IndexBinaryIDMap *>(index.get());
	auto *hnsw = map ? dynamic_cast<faiss::IndexBinaryHNSW *>(map->index) : nullptr;
	if (!hnsw)
		throw std::runtime_error("it is no graph in an id map");
	auto x = read_file<uint8_t>(vectors), q = read_file<uint8_t>(queries);
	idx_t n = static_cast<idx_t>(q.size()) / (d / 8);
	faiss::IndexBinaryFlat flat(d);
	std::vector<idx_t> found(n * k), nearest(n * k);
	std::vector<int32_t> near(n * k), far(n * k);
	size_t good = 0;

	check_tables(hnsw->hnsw);
	hnsw->hnsw.efSearch = ef;
	flat.add(static_cast<idx_t>(ids.size()), x.data());
	index->search(n, q.data(), k, far.data(), found.data());
	flat.search(n, q.data(), k, near.data(), nearest.data());
	/* many are as near as each other */
	for (idx_t i = 0; i < n * k; i++)
		good += far[i] <= near[i / k * k + k - 1];
	std::printf("%.4f\n", static_cast<double>(good) / static_cast<double>(n * k));
}

void write_graph(const char *path, const char *vectors, int d, bool bits, const std::string &space,
				 const char *factory)
{
	auto x = read_file<uint8_t>(vectors);
	size_t row = bits ? d / 8 : 4 * d;
	idx_t n = static_cast<idx_t>(x.size() / row);
	std::vector<uint8_t> last_first(x.size());
	std::vector<idx_t> ids(n);

	for (idx_t i = 0; i < n; i++)
	{
		ids[i] = n - 1 - i;
		std::memcpy(&last_first[i * row], &x[ids[i] * row], row);
	}
	if (bits)
	{
		std::unique_ptr<faiss::IndexBinary> index(faiss::index_binary_factory(d, factory));
		faiss::IndexBinaryIDMap map(index.get());
		map.add_with_ids(n, last_first.data(), ids.data());
		faiss::write_index_binary(&map, path);
		return;
	}
	std::vector<float> floats(n * d);
	std::memcpy(floats.data(), last_first.data(), last_first.size());
	std::unique_ptr<faiss::Index> index(faiss::index_factory(d, factory,
		space == "l2" ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT));
	index->train(n, floats.data());
	faiss::IndexIDMap map(index.get());
	map.add_with_ids(n, floats.data(), ids.data());
	faiss::write_index(&map, path);
}

}

int main(int argc, char **argv)
{
	try
	{
		if (argc == 2 && std::strcmp(argv[1], "version") == 0)
		{
			std::printf("%d\n", 10000 * FAISS_VERSION_MAJOR + 100 * FAISS_VERSION_MINOR + FAISS_VERSION_PATCH);
			return 0;
		}
		if (argc == 9 && std::strcmp(argv[1], "search") == 0)
		{
			std::vector<idx_t> ids;
			for (int32_t id : read_file<int32_t>(argv[4]))
				ids.push_back(id);
			(std::strcmp(argv[7], "binary") == 0 ? search_bits : search_floats)(
				argv[2], argv[3], ids, argv[5], std::atoi(argv[6]), std::atoi(argv[8]));
			return 0;
		}
		if (argc == 8 && std::strcmp(argv[1], "write") == 0)
		{
			write_graph(argv[2], argv[3], std::atoi(argv[4]), std::strcmp(argv[5], "binary") == 0, argv[6], argv[7]);
			return 0;
		}
		std::fprintf(stderr, "usage: see the source\n");
		return 2;
	}
	catch (const std::exception &e)
	{
		std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
		return 1;
	}
}
