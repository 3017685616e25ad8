/*
 * test_remote_text.c
 *		The texts of remote builds: URLs, XML, checksums, and answers of build services.
 */
#include <string.h>

#include "builder/http_text.h"
#include "builder/remote_job.h"
#include "unit.h"

static void
test_urls(void)
{
	static const struct
	{
		const char *text;
		const char *plain;
		const char *path;
	}			cases[] = {
		{"", "", ""},
		{"aZ09-._~", "aZ09-._~", "aZ09-._~"},
		{"a/b c", "a%2Fb%20c", "a/b%20c"},
		{"+=&?#%", "%2B%3D%26%3F%23%25", "%2B%3D%26%3F%23%25"},
		{"\xC3\xA4\x7F\x01", "%C3%A4%7F%01", "%C3%A4%7F%01"},
	};

	unit_case("encoding of URLs");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		to[64];

		UNIT_CHECK(builder_url_encode(to, sizeof(to), cases[i].text, false) &&
				   strcmp(to, cases[i].plain) == 0, "%s", to);
		UNIT_CHECK(builder_url_encode(to, sizeof(to), cases[i].text, true) &&
				   strcmp(to, cases[i].path) == 0, "%s", to);
		UNIT_CHECK(builder_url_encode(to, strlen(cases[i].plain) + 1, cases[i].text, false), "room");
		UNIT_CHECK(!builder_url_encode(to, strlen(cases[i].plain), cases[i].text, false), "no room");
	}
}

