/*
 * A service: one const struct service_ops in one file, and one row in services.def. It gets bytes and returns verdicts;
 * sockets, address families and events are left to src/net.
 */
#ifndef ECHOD_SERVICES_SERVICE_H
#define ECHOD_SERVICES_SERVICE_H

#include <stddef.h>

#include "core/config.h"
#include "core/error.h"
#include "core/log.h"
#include "core/option.h"
#include "core/space.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/sender.h"
#include "net/settings.h"
#include "net/stream.h"
#include "services/report.h"

enum service_transports {
	SERVICE_UNIX = 1 << TRANSPORT_UNIX,
	SERVICE_STREAM = 1 << TRANSPORT_TCP | SERVICE_UNIX,
	SERVICE_DATAGRAM = 1 << TRANSPORT_UDP | 1 << TRANSPORT_UNIXGRAM,
	SERVICE_BOTH = SERVICE_STREAM | SERVICE_DATAGRAM
};

struct service_ops {
	struct config_kind kind; /* see SERVICE_KIND */
	unsigned transports;     /* that it can listen on; 0 = none */
	/* Why it has no other transports, for the error message; NULL = it is obvious. */
	const char *transports_why;
	const char *exposes; /* what an address without `allow` lets everybody do; NULL = nothing */
	const struct handlers
	    *handlers; /* one; or an array, by the value of the service's key `mode` */
	/* Checks what no single option can. 0, or -1 with an error and its key. */
	int (*check)(const struct instance_config *config, struct error *error);
	/* Whether what the config names (a file, a program) is there, see service_verify(). Its error has a key. */
	int (*verify)(const struct instance_config *config, struct error *error);
	/*
	 * Makes what the file holds that the key `prepared` names, if it does, before the config is in force. NULL with errors
	 * added, without the key, and *code: the errno if it cannot be read, else 0. configure() takes it over, as
	 * instance->prepared.
	 */
	void *(*prepare)(const struct instance_config *config, struct strings *errors, int *code);
	void (*drop_prepared)(void *prepared);
	const char *prepared;
	/*
	 * Once per instance, before its first listener serves; sets instance->state. 0, or -1 with an error. Root acts
	 * as the user meanwhile, with all its threads: a thread is not started here but by the loop.
	 */
	int (*start)(struct instance *instance, struct error *error);
	/*
	 * Whether what start() has left to do is done: 1, 0 = not yet, or -1 with an error. The service calls
	 * loop_announce_start() after a change. NULL = start() does all. A started instance may be served, and stopped, whatever this is.
	 */
	int (*ready)(const struct instance *instance, struct error *error);
	/* Its last client and program have gone. NULL = frees instance->state. */
	void (*stop)(struct instance *instance);
	/* After the start and after each reload: instance->conf is in force, and may be another one. */
	void (*configure)(struct instance *instance);
	/*
	 * Copies its data to that directory, beside the loop, and calls `done` with NULL and a sentence, or with the error.
	 * NULL = it has none. 0, or -1 with the error.
	 */
	int (*backup)(struct instance *instance, const char *directory,
	    void (*done)(void *arg, const struct error *error, const char *sentence), void *arg,
	    struct error *error);
	/* The backup continues, but `done` is not called: its caller has gone. */
	void (*forget_backup)(struct instance *instance);
	/* What only the service knows of its state, for an administrator. */
	void (*report)(const struct instance *instance, struct report *report);
};

/* The config side of a service: its name, a sentence, and the parts that its group is made of. */
#define SERVICE_KIND(type_, help_, ...)                                                       \
	{                                                                                     \
		.type = (type_), .help = (help_), .parts = { SERVICE_INSTANCE, __VA_ARGS__ }, \
		.check = service_check, .warn = service_warn                                  \
	}
#define SERVICE_INSTANCE [PART_INSTANCE] = { instance_rows, sizeof(struct instance_settings) }
#define SERVICE_LINES [PART_LINES] = { line_rows, sizeof(struct line_settings) }
#define SERVICE_DATAGRAMS [PART_DATAGRAMS] = { datagram_rows, sizeof(struct datagram_settings) }
#define SERVICE_OWN(rows, type) [PART_OWN] = { rows, sizeof(type) }

/* The kinds of all services, NULL-terminated, for config_load(). */
extern const struct config_kind *const service_kinds[];

/* The service that a group of the config has chosen. */
const struct service_ops *service_of(const struct config_kind *kind);
/* Its handlers under these settings. */
const struct handlers *service_handlers(const struct instance_config *config);

/*
 * A string of the service's own, "" = it is not given, or the service has no such key: `interface`, on which it joins
 * groups or sends to them, and `storage`, the directory that only this instance may use.
 */
const char *service_string(const struct instance_config *config, const char *key);

/*
 * Starts the service of a configured instance, as the user that root will become (NULL = we stay who we are). 0, or -1
 * with an error added.
 */
int service_start(struct instance *instance, const char *user, struct strings *errors);
/* Whether its start is over: 1, 0 = not yet, or -1 with an error added. */
int service_ready(const struct instance *instance, struct strings *errors);
/* Stops the instance's service and frees the instance; its clients and listeners have gone. */
void service_stop(struct instance *instance);

/* The check of every kind: addresses to listen on, of a transport that the service has. */
int service_check(const struct instance_config *config, struct error *error);

/* The warning of every kind: everybody can use a store, a program or answers to datagrams; keys of TLS without TLS. */
int service_warn(const struct instance_config *config, struct error *error);

/*
 * Whether the user that root will become (NULL = we stay who we are) can use what the instance needs besides its
 * addresses: a program, a file. 0, or -1 with an error added.
 */
int service_verify(const struct instance_config *config, const char *user, struct strings *errors);

/*
 * Reads the file that the instance needs before its config is in force, as the user that root will become. 0, or -1 with
 * errors added; *prepared is for service_drop_prepared(), or becomes instance->prepared.
 */
int service_prepare(const struct instance_config *config, const char *user, void **prepared,
    struct strings *errors);
/* NULL is fine. */
void service_drop_prepared(const struct instance_config *config, void *prepared);
/* What service_prepare() would say; adds to the warnings what only root could read as that user. */
void service_check_prepared(const struct instance_config *config, const char *user,
    struct strings *errors, struct strings *warnings);

/* The same warning for the address of a socket from the service manager, which no key gives. */
int service_warn_inherited(
    const struct instance_config *config, const struct endpoint *endpoint, struct error *error);

/* Whether the service can listen at such an address. 0, or -1 with an error. */
int service_check_endpoint(
    const struct instance_config *config, const struct endpoint *endpoint, struct error *error);

/* Takes white space off both ends; the bytes stay where they are. */
void strip(const char **bytes, size_t *length);

#define SERVICE(name) extern const struct service_ops service_##name;
#include "services/services.def"
#undef SERVICE

#endif
