/* A state machine of one byte at a time; commands are rare. It owns the half-typed line. */
#include "net/telnet.h"

#include <event2/buffer.h>
#include <stdint.h>
#include <stdlib.h>

#include "net/replies.h"

enum {
	TELNET_SE = 240,
	TELNET_BRK = 243,
	TELNET_IP = 244,
	TELNET_AYT = 246,
	TELNET_SB = 250,
	TELNET_WILL = 251,
	TELNET_WONT = 252,
	TELNET_DO = 253,
	TELNET_DONT = 254,
	TELNET_SUSP = 237,
	OPTION_TIMING_MARK = 6,
};

enum state { STATE_DATA, STATE_IAC, STATE_OPTION, STATE_SUBNEGOTIATION, STATE_SUBNEGOTIATION_IAC };

struct telnet {
	enum state state;
	bool erased;
	bool lost;          /* out of memory: a typed byte is missing */
	unsigned char verb; /* DO, DONT, WILL or WONT, while its option is awaited */
	uint8_t refused_do[256 / 8], refused_will[256 / 8];
	struct evbuffer *typed;
};

struct telnet *telnet_new(void)
{
	struct telnet *telnet = calloc(1, sizeof(*telnet));

	if (telnet != NULL && (telnet->typed = evbuffer_new()) == NULL) {
		free(telnet);
		return NULL;
	}
	return telnet;
}

void telnet_free(struct telnet *telnet)
{
	if (telnet == NULL)
		return;
	evbuffer_free(telnet->typed);
	free(telnet);
}

bool telnet_in_command(const struct telnet *telnet)
{
	return telnet->state != STATE_DATA;
}

bool telnet_erased(struct telnet *telnet)
{
	bool erased = telnet->erased;

	telnet->erased = false;
	return erased;
}

struct evbuffer *telnet_typed(struct telnet *telnet)
{
	return telnet->typed;
}

/* Whether the bit was clear until now. */
static bool first_time(uint8_t set[256 / 8], unsigned char option)
{
	bool first = !(set[option / 8] & (1u << (option % 8)));

	set[option / 8] |= (uint8_t)(1u << (option % 8));
	return first;
}

/* Refuses an option once, so that two polite ends don't refuse each other for ever. */
static void refuse_option(struct telnet *telnet, unsigned char option, struct replies *replies)
{
	unsigned char answer[3] = { TELNET_IAC, 0, option };

	if (telnet->verb == TELNET_DO) {
		/* A timing mark is a question each time: telnet's Ctrl-C waits for the answer. */
		if (!first_time(telnet->refused_do, option) && option != OPTION_TIMING_MARK)
			return;
		answer[1] = TELNET_WONT;
	} else if (telnet->verb == TELNET_WILL) {
		if (!first_time(telnet->refused_will, option))
			return;
		answer[1] = TELNET_DONT;
	} else {
		return;
	}
	replies_add(replies, answer, sizeof(answer));
}

/* The byte behind an IAC. */
static enum state consume_verb(struct telnet *telnet, unsigned char byte, struct replies *replies)
{
	switch (byte) {
	case TELNET_IAC:
		telnet->lost |= evbuffer_add(telnet->typed, &byte, 1) == -1;
		return STATE_DATA;
	case TELNET_WILL:
	case TELNET_WONT:
	case TELNET_DO:
	case TELNET_DONT:
		telnet->verb = byte;
		return STATE_OPTION;
	case TELNET_SB:
		return STATE_SUBNEGOTIATION;
	case TELNET_IP:
	case TELNET_BRK:
	case TELNET_SUSP:
		telnet->erased = true;
		evbuffer_drain(telnet->typed, evbuffer_get_length(telnet->typed));
		return STATE_DATA;
	case TELNET_AYT:
		replies_text(replies, "[yes]");
		return STATE_DATA;
	default:
		return STATE_DATA;
	}
}

static enum state consume_byte(struct telnet *telnet, unsigned char byte, struct replies *replies)
{
	switch (telnet->state) {
	case STATE_DATA:
		return STATE_IAC;
	case STATE_IAC:
		return consume_verb(telnet, byte, replies);
	case STATE_OPTION:
		refuse_option(telnet, byte, replies);
		return STATE_DATA;
	case STATE_SUBNEGOTIATION:
		return byte == TELNET_IAC ? STATE_SUBNEGOTIATION_IAC : STATE_SUBNEGOTIATION;
	case STATE_SUBNEGOTIATION_IAC:
		return byte == TELNET_SE ? STATE_DATA : STATE_SUBNEGOTIATION;
	}
	return STATE_DATA;
}

size_t telnet_command(
    struct telnet *telnet, const unsigned char *bytes, size_t length, struct replies *replies)
{
	size_t consumed = 0;

	do
		telnet->state = consume_byte(telnet, bytes[consumed++], replies);
	while (consumed < length && telnet->state != STATE_DATA);
	return telnet->lost ? 0 : consumed;
}
