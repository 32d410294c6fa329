/*
 * Ciphers, modes, vectors, digests, PBKDF2 and the splitter against published values (FIPS 197,
 * IEEE 1619, RFC 2144, RFC 6070, the ciphers' papers) and against values that OpenSSL and Python
 * computed from the same definitions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "ref/base/base64.h"
#include "ref/base/mem.h"
#include "ref/engine/clock.h"
#include "ref/format/crypto/cipher.h"

static void unhex(const char *hex, uint8_t *out)
{
    for (size_t i = 0; hex[2 * i]; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t)v;
    }
}

static void expect_hex(const uint8_t *p, const char *hex)
{
    uint8_t want[256];
    assert_true(strlen(hex) / 2 <= sizeof(want));
    unhex(hex, want);
    assert_memory_equal(p, want, strlen(hex) / 2);
}

static void fill_sector(uint8_t *buf)
{
    for (unsigned i = 0; i < CRYPT_SECTOR; i++) {
        buf[i] = (uint8_t)i;
    }
}

/* One block of each cipher, as its authors give it. */
static void test_blocks(void **state)
{
    static const struct {
        enum crypt_alg alg;
        const char *key, *plain, *cipher;
    } cases[] = {
        {ALG_AES_128, "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff",
         "69c4e0d86a7b0430d8cdb78070b4c55a"},
        {ALG_AES_192, "000102030405060708090a0b0c0d0e0f1011121314151617",
         "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191"},
        {ALG_AES_256, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
         "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089"},
        {ALG_CAST5_128, "0123456712345678234567893456789a", "0123456789abcdef", "238b4fe5847e44b2"},
        {ALG_TWOFISH_128, "00000000000000000000000000000000", "00000000000000000000000000000000",
         "9f589f5cf6122c32b6bfec2f2ae8c35a"},
        {ALG_TWOFISH_192, "0123456789abcdeffedcba98765432100011223344556677",
         "00000000000000000000000000000000", "cfd1d2e5a9be9cdf501f13b892bd2248"},
        {ALG_TWOFISH_256, "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
         "00000000000000000000000000000000", "37527be0052334b89f0cfccae87cfa20"},
        {ALG_SERPENT_128, "000102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0f",
         "4c7d8a328072a22c823e4a1f3acda16d"},
        {ALG_SERPENT_256, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
         "000102030405060708090a0b0c0d0e0f", "de269ff833e432b85b2e88d2701ce75c"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t key[64], buf[CRYPT_SECTOR], plain[CRYPT_SECTOR];
        struct crypt_suite s = {.alg = cases[i].alg, .mode = MODE_ECB, .ivgen = IV_PLAIN};
        size_t block = strlen(cases[i].plain) / 2;
        unhex(cases[i].key, key);
        for (size_t pos = 0; pos < CRYPT_SECTOR; pos += block) {
            unhex(cases[i].plain, buf + pos);
        }
        memcpy(plain, buf, sizeof(buf));
        struct crypt_cipher *c = crypt_cipher_new(&s, key);
        crypt_cipher_run(c, true, 0, buf, CRYPT_SECTOR);
        expect_hex(buf, cases[i].cipher);
        expect_hex(buf + CRYPT_SECTOR - block, cases[i].cipher);
        crypt_cipher_run(c, false, 0, buf, CRYPT_SECTOR);
        assert_memory_equal(buf, plain, CRYPT_SECTOR);
        crypt_cipher_free(c);
    }
}

/* Sector 0x123456789 of bytes 0, 1, ... under the key 0x10, 0x11, ...: the SHA-256 of it. */
static void test_modes(void **state)
{
    static const struct {
        enum crypt_alg alg;
        enum crypt_mode mode;
        enum crypt_ivgen ivgen;
        const char *digest;
    } cases[] = {
        {ALG_AES_128, MODE_ECB, IV_PLAIN, "607ad108fff9dd9b3230a4652e3ed78a"},
        {ALG_AES_128, MODE_CBC, IV_PLAIN, "803d7d25fef30e3bd45efc299a0ee181"},
        {ALG_AES_128, MODE_CBC, IV_PLAIN64, "5b25854fc7c48452a708c77df4764517"},
        {ALG_AES_128, MODE_CBC, IV_ESSIV, "f645da92ac689de65fc6653c6b764a5f"},
        {ALG_AES_128, MODE_CTR, IV_PLAIN, "fa5ee6d29ae5f360c0668026a13070f6"},
        {ALG_AES_128, MODE_CTR, IV_PLAIN64, "79b367b4dd9cb0fc709cca3446a1416a"},
        {ALG_AES_128, MODE_CTR, IV_ESSIV, "10af98762d5eb3ebd537ed37f24349ab"},
        {ALG_AES_128, MODE_XTS, IV_PLAIN, "89d784e77aeee7603fc4066003b332a7"},
        {ALG_AES_128, MODE_XTS, IV_PLAIN64, "f75f0c2ff89ac087d182962af4f22a3d"},
        {ALG_AES_128, MODE_XTS, IV_ESSIV, "b37285aa3692ba9d6df2b8e239d0874f"},
        {ALG_AES_192, MODE_ECB, IV_PLAIN, "c523ecf8c9896d6582bae93210d0b594"},
        {ALG_AES_192, MODE_CBC, IV_PLAIN, "d9be3fedec064804aee72a95089659d6"},
        {ALG_AES_192, MODE_CBC, IV_PLAIN64, "b931f05b0277624661c4ae535799cfb8"},
        {ALG_AES_192, MODE_CBC, IV_ESSIV, "53d3236d6c4756f484018422e1272213"},
        {ALG_AES_192, MODE_CTR, IV_PLAIN, "31ad61622298a3190c211b9e7ca317a6"},
        {ALG_AES_192, MODE_CTR, IV_PLAIN64, "efceef1ba504433d7aa4506de00e51c1"},
        {ALG_AES_192, MODE_CTR, IV_ESSIV, "c27dfd5b0139b9cdf1e51c6d6c064b86"},
        {ALG_AES_192, MODE_XTS, IV_PLAIN, "1da42f1826fa798dc917b24283880701"},
        {ALG_AES_192, MODE_XTS, IV_PLAIN64, "1d093005eee4ec97fe150e073fe0a624"},
        {ALG_AES_192, MODE_XTS, IV_ESSIV, "017029a6173b1971140ce81cc0334a41"},
        {ALG_AES_256, MODE_ECB, IV_PLAIN, "bdcf34c13863d5ea6aa8df42ee317bcf"},
        {ALG_AES_256, MODE_CBC, IV_PLAIN, "536f11275fdebdee274dc620e89c0dca"},
        {ALG_AES_256, MODE_CBC, IV_PLAIN64, "9972fdb61353a60c855140c07551c0fa"},
        {ALG_AES_256, MODE_CBC, IV_ESSIV, "1faa7f9b0db45646fb6b96fb48773f1d"},
        {ALG_AES_256, MODE_CTR, IV_PLAIN, "0cfedeb06e058d37e6ab45e2d03a9e74"},
        {ALG_AES_256, MODE_CTR, IV_PLAIN64, "58e4a627559c69e7c3169f35d1c82fe2"},
        {ALG_AES_256, MODE_CTR, IV_ESSIV, "859926507a60626431ff63a3ab4df58f"},
        {ALG_AES_256, MODE_XTS, IV_PLAIN, "d7be4967ee9454255c890f48274778e1"},
        {ALG_AES_256, MODE_XTS, IV_PLAIN64, "7cf9a79710192435589d505eb1cc7be2"},
        {ALG_AES_256, MODE_XTS, IV_ESSIV, "c6c4c30055c312fbd3018afffee36c57"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct crypt_suite s = {.alg = cases[i].alg,
                                .mode = cases[i].mode,
                                .ivgen = cases[i].ivgen,
                                .ivgen_hash = HASH_SHA256};
        uint8_t key[64], buf[CRYPT_SECTOR], plain[CRYPT_SECTOR], digest[CRYPT_MAX_DIGEST];
        for (unsigned k = 0; k < sizeof(key); k++) {
            key[k] = (uint8_t)(0x10 + k);
        }
        fill_sector(plain);
        memcpy(buf, plain, sizeof(buf));
        struct crypt_cipher *c = crypt_cipher_new(&s, key);
        crypt_cipher_run(c, true, UINT64_C(0x123456789), buf, sizeof(buf));
        crypt_digest(HASH_SHA256, buf, sizeof(buf), digest);
        expect_hex(digest, cases[i].digest);
        crypt_cipher_run(c, false, UINT64_C(0x123456789), buf, sizeof(buf));
        assert_memory_equal(buf, plain, sizeof(buf));
        crypt_cipher_free(c);
    }
}

/* IEEE 1619, vector 4: the first and the last bytes. */
static void test_xts(void **state)
{
    struct crypt_suite s = {.alg = ALG_AES_128, .mode = MODE_XTS, .ivgen = IV_PLAIN64};
    uint8_t key[32], buf[CRYPT_SECTOR];
    unhex("2718281828459045235360287471352631415926535897932384626433832795", key);
    fill_sector(buf);
    struct crypt_cipher *c = crypt_cipher_new(&s, key);
    crypt_cipher_run(c, true, 0, buf, sizeof(buf));
    expect_hex(buf, "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c");
    expect_hex(buf + CRYPT_SECTOR - 16, "0a282df920147beabe421ee5319d0568");
    crypt_cipher_free(c);
}

/* Many sectors in one call are the sectors one by one, in every mode of every cipher. */
static void test_runs(void **state)
{
    enum { SECTORS = 19 };
    static uint8_t buf[SECTORS * CRYPT_SECTOR], one[SECTORS * CRYPT_SECTOR],
        plain[SECTORS * CRYPT_SECTOR];
    uint8_t key[64];
    for (unsigned k = 0; k < sizeof(key); k++) {
        key[k] = (uint8_t)(3 * k);
    }
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7 + i / 300);
    }
    for (int alg = 0; crypt_alg_names[alg]; alg++) {
        for (int mode = 0; mode < 4 && crypt_alg_family((enum crypt_alg)alg); mode++) {
            struct crypt_suite s = {.alg = (enum crypt_alg)alg,
                                    .mode = (enum crypt_mode)mode,
                                    .ivgen = alg == ALG_CAST5_128 ? IV_PLAIN64 : IV_ESSIV,
                                    .ivgen_hash = HASH_SHA256};
            struct error *err = NULL;
            assert_int_equal(crypt_suite_check_ivgen(&s, &err), 0);
            if (crypt_suite_check_mode(&s, &err) < 0) {
                assert_string_equal(err->msg, "Unsupported cipher mode xts");
                error_free(err);
                continue;
            }
            struct crypt_cipher *c = crypt_cipher_new(&s, key);
            memcpy(buf, plain, sizeof(buf));
            memcpy(one, plain, sizeof(one));
            crypt_cipher_run(c, true, 77, buf, sizeof(buf));
            for (unsigned i = 0; i < SECTORS; i++) {
                crypt_cipher_run(c, true, 77 + i, one + i * CRYPT_SECTOR, CRYPT_SECTOR);
            }
            assert_memory_equal(buf, one, sizeof(buf));
            assert_memory_not_equal(buf, plain, CRYPT_SECTOR);
            crypt_cipher_run(c, false, 77, buf, sizeof(buf));
            assert_memory_equal(buf, plain, sizeof(buf));
            crypt_cipher_free(c);
        }
    }
}

