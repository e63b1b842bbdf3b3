/*
 * The configuration: echod.conf and its drop-ins, read into the structs that the schema rows name.
 * A config is whole or not there: every mistake of every file is reported, and any one refuses it.
 * The caller owns it; it changes nothing outside itself (no name is resolved, no path is opened but
 * the files it reads).
 */
#ifndef ECHOD_CORE_CONFIG_H
#define ECHOD_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/log.h"
#include "core/option.h"

struct limit_settings {
	int64_t max_connections;  /* all services together */
	int64_t max_per_source;   /* to one service */
	int64_t shutdown_timeout; /* ms */
};

/* The group `tls`, and the keys tls_... of an instance; what an instance does not set, the group does. */
struct tls_settings {
	struct strings certificate; /* PEM files, each a certificate with its chain */
	struct strings
	    key; /* PEM files, of the certificates in that order; else a key is in its certificate's */
	char *
	    client_ca; /* PEM; given: clients must have a certificate of one of these authorities; "" = none */
	char *crl;       /* PEM; which of those certificates are revoked; "" = none */
	int min_version; /* index into tls_versions */
};

struct main_settings {
	char *user; /* NULL = stay who we are */
};

/* Rows that fill one struct of an instance. */
struct config_part {
	const struct option_row *rows;
	size_t size; /* of the struct, bytes */
};

#define CONFIG_PARTS 4

struct instance_config;

/* What the loader must know of a service type; services/ gives a NULL-terminated list of them. */
struct config_kind {
	const char *type;
	const char *help;                       /* one sentence */
	struct config_part parts[CONFIG_PARTS]; /* unused ones have rows == NULL */
	/* Checks what no single row can. 0, or -1 with an error and its key. NULL = there is nothing to check. */
	int (*check)(const struct instance_config *instance, struct error *error);
	/* The same for what is valid and may still be unwise. */
	int (*warn)(const struct instance_config *instance, struct error *error);
	bool runs_programs; /* with the daemon's user */
};

/* One group under `services`. */
struct instance_config {
	char *name;
	const struct config_kind *kind;
	bool enabled;
	struct option_origin origin;
	struct option_section parts[CONFIG_PARTS]; /* as in the kind */
};

#define CONFIG_GROUPS 4

struct config {
	struct option_section sections[CONFIG_GROUPS]; /* as in config_groups */
	/* Their fields: */
	struct main_settings *main;
	struct log_settings *log;
	struct limit_settings *limits;
	struct tls_settings *tls;
	/* Enabled and disabled ones, in the order of the files. */
	struct instance_config *instances;
	size_t instance_count;
	struct strings files; /* all that were read, includes too; origins point into it */
	struct strings
	    texts; /* theirs, in that order; none if not all values are those of the files */
	struct strings warnings;
};

extern const struct option_row limit_rows[], main_rows[], tls_rows[];

/* "1.2", "1.3", NULL. */
extern const char *const tls_versions[];

/* The keys beside `services`: top-level ones, and groups of them. */
struct config_group {
	const char *name; /* NULL = the top level itself */
	const struct option_row *rows;
	size_t size; /* of the struct that the rows fill, bytes */
};

extern const struct config_group config_groups[CONFIG_GROUPS];

/* The config's settings of the group of that name, which is one of them. */
const struct option_section *config_section(const struct config *config, const char *group);

/*
 * Adds an error to a list of them, as the line "FILE:LINE: TEXT"; without a line number it begins "FILE: ", without a
 * file with the text. Always -1. The list is `lost` when memory was short: then it counts as an error, too.
 */
int errors_add(struct strings *errors, const struct option_origin *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * Reads the file and its drop-ins (NAME.d/ next to NAME.conf, *.conf in C order). NULL when
 * anything is wrong, with an error added for each mistake, or `lost` when memory was short. The
 * errors start zeroed and are the caller's to clear. With may_wait, the file may be a pipe, which is read to its
 * end; a loop must not wait for that.
 */
struct config *config_load(const char *file, bool may_wait, const struct config_kind *const *kinds,
    struct strings *errors);
void config_free(struct config *config);

/* Whether the files, read again, would give the same config: there are no others, and none has another text. */
bool config_is_current(const struct config *config);

/* The instance of that name, or NULL. */
struct instance_config *config_instance(const struct config *config, const char *name);

/* The row of a key of that kind of service, and its part in *part; or NULL. */
const struct option_row *config_kind_row(
    const struct config_kind *kind, const char *key, size_t *part);

/* -T: the effective configuration, valid as a config, each value with its origin as a comment. */
void config_print(const struct config *config, FILE *out);

/*
 * --explain: a key ("max_key", "kv.max_key", "limits.max_connections"), a group, or a service type.
 * 0, or -1 for an unknown name; then `out` has got a line that names the nearest one.
 */
int config_explain(const char *key, const struct config_kind *const *kinds, FILE *out);

/* A key whose value is not the same in two configs; both may be NULL = unset. */
struct config_difference {
	const char *key; /* "services.kv.max_key" */
	const char *before, *after;
	const struct option_origin *origin; /* of the value after */
	bool restart;                       /* a reload would not change it */
};

/*
 * Calls the function for each key of both configs, and of the instances that are in both with the same
 * type; neither is changed. 0, or -1 with errno ENOMEM.
 */
int config_compare(const struct config *running, struct config *next,
    void (*each)(const struct config_difference *difference, void *arg), void *arg);

/*
 * Before a reload is committed: puts back into `next` each old value that only a restart can change
 * and adds a line per such value, "KEY: needs a restart, stays VALUE". `running` stays as it is.
 * 0, or -1 with errno ENOMEM.
 */
int config_keep_unreloadable(
    const struct config *running, struct config *next, struct strings *kept);

#endif
