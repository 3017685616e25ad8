/*
 * train.cpp
 *		Trains a model with faiss: the program knn-train, which knn-builder becomes
 *		for its command "train".
 *
 * It reads one job, a JSON object, from standard input to its end:
 *
 *	{"job": "train", "version": 1, "vectors": path, "result": path, "dimension": d,
 *	 "count": n, "data_type": "float" | "byte" | "binary",
 *	 "space": "l2" | "innerproduct" | "cosinesimil" | "hamming",
 *	 "method": {"name": "ivf" | "hnsw", "parameters": {...}},
 *	 "threads": t, "memory_limit": bytes (0: none)}
 *
 * where vectors is a file of n vectors, row by row and little-endian (float32, int8 or
 * packed bits; normalised where the space is cosinesimil), and the method names all of
 * its parameters.  The result is faiss's file of the trained index without vectors,
 * renamed into place when it is whole.
 *
 * What it prints, and how it ends, is as of knn-builder's other commands (output.h).
 * Phases are "read", "cluster" and "codebook", which count iterations of k-means, and
 * "write".
 */
#include <faiss/IndexBinaryFlat.h>
#include <faiss/IndexBinaryIVF.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/index_io.h>
#include <json-c/json.h>
#include <omp.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

extern "C" {
#include "builder/output.h"
}