static void test_suites(void **state)
{
    struct error *err = NULL;
    struct crypt_suite s = {.alg = ALG_CAST5_128, .ivgen = IV_ESSIV, .ivgen_hash = HASH_MD5};
    assert_true(crypt_suite_check_ivgen(&s, &err) < 0);
    assert_string_equal(err->msg, "Cipher cast5-128 not supported with essiv");
    error_clear(&err);
    s.alg = ALG_SERPENT_256;
    s.ivgen_hash = HASH_SHA1;
    assert_true(crypt_suite_check_ivgen(&s, &err) < 0);
    assert_string_equal(err->msg, "No Serpent cipher with key size 20 available");
    error_clear(&err);
    assert_int_equal(crypt_alg_find("twofish", 24), ALG_TWOFISH_192);
    assert_int_equal(crypt_alg_find("aes", 20), -1);
    assert_int_equal(crypt_alg_find("des", 8), -1);
}

static void test_digests(void **state)
{
    static const struct {
        enum crypt_hash hash;
        const char *abc, *derived;
    } cases[] = {
        {HASH_MD5, "900150983cd24fb0d6963f7d28e17f72",
         "f6acd4bda3e4d3d831a5f61da9ca9d5c3877566e979f4928778d81be4f2e9433a31043bbf3945c35"},
        {HASH_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d",
         "6b4e26125c25cf21ae35ead955f479ea2e71f6ff9e400029f04810eece31355533bb2ed348e604da"},
        {HASH_SHA224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
         "947cf079cfc7f2016dcd7ec418840443edaabb90c496f98cabeec4bfb1a5a4aaff68cca92cf05a6d"},
        {HASH_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
         "ad35240ac683febfaf3cd49d845473fbbbaa2437f5f82d5a415ae00ac76c6bfccf9a9b8d6d2fe4a1"},
        {HASH_SHA384,
         "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca13"
         "4c825a7",
         "1bfb451b6087e5d24eeffb57d7284448da95b581d35a1887d9a6e756af559b1fb4798a4529502f87"},
        {HASH_SHA512,
         "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a"
         "3feebbd454d4423643ce80e2a9ac94fa54ca49f",
         "b6b07cb2cebf4ad84468391a543824fccffe0e0769dbe6bddf10a65673c4b648e612d44918f9ce9a"},
        {HASH_RIPEMD160, "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
         "9ca4d509610a8b37dcf0f67242c5dce427aba359131da62169c0a7e6280f8455763db3bbd875de6a"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t out[CRYPT_MAX_DIGEST];
        crypt_digest(cases[i].hash, "abc", 3, out);
        assert_int_equal(crypt_digest_size(cases[i].hash), strlen(cases[i].abc) / 2);
        expect_hex(out, cases[i].abc);
        /* PBKDF2, 3 iterations, 40 bytes. */
        crypt_pbkdf2(cases[i].hash, "password", 8, (const uint8_t *)"salt", 4, 3, out, 40);
        expect_hex(out, cases[i].derived);
    }
}

static void test_pbkdf2(void **state)
{
    uint8_t out[64];
    crypt_pbkdf2(HASH_SHA1, "password", 8, (const uint8_t *)"salt", 4, 4096, out, 20);
    expect_hex(out, "4b007901b765489abead49d926f721d065a429c1"); /* RFC 6070 */
    crypt_pbkdf2(HASH_SHA1, "pass\0word", 9, (const uint8_t *)"sa\0lt", 5, 4096, out, 16);
    expect_hex(out, "56fa6aa75548099dcc37d7f03425e0c3");
}

static void test_splitter(void **state)
{
    uint8_t split[48 * 5], key[48];
    for (unsigned i = 0; i < sizeof(split); i++) {
        split[i] = (uint8_t)(i * 7 + 3);
    }
    crypt_af_merge(HASH_SHA1, split, 48, 5, key);
    expect_hex(key, "c6c072750b2357447e9150a601196f22b169d3ddaa1a6634ed23fea2d1cc85f2"
                    "3951f0107af807e0c7c11f63738cba89");
    crypt_af_merge(HASH_SHA256, split, 48, 5, key);
    expect_hex(key, "bf13cfa6b9124de9c6845a509343837fd35c0943478c669ddc7b7f00be7a3424"
                    "ebab4542fcbf94453ba80848219ff55b");
}

static void with_world(void (*fn)(struct world *w), bool simulated)
{
    struct process *p = process_new();
    struct world *w = world_new(p, &(struct world_config){.seed = 5, .simulated_time = simulated});
    fn(w);
    world_free(w);
    process_free(p);
}

static void split_and_merge(struct world *w)
{
    uint8_t key[40], back[40], *split = mem_alloc(40 * 4000);
    crypt_noise(w, key, sizeof(key));
    for (int h = 0; crypt_hash_names[h]; h++) {
        crypt_af_split(w, (enum crypt_hash)h, key, sizeof(key), 4000, split);
        crypt_af_merge((enum crypt_hash)h, split, sizeof(key), 4000, back);
        assert_memory_equal(key, back, sizeof(key));
        split[12345] ^= 1; /* without any one stripe the key is lost */
        crypt_af_merge((enum crypt_hash)h, split, sizeof(key), 4000, back);
        assert_memory_not_equal(key, back, sizeof(key));
    }
    mem_free(split);
}

static void test_split_and_merge(void **state)
{
    with_world(split_and_merge, true);
}

struct counting {
    struct world *w;
    uint64_t n;
};

static void count(void *arg)
{
    struct counting *c = arg;
    c->n = crypt_pbkdf2_iterations(c->w, HASH_SHA256, 64, 2000);
}

static void iterations_stand(struct world *w)
{
    struct counting c = {w, 0};
    assert_int_equal(world_exec(w, count, &c), 0);
    assert_int_equal(c.n, 1); /* simulated time: the same in every run */
}

static void iterations_run(struct world *w)
{
    struct counting c = {w, 0};
    assert_int_equal(world_exec(w, count, &c), 0);
    assert_true(c.n > 1000);
}

static void test_iterations(void **state)
{
    with_world(iterations_stand, true);
    with_world(iterations_run, false);
}

static void noise(struct world *w)
{
    uint8_t a[100], b[100];
    crypt_noise(w, a, sizeof(a));
    crypt_noise(w, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    world_secret_bytes(w, a, 13);
    world_secret_bytes(w, b, 13);
    assert_memory_not_equal(a, b, 13);
}

static void test_noise(void **state)
{
    with_world(noise, true);
    struct process *p = process_new();
    struct world *w = world_new(p, &(struct world_config){.random_seed = true});
    noise(w);
    world_free(w);
    process_free(p);
}

static void test_base64(void **state)
{
    static const struct {
        const char *text, *bytes; /* bytes NULL: refused */
    } cases[] = {
        {"", ""},
        {"YWJj", "abc"},
        {"YWI=", "ab"},
        {"YQ==", "a"},
        {"YW\nJj\r\n", "abc"},
        {"YQ==YQ==", "aa"},
        {"YWJjZ", "abc"},
        {"YQ", ""},
        {"YQ ==", NULL},
        {"!", NULL},
        {"+/+/", "\xfb\xff\xbf"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t len;
        struct error *err = NULL;
        uint8_t *out = base64_decode(cases[i].text, strlen(cases[i].text), &len, &err);
        if (!cases[i].bytes) {
            assert_null(out);
            assert_string_equal(err->msg, "Base64 data contains invalid characters");
            error_free(err);
            continue;
        }
        assert_int_equal(len, strlen(cases[i].bytes));
        assert_string_equal((char *)out, cases[i].bytes);
        mem_free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_xts),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_suites),
        cmocka_unit_test(test_digests),
        cmocka_unit_test(test_pbkdf2),
        cmocka_unit_test(test_splitter),
        cmocka_unit_test(test_split_and_merge),
        cmocka_unit_test(test_iterations),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
