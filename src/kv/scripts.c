/* The known scripts: one row for each text, and one for each thing that they do. */
#include "kv/script.h"

#include <string.h>

#include "kv/row.h"
#include "kv/verb.h"

#define TEXT_MAX 16384 /* bytes; no known script is nearly as long */

/* clang-format off */
#define VERB(variable, name_, args_, flags_, reply_, run_, help_, ...) \
	static const struct script_verb variable = {                                                \
		.command = { NAME(name_), .flags = (flags_),  \
		    .reply = (reply_), .run = (run_), .help = (help_) }, \
		.args = (args_), __VA_ARGS__ }
#define LOCK(variable, name, args, reply, run, help) \
	VERB(variable, name, args, COMMAND_GROWS, reply, run, help)
#define LOCKS(variable, args, run, help) \
	VERB(variable, "SET", args, COMMAND_GROWS, REPLY_VALUE, run, help, .all_keys = true)
/* clang-format on */

VERB(delete, "DEL", 1, COMMAND_WRITES, REPLY_DONE, verb_delifeq,
    "Deletes the key if its value is the token: 1, else 0.");
VERB(delete_or_null, "DEL", 1, COMMAND_WRITES, REPLY_VALUE, script_delete_or_null,
    "The same: 1, else null.");
VERB(delete_silently, "DEL", 1, COMMAND_WRITES, REPLY_VALUE, script_delete_silently,
    "The same: always null.");
VERB(delete_or_missing, "DEL", 1, COMMAND_WRITES, REPLY_VALUE, script_delete_or_missing,
    "The same: 1; 0 = another value, -1 = no key.");
VERB(delete_if_not, "DEL", 1, COMMAND_WRITES, REPLY_DONE, script_delete_if_not,
    "Deletes the key unless its value is the token: 1, else 0.");
LOCK(swap, "SET", 2, REPLY_DONE, script_swap,
    "Sets the key to the second argument if its value is the first: 1, else 0.");
LOCK(pexpire, "PEXPIRE", 2, REPLY_DONE, script_pexpire,
    "Lets the key expire in that many ms if its value is the token: 1, else 0.");
LOCK(expire, "EXPIRE", 2, REPLY_DONE, script_expire, "The same in seconds.");
LOCK(pexpire_or_null, "PEXPIRE", 2, REPLY_VALUE, script_pexpire_or_null,
    "The same in ms: 1, else null.");
LOCK(expire_value, "EXPIRE", 2, REPLY_VALUE, script_expire_value,
    "The same in seconds: the token, else null.");
LOCK(extend, "PEXPIRE", 3, REPLY_DONE, script_extend,
    "The same in ms, which are added to what is left if the third argument is 0.");
VERB(pttl, "PTTL", 1, 0, REPLY_VALUE, script_pttl,
    "The ms that are left if the value is the token, else -3.");
LOCK(obtain, "SET", 2, REPLY_DONE, script_obtain,
    "Sets the key to the token for that many ms unless it has another one: 1, else 0.");
LOCK(obtain_or_null, "SET", 2, REPLY_VALUE, script_obtain_or_null, "The same: 1, else null.");
LOCK(obtain_ok, "SET", 2, REPLY_VALUE, script_obtain_ok, "The same: OK, else null.");
LOCK(lock, "SET", 3, REPLY_VALUE, script_lock,
    "The same; takes a free key only if the third argument is yes.");
LOCK(claim, "SET", 3, REPLY_DONE, script_claim,
    "The same in seconds; a client that waits, or the token *, only takes a free key.");
VERB(touch, "SET", 2, COMMAND_GROWS, REPLY_VALUE, script_touch,
    "Sets the key again, for the ms that are its second key, if its value is the third.",
    .args_in_keys = true);
LOCKS(slot, 3, script_slot, "Sets the first free key to the third argument for that many seconds.");
LOCKS(acquire_all, 2, script_acquire_all,
    "Sets all keys to the token for that many ms if none exists.");
