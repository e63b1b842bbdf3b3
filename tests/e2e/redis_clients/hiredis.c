/* hiredis: its blocking calls, pipelines and messages. Arguments: host, port, the path of a Unix socket. */
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELEASE                                           \
	"if redis.call(\"get\",KEYS[1]) == ARGV[1] then " \
	"return redis.call(\"del\",KEYS[1]) else return 0 end"

static void check(redisContext *context, int is_right, const char *what)
{
	if (is_right)
		return;
	fprintf(stderr, "%s: %s\n", what, context->errstr);
	exit(1);
}

/* A reply is of this type, and has this number or this text (NULL = any). */
static void expect(
    redisContext *context, redisReply *reply, int type, long long number, const char *text)
{
	const char *what = text == NULL ? "reply" : text;

	check(context, reply != NULL && reply->type == type, what);
	check(context, type != REDIS_REPLY_INTEGER || reply->integer == number, "number");
	check(context, text == NULL || strstr(reply->str, text) != NULL, what);
	freeReplyObject(reply);
}

static void values(redisContext *c)
{
	redisReply *reply;

	expect(c, redisCommand(c, "SET %s %b EX 100", "key", "a\0\r\n", (size_t)4),
	    REDIS_REPLY_STATUS, 0, "OK");
	reply = redisCommand(c, "GET key");
	check(
	    c, reply != NULL && reply->len == 4 && memcmp(reply->str, "a\0\r\n", 4) == 0, "value");
	freeReplyObject(reply);
	expect(c, redisCommand(c, "GET none"), REDIS_REPLY_NIL, 0, NULL);
	expect(c, redisCommand(c, "INCR key"), REDIS_REPLY_ERROR, 0, "not an integer");
	expect(c, redisCommand(c, "LPUSH list 1"), REDIS_REPLY_ERROR, 0, "unknown command");
	expect(c, redisCommand(c, "SET lock token NX PX 10000"), REDIS_REPLY_STATUS, 0, "OK");
	expect(c, redisCommand(c, "EVAL %s 1 lock other", RELEASE), REDIS_REPLY_INTEGER, 0, NULL);
	expect(c, redisCommand(c, "EVAL %s 1 lock token", RELEASE), REDIS_REPLY_INTEGER, 1, NULL);
}

static void pipeline(redisContext *c)
{
	redisReply *reply;

	for (int i = 0; i < 1000; i++)
		redisAppendCommand(c, "INCR number");
	for (int i = 0; i < 1000; i++) {
		check(c, redisGetReply(c, (void **)&reply) == REDIS_OK, "pipeline");
		expect(c, reply, REDIS_REPLY_INTEGER, i + 1, NULL);
	}
	expect(c, redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, 0, "OK");
	expect(c, redisCommand(c, "INCR number"), REDIS_REPLY_STATUS, 0, "QUEUED");
	reply = redisCommand(c, "EXEC");
	check(
	    c, reply != NULL && reply->elements == 1 && reply->element[0]->integer == 1001, "EXEC");
	freeReplyObject(reply);
}

static void messages(redisContext *publisher, redisContext *subscriber)
{
	redisReply *reply;

	expect(subscriber, redisCommand(subscriber, "SUBSCRIBE news"), REDIS_REPLY_ARRAY, 0, NULL);
	expect(
	    publisher, redisCommand(publisher, "PUBLISH news hello"), REDIS_REPLY_INTEGER, 1, NULL);
	check(subscriber, redisGetReply(subscriber, (void **)&reply) == REDIS_OK, "message");
	check(subscriber, reply->elements == 3 && strcmp(reply->element[2]->str, "hello") == 0,
	    "hello");
	freeReplyObject(reply);
}

int main(int argc, char **argv)
{
	redisContext *tcp, *local;

	if (argc != 4)
		return 2;
	tcp = redisConnect(argv[1], atoi(argv[2]));
	check(tcp, tcp->err == 0, "TCP");
	local = redisConnectUnix(argv[3]);
	check(local, local->err == 0, "Unix socket");
	values(tcp);
	pipeline(local);
	messages(tcp, local);
	redisFree(tcp);
	redisFree(local);
	return 0;
}
