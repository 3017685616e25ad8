/*
 * train.cpp
 *		Trains a model with faiss: a program, which the server runs.
 *
 * It reads one job, a JSON object, from stdin to its end:
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
 * On stdout it prints JSON objects, one a line: {"progress": {"phase": ...}}, and at
 * last {"result": {"bytes": b, "seconds": s}} with status 0 or {"error": {"code": c,
 * "message": m}} with status 1.  It ends with its parent, and on SIGTERM.
 */
#include <faiss/IndexBinaryFlat.h>
#include <faiss/IndexBinaryIVF.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/index_io.h>
#include <json-c/json.h>
#include <omp.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

/* An error that the server passes on. */
struct Failure : std::runtime_error
{
	std::string code;
	Failure(const char *c, const std::string &message) : std::runtime_error(message), code(c) {}
};

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
		throw Failure("bad_job", std::string("member \"") + name + "\" is missing or of another type");
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
		throw Failure("bad_job", std::string("member \"") + name + "\" is out of range");
	return value;
}

void only(json_object *object, const std::set<std::string> &names)
{
	json_object_object_foreach(object, key, value)
	{
		(void) value;
		if (!names.count(key))
			throw Failure("bad_job", std::string("member \"") + key + "\" is not known");
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
		throw Failure("bad_job", "the job is not a JSON object");
	only(root.get(), {"job", "version", "vectors", "result", "dimension", "count", "data_type",
		"space", "method", "threads", "memory_limit"});
	if (text(root.get(), "job") != "train" || number(root.get(), "version", 0, INT32_MAX) != 1)
		throw Failure("bad_job", "the job is not a training of version 1");
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
		throw Failure("bad_job", "method \"" + job.method + "\" is not known");
	if (job.encoder == "pq")
	{
		json_object *pq = member(encoder, "parameters", json_type_object);
		only(pq, {"m", "code_size"});
		job.pq_m = number(pq, "m", 1, job.dimension);
		job.code_size = number(pq, "code_size", 1, 8);
		if (job.dimension % job.pq_m != 0)
			throw Failure("bad_job", "m of encoder pq does not divide the dimension");
	}
	else if (job.encoder != "flat" && job.encoder != "sq" && job.encoder != "binary")
		throw Failure("bad_job", "encoder \"" + job.encoder + "\" is not known");
	if (job.method == "hnsw" && job.encoder != "pq")
		throw Failure("bad_job", "method hnsw needs no training without encoder pq");
	if (job.data_type != "float" && job.data_type != "byte" && job.data_type != "binary")
		throw Failure("bad_job", "data type \"" + job.data_type + "\" is not known");
	if (job.data_type == "binary" ? job.space != "hamming" :
		job.space != "l2" && job.space != "innerproduct" && job.space != "cosinesimil")
		throw Failure("bad_job", "space \"" + job.space + "\" is not for data type " + job.data_type);
	if (job.data_type != "float" && (job.method != "ivf" || job.encoder != "flat"))
		throw Failure("bad_job", "data type " + job.data_type + " needs method ivf with encoder flat");
	if (job.data_type == "binary" && job.dimension % 8 != 0)
		throw Failure("bad_job", "the dimension of binary vectors is not a multiple of 8");
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
			throw Failure("io", "could not open \"" + job.vectors + "\": " + std::strerror(errno));
		size = static_cast<size_t>(bytes * job.count);
		if (static_cast<size_t>(st.st_size) != size)
		{
			close(fd);
			throw Failure("bad_input", "\"" + job.vectors + "\" has " + std::to_string(st.st_size) +
				" bytes instead of " + std::to_string(size));
		}
		if (size > 0)
			data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
		close(fd);
		if (data == MAP_FAILED)
			throw Failure("io", "could not map \"" + job.vectors + "\": " + std::strerror(errno));
	}
	~Vectors()
	{
		if (size > 0)
			munmap(data, size);
	}
	Vectors(const Vectors &) = delete;
	Vectors &operator=(const Vectors &) = delete;
};

void phase(const char *name)
{
	std::printf("{\"progress\":{\"phase\":\"%s\"}}\n", name);
	std::fflush(stdout);
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
		throw Failure("out_of_memory", "the training needs about " + std::to_string(need / 1024 + 1) +
			" kB of memory, and may take " + std::to_string(job.memory_limit / 1024) + " kB");
}

void check_count(const Job &job)
{
	/* below that faiss fails; OpenSearch says so of pq */
	if (job.encoder == "pq" && job.count < (int64_t(1) << job.code_size))
		throw Failure("bad_input", "Number of training points should be greater than " +
			std::to_string(int64_t(1) << job.code_size));
	if (job.method == "ivf" && job.count < job.nlist)
		throw Failure("bad_input", "Number of training points (" + std::to_string(job.count) +
			") should be at least as large as number of clusters (" + std::to_string(job.nlist) + ")");
}