LOCKS(extend_all, 2, script_extend_all, "The same if all have that token.");
VERB(release_all, "DEL", 1, COMMAND_WRITES, REPLY_VALUE, script_release_all,
    "Deletes the keys whose value is the token; how many.", .all_keys = true);
LOCKS(acquire_all_of, 3, script_acquire_all_of, "acquire_all behind the number of the database.");
LOCKS(extend_all_of, 3, script_extend_all_of, "extend_all behind it.");
VERB(release_all_of, "DEL", 2, COMMAND_WRITES, REPLY_VALUE, script_release_all_of,
    "release_all behind it.", .all_keys = true);
LOCK(add, "SETEX", 2, REPLY_VALUE, script_add,
    "Sets the key to the value for that many seconds unless it exists: OK, else null.");
LOCK(incrby, "INCRBY", 1, REPLY_VALUE, script_incrby, "Adds to the number.");
LOCK(incrby_existing, "INCRBY", 1, REPLY_VALUE, script_incrby_existing,
    "Adds to the number if the key exists, else null.");
LOCK(decrby_existing, "DECRBY", 1, REPLY_VALUE, script_decrby_existing,
    "Subtracts from the number if the key exists, else NEX.");
VERB(value_and_pttl, "PTTL", 0, 0, REPLY_VALUE, script_value_and_pttl,
    "The value and the ms that are left.");
LOCK(count, "PEXPIRE", 2, REPLY_VALUE, script_count,
    "Counts in a window of ms, which begins anew each time if the first argument is 1.");
LOCK(count_window, "SET", 1, REPLY_VALUE, script_count_window, "Counts in a window of ms.");
LOCK(count_or_reset, "SET", 2, REPLY_VALUE, script_count_or_reset,
    "As count, but a key that does not expire is replaced.");
LOCK(count_from_zero, "SET", 2, REPLY_VALUE, script_count_from_zero,
    "Adds to a count in a window of seconds.");
LOCK(count_or_ban, "PEXPIRE", 4, REPLY_VALUE, script_count_or_ban,
    "Counts in a window of ms; 1 behind it if the count is far over the limit.");
LOCK(count_backoff, "PEXPIRE", 4, REPLY_VALUE, script_count_backoff,
    "Counts in a window of ms, which can double with each request over the limit.");
VERB(count_read, "GET", 0, 0, REPLY_VALUE, script_count_read,
    "The count and the ms that are left, without counting.");
LOCK(count_amount, "EXPIRE", 2, REPLY_VALUE, script_count_amount,
    "Adds to a count in a window of seconds; the count.");

/* --- the texts --- */

