/*
 * reload: the changed configuration in force, or the reason why not; and with --dry-run what would change,
 * found by the same steps without a trace.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "control/request.h"
#include "control/show.h"
#include "core/config.h"
#include "core/plural.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/task.h"
#include "observe/json.h"
#include "reload_plan.h"
#include "server.h"

/* --- the dry run --- */

static const char *const step_names[] = {
	[PLAN_STARTS] = "starts",
	[PLAN_STOPS] = "stops",
	[PLAN_OPENS] = "opens",
	[PLAN_KEEPS] = "keeps",
	[PLAN_CLOSES] = "closes",
	[PLAN_MOVES] = "moves",
};

static void add_step(enum plan_step step, const struct instance *instance,
    const struct listener *listener, void *steps)
{
	json_t *json = json_pack("{s:s, s:s}", "step", step_names[step], "service", instance->name);

	if (listener == NULL) {
		json_object_set_new(
		    json, "clients", json_integer((json_int_t)instance->stream_count));
	} else {
		json_object_set_new(json, "address", json_endpoint(listener_endpoint(listener)));
	}
	json_array_append_new(steps, json);
}

static void add_value(const struct config_difference *difference, void *values)
{
	json_t *value = json_pack("{s:s, s:o, s:o, s:b}", "key", difference->key, "before",
	    json_text(difference->before), "after", json_text(difference->after), "restart",
	    difference->restart);

	json_add_place(value, difference->origin);
	json_array_append_new(values, value);
}

/* --- the reload --- */

/* The state of a request. */
struct wait {
	struct reload *reload; /* that it waits for; NULL = the reload has ended */
	json_t *answer;        /* once it has ended; NULL = it failed */
};

static void reload_done_cb(struct reload *reload, void *arg)
{
	struct request *request = arg;
	struct server *server = request->server;
	json_t *steps = json_array(), *values = json_array();
	struct wait *wait = request->state;
	struct reload_plan *plan = NULL;

	wait->reload = NULL;
	if (!reload->dry_run && reload->failed) {
		request_refuse(request, "reload failed, the running configuration stays");
	} else if (!reload->dry_run) {
		wait->answer =
		    json_pack("{s:o, s:o}", "reloaded", json_text(server->running.config_file),
			"warnings", json_strings(&reload->warnings));
	} else if (reload->failed ||
		   /* Compared before the values that need a restart are put back. */
		   config_compare(server->running.config, reload->next, add_value, values) == -1 ||
		   (plan = reload_make_plan(reload)) == NULL) {
		request_refuse(request, "a reload would fail, and change nothing");
	} else {
		reload_plan_describe(plan, add_step, steps);
		reload_plan_cancel(plan);
		wait->answer = json_pack("{s:b, s:O, s:O, s:o}", "dry_run", 1, "steps", steps,
		    "values", values, "warnings", json_strings(&reload->warnings));
	}
	json_decref(steps);
	json_decref(values);
	strings_append(&request->details, &reload->errors);
	task_next_turn(request->work);
}

static json_t *reload_answer(struct request *request)
{
	bool dry_run = request_option(request, "--dry-run") != NULL;
	struct wait *wait = request->state;

	if (wait == NULL) {
		if ((wait = calloc(1, sizeof(*wait))) == NULL)
			return NULL;
		request->state = wait;
		if (!dry_run)
			request_log(request, "reload");
		wait->reload =
		    reload_request(&request->server->reloads, dry_run, reload_done_cb, request);
		if (wait->reload == NULL)
			return request_refuse(request, "%s",
			    errno == ESHUTDOWN ? "the daemon is stopping" : strerror(errno));
	}
	request->waits = wait->reload != NULL;
	return json_incref(wait->answer);
}

static void reload_end(struct request *request)
{
	struct wait *wait = request->state;

	if (wait->reload != NULL)
		reload_forget(wait->reload);
	json_decref(wait->answer);
	free(wait);
}

static void reload_show(json_t *answer, struct evbuffer *out)
{
	json_t *warnings = json_object_get(answer, "warnings"), *warning;
	json_t *steps = json_object_get(answer, "steps"), *step; /* of a dry run, as the values */
	json_t *values = json_object_get(answer, "values"), *value;
	bool changes = false;
	size_t i;

	json_array_foreach (steps, i, step) {
		const char *name = json_string_of(step, "step");
		const char *address = json_string_of(step, "address");
		int64_t clients = json_number(step, "clients");

		evbuffer_add_printf(out, "%s %s%s%s", name, json_string_of(step, "service"),
		    *address == '\0' ? "" : " ", address);
		if (clients > 0)
			evbuffer_add_printf(
			    out, " and its %" PRId64 " client%s", clients, PLURAL(clients, "s"));
		evbuffer_add_printf(out, "\n");
		changes |= strcmp(name, step_names[PLAN_KEEPS]) != 0;
	}
	json_array_foreach (values, i, value) {
		bool restart = json_is_true(json_object_get(value, "restart"));
		const char *before = json_string_of(value, "before");
		const char *after = json_string_of(value, "after");

		evbuffer_add_printf(out, "%s %s: ", restart ? "needs a restart:" : "changes",
		    json_string_of(value, "key"));
		show_text(*before == '\0' ? "unset" : before, out);
		show_between(" -> ", *after == '\0' ? "unset" : after, " (", out);
		show_place(value, out);
		evbuffer_add_printf(out, ")\n");
		changes |= !restart;
	}
	json_array_foreach (warnings, i, warning)
		show_between("warning: ", json_string_value(warning), "\n", out);
	if (steps == NULL)
		show_between("reloaded ", json_string_of(answer, "reloaded"), "\n", out);
	else
		evbuffer_add_printf(out, "%s\n",
		    changes ? "a reload would make these changes; nothing has been changed"
			    : "a reload would change nothing");
}

const struct command command_reload = {
	.answer = reload_answer,
	.show = reload_show,
	.end = reload_end,
};
