/* SPDX-License-Identifier: Apache-2.0 */
/* server/webhooks: which addresses are public, and signatures. The calls themselves are tested on the program, in tests/blackbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "webhooks/signature.h"
#include "webhooks/target.h"

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (strchr(text, ':')) {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        return target_is_public((const struct sockaddr *)&v6);
    }
    assert_int_equal(inet_pton(AF_INET, text, &v4.sin_addr), 1);
    return target_is_public((const struct sockaddr *)&v4);
}

/* The first and the last address of each block, and their neighbours outside. */
static void addresses(void **state)
{
    (void)state;
    static const char *const yes[] = {
        "1.0.0.0",         "9.255.255.255",   "11.0.0.0",     "100.63.255.255",  "100.128.0.0",      "126.255.255.255",
        "128.0.0.0",       "169.253.255.255", "169.255.0.0",  "172.15.255.255",  "172.32.0.0",       "192.0.1.0",
        "192.0.3.0",       "192.88.98.255",   "192.88.100.0", "192.167.255.255", "192.169.0.0",      "198.17.255.255",
        "198.20.0.0",      "198.51.99.255",   "198.51.101.0", "203.0.112.255",   "203.0.114.0",      "223.255.255.255",
        "8.8.8.8",         "2000::1",         "2001:200::1",  "2001:db7::1",     "2001:db9::1",      "2003::1",
        "2606:4700::1111", "3ffe::1",         "3fff:1000::1", "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8",
    };
    static const char *const no[] = {
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.0",
        "127.255.255.255",
        "169.254.0.0",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.255",
        "192.0.2.0",
        "192.0.2.255",
        "192.88.99.0",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.0",
        "203.0.113.255",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",
        "::ffff:10.0.0.1",
        "::ffff:0:8.8.8.8",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "1fff::1",
        "2001::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2001:db8:ffff::",
        "2002:808:808::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    };
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!is_public(yes[i]))
            fail_msg("%s is public", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (is_public(no[i]))
            fail_msg("%s is not public", no[i]);
    const struct sockaddr local = {.sa_family = AF_UNIX};
    assert_false(target_is_public(&local));
}

/* The example of the specification of Standard Webhooks, from a file that has another secret, too. */
static void signatures(void **state)
{
    (void)state;
    static const char
        file[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\n# to come\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n";
    static const char first[] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,";
    char path[] = "/tmp/h5pt-test-secret-XXXXXX";
    struct signature_secrets secrets;
    struct strbuf text = STRBUF_INIT;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, file, sizeof file - 1), sizeof file - 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(signature_read_secrets(path, &secrets, NULL), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(secrets.count, 2);
    assert_int_equal(secrets.list[0].size, 24);
    assert_int_equal(secrets.list[1].size, 26);
    signature_add(&secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", &text);
    assert_memory_equal(strbuf_text(&text), first, sizeof first - 1);
    assert_int_equal(strlen(strbuf_text(&text)), sizeof first - 1 + 44);
    strbuf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(addresses), cmocka_unit_test(signatures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