static void
test_endpoints(void)
{
	static const char *const good[] = {"http://a", "https://a:1", "HTTP://a/b/", "http://[::1]:9000///"};
	static const char *const bad[] = {"", "a", "ftp://a", "http://", "http:///a", "http://:80", "http://u@a",
	"http://a?b", "http://a#b", "http://a b", "http://a\n", "http://\xC3\xA4", "https:/a"};
	size_t		length;

	unit_case("endpoints");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		UNIT_CHECK(builder_endpoint_is_good(good[i], &length) && good[i][length - 1] != '/', "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		UNIT_CHECK(!builder_endpoint_is_good(bad[i], &length), "%s", bad[i]);
}

static void
check_element(const char *xml, const char *expected)
{
	char		to[16];
	bool		found = builder_xml_element(xml, strlen(xml), "Id", to, sizeof(to));

	UNIT_CHECK(found == (expected != NULL) && (!found || strcmp(to, expected) == 0),
			   "%s: %s", xml, found ? to : "nothing");
}

static void
test_xml(void)
{
	char		to[40];

	unit_case("elements of XML");
	check_element("<a><Id>x</Id></a>", "x");
	check_element("<Id></Id>", "");
	check_element("<Id>a&amp;&lt;&gt;&quot;&apos;&#34;b</Id>", "a&<>\"'\"b");
	check_element("<Id>&amp;amp;&</Id>", "&amp;&");
	check_element("<Id>123456789012345</Id>", "123456789012345");
	check_element("<Id>1234567890123456</Id>", NULL);
	check_element("<Id>a<b/></Id>", NULL);
	check_element("<Id>a", NULL);
	check_element("<Ids>a</Ids>", NULL);
	check_element("", NULL);
	UNIT_CHECK(!builder_xml_element("<Id>a\0</Id>", 11, "Id", to, sizeof(to)), "a zero byte");
	UNIT_CHECK(!builder_xml_element("<Id>a</Id>", 9, "Id", to, sizeof(to)), "beyond its end");
	UNIT_CHECK(builder_xml_escape(to, sizeof(to), "\"<&>'\"") &&
			   strcmp(to, "&quot;&lt;&amp;&gt;&apos;&quot;") == 0, "%s", to);
	UNIT_CHECK(!builder_xml_escape(to, 6, "\""), "no room");
}

static void
test_small_texts(void)
{
	char		text[40];
	uint64_t	number;

	unit_case("base64 and checksums");
	for (size_t n = 0; n <= 6; n++)
	{
		static const char *const expected[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

		builder_base64(text, "foobar", n);
		UNIT_CHECK(strcmp(text, expected[n]) == 0 && strlen(text) + 1 == BUILDER_BASE64(n), "%s", text);
	}
	builder_crc_text(text, 0xCBF43926);
	UNIT_CHECK(strcmp(text, "y/Q5Jg==") == 0, "%s", text);

	unit_case("ranges and numbers");
	UNIT_CHECK(builder_content_range_is("bytes 5-9/20", 5, 9, 20), "the range");
	UNIT_CHECK(!builder_content_range_is("bytes 5-9/21", 5, 9, 20), "another size");
	UNIT_CHECK(!builder_content_range_is("bytes 5-9/*", 5, 9, 20), "no size");
	UNIT_CHECK(!builder_content_range_is("", 5, 9, 20), "nothing");
	UNIT_CHECK(builder_whole_number("18446744073709551615", &number) && number == UINT64_MAX, "the last");
	UNIT_CHECK(!builder_whole_number("18446744073709551616", &number), "beyond");
	UNIT_CHECK(!builder_whole_number("", &number) && !builder_whole_number("-1", &number) &&
			   !builder_whole_number("1 ", &number), "no numbers");

	unit_case("what others said");
	builder_printable(text, sizeof(text), " a\n\x1B[31m\0b  c\xFF ", 15);
	UNIT_CHECK(strcmp(text, "a [31m b c") == 0, "\"%s\"", text);
	builder_printable(text, 4, "abcdef", 6);
	UNIT_CHECK(strcmp(text, "abc") == 0, "\"%s\"", text);
}

static void
check_id(const char *text, const char *expected)
{
	char		id[3 * BUILDER_REMOTE_TEXT];
	builder_error error;
	bool		ok = builder_remote_read_id(text, strlen(text), id, &error);

	UNIT_CHECK(ok == (expected != NULL) && (!ok || strcmp(id, expected) == 0), "%s", text);
	UNIT_CHECK(ok || strcmp(error.code, BUILDER_REMOTE) == 0, "%s", text);
}

static void
check_status(const char *text, int state, const char *name)
{
	builder_remote_status status;
	builder_error error;
	bool		ok = builder_remote_read_status(text, strlen(text), &status, &error);

	UNIT_CHECK(ok == (state >= 0), "%s", text);
	UNIT_CHECK(!ok || ((int) status.state == state && strcmp(status.file_name, name) == 0), "%s", text);
	UNIT_CHECK(ok || (strcmp(error.code, BUILDER_REMOTE) == 0 && error.message[0] != '\0'), "%s", text);
}

static void
test_answers(void)
{
	unit_case("answers to requests to build");
	check_id("{\"job_id\": \"4/711\"}", "4%2F711");
	check_id(" {\"job_id\":\"x\"} \n", "x");
	check_id("{\"job_id\":\"x\",\"b\":1}", NULL);
	check_id("{\"job_id\":null}", NULL);
	check_id("{\"job_id\":\"\\t \"}", NULL);
	check_id("{\"job_id\":\".\"}", NULL);
	check_id("{'job_id':'x'}", NULL);
	check_id("{\"job_id\":\"x\"", NULL);
	check_id("", NULL);

	unit_case("answers about a build");
	check_status("{\"task_status\":\"RUNNING_INDEX_BUILD\"}", BUILDER_REMOTE_RUNNING, "");
	check_status("{\"task_status\":\"RUNNING_INDEX_BUILD\",\"file_name\":null,\"error_message\":null}",
				 BUILDER_REMOTE_RUNNING, "");
	check_status("{\"task_status\":\"FAILED_INDEX_BUILD\",\"error_message\":\"x\"}", BUILDER_REMOTE_FAILED, "");
	check_status("{\"task_status\":\"COMPLETED_INDEX_BUILD\",\"file_name\":\"a b.faiss\"}",
				 BUILDER_REMOTE_COMPLETED, "a b.faiss");
	check_status("{\"task_status\":\"COMPLETED_INDEX_BUILD\",\"file_name\":\"a/b.faiss\"}", -1, "");
	check_status("{\"task_status\":\"COMPLETED_INDEX_BUILD\",\"file_name\":\"..faiss\"}", -1, "");
	check_status("{\"task_status\":\"COMPLETED_INDEX_BUILD\",\"file_name\":\".faiss\"}", -1, "");
	check_status("{\"task_status\":\"COMPLETED_INDEX_BUILD\",\"file_name\":\"a\\\\b.faiss\"}", -1, "");
	check_status("{\"task_status\":\"COMPLETED_INDEX_BUILD\"}", -1, "");
	check_status("{\"task_status\":\"running_index_build\"}", -1, "");
	check_status("{\"file_name\":\"a.faiss\"}", -1, "");
}

static void
test_limit(void)
{
	builder_job job = {.dimension = 768, .count = 1000000, .m = 16};

	unit_case("limit of a result's size");
	/* as floats with twice the links, ids and all: 1000000 * (3072 + 4 * 64 + 50) */
	UNIT_CHECK(builder_remote_result_limit(&job) > UINT64_C(3400000000), "too little");
	UNIT_CHECK(builder_remote_result_limit(&job) < UINT64_C(10000000000), "too much");
	job = (builder_job) {.dimension = 16000, .count = UINT32_MAX, .m = 1024};
	UNIT_CHECK(builder_remote_result_limit(&job) < INT64_MAX, "overflow");
}

int
main(void)
{
	test_urls();
	test_endpoints();
	test_xml();
	test_small_texts();
	test_answers();
	test_limit();
	return unit_done("test_remote_text");
}
