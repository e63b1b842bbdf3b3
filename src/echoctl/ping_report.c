/* Lines for people and for programs, side by side. */
#include "echoctl/ping_report.h"

#include <jansson.h>
#include <stdio.h>

#include "echoctl/json_output.h"

#define SECOND_US 1000000

static const char *const events[] = {
	[PROBE_IN_TIME] = "answer",
	[PROBE_LATE] = "late",
	[PROBE_DUPLICATE] = "duplicate",
};

void report_start(const struct ping_report *report)
{
	if (!report->json)
		printf("PING %s: %d bytes of data\n", report->address, report->bytes);
}

void report_answer(
    const struct ping_report *report, unsigned sequence, enum probe_answer kind, double ms)
{
	if (report->json) {
		json_print(json_pack("{s:s, s:s, s:i, s:i, s:f}", "event", events[kind], "from",
		    report->peer, "bytes", report->bytes, "seq", (int)sequence, "time_ms", ms));
		return;
	}
	printf("%d bytes from %s: seq=%u time=%.3f ms", report->bytes, report->peer, sequence, ms);
	if (kind == PROBE_IN_TIME)
		putchar('\n');
	else
		printf(" (%s)\n", events[kind]);
}

void report_lost(const struct ping_report *report, unsigned sequence, int64_t patience)
{
	if (report->json)
		json_print(json_pack("{s:s, s:i}", "event", "lost", "seq", (int)sequence));
	else
		printf("no answer to seq=%u within %g s\n", sequence, (double)patience / SECOND_US);
}

void report_summary(const struct ping_report *report, const struct probes *probes, int64_t elapsed)
{
	double mean = probes_mean(probes), deviation = probes_deviation(probes);
	json_t *object, *times;

	if (report->json) {
		object = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f, s:f}", "event", "summary",
		    "address", report->address, "sent", (int)probes->sent, "received",
		    (int)probes->received, "late", (int)probes->late, "duplicates",
		    (int)probes->duplicates, "loss_percent", probes_loss(probes), "elapsed_ms",
		    (double)elapsed / 1000);
		times = json_pack("{s:f, s:f, s:f, s:f}", "min_ms", probes->min, "avg_ms", mean,
		    "max_ms", probes->max, "mdev_ms", deviation);
		if (object != NULL && probes->received > 0 &&
		    json_object_update(object, times) == -1) {
			json_decref(object);
			object = NULL;
		}
		json_decref(times);
		json_print(object);
		return;
	}
	printf("\n--- %s ping statistics ---\n", report->address);
	/* As ping(8), which has no singular here, for whatever reads the output of both. */
	printf("%u packets transmitted, %u received, ", probes->sent, probes->received);
	if (probes->late > 0)
		printf("+%u late, ", probes->late);
	if (probes->duplicates > 0)
		printf("+%u duplicates, ", probes->duplicates);
	printf(
	    "%.6g%% packet loss, time %lld ms\n", probes_loss(probes), (long long)(elapsed / 1000));
	if (probes->received > 0)
		printf("rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", probes->min, mean,
		    probes->max, deviation);
}
