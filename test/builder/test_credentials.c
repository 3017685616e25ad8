/*
 * test_credentials.c
 *		What is said about the credentials of a machine.
 */
#include <string.h>

#include "builder/instance_text.h"
#include "unit.h"

static void
test_times(void)
{
	static const struct
	{
		const char *text;
		int64_t		seconds;
	}			good[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2001-09-09T01:46:40Z", 1000000000},
		{"2024-02-29T23:59:59.999Z", 1709251199},
		{"2100-03-01T00:00:00+00:00", 4107542400},
		{"2001-09-09T03:46:40+02:00", 1000000000},
		{"2001-09-08T20:16:40.5-05:30", 1000000000},
	};
	static const char *const bad[] = {"", "2026", "2026-01-01", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00",
		"2026-01-01T00:00:00z", "2026-01-01T00:00:00Zx", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
		"2026-02-29T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
		"2026-01-01T00:00:60Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+01",
		"+026-01-01T00:00:00Z", "1767225600"};
	int64_t		seconds;

	unit_case("times");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		UNIT_CHECK(builder_time_read(good[i].text, &seconds) && seconds == good[i].seconds, "%s: %lld",
				   good[i].text, (long long) seconds);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		UNIT_CHECK(!builder_time_read(bad[i], &seconds), "%s", bad[i]);
}

static void
test_urls(void)
{
	static const char *const good[] = {"http://localhost/x", "http://LOCALHOST:80", "http://127.0.0.1:1/x?a=1",
		"http://127.255.0.9", "http://[::1]:8080/x", "http://[0:0::1]", "http://169.254.170.2/v2",
		"http://169.254.170.23/v1/credentials", "http://[fd00:ec2::23]/v1", "HTTPS://anywhere.example.com:8443/x",
		"https://[2001:db8::1]/", "https://10.0.0.1?a"};
	static const char *const bad[] = {"", "x", "ftp://localhost", "http://", "http:///x", "http://:80/",
		"http://localhost.example.com", "http://example.com", "http://169.254.169.254/", "http://169.254.170.20/",
		"http://128.0.0.1", "http://127.0.0.1.", "http://127.1", "http://0177.0.0.1", "http://127.0.0.1%2e", "http://[::1",
		"http://[::2]", "http://[fd00:ec2::254]/", "http://[::1]x/", "http://[::ffff:127.0.0.1]", "http://::1/",
		"http://127.0.0.1:8x/", "http://a@127.0.0.1/", "http://127.0.0.1@example.com/", "http://127.0.0.1\\@x",
		"http://127.0.0.1#x", "http://127.0.0.1/a b", "http://127.0.0.1/\n", "https://", "https:///x", "https://[::1"};

	unit_case("URLs that credentials are asked for at");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		UNIT_CHECK(builder_container_url_is_good(good[i]), "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		UNIT_CHECK(!builder_container_url_is_good(bad[i]), "%s", bad[i]);
}

static void
test_roles(void)
{
	static const char *const bad[] = {"", "\n", "a b", "a/b", "../a", ".", "a\tb", "\xC3\xA4", "a%2Fb"};
	char		longest[BUILDER_ROLE_NAME + 1];
	char		name[BUILDER_ROLE_NAME];

	unit_case("names of roles");
	UNIT_CHECK(builder_role_read("a+=,.@-_9\nb", 11, name) && strcmp(name, "a+=,.@-_9") == 0, "%s", name);
	UNIT_CHECK(builder_role_read("ab", 1, name) && strcmp(name, "a") == 0, "%s", name);
	UNIT_CHECK(builder_role_read("a\r\nb", 4, name) && strcmp(name, "a") == 0, "%s", name);
	memset(longest, 'x', sizeof(longest));
	UNIT_CHECK(builder_role_read(longest, BUILDER_ROLE_NAME - 1, name), "the longest");
	UNIT_CHECK(!builder_role_read(longest, BUILDER_ROLE_NAME, name), "too long");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		UNIT_CHECK(!builder_role_read(bad[i], strlen(bad[i]), name), "%s", bad[i]);
}

/* What is wrong with an answer is told without its secrets. */
static void
check_refused(const char *text, const char *says)
{
	builder_lease lease;
	builder_error error;

	UNIT_CHECK(!builder_lease_read(&lease, text, strlen(text), &error), "%s", text);
	UNIT_CHECK(strstr(error.message, says) && strcmp(error.code, BUILDER_REPOSITORY) == 0, "%s", error.message);
	UNIT_CHECK(!strstr(error.message, "hidden") && !strstr(error.detail, "hidden") &&
			   !strstr(error.hint, "hidden"), "%s %s", error.message, error.detail);
	UNIT_CHECK(lease.access_key == NULL && lease.secret_key == NULL && lease.token == NULL, "left");
}

static void
test_answers(void)
{
	static const char good[] = "{\"Code\":\"Success\",\"New\":[1],\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"SK\","
		"\"Token\":\"T\",\"Expiration\":\"2001-09-09T01:46:40Z\"} and more";
	builder_lease lease;
	builder_error error;

	unit_case("answers of metadata services");
	UNIT_CHECK(builder_lease_read(&lease, good, strlen(good) - strlen(" and more"), &error), "%s", error.message);
	UNIT_CHECK(strcmp(lease.access_key, "AK") == 0 && strcmp(lease.secret_key, "SK") == 0 &&
			   strcmp(lease.token, "T") == 0 && lease.expires == 1000000000, "values");
	builder_lease_free(&lease);
	UNIT_CHECK(lease.secret_key == NULL, "freed");
	check_refused(good, "no JSON object");
	check_refused("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hidden\"}", "has no \"Expiration\"");
	check_refused("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hidden hidden\",\"Expiration\":\"2001-09-09T01:46:40Z\"}",
				  "\"SecretAccessKey\" of the answer of the metadata service has blanks");
	check_refused("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hidden\",\"Token\":[\"hidden\"],\"Expiration\":\"x\"}",
				  "\"Token\" of the answer of the metadata service is no text");
	check_refused("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"hidden\",\"Expiration\":\"hidden\"}", "is no time");
	check_refused("{\"Code\":\"Failed\",\"SecretAccessKey\":\"hidden\"}", "has no credentials: Failed");
	check_refused("{\"SecretAccessKey\":\"hidden\"", "no JSON object");
}

int
main(void)
{
	test_times();
	test_urls();
	test_roles();
	test_answers();
	return unit_done("test_credentials");
}