namespace {

/* An error that the server passes on. */
struct Failure : std::runtime_error
{
	const char *code;
	std::string detail, hint;
	Failure(const char *c, const std::string &message, const std::string &d = "",
		const std::string &h = "") : std::runtime_error(message), code(c), detail(d), hint(h) {}
};

Failure system_failure(const std::string &message)
{
	return Failure(errno == ENOMEM ? BUILDER_OUT_OF_MEMORY : BUILDER_IO, message, std::strerror(errno));
}

using Json = std::unique_ptr<json_object, int (*)(json_object *)>;

struct Job
{
	std::string vectors, result, data_type, space, method, encoder = "flat";
	int64_t dimension = 0, count = 0, threads = 1, memory_limit = 0;
	int64_t nlist = 4, nprobes = 1, m = 16, ef_construction = 100, ef_search = 100;
	int64_t pq_m = 1, code_size = 8;
};

json_object *member(json_object *object, const char *name, json_type type)
{
	json_object *value = nullptr;
	if (!json_object_object_get_ex(object, name, &value) || !json_object_is_type(value, type))
		throw Failure(BUILDER_BAD_JOB, std::string("member \"") + name + "\" is missing or of another type");
	return value;
}

std::string text(json_object *object, const char *name)
{
	return json_object_get_string(member(object, name, json_type_string));
}

int64_t number(json_object *object, const char *name, int64_t min, int64_t max)
{
	int64_t value = json_object_get_int64(member(object, name, json_type_int));
	if (value < min || value > max)
		throw Failure(BUILDER_BAD_JOB, std::string("member \"") + name + "\" is out of range");
	return value;
}

void only(json_object *object, const std::set<std::string> &names)
{
	json_object_object_foreach(object, key, value)
	{
		(void) value;
		if (!names.count(key))
			throw Failure(BUILDER_BAD_JOB, std::string("member \"") + key + "\" is not known");
	}
}

Job read_job()
{
	std::string input;
	char buffer[4096];
	size_t n;
	Job job;

	while ((n = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0)
		input.append(buffer, n);
	Json root(json_tokener_parse(input.c_str()), json_object_put);
	if (!root || !json_object_is_type(root.get(), json_type_object))
		throw Failure(BUILDER_BAD_JOB, "the job is not a JSON object");
	only(root.get(), {"job", "version", "vectors", "result", "dimension", "count", "data_type",
		"space", "method", "threads", "memory_limit"});
	if (text(root.get(), "job") != "train" || number(root.get(), "version", 0, INT32_MAX) != 1)
		throw Failure(BUILDER_BAD_JOB, "the job is not a training of version 1");
	job.vectors = text(root.get(), "vectors");
	job.result = text(root.get(), "result");
	job.data_type = text(root.get(), "data_type");
	job.space = text(root.get(), "space");
	job.dimension = number(root.get(), "dimension", 1, 1 << 20);
	job.count = number(root.get(), "count", 0, INT64_MAX / (4 << 20));
	job.threads = number(root.get(), "threads", 1, 1024);
	job.memory_limit = number(root.get(), "memory_limit", 0, INT64_MAX);

	json_object *method = member(root.get(), "method", json_type_object);
	only(method, {"name", "parameters"});
	job.method = text(method, "name");
	json_object *parameters = member(method, "parameters", json_type_object);
	json_object *encoder = member(parameters, "encoder", json_type_object);
	only(encoder, {"name", "parameters"});
	job.encoder = text(encoder, "name");
	if (job.method == "ivf")
	{
		only(parameters, {"nlist", "nprobes", "encoder"});
		job.nlist = number(parameters, "nlist", 1, INT32_MAX);
		job.nprobes = number(parameters, "nprobes", 1, INT32_MAX);
	}
	else if (job.method == "hnsw")
	{
		only(parameters, {"m", "ef_construction", "ef_search", "encoder"});
		job.m = number(parameters, "m", 2, 1000);
		job.ef_construction = number(parameters, "ef_construction", 1, INT32_MAX);
		job.ef_search = number(parameters, "ef_search", 1, INT32_MAX);
	}
	else
		throw Failure(BUILDER_BAD_JOB, "method \"" + job.method + "\" is not known");
	if (job.encoder == "pq")
	{
		json_object *pq = member(encoder, "parameters", json_type_object);
		only(pq, {"m", "code_size"});
		job.pq_m = number(pq, "m", 1, job.dimension);
		job.code_size = number(pq, "code_size", 1, 8);
		if (job.dimension % job.pq_m != 0)
			throw Failure(BUILDER_BAD_JOB, "m of encoder pq does not divide the dimension");
	}
	else if (job.encoder != "flat" && job.encoder != "sq" && job.encoder != "binary")
		throw Failure(BUILDER_BAD_JOB, "encoder \"" + job.encoder + "\" is not known");
	if (job.method == "hnsw" && job.encoder != "pq")
		throw Failure(BUILDER_BAD_JOB, "method hnsw needs no training without encoder pq");
	if (job.data_type != "float" && job.data_type != "byte" && job.data_type != "binary")
		throw Failure(BUILDER_BAD_JOB, "data type \"" + job.data_type + "\" is not known");
	if (job.data_type == "binary" ? job.space != "hamming" :
		job.space != "l2" && job.space != "innerproduct" && job.space != "cosinesimil")
		throw Failure(BUILDER_BAD_JOB, "space \"" + job.space + "\" is not for data type " + job.data_type);
	if (job.data_type != "float" && (job.method != "ivf" || job.encoder != "flat"))
		throw Failure(BUILDER_BAD_JOB, "data type " + job.data_type + " needs method ivf with encoder flat");
	if (job.data_type == "binary" && job.dimension % 8 != 0)
		throw Failure(BUILDER_BAD_JOB, "the dimension of binary vectors is not a multiple of 8");
	return job;
}

/* A file of vectors, read where it lies. */
struct Vectors
{
	void *data = nullptr;
	size_t size = 0;

	explicit Vectors(const Job &job)
	{
		int64_t bytes = job.data_type == "float" ? 4 * job.dimension :
			job.data_type == "byte" ? job.dimension : job.dimension / 8;
		struct stat st;
		int fd = open(job.vectors.c_str(), O_RDONLY);

		if (fd < 0 || fstat(fd, &st) != 0)
			throw system_failure("could not open \"" + job.vectors + "\"");
		size = static_cast<size_t>(bytes * job.count);
		if (static_cast<size_t>(st.st_size) != size)
		{
			close(fd);
			throw Failure(BUILDER_BAD_INPUT, "\"" + job.vectors + "\" has " + std::to_string(st.st_size) +
				" bytes instead of " + std::to_string(size));
		}
		if (size > 0)
			data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
		close(fd);
		if (data == MAP_FAILED)
			throw system_failure("could not map \"" + job.vectors + "\"");
	}
	~Vectors()
	{
		if (size > 0)
			munmap(data, size);
	}
	Vectors(const Vectors &) = delete;
	Vectors &operator=(const Vectors &) = delete;
};

/*
 * How far it is.  faiss tells nobody, but asks now and then within its longer loops
 * whether it should stop, so that there is always something to print.
 */
struct Progress : faiss::InterruptCallback
{
	std::thread::id thread = std::this_thread::get_id();
	const char *phase = "read";
	uint64_t done = 0, total = 0;

	void begin(const char *name, uint64_t of)
	{
		phase = name;
		done = 0;
		total = of;
		builder_progress(phase, done, total);
	}
	void step()
	{
		done = std::min(done + 1, total);
		builder_progress(phase, done, total);
	}
	bool want_interrupt() override
	{
		if (std::this_thread::get_id() == thread)
			builder_progress(phase, done, total);
		return false;
	}
};

/* There is one, which faiss keeps. */
Progress *progress;

/*
 * What k-means assigns vectors by: the centroids of an iteration are added to it, and
 * before the first those that were drawn.
 */
struct Centroids : faiss::IndexFlat
{
	const char *phase;
	uint64_t total;
	bool begun = false;

	Centroids(const char *name, uint64_t of, int64_t d, faiss::MetricType metric) :
		faiss::IndexFlat(d, metric), phase(name), total(of) {}
	void add(idx_t n, const float *x) override
	{
		faiss::IndexFlat::add(n, x);
		if (!begun)
			progress->begin(phase, total);
		begun = true;
		progress->step();
	}
};

/* Steps of n runs of k-means. */
uint64_t steps(const faiss::ClusteringParameters &cp, int64_t n)
{
	return static_cast<uint64_t>(n) * (static_cast<uint64_t>(cp.niter) + 1);
}

/*
 * What faiss takes: it draws up to 256 vectors a centroid, copies them, and
 * computes distances in blocks.
 */
void check_memory(const Job &job)
{
	int64_t centroids = job.method == "ivf" ? job.nlist : 0;
	int64_t codes = job.encoder == "pq" ? int64_t(1) << job.code_size : 0;
	int64_t drawn = std::min(job.count, 256 * std::max(centroids, codes));
	int64_t need = 4 * job.dimension * (2 * drawn + 2 * centroids);

	need += 8 * job.dimension * codes;
	if (job.data_type == "byte")
		need += 4 * job.dimension * job.count;
	if (job.memory_limit > 0 && need > job.memory_limit)
		throw Failure(BUILDER_OUT_OF_MEMORY, "the training needs about " + std::to_string(need / 1024 + 1) +
			" kB of memory, and may take " + std::to_string(job.memory_limit / 1024) + " kB", "",
			"Raise maintenance_work_mem.");
}

void check_count(const Job &job)
{
	/* below that faiss fails; OpenSearch says so of pq */
	if (job.encoder == "pq" && job.count < (int64_t(1) << job.code_size))
		throw Failure(BUILDER_BAD_INPUT, "Number of training points should be greater than " +
			std::to_string(int64_t(1) << job.code_size));
	if (job.method == "ivf" && job.count < job.nlist)
		throw Failure(BUILDER_BAD_INPUT, "Number of training points (" + std::to_string(job.count) +
			") should be at least as large as number of clusters (" + std::to_string(job.nlist) + ")");
}

/* Codebooks are learned one after the other, for parts of the dimension. */
std::unique_ptr<Centroids> watch(faiss::ProductQuantizer &pq)
{
	auto centroids = std::make_unique<Centroids>("codebook", steps(pq.cp, pq.M), pq.dsub,
		faiss::METRIC_L2);
	pq.assign_index = centroids.get();
	return centroids;
}

std::unique_ptr<faiss::Index> train_hnsw(const Job &job, faiss::MetricType metric, const float *x)
{
	auto index = std::make_unique<faiss::IndexHNSWPQ>(static_cast<int>(job.dimension),
		static_cast<int>(job.pq_m), static_cast<int>(job.m));
	faiss::ProductQuantizer &pq = dynamic_cast<faiss::IndexPQ *>(index->storage)->pq;
	auto codebooks = watch(pq);

	index->metric_type = index->storage->metric_type = metric;
	index->hnsw.efConstruction = static_cast<int>(job.ef_construction);
	index->hnsw.efSearch = static_cast<int>(job.ef_search);
	index->train(job.count, x);
	pq.assign_index = nullptr;
	return index;
}

std::unique_ptr<faiss::Index> train_ivf(const Job &job, faiss::MetricType metric, const float *x)
{
	int d = static_cast<int>(job.dimension);
	std::unique_ptr<faiss::Index> quantizer;
	std::unique_ptr<faiss::IndexIVF> ivf;
	std::unique_ptr<Centroids> codebooks;
	faiss::ProductQuantizer *pq = nullptr;

	if (metric == faiss::METRIC_L2)
		quantizer = std::make_unique<faiss::IndexFlatL2>(d);
	else
		quantizer = std::make_unique<faiss::IndexFlatIP>(d);
	if (job.encoder == "pq")
	{
		auto ivfpq = std::make_unique<faiss::IndexIVFPQ>(quantizer.get(), d, job.nlist, job.pq_m,
			job.code_size, metric);
		pq = &ivfpq->pq;
		codebooks = watch(*pq);
		ivf = std::move(ivfpq);
	}
	else if (job.encoder == "sq")
		ivf = std::make_unique<faiss::IndexIVFScalarQuantizer>(quantizer.get(), d, job.nlist,
			faiss::ScalarQuantizer::QT_fp16, metric);
	else
		/* binary codes are made by the index: what is learned are the lists */
		ivf = std::make_unique<faiss::IndexIVFFlat>(quantizer.get(), d, job.nlist, metric);
	quantizer.release();
	ivf->own_fields = true;
	ivf->nprobe = job.nprobes;
	ivf->make_direct_map();

	Centroids centroids("cluster", steps(ivf->cp, 1), d, metric);
	ivf->clustering_index = &centroids;
	ivf->train(job.count, x);
	ivf->clustering_index = nullptr;
	if (pq)
		pq->assign_index = nullptr;
	return ivf;
}

void put_result(const Job &job, const std::string &part)
{
	if (std::rename(part.c_str(), job.result.c_str()) != 0)
		throw system_failure("could not rename \"" + part + "\"");
}

void train(const Job &job, const std::string &part)
{
	progress->begin("read", 0);
	check_count(job);
	check_memory(job);
	Vectors vectors(job);
	if (job.data_type == "binary")
	{
		int d = static_cast<int>(job.dimension);
		auto *quantizer = new faiss::IndexBinaryFlat(d);
		faiss::IndexBinaryIVF index(quantizer, d, job.nlist);
		Centroids centroids("cluster", steps(index.cp, 1), d, faiss::METRIC_L2);
		index.own_fields = true;
		index.nprobe = job.nprobes;
		index.clustering_index = &centroids;
		index.train(job.count, static_cast<const uint8_t *>(vectors.data));
		index.clustering_index = nullptr;
		progress->begin("write", 0);
		faiss::write_index_binary(&index, part.c_str());
	}
	else
	{
		auto metric = job.space == "l2" ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
		std::vector<float> floats;
		const float *x = static_cast<const float *>(vectors.data);
		if (job.data_type == "byte")
		{
			auto *bytes = static_cast<const int8_t *>(vectors.data);
			floats.assign(bytes, bytes + job.count * job.dimension);
			x = floats.data();
		}
		auto index = job.method == "hnsw" ? train_hnsw(job, metric, x) : train_ivf(job, metric, x);
		progress->begin("write", 0);
		faiss::write_index(index.get(), part.c_str());
	}
	put_result(job, part);
}

[[noreturn]] void fail(const char *code, const std::string &message, const std::string &detail = "",
	const std::string &hint = "")
{
	builder_error error = {};

	error.code = code;
	std::snprintf(error.message, sizeof(error.message), "%s", message.c_str());
	std::snprintf(error.detail, sizeof(error.detail), "%s", detail.c_str());
	std::snprintf(error.hint, sizeof(error.hint), "%s", hint.c_str());
	builder_fail(&error);
}

}

int main()
{
	auto begun = std::chrono::steady_clock::now();

	umask(0077);
	builder_catch_signals();
	progress = new Progress;
	faiss::InterruptCallback::instance.reset(progress);
	try
	{
		struct stat st;
		Job job = read_job();
		/* the handler of signals has its name until the end */
		static std::string part = job.result + ".part";
		builder_unfinished(part.c_str());
		omp_set_num_threads(static_cast<int>(job.threads));
		train(job, part);
		if (stat(job.result.c_str(), &st) != 0)
			throw system_failure("the result is not there");
		std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
		builder_trained(static_cast<uint64_t>(st.st_size), seconds.count(),
			static_cast<uint32_t>(job.threads));
		return 0;
	}
	catch (const Failure &e)
	{
		fail(e.code, e.what(), e.detail, e.hint);
	}
	catch (const std::bad_alloc &)
	{
		fail(BUILDER_OUT_OF_MEMORY, "out of memory");
	}
	catch (const std::exception &e)
	{
		fail(BUILDER_INTERNAL, "faiss failed", e.what());
	}
}
