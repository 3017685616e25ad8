/*
 * recall.cpp
 *		Reads a file that knn-builder wrote with the library of faiss, and searches it.
 *
 *	recall FILE.faiss FILE.knnvec FILE.knndid DIMENSION float|binary QUERIES K EF
 *
 * Prints what the index is, and how many of the K nearest vectors that an exact search
 * finds it finds too: queries are vectors of the file with something added to them.
 */
#include <faiss/IndexBinaryFlat.h>
#include <faiss/IndexBinaryHNSW.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/MetaIndexes.h>
#include <faiss/index_io.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

template <typename T>
static std::vector<T>
read_file(const char *path)
{
	FILE	   *file = fopen(path, "rb");
	std::vector<T> values;
	T			value;

	if (!file)
		throw std::runtime_error(path);
	while (fread(&value, sizeof(T), 1, file) == 1)
		values.push_back(value);
	fclose(file);
	return values;
}

static double
recall(const std::vector<int64_t> &exact, const std::vector<int64_t> &found,
	   const std::vector<int32_t> &ids, size_t k)
{
	size_t		hits = 0;

	for (size_t i = 0; i < exact.size(); i += k)
	{
		std::set<int64_t> wanted;

		for (size_t j = 0; j < k; j++)
			wanted.insert(ids.at((size_t) exact[i + j]));
		for (size_t j = 0; j < k; j++)
			hits += wanted.count(found[i + j]);
	}
	return (double) hits / (double) exact.size();
}

static void
check_float(const char *path, const std::vector<float> &vectors, const std::vector<int32_t> &ids,
			int d, size_t n, size_t k, int ef)
{
	std::unique_ptr<faiss::Index> index(faiss::read_index(path));
	auto	   *map = dynamic_cast<faiss::IndexIDMap *>(index.get());
	auto	   *graph = map ? dynamic_cast<faiss::IndexHNSW *>(map->index) : nullptr;
	std::vector<float> queries(n * (size_t) d);
	std::vector<float> distances(n * k);
	std::vector<int64_t> exact(n * k);
	std::vector<int64_t> found(n * k);
	std::mt19937 random(1);
	std::normal_distribution<float> noise(0, 0.1f);

	if (!graph)
		throw std::runtime_error("no graph with a map of ids");
	for (size_t i = 0; i < n; i++)
		for (int j = 0; j < d; j++)
			queries[i * d + j] = vectors[i * 7 % ids.size() * d + j] + noise(random);
	faiss::IndexFlat flat(d, index->metric_type);
	flat.add((int64_t) ids.size(), vectors.data());
	flat.search((int64_t) n, queries.data(), (int64_t) k, distances.data(), exact.data());
	graph->hnsw.efSearch = ef > 0 ? ef : graph->hnsw.efSearch;
	index->search((int64_t) n, queries.data(), (int64_t) k, distances.data(), found.data());
	printf("{\"vectors\": %lld, \"dimension\": %d, \"metric\": \"%s\", \"m\": %d, \"ef_search\": %d, \"recall\": %.4f}\n",
		   (long long) index->ntotal, index->d,
		   index->metric_type == faiss::METRIC_L2 ? "l2" : "innerproduct",
		   graph->hnsw.nb_neighbors(1), graph->hnsw.efSearch, recall(exact, found, ids, k));
}

static void
check_binary(const char *path, const std::vector<uint8_t> &vectors, const std::vector<int32_t> &ids,
			 int d, size_t n, size_t k, int ef)
{
	std::unique_ptr<faiss::IndexBinary> index(faiss::read_index_binary(path));
	auto	   *map = dynamic_cast<faiss::IndexBinaryIDMap *>(index.get());
	auto	   *graph = map ? dynamic_cast<faiss::IndexBinaryHNSW *>(map->index) : nullptr;
	size_t		bytes = (size_t) d / 8;
	std::vector<uint8_t> queries(n * bytes);
	std::vector<int32_t> exact_distances(n * k);
	std::vector<int32_t> distances(n * k);
	std::vector<int64_t> exact(n * k);
	std::vector<int64_t> found(n * k);
	std::mt19937 random(1);
	size_t		hits = 0;

	if (!graph)
		throw std::runtime_error("no graph with a map of ids");
	for (size_t i = 0; i < n; i++)
	{
		for (size_t j = 0; j < bytes; j++)
			queries[i * bytes + j] = vectors[i * 7 % ids.size() * bytes + j];
		queries[i * bytes + random() % bytes] ^= (uint8_t) (1 << random() % 8);
	}
	faiss::IndexBinaryFlat flat(d);
	flat.add((int64_t) ids.size(), vectors.data());
	flat.search((int64_t) n, queries.data(), (int64_t) k, exact_distances.data(), exact.data());
	graph->hnsw.efSearch = ef > 0 ? ef : graph->hnsw.efSearch;
	index->search((int64_t) n, queries.data(), (int64_t) k, distances.data(), found.data());
	/* many are equally far: what counts is how far */
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < k; j++)
			hits += distances[i * k + j] <= exact_distances[i * k + k - 1];
	printf("{\"vectors\": %lld, \"dimension\": %d, \"metric\": \"hamming\", \"m\": %d, \"ef_search\": %d, \"recall\": %.4f}\n",
		   (long long) index->ntotal, index->d, graph->hnsw.nb_neighbors(1), graph->hnsw.efSearch,
		   (double) hits / (double) (n * k));
}

int
main(int argc, char **argv)
{
	if (argc != 9)
		return 2;
	std::vector<int32_t> ids = read_file<int32_t>(argv[3]);
	int			d = atoi(argv[4]);
	size_t		n = (size_t) atoi(argv[6]);
	size_t		k = (size_t) atoi(argv[7]);

	if (std::string(argv[5]) == "binary")
		check_binary(argv[1], read_file<uint8_t>(argv[2]), ids, d, n, k, atoi(argv[8]));
	else
		check_float(argv[1], read_file<float>(argv[2]), ids, d, n, k, atoi(argv[8]));
	return 0;
}
