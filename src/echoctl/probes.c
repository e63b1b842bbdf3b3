/* A ring of the latest probes, and sums over all of them. */
#include "echoctl/probes.h"

#include <math.h>

static struct probe *slot(struct probes *probes, unsigned sequence)
{
	return &probes->window[sequence % PROBES_WINDOW];
}

/* Goes on to the first that is still under way. */
static void probes_advance(struct probes *probes)
{
	while (probes->finished < probes->sent &&
	       slot(probes, probes->finished + 1)->state != PROBE_WAITING)
		probes->finished++;
}

bool probes_full(const struct probes *probes)
{
	return probes->sent - probes->finished == PROBES_WINDOW;
}

unsigned probes_send(struct probes *probes, int64_t now)
{
	unsigned sequence = ++probes->sent;

	*slot(probes, sequence) = (struct probe){ sequence, PROBE_WAITING, now };
	return sequence;
}

enum probe_answer probes_receive(struct probes *probes, unsigned sequence, int64_t now, double *ms)
{
	struct probe *probe = slot(probes, sequence);

	if (sequence == 0 || probe->sequence != sequence)
		return PROBE_UNKNOWN;
	*ms = (double)(now - probe->sent_at) / 1000;
	switch (probe->state) {
	case PROBE_ANSWERED:
		probes->duplicates++;
		return PROBE_DUPLICATE;
	case PROBE_LOST:
		probes->late++;
		probe->state = PROBE_ANSWERED;
		return PROBE_LATE;
	case PROBE_WAITING:
		break;
	}
	probe->state = PROBE_ANSWERED;
	if (probes->received == 0 || *ms < probes->min)
		probes->min = *ms;
	if (probes->received == 0 || *ms > probes->max)
		probes->max = *ms;
	probes->received++;
	probes->sum += *ms;
	probes->squares += *ms * *ms;
	probes_advance(probes);
	return PROBE_IN_TIME;
}

const struct probe *probes_oldest(const struct probes *probes)
{
	if (probes->finished == probes->sent)
		return NULL;
	return &probes->window[(probes->finished + 1) % PROBES_WINDOW];
}

unsigned probes_give_up(struct probes *probes)
{
	struct probe *probe = slot(probes, probes->finished + 1);

	probe->state = PROBE_LOST;
	probes_advance(probes);
	return probe->sequence;
}

double probes_mean(const struct probes *probes)
{
	return probes->received == 0 ? 0 : probes->sum / probes->received;
}

double probes_deviation(const struct probes *probes)
{
	double mean = probes_mean(probes);
	double variance =
	    probes->received == 0 ? 0 : probes->squares / probes->received - mean * mean;

	return variance > 0 ? sqrt(variance) : 0; /* rounding may lead below */
}

double probes_loss(const struct probes *probes)
{
	if (probes->sent == 0)
		return 0;
	return 100.0 * (probes->sent - probes->received) / probes->sent;
}
