/*
 * answers.cpp
 *		What faiss answers by a model of this project: the vectors are added to the
 *		trained index, and each query is searched for.
 *
 *	answers MODEL VECTORS QUERIES k nprobe...
 *
 * VECTORS and QUERIES are rows of the model's dimension, of native float32 or packed bits.
 * For each nprobe (of hnsw: ef_search), query and neighbour a line is printed: nprobe, the
 * query's number, the vector's number, both from 1, and the distance.
 */
#include <faiss/IndexBinaryIVF.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/index_io.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using idx_t = faiss::Index::idx_t;

struct Rows
{
	std::string bytes;
	idx_t n;
	Rows(const char *path, size_t width)
	{
		std::ifstream file(path, std::ios::binary);
		bytes.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
		if (bytes.empty() || bytes.size() % width != 0)
			throw std::runtime_error(std::string("no rows in ") + path);
		n = static_cast<idx_t>(bytes.size() / width);
	}
	const float *floats() const { return reinterpret_cast<const float *>(bytes.data()); }
	const uint8_t *bits() const { return reinterpret_cast<const uint8_t *>(bytes.data()); }
};

template <class Distance>
void print(int probes, idx_t n, int k, const std::vector<idx_t> &ids, const std::vector<Distance> &distances)
{
	for (idx_t i = 0; i < n * k; i++)
	{
		if (ids[i] >= 0)
			std::printf("%d %lld %lld %.9g\n", probes, static_cast<long long>(i / k + 1),
				static_cast<long long>(ids[i] + 1), static_cast<double>(distances[i]));
	}
}

void answer_floats(char **argv, int k, const std::vector<int> &probes)
{
	std::unique_ptr<faiss::Index> index(faiss::read_index(argv[1]));
	Rows vectors(argv[2], sizeof(float) * index->d), queries(argv[3], sizeof(float) * index->d);
	std::vector<idx_t> ids(queries.n * k);
	std::vector<float> distances(queries.n * k);

	index->add(vectors.n, vectors.floats());
	for (int n : probes)
	{
		if (auto *ivf = dynamic_cast<faiss::IndexIVF *>(index.get()))
			ivf->nprobe = n;
		else
			dynamic_cast<faiss::IndexHNSW &>(*index).hnsw.efSearch = n;
		index->search(queries.n, queries.floats(), k, distances.data(), ids.data());
		print(n, queries.n, k, ids, distances);
	}
}

void answer_bits(char **argv, int k, const std::vector<int> &probes)
{
	std::unique_ptr<faiss::IndexBinary> index(faiss::read_index_binary(argv[1]));
	Rows vectors(argv[2], index->code_size), queries(argv[3], index->code_size);
	std::vector<idx_t> ids(queries.n * k);
	std::vector<int32_t> distances(queries.n * k);

	index->add(vectors.n, vectors.bits());
	for (int n : probes)
	{
		dynamic_cast<faiss::IndexBinaryIVF &>(*index).nprobe = n;
		index->search(queries.n, queries.bits(), k, distances.data(), ids.data());
		print(n, queries.n, k, ids, distances);
	}
}

}

int main(int argc, char **argv)
{
	std::vector<int> probes;
	char kind[2] = "";

	if (argc < 6)
	{
		std::fprintf(stderr, "usage: answers MODEL VECTORS QUERIES k nprobe...\n");
		return 2;
	}
	for (int i = 5; i < argc; i++)
		probes.push_back(std::atoi(argv[i]));
	try
	{
		/* kinds of binary indexes begin with IB */
		std::ifstream(argv[1], std::ios::binary).read(kind, 2);
		if (kind[1] == 'B')
			answer_bits(argv, std::atoi(argv[4]), probes);
		else
			answer_floats(argv, std::atoi(argv[4]), probes);
	}
	catch (const std::exception &e)
	{
		std::fprintf(stderr, "%s\n", e.what());
		return 1;
	}
	return 0;
}