std::unique_ptr<faiss::Index> train_floats(const Job &job, const float *x)
{
	auto metric = job.space == "l2" ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
	int d = static_cast<int>(job.dimension);
	std::unique_ptr<faiss::Index> index;

	if (job.method == "hnsw")
	{
		auto *hnsw = new faiss::IndexHNSWPQ(d, static_cast<int>(job.pq_m), static_cast<int>(job.m));
		index.reset(hnsw);
		hnsw->metric_type = hnsw->storage->metric_type = metric;
		hnsw->hnsw.efConstruction = static_cast<int>(job.ef_construction);
		hnsw->hnsw.efSearch = static_cast<int>(job.ef_search);
	}
	else
	{
		std::unique_ptr<faiss::Index> quantizer;
		faiss::IndexIVF *ivf;

		if (metric == faiss::METRIC_L2)
			quantizer.reset(new faiss::IndexFlatL2(d));
		else
			quantizer.reset(new faiss::IndexFlatIP(d));
		if (job.encoder == "pq")
			ivf = new faiss::IndexIVFPQ(quantizer.get(), d, job.nlist, job.pq_m, job.code_size, metric);
		else if (job.encoder == "sq")
			ivf = new faiss::IndexIVFScalarQuantizer(quantizer.get(), d, job.nlist,
				faiss::ScalarQuantizer::QT_fp16, metric);
		else
			/* binary codes are made by the index: what is learned are the lists */
			ivf = new faiss::IndexIVFFlat(quantizer.get(), d, job.nlist, metric);
		index.reset(ivf);
		quantizer.release();
		ivf->own_fields = true;
		ivf->nprobe = job.nprobes;
		ivf->make_direct_map();
	}
	index->train(job.count, x);
	return index;
}

void put_result(const Job &job, const std::string &part)
{
	if (std::rename(part.c_str(), job.result.c_str()) != 0)
		throw Failure("io", "could not rename \"" + part + "\": " + std::strerror(errno));
}

void train(const Job &job)
{
	std::string part = job.result + ".part";

	phase("read");
	check_count(job);
	check_memory(job);
	Vectors vectors(job);
	phase("train");
	if (job.data_type == "binary")
	{
		int d = static_cast<int>(job.dimension);
		auto *quantizer = new faiss::IndexBinaryFlat(d);
		faiss::IndexBinaryIVF index(quantizer, d, job.nlist);
		index.own_fields = true;
		index.nprobe = job.nprobes;
		index.train(job.count, static_cast<const uint8_t *>(vectors.data));
		phase("write");
		faiss::write_index_binary(&index, part.c_str());
	}
	else
	{
		std::vector<float> floats;
		const float *x = static_cast<const float *>(vectors.data);
		if (job.data_type == "byte")
		{
			auto *bytes = static_cast<const int8_t *>(vectors.data);
			floats.assign(bytes, bytes + job.count * job.dimension);
			x = floats.data();
		}
		auto index = train_floats(job, x);
		phase("write");
		faiss::write_index(index.get(), part.c_str());
	}
	put_result(job, part);
}

void print_error(const char *code, const char *message)
{
	Json object(json_object_new_object(), json_object_put);
	json_object *error = json_object_new_object();
	json_object_object_add(error, "code", json_object_new_string(code));
	json_object_object_add(error, "message", json_object_new_string(message));
	json_object_object_add(object.get(), "error", error);
	std::printf("%s\n", json_object_to_json_string_ext(object.get(), JSON_C_TO_STRING_PLAIN));
	std::fflush(stdout);
}

}

int main()
{
	auto begun = std::chrono::steady_clock::now();
	pid_t parent = getppid();
	Job job;

	/* whoever waits for the result is gone when the parent is */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return 1;
	umask(0077);
	/* when memory runs out, this is what to kill, not the server */
	if (FILE *f = std::fopen("/proc/self/oom_score_adj", "w"))
	{
		std::fputs("500", f);
		std::fclose(f);
	}
	try
	{
		struct stat st;
		job = read_job();
		omp_set_num_threads(static_cast<int>(job.threads));
		train(job);
		if (stat(job.result.c_str(), &st) != 0)
			throw Failure("io", "the result is not there");
		std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
		std::printf("{\"result\":{\"bytes\":%lld,\"seconds\":%.3f}}\n",
			static_cast<long long>(st.st_size), seconds.count());
		std::fflush(stdout);
		return 0;
	}
	catch (const Failure &e)
	{
		print_error(e.code.c_str(), e.what());
	}
	catch (const std::bad_alloc &)
	{
		print_error("out_of_memory", "out of memory");
	}
	catch (const std::exception &e)
	{
		print_error("internal", e.what());
	}
	if (!job.result.empty())
		unlink((job.result + ".part").c_str());
	return 1;
}