const struct script known_scripts[] = {
	{ "6fbe84d1140fd2047394924af9d845b83c070bec", "6fbe84d1140fd2047394924af9d845b83c070bec",
	    "echod.conf(5), a lock", &delete },
	{ "e50f848e374a94192aa6f2e444e7eb8acc16501d", "e50f848e374a94192aa6f2e444e7eb8acc16501d",
	    "echod.conf(5), a lock", &pexpire },
	{ "a7aba3bc5d6e99b3003da8b9d80a63b9f4092ecf", NULL, "bsm/redislock, Refresh", &pexpire },
	{ "6484da7d58920897fdc22b7f9afd1a3d47524ea8", NULL, "bsm/redislock, TTL", &pttl },
	{ "a18fab0ac0660f36408271b6d581f0d87b887c1a", "f4a7da3e5d8ea3b46642af08427151cae0190400",
	    "django-redis, incr", &incrby_existing },
	{ "8cd00688c05c46bde4a2e60658ef20a2e5c0b248", "4d15273b16b10c15e1d9202cbe93c959ab7d250b",
	    "django-redis, incr", &incrby },
	{ "4a31fb833005db2b294f65670e2365e1f48ee4f2", "b8a19d47785922bb04e7a9fdb49e90d89be1b8af",
	    "@fastify/rate-limit 10 and 11", &count_backoff },
	{ "b7faf43318961110db7c08f1b8c76d91527754c8", "4c7d9ef62b3d4f8efd8d11d5d2fd1a56b1e723bc",
	    "@fastify/rate-limit 11, read", &count_read },
	{ "ce41a10d6945d4d4fd26d6a5014ac5542b42c065", "3f481dd9e75a7c63c2facb091af19e1ab17f2cc7",
	    "@fastify/rate-limit 9", &count_or_ban },
	{ "083a383f5c53f654d0b6a3974826263e06ea8fc5", NULL, "GitLab, ExclusiveLease#renew",
	    &expire_value },
	{ "ff1c9d464cc579a174e29a57e21e867275b364e7", NULL, "GitLab, ExclusiveLease.cancel",
	    &delete_silently },
	{ "e100ae3dc9a4a8006a6312439e4a96525129dc79", NULL, "go-zero, RedisLock.Acquire",
	    &obtain_ok },
	{ "bb69021340f0876bd55888dfc77dd19b7caf5a78", "4dbb87cd80182f627d42cf6042188ecf00a1ff12",
	    "ioredis-lock", &delete },
	{ "6d27bc457c9df84bca8d716661c4a679a1c7ae35", "50f5ab4d38adaf78b662a67356cf1fe302b3e00f",
	    "ioredis-lock", &pexpire },
	{ "a08c9c69b7c07ae2485190873b90d128a23e502d", "a08c9c69b7c07ae2485190873b90d128a23e502d",
	    "Laravel, cache add", &add },
	{ "3835eb9592d975c01e0b45965b5791fb5dec4ba4", "420ca604de4310d8301943a71390ee669720d640",
	    "Laravel, concurrency limiter", &slot },
	{ "e9f69f2beb755be68b5e456ee2ce9aadfbc4ebf4", "a50243715157b186c5162c69e02eff3bf0c7994a",
	    "Laravel, concurrency limiter", &delete },
	{ "b70c2384248f88e6b75b9f89241a180f856ad852", "647c65a442733a1aa440f99908d249d13b4d6c4a",
	    "Laravel, lock release", &delete },
	{ "42076ed1ea81ca8cabff0e19507cdd75322ce24a", "628bd136a573a06b346879695681af12ccef300f",
	    "limits, fixed window", &count_amount },
	{ "ad25fa24b353e94543e6c436e3a7951c82464327", "0eafb65e6aa537bcc966e2af2a66dc7f3f66e121",
	    "@medusajs/locking-redis, acquire", &claim },
	{ "db733e5e54107470a5881f39b298074a42e7a13c", "4294933f08f20c8eba99ef809315810389dfb0a3",
	    "@medusajs/locking-redis, extend", &expire },
	{ "4ef55037840237cd624374e96ce1314419457976", "a0b59436cc046114766453c42adbb4c9c62ca99c",
	    "@medusajs/locking-redis, release", &delete },
	{ "bb69021340f0876bd55888dfc77dd19b7caf5a78", "da225123b2af4a41136fdba7ffac1e045e344da1",
	    "@microfleet/ioredis-lock", &delete },
	{ "6d27bc457c9df84bca8d716661c4a679a1c7ae35", "bf3108245472c550b02852e1e425128e5eb399c4",
	    "@microfleet/ioredis-lock", &pexpire },
	{ "cf0e94b2e9ffc7e04395cf88f7583fc309985910", "cf0e94b2e9ffc7e04395cf88f7583fc309985910",
	    "Nextcloud, cad", &delete },
	{ "94eac401502554c02b811e3199baddde62d976d4", "94eac401502554c02b811e3199baddde62d976d4",
	    "Nextcloud, cas", &swap },
	{ "fa4acbc946d23ef41d7d3910880b60e6e4972d72", "fa4acbc946d23ef41d7d3910880b60e6e4972d72",
	    "Nextcloud, caSetTtl", &expire },
	{ "720b40cb66cef1579f2ef16ec69b3da8c85510e9", "720b40cb66cef1579f2ef16ec69b3da8c85510e9",
	    "Nextcloud, dec", &decrby_existing },
	{ "75526f8048b13ce94a41b58eee59c664b4990ab2", "75526f8048b13ce94a41b58eee59c664b4990ab2",
	    "Nextcloud, ncad", &delete_if_not },
	{ "5eef02f18ca338bbee0e69a4811effbd54708478", "78d3bb55c589f1b2edf66f3527f5017f8dfcd6bb",
	    "node-redis-warlock, touch", &touch },
	{ "21fb512acfee07f52ec92e67a2c241b34981e919", "5cc368fb92acd8fee3a986dc8e971d6cf28c3b44",
	    "node-redis-warlock, unlock", &delete },
	{ "b1e876b3c54ee95424c0fe966fbf5fad9a655427", "3f424a504987d231baa2e19159bb5def8ad32f87",
	    "rate-limit-redis 3, increment", &count },
	{ "d9a3e3ec5830af4a43412d3e89c9c7485868040b", "81dbecea94d2d10514719b20ed51faf711529d9d",
	    "rate-limit-redis 4 and 5, increment", &count_or_reset },
	{ "c538ea37b4d7be482188328d39df615e08ef4fa9", "6aeb97ed6086dcdeafdc6fda3999a0d0e38ec96a",
	    "rate-limit-redis 4 to 6, get", &value_and_pttl },
	{ "8b3be856a90d3928cc084bdcb5d6df96d320cde7", "895b92e1712734e1b464999be23953485475357b",
	    "rate-limit-redis 6, increment", &count_window },
	{ "d969a54896cb2b1e39d23c22291d4928ab0a6b79", "a1de965f42e177aa339706bd580f049065eca79a",
	    "rate-limiter-flexible", &count_from_zero },
	{ "829408cc83d4524666232bd8beebe3bcf873ac70", "a4e8783852e6b949f9ef3a97212805108459a890",
	    "redis-py, Lock.extend", &extend },
	{ "042112cf75a3fdabb4e02600ce494eff4b2d2906", "1cac51482acf5858da00f6d685d68f886cd6b6b2",
	    "redis-py, Lock.reacquire", &pexpire },
	{ "2aef8d7ce63503709a01cbf6ad6bb4b93d5c3909", "c3f8721cbb97f72bc19e972846bd7aaf91901658",
	    "redis-py, Lock.release", &delete },
	{ "8c3d2c7c01472411ed40f4d177b25d1c53b70c8b", "594683e49a64ebaf975caf5f8079a1d097c438f1",
	    "redis-semaphore, Mutex.refresh", &pexpire },
	{ "21774675c9c99c16b85169c12884ee0b0874fddb", "7157921a7cc7cfba979acf6d63f073151df17d12",
	    "redis-semaphore, Mutex.release", &delete },
	{ "bdc4520f56bc05f928e229c28338dca2c3c1fd91", "ce46f80993d5dac20dd066eb301a4e37994bdbed",
	    "redlock 4, extend", &extend_all },
	{ "553dd04ae84661066255e93d1f84179ceb51e041", "e5a322e2634ef59a516e8ea150cb085afafee684",
	    "redlock 4, lock", &acquire_all },
	{ "9a480bddcbbcf77bfd83f4de59809637ef1c4a3c", "0f0f23b9048b36752b5be114f357ba083449f908",
	    "redlock 4, unlock", &release_all },
	{ "553dd04ae84661066255e93d1f84179ceb51e041", "96da70f7716f27d278a5218544df37fd8b0a5e4c",
	    "redlock 5, acquire", &acquire_all },
	{ "bdc4520f56bc05f928e229c28338dca2c3c1fd91", "aed6f382e410db8ba7926d4e5e9aab410bf2a78a",
	    "redlock 5, extend", &extend_all },
	{ "9a480bddcbbcf77bfd83f4de59809637ef1c4a3c", "e4612211c9f8f51c257e26e056b0a654b3187242",
	    "redlock 5, release", &release_all },
	{ "b2eb2880b8b708780c9d6dc78af94644fec63c94", NULL, "redlock-rb, lock", &lock },
	{ "5306e7b9af49775f32d6ad215504420c185dff0e", NULL, "redlock-rb, remaining time",
	    &value_and_pttl },
	{ "b70c2384248f88e6b75b9f89241a180f856ad852", NULL, "redlock-rb, unlock", &delete },
	{ "2a284f4023ab08fe40436afd3e4b2a90d7f089ea", NULL, "redsync 4, Extend", &obtain },
	{ "34b1e2231b54d37a0e6d3e924d4eed1bc8105bed", "e950836ed1e694540c503ef9972b8de518044d3b",
	    "redsync 4, Unlock", &delete_or_missing },
	{ "c50343e01dd9310b37fcced0dccd5ac1eecff492", NULL, "redsync, Extend", &pexpire },
	{ "013976d92eab7585a652ddbf0f4ae3746f38b191", NULL, "redsync, Unlock", &delete },
	{ "d529be5613873e9447afa80ed419017e04b2a982", "1b77b94aa78451d55dfa97e18819bfbfc596cb5b",
	    "@sesamecare-oss/redlock, acquire", &acquire_all_of },
	{ "c21f2a77c38dd5a3689ef83262c3c483e07f4984", "820e9778d2b6733e9ed771e4be90ae73a95a6f3b",
	    "@sesamecare-oss/redlock, extend", &extend_all_of },
	{ "fab665a51ab9694b84d98df05ce74cf6fd480b3b", "df51f6837dcfe303d334e6abea9aeae192bab216",
	    "@sesamecare-oss/redlock, release", &release_all_of },
	{ "bdcffe46d0688978ee71e4567cdcc20f1d8638b7", NULL, "Spring Integration 5, obtain",
	    &obtain_or_null },
	{ "bdcffe46d0688978ee71e4567cdcc20f1d8638b7", NULL, "Spring Integration 6, obtain",
	    &obtain_or_null },
	{ "aa9ad4c3594c7d0d0fecb52c22bbe83e66883cbd", NULL, "Spring Integration 6, renew",
	    &pexpire_or_null },
	{ "15890781521a82a323f1b779f76b521d52b514eb", NULL, "Spring Integration 6, unlock",
	    &delete_or_null },
	{ "aa52ff918aea2ac2a61fa84c73b1c9477c6e9d23", NULL, "Symfony Lock 4 to 5.1, save",
	    &obtain },
	{ "cf0e94b2e9ffc7e04395cf88f7583fc309985910", "0a87223fb92fcc2308021a1b6da07197448b6402",
	    "@verrou/core, delete", &delete },
	{ "a7aba3bc5d6e99b3003da8b9d80a63b9f4092ecf", "3950eadb2785a5afcc0daf9e56adc0bbd14017a4",
	    "@verrou/core, extend", &pexpire },
	{ 0 },
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void digest(struct slice text, char exact[SHA1_DIGEST_STRING_LENGTH],
    char folded[SHA1_DIGEST_STRING_LENGTH])
{
	SHA1_CTX whole, words;
	size_t at = 0, from;
	bool first = true;

	SHA1Init(&whole);
	SHA1Update(&whole, (const uint8_t *)text.bytes, text.length);
	SHA1End(&whole, exact);
	SHA1Init(&words);
	while (true) {
		while (at < text.length && is_space(text.bytes[at]))
			at++;
		if (at == text.length)
			break;
		for (from = at; at < text.length && !is_space(text.bytes[at]);)
			at++;
		if (!first)
			SHA1Update(&words, (const uint8_t *)" ", 1);
		SHA1Update(&words, (const uint8_t *)text.bytes + from, at - from);
		first = false;
	}
	SHA1End(&words, folded);
}

const struct script *script_find(struct slice text, char exact[SHA1_DIGEST_STRING_LENGTH])
{
	char folded[SHA1_DIGEST_STRING_LENGTH];

	if (text.length > TEXT_MAX)
		return NULL;
	digest(text, exact, folded);
	for (const struct script *script = known_scripts; script->folded != NULL; script++)
		if (strcmp(script->folded, folded) == 0)
			return script;
	return NULL;
}
