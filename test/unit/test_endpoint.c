/*
 * test_endpoint.c
 *		What URLs and regions are taken, and what is told of them.
 */
#include <stdlib.h>
#include <string.h>

#include "core/endpoint.h"
#include "unit.h"

/* In memory of its own size, for the sanitizer to see what is read beyond. */
static const char *
read_url(knn_endpoint *endpoint, const char *url)
{
	size_t		n = strlen(url);
	char	   *copy = malloc(n > 0 ? n : 1);
	const char *problem;

	memcpy(copy, url, n);
	problem = knn_endpoint_read(endpoint, copy, n);
	free(copy);
	return problem;
}

static void
test_good(void)
{
	static const struct
	{
		const char *url;
		size_t		length;
		bool		encrypted;
		bool		loopback;
	}			cases[] = {
		{"http://a", 8, false, false},
		{"https://a:1", 11, true, false},
		{"HTTP://A/b/", 10, false, false},
		{"https://s3.eu-central-1.example.com:65535/a%20b/c~d//", 51, true, false},
		{"http://[::1]:9000///", 17, false, true},
		{"https://[fe80::1%25eth0]", 24, true, false},
		{"http://[::2]/", 12, false, false},
		{"http://localhost:1025", 21, false, true},
		{"http://LocalHost/", 16, false, true},
		{"http://localhost.example.com", 28, false, false},
		{"http://127.0.0.1/a", 18, false, true},
		{"http://127.3.2.1:80", 19, false, true},
		{"http://127.example.com", 22, false, false},
		{"http://128.0.0.1", 16, false, false},
	};

	unit_case("endpoints: good ones");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		knn_endpoint endpoint;
		const char *problem = read_url(&endpoint, cases[i].url);

		UNIT_CHECK(problem == NULL && endpoint.length == cases[i].length &&
				   endpoint.encrypted == cases[i].encrypted && endpoint.loopback == cases[i].loopback,
				   "%s: %s %zu %d %d", cases[i].url, problem ? problem : "", endpoint.length,
				   endpoint.encrypted, endpoint.loopback);
	}
}

static void
test_bad(void)
{
	static const struct
	{
		const char *url;
		const char *problem;
	}			cases[] = {
		{"", "must begin with"}, {"a", "must begin with"}, {"ftp://a", "must begin with"},
		{"https:/a", "must begin with"}, {"http", "must begin with"},
		{"http://", "host"}, {"http:///a", "host"}, {"http://:80", "host"}, {"http://[::1", "host"},
		{"http://[]", "host"}, {"http://a%41", "host"}, {"http://a,b", "host"}, {"http://[a b]", "blanks"},
		{"http://a:", "port"}, {"http://a:0", "port"}, {"http://a:65536", "port"}, {"http://a:99999999999", "port"},
		{"http://a:8x", "port"}, {"http://a:-1", "port"}, {"http://[::1]9", "port"},
		{"http://u@a", "user name"}, {"http://u:p@a", "user name"}, {"http://a/b@c", "user name"},
		{"http://a?b", "must end"}, {"http://a/#b", "must end"},
		{"http://a/{b}", "must not have any"}, {"http://a/b|c", "must not have any"},
		{"http://a/\\", "must not have any"}, {"http://a/\"", "must not have any"}, {"http://a/^", "must not have any"},
		{"http://a/<", "must not have any"}, {"http://a/`", "must not have any"},
		{"http://a b", "blanks"}, {"http://a\n", "blanks"}, {"http://\xC3\xA4", "printable"}, {"http://a/\x7F", "printable"},
	};
	knn_endpoint endpoint;
	char		long_one[KNN_ENDPOINT_BYTES + 2];

	unit_case("endpoints: bad ones");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *problem = read_url(&endpoint, cases[i].url);

		UNIT_CHECK(problem != NULL && strstr(problem, cases[i].problem), "%s: %s", cases[i].url,
				   problem ? problem : "good");
	}
	UNIT_CHECK(knn_endpoint_read(&endpoint, "http://a\0b", 10) != NULL, "a zero");

	unit_case("endpoints: their length");
	memset(long_one, 'a', sizeof(long_one));
	memcpy(long_one, "http://a/", 9);
	long_one[KNN_ENDPOINT_BYTES + 1] = '\0';
	UNIT_CHECK(read_url(&endpoint, long_one) != NULL, "too long");
	long_one[KNN_ENDPOINT_BYTES] = '\0';
	UNIT_CHECK(read_url(&endpoint, long_one) == NULL && endpoint.length == KNN_ENDPOINT_BYTES, "not too long");
}

static void
test_regions(void)
{
	char		letters[KNN_REGION_BYTES + 1];

	unit_case("regions");
	memset(letters, 'a', sizeof(letters));
	UNIT_CHECK(knn_region_problem("eu-central-1", 12) == NULL && knn_region_problem("Region_1", 8) == NULL &&
			   knn_region_problem(letters, KNN_REGION_BYTES) == NULL, "good ones");
	UNIT_CHECK(knn_region_problem("", 0) && knn_region_problem("a.b", 3) && knn_region_problem("a/b", 3) &&
			   knn_region_problem("a b", 3) && knn_region_problem("a\0b", 3) &&
			   knn_region_problem(letters, KNN_REGION_BYTES + 1), "bad ones");
}

int
main(void)
{
	test_good();
	test_bad();
	test_regions();
	return unit_done("test_endpoint");
}
